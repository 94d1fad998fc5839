//! What the longest frames of a daemon cost whoever reads them, counted by the allocator.
//! It never measures time.

use hidps_wire::{DaemonFrame, MAX_DAEMON_FRAME_BYTES, decode};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Beside the text itself; a host of 128 MiB has room for it, and docs/protocol.md promises it.
const MOST_BYTES: usize = 40 * 1024 * 1024;

const HEAD: &str =
    r#"{"type":"apply","generation":1,"hash":"h","document":{"firewall_enabled":null,"#;

const RULE: &str = r#"{"id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","action":"deny","direction":"in","protocol":"tcp","port_from":1,"source":"10.0.0.1"}"#;

/// A frame of the greatest length that repeats one thing between a beginning and an end.
fn longest(begin: &str, unit: &str, end: &str) -> String {
    let room = MAX_DAEMON_FRAME_BYTES - begin.len() - end.len() - unit.len();
    let list = format!("{unit},").repeat(room / (unit.len() + 1));
    format!("{begin}{list}{unit}{end}")
}

/// A frame with one text of the greatest length, which has an escape and so is no piece of the frame.
fn one_text(begin: &str, end: &str) -> String {
    let room = MAX_DAEMON_FRAME_BYTES - begin.len() - end.len() - 2;
    format!("{begin}\\n{}{end}", "x".repeat(room))
}

#[test]
fn the_longest_frames_of_a_daemon_take_a_few_times_their_own_room() {
    let document = |rest: &str| format!("{HEAD}{rest}");
    let ask = r#"{"type":"ask","id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","question":{"plan":{"document":{"firewall_enabled":null,"monitored_files":["#;
    let frames = [
        longest(&document("\"monitored_files\":["), "\"\"", "]}}"),
        longest(&document("\"monitored_recursively\":["), "\"\"", "]}}"),
        longest(&document("\"firewall_rules\":["), RULE, "]}}"),
        longest(&document("\"unknown\":["), "1", "]}}"),
        longest(ask, "\"\"", "]}}}}"),
        longest(r#"{"type":"ack","seq":["#, "[]", "]}"),
        longest(r#"{"type":"run","x":["#, "{}", "]}"),
        longest(r#"{"x":["#, "1", r#"],"type":"apply"}"#),
        longest("[", "1", "]"),
        one_text(&document("\"monitored_files\":[\""), "\"]}}"),
        one_text(r#"{"type":"goodbye","retry_ms":1,"reason":""#, "\"}"),
        one_text(r#"{"type":""#, "\"}"),
    ];

    for text in &frames {
        assert!(text.len() <= MAX_DAEMON_FRAME_BYTES);
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();

        let read = decode::<DaemonFrame>(text, MAX_DAEMON_FRAME_BYTES);

        let taken = ALLOCATOR.peak_usage() - before;
        let head: String = text.chars().take(120).collect();
        println!("{:>5} KiB, {} for {head}", taken / 1024, read.is_ok());
        assert!(taken <= MOST_BYTES, "{taken} bytes for {head}");
    }
}
