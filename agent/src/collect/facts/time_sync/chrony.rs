//! The question by which chrony tells how it follows its sources, and the answer.
//! It can ask nothing else, and changes nothing.

/// Version of the protocol since chrony 1.30 (2014).
const VERSION: u8 = 6;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;

/// How the clock follows its sources.
const TRACKING: u16 = 33;

/// The form of the answer to it.
const TRACKING_REPLY: u16 = 5;

/// A question is never shorter than its answer may be, so that nobody uses chrony to multiply.
const QUESTION_BYTES: usize = 104;

/// Where the answer says whether a second is to be inserted, or that nothing was set at all.
const LEAP_AT: usize = 54;

/// The clock follows no source.
const NOT_SYNCHRONIZED: u16 = 3;

/// What chrony is asked.
pub(super) fn question() -> Vec<u8> {
    let mut question = vec![VERSION, REQUEST, 0, 0];
    question.extend(TRACKING.to_be_bytes());
    question.resize(QUESTION_BYTES, 0);
    question
}

/// Whether the clock follows a source; none where the answer is none of chrony's.
pub(super) fn parse(answer: &[u8]) -> Option<bool> {
    let number = |at: usize| {
        let bytes = answer.get(at..at + 2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    let is_reply = answer.starts_with(&[VERSION, REPLY])
        && number(4)? == TRACKING
        && number(6)? == TRACKING_REPLY
        && number(8)? == 0;
    let leap = is_reply.then(|| number(LEAP_AT)).flatten()?;
    (leap <= NOT_SYNCHRONIZED).then_some(leap != NOT_SYNCHRONIZED)
}

/// An answer as chrony gives it.
#[cfg(test)]
pub(super) fn answer(leap: u16) -> Vec<u8> {
    let mut answer = vec![VERSION, REPLY, 0, 0];
    answer.extend(TRACKING.to_be_bytes());
    answer.extend(TRACKING_REPLY.to_be_bytes());
    answer.resize(QUESTION_BYTES, 0);
    answer[LEAP_AT..LEAP_AT + 2].copy_from_slice(&leap.to_be_bytes());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_without_a_source_is_told_from_one_with() {
        assert_eq!(parse(&answer(0)), Some(true));
        assert_eq!(parse(&answer(1)), Some(true), "a second is to be inserted");
        assert_eq!(parse(&answer(3)), Some(false));
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        let whole = answer(0);
        for length in 0..=LEAP_AT + 1 {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        let mut refused = answer(0);
        refused[9] = 2;
        assert_eq!(parse(&refused), None, "not allowed");
        assert_eq!(parse(&answer(700)), None);
    }
}
