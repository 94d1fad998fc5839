//! Correlation rules: what they count, over which field values, in which time.
//! It never holds state; windows do.

pub(crate) mod condition;
pub(crate) mod correlate;
pub(crate) mod exact_sum;
pub(crate) mod formula;
pub(crate) mod group_key;
pub(crate) mod key;
pub(crate) mod number_window;
pub(crate) mod recent;
pub(crate) mod sequence;
pub(crate) mod times;
pub(crate) mod window;
pub(crate) mod window_store;

use crate::correlation::condition::Condition;
use crate::correlation::formula::Formula;
use crate::fault::{Fault, Location};
use crate::pipeline::run::RuleFacts;
use crate::reading::compilation::Compilation;
use crate::reading::metadata::read_texts;
use crate::reading::timespan::read_timespan;
use crate::reading::yaml::{Kind, Node};
use crate::search::view::Slot;
use crate::values::number::{Comparison, Number};
use crate::values::value::read_flag;

/// Most rules one correlation may join.
const MAX_MEMBERS: usize = 256;

/// Most fields that keep windows apart, so that keys stay small.
const MAX_GROUP_FIELDS: usize = 16;

/// A field by name and number.
#[derive(Clone, Debug)]
pub(crate) struct FieldName {
    /// The name, as written.
    pub(crate) name: String,
    /// Its number in events.
    pub(crate) slot: Slot,
}

impl FieldName {
    /// Gives a name its number.
    pub(crate) fn new(name: &str, compilation: &mut Compilation) -> Self {
        Self {
            name: name.to_owned(),
            slot: compilation.slot(name),
        }
    }
}

/// What a correlation computes over its window.
#[derive(Clone, Debug)]
pub(crate) enum Measure {
    /// How many events there were.
    EventCount,
    /// How many distinct values a field had, or several fields together.
    ValueCount(Vec<FieldName>),
    /// The sum of a field's numbers.
    Sum(FieldName),
    /// The arithmetic mean of a field's numbers.
    Average(FieldName),
    /// A percentile from 0 to 100 of a field's numbers.
    Percentile(FieldName, f64),
    /// How many of the joined rules matched, in any order.
    Temporal,
    /// How many of the joined rules matched, each after the one before it, beginning with the first.
    TemporalOrdered,
    /// How many of the joined rules matched, each after those before it, some perhaps left out.
    PartlyOrdered,
}

impl Measure {
    /// The fields whose values it looks at.
    pub(crate) fn fields(&self) -> &[FieldName] {
        match self {
            Self::ValueCount(fields) => fields,
            Self::Sum(field) | Self::Average(field) | Self::Percentile(field, _) => {
                std::slice::from_ref(field)
            }
            Self::EventCount | Self::Temporal | Self::TemporalOrdered | Self::PartlyOrdered => &[],
        }
    }

    /// Whether it computes with numbers, not with how many there are of something.
    pub(crate) fn is_numeric(&self) -> bool {
        matches!(self, Self::Sum(_) | Self::Average(_) | Self::Percentile(..))
    }

    /// Whether it looks at which rules matched.
    pub(crate) fn is_temporal(&self) -> bool {
        matches!(
            self,
            Self::Temporal | Self::TemporalOrdered | Self::PartlyOrdered
        )
    }
}

/// Bounds on the computed number; all must hold.
pub(crate) type Bounds = Vec<(Comparison, Number)>;

/// A correlation whose rules are still names.
#[derive(Clone, Debug)]
pub(crate) struct CorrelationDraft {
    /// The rules it joins, by id or name.
    pub(crate) members: Vec<(Location, String)>,
    /// Per alias and rule, the field it stands for.
    pub(crate) aliases: Vec<Alias>,
    /// The rest, which needs no other rule.
    pub(crate) plan: Plan,
}

/// What a correlation does with the matches of its rules.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What it computes.
    pub(crate) measure: Measure,
    /// What the number must satisfy.
    pub(crate) bounds: Bounds,
    /// What must hold instead of bounds, when the condition is a formula over rules.
    pub(crate) formula: Option<Formula>,
    /// The condition as written, for explanations.
    pub(crate) written: String,
    /// The fields whose values keep windows apart.
    pub(crate) group_by: Vec<FieldName>,
    /// How far back it looks, its first millisecond included.
    pub(crate) timespan_ms: i64,
    /// Whether the joined rules go on matching by themselves.
    pub(crate) generate: bool,
}

impl Plan {
    /// How many entries a window must be able to hold for the condition to come true.
    pub(crate) fn least_entries(&self) -> usize {
        if self.measure.is_numeric() {
            return 0;
        }
        let bounds = self.bounds.iter().map(|(_, number)| match number {
            Number::Int(number) => usize::try_from(*number).unwrap_or(0),
            Number::Float(_) => 0,
        });
        bounds.max().unwrap_or(0) + 1
    }
}

/// A field that has different names in different rules.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    /// Where it stands.
    pub(crate) at: Location,
    /// The name used in `group-by`.
    pub(crate) name: String,
    /// The rule, by id or name.
    pub(crate) rule: String,
    /// The field of that rule's events.
    pub(crate) field: FieldName,
}

impl CorrelationDraft {
    /// Reads the `correlation` of a document.
    pub(crate) fn read(
        document: &Node,
        node: &Node,
        compilation: &mut Compilation,
    ) -> Result<Self, Fault> {
        refuse_unknown_keys(node)?;
        let mut members = read_members(node)?;
        let tags = read_texts(document, "tags")?;
        let names: Vec<String> = members.iter().map(|(_, name)| name.clone()).collect();
        compilation.pipes.begin_rule(RuleFacts {
            at: document.at,
            tags: &tags,
            source: None,
            members: &names,
        })?;
        let aliases = read_aliases(node, compilation)?;
        let condition = Condition::read(node, &mut members, &aliases, compilation)?;
        if members.is_empty() || members.len() > MAX_MEMBERS {
            return Err(refuse_members(
                node.get("rules").map_or(node.at, |node| node.at),
            ));
        }
        let plan = Plan {
            measure: condition.measure,
            bounds: condition.bounds,
            formula: condition.formula,
            written: write_condition(node),
            group_by: read_group_by(node, &aliases, compilation)?,
            timespan_ms: read_timespan(node)?,
            generate: node.get("generate").map_or(Ok(false), read_flag)?,
        };
        Ok(Self {
            members,
            aliases,
            plan,
        })
    }
}

/// Refuses keys that would otherwise be ignored.
fn refuse_unknown_keys(node: &Node) -> Result<(), Fault> {
    const KNOWN: [&str; 7] = [
        "type",
        "rules",
        "group-by",
        "timespan",
        "condition",
        "aliases",
        "generate",
    ];
    let Some(entries) = node.entries() else {
        return Err(Fault::new(
            node.at,
            "'correlation' is not a map",
            "write 'type', 'rules', 'group-by', 'timespan' and 'condition' below it",
        ));
    };
    match entries
        .iter()
        .find(|entry| !KNOWN.contains(&entry.key.as_str()))
    {
        None => Ok(()),
        Some(entry) => Err(Fault::new(
            entry.at,
            format!("a correlation has no '{}'", entry.key),
            format!("use {}", KNOWN.join(", ")),
        )),
    }
}

/// Reads the names of the joined rules; none where a formula may name them.
fn read_members(node: &Node) -> Result<Vec<(Location, String)>, Fault> {
    let Some(rules) = node.get("rules") else {
        return Ok(Vec::new());
    };
    let names = read_texts(node, "rules")?;
    if names.is_empty() {
        return Err(refuse_members(rules.at));
    }
    let places = match &rules.kind {
        Kind::List(items) => items.iter().map(|item| item.at).collect(),
        Kind::Scalar { .. } | Kind::Map(_) => vec![rules.at],
    };
    Ok(places.into_iter().zip(names).collect())
}

/// The refusal of a correlation that joins nothing, or too much.
fn refuse_members(at: Location) -> Fault {
    Fault::new(
        at,
        format!("the correlation joins no rules, or more than {MAX_MEMBERS}"),
        "add 'rules: [name]'",
    )
}

/// The condition as written.
fn write_condition(node: &Node) -> String {
    let Some(condition) = node.get("condition") else {
        return "all of rules".to_owned();
    };
    match &condition.kind {
        Kind::Map(entries) => {
            let pairs: Vec<String> = entries
                .iter()
                .map(|entry| match &entry.value.kind {
                    Kind::List(items) => {
                        let items: Vec<&str> = items.iter().filter_map(Node::text).collect();
                        format!("{} [{}]", entry.key, items.join(", "))
                    }
                    Kind::Scalar { text, .. } => format!("{} {text}", entry.key),
                    Kind::Map(_) => entry.key.clone(),
                })
                .collect();
            pairs.join(", ")
        }
        Kind::Scalar { text, .. } => text.clone(),
        Kind::List(_) => String::new(),
    }
}

/// Reads the fields that keep windows apart, each once, under the names that pipelines give them.
fn read_group_by(
    node: &Node,
    aliases: &[Alias],
    compilation: &mut Compilation,
) -> Result<Vec<FieldName>, Fault> {
    let at = node.get("group-by").map_or(node.at, |node| node.at);
    let mut names: Vec<String> = Vec::new();
    for name in read_texts(node, "group-by")? {
        let more = match aliases.iter().any(|alias| alias.name == name) {
            true => vec![name],
            false => compilation.pipes.rename(&name, at)?,
        };
        for name in more {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    if names.len() > MAX_GROUP_FIELDS {
        return Err(Fault::new(
            at,
            format!("windows are kept apart by more than {MAX_GROUP_FIELDS} fields"),
            "keep the fields that tell one case from another",
        ));
    }
    Ok(names
        .iter()
        .map(|name| FieldName::new(name, compilation))
        .collect())
}

/// Reads the fields that have different names in different rules.
fn read_aliases(node: &Node, compilation: &mut Compilation) -> Result<Vec<Alias>, Fault> {
    let Some(aliases) = node.get("aliases") else {
        return Ok(Vec::new());
    };
    let wrong = |at| {
        Fault::new(
            at,
            "an alias has the wrong form",
            "write 'alias: {rule_name: field}'",
        )
    };
    let mut read = Vec::new();
    for alias in aliases.entries().ok_or_else(|| wrong(aliases.at))? {
        for rule in alias.value.entries().ok_or_else(|| wrong(alias.value.at))? {
            let field = rule.value.text().ok_or_else(|| wrong(rule.value.at))?;
            read.push(Alias {
                at: rule.at,
                name: alias.key.clone(),
                rule: rule.key.clone(),
                field: FieldName::new(
                    &compilation.pipes.rename_one(field, rule.value.at)?,
                    compilation,
                ),
            });
        }
    }
    Ok(read)
}
