//! What can happen to changes and broadcasts on their way out, none of which a client is told.
//! Never delivers or withholds anything itself: the hub asks for the fate of each delivery.

use std::collections::BTreeMap;

use super::Faults;
use crate::realtime::ChangeError;

/// A way by which something reaches a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Changes of rows, from the publication.
    Changes,
    /// Broadcasts, whether sent by SQL, by REST or by a client.
    Broadcasts,
}

impl Lane {
    /// Both ways.
    pub const BOTH: [Self; 2] = [Self::Changes, Self::Broadcasts];
}

/// Faults of deliveries.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    /// Tables and broadcast events that are affected; empty means all.
    names: Vec<String>,
    lanes: BTreeMap<Lane, LaneFaults>,
    spoils: Option<(ChangeError, u64)>,
}

/// Faults of one lane.
#[derive(Debug, Default)]
struct LaneFaults {
    is_silent: bool,
    n_skipped: u64,
    n_doubled: u64,
    n_reversed: u64,
}

/// What happens to one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It goes out.
    Sent,
    /// It does not.
    Lost,
    /// It goes out twice.
    Doubled,
    /// It waits until this many more have come, and then goes out after them.
    Held(u64),
}

impl Faults {
    /// Delivers nothing on these lanes while everything else works; no lane ends it.
    ///
    /// A server whose workers are gone looks like this, and so does a filter that never matches.
    pub fn go_silent(&self, lanes: &[Lane]) {
        let deliveries = &mut self.settings().deliveries;
        for lane in Lane::BOTH {
            deliveries.lane(lane).is_silent = lanes.contains(&lane);
        }
    }

    /// Skips the next deliveries of a lane without a word, as a rate limit does.
    pub fn skip(&self, lane: Lane, count: u64) {
        self.settings().deliveries.lane(lane).n_skipped = count;
    }

    /// Delivers each of the next deliveries of a lane twice.
    pub fn double(&self, lane: Lane, count: u64) {
        self.settings().deliveries.lane(lane).n_doubled = count;
    }

    /// Holds the next deliveries of a lane back until all of them have come, and then sends the last first.
    pub fn reverse(&self, lane: Lane, count: u64) {
        self.settings().deliveries.lane(lane).n_reversed = count;
    }

    /// Sends the next changes with an error and without what the error takes away.
    pub fn spoil_changes(&self, error: ChangeError, count: u64) {
        self.settings().deliveries.spoils = Some((error, count));
    }

    /// Limits all faults of deliveries to changes of these tables and broadcasts of these events; none lifts the limit.
    ///
    /// With it a canary goes on while the rows it stands for are lost, or the other way round.
    pub fn limit_to(&self, names: &[&str]) {
        self.settings().deliveries.names = names.iter().map(|name| (*name).to_owned()).collect();
    }

    /// Tells what happens to a delivery, and counts it.
    pub(crate) fn take_fate(&self, lane: Lane, name: &str) -> Fate {
        let deliveries = &mut self.settings().deliveries;
        if !deliveries.affect(name) {
            return Fate::Sent;
        }
        let faults = deliveries.lane(lane);
        if faults.is_silent || take_one(&mut faults.n_skipped) {
            Fate::Lost
        } else if take_one(&mut faults.n_reversed) {
            Fate::Held(faults.n_reversed)
        } else if take_one(&mut faults.n_doubled) {
            Fate::Doubled
        } else {
            Fate::Sent
        }
    }

    /// Tells whether more deliveries of a lane are to be held back.
    pub(crate) fn is_holding(&self, lane: Lane) -> bool {
        self.settings().deliveries.lane(lane).n_reversed > 0
    }

    /// Tells which error a change of this table is to carry, and counts it.
    pub(crate) fn take_spoil(&self, table: &str) -> Option<ChangeError> {
        let deliveries = &mut self.settings().deliveries;
        if !deliveries.affect(table) {
            return None;
        }
        let (error, count) = deliveries.spoils.as_mut()?;
        take_one(count).then_some(*error)
    }
}

impl Deliveries {
    fn affect(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|one| one == name)
    }

    fn lane(&mut self, lane: Lane) -> &mut LaneFaults {
        self.lanes.entry(lane).or_default()
    }
}

fn take_one(count: &mut u64) -> bool {
    let taken = *count > 0;
    *count = count.saturating_sub(1);
    taken
}
