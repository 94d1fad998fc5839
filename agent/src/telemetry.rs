//! The agent's own log on standard error.
//! It never carries the text of a log event, a token or a key.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// The variable with the log's level, such as `debug` or `hidps_agent::link=trace`.
pub const LEVEL_VARIABLE: &str = "HIDPS_LOG";

/// Starts the log; a second call does nothing.
pub fn start_log(format: LogFormat) {
    let level = std::env::var(LEVEL_VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&level).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // Only a log that was started before can fail it.
    match format {
        LogFormat::Text => log.with_ansi(false).try_init().ok(),
        LogFormat::Json => log.json().flatten_event(true).try_init().ok(),
    };
}
