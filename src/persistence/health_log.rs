//! Keeps `system_health` true: the daemon's own conditions, for frontends that cannot see it.
//! It never decides what is healthy, and never lets a failed write hold anything up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::health::{FeedVerdict, Health};
use crate::model::HealthReport;
use crate::persistence::health_reports::{
    costs_report, feed_report, keys_report, news, read_only_report, rules_report, tenants_report,
};
use crate::ports::HealthWriter;
use crate::telemetry::{self, Chain};

/// Time between two writes while nothing changes: the age of a row tells whether a daemon runs.
const EVERY: Duration = Duration::from_secs(30);

/// Pause after a failed write.
const PAUSE: Duration = Duration::from_secs(2);

/// The task that writes.
pub struct HealthLog {
    /// What is written.
    pub health: Arc<Health>,
    /// Whether this daemon only observes.
    pub read_only: bool,
    /// Where it is written.
    pub writer: Arc<dyn HealthWriter>,
}

impl std::fmt::Debug for HealthLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthLog")
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl HealthLog {
    /// Writes on every change of a status or reason, and every 30 s, until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.health.changes();
        let (mut written, mut write_at) = (None, Instant::now());
        loop {
            let verdict = self.health.feed();
            measure(&verdict);
            let reports = self.reports(&verdict);
            let news = Some(reports.iter().map(news).collect::<Vec<_>>());
            if written != news || Instant::now() >= write_at {
                let result = self.writer.report_health(reports).await;
                write_at = Instant::now() + if result.is_ok() { EVERY } else { PAUSE };
                // A failed write is tried again by the timer, not by every change.
                written = news;
                if let Err(error) = result {
                    tracing::debug!(error = %Chain(&error), "system_health was not written");
                }
            }
            tokio::select! {
                () = changes.next() => {}
                () = sleep_until(write_at) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn reports(&self, feed: &FeedVerdict) -> Vec<HealthReport> {
        let rules = self.health.rules();
        let mut reports = vec![feed_report(feed), read_only_report(self.read_only)];
        reports.extend(rules.as_ref().map(rules_report));
        reports.push(costs_report(&self.health.suspended()));
        reports.push(tenants_report(self.health.tenants_unread().as_ref()));
        reports.push(keys_report(self.health.keys_unread().as_ref()));
        reports
    }
}

fn measure(verdict: &FeedVerdict) {
    let healthy = f64::from(u8::from(verdict.fault.is_none()));
    metrics::gauge!(telemetry::FEED_HEALTHY).set(healthy);
    let ways = [
        ("broadcast", verdict.trip.broadcast),
        ("changes", verdict.trip.changes),
    ];
    for (way, took) in ways {
        let seconds = took.map_or(f64::NAN, |took| took.as_secs_f64());
        metrics::gauge!(telemetry::CANARY_SECONDS, "way" => way).set(seconds);
    }
}
