//! Rows of intent to a layer, and a verdict on every row: what cannot be honoured is refused with
//! its reason and place, and the rest is in force all the same.
//! It never reads a clock or a row by itself.

use std::collections::{BTreeMap, BTreeSet};

use hidps_rules::{Layer, Level, RuleError, RuleFile, RuleSet};
use hidps_wire::printable;

use crate::detection::rule_probe::list_dear;
use crate::detection::tenants::layer::{OrgLayer, Settings};
use crate::detection::tenants::room::{Room, Weight};
use crate::detection::tenants::silence::{Silence, Silences};
use crate::model::{
    DetectionIntent, DetectionVerdict, IntentKind, IntentRow, OwnRule, RuleOverride, VerdictStatus,
};

/// How often the rest is tried again without what was refused. Faults of one kind come all at once;
/// a row falls with the one it names, and hardly ever through more steps than these.
const MAX_ROUNDS: usize = 8;

/// Longest reason, in characters; rows hold no more.
const MAX_REASON: usize = 1_000;

/// A layer and what became of the rows it was made of.
#[derive(Debug)]
pub(super) struct Draft {
    /// The layer.
    pub(super) layer: OrgLayer,
    /// One for every row.
    pub(super) verdicts: Vec<DetectionVerdict>,
    /// What the layer's rules hold.
    pub(super) weight: Weight,
    /// Whether rows were refused only because of what other organizations have.
    pub(super) is_crowded: bool,
    /// Whether its rules are suspended.
    pub(super) is_suspended: bool,
}

/// Why an organization's own rules are not tried any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspension {
    /// Hash of the rules it is about.
    pub(super) rule_set: String,
    /// What they cost.
    pub(super) reason: String,
}

/// Makes a layer over the built-in rules. Rules that are suspended are not in it, so that the
/// built-in ones they took the place of are in force again.
pub(super) fn draft(
    intent: &DetectionIntent,
    base: &RuleSet,
    suspended: Option<&Suspension>,
    room: Room,
) -> Draft {
    let mut verdicts = Vec::new();
    let mut settings = BTreeMap::new();
    let mut thresholds = Vec::new();
    for wanted in &intent.overrides {
        match read_settings(wanted, base) {
            Ok(own) => {
                settings.insert(wanted.rule_id.clone(), own);
                thresholds.extend(wanted.threshold.map(|n| (wanted.rule_id.clone(), n)));
                verdicts.push(verdict(IntentKind::Override, wanted.row, Ok(())));
            }
            Err(reason) => verdicts.push(verdict(IntentKind::Override, wanted.row, Err(reason))),
        }
    }
    let mut silences = Silences::default();
    for wanted in &intent.suppressions {
        let silence = Silence::new(wanted).map(|silence| silences.add(silence));
        verdicts.push(verdict(IntentKind::Suppression, wanted.row, silence));
    }
    let mut rules = compile(&intent.rules, &thresholds, base, room);
    let is_crowded = mark_crowded(&mut rules.refused, room, || {
        compile(&intent.rules, &thresholds, base, Room::all()).refused
    });
    let set = rules
        .layer
        .as_ref()
        .map(|layer| layer.set.hash().to_owned());
    let suspended = suspended.filter(|suspended| Some(&suspended.rule_set) == set.as_ref());
    if suspended.is_some() {
        rules.layer = None;
    }
    let has_rules = rules.layer.is_some();
    if !has_rules {
        refuse_thresholds(&mut verdicts, &mut settings, &intent.overrides);
    }
    for row in &intent.rules {
        verdicts.push(judge(row, &rules.refused, set.as_deref(), suspended));
    }
    let on_trial = intent.rules.iter().filter(|rule| rule.shadow);
    // Nobody's events will be tried; an agent that comes has it made anew.
    let rules = rules.layer.filter(|_| !intent.agents.is_empty());
    Draft {
        weight: rules.as_ref().map(Weight::of).unwrap_or_default(),
        is_crowded,
        is_suspended: suspended.is_some(),
        layer: OrgLayer {
            org: Some(intent.org),
            rules,
            settings,
            shadow_files: on_trial.map(file_name).collect(),
            silences,
        },
        verdicts,
    }
}

/// The name under which a row's text is compiled: errors and matches lead back to the row by it.
fn file_name(rule: &OwnRule) -> String {
    rule.row.id.to_string()
}

/// The settings a row wants, or why it cannot have them.
fn read_settings(wanted: &RuleOverride, base: &RuleSet) -> Result<Settings, String> {
    let id = &wanted.rule_id;
    if base.rule(id).is_none() {
        return Err(format!(
            "there is no built-in rule with the id '{id}'; settings of own rules belong into them"
        ));
    }
    if wanted.threshold.is_some() && !base.has_threshold(id) {
        return Err(format!(
            "'{id}' does not count up to a number; only a correlation that does has a threshold"
        ));
    }
    let level = match wanted.level.as_deref() {
        None => None,
        Some(name) => {
            let known = Level::ALL.into_iter().find(|level| level.as_str() == name);
            Some(known.ok_or_else(|| format!("'{name}' is not a level"))?)
        }
    };
    Ok(Settings {
        enabled: wanted.enabled,
        level,
        shadow: wanted.shadow,
    })
}

/// Refuses the rows with thresholds, which come into force with the own rules or not at all.
fn refuse_thresholds(
    verdicts: &mut [DetectionVerdict],
    settings: &mut BTreeMap<String, Settings>,
    overrides: &[RuleOverride],
) {
    for (verdict, wanted) in verdicts.iter_mut().zip(overrides) {
        if wanted.threshold.is_some() && verdict.status == VerdictStatus::Accepted {
            settings.remove(&wanted.rule_id);
            verdict.status = VerdictStatus::Refused;
            verdict.reason = "its threshold is not in force while the organization's own rules \
                              are not; correct those first"
                .to_owned();
        }
    }
}

/// What became of an organization's own texts.
struct Compiled {
    layer: Option<Layer>,
    refused: BTreeMap<String, RuleError>,
}

/// Lays over what can be honoured, and says of the rest why it cannot.
fn compile(
    rules: &[OwnRule],
    thresholds: &[(String, i64)],
    base: &RuleSet,
    room: Room,
) -> Compiled {
    let names: Vec<String> = rules.iter().map(file_name).collect();
    let mut left: Vec<RuleFile<'_>> = rules
        .iter()
        .zip(&names)
        .filter(|(rule, _)| rule.enabled)
        .map(|(rule, name)| RuleFile {
            name,
            text: &rule.body,
        })
        .collect();
    let mut refused = BTreeMap::new();
    for _ in 0..MAX_ROUNDS {
        if left.is_empty() && thresholds.is_empty() {
            break;
        }
        let errors = match base.lay_over(&left, thresholds, room.limits()) {
            Ok(layer) if !room.fits(Weight::of(&layer)) => break,
            Ok(layer) => {
                let own = |fault: &RuleError| left.iter().any(|file| file.name == fault.file);
                let dear: Vec<RuleError> = list_dear(&layer.set).into_iter().filter(own).collect();
                if dear.is_empty() {
                    return Compiled {
                        layer: Some(layer),
                        refused,
                    };
                }
                dear
            }
            Err(errors) => errors,
        };
        let before = left.len();
        let named: BTreeSet<String> = errors.iter().map(|fault| fault.file.clone()).collect();
        left.retain(|file| !named.contains(file.name));
        for error in errors {
            refused.entry(error.file.clone()).or_insert(error);
        }
        if left.len() == before {
            break;
        }
    }
    for file in left {
        refused.entry(file.name.to_owned()).or_insert(RuleError {
            file: file.name.to_owned(),
            line: 1,
            column: 1,
            problem: "it cannot be used together with the other rules".to_owned(),
            instead: "correct the rules that are refused first".to_owned(),
        });
    }
    Compiled {
        layer: None,
        refused,
    }
}

/// Says of the texts that were refused only because of what other organizations have that it was so;
/// answers whether there are any.
fn mark_crowded(
    refused: &mut BTreeMap<String, RuleError>,
    room: Room,
    refused_alone: impl FnOnce() -> BTreeMap<String, RuleError>,
) -> bool {
    if refused.is_empty() || !room.is_short() {
        return false;
    }
    let alone = refused_alone();
    let mut is_crowded = false;
    for (file, fault) in refused {
        if !alone.contains_key(file) {
            is_crowded = true;
            fault.problem =
                "the rules of all organizations together hold as much as the daemon may".to_owned();
            fault.instead = "remove or shorten rules, or ask the operator of the daemon".to_owned();
        }
    }
    is_crowded
}

/// The verdict on one own rule.
fn judge(
    rule: &OwnRule,
    refused: &BTreeMap<String, RuleError>,
    set: Option<&str>,
    suspended: Option<&Suspension>,
) -> DetectionVerdict {
    let mut verdict = verdict(IntentKind::Rule, rule.row, Ok(()));
    verdict.rule_set = set.map(str::to_owned);
    if !rule.enabled {
        verdict.status = VerdictStatus::Disabled;
    } else if let Some(fault) = refused.get(&file_name(rule)) {
        verdict.status = VerdictStatus::Refused;
        // It quotes the text at fault, in which there may be what no row can hold.
        verdict.reason = printable(&format!("{}; {}", fault.problem, fault.instead), MAX_REASON);
        verdict.place = Some((fault.line, fault.column));
    } else if let Some(suspended) = suspended {
        verdict.status = VerdictStatus::Suspended;
        verdict.reason.clone_from(&suspended.reason);
    }
    verdict
}

fn verdict(kind: IntentKind, row: IntentRow, outcome: Result<(), String>) -> DetectionVerdict {
    let (status, reason) = match outcome {
        Ok(()) => (VerdictStatus::Accepted, String::new()),
        Err(reason) => (VerdictStatus::Refused, reason),
    };
    DetectionVerdict {
        kind,
        row,
        status,
        reason,
        place: None,
        rule_set: None,
    }
}

#[cfg(test)]
mod tests;
