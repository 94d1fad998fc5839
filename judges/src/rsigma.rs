//! The second judge: rsigma's engine over the same rules and events.
//! It never translates a rule; both engines read the same text.

use std::collections::BTreeSet;

use rsigma_eval::{CorrelationConfig, CorrelationEngine, Engine, JsonEvent, parse_pipeline};
use rsigma_parser::{LogSource, SigmaCollection, parse_sigma_yaml};
use serde_json::Value;

/// rsigma over single events.
pub struct Rsigma {
    engine: Engine,
}

/// rsigma over streams of events.
pub struct RsigmaStream {
    detections: Engine,
    correlations: CorrelationEngine,
}

/// The log source of events, in rsigma's form.
#[must_use]
pub fn log_source(
    category: Option<&str>,
    product: Option<&str>,
    service: Option<&str>,
) -> LogSource {
    let own = |part: Option<&str>| part.map(str::to_owned);
    LogSource {
        category: own(category),
        product: own(product),
        service: own(service),
        ..LogSource::default()
    }
}

/// Reads rule texts into one collection.
fn read(texts: &[&str]) -> Result<SigmaCollection, String> {
    let mut all = SigmaCollection::default();
    for text in texts {
        let read = parse_sigma_yaml(text).map_err(|error| error.to_string())?;
        if let Some(error) = read.errors().next() {
            return Err(format!("{error:?}"));
        }
        all.rules.extend(read.rules);
        all.correlations.extend(read.correlations);
        all.filters.extend(read.filters);
    }
    Ok(all)
}

impl Rsigma {
    /// Loads rules and the pipelines they go through.
    ///
    /// # Errors
    /// What rsigma says of the first rule it does not take.
    pub fn load(texts: &[&str], pipelines: &[String]) -> Result<Self, String> {
        let mut engine = Engine::new();
        for text in pipelines {
            engine.add_pipeline(parse_pipeline(text).map_err(|error| error.to_string())?);
        }
        let rules = read(texts)?;
        engine
            .add_collection(&rules)
            .map_err(|error| error.to_string())?;
        Ok(Self { engine })
    }

    /// How many rules match an event.
    #[must_use]
    pub fn count(&self, source: &LogSource, event: &Value) -> usize {
        let event = JsonEvent::borrow(event);
        self.engine.evaluate_with_logsource(&event, source).len()
    }

    /// The ids of the rules that match an event.
    #[must_use]
    pub fn matches(&self, source: &LogSource, event: &Value) -> BTreeSet<String> {
        let event = JsonEvent::borrow(event);
        let found = self.engine.evaluate_with_logsource(&event, source);
        found
            .into_iter()
            .filter_map(|one| one.header.rule_id)
            .collect()
    }
}

impl RsigmaStream {
    /// Loads rules and correlations, all of which report their own matches.
    ///
    /// # Errors
    /// What rsigma says of the first rule it does not take.
    pub fn load(texts: &[&str]) -> Result<Self, String> {
        let rules = read(texts)?;
        let mut detections = Engine::new();
        detections
            .add_collection(&rules)
            .map_err(|error| error.to_string())?;
        let mut correlations = CorrelationEngine::new(CorrelationConfig {
            emit_detections: true,
            ..CorrelationConfig::default()
        });
        correlations
            .add_collection(&rules)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            detections,
            correlations,
        })
    }

    /// The ids of what matches or fires on an event; time is in whole seconds.
    pub fn observe(
        &mut self,
        source: &LogSource,
        event: &Value,
        now_secs: i64,
    ) -> BTreeSet<String> {
        let event = JsonEvent::borrow(event);
        let found = self.detections.evaluate_with_logsource(&event, source);
        let fired = self
            .correlations
            .process_with_detections(&event, found, now_secs);
        fired
            .into_iter()
            .filter_map(|one| one.header.rule_id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Rsigma, RsigmaStream, log_source};

    const RULE: &str = "title: A\nid: 5d5280b1-aa92-4ad7-a69a-000000000001\nname: a\n\
        logsource: {product: linux}\n\
        detection:\n  s: {Image|endswith: /nc}\n  condition: s\n";

    #[test]
    fn it_answers_with_the_ids_of_the_rules_that_match_and_apply() {
        let rsigma = Rsigma::load(&[RULE], &[]).unwrap();
        let event = json!({"Image": "/usr/bin/NC"});

        let here = rsigma.matches(&log_source(None, Some("linux"), None), &event);
        let elsewhere = rsigma.matches(&log_source(None, Some("windows"), None), &event);

        assert_eq!(
            Vec::from_iter(here),
            ["5d5280b1-aa92-4ad7-a69a-000000000001"]
        );
        assert!(elsewhere.is_empty());
    }

    #[test]
    fn it_answers_with_the_ids_of_the_correlations_that_fire() {
        let correlation = "title: C\nid: c\ncorrelation:\n  type: event_count\n  rules: [a]\n  \
            group-by: [User]\n  timespan: 10s\n  condition: {gte: 2}\n";
        let mut rsigma = RsigmaStream::load(&[RULE, correlation]).unwrap();
        let source = log_source(None, Some("linux"), None);
        let event = json!({"Image": "/usr/bin/nc", "User": "u"});

        let first = rsigma.observe(&source, &event, 100);
        let second = rsigma.observe(&source, &event, 110);
        let third = rsigma.observe(&source, &event, 121);

        assert!(!first.contains("c") && second.contains("c") && !third.contains("c"));
    }
}
