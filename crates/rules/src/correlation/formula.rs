//! Boolean conditions over the names of joined rules: `scan and login and not backup`.
//! It never holds what matched; windows do.

use crate::correlation::sequence::Facts;
use crate::fault::{Fault, Location};
use crate::selecting::condition::{list_names, parse_condition};
use crate::selecting::expression::Expression;

/// Most alternatives an ordered condition may come to, each with a sequence in every window.
const MAX_CLAUSES: usize = 32;

/// A boolean condition over joined rules.
#[derive(Clone, Debug)]
pub(crate) struct Formula {
    expression: Expression,
    /// Its alternatives, when the order of matches is asked for too.
    pub(crate) clauses: Vec<Clause>,
}

/// One alternative: rules that must match, in this order, and rules that must not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Clause {
    /// The rules that must match, in the order of the correlation.
    pub(crate) steps: Vec<usize>,
    absent: Vec<usize>,
}

impl Formula {
    /// Reads a condition; with no rules yet, those it names become the joined rules.
    pub(crate) fn read(
        text: &str,
        at: Location,
        is_ordered: bool,
        members: &mut Vec<(Location, String)>,
    ) -> Result<Self, Fault> {
        if members.is_empty() {
            members.extend(list_names(text).into_iter().map(|name| (at, name)));
        }
        let names: Vec<&str> = members.iter().map(|(_, name)| name.as_str()).collect();
        let expression = parse_condition(text, at, &names)?;
        let mut used = Vec::new();
        expression.list_selections(&mut used);
        let unused = (0..names.len()).find(|member| !used.contains(member));
        if let Some(name) = unused.and_then(|member| names.get(member)) {
            return Err(Fault::new(
                at,
                format!("the condition does not name the joined rule '{name}'"),
                "name every rule of 'rules', or leave 'rules' out",
            ));
        }
        if expression.decide(&|_| false) {
            return Err(Fault::new(
                at,
                "the condition holds even when no rule has matched",
                "join what must not match to a rule that must, as in 'a and not b'",
            ));
        }
        let clauses = if is_ordered {
            split_clauses(&expression, false).ok_or_else(|| {
                Fault::new(
                    at,
                    format!("the condition has more than {MAX_CLAUSES} alternatives"),
                    "split it into several correlations",
                )
            })?
        } else {
            Vec::new()
        };
        Ok(Self {
            expression,
            clauses: clauses.into_iter().map(Clause::sorted).collect(),
        })
    }

    /// Whether it holds in a window.
    pub(crate) fn holds(&self, facts: &Facts) -> bool {
        if self.clauses.is_empty() {
            return self.expression.decide(&|member| facts.has_seen(member));
        }
        let mut clauses = self.clauses.iter().enumerate();
        clauses.any(|(number, clause)| {
            facts.complete(number).is_some()
                && !clause.absent.iter().any(|member| facts.has_seen(*member))
        })
    }
}

impl Clause {
    /// The same with its rules in order, each once.
    fn sorted(mut self) -> Self {
        for rules in [&mut self.steps, &mut self.absent] {
            rules.sort_unstable();
            rules.dedup();
        }
        self
    }
}

/// The alternatives of an expression, or of its opposite; nothing when there are too many.
fn split_clauses(expression: &Expression, negated: bool) -> Option<Vec<Clause>> {
    match expression {
        Expression::Not(part) => split_clauses(part, !negated),
        Expression::Selection(member) => {
            let mut clause = Clause::default();
            match negated {
                true => clause.absent.push(*member),
                false => clause.steps.push(*member),
            }
            Some(vec![clause])
        }
        Expression::All(parts) if !negated => multiply(parts, negated),
        Expression::Any(parts) if negated => multiply(parts, negated),
        Expression::All(parts) | Expression::Any(parts) => {
            let mut clauses = Vec::new();
            for part in parts {
                clauses.extend(split_clauses(part, negated)?);
            }
            (clauses.len() <= MAX_CLAUSES).then_some(clauses)
        }
        Expression::Item(_) => Some(Vec::new()),
    }
}

/// The alternatives of parts that must all hold; contradictions are left out.
fn multiply(parts: &[Expression], negated: bool) -> Option<Vec<Clause>> {
    let mut product = vec![Clause::default()];
    for part in parts {
        let factors = split_clauses(part, negated)?;
        let join = |left: &Clause, right: &Clause| Clause {
            steps: [left.steps.as_slice(), &right.steps].concat(),
            absent: [left.absent.as_slice(), &right.absent].concat(),
        };
        let joined = product
            .iter()
            .flat_map(|left| factors.iter().map(move |right| join(left, right)));
        let is_possible =
            |clause: &Clause| !clause.steps.iter().any(|rule| clause.absent.contains(rule));
        product = joined.filter(is_possible).collect();
        if product.len() > MAX_CLAUSES {
            return None;
        }
    }
    Some(product)
}
