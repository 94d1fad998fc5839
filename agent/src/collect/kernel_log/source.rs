//! When the kernel's log is read: always, or as soon as no journald is seen that reads it.
//! It never goes back to the journal within a boot, so that no line is missing and none comes twice.
//!
//! While the log itself is read, copies of its lines in the journal are left out. So beginning with it
//! can only be too late, never wrong; and a journald that is told to read it again begins far back,
//! with lines that were told already.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::journald::{Journald, JournaldLook};
use super::{CANNOT_SEE, KernelLog, SOURCE, is_absence, read_boot};
use crate::collect::line_sink::LineSink;
use crate::collect::positions::{Position, Positions};
use crate::collect::source_board::Standing;
use crate::shutdown::Shutdown;

/// How often journald is looked at: what the kernel says between its last word and a look is lost.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What is told where the journal has what the kernel says.
const BY_JOURNALD: &str = "the journal tells it, for journald reads /dev/kmsg";

/// The kernel's log as long as the agent runs.
pub struct KernelSource {
    log: Option<KernelLog>,
    journald: JournaldLook,
    /// Whether none was seen at the last look: one that is started anew is gone for a moment.
    was_absent: bool,
    /// Whether it was told that it cannot be read.
    has_failed: bool,
    sink: Arc<LineSink>,
    positions: Arc<Positions>,
}

impl KernelSource {
    /// The log where nothing else tells it; none where it cannot be read.
    #[must_use]
    pub fn alone(sink: &Arc<LineSink>, positions: &Arc<Positions>) -> Option<Self> {
        let mut source = Self::unread(Path::new("/proc"), sink, positions);
        source.open("from /dev/kmsg");
        source.log.is_some().then_some(source)
    }

    /// The log beside a journal, of whose journald the processes below a directory tell.
    #[must_use]
    pub fn beside_journal(proc: &Path, sink: &Arc<LineSink>, positions: &Arc<Positions>) -> Self {
        let mut source = Self::unread(proc, sink, positions);
        if is_begun(positions) {
            source.open("from /dev/kmsg, as it was begun with since the host was booted");
            return source;
        }
        match source.journald.look() {
            Journald::Reads => leave(sink, positions, BY_JOURNALD),
            Journald::Leaves => source.open(BESIDE),
            Journald::Absent => source.open(WITHOUT),
            Journald::Unseen(why) => source.open_unseen(&why),
        }
        source
    }

    fn unread(proc: &Path, sink: &Arc<LineSink>, positions: &Arc<Positions>) -> Self {
        Self {
            log: None,
            journald: JournaldLook::new(proc),
            was_absent: false,
            has_failed: false,
            sink: Arc::clone(sink),
            positions: Arc::clone(positions),
        }
    }

    /// Reads it until the agent ends, as soon as it has to be read.
    pub async fn run(mut self, mut shutdown: Shutdown) {
        loop {
            if let Some(log) = self.log.take() {
                return log.run(shutdown).await;
            }
            tokio::select! {
                () = sleep(LOOK_INTERVAL) => self.look(),
                () = shutdown.requested() => return,
            }
        }
    }

    /// Looks whether journald still reads it.
    fn look(&mut self) {
        let was_absent = std::mem::take(&mut self.was_absent);
        match self.journald.look() {
            Journald::Reads => leave(&self.sink, &self.positions, BY_JOURNALD),
            Journald::Leaves => self.open_late(BESIDE),
            Journald::Absent if was_absent => self.open_late(WITHOUT),
            Journald::Absent => self.was_absent = true,
            Journald::Unseen(_) => {}
        }
    }

    fn open_late(&mut self, how: &str) {
        self.open(how);
        if self.log.is_some() {
            let why = "journald ceased to read them, and what the kernel said until this was \
                       noticed is not known";
            self.sink.count_lost(SOURCE, None, why.to_owned());
        }
    }

    fn open(&mut self, how: &str) {
        if let Err(error) = self.begin(how) {
            let standing = if is_absence(&error) {
                Standing::Absent
            } else {
                Standing::Failed
            };
            self.tell(standing, &format!("/dev/kmsg: {error}"));
            if !std::mem::replace(&mut self.has_failed, true) {
                tracing::warn!(%error, "the kernel's log cannot be read; files may hold its messages");
            }
        }
    }

    /// Whoever may not see what journald holds open may seldom read the log, and need not.
    fn open_unseen(&mut self, why: &str) {
        let how = format!("from /dev/kmsg, as it cannot be seen whether journald reads it: {why}");
        if let Err(error) = self.begin(&how) {
            let how = format!(
                "the journal tells it if journald reads it, which cannot be seen ({why}); \
                 /dev/kmsg: {error}"
            );
            self.tell(Standing::Off, &how);
        }
    }

    fn begin(&mut self, how: &str) -> io::Result<()> {
        let log = KernelLog::open(Arc::clone(&self.sink), Arc::clone(&self.positions))?;
        self.sink.expect_kernel_log();
        self.log = Some(log);
        self.tell(Standing::Read, how);
        Ok(())
    }

    fn tell(&self, standing: Standing, how: &str) {
        self.sink.board().tell(SOURCE, standing, how, CANNOT_SEE);
    }
}

/// How it is read beside a journald that does not.
const BESIDE: &str = "from /dev/kmsg, which journald does not read (ReadKMsg=no)";

/// How it is read where there is a journal and nobody who writes it.
const WITHOUT: &str = "from /dev/kmsg, as no journald runs";

/// Takes note that the log is not read. A place in it is of no use from now on: what comes after it
/// is others' to tell.
pub fn leave(sink: &LineSink, positions: &Positions, how: &str) {
    positions.retain(|source| source != SOURCE);
    sink.board().tell(SOURCE, Standing::Off, how, CANNOT_SEE);
}

/// Whether an earlier run has read it since the host was booted.
fn is_begun(positions: &Positions) -> bool {
    match positions.last(SOURCE) {
        Some(Position::Kernel(position)) => read_boot().is_ok_and(|boot| position.boot == boot),
        Some(Position::File(_) | Position::Journal(_)) | None => false,
    }
}

#[cfg(test)]
mod tests;
