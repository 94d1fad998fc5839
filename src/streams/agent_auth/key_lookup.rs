//! Looks up the keys of agents whose handshakes are under way: many at once share one question.
//! It never turns a failure into "no such key", and never keeps a key for later.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hidps_wire::AgentId;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::model::AgentCredential;
use crate::ports::{Directory, StoreError};

/// Most agents in one question: a few kilobytes, answered from one index in a few milliseconds.
const PER_QUESTION: usize = 200;

/// Questions under way at once: while one is slow, the next handshakes need not wait for it.
const QUESTIONS: usize = 2;

/// Handshakes that may wait for their question; more wait before they get in.
const WAITING: usize = 1_024;

/// What a look-up gives: the key, or none when the agent has none.
type Found = Result<Option<AgentCredential>, Arc<StoreError>>;

/// One handshake that waits.
#[derive(Debug)]
struct Asked {
    agent: AgentId,
    reply: oneshot::Sender<Found>,
}

/// Why a key was not looked up.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The store did not answer the question this agent was part of.
    #[error("the directory did not answer")]
    Store(#[source] Arc<StoreError>),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
}

/// Where handshakes ask.
#[derive(Clone, Debug)]
pub struct KeyLookup {
    asked_tx: mpsc::Sender<Asked>,
}

impl KeyLookup {
    /// The key of an agent, or none.
    ///
    /// # Errors
    /// When nobody answered; that says nothing about the key.
    pub(super) async fn credential(
        &self,
        agent: AgentId,
    ) -> Result<Option<AgentCredential>, LookupError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.asked_tx.send(Asked { agent, reply }).await;
        asked.map_err(|_| LookupError::Stopping)?;
        let found = answer.await.map_err(|_| LookupError::Stopping)?;
        found.map_err(LookupError::Store)
    }
}

/// The task that asks the directory.
pub struct KeyLookups {
    asked: mpsc::Receiver<Asked>,
    directory: Arc<dyn Directory>,
}

impl std::fmt::Debug for KeyLookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyLookups").finish_non_exhaustive()
    }
}

impl KeyLookups {
    /// Look-ups in this directory, and where to ask for them.
    pub fn new(directory: Arc<dyn Directory>) -> (Self, KeyLookup) {
        let (asked_tx, asked) = mpsc::channel(WAITING);
        (Self { asked, directory }, KeyLookup { asked_tx })
    }

    /// Asks until it is told to stop. A lone handshake is asked for at once; those that come while
    /// questions are under way gather, and the next question is for all of them.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut questions = FuturesUnordered::new();
        let mut gathered = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = questions.next() => {}
                n_gathered = self.asked.recv_many(&mut gathered, PER_QUESTION),
                    if questions.len() < QUESTIONS =>
                {
                    if n_gathered == 0 {
                        return;
                    }
                    let directory = Arc::clone(&self.directory);
                    questions.push(ask(directory, std::mem::take(&mut gathered)));
                }
            }
        }
    }
}

async fn ask(directory: Arc<dyn Directory>, mut asked: Vec<Asked>) {
    // Whoever has gone meanwhile is not asked for.
    asked.retain(|asked| !asked.reply.is_closed());
    let mut agents: Vec<AgentId> = asked.iter().map(|asked| asked.agent).collect();
    agents.sort_unstable();
    agents.dedup();
    if agents.is_empty() {
        return;
    }
    let answer = directory.credentials(agents).await;
    for (reply, found) in share_out(asked, answer) {
        // A handshake that was given up in the last moment needs no answer.
        reply.send(found).ok();
    }
}

/// Gives each handshake what the answer says about its own agent; an error is everybody's.
fn share_out(
    asked: Vec<Asked>,
    answer: Result<Vec<(AgentId, AgentCredential)>, StoreError>,
) -> Vec<(oneshot::Sender<Found>, Found)> {
    let keys = answer
        .map(|keys| keys.into_iter().collect::<BTreeMap<_, _>>())
        .map_err(Arc::new);
    let found = |agent: AgentId| match &keys {
        Ok(keys) => Ok(keys.get(&agent).cloned()),
        Err(error) => Err(Arc::clone(error)),
    };
    asked
        .into_iter()
        .map(|asked| (asked.reply, found(asked.agent)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::IpAddr;
    use std::sync::Mutex;

    use hidps_wire::{EnrollRequest, Enrollment};
    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;
    use uuid::Uuid;

    use super::*;
    use crate::model::{AgentRefusal, KeyStatus, OrgId, OwnedAgent, PublicKey};
    use crate::ports::{StoreErrorKind, StoreResult};

    /// Answers when let, and remembers how it was asked. Agent 0 has no key; 666 fails a question.
    #[derive(Debug)]
    struct ScriptedDirectory {
        questions: Mutex<Vec<Vec<AgentId>>>,
        may_answer: Semaphore,
    }

    fn agent(number: u128) -> AgentId {
        AgentId::new(Uuid::from_u128(number))
    }

    fn key(agent: AgentId) -> AgentCredential {
        let half = agent.uuid().into_bytes();
        AgentCredential {
            org: OrgId(Uuid::from_u128(10)),
            public_key: [half, half].concat().try_into().expect("32 bytes"),
            status: KeyStatus::Admitted,
        }
    }

    impl Directory for ScriptedDirectory {
        fn credentials(
            &self,
            agents: Vec<AgentId>,
        ) -> StoreResult<'_, Vec<(AgentId, AgentCredential)>> {
            self.questions.lock().unwrap().push(agents.clone());
            Box::pin(async move {
                self.may_answer.acquire().await.unwrap().forget();
                if agents.contains(&agent(666)) {
                    return Err(StoreError {
                        operation: "test",
                        kind: StoreErrorKind::Unavailable,
                        source: "scripted".into(),
                    });
                }
                let known = agents.into_iter().filter(|asked| *asked != agent(0));
                Ok(known.map(|known| (known, key(known))).collect())
            })
        }

        fn admitted(&self, _: Vec<AgentId>) -> StoreResult<'_, Vec<AgentId>> {
            Box::pin(pending())
        }

        fn enroll(
            &self,
            _: AgentId,
            _: Option<String>,
            _: EnrollRequest,
            _: Option<IpAddr>,
        ) -> StoreResult<'_, Enrollment> {
            Box::pin(pending())
        }

        fn use_token(&self, _: AgentId, _: String, _: Option<IpAddr>) -> StoreResult<'_, ()> {
            Box::pin(pending())
        }

        fn record_refusal(&self, _: AgentRefusal) -> StoreResult<'_, ()> {
            Box::pin(pending())
        }

        fn rotate(&self, _: OwnedAgent, _: PublicKey, _: Option<IpAddr>) -> StoreResult<'_, ()> {
            Box::pin(pending())
        }
    }

    struct Rig {
        directory: Arc<ScriptedDirectory>,
        lookup: KeyLookup,
        stop: CancellationToken,
        tasks: JoinSet<()>,
    }

    impl Rig {
        fn start() -> Self {
            let directory = Arc::new(ScriptedDirectory {
                questions: Mutex::default(),
                may_answer: Semaphore::new(0),
            });
            let (lookups, lookup) = KeyLookups::new(Arc::clone(&directory) as _);
            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            tasks.spawn(lookups.run(stop.clone()));
            Self {
                directory,
                lookup,
                stop,
                tasks,
            }
        }

        fn questions(&self) -> Vec<Vec<AgentId>> {
            self.directory.questions.lock().unwrap().clone()
        }

        /// Starts look-ups and lets everything run until it waits.
        async fn ask(
            &self,
            numbers: impl IntoIterator<Item = u128>,
        ) -> JoinSet<(AgentId, Result<Option<AgentCredential>, LookupError>)> {
            let mut asking = JoinSet::new();
            for number in numbers {
                let lookup = self.lookup.clone();
                asking.spawn(async move {
                    let asked = agent(number);
                    (asked, lookup.credential(asked).await)
                });
                // The paused clock moves only once every task waits.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            asking
        }
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_that_come_during_a_question_share_the_next() {
        let rig = Rig::start();

        let asking = rig.ask(1..=50).await;
        rig.directory.may_answer.add_permits(100);
        let answers = asking.join_all().await;

        for (agent, found) in answers {
            assert_eq!(found.expect("it is answered"), Some(key(agent)));
        }
        let sizes: Vec<usize> = rig.questions().iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 48]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_bounded_and_names_an_agent_once() {
        let rig = Rig::start();

        let many = (1..=2).chain(std::iter::repeat_n(3, 5)).chain(4..=500);
        let asking = rig.ask(many).await;
        rig.directory.may_answer.add_permits(100);
        let answers = asking.join_all().await;

        assert!(answers.iter().all(|(_, found)| found.is_ok()));
        let sizes: Vec<usize> = rig.questions().iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, PER_QUESTION - 4, PER_QUESTION, 102]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_without_a_key_is_told_so_and_nobody_else() {
        let rig = Rig::start();

        let asking = rig.ask([7, 8, 0, 9]).await;
        rig.directory.may_answer.add_permits(100);
        let answers = asking.join_all().await;

        for (asked, found) in answers {
            let found = found.expect("it is answered");
            assert_eq!(found.is_none(), asked == agent(0), "{asked}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_question_is_a_failure_for_each_and_never_an_unknown_key() {
        let rig = Rig::start();

        let asking = rig.ask([7, 8, 666, 9]).await;
        rig.directory.may_answer.add_permits(100);
        let answers = asking.join_all().await;

        for (asked, found) in answers {
            let is_in_failed = asked == agent(666) || asked == agent(9);
            assert_eq!(
                matches!(found, Err(LookupError::Store(_))),
                is_in_failed,
                "{asked}: {found:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_question_does_not_hold_up_the_next() {
        let rig = Rig::start();

        let asking = rig.ask([1, 2]).await;

        assert_eq!(rig.questions(), [vec![agent(1)], vec![agent(2)]]);
        drop(asking);
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_that_were_given_up_are_not_asked_for() {
        let rig = Rig::start();

        let first = rig.ask([1, 2]).await;
        drop(rig.ask([3, 4]).await);
        let kept = rig.ask([5]).await;
        rig.directory.may_answer.add_permits(100);
        kept.join_all().await;

        assert_eq!(rig.questions().last(), Some(&vec![agent(5)]));
        drop(first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_stops_answers_whoever_waits() {
        let mut rig = Rig::start();

        let asking = rig.ask([1, 2, 3]).await;
        rig.stop.cancel();
        rig.tasks.join_next().await;
        let answers = asking.join_all().await;

        assert!(
            answers
                .iter()
                .all(|(_, found)| matches!(found, Err(LookupError::Stopping)))
        );
    }
}
