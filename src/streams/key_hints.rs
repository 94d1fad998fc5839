//! Which agents' keys are to be looked at before it is time, gathered until somebody looks.
//! It never decides whether a key is good.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use hidps_wire::AgentId;
use tokio::sync::Notify;

use crate::ports::KeyChanges;

/// Agents that are told apart; beyond, all keys are looked at.
const MAX_NAMED: usize = 1_000;

/// Whose keys may have changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// Those of these agents.
    Of(BTreeSet<AgentId>),
    /// Anybody's.
    All,
}

impl Default for Changed {
    fn default() -> Self {
        Self::Of(BTreeSet::new())
    }
}

/// What was heard of keys and not yet looked at.
#[derive(Debug, Default)]
pub struct KeyHints {
    changed: Mutex<Changed>,
    bell: Notify,
}

impl KeyHints {
    /// Waits until something was heard, and takes it.
    pub(super) async fn heard(&self) -> Changed {
        self.bell.notified().await;
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl KeyChanges for KeyHints {
    fn changed(&self, agents: Option<&[AgentId]>) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Changed::Of(named), Some(agents)) = (&mut *changed, agents)
            && named.len() + agents.len() <= MAX_NAMED
        {
            named.extend(agents);
        } else {
            *changed = Changed::All;
        }
        drop(changed);
        self.bell.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::streams::fakes::{AGENT, OTHER};

    #[tokio::test]
    async fn hints_gather_until_somebody_looks_and_are_taken_once() {
        let hints = KeyHints::default();

        hints.changed(Some(&[AGENT]));
        hints.changed(Some(&[OTHER, AGENT]));
        assert_eq!(hints.heard().await, Changed::Of([AGENT, OTHER].into()));

        hints.changed(Some(&[OTHER]));
        assert_eq!(hints.heard().await, Changed::Of([OTHER].into()));
    }

    #[tokio::test]
    async fn a_hint_about_nobody_in_particular_or_too_many_is_about_all() {
        let hints = KeyHints::default();
        hints.changed(Some(&[AGENT]));
        hints.changed(None);
        hints.changed(Some(&[OTHER]));
        assert_eq!(hints.heard().await, Changed::All);

        let many: Vec<AgentId> = (0..)
            .map(|number| AgentId::new(Uuid::from_u128(number)))
            .take(MAX_NAMED + 1)
            .collect();
        hints.changed(Some(&many));
        assert_eq!(hints.heard().await, Changed::All);
    }
}
