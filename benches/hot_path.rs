//! Events per second through parse, rules and fan-out on one core, beside parsing alone.
//! Prints one JSON array; rates are this machine's, ratios are what may be compared.

use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hidps::detection::{LoadedRules, Outlets, Pipeline, TenantFeed, load_rules};
use hidps::model::{Alert, DetectionVerdict, OrgId, RiskReport, ShadowReport, SuppressedReport};
use hidps::ports::{AlertQueue, BatchProgress, DetectionRecords, LiveLog, RawBatch};
use hidps::streams::{Fanout, ViewerQueue};
use hidps_wire::{
    AgentId, EventBatch, EventKind, Fields, LogEvent, MAX_AGENT_FRAME_BYTES, decode, encode,
};
use serde_json::{Value, json};
use uuid::Uuid;

/// Agents in the mix, so that correlation windows are spread as in a fleet.
const AGENTS: u128 = 200;

/// Events of one batch, the size the agents aim at.
const BATCH: usize = 32;

/// How long each figure is measured; the best of three is kept, as noise only slows down.
const MEASURE: Duration = Duration::from_millis(700);

/// Takes alerts and acknowledgements and forgets them.
#[derive(Debug)]
struct Sink;

impl DetectionRecords for Sink {
    fn verdicts(&self, _: Vec<DetectionVerdict>) {}
    fn shadow_matches(&self, _: Vec<ShadowReport>) {}
    fn suppressed(&self, _: Vec<SuppressedReport>) {}
    fn risk(&self, _: Vec<RiskReport>) {}
}

impl AlertQueue for Sink {
    fn raise(&self, alert: Alert) {
        black_box(alert);
    }
}

impl BatchProgress for Sink {
    fn taken(&self, seq: u64) {
        black_box(seq);
    }

    fn refused(&self, reason: String) {
        // A bench over refused batches would measure nothing.
        assert!(
            reason.is_empty(),
            "a batch of the bench was refused: {reason}"
        );
    }
}

/// Failed and accepted logins, file changes and plain lines, one in a hundred of which matters.
fn sample_event(number: usize) -> LogEvent<'static> {
    let mut fields = Fields::default();
    let source = format!("198.51.{}.{}", number / 250 % 250, number % 250);
    let (kind, service, message) = match number % 100 {
        0 => {
            fields.push("outcome", "failure");
            fields.push("user", "root");
            fields.push("src_ip", source.clone());
            (
                EventKind::Login,
                "sshd",
                format!("Failed password for root from {source} port 4 ssh2"),
            )
        }
        1..50 => {
            fields.push("outcome", "success");
            fields.push("method", "publickey");
            fields.push("user", "deploy");
            fields.push("src_ip", source.clone());
            let message = format!("Accepted publickey for deploy from {source} port 50122 ssh2");
            (EventKind::Login, "sshd", message)
        }
        50..60 => {
            let path = format!("/srv/app/releases/{number}/index.html");
            fields.push("TargetFilename", path.clone());
            fields.push("action", "modified");
            (
                EventKind::FileMonitoring,
                "inotify",
                format!("{path} was modified"),
            )
        }
        _ => {
            let message = format!("pam_unix(cron:session): session closed for user www-{number}");
            (EventKind::Login, "cron", message)
        }
    };
    let timestamp = "2026-11-21T01:02:03.000004Z".into();
    LogEvent {
        timestamp,
        kind,
        service: service.into(),
        message: message.into(),
        fields,
    }
}

fn sample_frames() -> Vec<(AgentId, String)> {
    let frame = |number: usize| {
        let events = (0..BATCH)
            .map(|offset| sample_event(number * BATCH + offset))
            .collect();
        let agent = AgentId::new(Uuid::from_u128(number as u128 % AGENTS));
        (agent, encode(&EventBatch::new(number as u64, 0, events)))
    };
    (0..1_000).map(frame).collect()
}

/// Events per second of the best of three runs over all frames.
fn measure(frames: &[(AgentId, String)], mut act: impl FnMut(AgentId, &str)) -> f64 {
    let run = |act: &mut dyn FnMut(AgentId, &str)| {
        let (start, mut events) = (Instant::now(), 0_u32);
        while start.elapsed() < MEASURE {
            for (agent, frame) in frames {
                act(*agent, frame);
            }
            events += u32::try_from(frames.len() * BATCH).unwrap_or(u32::MAX);
        }
        f64::from(events) / start.elapsed().as_secs_f64()
    };
    (0..3).map(|_| run(&mut act)).fold(0.0, f64::max)
}

fn measure_pipeline(
    rules: &LoadedRules,
    frames: &[(AgentId, String)],
    live: Arc<dyn LiveLog>,
) -> f64 {
    let mut pipeline = Pipeline::new(
        rules,
        &TenantFeed::none(),
        Outlets {
            live,
            alerts: Arc::new(Sink),
            records: Arc::new(Sink),
        },
    );
    measure(frames, |agent_id, frame| {
        let progress = Arc::new(Sink) as _;
        pipeline.on_batch(&RawBatch {
            agent_id,
            org: OrgId(Uuid::from_u128(10)),
            text: frame.into(),
            progress,
        });
    })
}

/// A fan-out in which every agent has this many viewers, none of whom reads.
fn watched_by(viewers: usize) -> Arc<Fanout> {
    let fanout = Arc::new(Fanout::default());
    for _ in 0..viewers {
        let queue = Arc::new(ViewerQueue::default());
        for agent in 0..AGENTS {
            fanout.subscribe(AgentId::new(Uuid::from_u128(agent)), &queue);
        }
    }
    fanout
}

fn figure(metric: &str, value: f64, peer: f64) -> Value {
    json!({
        "bench": "hot_path", "metric": metric, "value": value.round(), "unit": "events/s",
        "peer": "parse into the event type only, same frames", "ratio": value / peer,
    })
}

fn main() -> std::io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("detection-rules");
    let rules = load_rules(&directory).map_err(std::io::Error::other)?;
    let frames = sample_frames();
    let parse = measure(&frames, |_, frame| {
        black_box(decode::<EventBatch<'_>>(frame, MAX_AGENT_FRAME_BYTES).is_ok());
    });
    let detect = measure_pipeline(&rules, &frames, watched_by(0));
    let shown = measure_pipeline(&rules, &frames, watched_by(10));
    let figures = json!([
        figure("parse", parse, parse),
        figure("parse, rules", detect, parse),
        figure("parse, rules, fan-out to 10 viewers", shown, parse),
    ]);
    writeln!(std::io::stdout(), "{figures}")
}
