//! Logs and the names of every metric.
//! It never logs a log event's text, a token or a mail address.

use std::error::Error;
use std::fmt;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::Log;

/// Agents connected now.
pub const AGENTS_CONNECTED: &str = "hidps_agents_connected";
/// Viewers connected now.
pub const VIEWERS_CONNECTED: &str = "hidps_viewers_connected";
/// Frames of live log that slow viewers missed.
pub const VIEWER_DROPS: &str = "hidps_viewer_frames_dropped_total";
/// Events taken in.
pub const EVENTS_RECEIVED: &str = "hidps_events_received_total";
/// Times an agent's socket was left unread because detection was behind.
pub const STALLS: &str = "hidps_agent_stalls_total";
/// Events agents say they lost before they could send them.
pub const EVENTS_LOST: &str = "hidps_events_lost_total";
/// Frames refused, by peer.
pub const FRAMES_REFUSED: &str = "hidps_frames_refused_total";
/// Connections ended because the peer took too long, by what it owed.
pub const SLOW_PEERS: &str = "hidps_slow_peers_total";
/// Requests and handshakes that could not be read, by why.
pub const BAD_REQUESTS: &str = "hidps_bad_requests_total";
/// Connections closed before a word was read, by why.
pub const CONNECTIONS_CLOSED: &str = "hidps_connections_closed_total";
/// Matches, by rule.
pub const DETECTIONS: &str = "hidps_detections_total";
/// Fetches of the agent's program by new hosts, by what became of them.
pub const DOWNLOADS: &str = "hidps_agent_downloads_total";
/// Rules in force.
pub const RULES_IN_FORCE: &str = "hidps_rules_in_force";
/// Since when they are, in seconds since 1970.
pub const RULES_LOADED_AT: &str = "hidps_rules_loaded_timestamp_seconds";
/// Whether what the directory of rules holds was refused, 0 or 1.
pub const RULES_REFUSED: &str = "hidps_rules_refused";
/// Reloads of the rules, by result.
pub const RULE_RELOADS: &str = "hidps_rule_reloads_total";
/// Rules that are not tried for a while, for somebody, because they cost too much.
pub const RULES_SUSPENDED: &str = "hidps_rules_suspended";
/// Times a rule was suspended, by for whom.
pub const RULE_SUSPENSIONS: &str = "hidps_rule_suspensions_total";
/// Seconds that trying a rule took, for the dearest rules.
pub const RULE_SECONDS: &str = "hidps_rule_seconds_total";
/// Windows of correlations held now.
pub const WINDOWS: &str = "hidps_correlation_windows";
/// What correlations gave up to stay within their bounds, by what it was.
pub const EVICTIONS: &str = "hidps_correlation_evictions_total";
/// Matches that correlations could not count, by why.
pub const UNCOUNTED: &str = "hidps_correlation_uncounted_total";
/// Values too long for regular expressions to read as a whole.
pub const LONG_VALUES: &str = "hidps_long_values_total";
/// 1, with the hash of the rules in force.
pub const RULES_INFO: &str = "hidps_rules_info";
/// Matches of rules on trial, by rule.
pub const SHADOW_MATCHES: &str = "hidps_shadow_matches_total";
/// Matches that organizations keep quiet about.
pub const SUPPRESSED: &str = "hidps_suppressed_matches_total";
/// Matches that were not counted because there was no room, by kind.
pub const COUNTS_LOST: &str = "hidps_match_counts_lost_total";
/// Organizations with something of their own in detection.
pub const TENANT_LAYERS: &str = "hidps_tenant_rule_sets";
/// Values and parts of conditions that the rules of all organizations hold.
pub const TENANT_WEIGHT: &str = "hidps_tenant_rule_values";
/// Reads of what organizations want of detection, by result.
pub const TENANT_READS: &str = "hidps_tenant_rule_reads_total";
/// Organizations whose own rules were suspended because of what they cost.
pub const TENANT_SUSPENSIONS: &str = "hidps_tenant_suspensions_total";
/// Writes to Supabase, by kind and result.
pub const WRITES: &str = "hidps_writes_total";
/// Whether the feed is joined, 0 or 1.
pub const FEED_CONNECTED: &str = "hidps_realtime_connected";
/// Whether the feed carries what is written by both ways, 0 or 1.
pub const FEED_HEALTHY: &str = "hidps_feed_healthy";
/// Seconds the last canary took, by way; not a number if it did not come.
pub const CANARY_SECONDS: &str = "hidps_feed_canary_seconds";
/// New joins of the feed because its canary did not come, by reason.
pub const FEED_REJOINS: &str = "hidps_feed_rejoins_total";
/// Full comparisons with the database, by cause.
pub const RESYNCS: &str = "hidps_realtime_resyncs_total";
/// Alert mails, by result.
pub const EMAILS: &str = "hidps_emails_total";
/// Alerts waiting to become rows.
pub const ALERTS_WAITING: &str = "hidps_outbox_alerts_waiting";
/// Observations of the daemon that detection had no room for.
pub const OBSERVATIONS_LOST: &str = "hidps_observations_lost_total";
/// Silent agents that there was no room to remember.
pub const SILENCES_LOST: &str = "hidps_silences_lost_total";
/// Agents on the way in whose changed key there was no room to await.
pub const KEY_HINTS_LEFT_OUT: &str = "hidps_key_hints_left_out_total";
/// Live streams that ended because the person may not see the agent any more, by what told so.
pub const STREAMS_ENDED: &str = "hidps_viewer_streams_ended_total";
/// Reads of the project's signing keys, by result.
pub const KEY_READS: &str = "hidps_signing_key_reads_total";
/// Access tokens of people that were refused, by the rule they broke.
pub const TOKENS_REFUSED: &str = "hidps_tokens_refused_total";
/// Requests refused because they came too often, by route and limit.
pub const RATE_LIMITED: &str = "hidps_rate_limited_total";
/// Refused agents that the audit log was not told of, by why.
pub const REFUSALS_UNTOLD: &str = "hidps_refusals_untold_total";
/// Refused handshakes and tokens, by kind.
pub const AUTH_FAILURES: &str = "hidps_auth_failures_total";

/// Every metric with its help text.
pub const METRICS: &[(&str, &str)] = &[
    (AGENTS_CONNECTED, "agents connected now"),
    (VIEWERS_CONNECTED, "viewers connected now"),
    (VIEWER_DROPS, "frames of live log that slow viewers missed"),
    (EVENTS_RECEIVED, "events taken in"),
    (
        STALLS,
        "times an agent's socket was left unread because detection was behind",
    ),
    (
        EVENTS_LOST,
        "events agents say they lost before they could send them",
    ),
    (FRAMES_REFUSED, "frames refused, by peer"),
    (
        SLOW_PEERS,
        "connections ended because the peer took too long, by what it owed",
    ),
    (
        BAD_REQUESTS,
        "requests and handshakes that could not be read, by why",
    ),
    (
        CONNECTIONS_CLOSED,
        "connections closed before a word was read, by why",
    ),
    (DETECTIONS, "matches, by rule"),
    (RULES_IN_FORCE, "rules in force"),
    (
        RULES_LOADED_AT,
        "since when the rules are in force, in seconds since 1970",
    ),
    (
        RULES_REFUSED,
        "whether what the directory of rules holds was refused, 0 or 1",
    ),
    (RULE_RELOADS, "reloads of the rules, by result"),
    (
        RULES_SUSPENDED,
        "rules that are not tried for a while, for somebody, because they cost too much",
    ),
    (
        RULE_SUSPENSIONS,
        "times a rule was suspended because it cost too much, by for whom",
    ),
    (
        RULE_SECONDS,
        "seconds that trying a rule took, for the dearest rules",
    ),
    (WINDOWS, "windows of correlations held now"),
    (
        EVICTIONS,
        "what correlations gave up to stay within their bounds, by what it was",
    ),
    (
        UNCOUNTED,
        "matches that correlations could not count, by why",
    ),
    (
        LONG_VALUES,
        "values too long for regular expressions to read as a whole",
    ),
    (RULES_INFO, "1, with the hash of the rules in force"),
    (SHADOW_MATCHES, "matches of rules on trial, by rule"),
    (SUPPRESSED, "matches that organizations keep quiet about"),
    (
        COUNTS_LOST,
        "matches that were not counted because there was no room, by kind",
    ),
    (
        TENANT_LAYERS,
        "organizations with something of their own in detection",
    ),
    (
        TENANT_WEIGHT,
        "values and parts of conditions that the rules of all organizations hold",
    ),
    (
        TENANT_READS,
        "reads of what organizations want of detection, by result",
    ),
    (
        TENANT_SUSPENSIONS,
        "organizations whose own rules were suspended because of what they cost",
    ),
    (WRITES, "writes to Supabase, by kind and result"),
    (FEED_CONNECTED, "whether the feed is joined, 0 or 1"),
    (
        FEED_HEALTHY,
        "whether the feed carries what is written by both ways, 0 or 1",
    ),
    (
        CANARY_SECONDS,
        "seconds the last canary took, by way; NaN if it did not come",
    ),
    (
        FEED_REJOINS,
        "new joins of the feed because its canary did not come, by reason",
    ),
    (RESYNCS, "full comparisons with the database, by cause"),
    (EMAILS, "alert mails, by result"),
    (ALERTS_WAITING, "alerts waiting to become rows"),
    (
        SILENCES_LOST,
        "silent agents that there was no room to remember; their silence is not told",
    ),
    (
        KEY_HINTS_LEFT_OUT,
        "changed keys there was no room to await; all connected agents were looked at",
    ),
    (
        OBSERVATIONS_LOST,
        "observations about agents that detection had no room for",
    ),
    (
        STREAMS_ENDED,
        "live streams that ended because rights or a token did, by cause: change, interval, token or expiry",
    ),
    (
        KEY_READS,
        "reads of the project's signing keys, by result: ok or failed",
    ),
    (
        TOKENS_REFUSED,
        "access tokens of people that were refused, by the rule they broke",
    ),
    (
        RATE_LIMITED,
        "requests refused because they came too often, by route and limit",
    ),
    (
        REFUSALS_UNTOLD,
        "refused agents that the audit log was not told of, by why: limit, room or database",
    ),
    (AUTH_FAILURES, "refused handshakes and tokens, by kind"),
    (
        DOWNLOADS,
        "fetches of the agent's program, by result: begun, busy or missing",
    ),
];

/// Starts logging to standard error.
pub fn start_logging(log: &Log) {
    let targets: Targets = log.filter.parse().unwrap_or_default();
    let registry = tracing_subscriber::registry().with(targets);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if log.json {
        registry.with(layer.json()).init();
    } else {
        registry.with(layer).init();
    }
}

/// Starts collecting metrics; the handle renders them for `/metrics`.
///
/// # Errors
/// When a recorder is already installed in this process.
pub fn start_metrics() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    for (name, help) in METRICS {
        if name.ends_with("_total") {
            metrics::describe_counter!(*name, *help);
        } else {
            metrics::describe_gauge!(*name, *help);
        }
    }
    Ok(handle)
}

/// An error with all its causes on one line, for a log field.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::METRICS;

    #[test]
    fn every_metric_is_in_the_operators_reference() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        let reference = std::fs::read_to_string(path).expect("the reference is there");

        for (name, _) in METRICS {
            assert!(
                reference.contains(&format!("`{name}`")),
                "{name} is not in {path}"
            );
        }
    }
}
