//! What the daemon knows of its own state, for `/readyz` and whoever operates it.
//! It never decides anything; the parts write it and the health routes read it.

use std::sync::atomic::{AtomicBool, Ordering};

/// Facts about the daemon's parts.
#[derive(Debug, Default)]
pub struct Health {
    open: AtomicBool,
    feed_joined: AtomicBool,
    compared: AtomicBool,
}

impl Health {
    /// Records that agents may connect.
    pub fn set_open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Whether agents may connect.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Records whether the feed is joined.
    pub fn set_feed_joined(&self, joined: bool) {
        self.feed_joined.store(joined, Ordering::Relaxed);
    }

    /// Records whether the last comparison with the database succeeded.
    pub fn set_compared(&self, succeeded: bool) {
        self.compared.store(succeeded, Ordering::Relaxed);
    }

    /// What is missing before the daemon is ready; empty when it is.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let parts = [
            (
                &self.open,
                "Supabase was not reached since the start; agents are not let in yet",
            ),
            (&self.compared, "desired state was not read from Supabase"),
            (&self.feed_joined, "the Realtime feed is not joined"),
        ];
        let is_missing = |part: &AtomicBool| !part.load(Ordering::Relaxed);
        parts
            .iter()
            .filter(|(part, _)| is_missing(part))
            .map(|(_, text)| *text)
            .collect()
    }
}
