//! The question of a client of NTP, and what of the answer says whether the server's clock is set.
//! It takes no time from it.

/// Bytes of question and answer.
const BYTES: usize = 48;

/// Version 4, a client.
const CLIENT: u8 = 4 << 3 | 3;

const SERVER: u8 = 4;

/// The leap bits of a clock that is not set.
const ALARM: u8 = 3;

/// A stratum from here on is none; zero is none either.
const NO_STRATUM: u8 = 16;

/// What a service is asked.
pub(super) fn question() -> Vec<u8> {
    let mut question = vec![0; BYTES];
    if let Some(first) = question.first_mut() {
        *first = CLIENT;
    }
    question
}

/// Whether the clock is set; none where the answer is no server's.
pub(super) fn parse(answer: &[u8]) -> Option<bool> {
    let [first, stratum, ..] = answer.get(..BYTES)? else {
        return None;
    };
    let (leap, mode) = (first >> 6, first & 7);
    (mode == SERVER).then_some(leap != ALARM && (1..NO_STRATUM).contains(stratum))
}

/// An answer as a service gives it.
#[cfg(test)]
pub(super) fn answer(leap: u8, stratum: u8) -> Vec<u8> {
    let mut answer = vec![leap << 6 | 4 << 3 | SERVER, stratum];
    answer.resize(BYTES, 0);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_from_one_that_is_not() {
        assert_eq!(parse(&answer(0, 3)), Some(true));
        assert_eq!(parse(&answer(1, 1)), Some(true));
        assert_eq!(parse(&answer(3, 3)), Some(false));
        assert_eq!(parse(&answer(0, 16)), Some(false));
        assert_eq!(parse(&answer(0, 0)), Some(false));
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&question()), None);
        assert_eq!(parse(&answer(0, 2)[..47]), None);
    }
}
