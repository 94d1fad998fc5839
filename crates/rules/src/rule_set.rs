//! A compiled set of rules: immutable, hashed, ready for an engine.
//! It never holds what happened; engines do.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::correlation::{FieldName, Plan};
use crate::event::LogSource;
use crate::fault::{Fault, Location, RuleError};
use crate::pipeline::source::{Sources, gather_sources};
use crate::reading::compilation::Compilation;
use crate::reading::document::{Compiled, hex};
use crate::reading::metadata::RuleInfo;
use crate::reading::options::Options;
use crate::reading::resolve::resolve;
use crate::reading::yaml::{Node, parse_documents};
use crate::search::routing::Router;
use crate::search::view::FieldTable;
use crate::selecting::detection::Detection;

/// One file of rules: its name for messages, and its text.
#[derive(Clone, Copy, Debug)]
pub struct RuleFile<'a> {
    /// Name or path, used in messages and to find the tests beside it.
    pub name: &'a str,
    /// The YAML text, of one document or several.
    pub text: &'a str,
}

/// A compiled set of rules.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// Rules over events first, then correlations, each behind those it joins.
    pub(crate) rules: Vec<Rule>,
    /// The field names they mention.
    pub(crate) fields: FieldTable,
    /// Which of them an event is tried on.
    pub(crate) router: Router,
    hash: String,
    /// What it was compiled with, for whatever is laid over it.
    pub(crate) made_with: Arc<MadeWith>,
}

/// What a set is compiled with beside its files.
#[derive(Default, Debug)]
pub(crate) struct MadeWith {
    /// Pipelines and placeholders.
    pub(crate) options: Options,
    /// What pipelines know of the set's rules.
    pub(crate) sources: Sources,
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// What it says of itself.
    pub(crate) info: RuleInfo,
    /// Hash of what decides its matches, that of the rules it joins included.
    pub(crate) fingerprint: String,
    /// Whether its own matches are reported.
    pub(crate) is_reported: bool,
    /// The correlations that count its matches, and as which of their members.
    pub(crate) feeds: Vec<Feed>,
    /// What it does.
    pub(crate) logic: Logic,
}

impl Rule {
    /// What it does with single events, if it looks at them.
    pub(crate) fn detection(&self) -> Option<&Detection> {
        match &self.logic {
            Logic::Detection(detection) => Some(detection),
            Logic::Correlation(_) => None,
        }
    }
}

/// What a rule does.
#[derive(Clone, Debug)]
pub(crate) enum Logic {
    /// Looks at single events.
    Detection(Detection),
    /// Looks at matches of other rules.
    Correlation(Correlation),
}

/// A correlation and the rules it joins.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    /// What it does with their matches.
    pub(crate) plan: Plan,
    /// The joined rules, in the order written.
    pub(crate) members: Vec<Member>,
}

/// A rule joined by a correlation.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The fields that keep windows apart, under this rule's names for them.
    pub(crate) group_by: Vec<FieldName>,
    /// The fields whose values are counted, under this rule's names for them.
    pub(crate) values: Vec<FieldName>,
}

/// Where the matches of a rule are counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Feed {
    /// The number of the correlation.
    pub(crate) correlation: usize,
    /// Which of its members the rule is.
    pub(crate) member: usize,
}

impl RuleSet {
    /// Compiles rule files.
    ///
    /// ```
    /// use hidps_rules::{RuleFile, RuleSet};
    ///
    /// let text = "title: Root
    /// logsource: {product: linux}
    /// detection: {s: {user: root}, condition: s}
    /// ";
    /// let rules = RuleSet::compile(&[RuleFile { name: "root.yml", text }]).unwrap();
    /// assert_eq!(rules.rules().len(), 1);
    ///
    /// let text = "title: Root
    /// logsource: {product: linux}
    /// detection: {s: {user|begins: r}, condition: s}
    /// ";
    /// let refused = RuleSet::compile(&[RuleFile { name: "root.yml", text }]).unwrap_err();
    /// assert!(refused[0].to_string().starts_with("root.yml:3:22: there is no modifier 'begins'"));
    /// ```
    ///
    /// # Errors
    /// Every fault of every file, in the order of files and lines; nothing is loaded then.
    pub fn compile(files: &[RuleFile<'_>]) -> Result<Self, Vec<RuleError>> {
        Self::compile_with(files, &Options::default())
    }

    /// Compiles rule files with pipelines and placeholders.
    ///
    /// # Errors
    /// Every fault of every file, in the order of files and lines; nothing is loaded then.
    pub fn compile_with(files: &[RuleFile<'_>], options: &Options) -> Result<Self, Vec<RuleError>> {
        let mut compilation = Compilation::new(options);
        let mut errors = Vec::new();
        let nodes = read_files(files, &mut errors);
        let mut sources = Sources::new();
        if !compilation.pipes.is_empty() {
            let documents = nodes.iter().map(|(_, node)| node);
            sources = gather_sources(Sources::new(), documents);
            compilation.pipes.tell_sources(sources.clone());
        }
        let mut documents = Vec::new();
        let mut filters = Vec::new();
        for (file, node) in &nodes {
            match Compiled::read(node, file, &mut compilation) {
                Ok(Compiled::Rule(document)) => documents.push(document),
                Ok(Compiled::Filter(filter)) => filters.push(filter),
                Err(fault) => errors.push(fault.in_file(file)),
            }
        }
        let rules = resolve(documents, &filters, &mut errors);
        if !errors.is_empty() {
            errors.sort();
            return Err(errors);
        }
        let hash = hash_files(files, &compilation.digest);
        let made_with = MadeWith {
            options: options.clone(),
            sources,
        };
        Ok(Self {
            made_with: Arc::new(made_with),
            ..Self::of_rules(rules, compilation.fields, hash)
        })
    }

    /// A set of these rules, routed.
    pub(crate) fn of_rules(rules: Vec<Rule>, fields: FieldTable, hash: String) -> Self {
        let mut router = Router::default();
        for (number, rule) in rules.iter().enumerate() {
            if let Logic::Detection(detection) = &rule.logic {
                router.add(number, &detection.source, detection.has_keywords());
            }
        }
        Self {
            rules,
            fields,
            router,
            hash,
            made_with: Arc::default(),
        }
    }

    /// SHA-256 of the sources in hexadecimal: the same for the same files in any order and with
    /// either kind of line end.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How much its rules hold: values and parts of conditions, and one for every correlation.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = |rule: &Rule| rule.detection().map_or(1, Detection::size);
        self.rules.iter().map(size).sum()
    }

    /// What every rule says of itself.
    pub fn rules(&self) -> impl ExactSizeIterator<Item = &RuleInfo> {
        self.rules.iter().map(|rule| &rule.info)
    }

    /// The log source that the rule with this id looks at; none for correlations, which look at
    /// the matches of others.
    #[must_use]
    pub fn log_source(&self, id: &str) -> Option<LogSource<'_>> {
        let rule = self.rules.iter().find(|rule| rule.info.id == id)?;
        let source = &rule.detection()?.source;
        Some(LogSource {
            category: source.category.as_deref(),
            product: source.product.as_deref(),
            service: source.service.as_deref(),
            also: &[],
        })
    }

    /// The rule with this id.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&RuleInfo> {
        self.rules().find(|info| info.id == id)
    }
}

/// The documents of all files, each with the name of its file.
pub(crate) fn read_files<'f>(
    files: &[RuleFile<'f>],
    errors: &mut Vec<RuleError>,
) -> Vec<(&'f str, Node)> {
    let mut all = Vec::new();
    for file in files {
        let nodes = parse_documents(file.text).and_then(|nodes| match nodes.as_slice() {
            [] => Err(Fault::new(
                Location::START,
                "the file holds no rule",
                "remove it",
            )),
            _ => Ok(nodes),
        });
        match nodes {
            Ok(nodes) => all.extend(nodes.into_iter().map(|node| (file.name, node))),
            Err(fault) => errors.push(fault.in_file(file.name)),
        }
    }
    all
}

/// Hash of all sources.
fn hash_files(files: &[RuleFile<'_>], options: &[u8]) -> String {
    let mut hashes: Vec<[u8; 32]> = files
        .iter()
        .map(|file| {
            let mut hash = Sha256::new();
            hash.update((file.name.len() as u64).to_be_bytes());
            hash.update(file.name);
            hash.update(
                file.text
                    .trim_start_matches('\u{feff}')
                    .replace("\r\n", "\n"),
            );
            hash.finalize().into()
        })
        .collect();
    hashes.sort_unstable();
    let mut hash = Sha256::new();
    hash.update(hashes.concat());
    hash.update(options);
    hex(&hash.finalize())
}
