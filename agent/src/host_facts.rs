//! What the host claims to be in hello and enrollment.
//! None of it is ever used as proof of identity.

use uuid::Uuid;

/// Version of the agent program.
pub const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A host's claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostFacts {
    /// The boot the kernel is in.
    pub boot: Option<Uuid>,
    /// Host name.
    pub hostname: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
}

impl HostFacts {
    /// Reads them.
    #[must_use]
    pub fn read() -> Self {
        let system = rustix::system::uname();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self {
            boot: boot.and_then(|text| text.trim().parse().ok()),
            hostname: system.nodename().to_string_lossy().into_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
        }
    }
}
