//! Which rules of a bucket an event could match at all, by one pass over each of its fields.
//! It never leaves out a rule that matches; what it lets through is decided by the rule itself.

use aho_corasick::AhoCorasick;
use hashbrown::HashMap;

use crate::detection::Detection;
use crate::matcher::Place;
use crate::view::{Slot, View};
use crate::witness::{Clue, find_witness};

/// Rules by their place in the bucket.
type Rules = Vec<usize>;

/// The clues of all rules of a bucket.
#[derive(Clone, Default, Debug)]
pub(crate) struct Prefilter {
    /// Rules without a witness.
    always: Rules,
    /// Per slot of a field the clues in it.
    fields: Vec<Option<Box<Clues>>>,
    /// The clues in any text.
    texts: Option<Box<Clues>>,
    n_rules: usize,
}

/// The clues in one field.
#[derive(Clone, Default, Debug)]
struct Clues {
    present: Rules,
    whole: HashMap<String, Rules>,
    starts: Edges,
    ends: Edges,
    anywhere: Option<Literals>,
    waiting: HashMap<String, Rules>,
}

/// Literals at the beginning or the end, by their outermost four bytes.
#[derive(Clone, Default, Debug)]
struct Edges {
    long: HashMap<[u8; 4], Vec<(Box<str>, Rules)>>,
    short: Vec<(Box<str>, Rules)>,
}

/// Literals at any place, found all at once.
#[derive(Clone, Debug)]
struct Literals {
    automaton: AhoCorasick,
    rules: Vec<Rules>,
}

/// The rules that may match the event at hand.
#[derive(Clone, Default, Debug)]
pub(crate) struct Candidates {
    bits: Vec<u64>,
}

impl Candidates {
    /// Begins with no rule of this many.
    fn clear(&mut self, n_rules: usize) {
        self.bits.clear();
        self.bits.resize(n_rules.div_ceil(64), 0);
    }

    /// Adds rules.
    fn add(&mut self, rules: &[usize]) {
        for rule in rules {
            if let Some(word) = self.bits.get_mut(rule / 64) {
                *word |= 1 << (rule % 64);
            }
        }
    }

    /// The rules, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.bits.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.checked_sub(1)?;
                usize::try_from(bit).ok().map(|bit| index * 64 + bit)
            })
        })
    }
}

impl Prefilter {
    /// Gathers the clues of the rules of a bucket.
    pub(crate) fn new<'r>(rules: impl Iterator<Item = &'r Detection>) -> Self {
        let mut prefilter = Self::default();
        for (rule, detection) in rules.enumerate() {
            prefilter.n_rules = rule + 1;
            match find_witness(detection) {
                Some(witness) => {
                    witness
                        .clues
                        .iter()
                        .for_each(|clue| prefilter.add(clue, rule));
                }
                None => prefilter.always.push(rule),
            }
        }
        let clues = prefilter
            .fields
            .iter_mut()
            .flatten()
            .chain(&mut prefilter.texts);
        let broken: Vec<Rules> = clues.flat_map(|clues| clues.finish()).collect();
        broken
            .into_iter()
            .for_each(|rules| prefilter.always.extend(rules));
        prefilter
    }

    /// Adds one clue of a rule.
    fn add(&mut self, clue: &Clue, rule: usize) {
        let clues = match clue.field {
            None => &mut self.texts,
            Some(slot) => {
                let index = slot.index();
                if self.fields.len() <= index {
                    self.fields.resize(index + 1, None);
                }
                let Some(clues) = self.fields.get_mut(index) else {
                    return;
                };
                clues
            }
        };
        clues.get_or_insert_default().add(clue, rule);
    }

    /// Finds the rules that may match an event.
    pub(crate) fn find(&self, view: View<'_>, candidates: &mut Candidates) {
        candidates.clear(self.n_rules);
        candidates.add(&self.always);
        for shown in view.shown() {
            let slot = shown.slot.map_or(usize::MAX, Slot::index);
            if let Some(Some(clues)) = self.fields.get(slot) {
                clues.find(shown.folded, candidates);
            }
        }
        if let Some(clues) = &self.texts {
            let texts = view.shown().filter(|shown| shown.is_text);
            texts.for_each(|shown| clues.find(shown.folded, candidates));
        }
    }
}

impl Clues {
    /// Adds one clue of a rule.
    fn add(&mut self, clue: &Clue, rule: usize) {
        let rules = match &clue.text {
            None => &mut self.present,
            Some((Place::Whole, text)) => self.whole.entry_ref(text.as_str()).or_default(),
            Some((Place::Start, text)) => self.starts.entry(text, first_four(text)),
            Some((Place::End, text)) => self.ends.entry(text, last_four(text)),
            Some((Place::Anywhere, text)) => self.waiting.entry_ref(text.as_str()).or_default(),
        };
        if rules.last() != Some(&rule) {
            rules.push(rule);
        }
    }

    /// Builds the automaton; answers the rules whose literals it cannot hold.
    fn finish(&mut self) -> Vec<Rules> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let (texts, rules): (Vec<String>, Vec<Rules>) = self.waiting.drain().unzip();
        match AhoCorasick::new(&texts) {
            Ok(automaton) => {
                self.anywhere = Some(Literals { automaton, rules });
                Vec::new()
            }
            Err(_) => rules,
        }
    }

    /// Finds the rules that have a clue in a text.
    fn find(&self, text: &str, candidates: &mut Candidates) {
        candidates.add(&self.present);
        if let Some(rules) = self.whole.get(text) {
            candidates.add(rules);
        }
        self.starts.find(
            first_four(text),
            |literal| text.starts_with(literal),
            candidates,
        );
        self.ends.find(
            last_four(text),
            |literal| text.ends_with(literal),
            candidates,
        );
        if let Some(literals) = &self.anywhere {
            for found in literals.automaton.find_overlapping_iter(text) {
                if let Some(rules) = literals.rules.get(found.pattern().as_usize()) {
                    candidates.add(rules);
                }
            }
        }
    }
}

impl Edges {
    /// The rules of a literal.
    fn entry(&mut self, text: &str, key: Option<[u8; 4]>) -> &mut Rules {
        let literals = match key {
            Some(key) => self.long.entry(key).or_default(),
            None => &mut self.short,
        };
        let known = literals.iter().position(|(literal, _)| **literal == *text);
        let index = known.unwrap_or_else(|| {
            literals.push((text.into(), Rules::new()));
            literals.len() - 1
        });
        &mut literals[index].1
    }

    /// Finds the rules of the literals that `matches`.
    fn find(
        &self,
        key: Option<[u8; 4]>,
        matches: impl Fn(&str) -> bool,
        candidates: &mut Candidates,
    ) {
        let long = key
            .and_then(|key| self.long.get(&key))
            .into_iter()
            .flatten();
        for (literal, rules) in self.short.iter().chain(long) {
            if matches(literal) {
                candidates.add(rules);
            }
        }
    }
}

/// The first four bytes of a text that has as many.
fn first_four(text: &str) -> Option<[u8; 4]> {
    text.as_bytes().first_chunk().copied()
}

/// The last four bytes of a text that has as many.
fn last_four(text: &str) -> Option<[u8; 4]> {
    text.as_bytes().last_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, proptest};
    use proptest::sample::select;

    use super::{Candidates, Prefilter};
    use crate::event::{Event, LogSource, Value};
    use crate::rule_set::{RuleFile, RuleSet};
    use crate::view::{Scratch, View};

    /// One line of a selection over three fields, or of keywords.
    fn any_item() -> impl Strategy<Value = String> {
        let keys = [
            "f0",
            "f1|contains",
            "f2|startswith",
            "f0|endswith",
            "f1|contains|all",
            "f2|re",
            "f0|cased",
            "f1|neq",
            "f2|contains|cased",
            "'|all'",
            "f0|base64offset|contains",
        ];
        let value = "[abAB]{1,2}[*?]?[abAB]{0,6}";
        (select(keys.to_vec()), value, value).prop_map(|(key, first, second)| {
            let quiet = |text: String| {
                if key.ends_with("re") {
                    text.replace(['*', '?'], ".")
                } else {
                    text
                }
            };
            let plain = |text: String| {
                if key.contains("base64") {
                    text.replace(['*', '?'], "")
                } else {
                    text
                }
            };
            let (first, second) = (plain(quiet(first)), plain(quiet(second)));
            format!("{key}: ['{first}', '{second}']")
        })
    }

    /// The text of a rule of a few selections.
    fn any_rule() -> impl Strategy<Value = String> {
        let conditions = [
            "a and b",
            "a or b",
            "a and not b",
            "not a",
            "1 of them",
            "all of them",
            "a or not c",
            "(a or b) and c",
        ];
        let item = any_item();
        let keys = (item, any_item(), any_item(), select(conditions.to_vec()));
        keys.prop_map(|(a, b, c, condition)| {
            format!(
                "title: R\nlogsource: {{product: linux}}\ndetection:\n  a: {{{a}}}\n  \
                 b:\n    - {{{b}}}\n    - word\n  c: {{{c}, f3: null}}\n  condition: {condition}\n"
            )
        })
    }

    proptest! {
        #[test]
        fn no_rule_that_matches_is_left_out(
            texts in proptest::collection::vec(any_rule(), 1..4),
            values in proptest::collection::vec("[abAB]{0,9}", 3),
            message in "[ab ]{0,4}(word)?[AB]{0,8}",
            n_fields in 0..4_usize,
        ) {
            let texts: Vec<String> = texts
                .iter()
                .enumerate()
                .map(|(number, text)| text.replace("title: R", &format!("title: R{number}")))
                .collect();
            let files: Vec<RuleFile<'_>> =
                texts.iter().map(|text| RuleFile { name: "x", text }).collect();
            let rules = RuleSet::compile(&files).unwrap();
            let names = ["f0", "f1", "f2"];
            let fields: Vec<(&str, Value<'_>)> = names
                .iter()
                .zip(&values)
                .take(n_fields)
                .map(|(name, text)| (*name, Value::Str(text)))
                .collect();
            let event = Event { logsource: LogSource::default(), message: &message, fields: &fields };
            let mut scratch = Scratch::default();
            scratch.load(&event, &rules.fields, true);
            let view = View::new(&scratch, &rules.fields);
            let detections = || rules.rules.iter().filter_map(|rule| rule.detection());

            let mut candidates = Candidates::default();
            Prefilter::new(detections()).find(view, &mut candidates);

            let found: Vec<usize> = candidates.iter().collect();
            for (number, rule) in detections().enumerate() {
                if rule.condition.holds(&rule.selections, view) {
                    assert!(found.contains(&number), "{} on {event:?}", texts[number]);
                }
            }
        }
    }

    #[test]
    fn an_event_without_any_clue_has_no_candidates() {
        let texts: Vec<String> = (0..130)
            .map(|n| {
                format!(
                    "title: R{n}\nlogsource: {{product: linux}}\n\
                     detection: {{s: {{'f|contains': needle{n}x}}, condition: s}}\n"
                )
            })
            .collect();
        let files: Vec<RuleFile<'_>> = texts
            .iter()
            .map(|text| RuleFile { name: "x", text })
            .collect();
        let rules = RuleSet::compile(&files).unwrap();
        let prefilter = Prefilter::new(rules.rules.iter().filter_map(|rule| rule.detection()));
        let find = |text| {
            let fields = [("f", Value::Str(text))];
            let event = Event {
                logsource: LogSource::default(),
                message: "",
                fields: &fields,
            };
            let mut scratch = Scratch::default();
            scratch.load(&event, &rules.fields, false);
            let mut candidates = Candidates::default();
            prefilter.find(View::new(&scratch, &rules.fields), &mut candidates);
            candidates.iter().collect::<Vec<usize>>()
        };

        assert_eq!(find("hay"), Vec::<usize>::new());
        assert_eq!(find("NEEDLE7X and needle128x"), [7, 128]);
    }
}
