//! The condition of a correlation: bounds on a number, or a formula over rules.
//! It never looks at the rules that are joined, only at their names.

use crate::correlation::formula::Formula;
use crate::correlation::{Alias, Bounds, FieldName, Measure};
use crate::fault::{Fault, Location};
use crate::reading::compilation::Compilation;
use crate::reading::metadata::{read_text, read_texts};
use crate::reading::yaml::{Entry, Kind, Node};
use crate::values::number::{Comparison, Number};
use crate::values::value::{Scalar, read_scalar};

/// Largest count a condition may ask for, because a window must be able to hold as many entries.
const MAX_THRESHOLD: i64 = 10_000;

/// Most rules of a `temporal_ordered` that need not all match: what a window keeps grows with
/// their square.
const MAX_LADDER: usize = 32;

/// The types of correlations.
const TYPES: &str = "event_count, value_count, value_sum, value_avg, value_median, \
    value_percentile, temporal or temporal_ordered";

/// What the type of a correlation says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    EventCount,
    ValueCount,
    Sum,
    Average,
    Median,
    Percentile,
    Temporal,
    TemporalOrdered,
}

impl Type {
    /// Reads `type`; a name that ends with `_extended` says that the condition is a formula.
    fn read(node: &Node) -> Result<Self, Fault> {
        let text = read_text(node, "type")?.unwrap_or_default();
        let at = node.get("type").map_or(node.at, |node| node.at);
        Ok(match text.as_str() {
            "event_count" => Self::EventCount,
            "value_count" => Self::ValueCount,
            "value_sum" => Self::Sum,
            "value_avg" => Self::Average,
            "value_median" => Self::Median,
            "value_percentile" => Self::Percentile,
            "temporal" | "temporal_extended" => Self::Temporal,
            "temporal_ordered" | "temporal_ordered_extended" => Self::TemporalOrdered,
            _ => {
                return Err(Fault::new(
                    at,
                    format!("'{text}' is not a correlation type"),
                    format!("use {TYPES}"),
                ));
            }
        })
    }

    /// Whether it counts things, of which there is a whole number.
    fn counts(self) -> bool {
        !matches!(
            self,
            Self::Sum | Self::Average | Self::Median | Self::Percentile
        )
    }

    /// Whether it looks at which rules matched.
    fn is_temporal(self) -> bool {
        matches!(self, Self::Temporal | Self::TemporalOrdered)
    }
}

/// The condition of a correlation with what it is computed on.
pub(crate) struct Condition {
    /// What is computed.
    pub(crate) measure: Measure,
    /// What the number must satisfy.
    pub(crate) bounds: Bounds,
    /// What must hold instead, when the condition is a formula.
    pub(crate) formula: Option<Formula>,
}

impl Condition {
    /// Reads type and condition; a formula may name the joined rules.
    pub(crate) fn read(
        node: &Node,
        members: &mut Vec<(Location, String)>,
        aliases: &[Alias],
        compilation: &mut Compilation,
    ) -> Result<Self, Fault> {
        let kind = Type::read(node)?;
        let condition = node.get("condition");
        if let Some(Node {
            at,
            kind: Kind::Scalar { text, .. },
        }) = condition
        {
            return Self::read_formula(kind, text, *at, members);
        }
        refuse_extended(node)?;
        let Some(condition) = condition else {
            return Self::default_of(kind, node, members.len());
        };
        let bounds = read_bounds(condition, kind)?;
        let measure = read_measure(kind, condition, &bounds, members.len(), |name, at| {
            let name = match aliases.iter().any(|alias| alias.name == name) {
                true => name.to_owned(),
                false => compilation.pipes.rename_one(name, at)?,
            };
            Ok(FieldName::new(&name, compilation))
        })?;
        Ok(Self {
            measure,
            bounds,
            formula: None,
        })
    }

    /// Reads a formula over rules.
    fn read_formula(
        kind: Type,
        text: &str,
        at: Location,
        members: &mut Vec<(Location, String)>,
    ) -> Result<Self, Fault> {
        if !kind.is_temporal() {
            return Err(Fault::new(
                at,
                "only temporal and temporal_ordered have conditions over rules",
                "write a bound such as {gte: 5}",
            ));
        }
        let is_ordered = kind == Type::TemporalOrdered;
        Ok(Self {
            measure: Measure::Temporal,
            bounds: Vec::new(),
            formula: Some(Formula::read(text, at, is_ordered, members)?),
        })
    }

    /// The condition of a temporal type that has none: every rule must match.
    fn default_of(kind: Type, node: &Node, n_members: usize) -> Result<Self, Fault> {
        let measure = match kind {
            Type::Temporal => Measure::Temporal,
            Type::TemporalOrdered => Measure::TemporalOrdered,
            Type::EventCount
            | Type::ValueCount
            | Type::Sum
            | Type::Average
            | Type::Median
            | Type::Percentile => {
                return Err(Fault::new(
                    node.at,
                    "the correlation has no condition",
                    "add 'condition: {gte: 5}'",
                ));
            }
        };
        let all = i64::try_from(n_members).unwrap_or(i64::MAX);
        Ok(Self {
            measure,
            bounds: vec![(Comparison::Gte, Number::Int(all))],
            formula: None,
        })
    }
}

/// Refuses the name of a type whose condition is a formula where there is none.
fn refuse_extended(node: &Node) -> Result<(), Fault> {
    match node.get("type") {
        Some(kind) if kind.text().is_some_and(|text| text.ends_with("_extended")) => {
            Err(Fault::new(
                kind.at,
                "this type needs a condition over rules",
                "write 'condition: first and not second', or the type without '_extended'",
            ))
        }
        _ => Ok(()),
    }
}

/// Reads what the number must satisfy.
fn read_bounds(condition: &Node, kind: Type) -> Result<Bounds, Fault> {
    let Some(entries) = condition.entries() else {
        return Err(Fault::new(
            condition.at,
            "the condition is a list",
            "write a bound such as {gte: 5}, or a formula over rules",
        ));
    };
    let is_bound = |entry: &&Entry| !matches!(entry.key.as_str(), "field" | "percentile");
    let bounds: Bounds = entries
        .iter()
        .filter(is_bound)
        .map(|entry| read_bound(entry, kind))
        .collect::<Result<_, _>>()?;
    if bounds.is_empty() {
        return Err(Fault::new(
            condition.at,
            "the condition has no bound",
            "add one such as 'gte: 5'",
        ));
    }
    Ok(bounds)
}

/// Reads one bound such as `gte: 5`.
fn read_bound(entry: &Entry, kind: Type) -> Result<(Comparison, Number), Fault> {
    let Some(relation) = Comparison::parse(&entry.key) else {
        return Err(Fault::new(
            entry.at,
            format!("a condition has no '{}'", entry.key),
            "use gt, gte, lt, lte, eq, neq, field or percentile",
        ));
    };
    let number = match read_scalar(&entry.value)? {
        Scalar::Number(number, _) => Some(number),
        Scalar::Null | Scalar::Flag(_) | Scalar::Text(_) => None,
    };
    let is_count = |number: &Number| matches!(number, Number::Int(number) if (0..=MAX_THRESHOLD).contains(number));
    let fits = number.filter(|number| !kind.counts() || is_count(number));
    let what = match kind.counts() {
        true => format!("a bound is a whole number from 0 to {MAX_THRESHOLD}"),
        false => "a bound is a number".to_owned(),
    };
    let number =
        fits.ok_or_else(|| Fault::new(entry.value.at, what, "write a number of that kind"))?;
    Ok((relation, number))
}

/// Reads what is computed, and refuses what does not go with it.
fn read_measure(
    kind: Type,
    condition: &Node,
    bounds: &Bounds,
    n_members: usize,
    mut field: impl FnMut(&str, Location) -> Result<FieldName, Fault>,
) -> Result<Measure, Fault> {
    let at = condition.get("field").map_or(condition.at, |node| node.at);
    let names = read_texts(condition, "field")?;
    let percent = read_percentile(condition, kind)?;
    let wants_field = !kind.is_temporal() && kind != Type::EventCount;
    if wants_field == names.is_empty() {
        return Err(Fault::new(
            at,
            "'field' goes with the value types and with no other",
            "add 'field: name' to the condition of a value type, or remove it",
        ));
    }
    let mut fields: Vec<FieldName> = Vec::new();
    for name in &names {
        fields.push(field(name, at)?);
    }
    if kind == Type::ValueCount {
        return Ok(Measure::ValueCount(fields));
    }
    if fields.len() > 1 {
        return Err(Fault::new(
            at,
            "only value_count takes several fields",
            "name the field that holds the number",
        ));
    }
    let one = fields.pop();
    Ok(match (kind, one) {
        (Type::Sum, Some(field)) => Measure::Sum(field),
        (Type::Average, Some(field)) => Measure::Average(field),
        (Type::Median | Type::Percentile, Some(field)) => Measure::Percentile(field, percent),
        (Type::Temporal, _) => Measure::Temporal,
        (Type::TemporalOrdered, _) => read_order(condition, bounds, n_members)?,
        _ => Measure::EventCount,
    })
}

/// Which sequences a `temporal_ordered` with bounds of its own looks for.
fn read_order(condition: &Node, bounds: &Bounds, n_members: usize) -> Result<Measure, Fault> {
    let all = Number::Int(i64::try_from(n_members).unwrap_or(i64::MAX));
    if *bounds == [(Comparison::Gte, all)] {
        return Ok(Measure::TemporalOrdered);
    }
    if n_members > MAX_LADDER {
        return Err(Fault::new(
            condition.at,
            format!("a sequence that may leave out rules joins at most {MAX_LADDER}"),
            "split it into several correlations",
        ));
    }
    Ok(Measure::PartlyOrdered)
}

/// Reads which percentile is wanted; a median is the fiftieth.
fn read_percentile(condition: &Node, kind: Type) -> Result<f64, Fault> {
    let percentile = condition.get("percentile");
    let wrong = |at| {
        Fault::new(
            at,
            "'percentile' is a number from 0 to 100 and goes with value_percentile alone",
            "write 'percentile: 95' in the condition of a value_percentile, or remove it",
        )
    };
    match (kind, percentile) {
        (Type::Percentile, None) => Err(wrong(condition.at)),
        (Type::Percentile, Some(node)) => match read_scalar(node)? {
            Scalar::Number(number, _) if (0.0..=100.0).contains(&number.as_f64()) => {
                Ok(number.as_f64())
            }
            Scalar::Null | Scalar::Flag(_) | Scalar::Number(..) | Scalar::Text(_) => {
                Err(wrong(node.at))
            }
        },
        (_, Some(node)) => Err(wrong(node.at)),
        (_, None) => Ok(50.0),
    }
}
