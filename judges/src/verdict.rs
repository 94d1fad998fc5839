//! One case before all judges: what our engine has too many and too few, and which of that is known.
//! It never prints; it counts and names.

use std::collections::{BTreeMap, BTreeSet};

use crate::case::{Case, CaseEvent, Kind, Pairs};
use crate::differences::{Differences, Subject};
use crate::rsigma::{Rsigma, RsigmaStream, log_source};

/// What came of one case before one judge.
#[derive(Clone, Default, Debug)]
pub struct Verdict {
    /// Pairs on which both agree that they match.
    pub agreed: usize,
    /// Pairs that only our engine has.
    pub extra: usize,
    /// Pairs that only the judge has.
    pub missing: usize,
    /// Of both, those that the table of differences knows.
    pub known: usize,
    /// Rules on which the judge says nothing.
    pub silent: Vec<String>,
    /// The unknown differences, some of them in full.
    pub unknown: Vec<String>,
}

/// Most differences told of one rule.
const MAX_TOLD: usize = 2;

/// Compares our engine with the oracle's answers.
#[must_use]
pub fn compare_with_oracle(case: &Case, found: &Pairs, known: &Differences) -> Verdict {
    let silent = case.silent.keys().cloned().collect();
    compare("oracle", case, found, &case.expected(), &silent, known)
}

/// Compares our engine with rsigma.
#[must_use]
pub fn compare_with_rsigma(case: &Case, found: &Pairs, known: &Differences) -> Verdict {
    let (accepted, silent) = list_accepted(case);
    let texts: Vec<&str> = accepted
        .iter()
        .map(|index| case.rules[*index].text.as_str())
        .collect();
    match case.kind {
        Kind::Events | Kind::Documents => match Rsigma::load(&texts, &case.pipelines) {
            Ok(rsigma) => {
                let expected = pairs(case, |event| {
                    rsigma.matches(&source_of(event), &event.flat())
                });
                compare("rsigma", case, found, &expected, &silent, known)
            }
            Err(error) => refused(&error),
        },
        Kind::Stream => match RsigmaStream::load(&texts) {
            Ok(mut rsigma) => {
                let expected = pairs(case, |event| {
                    rsigma.observe(&source_of(event), &event.flat(), event.at)
                });
                compare("rsigma", case, found, &expected, &silent, known)
            }
            Err(error) => refused(&error),
        },
    }
}

/// The rules that rsigma takes, by number, and the ids of those that it does not.
fn list_accepted(case: &Case) -> (Vec<usize>, BTreeSet<String>) {
    let is_taken = |text: &str| match case.kind {
        Kind::Events | Kind::Documents => Rsigma::load(&[text], &case.pipelines).is_ok(),
        Kind::Stream => true, // correlations cannot be loaded without the rules they join
    };
    let (taken, refused): (Vec<usize>, Vec<usize>) =
        (0..case.rules.len()).partition(|index| is_taken(&case.rules[*index].text));
    let ids = refused
        .into_iter()
        .map(|index| case.rules[index].id.clone());
    (taken, ids.collect())
}

/// A verdict of nothing but a refusal.
fn refused(error: &str) -> Verdict {
    Verdict {
        unknown: vec![format!("rsigma refuses the rules: {error}")],
        ..Verdict::default()
    }
}

/// What a judge answers for each event.
fn pairs(case: &Case, mut ask: impl FnMut(&CaseEvent) -> BTreeSet<String>) -> Pairs {
    let mut pairs = Pairs::new();
    for (number, event) in case.events.iter().enumerate() {
        pairs.extend(ask(event).into_iter().map(|id| (id, number)));
    }
    pairs
}

/// The log source of an event in rsigma's form.
fn source_of(event: &CaseEvent) -> rsigma_parser::LogSource {
    let source = &event.source;
    log_source(
        source.category.as_deref(),
        source.product.as_deref(),
        source.service.as_deref(),
    )
}

/// Compares two sets of pairs.
fn compare(
    judge: &str,
    case: &Case,
    found: &Pairs,
    expected: &Pairs,
    silent: &BTreeSet<String>,
    known: &Differences,
) -> Verdict {
    let mut verdict = Verdict {
        silent: silent
            .iter()
            .map(|id| case.name_of(id).to_owned())
            .collect(),
        ..Verdict::default()
    };
    let judged = |pair: &&(String, usize)| !silent.contains(&pair.0);
    verdict.agreed = found.intersection(expected).filter(judged).count();
    let mut unknown: BTreeMap<(String, &str), Vec<usize>> = BTreeMap::new();
    let extra = found
        .difference(expected)
        .filter(judged)
        .map(|pair| (pair, "extra"));
    let missing = expected
        .difference(found)
        .filter(judged)
        .map(|pair| (pair, "missing"));
    for ((id, event), way) in extra.chain(missing) {
        *(if way == "extra" {
            &mut verdict.extra
        } else {
            &mut verdict.missing
        }) += 1;
        let name = case.name_of(id);
        let subject = Subject {
            judge,
            case: &case.name,
            rule: name,
            way,
        };
        let seen = case.events.get(*event).map(CaseEvent::flat);
        if known.knows(subject, &seen.unwrap_or_default().to_string()) {
            verdict.known += 1;
        } else {
            unknown
                .entry((name.to_owned(), way))
                .or_default()
                .push(*event);
        }
    }
    verdict.unknown = unknown
        .into_iter()
        .map(|((name, way), events)| tell(judge, case, &name, way, &events))
        .collect();
    verdict
}

/// One rule's differences, for people.
fn tell(judge: &str, case: &Case, name: &str, way: &str, events: &[usize]) -> String {
    let mut told = format!(
        "{}: {name}: {} {way} against {judge}",
        case.name,
        events.len()
    );
    for number in events.iter().take(MAX_TOLD) {
        if let Some(event) = case.events.get(*number) {
            told.push_str(&format!("\n    event {number}: {event:?}"));
        }
    }
    told
}
