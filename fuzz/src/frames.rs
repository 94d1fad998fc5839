//! What crosses a socket: frames of agents, daemon, viewers and Realtime, and paths inside them.
//! It never knows what a frame leads to.

use hidps_local_supabase::fuzzing::{read_client_frame, weigh_log_message};
use hidps_realtime::fuzzing::{TOKEN, receive};
use hidps_wire::{
    AgentFrame, DaemonFrame, EnrollRequest, EnrollResponse, EventBatch, MAX_AGENT_FRAME_BYTES,
    MAX_DAEMON_FRAME_BYTES, MAX_EVENTS_PER_BATCH, MAX_VIEWER_FRAME_BYTES, Posted, RotateRequest,
    RotateResponse, StreamFrame, ViewerFrame, WatchPath, decode, encode, frame_type, read_posted,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest body that either end reads.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Frames of agents: refused or stable.
pub fn wire_agent_frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    is_stable::<AgentFrame>(text, MAX_AGENT_FRAME_BYTES);
    let _ = frame_type(text);
}

/// Frames of the daemon to agents: refused or stable.
pub fn wire_daemon_frame(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        is_stable::<DaemonFrame>(text, MAX_DAEMON_FRAME_BYTES);
    }
}

/// Batches of events, which borrow from their text: refused or stable, as batch and for viewers.
pub fn wire_event_batch(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(batch) = decode::<EventBatch<'_>>(text, MAX_AGENT_FRAME_BYTES) else {
        return;
    };
    let once = encode(&batch);
    let again: EventBatch<'_> = decode(&once, usize::MAX).expect("our own text is read");
    assert_eq!(encode(&again), once, "the text form is stable");
    for event in batch.events {
        let within = event.is_within_limits();
        let owned = event.into_owned();
        assert_eq!(owned.is_within_limits(), within, "owning changes no length");
    }
}

/// What hosts post: refused, or lines within their bounds.
pub fn wire_posted(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(posted) = read_posted(text) else {
        return;
    };
    assert!(text.len() <= MAX_AGENT_FRAME_BYTES);
    match posted {
        Posted::Batch | Posted::Frame(_) => {}
        Posted::Lines(lines) => {
            assert!(lines.len() <= MAX_EVENTS_PER_BATCH);
            for line in lines {
                assert!(line.kind.is_none() == line.parties.is_some());
                assert!(line.message.len() <= MAX_AGENT_FRAME_BYTES);
            }
        }
        Posted::Report(report) => {
            for share in [report.usage.cpu, report.usage.ram, report.usage.storage] {
                assert!((0.0..=100.0).contains(&share));
            }
        }
    }
}

/// Bodies about an agent's key, its enrollment and its rotation: refused or stable.
pub fn wire_key_bodies(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    is_stable::<EnrollRequest>(text, MAX_BODY_BYTES);
    is_stable::<EnrollResponse>(text, MAX_BODY_BYTES);
    is_stable::<RotateRequest>(text, MAX_BODY_BYTES);
    is_stable::<RotateResponse>(text, MAX_BODY_BYTES);
}

/// Frames between viewers and the daemon: refused or stable.
pub fn wire_viewer_frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    is_stable::<ViewerFrame>(text, MAX_VIEWER_FRAME_BYTES);
    if let Ok(frame) = decode::<StreamFrame<'_>>(text, MAX_DAEMON_FRAME_BYTES) {
        let once = encode(&frame);
        let again: StreamFrame<'_> = decode(&once, usize::MAX).expect("our own text is read");
        assert_eq!(encode(&again), once, "the text form is stable");
    }
}

/// Lines of frames from a Realtime server: told or failed, never both after one another, and never
/// with the token in an error.
pub fn realtime_frames(data: &[u8]) {
    let frames = data.split(|byte| *byte == b'\n');
    let told = receive(frames);
    let n_failures = told.iter().filter(|told| told.is_err()).count();
    assert!(n_failures <= 1, "a session fails once");
    assert!(
        told.iter().take(told.len() - n_failures).all(Result::is_ok),
        "nothing is told after a failure"
    );
    for error in told.iter().filter_map(|told| told.as_ref().err()) {
        let words = format!("{error} {error:?}");
        assert!(!words.contains(TOKEN), "an error keeps the token");
        assert!(words.chars().count() < 2_000, "an error is short");
        let _ = error.remedy();
    }
}

/// Frames of Realtime clients, as the stand-in reads them: refused or relayed unchanged.
pub fn realtime_client_frame(data: &[u8]) {
    read_client_frame(data);
}

/// Messages of Postgres' log: refused, or no larger than what they were read from.
pub fn log_message(data: &[u8]) {
    if let Some(weight) = weigh_log_message(data) {
        assert!(weight <= data.len(), "nothing is made up");
    }
}

/// Paths to watch: refused, or absolute, normal and unchanged by a second look.
pub fn watch_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(path) = WatchPath::parse(text) else {
        return;
    };
    assert!(path.as_str().starts_with('/'), "it is absolute");
    assert!(!path.as_str().contains('\0'), "it has no NUL");
    let mut parts = path.as_str().split('/').skip(1);
    assert!(
        parts.all(|part| !matches!(part, "" | "." | "..")),
        "it is normal"
    );
    assert_eq!(
        WatchPath::parse(path.as_str()).as_ref(),
        Ok(&path),
        "it stays"
    );
}

/// A frame that is read has a text form that is read as the same frame.
fn is_stable<T: DeserializeOwned + Serialize>(text: &str, limit: usize) {
    let Ok(frame) = decode::<T>(text, limit) else {
        return;
    };
    let once = encode(&frame);
    let again: T = decode(&once, usize::MAX).expect("our own text is read");
    assert_eq!(encode(&again), once, "the text form is stable");
}
