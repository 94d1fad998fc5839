//! The engines under test behind one interface: JSON text in, rule ids out.
//! It never does for one engine what it does not do for the other.

use hidps_rules::{Engine, Limits, LogSource, RuleFile, RuleSet, Scope};
use rsigma_eval::event::JsonEvent;

use crate::rules::Texts;
use crate::stream::Sample;

/// An engine that takes JSON.
pub trait Contender {
    /// Hands an event to the engine and adds the ids of the rules that match.
    fn observe(&mut self, sample: &Sample, now_ms: i64, ids: &mut Vec<String>);
}

/// Our engine.
#[derive(Debug)]
pub struct Ours(Engine);

impl Ours {
    /// Compiles rules; those it refuses are left out by [`compiling`].
    pub fn load(texts: &Texts) -> Self {
        Self(Engine::new(compile(texts), Limits::default()))
    }

    /// Rules tried so far, and events.
    pub fn tries(&self) -> (u64, u64) {
        let counters = self.0.counters();
        (
            counters.rules.values().map(|rule| rule.tries).sum(),
            counters.events,
        )
    }

    /// Rules tried most, with how often they were tried and matched.
    pub fn most_tried(&self) -> Vec<(u64, u64, String)> {
        let counters = self.0.counters();
        let title = |id: &str| {
            self.0
                .rules()
                .rule(id)
                .map_or_else(String::new, |rule| rule.title.clone())
        };
        let mut rules: Vec<_> = counters
            .rules
            .iter()
            .map(|(id, rule)| (rule.tries, rule.hits, title(id)))
            .collect();
        rules.sort();
        rules.reverse();
        rules.truncate(12);
        rules
    }

    /// Puts the same rules in place anew.
    pub fn reload(&mut self, texts: &Texts) {
        self.0.replace(compile(texts));
    }
}

/// Compiles all rules as one set.
pub fn compile(texts: &Texts) -> RuleSet {
    let files: Vec<RuleFile<'_>> = texts
        .iter()
        .map(|text| RuleFile {
            name: "rule.yml",
            text,
        })
        .collect();
    RuleSet::compile(&files)
        .unwrap_or_else(|errors| panic!("{} rules refused, first: {}", errors.len(), errors[0]))
}

/// The texts that our engine takes.
pub fn compiling(texts: Texts) -> Texts {
    let takes = |text: &String| {
        RuleSet::compile(&[RuleFile {
            name: "rule.yml",
            text,
        }])
        .is_ok()
    };
    texts.into_iter().filter(takes).collect()
}

impl Contender for Ours {
    fn observe(&mut self, sample: &Sample, now_ms: i64, ids: &mut Vec<String>) {
        let source = LogSource {
            category: sample.category,
            product: Some("linux"),
            service: sample.service,
            also: &[],
        };
        self.0
            .observe_json(Scope(1), source, &sample.json, now_ms, &mut |found| {
                ids.push(found.rule.id.clone());
            })
            .expect("the stream is JSON");
    }
}

/// The other engine.
pub struct Theirs {
    engine: rsigma_eval::Engine,
    /// Log sources as it wants them, by category and service.
    sources: Vec<(
        Option<&'static str>,
        Option<&'static str>,
        rsigma_parser::LogSource,
    )>,
}

impl Theirs {
    /// Compiles rules with its defaults, which are its fastest for sets of this size.
    pub fn load(texts: &Texts) -> Self {
        let mut engine = rsigma_eval::Engine::new();
        let read = |text| rsigma_parser::parse_sigma_yaml(text).expect("the rule is Sigma");
        let read: Vec<_> = texts.iter().map(|text| read(text)).collect();
        // In one call: each call builds its index anew.
        engine.add_rules(read.iter().flat_map(|collection| &collection.rules));
        let sources = Vec::new();
        Self { engine, sources }
    }

    /// Where the log source of an event is; each is made once.
    fn place_source(&mut self, sample: &Sample) -> usize {
        let is_same = |(category, service, _): &(_, _, _)| {
            *category == sample.category && *service == sample.service
        };
        if let Some(place) = self.sources.iter().position(is_same) {
            return place;
        }
        let source = rsigma_parser::LogSource {
            category: sample.category.map(str::to_owned),
            product: Some("linux".to_owned()),
            service: sample.service.map(str::to_owned),
            definition: None,
            custom: std::collections::HashMap::new(),
        };
        self.sources.push((sample.category, sample.service, source));
        self.sources.len() - 1
    }
}

impl Contender for Theirs {
    fn observe(&mut self, sample: &Sample, _now_ms: i64, ids: &mut Vec<String>) {
        let value: serde_json::Value =
            serde_json::from_str(&sample.json).expect("the stream is JSON");
        let place = self.place_source(sample);
        let (_, _, source) = &self.sources[place];
        for found in self
            .engine
            .evaluate_with_logsource(&JsonEvent::borrow(&value), source)
        {
            ids.extend(found.header.rule_id);
        }
    }
}

/// The other engine with correlations.
pub struct TheirWindows(rsigma_eval::CorrelationEngine);

impl TheirWindows {
    /// Compiles rules.
    pub fn load(texts: &Texts) -> Self {
        let mut engine =
            rsigma_eval::CorrelationEngine::new(rsigma_eval::CorrelationConfig::default());
        for text in texts {
            let collection = rsigma_parser::parse_sigma_yaml(text).expect("the rule is Sigma");
            engine
                .add_collection(&collection)
                .expect("the rule compiles");
        }
        Self(engine)
    }
}

impl Contender for TheirWindows {
    fn observe(&mut self, sample: &Sample, now_ms: i64, ids: &mut Vec<String>) {
        let value: serde_json::Value =
            serde_json::from_str(&sample.json).expect("the stream is JSON");
        for found in self
            .0
            .process_event_at(&JsonEvent::borrow(&value), now_ms / 1000)
        {
            if found.is_correlation() {
                ids.extend(found.header.rule_id);
            }
        }
    }
}
