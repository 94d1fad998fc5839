//! Alerts on disk until they are rows: one file, one checksummed line per alert.
//! It never holds a log event; an alert's bounded evidence is all that a host said.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::model::Alert;
use crate::persistence::rows::AlertRow;
use crate::telemetry;

/// Largest spool in bytes: at half a kilobyte an alert, two hundred thousand of them, far beyond
/// what a storm of the worst kind leaves after grouping.
const MAX_BYTES: u64 = 100 * 1024 * 1024;

/// Why an alert could not be kept on disk.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The directory or file cannot be used.
    #[error("the alert spool {path} cannot be {act}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        act: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The spool has reached its bound.
    #[error("the alert spool is full at {MAX_BYTES} bytes")]
    Full,
}

/// The spool file.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Spool {
    /// Opens the spool in a directory and gives the alerts that an earlier run left in it.
    ///
    /// # Errors
    /// When the directory cannot be made or the file not be read or written.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Alert>), SpoolError> {
        let path = directory.join("alerts.spool");
        let fault = |act| {
            let path = path.clone();
            move |source| SpoolError::Io { path, act, source }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(fault("created"))?;
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(fault("read")(error)),
        };
        let mut waiting = Vec::new();
        let mut damaged = String::new();
        for line in text.lines() {
            match parse_line(line) {
                Some(alert) => waiting.push(alert),
                None => damaged = damaged + line + "\n",
            }
        }
        set_aside(&path, &damaged).map_err(fault("set aside"))?;
        let file = open_private(&path).map_err(fault("opened"))?;
        let mut spool = Self {
            path,
            file,
            bytes: text.len() as u64,
        };
        spool.rewrite(waiting.iter())?;
        Ok((spool, waiting))
    }

    /// Adds alerts and waits, once, until they are on disk.
    ///
    /// # Errors
    /// When the disk refuses or the bound is reached; the alert is then only in memory.
    pub fn append(&mut self, alerts: &[Alert]) -> Result<(), SpoolError> {
        if self.bytes >= MAX_BYTES {
            return Err(SpoolError::Full);
        }
        let lines: String = alerts.iter().map(format_line).collect();
        let written = self
            .file
            .write_all(lines.as_bytes())
            .and_then(|()| self.file.sync_data());
        written.map_err(|source| self.fault("written", source))?;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// Replaces the content, in one step, by the alerts that still wait.
    ///
    /// # Errors
    /// When the disk refuses; the old content then stays.
    pub fn rewrite<'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a Alert>,
    ) -> Result<(), SpoolError> {
        let text: String = waiting.map(format_line).collect();
        let next = self.path.with_extension("next");
        let replaced = (|| {
            let mut file = OpenOptions::new()
                .create(true)
                .write(true)
                .truncate(true)
                .mode(0o600)
                .open(&next)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            fs::rename(&next, &self.path)?;
            open_private(&self.path)
        })();
        self.file = replaced.map_err(|source| self.fault("rewritten", source))?;
        self.bytes = text.len() as u64;
        Ok(())
    }

    /// Bytes in the file now.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn fault(&self, act: &'static str, source: io::Error) -> SpoolError {
        SpoolError::Io {
            path: self.path.clone(),
            act,
            source,
        }
    }
}

fn format_line(alert: &Alert) -> String {
    let row = AlertRow::from(alert.clone());
    let json = serde_json::to_string(&row).expect("an alert row always has a JSON form");
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

/// Opens a file for adding to it; only its owner may read what hosts said.
fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Keeps lines that cannot be read, for a person or an older program, and counts them.
fn set_aside(spool: &Path, damaged: &str) -> io::Result<()> {
    if damaged.is_empty() {
        return Ok(());
    }
    let (path, lines) = (spool.with_extension("damaged"), damaged.lines().count());
    tracing::error!(
        lines,
        ?path,
        "damaged lines of the alert spool were set aside"
    );
    metrics::counter!(telemetry::WRITES, "kind" => "alert", "result" => "damaged")
        .increment(lines as u64);
    open_private(&path)?.write_all(damaged.as_bytes())
}

/// An alert from a line whose checksum holds.
fn parse_line(line: &str) -> Option<Alert> {
    let (checksum, json) = line.split_once(' ')?;
    let expected = u32::from_str_radix(checksum, 16).ok()?;
    let row: Option<AlertRow> = serde_json::from_str(json).ok();
    let intact = crc32fast::hash(json.as_bytes()) == expected;
    row.filter(|_| intact).map(Alert::from)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::persistence::outbox::sample_alert;

    #[test]
    fn alerts_survive_a_restart_and_a_torn_last_line() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (mut spool, _) = Spool::open(folder.path()).expect("the spool opens");
        let alerts = [
            sample_alert(Uuid::from_u128(1)),
            sample_alert(Uuid::from_u128(2)),
        ];
        spool.append(&alerts).expect("the disk takes it");
        let path = folder.path().join("alerts.spool");
        let bytes = fs::read(&path).expect("the file is there");
        fs::write(&path, &bytes[..bytes.len() - 7]).expect("the file can be cut");

        let (_, waiting) = Spool::open(folder.path()).expect("the spool opens again");

        assert_eq!(waiting, alerts[..1]);
        let kept = fs::read_to_string(folder.path().join("alerts.damaged"));
        assert_eq!(kept.expect("the torn line is set aside").lines().count(), 1);
    }

    #[test]
    fn written_alerts_leave_the_spool() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (mut spool, _) = Spool::open(folder.path()).expect("the spool opens");
        spool
            .append(&[sample_alert(Uuid::from_u128(1))])
            .expect("the disk takes it");

        spool
            .rewrite(std::iter::empty())
            .expect("the disk takes it");

        let (_, waiting) = Spool::open(folder.path()).expect("the spool opens again");
        assert!(waiting.is_empty());
    }
}
