//! Which rules an event is tried on: those whose log source is part of the event's.
//! It never grows with what events say; unknown names share one entry.

use std::collections::HashMap;

use crate::event::LogSource;
use crate::fault::Fault;
use crate::metadata::read_text;
use crate::prefilter::Prefilter;
use crate::rule_set::Rule;
use crate::yaml::Node;

/// The log source a rule asks for; an absent part means any.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct WantedSource {
    category: Option<String>,
    product: Option<String>,
    service: Option<String>,
}

impl WantedSource {
    /// Reads the `logsource` of a document.
    pub(crate) fn read(document: &Node) -> Result<Self, Fault> {
        let missing = |at| {
            Fault::new(
                at,
                "the rule has no log source",
                "add 'logsource: {product: linux}'",
            )
        };
        let node = document
            .get("logsource")
            .ok_or_else(|| missing(document.at))?;
        let lower = |key| Ok::<_, Fault>(read_text(node, key)?.map(|text| text.to_lowercase()));
        let wanted = Self {
            category: lower("category")?,
            product: lower("product")?,
            service: lower("service")?,
        };
        if wanted == Self::default() {
            return Err(missing(node.at));
        }
        Ok(wanted)
    }

    /// Whether every event this admits is also admitted by `wider`.
    pub(crate) fn is_within(&self, wider: &Self) -> bool {
        let covers = |wide: &Option<String>, own: &Option<String>| wide.is_none() || wide == own;
        covers(&wider.category, &self.category)
            && covers(&wider.product, &self.product)
            && covers(&wider.service, &self.service)
    }
}

/// The rules for one kind of event.
#[derive(Clone, Default, Debug)]
pub(crate) struct Bucket {
    /// Their numbers, in order.
    pub(crate) rules: Vec<usize>,
    /// Whether one of them searches the whole event.
    pub(crate) has_keywords: bool,
    /// Which of them an event could match.
    pub(crate) prefilter: Prefilter,
}

/// Most buckets kept: far more than the kinds of events there are, and a bound on what a daemon
/// that passes on unchecked names can make this hold.
const MAX_BUCKETS: usize = 4096;

/// A name's number among those that rules mention; zero is every other name, or none.
type Coordinates = [usize; 3];

/// Finds the bucket of an event, building each at its first use.
#[derive(Clone, Default, Debug)]
pub(crate) struct Router {
    names: [HashMap<String, usize>; 3],
    wanted: Vec<Routed>,
    buckets: HashMap<Coordinates, Bucket>,
}

/// One rule as the router sees it.
#[derive(Clone, Debug)]
struct Routed {
    coordinates: Coordinates,
    rule: usize,
    has_keywords: bool,
}

impl Router {
    /// Adds a rule under its number.
    pub(crate) fn add(&mut self, rule: usize, source: &WantedSource, has_keywords: bool) {
        let wanted = [&source.category, &source.product, &source.service];
        let mut coordinates = [0; 3];
        for ((names, wanted), number) in self.names.iter_mut().zip(wanted).zip(&mut coordinates) {
            if let Some(name) = wanted {
                let next = names.len() + 1;
                *number = *names.entry(name.clone()).or_insert(next);
            }
        }
        self.wanted.push(Routed {
            coordinates,
            rule,
            has_keywords,
        });
    }

    /// The rules that apply to an event.
    pub(crate) fn route(&mut self, source: LogSource<'_>, rules: &[Rule]) -> &Bucket {
        let [categories, products, services] = &self.names;
        let find = |names: &HashMap<String, usize>, name: Option<&str>| {
            name.and_then(|name| names.get(name)).copied().unwrap_or(0)
        };
        let coordinates = [
            find(categories, source.category),
            find(products, source.product),
            find(services, source.service),
        ];
        if self.buckets.len() >= MAX_BUCKETS && !self.buckets.contains_key(&coordinates) {
            self.buckets.clear();
        }
        let wanted = &self.wanted;
        self.buckets
            .entry(coordinates)
            .or_insert_with(|| Bucket::of(wanted, coordinates, rules))
    }
}

impl Bucket {
    /// Gathers the rules whose every wanted part is the event's.
    fn of(wanted: &[Routed], event: Coordinates, rules: &[Rule]) -> Self {
        let mut bucket = Self::default();
        let admits = |routed: &&Routed| {
            routed
                .coordinates
                .iter()
                .zip(event)
                .all(|(want, have)| *want == 0 || *want == have)
        };
        for routed in wanted.iter().filter(admits) {
            bucket.rules.push(routed.rule);
            bucket.has_keywords |= routed.has_keywords;
        }
        let detections = bucket
            .rules
            .iter()
            .filter_map(|number| rules.get(*number)?.detection());
        bucket.prefilter = Prefilter::new(detections);
        bucket
    }
}
