//! Boolean expressions over an event: what selections and conditions compile to.
//! It never evaluates more than is needed to decide.

use crate::search::view::{Slot, View};
use crate::values::matcher::Matcher;

/// A decision over one event.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    /// Every part holds; true without parts.
    All(Vec<Self>),
    /// Some part holds; false without parts.
    Any(Vec<Self>),
    /// The part does not hold.
    Not(Box<Self>),
    /// The selection of this number holds.
    Selection(usize),
    /// A test on a field, or on the whole event.
    Item(Item),
}

/// One line of a selection: values tried on a field.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// What is looked at.
    pub(crate) target: Target,
    /// Whether every value must match, not just one.
    pub(crate) all: bool,
    /// Whether the outcome is turned round.
    pub(crate) negated: bool,
    /// The values.
    pub(crate) matchers: Vec<Matcher>,
    /// How the rule writes it.
    pub(crate) written: Box<Written>,
}

/// A line of a selection as the rule writes it, for explanations.
#[derive(Clone, Default, Debug)]
pub(crate) struct Written {
    /// The field with its modifiers, as pipelines left it.
    pub(crate) key: String,
    /// The values, one for each matcher.
    pub(crate) values: Vec<String>,
}

/// What an item looks at.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A field by name.
    Field(Slot, String),
    /// The message and every string.
    Keywords,
}

impl Expression {
    /// Whether it holds; `selections` are those of the rule.
    pub(crate) fn holds(&self, selections: &[Self], view: View<'_>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(selections, view)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(selections, view)),
            Self::Not(part) => !part.holds(selections, view),
            Self::Selection(index) => selections
                .get(*index)
                .is_some_and(|selection| selection.holds(&[], view)),
            Self::Item(item) => item.holds(view),
        }
    }

    /// Whether it holds where `decide` answers single selections.
    pub(crate) fn decide(&self, decide: &dyn Fn(usize) -> bool) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.decide(decide)),
            Self::Any(parts) => parts.iter().any(|part| part.decide(decide)),
            Self::Not(part) => !part.decide(decide),
            Self::Selection(index) => decide(*index),
            Self::Item(_) => false,
        }
    }

    /// Adds the numbers of the selections it asks for to `found`, each at its first mention.
    pub(crate) fn list_selections(&self, found: &mut Vec<usize>) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.list_selections(found));
            }
            Self::Not(part) => part.list_selections(found),
            Self::Selection(index) if !found.contains(index) => found.push(*index),
            Self::Selection(_) | Self::Item(_) => {}
        }
    }

    /// What is left without some selections; nothing when it asks for no others.
    pub(crate) fn without(self, gone: &[usize]) -> Option<Self> {
        let rest = |parts: Vec<Self>| -> Vec<Self> {
            let left = parts.into_iter().filter_map(|part| part.without(gone));
            left.collect()
        };
        match self {
            Self::All(parts) => Some(rest(parts))
                .filter(|parts| !parts.is_empty())
                .map(Self::All),
            Self::Any(parts) => Some(rest(parts))
                .filter(|parts| !parts.is_empty())
                .map(Self::Any),
            Self::Not(part) => part.without(gone).map(|part| Self::Not(Box::new(part))),
            Self::Selection(index) => (!gone.contains(&index)).then_some(Self::Selection(index)),
            Self::Item(item) => Some(Self::Item(item)),
        }
    }

    /// The same expression over selections whose numbers begin at `offset`.
    pub(crate) fn renumbered(&self, offset: usize) -> Self {
        let all = |parts: &[Self]| parts.iter().map(|part| part.renumbered(offset)).collect();
        match self {
            Self::All(parts) => Self::All(all(parts)),
            Self::Any(parts) => Self::Any(all(parts)),
            Self::Not(part) => Self::Not(Box::new(part.renumbered(offset))),
            Self::Selection(index) => Self::Selection(index + offset),
            Self::Item(item) => Self::Item(item.clone()),
        }
    }

    /// How much it holds: its parts and all values they are tried on.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::All(parts) | Self::Any(parts) => 1 + parts.iter().map(Self::size).sum::<usize>(),
            Self::Not(part) => 1 + part.size(),
            Self::Selection(_) => 1,
            Self::Item(item) => 1 + item.matchers.iter().map(Matcher::size).sum::<usize>(),
        }
    }

    /// Whether some part searches the whole event.
    pub(crate) fn has_keywords(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::has_keywords),
            Self::Not(part) => part.has_keywords(),
            Self::Selection(_) => false,
            Self::Item(item) => matches!(item.target, Target::Keywords),
        }
    }

    /// Hands every line of a selection to `visit`.
    pub(crate) fn visit_items<'e>(&'e self, visit: &mut dyn FnMut(&'e Item)) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().for_each(|part| part.visit_items(visit));
            }
            Self::Not(part) => part.visit_items(visit),
            Self::Selection(_) => {}
            Self::Item(item) => visit(item),
        }
    }

    /// Names to `found` the field and value behind every positive part that holds.
    pub(crate) fn collect_evidence<'v>(
        &self,
        selections: &[Self],
        view: View<'v>,
        found: &mut dyn FnMut(&str, &'v str),
    ) {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                for part in parts.iter().filter(|part| part.holds(selections, view)) {
                    part.collect_evidence(selections, view, found);
                }
            }
            Self::Not(_) => {}
            Self::Selection(index) => {
                if let Some(selection) = selections.get(*index) {
                    selection.collect_evidence(&[], view, found);
                }
            }
            Self::Item(item) => item.collect_evidence(view, found),
        }
    }
}

impl Item {
    /// Whether one of its matchers finds something.
    pub(crate) fn hits(&self, matcher: &Matcher, view: View<'_>) -> bool {
        match &self.target {
            Target::Field(slot, _) => matcher.matches_field(*slot, view),
            Target::Keywords => view.texts().any(|(_, seen)| matcher.matches(seen, view)),
        }
    }

    /// Whether the values match.
    pub(crate) fn holds(&self, view: View<'_>) -> bool {
        let hit = |matcher: &Matcher| self.hits(matcher, view);
        let held = if self.all {
            self.matchers.iter().all(hit)
        } else {
            self.matchers.iter().any(hit)
        };
        held != self.negated
    }

    /// Names to `found` the fields of values that are too long to be read whole.
    pub(crate) fn list_partly_read(&self, view: View<'_>, found: &mut dyn FnMut(&str)) {
        let is_cut = |seen| {
            let mut matchers = self.matchers.iter();
            matchers.any(|matcher| matcher.reads_in_part(seen))
        };
        match &self.target {
            Target::Field(slot, name) if view.values(*slot).any(is_cut) => found(name),
            Target::Field(..) => {}
            Target::Keywords => view
                .texts()
                .filter(|(_, seen)| is_cut(*seen))
                .for_each(|(name, _)| found(name)),
        }
    }

    /// Names to `found` the values that match.
    fn collect_evidence<'v>(&self, view: View<'v>, found: &mut dyn FnMut(&str, &'v str)) {
        if self.negated {
            return;
        }
        let hit = |seen| {
            self.matchers
                .iter()
                .any(|matcher| matcher.matches(seen, view))
        };
        match &self.target {
            Target::Field(slot, name) => view
                .values(*slot)
                .filter(|seen| hit(*seen))
                .for_each(|seen| found(name, seen.plain)),
            Target::Keywords => view
                .texts()
                .filter(|(_, seen)| hit(*seen))
                .for_each(|(name, seen)| found(name, seen.plain)),
        }
    }
}
