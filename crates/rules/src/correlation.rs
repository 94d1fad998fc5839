//! Correlation rules: what they count, over which field values, in which time.
//! It never holds state; windows do.

use crate::compilation::Compilation;
use crate::fault::{Fault, Location};
use crate::metadata::{read_text, read_texts};
use crate::number::{Comparison, Number};
use crate::value::{Scalar, read_flag, read_scalar};
use crate::view::Slot;
use crate::yaml::{Entry, Kind, Node};

/// Longest window: memory holds at most this much of an agent's past.
const MAX_TIMESPAN_SECS: i64 = 31 * 24 * 60 * 60;

/// Largest number a condition may ask for, because a window must be able to hold as many entries.
pub(crate) const MAX_THRESHOLD: i64 = 10_000;

/// Most rules one correlation may join.
const MAX_MEMBERS: usize = 256;

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
    fn new(name: &str, compilation: &mut Compilation) -> Self {
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
    /// How many of the joined rules matched, in any order.
    Temporal,
    /// How many of the joined rules matched, each after the one before it.
    TemporalOrdered,
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
    pub(crate) fn read(node: &Node, compilation: &mut Compilation) -> Result<Self, Fault> {
        refuse_unknown_keys(node)?;
        let members = read_members(node)?;
        let condition = Condition::read(node, members.len(), compilation)?;
        let measure = read_measure(node, &condition)?;
        let group_by = read_texts(node, "group-by")?;
        let plan = Plan {
            measure,
            bounds: condition.bounds,
            group_by: group_by
                .iter()
                .map(|name| FieldName::new(name, compilation))
                .collect(),
            timespan_ms: read_timespan(node)?,
            generate: node.get("generate").map_or(Ok(false), read_flag)?,
        };
        Ok(Self {
            members,
            aliases: read_aliases(node, compilation)?,
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

/// Reads the names of the joined rules.
fn read_members(node: &Node) -> Result<Vec<(Location, String)>, Fault> {
    let missing = |at| Fault::new(at, "the correlation joins no rules", "add 'rules: [name]'");
    let rules = node.get("rules").ok_or_else(|| missing(node.at))?;
    let names = read_texts(node, "rules")?;
    if names.is_empty() || names.len() > MAX_MEMBERS {
        return Err(missing(rules.at));
    }
    let places = match &rules.kind {
        Kind::List(items) => items.iter().map(|item| item.at).collect(),
        Kind::Scalar { .. } | Kind::Map(_) => vec![rules.at],
    };
    Ok(places.into_iter().zip(names).collect())
}

/// The condition of a correlation.
struct Condition {
    at: Location,
    bounds: Bounds,
    fields: Vec<FieldName>,
}

impl Condition {
    /// Reads it; temporal types may leave it out and then ask for every rule.
    fn read(node: &Node, n_members: usize, compilation: &mut Compilation) -> Result<Self, Fault> {
        let Some(condition) = node.get("condition") else {
            let all = i64::try_from(n_members).unwrap_or(i64::MAX);
            let bounds = vec![(Comparison::Gte, Number::Int(all))];
            return Ok(Self {
                at: node.at,
                bounds,
                fields: Vec::new(),
            });
        };
        let Some(entries) = condition.entries() else {
            return Err(Fault::new(
                condition.at,
                "this condition is not a map; boolean conditions over rules are not supported yet",
                "write one such as {gte: 5}",
            ));
        };
        let mut read = Self {
            at: condition.at,
            bounds: Vec::new(),
            fields: Vec::new(),
        };
        for entry in entries {
            if entry.key == "field" {
                let names = read_texts(condition, "field")?;
                read.fields = names
                    .iter()
                    .map(|name| FieldName::new(name, compilation))
                    .collect();
            } else {
                read.bounds.push(read_bound(entry)?);
            }
        }
        if read.bounds.is_empty() {
            return Err(Fault::new(
                condition.at,
                "the condition has no bound",
                "add one such as 'gte: 5'",
            ));
        }
        Ok(read)
    }
}

/// Reads one bound such as `gte: 5`.
fn read_bound(entry: &Entry) -> Result<(Comparison, Number), Fault> {
    let Some(relation) = Comparison::parse(&entry.key) else {
        return Err(Fault::new(
            entry.at,
            format!("a condition has no '{}'", entry.key),
            "use gt, gte, lt, lte, eq, neq or field",
        ));
    };
    match read_scalar(&entry.value)? {
        Scalar::Number(Number::Int(number), _) if (0..=MAX_THRESHOLD).contains(&number) => {
            Ok((relation, Number::Int(number)))
        }
        Scalar::Null | Scalar::Flag(_) | Scalar::Number(..) | Scalar::Text(_) => Err(Fault::new(
            entry.value.at,
            format!("a bound is a whole number from 0 to {MAX_THRESHOLD}"),
            "write a number in that range",
        )),
    }
}

/// Reads what is computed.
fn read_measure(node: &Node, condition: &Condition) -> Result<Measure, Fault> {
    let kind = read_text(node, "type")?.unwrap_or_default();
    let at = node.get("type").map_or(node.at, |node| node.at);
    let measure = match kind.as_str() {
        "event_count" => Measure::EventCount,
        "value_count" => Measure::ValueCount(condition.fields.clone()),
        "temporal" => Measure::Temporal,
        "temporal_ordered" => Measure::TemporalOrdered,
        "value_sum" | "value_avg" | "value_percentile" | "value_median" => {
            return Err(Fault::new(
                at,
                format!("the correlation type '{kind}' is not supported by this engine yet"),
                "use event_count, value_count, temporal or temporal_ordered",
            ));
        }
        _ => {
            return Err(Fault::new(
                at,
                format!("'{kind}' is not a correlation type"),
                "use event_count, value_count, temporal or temporal_ordered",
            ));
        }
    };
    check_fields(&measure, node, condition)?;
    Ok(measure)
}

/// Refuses a condition that does not fit the type.
fn check_fields(measure: &Measure, node: &Node, condition: &Condition) -> Result<(), Fault> {
    let counts_values = matches!(measure, Measure::ValueCount(_));
    if counts_values == condition.fields.is_empty() {
        return Err(Fault::new(
            condition.at,
            "'field' goes with value_count and with no other type",
            "add 'field: name' to the condition of a value_count, or remove it",
        ));
    }
    if matches!(measure, Measure::TemporalOrdered) && node.get("condition").is_some() {
        return Err(Fault::new(
            condition.at,
            "a temporal_ordered with a condition of its own is not supported yet",
            "remove the condition: all rules must match, in the order written",
        ));
    }
    let counts = matches!(measure, Measure::EventCount | Measure::ValueCount(_));
    if counts && node.get("condition").is_none() {
        return Err(Fault::new(
            node.at,
            "the correlation has no condition",
            "add 'condition: {gte: 5}'",
        ));
    }
    Ok(())
}

/// Reads how far back the window reaches.
fn read_timespan(node: &Node) -> Result<i64, Fault> {
    let at = node.get("timespan").map_or(node.at, |node| node.at);
    let text = read_text(node, "timespan")?.unwrap_or_default();
    let secs = parse_timespan(&text).filter(|secs| (1..=MAX_TIMESPAN_SECS).contains(secs));
    secs.map(|secs| secs * 1000).ok_or_else(|| {
        Fault::new(
            at,
            format!("'{text}' is not a timespan"),
            "write a whole number and s, m, h or d, such as 60s; 31 days at most",
        )
    })
}

/// A whole number of seconds, minutes, hours or days, in seconds.
pub(crate) fn parse_timespan(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    if !number.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    number.parse::<i64>().ok()?.checked_mul(unit)
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
                field: FieldName::new(field, compilation),
            });
        }
    }
    Ok(read)
}
