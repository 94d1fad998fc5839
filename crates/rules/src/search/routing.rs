//! Which rules an event is tried on: those whose log source is part of the event's.
//! It never grows with what events say; unknown names share one entry.

use hashbrown::HashMap;

use crate::event::LogSource;
use crate::fault::Fault;
use crate::reading::metadata::read_text;
use crate::reading::yaml::Node;
use crate::rule_set::Rule;
use crate::search::prefilter::Prefilter;

/// The log source a rule asks for; an absent part means any.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct WantedSource {
    /// The class of events.
    pub(crate) category: Option<String>,
    /// The system that made them.
    pub(crate) product: Option<String>,
    /// The program that made them.
    pub(crate) service: Option<String>,
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
        let wanted = Self::read_parts(node)?;
        if wanted == Self::default() {
            return Err(missing(node.at));
        }
        Ok(wanted)
    }

    /// Reads the parts of a log source from a map that has them.
    pub(crate) fn read_parts(node: &Node) -> Result<Self, Fault> {
        let lower = |key| Ok::<_, Fault>(read_text(node, key)?.map(|text| text.to_lowercase()));
        Ok(Self {
            category: lower("category")?,
            product: lower("product")?,
            service: lower("service")?,
        })
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
/// that passes on unchecked names can make this hold; one is some 100 kB for 250 rules.
const MAX_BUCKETS: usize = 512;

/// Longest name of a log source that is remembered.
const MAX_LATE_BYTES: usize = 64;

/// A name's number among those that rules mention; zero is every other name, or none.
type Name = usize;

/// Finds the bucket of an event, building each at its first use.
#[derive(Clone, Default, Debug)]
pub(crate) struct Router {
    names: [HashMap<String, Name>; 3],
    wanted: Vec<Routed>,
    buckets: Vec<Bucket>,
    /// Where a bucket is, by the key of its events: category, product, services in order.
    places: HashMap<Vec<Name>, usize>,
    /// The key of the event at hand.
    key: Vec<Name>,
    /// Log sources of late, so that most events need no look-up.
    late: [Late; N_LATE],
}

/// Log sources remembered, each at the place that its service has.
const N_LATE: usize = 16;

/// A log source without further services, and where its bucket is.
#[derive(Clone, Default, Debug)]
struct Late {
    category: Option<Box<str>>,
    product: Option<Box<str>>,
    service: Option<Box<str>>,
    /// As an index behind one; zero is none.
    place: usize,
}

impl Late {
    /// Where a source is remembered.
    fn index(source: LogSource<'_>) -> usize {
        let service = source.service.unwrap_or_default().as_bytes();
        let ends = [service.first(), service.last()].map(|byte| byte.copied().unwrap_or(0));
        (service.len() + usize::from(ends[0]) + 5 * usize::from(ends[1])) % N_LATE
    }

    /// Whether it is of this source.
    fn is_of(&self, source: LogSource<'_>) -> bool {
        self.place > 0
            && self.service.as_deref() == source.service
            && self.category.as_deref() == source.category
            && self.product.as_deref() == source.product
    }
}

/// One rule as the router sees it.
#[derive(Clone, Debug)]
struct Routed {
    wanted: [Name; 3],
    rule: usize,
    has_keywords: bool,
}

impl Router {
    /// Adds a rule under its number.
    pub(crate) fn add(&mut self, rule: usize, source: &WantedSource, has_keywords: bool) {
        let asked = [&source.category, &source.product, &source.service];
        let mut wanted = [0; 3];
        for ((names, asked), number) in self.names.iter_mut().zip(asked).zip(&mut wanted) {
            if let Some(name) = asked {
                let next = names.len() + 1;
                *number = *names.entry(name.clone()).or_insert(next);
            }
        }
        self.wanted.push(Routed {
            wanted,
            rule,
            has_keywords,
        });
    }

    /// The rules that apply to an event.
    #[inline]
    pub(crate) fn route(&mut self, source: LogSource<'_>, rules: &[Rule]) -> &Bucket {
        let index = Late::index(source);
        let late = self.late.get(index);
        let late = late.filter(|late| source.also.is_empty() && late.is_of(source));
        let place = match late {
            Some(late) => late.place - 1,
            None => self.find(source, index, rules),
        };
        &self.buckets[place]
    }

    /// Looks a log source up, and remembers it at `index`.
    fn find(&mut self, source: LogSource<'_>, index: usize, rules: &[Rule]) -> usize {
        self.write_key(source);
        let place = match self.places.get(self.key.as_slice()) {
            Some(place) => *place,
            None => self.build(rules),
        };
        let fits = |name: &str| name.len() <= MAX_LATE_BYTES;
        let names = [source.category, source.product, source.service];
        if source.also.is_empty() && names.into_iter().flatten().all(fits) {
            let [category, product, service] = names.map(|name| name.map(Into::into));
            self.late[index] = Late {
                category,
                product,
                service,
                place: place + 1,
            };
        }
        place
    }

    /// Builds the bucket for the key at hand and answers where it is.
    fn build(&mut self, rules: &[Rule]) -> usize {
        if self.buckets.len() >= MAX_BUCKETS {
            self.buckets.clear();
            self.places.clear();
            self.late = Default::default();
        }
        let place = self.buckets.len();
        self.buckets
            .push(Bucket::of(&self.wanted, &self.key, rules));
        self.places.insert(self.key.clone(), place);
        place
    }

    /// Writes what tells the event's bucket from others.
    fn write_key(&mut self, source: LogSource<'_>) {
        let [categories, products, services] = &self.names;
        let find = |names: &HashMap<String, Name>, name: Option<&str>| {
            name.and_then(|name| names.get(name)).copied().unwrap_or(0)
        };
        self.key.clear();
        self.key.push(find(categories, source.category));
        self.key.push(find(products, source.product));
        for name in source.service.iter().chain(source.also) {
            let service = find(services, Some(name));
            let known = self.key.get(2..).unwrap_or_default();
            if service != 0 && !known.contains(&service) {
                self.key.push(service);
            }
        }
        if let Some(services) = self.key.get_mut(2..) {
            services.sort_unstable();
        }
    }
}

impl Bucket {
    /// Gathers the rules whose every wanted part is the event's.
    fn of(wanted: &[Routed], event: &[Name], rules: &[Rule]) -> Self {
        let mut bucket = Self::default();
        let admits = |routed: &&Routed| {
            let [category, product, service] = routed.wanted;
            let has = |at, want| want == 0 || event.get(at) == Some(&want);
            let services = event.get(2..).unwrap_or_default();
            has(0, category) && has(1, product) && (service == 0 || services.contains(&service))
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
