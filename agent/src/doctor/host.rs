//! Checks of the host itself: state, key, disk, packet filter, limits of inotify, log files,
//! processes.
//! It asks nobody over a network.

use std::fs;
use std::io;
use std::path::Path;

use super::Finding;
use crate::collect::audit;
use crate::collect::journal;
use crate::collect::kernel_log::{self, Journald};
use crate::collect::log_file;
use crate::collect::log_sources::{list_doubles, list_well_known};
use crate::collect::process::{CANNOT_SEE, CANNOT_SEE_BY_LOOKING, Connector};
use crate::collect::sockets;
use crate::collect::source_board::Standing;
use crate::config::{AuditMode, Config, FirewallMode, JournalMode, KernelLogMode, ProcessMode};
use crate::error_chain::chain;
use crate::file_watch::{self, FILE_ACTORS};
use crate::firewall::{BackEnd, Firewall as _, HostFirewall};
use crate::identity::Identity;
use crate::link::LinkState;
use crate::report::{ReportError, read_status};
use crate::state_dir::StateView;

/// Fewer watches than this do not carry 1,000 paths and the directories above them.
const MIN_WATCHES: u64 = 8_192;

/// The agent opens a few; with fewer than this per user the next program takes the last.
const MIN_INSTANCES: u64 = 16;

/// Several times what the agent keeps: ledger, key and status.
const MIN_FREE_BYTES: u64 = 64 * 1024 * 1024;

pub(super) fn check_state(config: &Config) -> Finding {
    let name = "state";
    let path = &config.state_dir;
    if !path.exists() {
        let found = format!("{} will be made by the first run", path.display());
        return Finding::well(name, found);
    }
    match StateView::open(path) {
        Ok(_) => Finding::well(name, format!("{} is private", path.display())),
        Err(error) => Finding::wrong(
            name,
            chain(&error),
            format!(
                "make it the agent's alone: chown -R hidps-agent: {0} && chmod 700 {0}",
                path.display()
            ),
        ),
    }
}

pub(super) fn check_key(config: &Config) -> Finding {
    let name = "key";
    let Ok(state) = StateView::open(&config.state_dir) else {
        return Finding::well(name, "none yet; the first run makes it");
    };
    match Identity::load(&state) {
        Ok(Some(identity)) => {
            Finding::well(name, format!("the public key is {}", identity.public_key()))
        }
        Ok(None) => Finding::well(name, "none yet; the first run makes it"),
        Err(error) => Finding::wrong(
            name,
            chain(&error),
            "restore it from a backup, or remove it, start the agent and let an admin approve it",
        ),
    }
}

/// What the running agent was told last; only its own attempts say whether the daemon takes it.
pub(super) fn check_link(config: &Config) -> Finding {
    let name = "link";
    let none = "none; the agent does not run";
    let status = match read_status(config) {
        Ok(status) => status,
        Err(ReportError::State(error)) if error.is_absence() => return Finding::well(name, none),
        Err(ReportError::NoStatus) if !is_running(config) => return Finding::well(name, none),
        Err(error) => {
            return Finding::wrong(
                name,
                chain(&error),
                "ask as root; if it stays, restart the agent: systemctl restart hidps-agent",
            );
        }
    };
    if !status.running {
        return Finding::well(name, none);
    }
    let found = format!("{}, since {}", status.link, status.written_at);
    // It writes when there is something new, so that an old status may be true still.
    let is_gone = |process: &u32| !Path::new(&format!("/proc/{process}")).exists();
    if let Some(process) = status.process.filter(is_gone) {
        return Finding::wrong(
            name,
            format!("process {process}, which is gone, said last: {found}"),
            "the running agent cannot write its status; look at the disk of its state directory",
        );
    }
    match status.link {
        LinkState::Starting | LinkState::Connected { .. } => Finding::well(name, found),
        LinkState::WaitingForApproval => Finding::wrong(
            name,
            found,
            "approve it, or give it an enrollment token: install.sh --token-file",
        ),
        LinkState::Waiting { .. } => {
            Finding::wrong(name, found, "mend what it names; the agent goes on trying")
        }
    }
}

/// Whether an agent runs, or that cannot be told.
fn is_running(config: &Config) -> bool {
    let asked = StateView::open(&config.state_dir).and_then(|state| state.is_in_use());
    asked.unwrap_or(true)
}

pub(super) fn check_space(config: &Config) -> Finding {
    let name = "disk";
    let mut place: &Path = &config.state_dir;
    while !place.exists() {
        match place.parent() {
            Some(parent) => place = parent,
            None => break,
        }
    }
    let shown = config.state_dir.display();
    let found = match rustix::fs::statvfs(place) {
        Ok(found) => found,
        Err(error) => {
            let found = format!("the disk of {shown} cannot be asked: {error}");
            return Finding::wrong(name, found, "check the path and its mounts");
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let mebibytes = free >> 20;
    let has_files = found.f_files == 0 || found.f_favail > 0;
    if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let found = format!("the disk of {shown} is mounted read-only");
        return Finding::wrong(name, found, "mount it writable; dmesg says why it is not");
    }
    if free < MIN_FREE_BYTES || !has_files {
        let found = format!("{mebibytes} MiB are free for {shown}");
        return Finding::wrong(
            name,
            found,
            "free some space, or the last state is not kept",
        );
    }
    Finding::well(name, format!("{mebibytes} MiB are free for {shown}"))
}

pub(super) async fn check_firewall(config: &Config) -> Finding {
    let name = "firewall";
    let firewall = HostFirewall::new(config);
    let (tool, share) = match firewall.back_end() {
        Some(BackEnd::Ufw) => ("ufw", "the agent's rules in it are"),
        Some(BackEnd::Nftables) | None => ("nft", "the agent's table is"),
    };
    match (firewall.is_active().await, config.firewall) {
        (Ok(true), _) => Finding::well(name, format!("{tool} works; {share} loaded")),
        (Ok(false), _) => Finding::well(name, format!("{tool} works; {share} absent")),
        (Err(error), FirewallMode::Observe) => {
            let found = format!("it is only observed, and cannot be: {}", chain(&error));
            Finding::well(name, found)
        }
        (Err(error), FirewallMode::Ufw) => Finding::wrong(
            name,
            chain(&error),
            "install ufw, or set firewall = \"auto\"",
        ),
        (Err(error), FirewallMode::Auto | FirewallMode::Nftables) => Finding::wrong(
            name,
            chain(&error),
            "install nftables, or set firewall = \"observe\"",
        ),
    }
}

pub(super) fn check_watches() -> Finding {
    check_limit("inotify", "max_user_watches", MIN_WATCHES)
}

pub(super) fn check_instances() -> Finding {
    check_limit("instances", "max_user_instances", MIN_INSTANCES)
}

/// Whether it is known who changes watched files: to the running agent if there is one, which may
/// not be allowed what whoever asks is.
pub(super) fn check_who(config: &Config) -> Finding {
    let name = "fanotify";
    let status = read_status(config).ok().filter(|status| status.running);
    let Some(status) = status else {
        let found = match file_watch::check_who() {
            Ok(()) => "fanotify would tell an agent started by this user who changes watched files"
                .to_owned(),
            Err(error) => format!(
                "inotify tells what changes, and nobody who did it: fanotify says {error} to an \
                 agent started by this user; it takes CAP_SYS_ADMIN, which install.sh \
                 --with-file-actors gives"
            ),
        };
        return Finding::well(name, found);
    };
    let source = status.sources.iter().find(|it| it.name == FILE_ACTORS);
    let found = match source.map(|source| (source.state.standing, &source.state.how)) {
        Some((Standing::Read, _)) => {
            "fanotify tells the running agent who changes watched files".to_owned()
        }
        Some((_, how)) => {
            format!("inotify tells the running agent what changes, and nobody who did it: {how}")
        }
        None => "the running agent watches no files yet".to_owned(),
    };
    Finding::well(name, found)
}

fn check_limit(name: &'static str, setting: &str, least: u64) -> Finding {
    let path = format!("/proc/sys/fs/inotify/{setting}");
    let limit = fs::read_to_string(&path).ok();
    match limit.and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(limit) if limit >= least => {
            Finding::well(name, format!("fs.inotify.{setting} is {limit}"))
        }
        Some(limit) => Finding::wrong(
            name,
            format!("fs.inotify.{setting} is {limit}, which is not enough"),
            format!("run: sysctl fs.inotify.{setting}={least}"),
        ),
        None => Finding::wrong(
            name,
            format!("{path} cannot be read"),
            "the kernel may lack inotify; no file is watched without it",
        ),
    }
}

/// Whether the kernel's log is read.
pub(super) fn check_kernel_log(config: &Config) -> Finding {
    let name = "kernel log";
    if config.logs.kernel_log == KernelLogMode::Off {
        return Finding::well(name, "not read, as kernel_log = \"off\"");
    }
    let has_journal = config.logs.journal == JournalMode::Auto && journal::check_readable().is_ok();
    let is_asked_for = config.logs.kernel_log == KernelLogMode::On;
    if has_journal && !is_asked_for && kernel_log::look_at_journald() == Journald::Reads {
        return Finding::well(name, "the journal tells it, for journald reads /dev/kmsg");
    }
    match kernel_log::check_readable() {
        Ok(()) => Finding::well(
            name,
            format!(
                "it can be read; not to be seen in it: {}",
                kernel_log::CANNOT_SEE
            ),
        ),
        Err(error) if kernel_log::is_absence(&error) && !is_asked_for => {
            Finding::well(name, format!("this host has none: /dev/kmsg: {error}"))
        }
        Err(error) => Finding::wrong(
            name,
            format!("it cannot be read: {error}"),
            "give the agent CAP_SYSLOG, as its unit does, or set kernel_log = \"off\"",
        ),
    }
}

/// How the kernel's audit can be read.
pub(super) fn check_audit(config: &Config) -> Finding {
    let name = "audit";
    if config.logs.audit == AuditMode::Off {
        return Finding::well(name, "not read, as audit = \"off\"");
    }
    let found = |how: &str| format!("{how}; not to be seen in it: {}", audit::CANNOT_SEE);
    match audit::check_readable(Path::new("/")) {
        Ok(Some(log)) => Finding::well(name, found(&format!("read from {}", log.display()))),
        Ok(None) => Finding::well(name, found("the kernel tells what it records")),
        Err(error) if config.logs.audit == AuditMode::On => Finding::wrong(
            name,
            chain(&error),
            "start the agent by its unit, which gives it CAP_AUDIT_READ, or set audit = \"auto\"",
        ),
        Err(error) => Finding::well(name, format!("not read: {}", chain(&error))),
    }
}

/// Whether there is a journal, and what takes its place.
pub(super) fn check_journal(config: &Config) -> Finding {
    let name = "journal";
    if config.logs.journal == JournalMode::Off {
        return Finding::well(name, "not read, as journal = \"off\"");
    }
    match (
        journal::check_readable(),
        list_doubles(&config.logs.files).first(),
    ) {
        (Ok(()), None) => Finding::well(
            name,
            format!(
                "it can be read; not to be seen in it: {}",
                journal::CANNOT_SEE
            ),
        ),
        (Ok(()), Some(double)) => Finding::wrong(
            name,
            format!("its lines are in {} as well", double.display()),
            "they are counted twice; take that file out of the configuration",
        ),
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
            let n_files = list_well_known().len();
            Finding::well(
                name,
                format!("{error}; {n_files} log file(s) take its place"),
            )
        }
        (Err(error), _) => Finding::wrong(
            name,
            format!("it cannot be read: {error}"),
            "log files take its place; give the agent CAP_DAC_READ_SEARCH, as its unit does",
        ),
    }
}

pub(super) fn check_log_files(config: &Config) -> Finding {
    let name = "log files";
    let unreadable: Vec<_> = config
        .logs
        .files
        .iter()
        .filter_map(|source| {
            let error = fs::File::open(&source.path).err()?;
            Some(format!("{} cannot be read: {error}", source.path.display()))
        })
        .collect();
    if unreadable.is_empty() {
        let n_files = config.logs.files.len();
        let found = match n_files {
            0 => "none of one's own".to_owned(),
            _ => format!(
                "{n_files} to follow; not to be seen: {}",
                log_file::CANNOT_SEE
            ),
        };
        return Finding::well(name, found);
    }
    Finding::wrong(
        name,
        unreadable.join(", "),
        "they are followed once they can be read; take out of the configuration what is not there",
    )
}

pub(super) fn check_network(config: &Config) -> Finding {
    let found = match config.network_interval {
        Some(interval) => format!(
            "sockets are looked at every {} s; not seen: {}",
            interval.as_secs(),
            sockets::CANNOT_SEE
        ),
        None => "not watched".to_owned(),
    };
    Finding::well("network", found)
}

pub(super) fn check_processes(config: &Config) -> Finding {
    let name = "processes";
    let by_looking = format!("seen by looking; not seen: {CANNOT_SEE_BY_LOOKING}");
    let mode = config.processes.mode;
    match mode {
        ProcessMode::Off => return Finding::well(name, "not watched".to_owned()),
        ProcessMode::Poll => return Finding::well(name, by_looking),
        ProcessMode::Auto | ProcessMode::Connector => {}
    }
    match Connector::open() {
        Ok(_) => Finding::well(name, format!("told by the kernel; not seen: {CANNOT_SEE}")),
        Err(error) if mode == ProcessMode::Auto => {
            Finding::well(name, format!("{by_looking} ({})", chain(&error)))
        }
        Err(error) => Finding::wrong(name, chain(&error), "or set processes = \"auto\""),
    }
}
