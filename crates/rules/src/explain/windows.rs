//! Explains correlations on one event: what their windows would hold with it.
//! It never changes a window; it works on copies of those the event belongs to.

use std::collections::BTreeMap;

use crate::correlation::correlate::{Origin, Pairs, arrive, read_group, sizing_of, write_value};
use crate::correlation::group_key::write_key;
use crate::correlation::window::{Arrival, Group};
use crate::correlation::window_store::Place;
use crate::engine::{Engine, Step};
use crate::explain::explanation::{Explanation, Verdict, WindowState};
use crate::found::excerpt;
use crate::rule_set::{Correlation, Feed, Logic, Member, Rule};
use crate::search::view::View;

/// Follows the matches of one event through all correlations.
pub(crate) struct WindowExplainer<'e> {
    engine: &'e Engine,
    view: View<'e>,
    step: Step,
    /// Per correlation the matches on their way into it.
    pending: BTreeMap<usize, Vec<Fed>>,
    /// The groups of the correlations that fire.
    groups: Vec<Pairs>,
}

/// A match on its way into a correlation.
struct Fed {
    member: usize,
    rule: String,
    /// The group of a fired correlation that it comes from.
    from: Option<usize>,
}

impl<'e> WindowExplainer<'e> {
    /// Begins with no match.
    pub(crate) fn new(engine: &'e Engine, view: View<'e>, step: Step) -> Self {
        Self {
            engine,
            view,
            step,
            pending: BTreeMap::new(),
            groups: Vec::new(),
        }
    }

    /// Completes the explanation of a rule; correlations come behind the rules they join.
    pub(crate) fn explain(&mut self, number: usize, rule: &Rule, explanation: &mut Explanation) {
        match &rule.logic {
            Logic::Detection(_) => {
                if explanation.verdict == Verdict::Matched {
                    self.announce(rule, None);
                }
            }
            Logic::Correlation(correlation) => {
                let mut fed = self.pending.remove(&number).unwrap_or_default();
                fed.sort_by_key(|fed| std::cmp::Reverse(fed.member));
                let state = self.follow(number, rule, correlation, &fed, explanation);
                explanation.window = Some(state);
            }
        }
    }

    /// Passes a match on to the correlations that count it.
    fn announce(&mut self, rule: &Rule, from: Option<usize>) {
        for Feed {
            correlation,
            member,
        } in rule.feeds.iter().copied()
        {
            self.pending.entry(correlation).or_default().push(Fed {
                member,
                rule: rule.info.id.clone(),
                from,
            });
        }
    }

    /// Takes matches into copies of their windows and says what these hold then.
    fn follow(
        &mut self,
        number: usize,
        rule: &Rule,
        correlation: &Correlation,
        fed: &[Fed],
        explanation: &mut Explanation,
    ) -> WindowState {
        let mut state = WindowState {
            fed_by: fed.iter().map(|fed| fed.rule.clone()).collect(),
            missing: None,
            group: Vec::new(),
            number: None,
            entries: 0,
            last_ms: None,
        };
        if matches!(explanation.verdict, Verdict::Suspended(_)) {
            return state;
        }
        let mut windows: BTreeMap<String, (Group, Pairs)> = BTreeMap::new();
        for fed in fed {
            let Some(member) = correlation.members.get(fed.member) else {
                continue;
            };
            let origin = self.origin(fed);
            let mut key = String::new();
            if !write_key(&member.group_by, origin, &mut key) {
                state.missing = missing_field(member, origin);
                continue;
            }
            let group = read_group(&correlation.plan.group_by, member, origin);
            let window = self.copy(number, correlation, &key);
            let (window, _) = windows.entry(key).or_insert((window, group));
            let mut value = String::new();
            let has_text =
                !correlation.plan.measure.is_numeric() && write_value(member, origin, &mut value);
            let arrival = Arrival {
                member: fed.member,
                value: has_text.then(|| self.engine.correlator.key(&value)),
                ..arrive(&correlation.plan, member, origin, self.step)
            };
            window.add(arrival, &sizing_of(correlation, self.engine.limits()));
        }
        for (window, group) in windows.into_values() {
            self.conclude(rule, correlation, (window, group), &mut state, explanation);
        }
        state
    }

    /// Says what one window holds and whether it fires.
    fn conclude(
        &mut self,
        rule: &Rule,
        correlation: &Correlation,
        (mut window, group): (Group, Pairs),
        state: &mut WindowState,
        explanation: &mut Explanation,
    ) {
        let reading = window.read();
        state.number = reading.number.map(crate::values::number::Number::as_f64);
        state.entries = window.len();
        state.last_ms = Some(reading.last_ms);
        let cut = |text: &str| excerpt(text, self.engine.limits().excerpt_chars);
        let shown = group.iter().map(|(name, value)| (name.clone(), cut(value)));
        state.group = shown.collect();
        if window.poll_fired(&correlation.plan).is_some() {
            explanation.verdict = Verdict::Matched;
            self.groups.push(group);
            self.announce(rule, Some(self.groups.len() - 1));
        }
    }

    /// A copy of the window at a key, or a new one.
    fn copy(&self, number: usize, correlation: &Correlation, key: &str) -> Group {
        let place = Place {
            scope: self.step.scope,
            key: self.engine.correlator.key(key),
        };
        let known = self.engine.correlator.copy(number, place);
        let sizing = sizing_of(correlation, self.engine.limits());
        known.unwrap_or_else(|| Group::new(&sizing, self.step.now_ms))
    }

    /// Where the fields of a match are read.
    fn origin(&self, fed: &Fed) -> Origin<'_> {
        match fed.from.and_then(|from| self.groups.get(from)) {
            Some(group) => Origin::Fired(group, self.view),
            None => Origin::Event(self.view),
        }
    }
}

/// The first field of `group-by` that a match lacks.
fn missing_field(member: &Member, origin: Origin<'_>) -> Option<String> {
    let mut fields = member.group_by.iter();
    let missing = fields.find(|field| origin.text(field).is_none());
    missing.map(|field| field.name.clone())
}
