//! What the tests and the local stack need on a machine, as one table.
//! It never searches or installs.

use super::search::Search;

/// A program, or a family of them, that something here cannot do without.
pub(crate) struct Requirement {
    /// What people call it.
    pub(crate) name: &'static str,
    /// What does not work without it.
    pub(crate) purpose: &'static str,
    /// How it is found.
    pub(crate) search: Search,
    /// Packages of Debian and Ubuntu that bring it; none where theirs is too old for us.
    pub(crate) debian_packages: &'static [&'static str],
    /// The command that installs it.
    pub(crate) remedy: &'static str,
    /// Who is stopped by its absence.
    pub(crate) need: Need,
}

/// Who is stopped by the absence of a program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Everybody.
    Always,
    /// Root: others could not use it anyway.
    ByRoot,
    /// Nobody.
    Optional,
}

/// Everything needed, in the order in which it is reported.
pub(crate) const REQUIREMENTS: [Requirement; 11] = [
    Requirement {
        name: "PostgreSQL >= 15",
        purpose: "the database of the local stack",
        search: Search::Postgres,
        debian_packages: &["postgresql"],
        remedy: "sudo apt-get install -y postgresql",
        need: Need::Always,
    },
    Requirement {
        name: "node >= 20",
        purpose: "REST and Auth of the local stack, and the official clients in tests",
        search: Search::Version {
            program: "node",
            minimum: 20,
        },
        debian_packages: &[], // Debian 12 has 18
        remedy: "install the current LTS from https://nodejs.org/en/download",
        need: Need::Always,
    },
    Requirement {
        name: "npm",
        purpose: "installs the pinned packages of the local stack",
        search: Search::Program("npm"),
        debian_packages: &[], // it comes with node, and Debian's pulls in Debian's node
        remedy: "it comes with node: https://nodejs.org/en/download",
        need: Need::Always,
    },
    Requirement {
        name: "nft",
        purpose: "the agent's firewall",
        search: Search::Program("nft"),
        debian_packages: &["nftables"],
        remedy: "sudo apt-get install -y nftables",
        need: Need::ByRoot,
    },
    Requirement {
        name: "ufw",
        purpose: "the agent's firewall on hosts that ufw rules",
        search: Search::Program("ufw"),
        debian_packages: &["ufw"],
        remedy: "sudo apt-get install -y ufw",
        need: Need::ByRoot,
    },
    Requirement {
        name: "ip",
        purpose: "network namespaces for agents",
        search: Search::Program("ip"),
        debian_packages: &["iproute2"],
        remedy: "sudo apt-get install -y iproute2",
        need: Need::ByRoot,
    },
    Requirement {
        name: "sshd",
        purpose: "real failed logins",
        search: Search::Program("sshd"),
        debian_packages: &["openssh-server"],
        remedy: "sudo apt-get install -y openssh-server",
        need: Need::ByRoot,
    },
    Requirement {
        name: "ssh",
        purpose: "real failed logins",
        search: Search::Program("ssh"),
        debian_packages: &["openssh-client"],
        remedy: "sudo apt-get install -y openssh-client",
        need: Need::ByRoot,
    },
    Requirement {
        name: "debootstrap",
        purpose: "a fresh Debian host to install the agent on",
        search: Search::Program("debootstrap"),
        debian_packages: &["debootstrap"],
        remedy: "sudo apt-get install -y debootstrap",
        need: Need::ByRoot,
    },
    Requirement {
        name: "shellcheck",
        purpose: "the tests of install.sh",
        search: Search::Program("shellcheck"),
        debian_packages: &["shellcheck"],
        remedy: "sudo apt-get install -y shellcheck",
        need: Need::ByRoot,
    },
    Requirement {
        name: "python3",
        purpose: "the official Python client in tests",
        search: Search::Program("python3"),
        debian_packages: &["python3", "python3-venv"],
        remedy: "sudo apt-get install -y python3 python3-venv",
        need: Need::Optional,
    },
];
