//! Explains rules on one event: routing, selections, lines of selections.
//! It never changes an engine; what it says is what `observe` would find.

pub(crate) mod explanation;
pub(crate) mod windows;

use crate::engine::Engine;
use crate::event::{Event, LogSource, Scope};
use crate::explain::explanation::{Explanation, ItemTruth, SelectionTruth, Verdict};
use crate::explain::windows::WindowExplainer;
use crate::found::excerpt;
use crate::limits::Limits;
use crate::rule_set::{Logic, Rule};
use crate::search::routing::WantedSource;
use crate::search::view::{Scratch, View};
use crate::selecting::expression::{Expression, Item, Target};

/// Most lines of one selection that are shown.
const MAX_ITEMS: usize = 64;

/// Most patterns or values of one line that are shown.
const MAX_SHOWN: usize = 16;

impl Engine {
    /// Says for every rule why it matches an event or does not, without taking the event in.
    ///
    /// `scope` and `now_ms` choose the windows that correlations are explained with.
    ///
    /// ```
    /// use hidps_rules::{Engine, Event, Limits, LogSource, RuleFile, RuleSet, Scope, Value, Verdict};
    ///
    /// let text = "title: Root\nlogsource: {product: linux}\n\
    ///             detection: {s: {user: root}, condition: s}\n";
    /// let rules = RuleSet::compile(&[RuleFile { name: "root.yml", text }]).unwrap();
    /// let engine = Engine::new(rules, Limits::default());
    /// let event = Event {
    ///     logsource: LogSource { product: Some("linux"), ..LogSource::default() },
    ///     message: "",
    ///     fields: &[("user", Value::Str("alice"))],
    /// };
    ///
    /// let why = engine.explain(Scope(1), &event, 0);
    ///
    /// assert_eq!(why[0].verdict, Verdict::NotMatched);
    /// assert_eq!(why[0].selections[0].items[0].seen, ["alice"]);
    /// ```
    #[must_use]
    pub fn explain(&self, scope: Scope, event: &Event<'_>, now_ms: i64) -> Vec<Explanation> {
        let mut scratch = Scratch::default();
        scratch.load(event, &self.rules.fields, true);
        let view = View::new(&scratch, &self.rules.fields);
        let step = self.next_step(scope, now_ms);
        let mut windows = WindowExplainer::new(self, view, step);
        let rules = self.rules.rules.iter().enumerate();
        rules
            .map(|(number, rule)| {
                let mut explanation = self.explain_rule(number, rule, view, event.logsource);
                windows.explain(number, rule, &mut explanation);
                explanation
            })
            .collect()
    }

    /// Explains one rule.
    fn explain_rule(
        &self,
        number: usize,
        rule: &Rule,
        view: View<'_>,
        source: LogSource<'_>,
    ) -> Explanation {
        let mut explanation = Explanation {
            rule: rule.info.id.clone(),
            title: rule.info.title.clone(),
            verdict: Verdict::NotMatched,
            condition: String::new(),
            selections: Vec::new(),
            window: None,
        };
        if let Some(reason) = self.suspension(number) {
            explanation.verdict = Verdict::Suspended(reason.to_owned());
        }
        let detection = match &rule.logic {
            Logic::Detection(detection) => detection,
            Logic::Correlation(correlation) => {
                explanation.condition.clone_from(&correlation.plan.written);
                return explanation;
            }
        };
        explanation.condition.clone_from(&detection.written);
        if self.suspension(number).is_some() {
            return explanation;
        }
        if let Some(verdict) = differing_part(&detection.source, source) {
            explanation.verdict = verdict;
            return explanation;
        }
        if detection.condition.holds(&detection.selections, view) {
            explanation.verdict = Verdict::Matched;
        }
        let named = detection.names.iter().zip(&detection.selections);
        explanation.selections = named
            .map(|(name, selection)| explain_selection(name, selection, view, self.limits()))
            .collect();
        explanation
    }
}

/// The first part of a log source in which an event is not what a rule asks for.
fn differing_part(wanted: &WantedSource, event: LogSource<'_>) -> Option<Verdict> {
    let differs =
        |part: &'static str, wanted: &Option<String>, seen: Option<&str>, also: &[&str]| {
            let wanted = wanted.as_deref()?;
            let is_same = seen == Some(wanted) || also.contains(&wanted);
            (!is_same).then(|| Verdict::NotRouted {
                part,
                wanted: wanted.to_owned(),
                seen: seen.map(str::to_owned),
            })
        };
    differs("category", &wanted.category, event.category, &[])
        .or_else(|| differs("product", &wanted.product, event.product, &[]))
        .or_else(|| differs("service", &wanted.service, event.service, event.also))
}

/// Explains one selection.
fn explain_selection(
    name: &str,
    selection: &Expression,
    view: View<'_>,
    limits: &Limits,
) -> SelectionTruth {
    let mut items = Vec::new();
    selection.visit_items(&mut |item| {
        if items.len() < MAX_ITEMS {
            items.push(explain_item(item, view, limits));
        }
    });
    SelectionTruth {
        name: name.to_owned(),
        holds: selection.holds(&[], view),
        items,
    }
}

/// Explains one line of a selection.
fn explain_item(item: &Item, view: View<'_>, limits: &Limits) -> ItemTruth {
    let cut = |text: &str| excerpt(text, limits.excerpt_chars);
    let holds = item.holds(view);
    let tried = item.written.values.iter().zip(&item.matchers);
    let patterns = tried
        .filter(|(_, matcher)| holds || !item.all || !item.hits(matcher, view))
        .map(|(text, _)| cut(text))
        .take(MAX_SHOWN)
        .collect();
    let seen = match &item.target {
        Target::Field(slot, _) => view
            .values(*slot)
            .map(|seen| cut(seen.plain))
            .take(MAX_SHOWN)
            .collect(),
        Target::Keywords => view
            .texts()
            .map(|(_, seen)| cut(seen.plain))
            .take(MAX_SHOWN)
            .collect(),
    };
    ItemTruth {
        field: item.written.key.clone(),
        holds,
        patterns,
        seen,
    }
}
