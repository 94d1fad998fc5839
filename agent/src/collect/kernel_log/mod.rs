//! The kernel's log as a source of lines, for hosts without a journal that has them.
//! It writes nothing to it, and tells no record twice.

mod journald;
mod record;
mod source;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::line_sink::LineSink;
use super::positions::{Position, Positions};
use crate::normalize::{JournalEntry, normalize_entry};
use crate::shutdown::Shutdown;
pub use journald::Journald;
use journald::JournaldLook;
use record::{Record, parse_record};
pub use source::{KernelSource, leave};

/// What reading the kernel's log cannot see.
pub const CANNOT_SEE: &str = "messages that the kernel overwrote before they were read, which are \
                              counted, and those of its packet filter in other network \
                              namespaces unless net.netfilter.nf_log_all_netns is 1";

/// The name of this source, where losses are counted and among the positions.
const SOURCE: &str = "kernel log";

const DEVICE: &str = "/dev/kmsg";

/// The kernel gives one record at a time, and none is longer.
const RECORD_BYTES: usize = 8_192;

/// Records told before others get their turn.
const TURN_RECORDS: usize = 256;

/// Where reading has got to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KernelPosition {
    /// The boot, as the kernel numbers it.
    boot: String,
    /// The last record.
    number: u64,
}

/// The kernel's log.
pub struct KernelLog {
    device: AsyncFd<File>,
    boot: String,
    /// The last record that was told, or passed over.
    last: Option<u64>,
    booted: Timestamp,
    sink: Arc<LineSink>,
    positions: Arc<Positions>,
}

/// What came of a read.
enum Next {
    Record(Record),
    /// Something else, or a hole that the next record's number tells.
    Nothing,
    /// There is no more now.
    End,
}

impl KernelLog {
    /// Opens the log behind what an earlier run has told: at its end when nothing is known, at its
    /// beginning after a boot.
    ///
    /// # Errors
    /// Says why it cannot be read.
    pub fn open(sink: Arc<LineSink>, positions: Arc<Positions>) -> io::Result<Self> {
        let mut device = open_device()?;
        let boot = read_boot()?;
        let last = match positions.last(SOURCE) {
            Some(Position::Kernel(position)) if position.boot == boot => Some(position.number),
            Some(Position::Kernel(_)) => None,
            None | Some(Position::File(_) | Position::Journal(_)) => {
                device.seek(SeekFrom::End(0))?;
                None
            }
        };
        Ok(Self {
            device: register(device)?,
            boot,
            last,
            booted: boot_time()?,
            sink,
            positions,
        })
    }

    /// Reads it until the agent ends.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        loop {
            let wake = async {
                if self.read_new() {
                    tokio::task::yield_now().await;
                    return Ok(());
                }
                // The next read says whether it was for nothing.
                self.device
                    .readable()
                    .await
                    .map(|mut ready| ready.clear_ready())
            };
            let woken = tokio::select! {
                woken = wake => woken,
                () = shutdown.requested() => return,
            };
            if let Err(error) = woken {
                tracing::warn!(%error, "the kernel's log cannot be waited for and is not read");
                return shutdown.requested().await;
            }
        }
    }

    /// Tells what is new; true when there may be more at once.
    fn read_new(&mut self) -> bool {
        let before = self.last;
        let mut more = true;
        for _ in 0..TURN_RECORDS {
            match self.read_one() {
                Next::Record(record) => self.tell(record),
                Next::Nothing => {}
                Next::End => {
                    more = false;
                    break;
                }
            }
        }
        if self.last != before
            && let Some(number) = self.last
        {
            let boot = self.boot.clone();
            let position = Position::Kernel(KernelPosition { boot, number });
            self.positions.reached(SOURCE, position);
        }
        more
    }

    fn read_one(&self) -> Next {
        let mut buffer = [0; RECORD_BYTES];
        match self.device.get_ref().read(&mut buffer) {
            Ok(n_read) => {
                let record = buffer.get(..n_read).and_then(parse_record);
                record.map_or(
                    if n_read == 0 {
                        Next::End
                    } else {
                        Next::Nothing
                    },
                    Next::Record,
                )
            }
            // It was overwritten; the next read gives the oldest that is left.
            Err(error) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => Next::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Next::Nothing,
            Err(_) => Next::End,
        }
    }

    fn tell(&mut self, record: Record) {
        if self.last.is_some_and(|last| record.number <= last) {
            return;
        }
        let lost = self.last.map_or(0, |last| record.number - last - 1);
        if lost > 0 {
            let why = "the kernel overwrote them before they could be read";
            self.sink.count_lost(SOURCE, Some(lost), why.to_owned());
        }
        self.last = Some(record.number);
        let micros = i64::try_from(record.micros).unwrap_or(i64::MAX);
        let now = Timestamp::now();
        let time = self.booted.checked_add(SignedDuration::from_micros(micros));
        let entry = JournalEntry {
            message: &record.text,
            identifier: (!record.is_kernels).then_some("kmsg"),
            // Only root may write to the device.
            uid: (!record.is_kernels).then_some(0),
            is_kernel: record.is_kernels,
            // The kernel's clock stands still while the host sleeps, and runs a little apart.
            time: time.unwrap_or(now).min(now),
            ..JournalEntry::default()
        };
        self.sink.push_kernel(normalize_entry(&entry));
    }
}

/// Reads a record, for a fuzzer: what it says, if it is one.
#[must_use]
pub fn read_any(bytes: &[u8]) -> Option<String> {
    parse_record(bytes).map(|record| record.text)
}

/// Looks whether the log can be read.
///
/// # Errors
/// Says why it cannot.
pub fn check_readable() -> io::Result<()> {
    open_device().map(drop)
}

/// Looks whether the host's journald reads the log.
#[must_use]
pub fn look_at_journald() -> Journald {
    JournaldLook::new(Path::new("/proc")).look()
}

/// Whether the host has no such log: a container often has none, or a file in its place.
#[must_use]
pub fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// The boot, as the kernel numbers it.
fn read_boot() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(boot.trim().to_owned())
}

#[expect(
    deprecated,
    reason = "what takes its place asks for a promise about descriptors that a file keeps by itself"
)]
fn register(device: File) -> io::Result<AsyncFd<File>> {
    AsyncFd::with_interest(device, Interest::READABLE)
}

fn open_device() -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let device = File::options()
        .read(true)
        .custom_flags(flags)
        .open(DEVICE)?;
    if !device.metadata()?.file_type().is_char_device() {
        let kind = io::ErrorKind::NotFound;
        return Err(io::Error::new(kind, "it is not the kernel's device"));
    }
    Ok(device)
}

/// When the host was booted.
fn boot_time() -> io::Result<Timestamp> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds: Option<f64> = uptime.split(' ').next().and_then(|text| text.parse().ok());
    let odd = || io::Error::other("/proc/uptime holds no time");
    let uptime = SignedDuration::try_from_secs_f64(seconds.ok_or_else(odd)?).map_err(|_| odd())?;
    Timestamp::now().checked_sub(uptime).map_err(|_| odd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::source_board::SourceBoard;
    use crate::event_queue::{EventQueue, RingLimits};
    use crate::state_dir::StateDir;
    use hidps_wire::{EventBatch, LogEvent, MAX_AGENT_FRAME_BYTES, decode};
    use std::io::Write as _;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A run of the source over the machine's own log; none where this process may not read it.
    fn start(state: &StateDir) -> Option<(KernelLog, Arc<EventQueue>, Arc<Positions>)> {
        let limits = RingLimits {
            events: 100_000,
            bytes: 64 * 1024 * 1024,
        };
        let events = Arc::new(EventQueue::new(limits));
        events.on_connected(u32::MAX);
        let positions = Arc::new(Positions::load(state.clone(), Arc::clone(&events)));
        let (sink, _counts) = LineSink::new(Arc::clone(&events), SourceBoard::new().0);
        let log = KernelLog::open(sink, Arc::clone(&positions)).ok()?;
        Some((log, events, positions))
    }

    async fn take_until(events: &EventQueue, end: &str) -> Vec<LogEvent<'static>> {
        let mut taken: Vec<LogEvent<'static>> = Vec::new();
        while taken
            .last()
            .is_none_or(|event| event.message.as_str() != end)
        {
            let batch = tokio::time::timeout(DEADLINE, events.next_batch()).await;
            let batch = batch.expect("the events come");
            let decoded: EventBatch<'_> = decode(&batch.text, MAX_AGENT_FRAME_BYTES).unwrap();
            for event in decoded.events {
                let is_end = event.message.as_str() == end;
                taken.push(event.into_owned());
                if is_end {
                    break;
                }
            }
            events.on_acknowledged(batch.seq, u32::MAX);
        }
        taken
    }

    fn write(text: &str) {
        let mut device = File::options().write(true).open(DEVICE).unwrap();
        // Without an end the kernel waits for the rest of the line.
        device.write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    #[tokio::test]
    async fn the_machines_own_log_is_told_once_over_restarts_and_whole_after_a_boot() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::open(&directory.path().join("state")).unwrap();
        let Some((mut log, events, positions)) = start(&state) else {
            hidps_lab::say_skipped("the kernel's log", &"only root may read /dev/kmsg");
            return;
        };
        let mark = |name: &str| format!("hidps test {name} {}", std::process::id());
        write(&mark("one"));
        while log.read_new() {}
        let first = take_until(&events, &mark("one")).await;
        positions.save();

        write(&mark("two"));
        let (mut log, events, positions) = start(&state).unwrap();
        while log.read_new() {}
        let second = take_until(&events, &mark("two")).await;
        positions.save();

        let text = r#"{"kernel log":{"kernel":{"boot":"another","number":1000000000}}}"#;
        state.write("positions.json", text.as_bytes()).unwrap();
        let (mut log, events, _positions) = start(&state).unwrap();
        while log.read_new() {}
        let whole = take_until(&events, &mark("two")).await;

        let is_one = |event: &&LogEvent<'_>| event.message.as_str() == mark("one");
        assert_eq!(
            &*first.last().unwrap().service,
            "kmsg",
            "only the kernel is the kernel"
        );
        assert_eq!(second.iter().filter(is_one).count(), 0);
        assert_eq!(whole.iter().filter(is_one).count(), 1);
    }
}
