//! The condition of a correlation: its bounds, and whether they fit what is computed.
//! It never looks at the rules that are joined, only at how many there are.

use crate::compilation::Compilation;
use crate::correlation::{Bounds, FieldName, Measure};
use crate::fault::{Fault, Location};
use crate::metadata::{read_text, read_texts};
use crate::number::{Comparison, Number};
use crate::value::{Scalar, read_scalar};
use crate::yaml::{Entry, Node};

/// Largest number a condition may ask for, because a window must be able to hold as many entries.
const MAX_THRESHOLD: i64 = 10_000;

/// The condition of a correlation.
pub(crate) struct Condition {
    at: Location,
    /// What the computed number must satisfy.
    pub(crate) bounds: Bounds,
    fields: Vec<FieldName>,
}

impl Condition {
    /// Reads it; temporal types may leave it out and then ask for every rule.
    pub(crate) fn read(
        node: &Node,
        n_members: usize,
        compilation: &mut Compilation,
    ) -> Result<Self, Fault> {
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
                for name in names {
                    let name = compilation.pipes.rename_one(&name, entry.value.at)?;
                    read.fields.push(FieldName::new(&name, compilation));
                }
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
pub(crate) fn read_measure(node: &Node, condition: &Condition) -> Result<Measure, Fault> {
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
