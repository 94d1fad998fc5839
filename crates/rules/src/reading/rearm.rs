//! Hysteresis between rules: which rule arms another one again, checked when a set is put together.
//! It never counts; whoever raises alerts does.

use std::collections::HashMap;

use crate::fault::{Fault, Location, RuleError};
use crate::reading::document::Document;
use crate::rule_set::{Logic, Rule};

/// A rule that waits for another one, by name.
#[derive(Debug)]
pub(crate) struct Rearm {
    at: Location,
    rule: String,
    name: String,
}

/// The rules that wait for another one.
pub(crate) fn list_rearms(documents: &[Document]) -> Vec<Rearm> {
    let read = |document: &Document| {
        Some(Rearm {
            at: document.rearm_at?,
            rule: document.info.id.clone(),
            name: document.info.rearm.clone()?,
        })
    };
    documents.iter().filter_map(read).collect()
}

/// Turns every name into an id, or refuses one by which a rule would never be armed again.
pub(crate) fn resolve_rearms(rearms: &[Rearm], rules: &mut [Rule], errors: &mut Vec<RuleError>) {
    let numbers: HashMap<String, usize> = rules
        .iter()
        .enumerate()
        .map(|(number, rule)| (rule.info.id.clone(), number))
        .collect();
    for rearm in rearms {
        let Some(waiting) = numbers.get(&rearm.rule).copied() else {
            continue;
        };
        let outcome = find_target(rearm, waiting, rules);
        let Some(rule) = rules.get_mut(waiting) else {
            continue;
        };
        match outcome {
            Ok(target) => rule.info.rearm = Some(target),
            Err(fault) => errors.push(fault.in_file(&rule.info.file)),
        }
    }
}

/// The id of the rule that arms another one again.
fn find_target(rearm: &Rearm, waiting: usize, rules: &[Rule]) -> Result<String, Fault> {
    let name = &rearm.name;
    let refuse = |problem: String, instead: &str| Err(Fault::new(rearm.at, problem, instead));
    let target = rules.iter().position(|rule| rule.info.is_called(name));
    let (Some(target), Some(own)) = (target, rules.get(waiting)) else {
        return refuse(
            format!("there is no rule with the id or name '{name}'"),
            "write the id or name of a rule in one of the loaded files",
        );
    };
    let Some(rule) = rules.get(target).filter(|_| target != waiting) else {
        return refuse(
            "the rule would arm itself".to_owned(),
            "name a rule that matches when the state is normal again",
        );
    };
    if !rule.is_reported {
        return refuse(
            format!("'{name}' is silenced by a correlation that joins it"),
            "name another rule, or write 'generate: true' in that correlation",
        );
    }
    if list_group(rule) != list_group(own) {
        return refuse(
            format!("'{name}' does not group by the same fields, so its keys are never the same"),
            "give both the same 'group-by', in the same order",
        );
    }
    Ok(rule.info.id.clone())
}

/// The fields of a rule's group key.
fn list_group(rule: &Rule) -> Vec<&str> {
    match &rule.logic {
        Logic::Detection(_) => rule.info.group_by.iter().map(String::as_str).collect(),
        Logic::Correlation(correlation) => {
            let fields = correlation.plan.group_by.iter();
            fields.map(|field| field.name.as_str()).collect()
        }
    }
}
