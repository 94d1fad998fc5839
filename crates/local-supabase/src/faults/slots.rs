//! Replication slots that are lost and made anew: what commits in between is never delivered.
//! Never touches a slot itself: each reader of the log looks after its own and says when it is gone or back.

use tokio::sync::watch;

use super::{Faults, Lane};

/// What is wanted of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotWish {
    /// That it is there.
    Kept,
    /// That it is gone.
    Lost,
    /// That it is gone with everything that was subscribed, until somebody subscribes again.
    Stopped,
}

/// The slot of one lane: what is wanted of it, and whether it is there.
#[derive(Debug)]
pub(crate) struct SlotSwitch {
    wish: watch::Sender<SlotWish>,
    is_there: watch::Sender<bool>,
}

impl Default for SlotSwitch {
    fn default() -> Self {
        Self {
            wish: watch::Sender::new(SlotWish::Kept),
            is_there: watch::Sender::new(true),
        }
    }
}

impl SlotSwitch {
    /// Gives a reader of the log its own view of what is wanted.
    pub(crate) fn wishes(&self) -> watch::Receiver<SlotWish> {
        self.wish.subscribe()
    }

    /// Takes note of what a reader has done.
    pub(crate) fn on_slot(&self, is_there: bool) {
        self.is_there.send_replace(is_there);
    }

    async fn change(&self, wish: SlotWish) {
        self.wish.send_replace(wish);
        let is_there = wish == SlotWish::Kept;
        let mut slot = self.is_there.subscribe();
        // The sender lives as long as `self`, so the wait cannot end in any other way.
        drop(slot.wait_for(|now| *now == is_there).await);
    }
}

impl Faults {
    /// Drops the replication slots of these lanes, and returns when they are gone.
    ///
    /// Channels stay joined and heartbeats go on; what commits until [`Faults::restore_slots`] returns is lost.
    pub async fn lose_slots(&self, lanes: &[Lane]) {
        for lane in lanes {
            self.slot(*lane).change(SlotWish::Lost).await;
        }
    }

    /// Makes the lost slots again at the present end of the log, and returns when they are there.
    pub async fn restore_slots(&self) {
        for lane in Lane::BOTH {
            self.slot(lane).change(SlotWish::Kept).await;
        }
    }

    /// Stops what reads and sends changes, and returns when it is gone: channels stay joined and heartbeats go on.
    ///
    /// A channel that subscribes to changes starts it again, for itself alone: those that were joined before hear
    /// nothing until they join again.
    pub async fn stop_workers(&self) {
        self.slot(Lane::Changes).change(SlotWish::Stopped).await;
    }

    /// Starts the workers again if they were stopped, because somebody subscribes.
    pub(crate) async fn start_workers(&self) {
        let slot = self.slot(Lane::Changes);
        if *slot.wish.borrow() == SlotWish::Stopped {
            slot.change(SlotWish::Kept).await;
        }
    }

    /// Gives the switch of a lane's slot.
    pub(crate) fn slot(&self, lane: Lane) -> &SlotSwitch {
        match lane {
            Lane::Changes => &self.slots.0,
            Lane::Broadcasts => &self.slots.1,
        }
    }

    /// Wants all slots back, without waiting for them.
    pub(super) fn want_slots(&self) {
        for lane in Lane::BOTH {
            self.slot(lane).wish.send_replace(SlotWish::Kept);
        }
    }
}
