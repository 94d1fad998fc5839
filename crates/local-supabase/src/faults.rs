//! Everything that can be made to go wrong with the stack on purpose.
//! Never acts by itself: the gateway and the Realtime stand-in ask before they answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

/// Kicks waiting for one socket; a test gives them one at a time.
const KICK_QUEUE: usize = 16;

/// Switches for faults; all clones switch the same stack.
#[derive(Debug, Clone)]
pub struct Faults {
    settings: Arc<Mutex<Settings>>,
    kicks: broadcast::Sender<Kick>,
}

/// How `/rest/v1` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestFault {
    /// As it should.
    #[default]
    None,
    /// With status 503, at once.
    Unavailable,
    /// Never.
    Hanging,
}

/// When `system ok` follows a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SystemOk {
    /// As the pace says.
    #[default]
    Usual,
    /// After this time.
    Delayed(Duration),
    /// Never; changes are then not sent either.
    Omitted,
}

#[derive(Debug, Default)]
struct Settings {
    rest: RestFault,
    system_ok: SystemOk,
    heartbeats_are_muted: bool,
    is_silent: bool,
    n_skipped: u64,
    n_too_large: u64,
    join_refusal: Option<String>,
    connect_refusal: Option<u16>,
}

/// What happens to every open Realtime socket, once.
#[derive(Debug, Clone)]
pub(crate) enum Kick {
    /// The connection breaks.
    Drop,
    /// The server closes with this code.
    Close(u16),
    /// Every channel crashes.
    ChannelError,
    /// Every channel reports this and is closed.
    SystemError(String),
}

impl Faults {
    /// Starts without any fault.
    pub(crate) fn new() -> Self {
        Self {
            settings: Arc::default(),
            kicks: broadcast::channel(KICK_QUEUE).0,
        }
    }

    /// Changes how `/rest/v1` answers from now on.
    pub fn set_rest(&self, fault: RestFault) {
        self.settings().rest = fault;
    }

    /// Breaks every Realtime connection without a closing frame.
    pub fn drop_sockets(&self) {
        self.kick(Kick::Drop);
    }

    /// Closes every Realtime connection with a code, as a restarting server does with 1001.
    pub fn close_sockets(&self, code: u16) {
        self.kick(Kick::Close(code));
    }

    /// Sends `phx_error` on every channel.
    pub fn crash_channels(&self) {
        self.kick(Kick::ChannelError);
    }

    /// Sends a `system` error and `phx_close` on every channel.
    pub fn fail_channels(&self, message: impl Into<String>) {
        self.kick(Kick::SystemError(message.into()));
    }

    /// Leaves heartbeats unanswered, or answers them again.
    pub fn mute_heartbeats(&self, muted: bool) {
        self.settings().heartbeats_are_muted = muted;
    }

    /// Changes when `system ok` follows a join.
    pub fn set_system_ok(&self, when: SystemOk) {
        self.settings().system_ok = when;
    }

    /// Skips the next changes, as a rate limit does: silently.
    pub fn skip_changes(&self, count: u64) {
        self.settings().n_skipped = count;
    }

    /// Sends neither changes nor broadcasts while everything else works, or sends them again.
    pub fn go_silent(&self, silent: bool) {
        self.settings().is_silent = silent;
    }

    /// Sends the next changes as if they were over the size limit: cut and with error 413.
    pub fn cut_changes(&self, count: u64) {
        self.settings().n_too_large = count;
    }

    /// Refuses every join with a reason such as `InvalidJWTToken: Token has expired`, or none.
    pub fn refuse_joins(&self, reason: Option<&str>) {
        self.settings().join_refusal = reason.map(str::to_owned);
    }

    /// Refuses every new Realtime connection with an HTTP status, or none.
    pub fn refuse_connects(&self, status: Option<u16>) {
        self.settings().connect_refusal = status;
    }

    /// Ends every lasting fault.
    pub fn clear(&self) {
        *self.settings() = Settings::default();
    }

    pub(crate) fn rest(&self) -> RestFault {
        self.settings().rest
    }

    pub(crate) fn system_ok(&self) -> SystemOk {
        self.settings().system_ok
    }

    pub(crate) fn heartbeats_are_muted(&self) -> bool {
        self.settings().heartbeats_are_muted
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.settings().is_silent
    }

    pub(crate) fn join_refusal(&self) -> Option<String> {
        self.settings().join_refusal.clone()
    }

    pub(crate) fn connect_refusal(&self) -> Option<u16> {
        self.settings().connect_refusal
    }

    /// Tells whether this change is one to skip, and counts it.
    pub(crate) fn take_skip(&self) -> bool {
        take_one(&mut self.settings().n_skipped)
    }

    /// Tells whether this change is one to cut, and counts it.
    pub(crate) fn take_cut(&self) -> bool {
        take_one(&mut self.settings().n_too_large)
    }

    /// Gives a socket its own stream of kicks.
    pub(crate) fn kicks(&self) -> broadcast::Receiver<Kick> {
        self.kicks.subscribe()
    }

    fn kick(&self, kick: Kick) {
        // Without a socket there is nobody to kick, which is no fault of the fault.
        drop(self.kicks.send(kick));
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_one(count: &mut u64) -> bool {
    let taken = *count > 0;
    *count = count.saturating_sub(1);
    taken
}
