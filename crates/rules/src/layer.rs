//! Rules laid over a set for some of its events: further rules, exceptions and other thresholds.
//! It never changes the set below, and holds of it only what has become another rule, and what the
//! further rules join.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::fault::{Fault, Location, RuleError};
use crate::pipeline::source::gather_sources;
use crate::reading::compilation::Compilation;
use crate::reading::document::{Body, Compiled, Document, hex};
use crate::reading::filter::{Filter, FilterTarget};
use crate::reading::resolve::resolve_onto;
use crate::reading::yaml::parse_documents;
use crate::rule_set::{Feed, Logic, Rule, RuleFile, RuleSet};
use crate::values::number::{Comparison, Number};

/// How much one layer may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LayerLimits {
    /// Most rules, correlations and filters of its own.
    pub documents: usize,
    /// Most rules taken from the set below.
    pub taken: usize,
    /// Most regular expressions of its own.
    pub regexes: usize,
    /// Most values and parts of conditions, own ones and the copies of them that filters add to each
    /// rule they narrow; some two kilobytes of memory each in an engine.
    pub size: usize,
}

/// Rules laid over a set.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The rules of the layer. It reports the matches of its own rules and of those in `replaced`.
    pub set: RuleSet,
    /// Ids of rules below whose matches this layer's take the place of.
    pub replaced: BTreeSet<String>,
}

impl RuleSet {
    /// Lays further files and other thresholds over this set. Filters among the files narrow rules of
    /// both; correlations may join rules of both, and silence none of this set.
    ///
    /// # Errors
    /// Every fault of every file, in the order of files and lines; nothing is laid over then.
    pub fn lay_over(
        &self,
        files: &[RuleFile<'_>],
        thresholds: &[(String, i64)],
        limits: LayerLimits,
    ) -> Result<Layer, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut compilation = self.begin_compilation(files, limits);
        let own = read_own(files, &mut compilation, limits, &mut errors);
        errors.extend(own.documents.iter().flat_map(|one| self.refuse_name(one)));
        let changed = self.find_changed(&own.filters, thresholds);
        let taken = self.find_taken(&changed, &own);
        if taken.len() > limits.taken {
            errors.push(self.refuse_size(&own, taken.len(), limits.taken));
        }
        errors.extend(self.refuse_copies(&own, limits.size));
        let links = own.links();
        if !errors.is_empty() {
            self.refuse_dependents(&links, &mut errors);
            errors.sort();
            return Err(errors);
        }
        let base = self.take(&taken, thresholds);
        let n_taken = base.len();
        let mut rules = resolve_onto(base, own.documents, &own.filters, &mut errors);
        if !errors.is_empty() {
            self.refuse_dependents(&links, &mut errors);
            errors.sort();
            return Err(errors);
        }
        let numbers = taken.iter().copied().zip(0..n_taken);
        for (below, number) in numbers {
            let is_reported = self.rules.get(below).is_some_and(|rule| rule.is_reported);
            mark_joined(&mut rules, number);
            if let Some(rule) = rules.get_mut(number) {
                rule.is_reported = changed.contains(&below) && is_reported;
            }
        }
        let replaced = changed.iter().filter_map(|number| self.rules.get(*number));
        Ok(Layer {
            replaced: replaced.map(|rule| rule.info.id.clone()).collect(),
            set: Self::of_rules(
                rules,
                compilation.fields,
                self.layer_hash(files, thresholds),
            ),
        })
    }

    /// Refuses whatever names a rule of a file that is refused, and whatever names that in turn, so
    /// that a chain falls at once.
    fn refuse_dependents(&self, links: &[Link], errors: &mut Vec<RuleError>) {
        let mut refused: BTreeSet<String> = errors.iter().map(|one| one.file.clone()).collect();
        loop {
            let left = links.iter().filter(|link| !refused.contains(&link.file));
            let own: BTreeSet<&str> = left
                .clone()
                .flat_map(|link| link.names.iter().map(String::as_str))
                .collect();
            let is_there = |name: &str| own.contains(name) || self.is_called(name);
            let fallen: Vec<RuleError> = left
                .filter_map(|link| {
                    let mut named = link.refers.iter();
                    let (at, name) = named.find(|(_, name)| !is_there(name))?;
                    let fault = Fault::new(
                        *at,
                        format!("there is no rule with the id or name '{name}', or it is refused"),
                        "write the id or name of a rule that is accepted",
                    );
                    Some(fault.in_file(&link.file))
                })
                .collect();
            if fallen.is_empty() {
                return;
            }
            refused.extend(fallen.iter().map(|one| one.file.clone()));
            errors.extend(fallen);
        }
    }

    /// Whether a rule of this set has this id or name.
    fn is_called(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| rule.info.is_called(name))
    }

    /// A compilation as this set's was, pipelines and placeholders included.
    fn begin_compilation(&self, files: &[RuleFile<'_>], limits: LayerLimits) -> Compilation {
        let made_with = &self.made_with;
        let fields = self.fields.clone();
        let mut compilation = Compilation::over(&made_with.options, fields, limits.regexes);
        if !compilation.pipes.is_empty() {
            // What cannot be read is refused when it is compiled.
            let nodes = files
                .iter()
                .filter_map(|file| parse_documents(file.text).ok());
            let nodes: Vec<_> = nodes.flatten().collect();
            let sources = gather_sources(made_with.sources.clone(), nodes.iter());
            compilation.pipes.tell_sources(sources);
        }
        compilation
    }

    /// Whether a rule counts towards a number that may be another one.
    #[must_use]
    pub fn has_threshold(&self, id: &str) -> bool {
        self.number_of(id)
            .is_some_and(|number| self.rules.get(number).is_some_and(has_threshold))
    }

    /// The number of the rule with this id.
    fn number_of(&self, id: &str) -> Option<usize> {
        self.rules.iter().position(|rule| rule.info.id == id)
    }

    /// The refusal of an id or name that a rule of this set has.
    fn refuse_name(&self, document: &Document) -> Option<RuleError> {
        let own = &document.info;
        let is_taken = |rule: &&Rule| {
            rule.info.is_called(&own.id)
                || own
                    .name
                    .as_ref()
                    .is_some_and(|name| rule.info.is_called(name))
        };
        let rule = self.rules.iter().find(is_taken)?;
        let fault = Fault::new(
            document.at,
            format!(
                "its id or name is also that of the built-in rule '{}'",
                rule.info.title
            ),
            "give the rule an id and a name of its own",
        );
        Some(fault.in_file(&own.file))
    }

    /// The refusal of a layer that takes too much, at what takes most of it.
    fn refuse_size(&self, own: &Own, n: usize, most: usize) -> RuleError {
        let narrowed = |filter: &&Filter| {
            let rules = self.rules.iter();
            let rules = rules.filter_map(|rule| Some((&rule.info, rule.detection()?)));
            rules
                .filter(|(info, detection)| filter.draft.applies_to(info, detection))
                .count()
        };
        let widest = own.filters.iter().max_by_key(narrowed);
        let file = widest.map_or("", |filter| filter.info.file.as_str());
        let problem = format!("filters and correlations take in {n} of the built-in rules");
        let instead = format!("let filters name single rules; {most} are the most");
        Fault::new(Location::START, problem, instead).in_file(file)
    }

    /// The refusal of filters that come to too much with every rule they narrow, at the one that adds
    /// most.
    fn refuse_copies(&self, own: &Own, most: usize) -> Option<RuleError> {
        let below = self.rules.iter();
        let below = below.filter_map(|rule| Some((&rule.info, rule.detection()?)));
        let documents = own.documents.iter().filter_map(|one| match &one.body {
            Body::Detection(detection) => Some((&one.info, detection)),
            Body::Correlation(_) => None,
        });
        let narrowed: Vec<_> = below.chain(documents).collect();
        let copies = |filter: &Filter| {
            let draft = &filter.draft;
            let meant = narrowed
                .iter()
                .filter(|(info, rule)| draft.applies_to(info, rule));
            meant.count() * draft.detection.size()
        };
        let copies: Vec<usize> = own.filters.iter().map(copies).collect();
        if own.size + copies.iter().sum::<usize>() <= most {
            return None;
        }
        let filters = own.filters.iter().zip(&copies);
        let (widest, n) = filters.max_by_key(|(_, n)| **n)?;
        let fault = Fault::new(
            Location::START,
            format!(
                "this filter adds {n} values and parts of conditions to the rules it narrows; the \
                 organization's rules hold more than {most} together"
            ),
            "let it name single rules, or give it fewer values",
        );
        Some(fault.in_file(&widest.info.file))
    }

    /// The rules that become others: those narrowed or given another threshold, and whatever counts
    /// their matches.
    fn find_changed(&self, filters: &[Filter], thresholds: &[(String, i64)]) -> BTreeSet<usize> {
        let is_narrowed = |rule: &Rule| match &rule.logic {
            Logic::Detection(detection) => filters
                .iter()
                .any(|filter| filter.draft.applies_to(&rule.info, detection)),
            Logic::Correlation(_) => thresholds.iter().any(|(id, _)| *id == rule.info.id),
        };
        let mut changed = BTreeSet::new();
        // Correlations stand behind the rules they join.
        for (number, rule) in self.rules.iter().enumerate() {
            if changed.contains(&number) || is_narrowed(rule) {
                changed.insert(number);
                changed.extend(rule.feeds.iter().map(|feed| feed.correlation));
            }
        }
        changed
    }

    /// The rules a layer needs: those that change, those its own documents name, and whatever these
    /// join in turn.
    fn find_taken(&self, changed: &BTreeSet<usize>, own: &Own) -> BTreeSet<usize> {
        let is_named = |rule: &Rule| own.names().any(|name| rule.info.is_called(name));
        let named = self.rules.iter().enumerate();
        let named = named.filter(|(_, rule)| is_named(rule));
        let mut taken: BTreeSet<usize> = named.map(|(number, _)| number).collect();
        taken.extend(changed);
        for (number, rule) in self.rules.iter().enumerate().rev() {
            if rule
                .feeds
                .iter()
                .any(|feed| taken.contains(&feed.correlation))
            {
                taken.insert(number);
            }
        }
        taken
    }

    /// Copies of some rules, linked among themselves, with other thresholds.
    fn take(&self, taken: &BTreeSet<usize>, thresholds: &[(String, i64)]) -> Vec<Rule> {
        let renumber = |feed: &Feed| {
            taken.contains(&feed.correlation).then(|| Feed {
                correlation: taken.range(..feed.correlation).count(),
                member: feed.member,
            })
        };
        let copy = |number: &usize| {
            let mut rule = self.rules.get(*number)?.clone();
            rule.feeds = rule.feeds.iter().filter_map(renumber).collect();
            let threshold = thresholds.iter().find(|(id, _)| *id == rule.info.id);
            if let Some((_, threshold)) = threshold {
                set_threshold(&mut rule, *threshold);
            }
            Some(rule)
        };
        taken.iter().filter_map(copy).collect()
    }

    /// Hash of the set below and of everything laid over it.
    fn layer_hash(&self, files: &[RuleFile<'_>], thresholds: &[(String, i64)]) -> String {
        let mut hash = Sha256::new();
        hash.update(self.hash());
        for file in files {
            hash.update(Sha256::digest(file.name));
            hash.update(Sha256::digest(file.text));
        }
        for (id, threshold) in thresholds {
            hash.update(Sha256::digest(id));
            hash.update(threshold.to_be_bytes());
        }
        hex(&hash.finalize())
    }
}

/// What one document of a layer is called, and what it names.
struct Link {
    file: String,
    names: Vec<String>,
    refers: Vec<(Location, String)>,
}

/// What the files of a layer hold.
#[derive(Default)]
struct Own {
    documents: Vec<Document>,
    filters: Vec<Filter>,
    /// How much they hold.
    size: usize,
}

impl Own {
    /// Adds a rule or filter, if there is room for what it holds.
    fn add(&mut self, compiled: Compiled, most: usize) -> Result<(), Fault> {
        let size = match &compiled {
            Compiled::Rule(document) => match &document.body {
                Body::Detection(detection) => detection.size(),
                Body::Correlation(_) => 1,
            },
            Compiled::Filter(filter) => filter.draft.detection.size(),
        };
        if self.size + size > most {
            return Err(Fault::new(
                Location::START,
                format!("the rules hold more than {most} values and parts of conditions together"),
                "give this one fewer values, or remove another rule",
            ));
        }
        self.size += size;
        match compiled {
            Compiled::Rule(document) => self.documents.push(document),
            Compiled::Filter(filter) => self.filters.push(filter),
        }
        Ok(())
    }

    /// What each of them is called, and what it names.
    fn links(&self) -> Vec<Link> {
        let documents = self.documents.iter().map(|document| {
            let info = &document.info;
            let mut refers = match &document.body {
                Body::Correlation(draft) => draft.members.clone(),
                Body::Detection(_) => Vec::new(),
            };
            let rearm = info.rearm.clone();
            refers.extend(rearm.map(|name| (document.rearm_at.unwrap_or(document.at), name)));
            Link {
                file: info.file.clone(),
                names: std::iter::once(&info.id)
                    .chain(&info.name)
                    .cloned()
                    .collect(),
                refers,
            }
        });
        let filters = self.filters.iter().map(|filter| Link {
            file: filter.info.file.clone(),
            names: Vec::new(),
            refers: match &filter.draft.target {
                FilterTarget::Named(names) => names.clone(),
                FilterTarget::Any => Vec::new(),
            },
        });
        documents.chain(filters).collect()
    }

    /// Every name by which they refer to rules.
    fn names(&self) -> impl Iterator<Item = &str> {
        let documents = self.documents.iter().flat_map(|document| {
            let members = match &document.body {
                Body::Correlation(draft) => draft.members.as_slice(),
                Body::Detection(_) => &[],
            };
            let members = members.iter().map(|(_, name)| name.as_str());
            members.chain(document.info.rearm.as_deref())
        });
        let filters = self
            .filters
            .iter()
            .flat_map(|filter| match &filter.draft.target {
                FilterTarget::Named(names) => names.as_slice(),
                FilterTarget::Any => &[],
            });
        documents.chain(filters.map(|(_, name)| name.as_str()))
    }
}

/// Compiles the files of a layer, one document after the other.
fn read_own(
    files: &[RuleFile<'_>],
    compilation: &mut Compilation,
    limits: LayerLimits,
    errors: &mut Vec<RuleError>,
) -> Own {
    let mut own = Own::default();
    for file in files {
        let nodes = parse_documents(file.text).unwrap_or_else(|fault| {
            errors.push(fault.in_file(file.name));
            Vec::new()
        });
        for node in nodes {
            let most = limits.documents;
            if own.documents.len() + own.filters.len() >= most {
                let problem = format!("there are more than {most} rules and filters");
                let fault = Fault::new(node.at, problem, "remove some of them");
                errors.push(fault.in_file(file.name));
                break;
            }
            let added = Compiled::read(&node, file.name, compilation)
                .and_then(|compiled| own.add(compiled, limits.size));
            errors.extend(added.err().map(|fault| fault.in_file(file.name)));
        }
    }
    own
}

/// Makes the hash of a correlation follow those of the rules it joins, which may have become others.
fn mark_joined(rules: &mut [Rule], number: usize) {
    let joined: String = rules
        .iter()
        .filter(|rule| rule.feeds.iter().any(|feed| feed.correlation == number))
        .map(|rule| rule.fingerprint.as_str())
        .collect();
    if let Some(rule) = rules.get_mut(number).filter(|_| !joined.is_empty()) {
        rule.fingerprint = hex(&Sha256::digest(format!("{}{joined}", rule.fingerprint)));
    }
}

/// Whether a rule is a correlation that asks for at least so much of something.
fn has_threshold(rule: &Rule) -> bool {
    match &rule.logic {
        Logic::Correlation(correlation) => {
            let bounds = &correlation.plan.bounds;
            let is_counted = !correlation.plan.measure.is_temporal();
            is_counted && bounds.iter().any(|(relation, _)| is_least(*relation))
        }
        Logic::Detection(_) => false,
    }
}

/// Whether a bound asks for at least so much.
fn is_least(relation: Comparison) -> bool {
    matches!(relation, Comparison::Gt | Comparison::Gte)
}

/// Puts another number in the place of the one a correlation counts towards.
fn set_threshold(rule: &mut Rule, threshold: i64) {
    if !has_threshold(rule) {
        return;
    }
    if let Logic::Correlation(correlation) = &mut rule.logic {
        let bounds = &mut correlation.plan.bounds;
        bounds.retain(|(relation, _)| !is_least(*relation));
        bounds.push((Comparison::Gte, Number::Int(threshold)));
    }
    let marked = format!("{} {threshold}", rule.fingerprint);
    rule.fingerprint = hex(&Sha256::digest(marked));
}
