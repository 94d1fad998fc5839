//! How many programs a second can begin before the agent no longer sees each: a storm of a tiny
//! program of its own, and what became of every single one.
//! It needs root in the initial namespaces; without them it says so and ends.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hidps_agent::collect::process::{
    Connector, ProcessSettings, ProcessWatch, host_processes, monotonic_nanos,
};
use hidps_agent::collect::source_board::SourceBoard;
use hidps_agent::config::{ProcessExits, ProcessMode};
use hidps_agent::event_queue::EventQueue;
use hidps_wire::{EventBatch, FieldValue, LogEvent, MAX_AGENT_FRAME_BYTES, decode};

/// How long the storm blows.
const STORM: Duration = Duration::from_secs(10);

/// Everything is told by then: what is held back or lost is told every ten seconds.
const AFTER: Duration = Duration::from_secs(22);

/// How many begin programs at once.
const THREADS: usize = 2;

/// A program that ends at once, as small as there can be one: an ELF header, one segment, and
/// `exit(0)`.
const TINY: [u8; 129] = tiny();

const fn tiny() -> [u8; 129] {
    let mut elf = [0_u8; 129];
    let parts: [(usize, &[u8]); 9] = [
        (0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]),
        (16, &[2, 0, 62, 0, 1]),
        (24, &[0x78, 0, 0x40]),
        (32, &[64]),
        (52, &[64, 0, 56, 0, 1]),
        (64, &[1, 0, 0, 0, 5]),
        (82, &[0x40, 0, 0, 0, 0, 0, 0, 0, 0x40]),
        (96, &[129, 0, 0, 0, 0, 0, 0, 0, 129]),
        (120, &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]),
    ];
    let mut part = 0;
    while part < parts.len() {
        let (at, bytes) = parts[part];
        let mut byte = 0;
        while byte < bytes.len() {
            elf[at + byte] = bytes[byte];
            byte += 1;
        }
        part += 1;
    }
    elf
}

/// What became of the programs.
#[derive(Debug, Default)]
struct Tally {
    told: i64,
    gone: i64,
    held: i64,
    lost: i64,
    late: i64,
}

fn main() -> io::Result<()> {
    if let Err(error) = Connector::open() {
        println!("skipped: {error}");
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let program = directory.path().join("tiny");
    std::fs::write(&program, TINY)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(&program))
}

async fn measure(program: &Path) -> io::Result<()> {
    let queue = Arc::new(EventQueue::default());
    queue.on_connected(u32::MAX);
    let settings = ProcessSettings {
        mode: ProcessMode::Connector,
        exits: ProcessExits::All,
        interval: Duration::from_secs(5),
    };
    let watch = ProcessWatch::start(
        settings,
        host_processes(),
        Arc::clone(&queue),
        SourceBoard::new().0,
    )?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = monotonic_nanos();
    let before = read_ticks();
    let storms: Vec<_> = (0..THREADS)
        .map(|_| {
            let program = program.to_owned();
            std::thread::spawn(move || storm(&program))
        })
        .collect();
    let until = tokio::time::Instant::now() + STORM + AFTER;
    let mut tally = Tally::default();
    while let Ok(batch) = tokio::time::timeout_at(until, queue.next_batch()).await {
        queue.on_acknowledged(batch.seq, u32::MAX);
        let batch: EventBatch<'_> =
            decode(&batch.text, MAX_AGENT_FRAME_BYTES).expect("our own batch is read");
        for event in &batch.events {
            tally.count(event, program);
        }
    }
    let began_programs: u64 = storms
        .into_iter()
        .map(|storm| storm.join().unwrap_or_default())
        .sum();
    let seconds = STORM.as_secs();
    println!(
        "began    {began_programs} ({} a second)",
        began_programs / seconds
    );
    println!("{tally:?}, {:?} in the queue", queue.dropped());
    let ticks = read_ticks().saturating_sub(before);
    let elapsed = (monotonic_nanos() - began) / 1_000_000;
    println!(
        "the reader took {} ms of processor time in {elapsed} ms",
        ticks * 10
    );
    drop(watch);
    Ok(())
}

impl Tally {
    fn count(&mut self, event: &LogEvent<'_>, program: &Path) {
        let number = |name: &str| match event.fields.get(name) {
            Some(FieldValue::Integer(number)) => *number,
            _ => 0,
        };
        let is = |name: &str, text: &str| event.fields.get(name) == Some(&FieldValue::from(text));
        let is_ours = is("Image", program.to_str().unwrap_or_default());
        let own = i64::from(std::process::id());
        if is("event", "events_held") {
            self.held += number("executions");
        } else if is("event", "source_lost") {
            self.lost += number("lost");
        } else if is("event", "exited") {
        } else if event.fields.get("SeenLate").is_some() {
            self.late += 1;
        } else if is_ours {
            self.told += 1;
        } else if event.fields.get("Image").is_none() && number("ParentProcessId") == own {
            self.gone += 1;
        }
    }
}

/// Begins programs one after another for as long as the storm blows; returns how many.
fn storm(program: &Path) -> u64 {
    let until = monotonic_nanos() + u64::try_from(STORM.as_nanos()).unwrap_or_default();
    let mut began = 0;
    while monotonic_nanos() < until {
        let child = Command::new(program).stdin(Stdio::null()).spawn();
        let Ok(mut child) = child else { continue };
        began += 1;
        child.wait().ok();
    }
    began
}

/// The processor time of the thread that reads, in hundredths of a second.
fn read_ticks() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task");
    let tasks = tasks.into_iter().flatten().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let ours = stats.filter(|stat| stat.contains("(processes)"));
    ours.filter_map(|stat| {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let user: u64 = fields.get(11)?.parse().ok()?;
        let system: u64 = fields.get(12)?.parse().ok()?;
        Some(user + system)
    })
    .sum()
}
