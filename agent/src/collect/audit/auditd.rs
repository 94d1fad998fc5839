//! Whether auditd runs on a host and where it writes its log.
//! It never talks to auditd.

use std::fs;
use std::path::{Path, PathBuf};

use crate::collect::process::parse_users;

/// Where auditd says which process it is.
const PROCESS: &str = "run/auditd.pid";

/// Where it is told what to do.
const CONFIG: &str = "etc/audit/auditd.conf";

/// Where it writes unless told otherwise.
const DEFAULT_LOG: &str = "/var/log/audit/audit.log";

/// The log of an auditd that runs and writes one, whether or not it is there and can be read.
pub(super) fn find_log(root: &Path) -> Option<PathBuf> {
    let process: u32 = fs::read_to_string(root.join(PROCESS))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    // A file that is left over may name any process, and a person's may have any name.
    let process = root.join(format!("proc/{process}"));
    let name = fs::read_to_string(process.join("comm")).ok()?;
    let status = fs::read(process.join("status")).unwrap_or_default();
    let is_roots = parse_users(&String::from_utf8_lossy(&status)).is_none_or(|(real, _)| real == 0);
    if name.trim_end() != "auditd" || !is_roots {
        return None;
    }
    let config = fs::read_to_string(root.join(CONFIG)).unwrap_or_default();
    let path = log_of(&config)?;
    Some(root.join(path.strip_prefix("/").ok()?))
}

/// Where a configuration has auditd write; none where it does not.
pub(super) fn log_of(config: &str) -> Option<PathBuf> {
    let setting = |name: &str| {
        let lines = config
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        let mut settings = lines.filter_map(|line| line.split_once('='));
        let found = settings.find(|(known, _)| known.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    let is_written = setting("write_logs").is_none_or(|value| !value.eq_ignore_ascii_case("no"));
    let path = Path::new(setting("log_file").unwrap_or(DEFAULT_LOG));
    (is_written && path.is_absolute()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_of_a_person_under_the_number_that_auditd_had_is_not_auditd() {
        let host = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = host.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("run/auditd.pid", "77\n");
        write("proc/77/comm", "auditd\n");

        write("proc/77/status", "Name:\tauditd\nUid:\t1000\t0\t0\t0\n");
        let of_a_person = find_log(host.path());
        write("proc/77/status", "Name:\tauditd\nUid:\t0\t0\t0\t0\n");
        let of_root = find_log(host.path());

        assert_eq!((of_a_person.is_some(), of_root.is_some()), (false, true));
    }

    #[test]
    fn auditd_writes_where_its_configuration_says() {
        let of = |config: &str| log_of(config).map(|path| path.display().to_string());

        assert_eq!(of("").as_deref(), Some(DEFAULT_LOG));
        let config = "# log_file = /no\nlocal_events = yes\nLog_File = /srv/a.log # here\n";
        assert_eq!(of(config).as_deref(), Some("/srv/a.log"));
        assert_eq!(of("write_logs = NO\n"), None);
        assert_eq!(of("log_file = a.log\n"), None);
    }
}
