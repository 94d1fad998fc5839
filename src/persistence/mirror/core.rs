//! What the mirror knows and what it wants read next: hints mark, complete answers replace.
//! It does no I/O and reads no clock, and never removes anything because an answer was short.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hidps_wire::AgentId;
use tokio::sync::watch;

use crate::health::Fault;
use crate::model::{DesiredState, DesiredVersion};
use crate::persistence::feed::FeedEvent;

/// Agents per page of the comparison; hosted PostgREST gives at most 1,000 rows.
const PAGE: usize = 1_000;

/// Most documents per read: enough to converge many hosts at once, few enough for a short answer.
const READ_AT_ONCE: usize = 100;

/// Pause after a failed read.
const PAUSE: Duration = Duration::from_secs(1);

/// What one connection follows; none until the first read succeeded.
pub type Followed = watch::Receiver<Option<Arc<DesiredState>>>;

type Slot = watch::Sender<Option<Arc<DesiredState>>>;

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Want {
    /// List versions of agents beyond this one.
    List {
        /// The last agent of the page before; none at the beginning.
        after: Option<AgentId>,
        /// Most rows wanted; fewer may come although there are more.
        limit: usize,
        /// Why everything is compared.
        cause: &'static str,
    },
    /// Read these agents' documents.
    Read(Vec<AgentId>),
    /// Nothing before this time, unless something is heard.
    Wait(Instant),
}

/// A comparison of everything that has begun.
#[derive(Clone, Copy, Debug)]
struct Listing {
    after: Option<AgentId>,
    cause: &'static str,
}

/// How often everything is compared, and the jitter that keeps several daemons out of step.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between comparisons, before jitter.
    pub resync_every: Duration,
    /// Gives a number from 0 to 1.
    pub draw: fn() -> f64,
}

/// The state of the mirror.
#[derive(Debug)]
pub struct Core {
    pace: Pace,
    followed: BTreeMap<AgentId, Slot>,
    dirty: BTreeSet<AgentId>,
    /// Agents whose read failed; they wait for the next attempt and hold up nobody.
    failed: BTreeSet<AgentId>,
    retry_at: Instant,
    batch: usize,
    listing: Option<Listing>,
    /// Something was lost while a comparison ran: it proves nothing about the pages before.
    must_list: Option<&'static str>,
    resync_at: Instant,
    list_fault: Option<Fault>,
    read_fault: Option<Fault>,
    has_compared: bool,
}

impl Core {
    /// A mirror that knows nothing and wants to compare at once.
    #[must_use]
    pub const fn new(pace: Pace, now: Instant) -> Self {
        Self {
            pace,
            followed: BTreeMap::new(),
            dirty: BTreeSet::new(),
            failed: BTreeSet::new(),
            retry_at: now,
            batch: READ_AT_ONCE,
            listing: None,
            must_list: None,
            resync_at: now,
            list_fault: None,
            read_fault: None,
            has_compared: false,
        }
    }

    /// Follows an agent; it is read afresh even when it is known, because the follower is new.
    pub fn follow(&mut self, agent: AgentId) -> Followed {
        self.dirty.insert(agent);
        let slot = self
            .followed
            .entry(agent)
            .or_insert_with(|| watch::channel(None).0);
        slot.subscribe()
    }

    /// Takes in a reason to look again.
    pub fn on_hint(&mut self, hint: FeedEvent) {
        match hint {
            FeedEvent::Hint { agent, generation } => {
                self.mark_if(agent, |known| Some(known.generation) != generation);
            }
            FeedEvent::Resync => self.must_list = Some("feed"),
        }
    }

    /// What to do next; whatever it is, its answer is to be given back before asking again.
    pub fn want(&mut self, now: Instant) -> Want {
        if now >= self.retry_at {
            self.dirty.append(&mut self.failed);
        }
        if now >= self.resync_at && self.listing.is_none() {
            self.must_list.get_or_insert("timer");
        }
        let agents: Vec<AgentId> = std::iter::from_fn(|| self.dirty.pop_first())
            .take(self.batch)
            .collect();
        if !agents.is_empty() {
            return Want::Read(agents);
        }
        // One that runs is finished first: hints that ask for another again and again must not keep
        // it from ever reaching its end.
        if self.listing.is_none()
            && let Some(cause) = self.must_list.take()
        {
            self.followed.retain(|_, slot| slot.receiver_count() > 0);
            self.listing = Some(Listing { after: None, cause });
        }
        match self.listing {
            Some(Listing { after, cause }) => Want::List {
                after,
                limit: PAGE,
                cause,
            },
            None if self.failed.is_empty() => Want::Wait(self.resync_at),
            None => Want::Wait(self.resync_at.min(self.retry_at)),
        }
    }

    /// Takes in a page. Only an empty one is the end: a server may give fewer rows than wanted.
    pub fn on_listed(&mut self, page: Result<Vec<DesiredVersion>, Fault>, now: Instant) {
        match page.and_then(|page| self.in_order(page)) {
            Ok(page) => match page.last() {
                Some(last) => {
                    let listed: BTreeSet<AgentId> = page.iter().map(|it| it.agent_id).collect();
                    self.doubt_unlisted(Some(last.agent_id), &listed);
                    if let Some(listing) = &mut self.listing {
                        listing.after = Some(last.agent_id);
                    }
                    for version in page {
                        self.mark_if(version.agent_id, |known| {
                            (known.generation, known.changed_at)
                                != (version.generation, version.changed_at)
                        });
                    }
                }
                None => {
                    self.doubt_unlisted(None, &BTreeSet::new());
                    self.listing = None;
                    self.list_fault = None;
                    self.has_compared = true;
                    let jitter = 1.0 + 0.25 * (self.pace.draw)();
                    self.resync_at = now + self.pace.resync_every.mul_f64(jitter);
                }
            },
            Err(fault) => {
                self.listing = None;
                self.list_fault = Some(fault);
                self.resync_at = now + PAUSE;
            }
        }
    }

    /// Takes in documents. What fails or is missing waits for the next attempt; after a failure
    /// that asks for half as many, so that one unreadable document holds up no other.
    pub fn on_read(
        &mut self,
        asked: Vec<AgentId>,
        found: Result<Vec<(AgentId, DesiredState)>, Fault>,
        now: Instant,
    ) {
        match found {
            Ok(found) => {
                self.batch = (self.batch * 2).min(READ_AT_ONCE);
                let mut missing: BTreeSet<AgentId> = asked.into_iter().collect();
                for (agent, desired) in found {
                    missing.remove(&agent);
                    self.publish(agent, desired);
                }
                missing.retain(|agent| self.is_followed(*agent));
                self.on_missing(missing, now);
            }
            Err(fault) => {
                self.batch = (self.batch / 2).max(1);
                self.read_fault = Some(fault);
                self.failed.extend(asked);
                self.retry_at = now + PAUSE;
            }
        }
    }

    /// What keeps the mirror from knowing everything desired; none when it does.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let never = (!self.has_compared).then(|| Fault {
            reason: "NotCompared",
            message: "desired state was not compared with the database yet".into(),
        });
        let known = self.list_fault.as_ref().or(self.read_fault.as_ref());
        known.cloned().or(never)
    }

    /// An agent that is followed has a row; one that is not in the answer is asked for again, and
    /// what is known of it stays.
    fn on_missing(&mut self, missing: BTreeSet<AgentId>, now: Instant) {
        if !missing.is_empty() {
            let message = format!(
                "{} agents were missing in an answer; what is known of them stays",
                missing.len()
            );
            self.read_fault = Some(Fault {
                reason: "ReadPartial",
                message,
            });
            self.failed.extend(missing);
            self.retry_at = now + PAUSE;
        } else if self.failed.is_empty() {
            self.read_fault = None;
        }
    }

    /// A page that does not go on where the one before ended would be asked for again for ever.
    fn in_order(&self, page: Vec<DesiredVersion>) -> Result<Vec<DesiredVersion>, Fault> {
        let mut after = self.listing.and_then(|listing| listing.after);
        for version in &page {
            if after.replace(version.agent_id) >= Some(version.agent_id) {
                return Err(Fault {
                    reason: "ComparisonFailed",
                    message: "a page of the comparison was not in order".to_owned(),
                });
            }
        }
        Ok(page)
    }

    /// Marks followed agents that a page passed over, up to its last one or all the rest: a list
    /// that is denied or cut short looks like this, and reading them tells.
    fn doubt_unlisted(&mut self, last: Option<AgentId>, listed: &BTreeSet<AgentId>) {
        let Some(Listing { after, .. }) = self.listing else {
            return;
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let to = last.map_or(Bound::Unbounded, Bound::Included);
        let passed_over = self
            .followed
            .range((from, to))
            .filter(|(agent, slot)| slot.receiver_count() > 0 && !listed.contains(agent));
        self.dirty.extend(passed_over.map(|(agent, _)| *agent));
    }

    fn is_followed(&self, agent: AgentId) -> bool {
        self.followed
            .get(&agent)
            .is_some_and(|slot| slot.receiver_count() > 0)
    }

    /// Marks an agent for reading if somebody follows it and what is known of it is not it.
    fn mark_if(&mut self, agent: AgentId, is_news: impl FnOnce(&DesiredState) -> bool) {
        let Some(slot) = self.followed.get(&agent) else {
            return;
        };
        if slot.borrow().as_deref().is_none_or(is_news) {
            self.dirty.insert(agent);
        }
    }

    fn publish(&self, agent: AgentId, desired: DesiredState) {
        let Some(slot) = self.followed.get(&agent) else {
            return;
        };
        slot.send_if_modified(|held| {
            let is_news = held.as_deref() != Some(&desired);
            if is_news {
                *held = Some(Arc::new(desired));
            }
            is_news
        });
    }
}
