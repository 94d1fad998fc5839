//! Whether the link is up, and whether it carries both ways just now.
//! It sends nothing itself: the writer pings, the reader hears.

use std::sync::Arc;

use tokio::sync::watch;

/// The pulse of the link, shared by the link and whoever has to know.
#[derive(Clone, Debug)]
pub struct LinkPulse {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// The number of the session; none while there is none.
    session: watch::Sender<Option<u64>>,
    n_sessions: watch::Sender<u64>,
    /// The last ping somebody wants to be answered.
    asked: watch::Sender<u64>,
    /// The last of them that was.
    answered: watch::Sender<u64>,
}

impl Default for LinkPulse {
    fn default() -> Self {
        Self {
            state: Arc::new(State {
                session: watch::Sender::new(None),
                n_sessions: watch::Sender::new(0),
                asked: watch::Sender::new(0),
                answered: watch::Sender::new(0),
            }),
        }
    }
}

impl LinkPulse {
    /// The number of the session, another one for each, or none while the link is down.
    #[must_use]
    pub fn session(&self) -> watch::Receiver<Option<u64>> {
        self.state.session.subscribe()
    }

    /// Waits for the answer to a ping that is sent after this call, or for a new session. What was
    /// on its way before proves nothing about now.
    pub async fn beat(&self) {
        let mut number = 0;
        self.state.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        let mut answered = self.state.answered.subscribe();
        // The sender lives as long as this.
        answered.wait_for(|answered| *answered >= number).await.ok();
    }

    /// A session has begun; that it could is an answer to everything asked before.
    pub(super) fn on_up(&self) {
        self.state.n_sessions.send_modify(|n| *n += 1);
        let number = *self.state.n_sessions.borrow();
        self.state.session.send_replace(Some(number));
        self.on_answered(*self.state.asked.borrow());
    }

    /// The session has ended.
    pub(super) fn on_down(&self) {
        self.state.session.send_replace(None);
    }

    /// The pings the writer has to send.
    pub(super) fn asked(&self) -> watch::Receiver<u64> {
        self.state.asked.subscribe()
    }

    /// The daemon answered a ping.
    pub(super) fn on_pong(&self, payload: &[u8]) {
        // A heartbeat has no number, and another payload was never sent.
        if let Ok(number) = payload.try_into().map(u64::from_be_bytes)
            && number <= *self.state.asked.borrow()
        {
            self.on_answered(number);
        }
    }

    fn on_answered(&self, number: u64) {
        self.state.answered.send_if_modified(|answered| {
            let is_newer = number > *answered;
            *answered = number.max(*answered);
            is_newer
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn is_beating(pulse: &LinkPulse, answer: impl FnOnce(u64)) -> bool {
        let mut asked = pulse.asked();
        let beat = pulse.beat();
        let reply = async {
            asked.changed().await.unwrap();
            answer(*asked.borrow_and_update());
        };
        let both = async { tokio::join!(beat, reply) };
        tokio::time::timeout(Duration::from_secs(1), both)
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_answer_to_its_own_ping_or_a_new_session_is_a_beat() {
        let pulse = LinkPulse::default();

        let own = is_beating(&pulse, |n| pulse.on_pong(&n.to_be_bytes())).await;
        let older = is_beating(&pulse, |n| pulse.on_pong(&(n - 1).to_be_bytes())).await;
        let heartbeat = is_beating(&pulse, |_| pulse.on_pong(&[])).await;
        let forged = is_beating(&pulse, |_| pulse.on_pong(&u64::MAX.to_be_bytes())).await;
        let reconnected = is_beating(&pulse, |_| pulse.on_up()).await;

        assert!(own && reconnected);
        assert!(!older && !heartbeat && !forged);
    }

    #[tokio::test]
    async fn every_session_has_another_number() {
        let pulse = LinkPulse::default();
        let session = pulse.session();

        let mut seen = vec![*session.borrow()];
        for _ in 0..2 {
            pulse.on_up();
            seen.push(*session.borrow());
            pulse.on_down();
        }
        seen.push(*session.borrow());

        assert_eq!(seen, [None, Some(1), Some(2), None]);
    }
}
