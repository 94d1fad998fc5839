//! The agent's own log on standard error; for the journal each line says how urgent it is.
//! It never carries the text of a log event, a token or a key.

use std::fmt;
use std::os::fd::AsFd as _;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// The variable with the log's level, such as `debug` or `hidps_agent::link=trace`.
pub const LEVEL_VARIABLE: &str = "HIDPS_LOG";

/// The variable in which the service manager names the stream that the journal reads.
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// Starts the log; a second call does nothing.
pub fn start_log(format: LogFormat) {
    let level = std::env::var(LEVEL_VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&level).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false);
    // Only a log that was started before can fail it. The journal has times and levels of its own.
    match (format, is_read_by_journal()) {
        (LogFormat::Text, false) => log.try_init().ok(),
        (LogFormat::Json, false) => log.json().flatten_event(true).try_init().ok(),
        (LogFormat::Text, true) => {
            let log = log.without_time().with_level(false);
            log.map_event_format(Prioritized).try_init().ok()
        }
        (LogFormat::Json, true) => {
            let log = log.json().flatten_event(true);
            log.map_event_format(Prioritized).try_init().ok()
        }
    };
}

/// Whether standard error is the very stream that the journal reads.
fn is_read_by_journal() -> bool {
    let Some(named) = std::env::var_os(JOURNAL_VARIABLE) else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr().as_fd())
        .is_ok_and(|stat| named.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

/// A form of line after the priority by which the journal sorts lines.
struct Prioritized<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// The level as syslog numbers it.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Recorded(Arc<Mutex<Vec<u8>>>);

    impl Write for Recorded {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_journal_learns_how_urgent_each_line_is() {
        let recorded = Recorded::default();
        let writer = recorded.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_target(false)
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .map_event_format(Prioritized)
            .finish();

        tracing::subscriber::with_default(log, || {
            tracing::error!("a");
            tracing::warn!(path = "/x", "b");
            tracing::info!("c");
        });

        let text = String::from_utf8(recorded.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<3>a\n<4>b path=\"/x\"\n<6>c\n");
    }
}
