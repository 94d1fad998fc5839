//! Whether auditd runs on a host and where it writes its log.
//! It never talks to auditd.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Where auditd says which process it is.
const PROCESS: &str = "run/auditd.pid";

/// Where it is told what to do.
const CONFIG: &str = "etc/audit/auditd.conf";

/// Where it writes unless told otherwise.
const DEFAULT_LOG: &str = "/var/log/audit/audit.log";

/// The log of an auditd that runs and writes one that can be read.
pub(super) fn find_log(root: &Path) -> Option<PathBuf> {
    let process: u32 = fs::read_to_string(root.join(PROCESS))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    // A file that is left over may name any process.
    let name = fs::read_to_string(root.join(format!("proc/{process}/comm"))).ok()?;
    if name.trim_end() != "auditd" {
        return None;
    }
    let config = fs::read_to_string(root.join(CONFIG)).unwrap_or_default();
    let path = log_of(&config)?;
    let path = root.join(path.strip_prefix("/").ok()?);
    File::open(&path).is_ok().then_some(path)
}

/// Where a configuration has auditd write; none where it does not.
fn log_of(config: &str) -> Option<PathBuf> {
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
    fn auditd_writes_where_its_configuration_says() {
        let of = |config: &str| log_of(config).map(|path| path.display().to_string());

        assert_eq!(of("").as_deref(), Some(DEFAULT_LOG));
        let config = "# log_file = /no\nlocal_events = yes\nLog_File = /srv/a.log # here\n";
        assert_eq!(of(config).as_deref(), Some("/srv/a.log"));
        assert_eq!(of("write_logs = NO\n"), None);
        assert_eq!(of("log_file = a.log\n"), None);
    }
}
