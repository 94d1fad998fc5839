//! Golden frames: the text form of every frame is fixed by a file, so that a change of the
//! protocol is a change somebody reads.

use std::fmt::Debug;
use std::fs;
use std::path::Path;

use hidps_wire::{
    AgentFrame, DaemonFrame, EnrollRequest, EnrollResponse, EventBatch, MAX_AGENT_FRAME_BYTES,
    RotateRequest, RotateResponse, StreamFrame, ViewerFrame, decode, encode,
};
use serde::{Deserialize, Serialize};

/// Each line of a golden file parses, and its compact form is the line itself.
fn check(file: &str, round_trip: fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file);
    let lines = fs::read_to_string(&path).expect("the golden file is there");

    for line in lines.lines() {
        assert_eq!(round_trip(line), line, "in {file}");
    }
    assert!(lines.lines().count() > 0, "{file} has no frame");
}

fn again<'a, T: Serialize + Deserialize<'a> + Debug>(line: &'a str) -> String {
    let frame: T = decode(line, MAX_AGENT_FRAME_BYTES).expect("a golden frame is read");
    encode(&frame)
}

#[test]
fn agent_frames_keep_their_text() {
    check("agent.jsonl", |line| again::<AgentFrame>(line));
}

#[test]
fn event_batches_keep_their_text() {
    check("events.jsonl", |line| again::<EventBatch<'_>>(line));
}

#[test]
fn a_batch_made_of_encoded_events_has_the_same_text() {
    check("events.jsonl", |line| {
        let batch: EventBatch<'_> = decode(line, MAX_AGENT_FRAME_BYTES).expect("a batch is read");
        let parts: Vec<String> = batch.events.iter().map(encode).collect();
        EventBatch::encode_parts(batch.seq, batch.dropped, parts.iter().map(String::as_str))
    });
}

#[test]
fn daemon_frames_keep_their_text() {
    check("daemon.jsonl", |line| again::<DaemonFrame>(line));
}

#[test]
fn viewer_frames_keep_their_text() {
    check("viewer.jsonl", |line| again::<ViewerFrame>(line));
}

#[test]
fn stream_frames_keep_their_text() {
    check("stream.jsonl", |line| again::<StreamFrame<'_>>(line));
}

#[test]
fn enrollment_bodies_keep_their_text() {
    check("enroll_request.jsonl", |line| again::<EnrollRequest>(line));
    check("enroll_response.jsonl", |line| {
        again::<EnrollResponse>(line)
    });
}

#[test]
fn rotation_bodies_keep_their_text() {
    check("rotate_request.jsonl", |line| again::<RotateRequest>(line));
    check("rotate_response.jsonl", |line| {
        again::<RotateResponse>(line)
    });
}

#[test]
fn a_share_outside_0_to_100_percent_is_refused() {
    for share in ["-0.1", "100.1", "1e39"] {
        let line = format!(r#"{{"type":"usage","cpu":{share},"ram":0,"storage":100}}"#);

        let read = decode::<AgentFrame>(&line, MAX_AGENT_FRAME_BYTES);

        assert!(read.is_err(), "{share}");
    }
}

#[test]
fn a_condition_that_names_too_many_subjects_is_refused() {
    let subject = r#"{"subject":"/a","status":"false","reason":"R","message":""}"#;
    let subjects = vec![subject; hidps_wire::MAX_CONDITION_SUBJECTS + 1].join(",");
    let text = format!(
        r#"{{"type":"status","applied":null,"conditions":[{{"type":"FilesWatched","status":"false","reason":"R","message":"","subjects":[{subjects}]}}],"firewall_active":null}}"#
    );

    let decoded = decode::<AgentFrame>(&text, MAX_AGENT_FRAME_BYTES);

    assert!(decoded.is_err(), "it was taken");
}
