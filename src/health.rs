//! What the daemon knows of its own state, for `/readyz`, `system_health` and whoever operates it.
//! It never decides anything; the parts write it and others read it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

/// Something that is wrong: one CamelCase word for machines, one sentence for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The word.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
}

/// How long the last canary took by each way of the feed; none if it did not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RoundTrip {
    /// By a message of the database's trigger.
    pub broadcast: Option<Duration>,
    /// By a change of a published table.
    pub changes: Option<Duration>,
}

/// One thing that is wrong with a rule file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RuleFault {
    /// The file, below the directory of rules; empty for the directory itself.
    pub file: String,
    /// Line and column, where there is one.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what to do.
    pub problem: String,
}

impl std::fmt::Display for RuleFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.file, self.place) {
            (file, Some((line, column))) => write!(f, "{file}:{line}:{column}: {}", self.problem),
            (file, None) if file.is_empty() || self.problem.starts_with(file) => {
                f.write_str(&self.problem)
            }
            (file, None) => write!(f, "{file}: {}", self.problem),
        }
    }
}

/// A content of the directory of rules that did not come into force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RulesRefused {
    /// One CamelCase word.
    pub reason: &'static str,
    /// When it was refused.
    pub at: Timestamp,
    /// Everything that is wrong.
    pub faults: Arc<[RuleFault]>,
}

/// The rules in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RulesVerdict {
    /// Hash of the set.
    pub hash: String,
    /// How many rules it has.
    pub rules: usize,
    /// How many test files were run.
    pub tests: usize,
    /// Since when they are in force.
    pub loaded_at: Timestamp,
    /// Why what the directory holds now is not in force; none when it is.
    pub refused: Option<RulesRefused>,
}

/// A rule that is not tried for a while, for somebody, because it costs too much.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SuspendedRule {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What it cost.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// How many workers try it for no host at all.
    pub workers: usize,
    /// How many organizations it is not tried for, beside that.
    pub organizations: usize,
    /// How many agents it is not tried for, beside that.
    pub agents: usize,
}

/// Facts about the daemon's parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Facts {
    is_open: bool,
    is_joined: bool,
    /// Whether what is desired was read; none before the first attempt.
    read: Option<Result<(), Fault>>,
    canary: Option<Fault>,
    trip: RoundTrip,
    rules: Option<RulesVerdict>,
    suspended: Vec<SuspendedRule>,
    /// What keeps the wishes of organizations from being read.
    tenants: Option<Fault>,
    /// What keeps the project's signing keys from being read.
    keys: Option<Fault>,
}

/// Whether the feed can be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedVerdict {
    /// What is wrong; none when all is well.
    pub fault: Option<Fault>,
    /// The last canary.
    pub trip: RoundTrip,
}

/// The facts, shared.
#[derive(Debug, Default)]
pub struct Health {
    facts: watch::Sender<Facts>,
}

impl Health {
    /// Records that agents may connect.
    pub fn set_open(&self) {
        self.set(|facts| &mut facts.is_open, true);
    }

    /// Waits until agents may connect.
    pub async fn opened(&self) {
        let mut facts = self.facts.subscribe();
        // It fails only when nobody can change a fact any more, and the sender is here.
        facts.wait_for(|facts| facts.is_open).await.ok();
    }

    /// Records whether the feed is joined.
    pub fn set_feed_joined(&self, joined: bool) {
        self.set(|facts| &mut facts.is_joined, joined);
    }

    /// Records what keeps desired state from being known; none when nothing does.
    pub fn set_read(&self, fault: Option<Fault>) {
        self.set(|facts| &mut facts.read, Some(fault.map_or(Ok(()), Err)));
    }

    /// Records what the canary found.
    pub fn set_canary(&self, trip: RoundTrip, fault: Option<Fault>) {
        self.set(|facts| &mut facts.trip, trip);
        self.set(|facts| &mut facts.canary, fault);
    }

    /// Records which rules are in force.
    pub fn set_rules(&self, verdict: RulesVerdict) {
        self.set(|facts| &mut facts.rules, Some(verdict));
    }

    /// Records that what the directory of rules holds was refused, or, with none, that it is what
    /// is in force.
    pub fn set_rules_refused(&self, refused: Option<RulesRefused>) {
        let rules = self.rules().map(|rules| RulesVerdict { refused, ..rules });
        self.set(|facts| &mut facts.rules, rules);
    }

    /// Records the rules that are not tried for a while.
    pub fn set_suspended(&self, rules: Vec<SuspendedRule>) {
        self.set(|facts| &mut facts.suspended, rules);
    }

    /// Records what keeps what organizations want of detection from being read; none when nothing
    /// does.
    pub fn set_tenants_read(&self, fault: Option<Fault>) {
        self.set(|facts| &mut facts.tenants, fault);
    }

    /// What keeps what organizations want of detection from being read.
    #[must_use]
    pub fn tenants_unread(&self) -> Option<Fault> {
        self.facts.borrow().tenants.clone()
    }

    /// Records what keeps the project's signing keys from being read; none when nothing does.
    pub fn set_keys_read(&self, fault: Option<Fault>) {
        self.set(|facts| &mut facts.keys, fault);
    }

    /// What keeps the project's signing keys from being read.
    #[must_use]
    pub fn keys_unread(&self) -> Option<Fault> {
        self.facts.borrow().keys.clone()
    }

    /// The rules that are not tried for a while.
    #[must_use]
    pub fn suspended(&self) -> Vec<SuspendedRule> {
        self.facts.borrow().suspended.clone()
    }

    /// The rules in force; none before they were loaded.
    #[must_use]
    pub fn rules(&self) -> Option<RulesVerdict> {
        self.facts.borrow().rules.clone()
    }

    /// Wakes when any fact changed.
    #[must_use]
    pub fn changes(&self) -> HealthChanges {
        HealthChanges(self.facts.subscribe())
    }

    /// Whether the feed can be believed; the gravest fault is named.
    #[must_use]
    pub fn feed(&self) -> FeedVerdict {
        let facts = self.facts.borrow();
        let not_joined = (!facts.is_joined).then(|| Fault {
            reason: "NotJoined",
            message: "the Realtime channel is not joined; changes are found by the timer".into(),
        });
        let unread = match &facts.read {
            Some(Ok(())) => None,
            Some(Err(fault)) => Some(fault.clone()),
            None => Some(Fault {
                reason: "NotCompared",
                message: "desired state was not compared with the database yet".into(),
            }),
        };
        FeedVerdict {
            fault: unread.or(not_joined).or_else(|| facts.canary.clone()),
            trip: facts.trip,
        }
    }

    /// What is missing before the daemon is ready; empty when it is. A feed of which one way is
    /// silent still works.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let facts = self.facts.borrow();
        let parts = [
            (
                facts.is_open,
                "Supabase was not reached since the start; agents are not let in yet",
            ),
            (
                facts.read == Some(Ok(())),
                "desired state was not read from Supabase",
            ),
            (facts.is_joined, "the Realtime feed is not joined"),
        ];
        let missing = parts.iter().filter(|(is_there, _)| !is_there);
        missing.map(|(_, text)| *text).collect()
    }

    fn set<T: PartialEq>(&self, fact: impl FnOnce(&mut Facts) -> &mut T, value: T) {
        self.facts.send_if_modified(|facts| {
            let fact = fact(facts);
            let is_news = *fact != value;
            *fact = value;
            is_news
        });
    }
}

/// Waits for changes of the facts.
#[derive(Debug)]
pub struct HealthChanges(watch::Receiver<Facts>);

impl HealthChanges {
    /// Waits for the next change; never returns once there is nobody left to make one.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(reason: &'static str) -> Fault {
        Fault {
            reason,
            message: String::new(),
        }
    }

    fn reason(health: &Health) -> Option<&'static str> {
        health.feed().fault.map(|fault| fault.reason)
    }

    #[test]
    fn the_gravest_fault_of_the_feed_is_named() {
        let health = Health::default();
        assert_eq!(reason(&health), Some("NotCompared"));

        health.set_read(None);
        assert_eq!(reason(&health), Some("NotJoined"));

        health.set_feed_joined(true);
        health.set_canary(RoundTrip::default(), Some(fault("ChangesSilent")));
        assert_eq!(reason(&health), Some("ChangesSilent"));

        health.set_read(Some(fault("ReadFailed")));
        assert_eq!(reason(&health), Some("ReadFailed"));

        health.set_read(None);
        health.set_canary(RoundTrip::default(), None);
        assert_eq!(reason(&health), None);
    }

    #[test]
    fn one_silent_way_does_not_make_the_daemon_unready() {
        let health = Health::default();
        health.set_open();
        health.set_feed_joined(true);
        health.set_read(None);
        health.set_canary(RoundTrip::default(), Some(fault("ChangesSilent")));

        assert!(health.missing().is_empty());
    }
}
