//! Everything that can be made to go wrong with the stack on purpose.
//! Never acts by itself: the gateway and the Realtime stand-in ask before they answer.

mod delivery;
mod rest;
mod slots;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use self::delivery::Deliveries;
pub(crate) use self::delivery::Fate;
pub use self::delivery::Lane;
pub use self::rest::RestFault;
use self::rest::RestSwitch;
use self::slots::SlotSwitch;
pub(crate) use self::slots::SlotWish;

/// Kicks waiting for one socket; a test gives them one at a time.
const KICK_QUEUE: usize = 16;

/// Switches for faults; all clones switch the same stack.
///
/// | what goes wrong | switch | what a client is told |
/// |---|---|---|
/// | the connection breaks | [`Faults::drop_sockets`] | the end of the stream |
/// | the server goes away | [`Faults::close_sockets`] | a close code |
/// | a peer is half dead | [`Faults::mute_heartbeats`] | nothing |
/// | connecting is refused: 401, 403, 404, 429 | [`Faults::refuse_connects`] | an HTTP status |
/// | joining is refused, by any code of the protocol | [`Faults::refuse_joins`] | an error reply |
/// | refusals come late, as on Supabase | [`Faults::delay_refusals`] | as above, later |
/// | joining is not answered | [`Faults::ignore_joins`] | nothing |
/// | a channel crashes | [`Faults::crash_channels`] | `phx_error` |
/// | a channel is closed | [`Faults::close_channels`] | `phx_close` |
/// | a channel fails: too many messages and the like | [`Faults::fail_channels`] | `system` error, `phx_close` |
/// | a token expires while the channel is joined | [`Faults::expire_tokens`] | `system` error, `phx_close` |
/// | `system ok` is late, missing, premature or an error | [`Faults::set_system_ok`] | see [`SystemOk`] |
/// | the server subscribes anew by itself | [`Faults::resubscribe_channels`] | another `system ok` |
/// | the workers are gone | [`Faults::stop_workers`] | nothing |
/// | the replication slot is lost and made anew | [`Faults::lose_slots`], [`Faults::restore_slots`] | nothing |
/// | changes, broadcasts or both stop | [`Faults::go_silent`] | nothing |
/// | a rate limit skips some | [`Faults::skip`] | nothing |
/// | some come twice, or in the wrong order | [`Faults::double`], [`Faults::reverse`] | nothing |
/// | a change is too large, has no key, may not be read | [`Faults::spoil_changes`] | an `errors` array |
/// | REST is down, denies, hangs, answers half or nothing | [`Faults::set_rest`] | see [`RestFault`] |
///
/// [`Faults::limit_to`] keeps faults of deliveries to some tables and events, [`Faults::limit_rest_to`] those of REST to
/// some tables and functions. A publication that changes needs no
/// switch: the stand-in reads it again at its own pace ([`crate::Pace::publication`]) and subscribes everybody anew.
#[derive(Debug, Clone)]
pub struct Faults {
    settings: Arc<Mutex<Settings>>,
    slots: Arc<(SlotSwitch, SlotSwitch)>,
    kicks: broadcast::Sender<Kick>,
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
    /// As the pace says, but changes are sent only after this time, as on a cold tenant: those before it are lost.
    Premature(Duration),
    /// An error comes instead; the server goes on trying at [`crate::Pace::resubscribe`], and the channel stays.
    Failed,
}

#[derive(Debug, Default)]
struct Settings {
    rest: RestSwitch,
    system_ok: SystemOk,
    heartbeats_are_muted: bool,
    joins_are_ignored: bool,
    join_refusal: Option<String>,
    connect_refusal: Option<u16>,
    refusal_delays: RefusalDelays,
    deliveries: Deliveries,
}

/// How long a server makes those wait whom it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefusalDelays {
    /// Before the answer to a connection.
    pub connect: Duration,
    /// Before the answer to a join; the socket does nothing else meanwhile.
    pub join: Duration,
}

impl RefusalDelays {
    /// What Supabase does.
    pub const SUPABASE: Self = Self {
        connect: Duration::from_secs(2),
        join: Duration::from_secs(5),
    };
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
    /// Every channel is closed.
    ChannelClose,
    /// Every channel reports this and is closed.
    SystemError(String),
    /// Every channel with changes is subscribed anew.
    Resubscribe,
}

impl Faults {
    /// Starts without any fault.
    pub(crate) fn new() -> Self {
        Self {
            settings: Arc::default(),
            slots: Arc::default(),
            kicks: broadcast::channel(KICK_QUEUE).0,
        }
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

    /// Sends `phx_close` on every channel.
    pub fn close_channels(&self) {
        self.kick(Kick::ChannelClose);
    }

    /// Sends a `system` error and `phx_close` on every channel.
    pub fn fail_channels(&self, message: impl Into<String>) {
        self.kick(Kick::SystemError(message.into()));
    }

    /// Ends every channel as if its token had just expired; a token that really expires does the same by itself.
    pub fn expire_tokens(&self) {
        self.fail_channels("Token has expired 1 seconds ago");
    }

    /// Subscribes every channel with changes anew, as after a change of the publication: what commits until the
    /// next `system ok` is lost.
    pub fn resubscribe_channels(&self) {
        self.kick(Kick::Resubscribe);
    }

    /// Leaves heartbeats unanswered, or answers them again.
    pub fn mute_heartbeats(&self, muted: bool) {
        self.settings().heartbeats_are_muted = muted;
    }

    /// Leaves joins unanswered, or answers them again.
    pub fn ignore_joins(&self, ignored: bool) {
        self.settings().joins_are_ignored = ignored;
    }

    /// Changes when `system ok` follows a join.
    pub fn set_system_ok(&self, when: SystemOk) {
        self.settings().system_ok = when;
    }

    /// Refuses every join with a reason such as `InvalidJWTToken: Token has expired`, or none.
    pub fn refuse_joins(&self, reason: Option<&str>) {
        self.settings().join_refusal = reason.map(str::to_owned);
    }

    /// Refuses every new Realtime connection with an HTTP status, or none.
    pub fn refuse_connects(&self, status: Option<u16>) {
        self.settings().connect_refusal = status;
    }

    /// Makes those wait who are refused; by default nobody waits.
    pub fn delay_refusals(&self, delays: RefusalDelays) {
        self.settings().refusal_delays = delays;
    }

    /// Ends every lasting fault; lost slots come back a moment later ([`Faults::restore_slots`] waits for them).
    pub fn clear(&self) {
        *self.settings() = Settings::default();
        self.want_slots();
    }

    pub(crate) fn system_ok(&self) -> SystemOk {
        self.settings().system_ok
    }

    pub(crate) fn heartbeats_are_muted(&self) -> bool {
        self.settings().heartbeats_are_muted
    }

    pub(crate) fn joins_are_ignored(&self) -> bool {
        self.settings().joins_are_ignored
    }

    pub(crate) fn join_refusal(&self) -> Option<String> {
        self.settings().join_refusal.clone()
    }

    pub(crate) fn connect_refusal(&self) -> Option<u16> {
        self.settings().connect_refusal
    }

    pub(crate) fn refusal_delays(&self) -> RefusalDelays {
        self.settings().refusal_delays
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
