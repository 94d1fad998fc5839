//! What an agent of the swarm has applied: refuses older documents, accepts equal and newer ones.
//! It lives in memory only; an agent of the swarm is never restarted.

use hidps_wire::{
    AgentCondition, Applied, Apply, ConditionStatus, FacetCondition, FirewallIntent, Generation,
    Status,
};

/// What became of a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is newer and now applied.
    Applied,
    /// It was applied before.
    Known,
    /// It is older, or other content under a known generation.
    Refused,
}

/// The ledger of one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    applied: Option<Applied>,
    firewall: FirewallIntent,
}

impl Ledger {
    /// What is applied, for `hello`.
    pub(super) const fn applied(&self) -> Option<&Applied> {
        self.applied.as_ref()
    }

    /// The generation that is applied.
    pub(super) fn generation(&self) -> Option<Generation> {
        self.applied.as_ref().map(|applied| applied.generation)
    }

    /// Takes a document or refuses it.
    pub(super) fn accept(&mut self, apply: &Apply) -> Verdict {
        if let Some(applied) = &self.applied {
            if applied.generation > apply.generation {
                return Verdict::Refused;
            }
            if applied.generation == apply.generation {
                let is_same = applied.hash == apply.hash;
                return if is_same {
                    Verdict::Known
                } else {
                    Verdict::Refused
                };
            }
        }
        self.firewall = apply.document.firewall_enabled.into();
        self.applied = Some(Applied {
            generation: apply.generation,
            hash: apply.hash.clone(),
            entries: apply.document.entries(),
        });
        Verdict::Applied
    }

    /// What such an agent reads back: everything as it was applied, for there is no host to differ.
    pub(super) fn status(&self) -> Status {
        let firewall = match self.firewall {
            FirewallIntent::Unmanaged => "Unmanaged",
            FirewallIntent::On => "Enabled",
            FirewallIntent::Off => "Disabled",
        };
        let holds = |facet, reason: &str| AgentCondition {
            facet,
            status: ConditionStatus::True,
            reason: reason.to_owned(),
            message: "as desired".to_owned(),
            subjects: Vec::new(),
        };
        Status {
            applied: self.applied.clone(),
            conditions: vec![
                holds(FacetCondition::FirewallSynced, firewall),
                holds(FacetCondition::FilesWatched, "AllWatched"),
            ],
            firewall_active: Some(self.firewall == FirewallIntent::On),
        }
    }
}

#[cfg(test)]
mod tests {
    use hidps_wire::{ContentHash, DesiredDocument};

    use super::*;

    fn apply(generation: u64, hash: &str) -> Apply {
        Apply {
            generation: Generation(generation),
            hash: ContentHash(hash.to_owned()),
            document: DesiredDocument {
                firewall_enabled: Some(true),
                ..DesiredDocument::default()
            },
        }
    }

    #[test]
    fn newer_is_applied_equal_is_known_and_all_else_refused() {
        let mut ledger = Ledger::default();

        assert_eq!(ledger.accept(&apply(2, "a")), Verdict::Applied);
        assert_eq!(ledger.accept(&apply(2, "a")), Verdict::Known);
        assert_eq!(ledger.accept(&apply(2, "b")), Verdict::Refused);
        assert_eq!(ledger.accept(&apply(1, "a")), Verdict::Refused);
        assert_eq!(ledger.accept(&apply(3, "b")), Verdict::Applied);
    }

    #[test]
    fn a_status_speaks_of_what_is_applied_and_of_both_facets() {
        let mut ledger = Ledger::default();
        ledger.accept(&apply(2, "a"));

        let status = ledger.status();

        let applied = status.applied.expect("something is applied");
        assert_eq!((applied.generation, applied.entries), (Generation(2), 1));
        assert_eq!(status.conditions.len(), 2);
        assert_eq!(status.firewall_active, Some(true));
    }
}
