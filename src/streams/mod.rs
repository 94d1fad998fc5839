//! The daemon's sockets: agents, viewers and health, behind one listener.
//! It never parses an event, reads a table or knows why a frame is sent; it carries.

mod access;
mod agent_auth;
mod agent_greeting;
mod agent_http;
mod agent_link;
mod browsers;
mod client_certificates;
mod enroll;
mod fanout;
mod handshakes;
mod health;
mod holders;
mod installer;
mod key_hints;
mod key_requests;
mod key_watch;
mod keyring;
mod listener;
mod mailbox;
mod nonces;
mod open_files;
mod peer;
mod presence;
mod progress;
mod questions;
mod rate_limits;
mod refusals;
mod registry;
mod rhythm;
mod rotate;
mod routes;
mod silence;
mod silence_watch;
mod status_budget;
mod viewer_link;
mod viewer_queue;
mod viewer_rights;
mod vital_signs;
mod watchers;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

pub use access::AccessCheck;
pub use agent_auth::{AgentAuth, KeyLookup, KeyLookups};
pub use agent_http::{HttpWays, watch_polling};
pub use agent_link::AgentLinks;
pub use browsers::Origins;
pub use fanout::Fanout;
pub use holders::Holder;
pub use installer::Installer;
pub use key_hints::KeyHints;
pub use key_watch::watch_keys;
pub use keyring::{KeyReads, Keyring};
pub use listener::{ListenError, Listener};
pub use mailbox::{Mailbox, ToAgent};
pub use peer::TrustedProxies;
pub use presence::Presence;
pub use rate_limits::RateLimits;
pub use refusals::{RefusalLog, RefusalReports};
pub use registry::{ConnectionId, Registry};
pub use routes::{Gateway, router};
pub use silence_watch::watch_silence;
pub use viewer_queue::{Pending, ViewerQueue};
pub use watchers::Watchers;
