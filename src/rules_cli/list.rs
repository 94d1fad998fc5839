//! `rules list`: what every rule of a directory says of itself.
//! It never runs tests: a set that is being written can be listed.

use std::io::Write;

use hidps_rules::{LogSource, RuleInfo, RuleSet};
use serde_json::{Value, json};

use super::table::Table;
use super::{Outcome, RulesArguments, RulesCliError, compile, write_json, write_text};

/// Lists the rules of a directory, the worst first.
pub(super) fn list(
    rules: &RulesArguments,
    as_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, RulesCliError> {
    let set = compile(rules)?;
    let mut rules: Vec<&RuleInfo> = set.rules().collect();
    rules.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.file.cmp(&b.file)));
    if as_json {
        let shown: Vec<Value> = rules.iter().map(|rule| show(&set, rule)).collect();
        write_json(out, &json!({ "hash": set.hash(), "rules": shown }))?;
    } else {
        write_text(out, &tabulate(&set, &rules))?;
        write_text(out, &format!("{} rules, set {}\n", rules.len(), set.hash()))?;
    }
    Ok(Outcome::Good)
}

fn show(set: &RuleSet, rule: &RuleInfo) -> Value {
    let source = set.log_source(&rule.id);
    json!({
        "id": rule.id, "name": rule.name, "title": rule.title, "author": rule.author,
        "level": rule.level.as_str(), "risk": rule.risk, "shadow": rule.shadow,
        "status": rule.status.map(hidps_rules::Status::as_str),
        "is_correlation": source.is_none(),
        "logsource": source.map(|source| json!({
            "category": source.category, "product": source.product, "service": source.service,
        })),
        "tags": rule.tags, "file": rule.file,
    })
}

fn tabulate(set: &RuleSet, rules: &[&RuleInfo]) -> String {
    let heading = [
        "LEVEL",
        "RISK",
        "MODE",
        "LOG SOURCE",
        "TITLE",
        "FILE",
        "ID",
        "TAGS",
    ];
    let mut table = Table::new(&heading, &[1]);
    for rule in rules {
        let source = set.log_source(&rule.id);
        table.push(vec![
            rule.level.as_str().to_owned(),
            rule.risk.to_string(),
            if rule.shadow { "shadow" } else { "alert" }.to_owned(),
            source.map_or_else(|| "correlation".to_owned(), name_source),
            rule.title.clone(),
            rule.file.clone(),
            rule.id.clone(),
            rule.tags.join(" "),
        ]);
    }
    table.render()
}

/// A log source in one word: its parts that are given, from the widest to the narrowest.
pub(super) fn name_source(source: LogSource<'_>) -> String {
    let parts = [source.product, source.category, source.service];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    match parts.as_slice() {
        [] => "any".to_owned(),
        parts => parts.join("/"),
    }
}
