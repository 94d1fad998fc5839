//! One YAML document to a rule, a correlation or a filter, before references are resolved.
//! It never looks at other documents.

use sha2::{Digest, Sha256};

use crate::condition::parse_condition;
use crate::correlation::CorrelationDraft;
use crate::expression::Expression;
use crate::fault::Fault;
use crate::metadata::{RuleInfo, read_metadata};
use crate::routing::WantedSource;
use crate::selection::compile_selection;
use crate::view::FieldTable;
use crate::yaml::{Kind, Node};

/// A document by what it is.
#[derive(Debug)]
pub(crate) enum Body {
    /// A rule over single events.
    Detection(Detection),
    /// A rule over the matches of other rules.
    Correlation(CorrelationDraft),
}

/// A rule over single events.
#[derive(Clone, Debug)]
pub(crate) struct Detection {
    /// The events it applies to.
    pub(crate) source: WantedSource,
    /// Its selections, in the order written.
    pub(crate) selections: Vec<Expression>,
    /// What joins them.
    pub(crate) condition: Expression,
}

/// One document.
#[derive(Debug)]
pub(crate) struct Document {
    /// Where it begins.
    pub(crate) node: Node,
    /// What it says of itself.
    pub(crate) info: RuleInfo,
    /// Hash of its content, the same whatever its layout and comments.
    pub(crate) fingerprint: String,
    /// What it does.
    pub(crate) body: Body,
}

impl Document {
    /// Compiles a document.
    pub(crate) fn compile(node: Node, file: &str, fields: &mut FieldTable) -> Result<Self, Fault> {
        refuse_other_documents(&node)?;
        let info = read_metadata(&node, file)?;
        for name in &info.group_by {
            fields.slot(name);
        }
        let body = match node.get("correlation") {
            Some(correlation) => Body::Correlation(CorrelationDraft::read(correlation, fields)?),
            None => Body::Detection(Detection::compile(&node, fields)?),
        };
        let mut canonical = String::new();
        node.write_canonical(&mut canonical);
        let fingerprint = hex(&Sha256::digest(canonical.as_bytes()));
        Ok(Self {
            node,
            info,
            fingerprint,
            body,
        })
    }
}

/// Refuses what is not a rule.
fn refuse_other_documents(node: &Node) -> Result<(), Fault> {
    if !matches!(node.kind, Kind::Map(_)) {
        return Err(Fault::new(
            node.at,
            "a rule is a map",
            "begin with 'title: …'",
        ));
    }
    if let Some(filter) = node.get("filter") {
        return Err(Fault::new(
            filter.at,
            "filters are not supported by this engine yet",
            "write the exception into the rule as 'and not filter'",
        ));
    }
    if let Some(action) = node.get("action") {
        return Err(Fault::new(
            action.at,
            "'action' belongs to the old form of rule collections",
            "write every rule out as a document of its own",
        ));
    }
    Ok(())
}

impl Detection {
    /// Compiles the `logsource` and `detection` of a document.
    fn compile(document: &Node, fields: &mut FieldTable) -> Result<Self, Fault> {
        let Some(detection) = document.get("detection") else {
            return Err(Fault::new(
                document.at,
                "the rule has neither 'detection' nor 'correlation'",
                "add 'detection:' with a selection and a condition",
            ));
        };
        let source = WantedSource::read(document)?;
        let (names, selections) = compile_selections(detection, fields)?;
        let condition = compile_condition(detection, &names)?;
        Ok(Self {
            source,
            selections,
            condition,
        })
    }

    /// Whether it searches the whole event.
    pub(crate) fn has_keywords(&self) -> bool {
        self.selections.iter().any(Expression::has_keywords)
    }
}

/// Compiles everything under `detection` but the condition.
fn compile_selections<'n>(
    detection: &'n Node,
    fields: &mut FieldTable,
) -> Result<(Vec<&'n str>, Vec<Expression>), Fault> {
    let Some(entries) = detection.entries() else {
        return Err(Fault::new(
            detection.at,
            "'detection' is not a map",
            "write selections by name and a condition",
        ));
    };
    let mut names = Vec::new();
    let mut selections = Vec::new();
    for entry in entries.iter().filter(|entry| entry.key != "condition") {
        if entry.key == "timeframe" {
            return Err(Fault::new(
                entry.at,
                "'timeframe' belongs to the old form of correlation",
                "write a correlation rule with 'timespan'",
            ));
        }
        names.push(entry.key.as_str());
        selections.push(compile_selection(&entry.value, fields)?);
    }
    Ok((names, selections))
}

/// Compiles the condition; a list of conditions holds when one of them does.
fn compile_condition(detection: &Node, names: &[&str]) -> Result<Expression, Fault> {
    let missing = |at| {
        Fault::new(
            at,
            "the detection has no condition",
            "add 'condition: selection'",
        )
    };
    let condition = detection
        .get("condition")
        .ok_or_else(|| missing(detection.at))?;
    let parse = |node: &Node| match node.text() {
        Some(text) => parse_condition(text, node.at, names),
        None => Err(missing(node.at)),
    };
    match &condition.kind {
        Kind::Scalar { .. } | Kind::Map(_) => parse(condition),
        Kind::List(items) if items.is_empty() => Err(missing(condition.at)),
        Kind::List(items) => items
            .iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Expression::Any),
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
