//! What a host is, as its agent found it: a claim, whole each time, and none of it an identity.
//! What could not be found out is absent; nothing is guessed and nothing stands for "unknown".

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_INTERFACE_ADDRESSES, MAX_INTERFACES, MAX_OPEN_PORTS};
use crate::shown::Shown;
use crate::usage::parse_at_most;

/// What a host is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Host name.
    pub hostname: Shown<255>,
    /// The distribution for people, such as `Debian GNU/Linux 12 (bookworm)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Shown<128>>,
    /// The distribution for machines, such as `debian`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_id: Option<Shown<64>>,
    /// Its version, such as `12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<Shown<64>>,
    /// The release of the kernel that runs.
    pub kernel: Shown<128>,
    /// Processor architecture, such as `x86_64`.
    pub arch: Shown<32>,
    /// When it was started, in seconds since 1970 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted_at: Option<i64>,
    /// The container or virtual machine it is, such as `docker` or `kvm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualization: Option<Shown<64>>,
    /// Its network interfaces by name, at most [`MAX_INTERFACES`].
    #[serde(deserialize_with = "parse_at_most::<_, _, MAX_INTERFACES>")]
    pub interfaces: Vec<Interface>,
    /// Where it listens, at most [`MAX_OPEN_PORTS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_ports: Option<OpenPorts>,
    /// Updates that wait to be installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<PendingUpdates>,
    /// Where it is not known which updates wait, why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates_unknown: Option<Shown<200>>,
    /// A program against malicious software; absent when none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub antivirus: Option<Antivirus>,
    /// How the clock is kept right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_sync: Option<TimeSync>,
}

/// Where a host listens.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpenPorts(
    #[serde(deserialize_with = "parse_at_most::<_, _, MAX_OPEN_PORTS>")] pub Vec<OpenPort>,
);

/// One network interface.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    pub name: Shown<32>,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Shown<64>>,
    /// Whether it is switched on.
    pub up: bool,
    /// Its addresses, each with the length of its prefix, at most [`MAX_INTERFACE_ADDRESSES`].
    #[serde(deserialize_with = "parse_at_most::<_, _, MAX_INTERFACE_ADDRESSES>")]
    pub addresses: Vec<Shown<64>>,
}

/// One listening socket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenPort {
    /// How it is spoken to.
    pub protocol: Transport,
    /// The port.
    pub port: u16,
    /// The address it listens on.
    pub address: Shown<64>,
    /// Who listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Shown<64>>,
}

/// How a port is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// By connections.
    Tcp,
    /// By datagrams.
    Udp,
}

/// Updates that wait to be installed, as far as the host's own lists know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingUpdates {
    /// Packages for which there is a newer version.
    pub total: u32,
    /// Those of them whose newer version comes from a source of security updates.
    pub security: u32,
    /// When the lists were fetched, in seconds since 1970; nothing newer is known.
    pub lists_at: i64,
}

/// A program against malicious software.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Antivirus {
    /// Its name.
    pub name: Shown<64>,
    /// Whether its service runs.
    pub running: bool,
    /// When its signatures were last brought up to date, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures_at: Option<i64>,
}

/// How a clock is kept right.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSync {
    /// The service that keeps it.
    pub source: Shown<64>,
    /// Whether it has set the clock by a source it trusts; absent when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synchronized: Option<bool>,
}
