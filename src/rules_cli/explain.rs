//! `rules explain`: why each rule matches an event, or does not.
//! It never changes what a rule sees: events take the same way as those of agents.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use hidps_rules::{
    Engine, Explanation, ItemTruth, Limits, Scope, SelectionTruth, Verdict, WindowState,
};
use serde_json::{Value, json};

use super::samples::{claimed_ms, normalize_lines, parse_events, read_text};
use super::{Outcome, RulesArguments, RulesCliError, compile, write_json, write_text};
use crate::detection::with_rule_event;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Events are JSON as agents send it, one a line, or, with --program, raw lines of a log, which are \
taken apart as an agent does it (times without a zone as UTC); of several the last is explained, after the windows \
of correlations have taken in those before it, at the times they claim.

Exit code: 0 explained, whether or not a rule matches, 1 the rules or the event cannot be read, \
2 wrong arguments.";

/// What is to be explained.
#[derive(Args, Debug)]
pub struct ExplainArguments {
    #[command(flatten)]
    rules: RulesArguments,
    /// File with the event, or - for standard input.
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
    /// The file holds raw lines of a log, written by this program unless they say so themselves.
    #[arg(long, value_name = "NAME")]
    program: Option<String>,
    /// Explain this rule alone, by its id or name; may be given several times.
    #[arg(long, value_name = "ID")]
    rule: Vec<String>,
    /// Explain rules for other log sources too.
    #[arg(long)]
    all: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Explains the last event of a file.
pub(super) fn explain(
    arguments: &ExplainArguments,
    out: &mut dyn Write,
) -> Result<Outcome, RulesCliError> {
    let set = compile(&arguments.rules)?;
    let mut wanted = Vec::new();
    for name in &arguments.rule {
        let called =
            |rule: &&hidps_rules::RuleInfo| rule.id == *name || rule.name.as_deref() == Some(name);
        let rule = set.rules().find(called).ok_or_else(|| {
            let text = format!("no rule has the id or name '{name}'; `rules list` shows them");
            RulesCliError::Events(text)
        })?;
        wanted.push(rule.id.clone());
    }
    let text = read_text(&arguments.event)?;
    let events = match &arguments.program {
        Some(program) => normalize_lines(&text, program),
        None => parse_events(&text)?,
    };
    if events.is_empty() {
        let text = "there is no line; give one as the log has it".to_owned();
        return Err(RulesCliError::Events(text));
    }
    let mut engine = Engine::new(set, Limits::default());
    let (mut now_ms, mut explained) = (0, Vec::new());
    for (index, event) in events.iter().enumerate() {
        now_ms = claimed_ms(event, now_ms);
        with_rule_event(event, |event| {
            if index + 1 < events.len() {
                engine.observe(Scope(0), event, now_ms, &mut |_| {});
            } else {
                explained = engine.explain(Scope(0), event, now_ms);
            }
        });
    }
    if !wanted.is_empty() {
        explained.retain(|one| wanted.contains(&one.rule));
    }
    let is_shown =
        |one: &Explanation| arguments.all || !wanted.is_empty() || !is_elsewhere(&one.verdict);
    let (mut shown, elsewhere): (Vec<_>, Vec<_>) = explained.into_iter().partition(is_shown);
    shown.sort_by_key(|one| rank(&one.verdict));
    if arguments.json {
        let rules: Vec<Value> = shown.iter().map(show).collect();
        write_json(
            out,
            &json!({ "rules": rules, "for_other_log_sources": elsewhere.len() }),
        )?;
    } else {
        write_text(out, &describe(&shown, elsewhere.len()))?;
    }
    Ok(Outcome::Good)
}

const fn is_elsewhere(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::NotRouted { .. })
}

/// What is read first.
const fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Matched => 0,
        Verdict::Suspended(_) => 1,
        Verdict::NotMatched => 2,
        Verdict::NotRouted { .. } => 3,
    }
}

fn describe(shown: &[Explanation], n_elsewhere: usize) -> String {
    let mut text = String::new();
    for one in shown {
        writeln!(text, "{one}").expect("a string takes everything");
    }
    let n_matched = shown
        .iter()
        .filter(|one| one.verdict == Verdict::Matched)
        .count();
    let others = match n_elsewhere {
        0 => String::new(),
        n => format!("; {n} more are for other log sources (--all shows them)"),
    };
    writeln!(text, "{n_matched} of {} rules match{others}", shown.len())
        .expect("a string takes everything");
    text
}

fn show(one: &Explanation) -> Value {
    let (verdict, why) = match &one.verdict {
        Verdict::Matched => ("matched", None),
        Verdict::NotMatched => ("not_matched", None),
        Verdict::NotRouted { .. } => ("not_routed", Some(one.verdict.to_string())),
        Verdict::Suspended(reason) => ("suspended", Some(reason.clone())),
    };
    json!({
        "rule": one.rule, "title": one.title, "verdict": verdict, "why": why,
        "condition": one.condition,
        "selections": one.selections.iter().map(show_selection).collect::<Vec<_>>(),
        "window": one.window.as_ref().map(show_window),
    })
}

fn show_selection(selection: &SelectionTruth) -> Value {
    let item = |item: &ItemTruth| {
        json!({
            "field": item.field, "holds": item.holds,
            "patterns": item.patterns, "seen": item.seen,
        })
    };
    json!({
        "name": selection.name, "holds": selection.holds,
        "items": selection.items.iter().map(item).collect::<Vec<_>>(),
    })
}

fn show_window(window: &WindowState) -> Value {
    let group = window.group.iter().cloned();
    let group: std::collections::BTreeMap<String, String> = group.collect();
    json!({
        "fed_by": window.fed_by, "missing": window.missing, "group": group,
        "number": window.number, "entries": window.entries, "last_ms": window.last_ms,
    })
}
