//! The most a host had of late, so that taking things away one by one is as much a mass removal as
//! taking them all at once. It reads no clock.

use std::time::{Duration, Instant};

/// A host that was as desired for so long begins anew: what it has then is what people meant.
const CALM: Duration = Duration::from_secs(60);

/// The most desired things of one host since it was last calm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak {
    entries: u32,
    calm_since: Option<Instant>,
}

impl Peak {
    /// Of a host of which nothing is known.
    pub(super) const NONE: Self = Self {
        entries: 0,
        calm_since: None,
    };

    /// Takes in how many things the host has now; gives the most of late.
    pub(super) fn look(&mut self, entries: u32, now: Instant) -> u32 {
        let is_calm = self
            .calm_since
            .is_some_and(|since| now.saturating_duration_since(since) >= CALM);
        self.entries = if is_calm {
            entries
        } else {
            self.entries.max(entries)
        };
        self.entries
    }

    /// The host is as desired, or not.
    pub(super) fn settle(&mut self, is_as_desired: bool, now: Instant) {
        self.calm_since = match self.calm_since {
            Some(since) if is_as_desired => Some(since),
            _ => is_as_desired.then_some(now),
        };
    }

    /// Somebody has looked at what the host has now, and meant it.
    pub(super) const fn accept(&mut self, entries: u32) {
        self.entries = entries;
    }
}
