//! What one organization's rows come to, and where a worker looks it up.
//! It never changes; a change is another one in its place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hidps_rules::{Layer, Level, RuleInfo, RuleSet, Value};
use hidps_wire::AgentId;
use jiff::Timestamp;
use uuid::Uuid;

use crate::detection::tenants::silence::Silences;
use crate::model::OrgId;

/// What all organizations want, by agent. Workers hold one and look an agent up once per batch.
#[derive(Debug, Default)]
pub struct Layers {
    by_agent: HashMap<AgentId, Arc<OrgLayer>>,
    /// Those with rules to try, and agents to try them for.
    orgs: BTreeSet<OrgId>,
}

/// What one organization wants of its agents' events.
#[derive(Debug, Default)]
pub(in crate::detection) struct OrgLayer {
    /// The organization; none in tests of nothing in particular.
    pub(in crate::detection) org: Option<OrgId>,
    /// Its own rules, and built-in ones that are others here; none where nothing of the kind is
    /// wanted or honoured.
    pub(in crate::detection) rules: Option<Layer>,
    /// Other settings, by rule.
    pub(in crate::detection) settings: BTreeMap<String, Settings>,
    /// Names of the texts whose rules are on trial.
    pub(in crate::detection) shadow_files: BTreeSet<String>,
    /// What to keep quiet about.
    pub(in crate::detection) silences: Silences,
}

/// Other settings of one rule; what is none stays the rule's own.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::detection) struct Settings {
    /// Whether its matches are raised at all.
    pub(in crate::detection) enabled: Option<bool>,
    /// How bad a match is.
    pub(in crate::detection) level: Option<Level>,
    /// Whether its matches are only counted.
    pub(in crate::detection) shadow: Option<bool>,
}

impl Layers {
    /// The layers of these organizations, each with its agents.
    pub(in crate::detection) fn new(
        layers: impl IntoIterator<Item = (Arc<OrgLayer>, Vec<AgentId>)>,
    ) -> Self {
        let mut new = Self::default();
        for (layer, agents) in layers {
            let has_rules = layer.rules.is_some() && !agents.is_empty();
            new.orgs.extend(layer.org.filter(|_| has_rules));
            let agents = agents.into_iter();
            new.by_agent
                .extend(agents.map(|agent| (agent, Arc::clone(&layer))));
        }
        new
    }

    /// What is wanted for an agent; none for most.
    pub(in crate::detection) fn of(&self, agent: AgentId) -> Option<&Arc<OrgLayer>> {
        self.by_agent.get(&agent)
    }

    /// Whether an organization has rules to try.
    pub(in crate::detection) fn has(&self, org: OrgId) -> bool {
        self.orgs.contains(&org)
    }

    /// How many organizations have rules to try.
    pub(in crate::detection) fn n_with_rules(&self) -> usize {
        self.orgs.len()
    }
}

impl OrgLayer {
    /// The rules to try besides the built-in ones.
    pub(in crate::detection) fn set(&self) -> Option<&RuleSet> {
        self.rules.as_ref().map(|layer| &layer.set)
    }

    /// Whether matches of this built-in rule are the layer's to report.
    pub(in crate::detection) fn replaces(&self, rule_id: &str) -> bool {
        self.rules
            .as_ref()
            .is_some_and(|layer| layer.replaced.contains(rule_id))
    }

    /// The settings of a rule; those of its own texts have their shadow there.
    pub(in crate::detection) fn settings_of(&self, rule: &RuleInfo) -> Settings {
        let mut settings = self.settings.get(&rule.id).copied().unwrap_or_default();
        if self.shadow_files.contains(&rule.file) {
            settings.shadow = Some(true);
        }
        settings
    }

    /// The suppression that covers a match, if there is one.
    pub(in crate::detection) fn silence_of(
        &self,
        agent: AgentId,
        rule_id: &str,
        fields: &[(&str, Value<'_>)],
    ) -> Option<Uuid> {
        if self.silences.is_empty() {
            return None;
        }
        self.silences.find(agent, rule_id, fields, Timestamp::now())
    }
}
