//! Versions of Debian packages and their order: epoch, upstream version, revision.
//! It never looks a version up; two texts are all it takes.

use std::cmp::Ordering;

/// Longest version; real ones have some dozens of characters.
const MAX_BYTES: usize = 512;

/// A version as `[epoch:]upstream[-revision]`.
#[derive(Clone, Debug)]
pub(super) struct Version {
    epoch: u32,
    upstream: String,
    revision: String,
}

impl Version {
    /// Reads a version.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_BYTES || !text.is_ascii() {
            return None;
        }
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        let begins_well = upstream.starts_with(|c: char| c.is_ascii_digit());
        begins_well.then_some(())?;
        Some(Self {
            epoch: epoch.parse().ok()?,
            upstream: upstream.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_part(&self.upstream, &other.upstream))
            .then_with(|| compare_part(&self.revision, &other.revision))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

/// Runs of what is no digit and numbers, in turn, from the left.
fn compare_part(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while !one.is_empty() || !other.is_empty() {
        let (words, rests) = split_both(one, other, |byte| !byte.is_ascii_digit());
        let ordering = compare_words(words.0, words.1);
        if ordering.is_ne() {
            return ordering;
        }
        let (numbers, rests) = split_both(rests.0, rests.1, u8::is_ascii_digit);
        let ordering = compare_numbers(numbers.0, numbers.1);
        if ordering.is_ne() {
            return ordering;
        }
        (one, other) = rests;
    }
    Ordering::Equal
}

type Pair<'t> = (&'t [u8], &'t [u8]);

fn split_both<'t>(
    one: &'t [u8],
    other: &'t [u8],
    belongs: impl Fn(&u8) -> bool,
) -> (Pair<'t>, Pair<'t>) {
    let split = |bytes: &'t [u8]| {
        let end = bytes
            .iter()
            .position(|byte| !belongs(byte))
            .unwrap_or(bytes.len());
        bytes.split_at(end)
    };
    let ((one, one_rest), (other, other_rest)) = (split(one), split(other));
    ((one, other), (one_rest, other_rest))
}

/// A tilde comes before the end, the end before letters, letters before everything else.
fn compare_words(one: &[u8], other: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let longest = one.len().max(other.len());
    (0..longest)
        .map(|at| weight(one.get(at)).cmp(&weight(other.get(at))))
        .find(|ordering| ordering.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length, without their leading zeros.
fn compare_numbers(one: &[u8], other: &[u8]) -> Ordering {
    let strip = |digits: &'_ [u8]| {
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        digits.get(zeros..).unwrap_or_default().to_vec()
    };
    let (one, other) = (strip(one), strip(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(&other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(smaller: &str, greater: &str) {
        let parse = |text| Version::parse(text).unwrap();

        assert!(parse(smaller) < parse(greater), "{smaller} < {greater}");
        assert!(parse(greater) > parse(smaller), "{greater} > {smaller}");
    }

    #[test]
    fn versions_are_in_the_order_that_packages_have() {
        check("1.0~rc1-1", "1.0-1");
        check("1.0~~", "1.0~");
        check("1.0~rc1", "1.0");
        check("1.0", "1.0a");
        check("1.0a", "1.0+");
        check("1.9", "1.10");
        check("9.9", "1:0.1");
        check("1.0-1", "1.0-1+deb12u1");
        check("1.0-1+deb12u9", "1.0-1+deb12u10");
        check("1.0-1~bpo12+1", "1.0-1");
        check("2.36-9+deb12u4", "2.36-9+deb12u7");
        check("1.0-9", "1.0-1-1");
        check("7.88.1-10", "7.88.1-10+b1");
        check("0", "00000000000000000000000000000000000000000000001");
    }

    #[test]
    fn zeros_before_a_number_and_an_absent_revision_say_nothing() {
        for (one, other) in [("1.02", "1.2"), ("0:1.2", "1.2"), ("1.0-0", "1.0")] {
            assert_eq!(Version::parse(one), Version::parse(other));
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            " ",
            "a1",
            "x:1",
            ":1",
            "1:",
            "-1",
            "1ä",
            "99999999999:1",
        ] {
            assert!(Version::parse(text).is_none(), "{text:?}");
        }
        assert!(Version::parse(&"1".repeat(600)).is_none());
    }

    proptest! {
        #[test]
        fn the_order_is_total(
            texts in prop::collection::vec("[0-9][0-9a-c~+.]{0,6}(-[0-9a~+]{0,3})?", 3)
        ) {
            let v: Vec<_> = texts.iter().map(|text| Version::parse(text).unwrap()).collect();

            prop_assert_eq!(v[0].cmp(&v[1]), v[1].cmp(&v[0]).reverse());
            if v[0] <= v[1] && v[1] <= v[2] {
                prop_assert!(v[0] <= v[2]);
            }
            prop_assert_eq!(v[0].cmp(&v[0]), Ordering::Equal);
        }
    }
}
