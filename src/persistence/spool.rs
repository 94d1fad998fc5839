//! Alerts on disk until they are rows: one file, one checksummed line per alert.
//! It never holds a log event; an alert's bounded evidence is all that a host said.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::model::Alert;
use crate::persistence::rows::AlertRow;

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
        fs::create_dir_all(directory).map_err(fault("created"))?;
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(fault("read")(error)),
        };
        let waiting: Vec<Alert> = text.lines().filter_map(parse_line).collect();
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .append(true)
            .open(&path)
            .map_err(fault("opened"))?;
        let mut spool = Self {
            path,
            file,
            bytes: text.len() as u64,
        };
        spool.rewrite(waiting.iter())?;
        Ok((spool, waiting))
    }

    /// Adds an alert and waits until it is on disk.
    ///
    /// # Errors
    /// When the disk refuses or the bound is reached; the alert is then only in memory.
    pub fn append(&mut self, alert: &Alert) -> Result<(), SpoolError> {
        if self.bytes >= MAX_BYTES {
            return Err(SpoolError::Full);
        }
        let line = format_line(alert);
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data());
        written.map_err(|source| self.fault("written", source))?;
        self.bytes += line.len() as u64;
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
            let mut file = File::create(&next)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            fs::rename(&next, &self.path)?;
            OpenOptions::new().append(true).open(&self.path)
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

/// An alert from a line whose checksum holds; a torn or damaged line is left out.
fn parse_line(line: &str) -> Option<Alert> {
    let (checksum, json) = line.split_once(' ')?;
    let expected = u32::from_str_radix(checksum, 16).ok()?;
    let row: Option<AlertRow> = serde_json::from_str(json).ok();
    let intact = crc32fast::hash(json.as_bytes()) == expected;
    if !intact || row.is_none() {
        tracing::warn!(
            bytes = line.len(),
            "a damaged line of the alert spool was left out"
        );
    }
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
        for alert in &alerts {
            spool.append(alert).expect("the disk takes it");
        }
        let path = folder.path().join("alerts.spool");
        let bytes = fs::read(&path).expect("the file is there");
        fs::write(&path, &bytes[..bytes.len() - 7]).expect("the file can be cut");

        let (_, waiting) = Spool::open(folder.path()).expect("the spool opens again");

        assert_eq!(waiting, alerts[..1]);
    }

    #[test]
    fn written_alerts_leave_the_spool() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (mut spool, _) = Spool::open(folder.path()).expect("the spool opens");
        spool
            .append(&sample_alert(Uuid::from_u128(1)))
            .expect("the disk takes it");

        spool
            .rewrite(std::iter::empty())
            .expect("the disk takes it");

        let (_, waiting) = Spool::open(folder.path()).expect("the spool opens again");
        assert!(waiting.is_empty());
    }
}
