//! What a regular expression cannot match without: a literal out of few, or a mere length.
//! It never runs an expression; it reads its syntax.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

use crate::values::fold::{fold, fold_char};
use crate::values::matcher::Place;

/// Most spellings of one literal, and most literals of which one is needed.
const MAX_SPELLINGS: usize = 64;

/// Most characters of a class that are spelled out: the cases of a letter, or a choice of flags;
/// a digit is in every text.
const MAX_CLASS: usize = 4;

/// Texts in caseless form of which one stands at this place of everything that matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Needed {
    /// Where; in caseless form.
    pub(crate) place: Place,
    /// The texts, none of them empty.
    pub(crate) literals: Vec<String>,
}

/// Finds what an expression needs: at the end or the beginning if it says where, since that costs
/// least to look for, else anywhere; nothing when there is no such set of few.
pub(crate) fn find_needed(hir: &Hir) -> Option<Needed> {
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_)
        | HirKind::Capture(_)
        | HirKind::Alternation(_) => &[],
    };
    let is =
        |part: Option<&Hir>, look| part.is_some_and(|part| *part.kind() == HirKind::Look(look));
    let is_worth = |literals: &Vec<String>| literals.iter().all(|text| text.len() > 1);
    if is(parts.last(), Look::End) {
        let add = |run: &[String], part: &[String]| cross(part, run);
        let literals = spell_while(parts.iter().rev(), add);
        if is_worth(&literals) {
            return Some(Needed {
                place: Place::End,
                literals,
            });
        }
    }
    if is(parts.first(), Look::Start) {
        let literals = spell_while(parts.iter(), cross);
        if is_worth(&literals) {
            return Some(Needed {
                place: Place::Start,
                literals,
            });
        }
    }
    let literals = required(hir)?;
    let is_useful = !literals.is_empty() && literals.iter().all(|text| !text.is_empty());
    is_useful.then_some(Needed {
        place: Place::Anywhere,
        literals,
    })
}

/// Joins the spellings of parts as long as they have few.
fn spell_while<'h>(
    parts: impl Iterator<Item = &'h Hir>,
    add: impl Fn(&[String], &[String]) -> Option<Vec<String>>,
) -> Vec<String> {
    let mut run = vec![String::new()];
    for part in parts {
        match spellings(part).and_then(|next| add(&run, &next)) {
            Some(joined) => run = joined,
            None => break,
        }
    }
    run
}

/// Texts of which one is needed.
fn required(hir: &Hir) -> Option<Vec<String>> {
    if let Some(all) = spellings(hir) {
        return Some(all);
    }
    match hir.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Concat(parts) => required_of_all(parts),
        HirKind::Alternation(parts) => {
            let mut union = Vec::new();
            for part in parts {
                union.extend(required(part)?);
            }
            (union.len() <= MAX_SPELLINGS).then_some(union)
        }
        HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_) => None,
    }
}

/// Of the parts of a sequence, the one that says most; neighbours that are spelled out are one.
fn required_of_all(parts: &[Hir]) -> Option<Vec<String>> {
    let mut best: Option<Vec<String>> = None;
    let mut offer = |texts: Vec<String>| {
        let worth = |texts: &[String]| texts.iter().map(String::len).min().unwrap_or_default();
        if best.as_ref().is_none_or(|best| worth(&texts) > worth(best)) {
            best = Some(texts);
        }
    };
    let mut run = vec![String::new()];
    for part in parts {
        let joined = spellings(part).and_then(|next| cross(&run, &next));
        if let Some(joined) = joined {
            run = joined;
            continue;
        }
        offer(std::mem::replace(&mut run, vec![String::new()]));
        match spellings(part) {
            Some(next) => run = next,
            None => {
                if let Some(texts) = required(part) {
                    offer(texts);
                }
            }
        }
    }
    offer(run);
    best
}

/// Everything the expression can match, in caseless form, when that is little.
fn spellings(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![String::new()]),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).ok()?;
            Some(vec![fold(text)])
        }
        HirKind::Class(Class::Unicode(class)) => spellings_of_class(class),
        HirKind::Class(Class::Bytes(_)) => None,
        HirKind::Capture(capture) => spellings(&capture.sub),
        HirKind::Concat(parts) => parts.iter().try_fold(vec![String::new()], |all, part| {
            cross(&all, &spellings(part)?)
        }),
        HirKind::Alternation(parts) => {
            let mut union = Vec::new();
            for part in parts {
                union.extend(spellings(part)?);
            }
            union.sort();
            union.dedup();
            (union.len() <= MAX_SPELLINGS).then_some(union)
        }
        HirKind::Repetition(_) => None,
    }
}

/// The characters of a small class, in caseless form.
fn spellings_of_class(class: &ClassUnicode) -> Option<Vec<String>> {
    let size: usize = class.ranges().iter().map(ClassUnicodeRange::len).sum();
    if size > MAX_CLASS {
        return None;
    }
    let characters = class
        .ranges()
        .iter()
        .flat_map(|range| range.start()..=range.end());
    let mut texts: Vec<String> = characters
        .map(|character| fold_char(character).to_string())
        .collect();
    texts.sort();
    texts.dedup();
    Some(texts)
}

/// Every text of the left before every text of the right, when that is not many.
fn cross(left: &[String], right: &[String]) -> Option<Vec<String>> {
    if left.len() * right.len() > MAX_SPELLINGS {
        return None;
    }
    let pairs = left
        .iter()
        .flat_map(|first| right.iter().map(move |second| format!("{first}{second}")));
    Some(pairs.collect())
}

/// A test of nothing but length, in place of an expression such as `.{1000,}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Length {
    min: u32,
    max: Option<u32>,
    /// Whether a line's end is a character like any other.
    any: bool,
    at_start: bool,
    at_end: bool,
}

impl Length {
    /// Reads an expression that only counts characters.
    pub(crate) fn read(hir: &Hir) -> Option<Self> {
        let parts = match hir.kind() {
            HirKind::Concat(parts) => parts.as_slice(),
            HirKind::Empty
            | HirKind::Literal(_)
            | HirKind::Class(_)
            | HirKind::Look(_)
            | HirKind::Repetition(_)
            | HirKind::Capture(_)
            | HirKind::Alternation(_) => std::slice::from_ref(hir),
        };
        let mut length = Self {
            min: 0,
            max: Some(0),
            any: false,
            at_start: false,
            at_end: false,
        };
        let mut kind = None;
        for (index, part) in parts.iter().enumerate() {
            let look = match part.kind() {
                HirKind::Look(look) => Some(*look),
                HirKind::Empty
                | HirKind::Literal(_)
                | HirKind::Class(_)
                | HirKind::Repetition(_)
                | HirKind::Capture(_)
                | HirKind::Concat(_)
                | HirKind::Alternation(_) => None,
            };
            if look == Some(Look::Start) && index == 0 {
                length.at_start = true;
                continue;
            }
            if look == Some(Look::End) && index + 1 == parts.len() {
                length.at_end = true;
                continue;
            }
            let (min, max, any) = count(part)?;
            if kind.is_some_and(|kind| kind != any) {
                return None;
            }
            kind = Some(any);
            length.min = length.min.checked_add(min)?;
            let both = length.max.zip(max);
            length.max = both.and_then(|(left, right)| left.checked_add(right));
        }
        length.any = kind?;
        Some(length)
    }

    /// Whether a text is long enough, and short enough where that is asked for.
    pub(crate) fn holds(&self, text: &str) -> bool {
        if self.any {
            return self.fits(text, self.at_start && self.at_end);
        }
        match (self.at_start, self.at_end) {
            (true, true) => !text.contains('\n') && self.fits(text, true),
            (true, false) => text
                .split('\n')
                .next()
                .is_some_and(|line| self.fits(line, false)),
            (false, true) => text
                .rsplit('\n')
                .next()
                .is_some_and(|line| self.fits(line, false)),
            (false, false) => text.split('\n').any(|line| self.fits(line, false)),
        }
    }

    /// Whether a line has as many characters as are asked for.
    fn fits(&self, line: &str, whole: bool) -> bool {
        let (min, bytes) = (self.min as usize, line.len());
        let is_long = bytes >= min && (bytes / 4 >= min || line.chars().count() >= min);
        let max = self.max.filter(|_| whole);
        is_long && max.is_none_or(|max| line.chars().count() <= max as usize)
    }
}

/// How many characters a part takes, at least and at most, and whether a line's end is one.
fn count(hir: &Hir) -> Option<(u32, Option<u32>, bool)> {
    match hir.kind() {
        HirKind::Capture(capture) => count(&capture.sub),
        HirKind::Class(Class::Unicode(class)) => Some((1, Some(1), is_any(class)?)),
        HirKind::Repetition(repetition) => count_repeated(repetition),
        HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Class(_)
        | HirKind::Look(_)
        | HirKind::Concat(_)
        | HirKind::Alternation(_) => None,
    }
}

/// How many characters a repetition takes; only of a part of one length, so that no length
/// between is left out.
fn count_repeated(repetition: &Repetition) -> Option<(u32, Option<u32>, bool)> {
    let (min, max, any) = count(&repetition.sub)?;
    let is_fixed = repetition.max == Some(repetition.min);
    if max != Some(min) || (min != 1 && !is_fixed) {
        return None;
    }
    let most = repetition.max.and_then(|most| most.checked_mul(min));
    Some((repetition.min.checked_mul(min)?, most, any))
}

/// Whether a class is every character, or every character but a line's end; none otherwise.
fn is_any(class: &ClassUnicode) -> Option<bool> {
    let ranges: Vec<(char, char)> = class
        .ranges()
        .iter()
        .map(|range| (range.start(), range.end()))
        .collect();
    match ranges.as_slice() {
        [('\0', char::MAX)] => Some(true),
        [('\0', '\u{9}'), ('\u{b}', char::MAX)] => Some(false),
        _ => None,
    }
}
