//! Pipelines at work: which steps apply to the rule at hand, and what they make of it.
//! It never compiles a selection; it says under which names and with which values.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::fault::{Fault, Location};
use crate::pipeline::gate::{ItemTest, PastTest, RuleTest};
use crate::pipeline::{Action, Step};
use crate::reading::options::Options;
use crate::reading::yaml::{Kind, Node};
use crate::search::routing::WantedSource;

/// Most names one field may get from all steps together.
const MAX_ALTERNATIVES: usize = 64;

/// All pipelines of a compilation, one behind the other.
#[derive(Default, Debug)]
pub(crate) struct Pipes {
    steps: Arc<[Step]>,
    variables: BTreeMap<String, Vec<String>>,
    placeholders: BTreeMap<String, Vec<String>>,
    /// Per id or name of a rule the log sources behind it, for conditions on correlations.
    sources: HashMap<String, Vec<WantedSource>>,
    /// The steps that apply to the rule at hand.
    active: Vec<usize>,
    /// How many of those are over for what is compiled now.
    n_over: usize,
}

/// What steps know of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuleFacts<'n> {
    /// Where it begins.
    pub(crate) at: Location,
    /// Its tags.
    pub(crate) tags: &'n [String],
    /// The log source of a rule over single events.
    pub(crate) source: Option<&'n WantedSource>,
    /// The rules a correlation joins.
    pub(crate) members: &'n [String],
}

/// What steps make of a rule as a whole.
#[derive(Clone, Default, Debug)]
pub(crate) struct RuleChange {
    /// Its new log source.
    pub(crate) source: Option<WantedSource>,
    /// Selections that must hold besides, with the number of steps that are over for each.
    pub(crate) added: Vec<Added>,
}

/// A selection added to a rule.
#[derive(Clone, Debug)]
pub(crate) struct Added {
    /// The selection.
    pub(crate) selection: Node,
    /// Whether it must not hold.
    pub(crate) negated: bool,
    /// How many active steps came before it.
    pub(crate) n_over: usize,
}

/// A line of a selection as the steps leave it.
#[derive(Clone, Debug)]
pub(crate) struct Alternative {
    /// Its field, none for keywords.
    pub(crate) field: Option<String>,
    /// The steps that fill placeholders of its values.
    fillers: Vec<usize>,
    applied: Vec<usize>,
}

impl Pipes {
    /// Joins the pipelines of the options.
    pub(crate) fn new(options: &Options) -> Self {
        let pipelines = options.ordered();
        let steps = pipelines.iter().flat_map(|pipeline| &pipeline.steps);
        let variables = pipelines.iter().flat_map(|pipeline| &pipeline.variables);
        Self {
            steps: steps.cloned().collect(),
            variables: variables
                .map(|(name, values)| (name.clone(), values.clone()))
                .collect(),
            placeholders: options.placeholders.clone(),
            ..Self::default()
        }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Tells the log sources behind each rule, by its id and name.
    pub(crate) fn tell_sources(&mut self, sources: HashMap<String, Vec<WantedSource>>) {
        self.sources = sources;
    }

    /// Chooses the steps for a rule and answers what they make of it as a whole.
    pub(crate) fn begin_rule(&mut self, facts: RuleFacts<'_>) -> Result<RuleChange, Fault> {
        self.active.clear();
        self.n_over = 0;
        let mut change = RuleChange::default();
        let steps = Arc::clone(&self.steps);
        for (number, step) in steps.iter().enumerate() {
            let source = change.source.as_ref().or(facts.source);
            let holds = |test: &RuleTest| self.rule_passes(test, &facts, source);
            if !step.rules.admits(holds) {
                continue;
            }
            self.active.push(number);
            if let Action::RefuseRule(message) = &step.action {
                return Err(refused(facts.at, message));
            }
            if facts.source.is_none() {
                continue;
            }
            if let Action::ChangeSource(source) = &step.action {
                change.source = Some(source.clone());
            }
            if let Action::AddCondition { selection, negated } = &step.action {
                change.added.push(Added {
                    selection: selection.clone(),
                    negated: *negated,
                    n_over: self.active.len(),
                });
            }
        }
        Ok(change)
    }

    /// Says how many of the active steps are over for what is compiled next.
    pub(crate) fn skip(&mut self, n_over: usize) {
        self.n_over = n_over;
    }

    /// Whether a condition on a rule holds.
    fn rule_passes(
        &self,
        test: &RuleTest,
        facts: &RuleFacts<'_>,
        source: Option<&WantedSource>,
    ) -> bool {
        match test {
            RuleTest::Source(wanted) => match source {
                Some(source) => source.is_within(wanted),
                None => facts
                    .members
                    .iter()
                    .filter_map(|name| self.sources.get(name))
                    .flatten()
                    .any(|source| source.is_within(wanted)),
            },
            RuleTest::Tag(tag) => facts.tags.contains(tag),
            RuleTest::IsDetection => facts.source.is_some(),
            RuleTest::IsCorrelation => facts.source.is_none(),
            RuleTest::Past(past) => self.happened(past, &self.active, &self.active),
        }
    }

    /// Whether something happened in earlier steps; `applied` are those that touched the subject.
    fn happened(&self, test: &PastTest, before: &[usize], applied: &[usize]) -> bool {
        let step = |number: &usize| self.steps.get(*number);
        match test {
            PastTest::Applied(id) => applied
                .iter()
                .filter_map(step)
                .any(|step| step.id.as_ref() == Some(id)),
            PastTest::State(key, wanted) => {
                let states = before.iter().rev().filter_map(step);
                let mut values = states.filter_map(|step| step.action.state_of(key));
                values.next() == Some(wanted)
            }
        }
    }

    /// The steps still to come, each with those before it.
    fn remaining(&self) -> impl Iterator<Item = (usize, &Step, &[usize])> {
        let numbers = self.active.iter().enumerate().skip(self.n_over);
        numbers.filter_map(|(position, number)| {
            let before = self.active.get(..position)?;
            Some((*number, self.steps.get(*number)?, before))
        })
    }

    /// What the steps make of a line of a selection; nothing is left of one that is dropped.
    pub(crate) fn route_item(
        &self,
        field: Option<&str>,
        values: &[&Node],
        at: Location,
    ) -> Result<Vec<Alternative>, Fault> {
        let mut alternatives = vec![Alternative {
            field: field.map(str::to_owned),
            fillers: Vec::new(),
            applied: Vec::new(),
        }];
        for (number, step, before) in self.remaining() {
            let mut next = Vec::new();
            for alternative in alternatives {
                let past = |test: &PastTest| self.happened(test, before, &alternative.applied);
                let name = alternative.field.as_deref();
                let is_meant = step.items.admits(|test| item_passes(test, values, &past))
                    && step.fields.admits(|test| test.holds(name, &past));
                if !is_meant {
                    next.push(alternative);
                    continue;
                }
                if let Action::RefuseItem(message) = &step.action {
                    return Err(refused(at, message));
                }
                next.extend(alternative.after(number, &step.action));
            }
            alternatives = next;
            check_number(alternatives.len(), at)?;
        }
        Ok(alternatives)
    }

    /// The names that the steps make of a field's name.
    pub(crate) fn rename(&self, field: &str, at: Location) -> Result<Vec<String>, Fault> {
        let mut names = vec![(field.to_owned(), Vec::new())];
        for (number, step, before) in self.remaining() {
            let mut next = Vec::new();
            for (name, mut applied) in names {
                let past = |test: &PastTest| self.happened(test, before, &applied);
                let is_meant = step.fields.admits(|test| test.holds(Some(&name), &past));
                match step.action.rename(&name).filter(|_| is_meant) {
                    None => next.push((name, applied)),
                    Some(others) => {
                        applied.push(number);
                        next.extend(others.into_iter().map(|other| (other, applied.clone())));
                    }
                }
            }
            names = next;
            check_number(names.len(), at)?;
        }
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// The only name that the steps make of a field's name.
    pub(crate) fn rename_one(&self, field: &str, at: Location) -> Result<String, Fault> {
        let mut names = self.rename(field, at)?;
        match (names.pop(), names.is_empty()) {
            (Some(name), true) => Ok(name),
            _ => Err(Fault::new(
                at,
                format!("the pipeline gives '{field}' several names, and only one can stand here"),
                "map it to one name, by a step with its own rule conditions",
            )),
        }
    }

    /// What a placeholder stands for in a line of a selection.
    pub(crate) fn fill(&self, name: &str, alternative: &Alternative) -> Option<Vec<String>> {
        for number in &alternative.fillers {
            let action = self.steps.get(*number).map(|step| &step.action);
            if let Some(Action::LiftPlaceholders(filter)) = action
                && filter.admits(name)
            {
                return Some(vec!["*".to_owned()]);
            }
            if let Some(Action::FillPlaceholders(filter)) = action
                && filter.admits(name)
            {
                let values = self.variables.get(name);
                return values.or_else(|| self.placeholders.get(name)).cloned();
            }
        }
        self.placeholders.get(name).cloned()
    }
}

impl Alternative {
    /// What a step makes of it: nothing, itself, or itself under other names.
    fn after(mut self, number: usize, action: &Action) -> Vec<Self> {
        if matches!(action, Action::DropItem) {
            return Vec::new();
        }
        if matches!(
            action,
            Action::FillPlaceholders(_) | Action::LiftPlaceholders(_)
        ) {
            self.fillers.push(number);
        }
        let names = self.field.as_deref().and_then(|name| action.rename(name));
        let Some(names) = names else {
            return vec![self];
        };
        self.applied.push(number);
        let renamed = |name| Self {
            field: Some(name),
            ..self.clone()
        };
        names.into_iter().map(renamed).collect()
    }
}

/// Whether a condition on a line of a selection holds.
fn item_passes(test: &ItemTest, values: &[&Node], past: &dyn Fn(&PastTest) -> bool) -> bool {
    let decide = |all: bool, holds: &dyn Fn(&Node) -> bool| match all {
        true => values.iter().all(|value| holds(value)),
        false => values.iter().any(|value| holds(value)),
    };
    match test {
        ItemTest::Text {
            pattern,
            all,
            negated,
        } => decide(*all, &|value| match &value.kind {
            Kind::Scalar { text, .. } if !value.is_null() => pattern.is_match(text) != *negated,
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => *negated,
        }),
        ItemTest::Null { all } => decide(*all, &Node::is_null),
        ItemTest::Past(test) => past(test),
    }
}

/// Refuses more names than any mapping needs.
fn check_number(n_names: usize, at: Location) -> Result<(), Fault> {
    if n_names <= MAX_ALTERNATIVES {
        return Ok(());
    }
    Err(Fault::new(
        at,
        format!("the pipelines give one field more than {MAX_ALTERNATIVES} names"),
        "map it to fewer",
    ))
}

/// The refusal that a pipeline asks for.
fn refused(at: Location, message: &str) -> Fault {
    Fault::new(
        at,
        format!("a pipeline refuses this: {message}"),
        "change the rule, or the pipeline that refuses it",
    )
}
