//! What this program is.
//! It never looks at the host.

use hidps_wire::PROTOCOL_VERSION;
use serde::Serialize;

use crate::host_facts::AGENT_VERSION;

/// The program's version and what it was built for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Version {
    /// Version of the program.
    pub version: &'static str,
    /// Version of the protocol it speaks.
    pub protocol: u32,
    /// Operating system it was built for.
    pub os: &'static str,
    /// Processor architecture it was built for.
    pub arch: &'static str,
}

impl Version {
    /// This program's.
    #[must_use]
    pub const fn this() -> Self {
        Self {
            version: AGENT_VERSION,
            protocol: PROTOCOL_VERSION,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
        }
    }

    /// The text for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("hidps-agent {}\n", self.version)
    }
}
