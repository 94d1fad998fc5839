//! The YAML of a processing pipeline to its steps.
//! It never skips what it does not know: a step half applied would make rules silently wrong.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use crate::fault::{Fault, Location};
use crate::pipeline::gate::{FieldTest, Gate, ItemTest, PastTest, RuleTest};
use crate::pipeline::{Action, NameFilter, Pipeline, Step};
use crate::reading::metadata::{read_text, read_texts};
use crate::reading::yaml::{Kind, Node, parse_documents};
use crate::search::routing::WantedSource;
use crate::selecting::condition::parse_condition;
use crate::selecting::expression::Expression;
use crate::values::value::read_flag;

/// Keys of a pipeline; `allowed_backends` says for which query languages it was written, which
/// says nothing about events.
const PIPELINE_KEYS: [&str; 5] = [
    "name",
    "priority",
    "vars",
    "transformations",
    "allowed_backends",
];

/// Keys of every step.
const STEP_KEYS: [&str; 14] = [
    "id",
    "type",
    "rule_conditions",
    "rule_cond_op",
    "rule_cond_not",
    "rule_cond_expr",
    "detection_item_conditions",
    "detection_item_cond_op",
    "detection_item_cond_not",
    "detection_item_cond_expr",
    "field_name_conditions",
    "field_name_cond_op",
    "field_name_cond_not",
    "field_name_cond_expr",
];

/// The steps this engine takes.
const STEPS: &str = "field_name_mapping, field_name_prefix_mapping, field_name_prefix, \
    field_name_suffix, drop_detection_item, add_condition, change_logsource, value_placeholders, \
    wildcard_placeholders, set_state, rule_failure or detection_item_failure";

/// Largest compiled expression of a condition; names are short.
const MAX_REGEX_SIZE: usize = 64 * 1024;

/// Most steps of one pipeline: the largest of the community has some 150.
const MAX_STEPS: usize = 1_000;

/// Reads a pipeline.
pub(crate) fn parse_pipeline(text: &str) -> Result<Pipeline, Fault> {
    let mut documents = parse_documents(text)?.into_iter();
    let (Some(node), None) = (documents.next(), documents.next()) else {
        return Err(Fault::new(
            Location::START,
            "a pipeline is one document",
            "write 'name', 'priority' and 'transformations'",
        ));
    };
    refuse_unknown(&node, &PIPELINE_KEYS, "a pipeline")?;
    let steps = match node.get("transformations") {
        None => Vec::new(),
        Some(steps) => read_list(steps)?
            .iter()
            .map(read_step)
            .collect::<Result<_, _>>()?,
    };
    let mut canonical = String::new();
    node.write_canonical(&mut canonical);
    Ok(Pipeline {
        name: read_text(&node, "name")?.unwrap_or_default(),
        priority: read_priority(&node)?,
        variables: read_variables(&node)?,
        steps,
        canonical,
    })
}

/// Refuses keys that would otherwise be ignored.
fn refuse_unknown(node: &Node, known: &[&str], whose: &str) -> Result<(), Fault> {
    let Some(entries) = node.entries() else {
        return Err(Fault::new(
            node.at,
            format!("{whose} is a map"),
            format!("write some of {}", known.join(", ")),
        ));
    };
    let unknown = entries
        .iter()
        .find(|entry| !known.contains(&entry.key.as_str()));
    unknown.map_or(Ok(()), |entry| {
        Err(Fault::new(
            entry.at,
            format!("{whose} has no '{}' here", entry.key),
            format!("use {}", known.join(", ")),
        ))
    })
}

/// The items of a list.
fn read_list(node: &Node) -> Result<&[Node], Fault> {
    match &node.kind {
        Kind::List(items) if items.len() <= MAX_STEPS => Ok(items),
        Kind::List(_) | Kind::Scalar { .. } | Kind::Map(_) => Err(Fault::new(
            node.at,
            format!("a list of at most {MAX_STEPS} is needed here"),
            "write '- type: …'",
        )),
    }
}

/// Reads the priority; ten is what pySigma takes for the middle.
fn read_priority(node: &Node) -> Result<i64, Fault> {
    let Some(text) = read_text(node, "priority")? else {
        return Ok(0);
    };
    text.parse().map_err(|_| {
        let at = node.get("priority").map_or(node.at, |node| node.at);
        Fault::new(at, "'priority' is a whole number", "write one such as 20")
    })
}

/// Reads what placeholders stand for.
fn read_variables(node: &Node) -> Result<BTreeMap<String, Vec<String>>, Fault> {
    let Some(variables) = node.get("vars") else {
        return Ok(BTreeMap::new());
    };
    let entries = variables
        .entries()
        .ok_or_else(|| Fault::new(variables.at, "'vars' is a map", "write 'name: [value]'"))?;
    entries
        .iter()
        .map(|entry| Ok((entry.key.clone(), read_texts(variables, &entry.key)?)))
        .collect()
}

/// Reads one step.
fn read_step(node: &Node) -> Result<Step, Fault> {
    let kind = read_text(node, "type")?.unwrap_or_default();
    Ok(Step {
        id: read_text(node, "id")?,
        action: read_action(node, &kind)?,
        rules: read_gate(node, "rule", read_rule_test)?,
        items: read_gate(node, "detection_item", read_item_test)?,
        fields: read_gate(node, "field_name", read_field_test)?,
    })
}

/// Reads what a step does.
fn read_action(node: &Node, kind: &str) -> Result<Action, Fault> {
    let text = |key: &str| {
        let text = read_text(node, key)?;
        text.ok_or_else(|| Fault::new(node.at, format!("'{key}' is missing"), "add it"))
    };
    let filter = || {
        Ok(NameFilter {
            include: read_texts(node, "include")?,
            exclude: read_texts(node, "exclude")?,
        })
    };
    check_keys(node, kind)?;
    match kind {
        "field_name_mapping" => read_mapping(node).map(Action::MapFields),
        "field_name_prefix_mapping" => read_mapping(node).map(Action::MapPrefixes),
        "field_name_prefix" => text("prefix").map(Action::AddPrefix),
        "field_name_suffix" => text("suffix").map(Action::AddSuffix),
        "drop_detection_item" => Ok(Action::DropItem),
        "add_condition" => read_added_condition(node),
        "change_logsource" => WantedSource::read_parts(node).map(Action::ChangeSource),
        "value_placeholders" => filter().map(Action::FillPlaceholders),
        "wildcard_placeholders" => filter().map(Action::LiftPlaceholders),
        "set_state" => Ok(Action::SetState(text("key")?, text("val")?)),
        "rule_failure" => text("message").map(Action::RefuseRule),
        _ => text("message").map(Action::RefuseItem),
    }
}

/// Refuses steps this engine does not take, and keys that a step does not have.
fn check_keys(node: &Node, kind: &str) -> Result<(), Fault> {
    let own: &[&str] = match kind {
        "field_name_mapping" | "field_name_prefix_mapping" => &["mapping"],
        "field_name_prefix" => &["prefix"],
        "field_name_suffix" => &["suffix"],
        "drop_detection_item" => &[],
        "add_condition" => &["conditions", "name", "negated", "template"],
        "change_logsource" => &["category", "product", "service"],
        "value_placeholders" | "wildcard_placeholders" => &["include", "exclude"],
        "set_state" => &["key", "val"],
        "rule_failure" | "detection_item_failure" => &["message"],
        _ => {
            let at = node.get("type").map_or(node.at, |node| node.at);
            return Err(Fault::new(
                at,
                format!("this engine does not take the step '{kind}'"),
                format!("use {STEPS}"),
            ));
        }
    };
    let known: Vec<&str> = own.iter().chain(&STEP_KEYS).copied().collect();
    refuse_unknown(node, &known, &format!("the step '{kind}'"))
}

/// Reads a map from names to one or several names.
fn read_mapping(node: &Node) -> Result<Vec<(String, Vec<String>)>, Fault> {
    let wrong = |at| {
        Fault::new(
            at,
            "a mapping has the wrong form",
            "write 'mapping: {from: to}'",
        )
    };
    let mapping = node.get("mapping").ok_or_else(|| wrong(node.at))?;
    let entries = mapping.entries().ok_or_else(|| wrong(mapping.at))?;
    let read = |entry: &crate::reading::yaml::Entry| {
        let names = read_texts(mapping, &entry.key)?;
        if names.is_empty() || matches!(entry.key.as_str(), "" | "null" | "~") {
            return Err(Fault::new(
                entry.at,
                "keywords have no name to map, and a field needs a name to become",
                "write 'from: to'; use drop_detection_item to remove a field",
            ));
        }
        Ok((entry.key.clone(), names))
    };
    entries.iter().map(read).collect()
}

/// Reads the selection that a step adds.
fn read_added_condition(node: &Node) -> Result<Action, Fault> {
    if let Some(template) = node.get("template")
        && read_flag(template)?
    {
        return Err(Fault::new(
            template.at,
            "'template' writes a log source into a query, which means nothing for events",
            "remove it",
        ));
    }
    let Some(selection) = node
        .get("conditions")
        .filter(|node| node.entries().is_some())
    else {
        return Err(Fault::new(
            node.at,
            "'conditions' is a map of fields and values",
            "write 'conditions: {field: value}'",
        ));
    };
    Ok(Action::AddCondition {
        selection: selection.clone(),
        negated: node.get("negated").map_or(Ok(false), read_flag)?,
    })
}

/// Reads the conditions of one kind and what joins them.
fn read_gate<T>(
    node: &Node,
    kind: &str,
    read: fn(&Node) -> Result<T, Fault>,
) -> Result<Gate<T>, Fault> {
    let mut names = Vec::new();
    let mut tests = Vec::new();
    match node.get(&format!("{kind}_conditions")) {
        None => {}
        Some(Node {
            kind: Kind::Map(entries),
            ..
        }) => {
            for entry in entries {
                names.push(entry.key.as_str());
                tests.push(read(&entry.value)?);
            }
        }
        Some(list) => {
            for item in read_list(list)? {
                tests.push(read(item)?);
            }
        }
    }
    let all: Vec<Expression> = (0..tests.len()).map(Expression::Selection).collect();
    let expression = node.get(&format!("{kind}_cond_expr"));
    let joined = match (
        expression,
        read_text(node, &format!("{kind}_cond_op"))?.as_deref(),
    ) {
        (Some(node), None) => parse_condition(node.text().unwrap_or_default(), node.at, &names)?,
        (None, None | Some("and")) => Expression::All(all),
        (None, Some("or")) => Expression::Any(all),
        (_, Some(other)) => {
            return Err(Fault::new(
                node.at,
                format!("'{other}' does not join conditions here"),
                "write 'and' or 'or', or an expression alone",
            ));
        }
    };
    let negated = node.get(&format!("{kind}_cond_not"));
    let logic = match negated.map_or(Ok(false), read_flag)? {
        true => Expression::Not(Box::new(joined)),
        false => joined,
    };
    Ok(Gate { tests, logic })
}

/// A text that a condition cannot do without.
fn required(node: &Node, key: &str) -> Result<String, Fault> {
    let text = read_text(node, key)?;
    text.ok_or_else(|| Fault::new(node.at, format!("the condition has no '{key}'"), "add it"))
}

/// Reads a condition that any step may have.
fn read_past_test(node: &Node, kind: &str, known: &str) -> Result<PastTest, Fault> {
    match kind {
        "processing_item_applied" => {
            refuse_unknown(node, &["type", "processing_item_id"], "this condition")?;
            Ok(PastTest::Applied(required(node, "processing_item_id")?))
        }
        "processing_state" => {
            refuse_unknown(node, &["type", "key", "val"], "this condition")?;
            Ok(PastTest::State(
                required(node, "key")?,
                required(node, "val")?,
            ))
        }
        _ => Err(Fault::new(
            node.get("type").map_or(node.at, |node| node.at),
            format!("this engine has no condition '{kind}' here"),
            format!("use {known}, processing_item_applied or processing_state"),
        )),
    }
}

/// Reads a condition on a rule.
fn read_rule_test(node: &Node) -> Result<RuleTest, Fault> {
    let kind = required(node, "type")?;
    let check = |keys: &[&str]| refuse_unknown(node, keys, "this condition");
    Ok(match kind.as_str() {
        "logsource" => {
            check(&["type", "category", "product", "service"])?;
            RuleTest::Source(WantedSource::read_parts(node)?)
        }
        "tag" => check(&["type", "tag"]).and_then(|()| required(node, "tag").map(RuleTest::Tag))?,
        "is_sigma_rule" => check(&["type"]).map(|()| RuleTest::IsDetection)?,
        "is_sigma_correlation_rule" => check(&["type"]).map(|()| RuleTest::IsCorrelation)?,
        kind => RuleTest::Past(read_past_test(
            node,
            kind,
            "logsource, tag, is_sigma_rule, is_sigma_correlation_rule",
        )?),
    })
}

/// Reads a condition on a line of a selection.
fn read_item_test(node: &Node) -> Result<ItemTest, Fault> {
    let kind = required(node, "type")?;
    let all = || match read_text(node, "cond")?.as_deref() {
        Some("all") => Ok(true),
        Some("any") => Ok(false),
        _ => Err(Fault::new(
            node.at,
            "'cond' is missing",
            "write 'cond: any' or 'cond: all'",
        )),
    };
    Ok(match kind.as_str() {
        "match_string" => {
            refuse_unknown(
                node,
                &["type", "cond", "pattern", "negate"],
                "this condition",
            )?;
            ItemTest::Text {
                pattern: read_pattern(node, &required(node, "pattern")?)?,
                all: all()?,
                negated: node.get("negate").map_or(Ok(false), read_flag)?,
            }
        }
        "is_null" => {
            refuse_unknown(node, &["type", "cond"], "this condition")?;
            ItemTest::Null { all: all()? }
        }
        kind => ItemTest::Past(read_past_test(node, kind, "match_string, is_null")?),
    })
}

/// Reads a condition on a field name.
fn read_field_test(node: &Node) -> Result<FieldTest, Fault> {
    let kind = required(node, "type")?;
    let negated = kind == "exclude_fields";
    if !negated && kind != "include_fields" {
        let known = "include_fields, exclude_fields";
        return Ok(FieldTest::Past(read_past_test(node, &kind, known)?));
    }
    refuse_unknown(node, &["type", "fields", "mode"], "this condition")?;
    let names = read_texts(node, "fields")?;
    match read_text(node, "mode")?.as_deref() {
        None | Some("plain") => Ok(FieldTest::Named { names, negated }),
        Some("re") => {
            let patterns = names.iter().map(|name| read_pattern(node, name));
            Ok(FieldTest::Like {
                patterns: patterns.collect::<Result<_, _>>()?,
                negated,
            })
        }
        Some(other) => Err(Fault::new(
            node.at,
            format!("there is no mode '{other}'"),
            "write 'plain' or 're'",
        )),
    }
}

/// Compiles an expression that must match from the beginning.
fn read_pattern(node: &Node, text: &str) -> Result<Regex, Fault> {
    RegexBuilder::new(&format!("^(?:{text})"))
        .size_limit(MAX_REGEX_SIZE)
        .build()
        .map_err(|_| {
            Fault::new(
                node.at,
                format!("'{text}' is not a regular expression of linear time and small size"),
                "keep to syntax without look-around and back-references",
            )
        })
}
