//! What the ledger says, as plain data: the accepted document, and what its firewall may go back to.
//! It reads no file and no clock; storing it is the business of the module around it.
//!
//! A document is accepted whole, but its firewall is on trial until the daemon was reached through
//! it. The record says so for as long as it is, so that an agent that is killed or a host that
//! reboots in the middle of a trial begins with the firewall that was confirmed last.

use hidps_wire::{
    AgentId, Applied, Apply, ContentHash, Desired, DesiredDocument, FirewallIntent,
    FirewallRuleEntry, FirewallSettingsEntry, Generation,
};
use serde::{Deserialize, Serialize};

use crate::firewall::FirewallGoal;

/// The furthest that a document may be ahead of the one before: more than anybody changes what is
/// desired of a host while it is away. A database counts by ones, or to one past what a host has, so
/// only a daemon that means to lock out every later one goes further; at this pace it would need
/// years of documents to get to where a database cannot follow.
pub const MAX_LEAP: u64 = 100_000_000;

/// The highest generation of a first document: half of what a database can count to, so that it can
/// always go past it.
pub const MAX_FIRST: u64 = 1 << 62;

/// The content of a ledger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerRecord {
    /// Whose ledger it is.
    pub agent_id: AgentId,
    /// The last accepted document.
    pub accepted: Apply,
    /// There while the firewall of that document is not confirmed; ledgers of before there were
    /// trials have none, and their firewall counts as confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
}

/// A firewall that is not confirmed, and the one that was confirmed last. Of the confirmed document
/// nothing else is kept, for everything else follows the accepted one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The document whose firewall was confirmed last; none when there was no document yet.
    pub confirmed: Option<Generation>,
    /// Whether the agent's table was loaded then.
    pub restore: bool,
    /// Trials begun so far; each is written down before it begins.
    pub attempts: u32,
    /// The rules that were in force then; ledgers of before there were rules have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restore_rules: Vec<FirewallRuleEntry>,
    /// The settings that were in force then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_settings: Option<FirewallSettingsEntry>,
}

impl Trial {
    /// What it goes back to.
    #[must_use]
    pub fn goal(&self) -> FirewallGoal {
        goal_of(&DesiredDocument {
            firewall_enabled: Some(self.restore),
            firewall_rules: self.restore_rules.clone(),
            firewall_settings: self.restore_settings.clone(),
            ..DesiredDocument::default()
        })
    }

    /// Whether a document wants another firewall; one that leaves the table alone never does.
    fn differs_from(&self, document: &DesiredDocument) -> bool {
        let Some(is_on) = document.firewall_enabled else {
            return false;
        };
        let has_other_rules = document.firewall_rules != self.restore_rules
            || document.firewall_settings != self.restore_settings;
        is_on != self.restore || is_on && has_other_rules
    }
}

fn goal_of(document: &DesiredDocument) -> FirewallGoal {
    FirewallGoal::of(&Desired::from_document(document).0)
}

/// Why a document is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It is older than the one in the ledger.
    #[error("generation {offered} is older than {held}, which this host has accepted")]
    Outdated {
        /// The document's.
        offered: Generation,
        /// The ledger's.
        held: Generation,
    },
    /// No database counts so far from one document to the next.
    #[error(
        "generation {offered} is beyond {most}, further than a database counts from the document \
         before; whoever sent it would lock out every later daemon"
    )]
    Leap {
        /// The document's.
        offered: Generation,
        /// The highest that would be accepted.
        most: Generation,
    },
    /// It has the ledger's generation and another content.
    #[error(
        "generation {generation} came with the hash {offered}, but this host has accepted it \
         with {held}"
    )]
    Conflict {
        /// Of both.
        generation: Generation,
        /// The document's hash.
        offered: ContentHash,
        /// The ledger's hash.
        held: ContentHash,
    },
}

/// What becomes of a document that is not refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acceptance {
    /// It is new and has to be written down.
    New,
    /// It is the one the ledger has.
    Known,
}

impl LedgerRecord {
    /// Generation, hash and size of the accepted document.
    #[must_use]
    pub fn applied(&self) -> Applied {
        Applied {
            generation: self.accepted.generation,
            hash: self.accepted.hash.clone(),
            entries: self.accepted.document.entries(),
        }
    }

    /// What the accepted document wants of the firewall.
    #[must_use]
    pub fn intent(&self) -> FirewallIntent {
        self.accepted.document.firewall_enabled.into()
    }

    /// What the accepted document wants of the firewall, with all its rules.
    #[must_use]
    pub fn goal(&self) -> FirewallGoal {
        goal_of(&self.accepted.document)
    }

    /// Whether the accepted firewall differs in effect from the one confirmed last; one that leaves
    /// the table alone never does.
    #[must_use]
    pub fn wants_trial(&self) -> bool {
        let trial = self.trial.as_ref();
        trial.is_some_and(|trial| trial.differs_from(&self.accepted.document))
    }
}

/// Compares a document with the accepted one: the generation never goes back and never leaps, and a
/// document never takes the place of another of the same generation.
///
/// # Errors
/// Refuses what is older, what is too far ahead and what conflicts.
pub fn judge(held: Option<&LedgerRecord>, offered: &Apply) -> Result<Acceptance, Refusal> {
    let held = held.map(|record| &record.accepted);
    let most = held.map_or(MAX_FIRST, |held| held.generation.0.saturating_add(MAX_LEAP));
    if offered.generation.0 > most {
        return Err(Refusal::Leap {
            offered: offered.generation,
            most: Generation(most),
        });
    }
    let Some(held) = held else {
        return Ok(Acceptance::New);
    };
    if offered.generation < held.generation {
        return Err(Refusal::Outdated {
            offered: offered.generation,
            held: held.generation,
        });
    }
    if offered.generation > held.generation {
        return Ok(Acceptance::New);
    }
    if offered.hash == held.hash {
        Ok(Acceptance::Known)
    } else {
        Err(Refusal::Conflict {
            generation: held.generation,
            offered: offered.hash.clone(),
            held: held.hash.clone(),
        })
    }
}

/// The record that follows when a document is accepted. `is_loaded` says whether the agent's table
/// is loaded now: that is what was confirmed where no document decided it.
#[must_use]
pub fn plan_record(
    held: Option<&LedgerRecord>,
    agent_id: AgentId,
    offered: Apply,
    is_loaded: Option<bool>,
) -> LedgerRecord {
    let before = held.map_or(
        Trial {
            confirmed: None,
            // A table nobody could see is not one to bring back.
            restore: is_loaded.unwrap_or(false),
            attempts: 0,
            restore_rules: Vec::new(),
            restore_settings: None,
        },
        |held| {
            let trial = held.trial.clone();
            trial.unwrap_or_else(|| confirmed_by(held, is_loaded))
        },
    );
    let mut record = LedgerRecord {
        agent_id,
        accepted: offered,
        trial: Some(Trial {
            attempts: 0,
            ..before.clone()
        }),
    };
    // What was tried has to be undone before the table can be left alone.
    let must_undo = record.intent() == FirewallIntent::Unmanaged && before.attempts > 0;
    if must_undo {
        record.trial = Some(before);
    } else if !record.wants_trial() {
        record.trial = None;
    }
    record
}

/// What a confirmed document left. Its rules count only if it had the firewall on: those of one that
/// left the table alone were never in force, whatever is loaded.
fn confirmed_by(held: &LedgerRecord, is_loaded: Option<bool>) -> Trial {
    let document = &held.accepted.document;
    let in_force = Some(document).filter(|document| document.firewall_enabled == Some(true));
    Trial {
        confirmed: Some(held.accepted.generation),
        restore: document.firewall_enabled.or(is_loaded).unwrap_or(false),
        attempts: 0,
        restore_rules: in_force.map_or_else(Vec::new, |it| it.firewall_rules.clone()),
        restore_settings: in_force.and_then(|it| it.firewall_settings.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hidps_wire::DesiredDocument;
    use proptest::prelude::*;

    fn offer(generation: u64, hash: &str, firewall: Option<bool>) -> Apply {
        Apply {
            generation: Generation(generation),
            hash: ContentHash(hash.to_owned()),
            document: DesiredDocument {
                firewall_enabled: firewall,
                ..DesiredDocument::default()
            },
        }
    }

    fn agent() -> AgentId {
        AgentId::new(uuid::Uuid::nil())
    }

    fn confirmed(firewall: Option<bool>) -> LedgerRecord {
        LedgerRecord {
            agent_id: agent(),
            accepted: offer(1, "a", firewall),
            trial: None,
        }
    }

    #[test]
    fn older_and_conflicting_documents_are_refused() {
        let held = LedgerRecord {
            accepted: offer(3, "on", None),
            ..confirmed(None)
        };
        let check = |generation, hash| judge(Some(&held), &offer(generation, hash, None));

        assert!(matches!(check(2, "on"), Err(Refusal::Outdated { .. })));
        assert!(matches!(check(3, "off"), Err(Refusal::Conflict { .. })));
        assert_eq!(check(3, "on"), Ok(Acceptance::Known));
        assert_eq!(check(4, "on"), Ok(Acceptance::New));
        assert_eq!(judge(None, &offer(0, "", None)), Ok(Acceptance::New));
    }

    #[test]
    fn a_generation_that_no_database_counts_to_is_refused() {
        let held = LedgerRecord {
            accepted: offer(3, "on", None),
            ..confirmed(None)
        };
        let check = |held, generation, is_taken: bool| {
            let judged = judge(held, &offer(generation, "new", None));

            assert_eq!(judged.is_ok(), is_taken, "{generation}: {judged:?}");
            if !is_taken {
                assert!(matches!(judged, Err(Refusal::Leap { .. })), "{judged:?}");
            }
        };

        check(None, MAX_FIRST, true);
        check(None, MAX_FIRST + 1, false);
        check(None, u64::MAX, false);
        check(Some(&held), 3 + MAX_LEAP, true);
        check(Some(&held), 4 + MAX_LEAP, false);
        check(Some(&held), u64::MAX, false);
    }

    #[test]
    fn only_a_firewall_that_differs_in_effect_goes_on_trial() {
        let (on, off, unmanaged) = (Some(true), Some(false), None);
        let check = |held: Option<Option<bool>>, is_loaded, offered, restore: Option<bool>| {
            let held = held.map(confirmed);

            let record = plan_record(held.as_ref(), agent(), offer(2, "b", offered), is_loaded);

            let trial = record.trial.as_ref().map(|trial| trial.restore);
            assert_eq!(trial, restore, "{held:?} {is_loaded:?} {offered:?}");
            assert_eq!(record.wants_trial(), restore.is_some());
        };

        // A new host, found without the table, with one, or not to be looked at.
        check(None, Some(false), on, Some(false));
        check(None, Some(false), off, None);
        check(None, Some(true), on, None);
        check(None, Some(true), off, Some(true));
        check(None, None, on, Some(false));
        check(None, Some(false), unmanaged, None);
        // What a document said counts, whatever the table does just now.
        check(Some(on), Some(false), on, None);
        check(Some(on), Some(true), off, Some(true));
        check(Some(on), Some(true), unmanaged, None);
        check(Some(off), Some(true), off, None);
        check(Some(off), None, on, Some(false));
        // Nobody had decided, so what is there counts.
        check(Some(unmanaged), Some(true), on, None);
        check(Some(unmanaged), Some(true), off, Some(true));
        check(Some(unmanaged), Some(false), on, Some(false));
        check(Some(unmanaged), None, on, Some(false));
    }

    #[test]
    fn rules_that_were_never_in_force_are_not_taken_for_confirmed() {
        let rule = FirewallRuleEntry {
            id: uuid::Uuid::nil(),
            action: "deny".to_owned(),
            direction: "in".to_owned(),
            protocol: "any".to_owned(),
            port_from: None,
            port_to: None,
            source: None,
            destination: None,
        };
        let with_rule = |generation, hash, firewall| {
            let mut apply = offer(generation, hash, firewall);
            apply.document.firewall_rules.push(rule.clone());
            apply
        };
        let check = |firewall, wants_trial| {
            let held = LedgerRecord {
                accepted: with_rule(1, "a", firewall),
                ..confirmed(None)
            };

            let on = with_rule(2, "b", Some(true));
            let record = plan_record(Some(&held), agent(), on, Some(true));

            assert_eq!(record.wants_trial(), wants_trial, "{firewall:?}");
        };

        check(Some(true), false);
        check(Some(false), true);
        // A table of before may be loaded, with other rules.
        check(None, true);
    }

    #[test]
    fn a_trial_goes_back_to_what_was_confirmed_however_many_documents_come() {
        let first = plan_record(
            Some(&confirmed(Some(false))),
            agent(),
            offer(2, "b", Some(true)),
            Some(false),
        );
        let second = plan_record(Some(&first), agent(), offer(3, "c", Some(true)), Some(true));
        let back = plan_record(
            Some(&second),
            agent(),
            offer(4, "d", Some(false)),
            Some(true),
        );

        let expected = Some(Trial {
            confirmed: Some(Generation(1)),
            restore: false,
            attempts: 0,
            restore_rules: Vec::new(),
            restore_settings: None,
        });
        assert_eq!(first.trial, expected);
        assert_eq!(second.trial, expected);
        assert_eq!(back.trial, None);
    }

    #[test]
    fn what_was_tried_is_remembered_until_it_is_undone() {
        let mut tried = plan_record(
            Some(&confirmed(Some(false))),
            agent(),
            offer(2, "b", Some(true)),
            Some(false),
        );
        let untried = plan_record(Some(&tried), agent(), offer(3, "c", None), Some(false));
        tried.trial.as_mut().unwrap().attempts = 2;

        let unmanaged = plan_record(Some(&tried), agent(), offer(3, "c", None), Some(true));

        assert_eq!(untried.trial, None);
        assert_eq!(unmanaged.trial, tried.trial);
        assert!(!unmanaged.wants_trial());
    }

    proptest! {
        #[test]
        fn whatever_a_daemon_once_sent_a_database_can_go_past_it(
            offers in prop::collection::vec(
                prop_oneof![any::<u64>(), Just(u64::MAX), 0..=MAX_FIRST, (1_u64 << 62)..(1 << 63)],
                1..40,
            )
        ) {
            let mut held: Option<LedgerRecord> = None;

            for generation in offers {
                let offered = offer(generation, "hostile", None);
                if judge(held.as_ref(), &offered) == Ok(Acceptance::New) {
                    held = Some(plan_record(held.as_ref(), agent(), offered, Some(false)));
                }
            }

            // What an admin's release makes of it: one past what the host has.
            let has = held.as_ref().map_or(0, |held| held.accepted.generation.0);
            let next = i64::try_from(has).ok().and_then(|has| has.checked_add(1));
            let next = next.and_then(|next| u64::try_from(next).ok()).expect("a bigint");
            let judged = judge(held.as_ref(), &offer(next, "honest", None));
            prop_assert_eq!(judged, Ok(Acceptance::New));
        }

        #[test]
        fn the_generation_never_goes_back(
            offers in prop::collection::vec((0_u64..6, "[ab]", any::<Option<bool>>()), 1..12)
        ) {
            let mut held: Option<LedgerRecord> = None;

            for (generation, hash, firewall) in offers {
                let offered = offer(generation, &hash, firewall);
                let judged = judge(held.as_ref(), &offered);

                let known = held.as_ref().map(|held| &held.accepted);
                let is_newer = known.is_none_or(|known| known.generation < offered.generation);
                let is_same = known.is_some_and(|known| {
                    (known.generation, &known.hash) == (offered.generation, &offered.hash)
                });
                prop_assert_eq!(judged.clone().ok() == Some(Acceptance::New), is_newer);
                prop_assert_eq!(judged.clone().ok() == Some(Acceptance::Known), is_same);
                if judged == Ok(Acceptance::New) {
                    held = Some(plan_record(held.as_ref(), agent(), offered, Some(false)));
                }
            }
        }
    }
}
