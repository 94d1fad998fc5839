//! Which rules of a bucket an event could match at all, by one pass over each of its fields.
//! It never leaves out a rule that matches; what it lets through is decided by the rule itself.

use hashbrown::HashMap;

use crate::search::scan::Scan;
use crate::search::view::{Shown, Slot, View};
use crate::search::witness::{Clue, Commonness, find_witness};
use crate::selecting::detection::Detection;
use crate::values::matcher::Place;

/// Rules by their place in the bucket.
type Rules = Vec<u32>;

/// The clues of all rules of a bucket.
#[derive(Clone, Default, Debug)]
pub(crate) struct Prefilter {
    /// Rules without a witness, as the candidates every event begins with.
    always: Candidates,
    /// Per slot of a field the clues in it.
    fields: Vec<Option<Box<Clues>>>,
    /// Which literals any text is searched for.
    texts: Searched,
    /// All literals that may stand at any place.
    scan: Scan,
    /// Per literal of the scan the rules that have it as a clue, by field; no field is any text.
    owners: Vec<Vec<(Option<Slot>, Rules)>>,
}

/// Which literals at any place a field is searched for.
#[derive(Clone, Copy, Default, Debug)]
struct Searched {
    long: bool,
    short: bool,
}

/// The clues at the ends of one field.
#[derive(Clone, Default, Debug)]
struct Clues {
    present: Rules,
    whole: HashMap<Box<str>, Rules>,
    /// A bit for every length of a whole value; the last is all longer ones.
    lengths: u64,
    starts: Edges,
    ends: Edges,
    anywhere: Searched,
}

/// Literals at the beginning or the end, by their outermost four bytes.
#[derive(Clone, Default, Debug)]
struct Edges {
    /// One bit per hash of a key, so that most texts need no look-up.
    bitmap: [u64; 16],
    long: HashMap<[u8; 4], Vec<(Box<str>, Rules)>>,
    /// Literals of less than four bytes, by themselves, filled up with their length.
    short: HashMap<[u8; 4], Rules>,
    /// Whether there are literals of one, two and three bytes.
    lengths: [bool; 3],
}

/// The rules that may match the event at hand.
#[derive(Clone, Default, Debug)]
pub(crate) struct Candidates {
    bits: Vec<u64>,
}

impl Candidates {
    /// Adds rules.
    fn add(&mut self, rules: &[u32]) {
        for rule in rules {
            if let Some(word) = self.bits.get_mut(*rule as usize / 64) {
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

/// Literals at any place while they are gathered.
type Gathered = HashMap<Box<str>, Vec<(Option<Slot>, Rules)>>;

impl Prefilter {
    /// Gathers the clues of the rules of a bucket.
    pub(crate) fn new<'r>(rules: impl Iterator<Item = &'r Detection> + Clone) -> Self {
        let mut common = Commonness::default();
        rules.clone().for_each(|rule| common.count(rule));
        let mut prefilter = Self::default();
        let mut gathered = Gathered::default();
        let mut always = Rules::new();
        for (rule, detection) in (0..).zip(rules) {
            prefilter.always.bits.resize(rule as usize / 64 + 1, 0);
            match find_witness(detection, &common) {
                Some(witness) => {
                    for clue in &witness.clues {
                        prefilter.add(clue, rule, &mut gathered);
                    }
                }
                None => always.push(rule),
            }
        }
        prefilter.always.add(&always);
        let (literals, owners) = gathered.into_iter().unzip();
        prefilter.scan = Scan::new(literals);
        prefilter.owners = owners;
        prefilter
    }

    /// Adds one clue of a rule.
    fn add(&mut self, clue: &Clue, rule: u32, gathered: &mut Gathered) {
        let searched = match clue.field {
            None => &mut self.texts,
            Some(slot) => {
                let clues = self.clues_of(slot);
                match &clue.text {
                    Some((Place::Anywhere, _)) => &mut clues.anywhere,
                    _ => return clues.add(clue, rule),
                }
            }
        };
        let Some((_, text)) = &clue.text else {
            return;
        };
        searched.long |= !Scan::is_short(text);
        searched.short |= Scan::is_short(text);
        let owners = gathered.entry(text.as_str().into()).or_default();
        match owners.iter_mut().find(|(field, _)| *field == clue.field) {
            Some((_, rules)) => push_new(rules, rule),
            None => owners.push((clue.field, vec![rule])),
        }
    }

    /// The clues of a field.
    fn clues_of(&mut self, slot: Slot) -> &mut Clues {
        let index = slot.index();
        if self.fields.len() <= index {
            self.fields.resize(index + 1, None);
        }
        self.fields[index].get_or_insert_default()
    }

    /// Finds the rules that may match an event.
    pub(crate) fn find(&self, view: View<'_>, candidates: &mut Candidates) {
        candidates.bits.clone_from(&self.always.bits);
        // Where every text is searched for few literals, one pass over all saves many short ones.
        let searches_all = self.texts.long && self.scan.is_sparse();
        if searches_all {
            self.scan.find_long(view.folded(), &mut |literal, start| {
                let end = start + self.scan.length(literal);
                if let Some(shown) = view.shown_at(start, end) {
                    self.add_owners(literal, shown, candidates);
                }
            });
        }
        for shown in view.shown() {
            let clues = shown
                .slot
                .and_then(|slot| self.fields.get(slot.index())?.as_deref());
            let mut searched = Searched::default();
            if let Some(clues) = clues {
                clues.find(shown.folded, candidates);
                searched = clues.anywhere;
            }
            if shown.is_text {
                searched.long |= self.texts.long;
                searched.short |= self.texts.short;
            }
            let mut found = |literal, _| self.add_owners(literal, shown, candidates);
            if searched.long && !searches_all {
                self.scan.find_long(shown.folded, &mut found);
            }
            if searched.short {
                self.scan.find_short(shown.folded, &mut found);
            }
        }
    }

    /// Adds the rules that have a literal as a clue where it was found.
    fn add_owners(&self, literal: usize, shown: Shown<'_>, candidates: &mut Candidates) {
        for (field, rules) in self.owners.get(literal).into_iter().flatten() {
            if *field == shown.slot || (field.is_none() && shown.is_text) {
                candidates.add(rules);
            }
        }
    }
}

/// Adds a rule that is not the last already.
fn push_new(rules: &mut Rules, rule: u32) {
    if rules.last() != Some(&rule) {
        rules.push(rule);
    }
}

/// The bit of a length.
fn length_bit(text: &str) -> u64 {
    1 << text.len().min(63)
}

impl Clues {
    /// Adds a clue that is not at any place.
    fn add(&mut self, clue: &Clue, rule: u32) {
        let rules = match &clue.text {
            None => &mut self.present,
            Some((Place::Start, text)) => self.starts.entry(text, first_four(text.as_bytes())),
            Some((Place::End, text)) => self.ends.entry(text, last_four(text.as_bytes())),
            Some((Place::Whole | Place::Anywhere, text)) => {
                self.lengths |= length_bit(text);
                self.whole.entry(text.as_str().into()).or_default()
            }
        };
        push_new(rules, rule);
    }

    /// Finds the rules that have a clue in a text.
    fn find(&self, text: &str, candidates: &mut Candidates) {
        candidates.add(&self.present);
        if self.lengths & length_bit(text) != 0
            && let Some(rules) = self.whole.get(text)
        {
            candidates.add(rules);
        }
        let bytes = text.as_bytes();
        self.starts.find(
            first_four(bytes),
            |length| bytes.get(..length),
            |literal| text.starts_with(literal),
            candidates,
        );
        self.ends.find(
            last_four(bytes),
            |length| bytes.get(bytes.len().checked_sub(length)?..),
            |literal| text.ends_with(literal),
            candidates,
        );
    }
}

impl Edges {
    /// The rules of a literal; `key` is its outermost four bytes, if it has as many.
    fn entry(&mut self, text: &str, key: Option<[u8; 4]>) -> &mut Rules {
        let bit = edge_bit(key.unwrap_or_else(|| short_key(text.as_bytes())));
        self.bitmap[bit / 64] |= 1 << (bit % 64);
        let Some(key) = key else {
            if let Some(length) = text
                .len()
                .checked_sub(1)
                .and_then(|at| self.lengths.get_mut(at))
            {
                *length = true;
            }
            return self.short.entry(short_key(text.as_bytes())).or_default();
        };
        let literals = self.long.entry(key).or_default();
        let known = literals.iter().position(|(literal, _)| **literal == *text);
        let index = known.unwrap_or_else(|| {
            literals.push((text.into(), Rules::new()));
            literals.len() - 1
        });
        &mut literals[index].1
    }

    /// Finds the rules of the literals that `matches`; `edge` is so much of the text's edge.
    fn find<'t>(
        &self,
        key: Option<[u8; 4]>,
        edge: impl Fn(usize) -> Option<&'t [u8]>,
        matches: impl Fn(&str) -> bool,
        candidates: &mut Candidates,
    ) {
        if let Some(literals) = key
            .filter(|key| self.has_bit(*key))
            .and_then(|key| self.long.get(&key))
        {
            for (literal, rules) in literals {
                if matches(literal) {
                    candidates.add(rules);
                }
            }
        }
        for (length, _) in (1..).zip(&self.lengths).filter(|(_, is_there)| **is_there) {
            let key = edge(length).map(short_key).filter(|key| self.has_bit(*key));
            if let Some(rules) = key.and_then(|key| self.short.get(&key)) {
                candidates.add(rules);
            }
        }
    }

    /// Whether there may be a literal with this key.
    fn has_bit(&self, key: [u8; 4]) -> bool {
        let bit = edge_bit(key);
        self.bitmap[bit / 64] >> (bit % 64) & 1 != 0
    }
}

/// Less than four bytes, filled up with their number.
fn short_key(bytes: &[u8]) -> [u8; 4] {
    match *bytes {
        [a, b, c] => [a, b, c, 3],
        [a, b] => [a, b, 0, 2],
        [a] => [a, 0, 0, 1],
        _ => [0; 4],
    }
}

/// The number of the bit of four bytes, below 1,024.
fn edge_bit(key: [u8; 4]) -> usize {
    (u32::from_le_bytes(key).wrapping_mul(0x9e37_79b1) >> 22) as usize
}

/// The first four bytes of a text that has as many.
fn first_four(text: &[u8]) -> Option<[u8; 4]> {
    text.first_chunk().copied()
}

/// The last four bytes of a text that has as many.
fn last_four(text: &[u8]) -> Option<[u8; 4]> {
    text.last_chunk().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, proptest};
    use proptest::sample::select;

    use super::{Candidates, Prefilter};
    use crate::event::{Event, LogSource, Value};
    use crate::rule_set::{RuleFile, RuleSet};
    use crate::search::view::{Scratch, View};

    /// One line of a selection over three fields, or of keywords.
    fn any_item() -> impl Strategy<Value = String> {
        let keys = [
            "f0",
            "f1|contains",
            "f2|startswith",
            "f0|endswith",
            "f1|contains|all",
            "f2|re",
            "f1|re",
            "f0|re",
            "'|re'",
            "f0|cased",
            "f1|neq",
            "f2|contains|cased",
            "'|all'",
            "f0|base64offset|contains",
        ];
        let value = "[abAB]{1,2}[*?]?[abAB]{0,6}";
        (select(keys.to_vec()), value, value).prop_map(|(key, first, second)| {
            let quiet = |text: String| {
                let free = text.replace(['*', '?'], ".");
                if key == "f1|re" {
                    format!("^(b|{free}).*$")
                } else if key == "f0|re" {
                    format!("{free}(a|(?i)BS|b)$")
                } else if key.contains("re") {
                    free
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
            values in proptest::collection::vec("[abABsS]{0,9}", 3),
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
