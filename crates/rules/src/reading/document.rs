//! One YAML document to a rule, a correlation or a filter, before references are resolved.
//! It never looks at other documents.

use sha2::{Digest, Sha256};

use crate::correlation::CorrelationDraft;
use crate::fault::{Fault, Location};
use crate::reading::compilation::Compilation;
use crate::reading::filter::{Filter, FilterDraft};
use crate::reading::metadata::{RuleInfo, read_metadata};
use crate::reading::yaml::{Kind, Node};
use crate::selecting::detection::Detection;

/// A document by what it is.
#[derive(Debug)]
pub(crate) enum Compiled {
    /// A rule or correlation.
    Rule(Document),
    /// Exceptions to rules.
    Filter(Filter),
}

/// A rule, before references are resolved.
#[derive(Debug)]
pub(crate) struct Document {
    /// Where it begins.
    pub(crate) at: Location,
    /// Where it names the rule that arms it again.
    pub(crate) rearm_at: Option<Location>,
    /// What it says of itself.
    pub(crate) info: RuleInfo,
    /// Hash of what decides its matches, the same whatever it says of itself.
    pub(crate) fingerprint: String,
    /// What it does.
    pub(crate) body: Body,
}

/// What a rule does.
#[derive(Debug)]
pub(crate) enum Body {
    /// Looks at single events.
    Detection(Detection),
    /// Looks at the matches of other rules.
    Correlation(CorrelationDraft),
}

impl Compiled {
    /// Compiles a document.
    pub(crate) fn read(
        node: &Node,
        file: &str,
        compilation: &mut Compilation,
    ) -> Result<Self, Fault> {
        refuse_other_documents(node)?;
        file.clone_into(&mut compilation.file);
        let info = read_metadata(node, file)?;
        for name in &info.group_by {
            compilation.slot(name);
        }
        let rearm = node.get("hidps").and_then(|own| own.get("rearm"));
        let fingerprint = identify(node, &info, compilation);
        let body = match (node.get("correlation"), node.get("filter")) {
            (Some(correlation), _) => {
                Body::Correlation(CorrelationDraft::read(node, correlation, compilation)?)
            }
            (None, Some(filter)) => {
                let draft = FilterDraft::read(node, filter, compilation)?;
                return Ok(Self::Filter(Filter {
                    draft,
                    info,
                    fingerprint,
                }));
            }
            (None, None) => Body::Detection(Detection::compile(node, compilation)?),
        };
        Ok(Self::Rule(Document {
            at: node.at,
            rearm_at: rearm.map(|name| name.at),
            info,
            fingerprint,
            body,
        }))
    }
}

/// Hash of a rule's id and of what decides its matches: with another title or description it is
/// the same rule, and its windows go on.
fn identify(node: &Node, info: &RuleInfo, compilation: &Compilation) -> String {
    // Tags decide nothing but which steps of a pipeline apply.
    let tags = (!compilation.pipes.is_empty()).then_some("tags");
    let deciding = ["logsource", "detection", "correlation", "filter"];
    let mut canonical = info.id.clone();
    for key in deciding.into_iter().chain(tags) {
        if let Some(part) = node.get(key) {
            canonical.push_str(key);
            part.write_canonical(&mut canonical);
        }
    }
    let mut hash = Sha256::new();
    hash.update(canonical.as_bytes());
    hash.update(&compilation.digest);
    hex(&hash.finalize())
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
    if let Some(action) = node.get("action") {
        return Err(Fault::new(
            action.at,
            "'action' belongs to the old form of rule collections",
            "write every rule out as a document of its own",
        ));
    }
    Ok(())
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
