//! Regular expressions that stay cheap on hostile text: gated, bounded, rewritten where they count.
//! It never runs one over more text than the bounds allow, and never hides that it did not.

use std::sync::Arc;

use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Look, LookSet};

use crate::fault::{Fault, Location};
use crate::values::modifier::RegexFlags;
use crate::values::required::{Length, Needed, find_needed};

/// Largest compiled regular expression: ordinary ones need a few kilobytes, and this refuses
/// nested counted repetitions that would need megabytes and milliseconds per value.
const MAX_REGEX_SIZE: usize = 1024 * 1024;

/// Most memory of the tables that one expression builds while it runs.
const MAX_TABLE_BYTES: usize = 512 * 1024;

/// Most bytes of a value that an expression reads from its beginning. Of a longer one it reads
/// the end and what is around the literals it needs, wherever they are.
pub(crate) const MAX_REGEX_BYTES: usize = 32 * 1024;

/// How much of a long value is read at its end, and on either side of a literal.
const NEAR_BYTES: usize = 4 * 1024;

/// Most places of literals around which a long value is read.
const MAX_PLACES: usize = 8;

/// Most literals looked for in every text before the expression runs.
const MAX_GATE: usize = 3;

/// Length from which all literals are looked for first.
const LONG_BYTES: usize = 1024;

/// A regular expression made ready.
#[derive(Clone, Debug)]
pub(crate) struct Regular(Arc<Inner>);

/// What all copies share.
#[derive(Debug)]
struct Inner {
    source: String,
    file: String,
    at: Location,
    test: Test,
    /// What everything that matches has, if that is known.
    needed: Option<Needed>,
    /// Finds what is needed.
    gate: Vec<Finder<'static>>,
    looks: LookSet,
}

/// How it is decided.
#[derive(Debug)]
enum Test {
    Length(Length),
    Regex(Regex),
}

impl Regular {
    /// Compiles an expression that runs in linear time.
    pub(crate) fn compile(
        source: &str,
        flags: RegexFlags,
        file: &str,
        at: Location,
    ) -> Result<Self, Fault> {
        let hir = ParserBuilder::new()
            .case_insensitive(flags.ignore_case)
            .multi_line(flags.multi_line)
            .dot_matches_new_line(flags.dot_all)
            .build()
            .parse(source)
            .map_err(|error| refuse_syntax(at, &error.to_string()))?;
        let test = match Length::read(&hir) {
            Some(length) => Test::Length(length),
            None => Test::Regex(build(source, flags, at)?),
        };
        let needed = find_needed(&hir);
        let literals = needed.as_ref().map_or(&[][..], |needed| &needed.literals);
        Ok(Self(Arc::new(Inner {
            source: source.to_owned(),
            file: file.to_owned(),
            at,
            test,
            gate: literals
                .iter()
                .map(|text| Finder::new(text).into_owned())
                .collect(),
            needed,
            looks: hir.properties().look_set(),
        })))
    }

    /// What everything that matches has, if that is known.
    pub(crate) fn needed(&self) -> Option<&Needed> {
        self.0.needed.as_ref()
    }

    /// Whether it reads a text only in part.
    pub(crate) fn reads_in_part(&self, plain: &str) -> bool {
        plain.len() > MAX_REGEX_BYTES && matches!(self.0.test, Test::Regex(_))
    }

    /// Whether a text matches, given also in caseless form.
    pub(crate) fn is_match(&self, plain: &str, folded: &str) -> bool {
        let regex = match &self.0.test {
            Test::Length(length) => return length.holds(plain),
            Test::Regex(regex) => regex,
        };
        if self.is_barred(folded) {
            return false;
        }
        if plain.len() <= MAX_REGEX_BYTES {
            return regex.is_match(plain);
        }
        self.matches_long(regex, plain, folded)
    }

    /// Whether nothing that is needed is there; of many literals only when the text is so long
    /// that looking for them costs less than the expression.
    fn is_barred(&self, folded: &str) -> bool {
        let gate = &self.0.gate;
        let is_cheap = gate.len() <= MAX_GATE || folded.len() > LONG_BYTES;
        let is_there = |finder: &Finder<'_>| finder.find(folded.as_bytes()).is_some();
        !gate.is_empty() && is_cheap && !gate.iter().any(is_there)
    }

    /// Whether the beginning, the end or the surroundings of a needed literal match.
    fn matches_long(&self, regex: &Regex, plain: &str, folded: &str) -> bool {
        let mut windows = vec![
            (0, MAX_REGEX_BYTES),
            (plain.len() - NEAR_BYTES, plain.len()),
        ];
        for place in self.places(plain, folded) {
            windows.push((
                place.saturating_sub(NEAR_BYTES),
                place.saturating_add(NEAR_BYTES),
            ));
        }
        windows
            .into_iter()
            .any(|window| self.matches_window(regex, plain, window))
    }

    /// Where in a long text needed literals are, behind what is read anyway.
    fn places(&self, plain: &str, folded: &str) -> Vec<usize> {
        let tail = folded
            .get(folded.floor_char_boundary(MAX_REGEX_BYTES - NEAR_BYTES)..)
            .unwrap_or_default();
        let skipped = folded.len() - tail.len();
        let mut places: Vec<usize> = Vec::new();
        for finder in &self.0.gate {
            let mut last = 0;
            for found in finder.find_iter(tail.as_bytes()) {
                if last == 0 || found >= last + NEAR_BYTES {
                    last = found;
                    places.push(skipped + found);
                }
                if places.len() >= MAX_PLACES {
                    break;
                }
            }
        }
        if plain.len() == folded.len() {
            return places;
        }
        // Folding keeps the number of characters, not of bytes.
        let in_plain = |place: usize| {
            let before = folded.get(..place)?.chars().count();
            plain.char_indices().nth(before).map(|(at, _)| at)
        };
        places.into_iter().filter_map(in_plain).collect()
    }

    /// Whether a part of a long text matches, other than by a false beginning or end of it.
    fn matches_window(&self, regex: &Regex, plain: &str, (start, end): (usize, usize)) -> bool {
        let start = plain.floor_char_boundary(start);
        let end = plain.floor_char_boundary(end.min(plain.len()));
        let Some(part) = plain.get(start..end) else {
            return false;
        };
        let ends_falsely = end < plain.len() && self.looks_at_ends();
        let begins_falsely = start > 0 && self.looks_at_starts();
        if !ends_falsely && !begins_falsely {
            return regex.is_match(part);
        }
        regex.find_iter(part).any(|found| {
            let at_false_end = ends_falsely && found.end() == part.len();
            let at_false_start = begins_falsely && found.start() == 0;
            !at_false_end && !at_false_start
        })
    }

    /// Whether it asks for the end of the text or a line.
    fn looks_at_ends(&self) -> bool {
        [Look::End, Look::EndLF, Look::EndCRLF]
            .iter()
            .any(|look| self.0.looks.contains(*look))
    }

    /// Whether it asks for the beginning of the text or a line.
    fn looks_at_starts(&self) -> bool {
        [Look::Start, Look::StartLF, Look::StartCRLF]
            .iter()
            .any(|look| self.0.looks.contains(*look))
    }

    /// Whether it is more than a test of length, so that its cost has to be known.
    pub(crate) fn is_probed(&self) -> bool {
        matches!(self.0.test, Test::Regex(_))
    }

    /// Refuses it in the file it came from.
    pub(crate) fn refuse(&self, problem: &str, instead: &str) -> crate::fault::RuleError {
        Fault::new(
            self.0.at,
            format!("the regular expression '{}' {problem}", self.0.source),
            instead,
        )
        .in_file(&self.0.file)
    }
}

/// Builds the automaton within its bounds.
fn build(source: &str, flags: RegexFlags, at: Location) -> Result<Regex, Fault> {
    RegexBuilder::new(source)
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_all)
        .size_limit(MAX_REGEX_SIZE)
        .dfa_size_limit(MAX_TABLE_BYTES)
        .build()
        .map_err(|error| {
            if let regex::Error::CompiledTooBig(_) = error {
                return Fault::new(
                    at,
                    format!(
                        "the regular expression needs more than {MAX_REGEX_SIZE} bytes compiled"
                    ),
                    "use smaller repetition counts",
                );
            }
            refuse_syntax(at, &error.to_string())
        })
}

/// The refusal of an expression that is none.
fn refuse_syntax(at: Location, report: &str) -> Fault {
    let reason = report
        .lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    Fault::new(
        at,
        format!("this regular expression cannot be used: {reason}"),
        "keep to linear-time syntax: no look-around and no back-references",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, proptest};
    use proptest::sample::select;
    use regex::Regex;

    use super::{MAX_REGEX_BYTES, Regular};
    use crate::fault::Location;
    use crate::values::fold::fold;
    use crate::values::matcher::Place;
    use crate::values::modifier::RegexFlags;

    fn compile(source: &str) -> Regular {
        Regular::compile(source, RegexFlags::default(), "rule.yml", Location::START).unwrap()
    }

    fn is_match(regular: &Regular, text: &str) -> bool {
        regular.is_match(text, &fold(text))
    }

    /// Expressions over few letters, with everything that takes part in gates and lengths.
    fn any_source() -> impl Strategy<Value = String> {
        let pieces = [
            "a",
            "bS",
            "(?i:ks)",
            "[ab]",
            "(a|bk)",
            "(ab|b)?",
            "x+",
            ".",
            ".*",
            "(.){2,}",
            "^",
            "$",
            r"\.",
            "(?:ab){1,2}",
            "(?i)k",
            "[^a]",
            r"\s",
            "ſ",
            "(?s:.)",
            ".{2,3}",
        ];
        proptest::collection::vec(select(pieces.to_vec()), 1..5).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn gates_and_lengths_decide_as_the_expression_does(
            source in any_source(),
            texts in proptest::collection::vec("[abksxABKS.K\u{17f}\u{212a}\n é]{0,8}", 12),
        ) {
            let plain = Regex::new(&source).unwrap();
            let regular = compile(&source);

            for text in texts {
                assert_eq!(is_match(&regular, &text), plain.is_match(&text), "{source} on {text:?}");
            }
        }
    }

    #[test]
    fn expressions_that_only_count_run_no_automaton() {
        for source in [
            ".{1000,}",
            "(.){200,}",
            "^.{5,10}$",
            "(?s).{70000,}",
            "(.{10}){20}",
            "^(.{3,})$",
        ] {
            assert!(!compile(source).is_probed(), "{source}");
        }
        for source in [
            "[^/]{100,}$",
            ".{3}a",
            "a{9}",
            "(?m)^.{3,}$",
            "(.{2}){1,3}",
            ".(?s:.)",
        ] {
            assert!(compile(source).is_probed(), "{source}");
        }
    }

    #[test]
    fn lengths_count_characters_and_lines_as_the_expression_does() {
        for source in [
            ".{3,}",
            "^.{3,}",
            ".{3,}$",
            "^.{2,3}$",
            "(?s).{3,}",
            "(?s)^.{3}$",
            ".{2,3}",
            "^.*$",
        ] {
            let plain = Regex::new(source).unwrap();
            let regular = compile(source);
            for text in [
                "",
                "ab",
                "abc",
                "éé",
                "ééé",
                "abcd",
                "a\nbcd",
                "abc\nd",
                "ab\nc",
                "\n",
                "ab\n",
                "🦀🦀🦀",
            ] {
                assert_eq!(
                    is_match(&regular, text),
                    plain.is_match(text),
                    "{source} on {text:?}"
                );
            }
        }
    }

    #[test]
    fn needed_literals_are_found_whatever_their_case() {
        let literals = |source: &str| {
            let needed = compile(source).needed().cloned();
            let (place, mut literals) = needed.map(|needed| (needed.place, needed.literals))?;
            literals.sort();
            Some((place, literals.join(" ")))
        };
        let at = |place, texts: &str| Some((place, texts.to_owned()));
        assert_eq!(literals(r"\s-[FTd]\s"), at(Place::Anywhere, "-d -f -t"));
        assert_eq!(
            literals(r"https://[0-9]{1,3}\.[0-9]+"),
            at(Place::Anywhere, "https://")
        );
        assert_eq!(literals("(?i)K[0-9]+whO"), at(Place::Anywhere, "who"));
        assert_eq!(literals("(?:foo|ba+r)x"), at(Place::Anywhere, "b foo"));
        assert_eq!(literals(r"(^|\/)\.[^.\/]"), at(Place::Anywhere, ". /."));
        assert_eq!(literals("(?i)sh"), at(Place::Anywhere, "sh ſh"));
        assert_eq!(literals("[0-9]+|abc"), None);
        assert_eq!(literals("x+/(id|W)$"), at(Place::End, "/id /w"));
        assert_eq!(
            literals("^/(tmp|var)/.*x$"),
            at(Place::Start, "/tmp/ /var/")
        );
        assert_eq!(literals("(?m)^abc"), at(Place::Anywhere, "abc"));
    }

    #[test]
    fn a_match_in_the_tail_of_a_long_text_is_found() {
        let filler = "x".repeat(4 * MAX_REGEX_BYTES);
        let regular = compile(r"evil[0-9]+\.sh");
        for text in [
            format!("evil1.sh{filler}"),
            format!("{filler}evil1.sh"),
            format!("{filler}evil1.sh{filler}"),
            format!("{filler}éÉKEVIL{filler}evil1.sh{filler}"),
        ] {
            assert!(is_match(&regular, &text), "{} bytes", text.len());
        }
        assert!(!is_match(&regular, &format!("{filler}evil.sh{filler}")));
    }

    #[test]
    fn the_cut_of_a_long_text_is_neither_its_beginning_nor_its_end() {
        let filler = "x".repeat(MAX_REGEX_BYTES);
        assert!(!is_match(&compile("x$"), &format!("{filler}{filler}y")));
        assert!(is_match(&compile("y$"), &format!("{filler}{filler}y")));
        assert!(!is_match(&compile("^x"), &format!("y{filler}{filler}")));
        assert!(is_match(&compile("^y"), &format!("y{filler}{filler}")));
    }

    #[test]
    fn expressions_too_big_to_hold_are_refused_with_their_place() {
        for source in [r"\w{1000}", r"(\w{50}){50}", r"(?:(?:a{100}){100}){100}"] {
            let refused =
                Regular::compile(source, RegexFlags::default(), "rule.yml", Location::START);
            let error = refused.err().unwrap().in_file("rule.yml");
            assert!(
                error.problem.contains("bytes compiled"),
                "{source}: {error}"
            );
        }
    }
}
