//! Snapshots of made-up hosts, of hostile processes, and of this machine.

use super::*;
use proptest::prelude::*;

/// A line of `/proc/<pid>/stat` with these ticks, this beginning and so many pages.
fn stat(name: &[u8], ticks: u64, started: u64, pages: i64) -> Vec<u8> {
    let mut line = b"7 (".to_vec();
    line.extend_from_slice(name);
    let rest = format!(
        ") S 1 7 7 0 -1 4194560 1 2 3 4 {ticks} 0 0 0 20 0 1 0 {started} 1000 {pages} 1844 1 1 0\n"
    );
    line.extend_from_slice(rest.as_bytes());
    line
}

struct FakeHost(tempfile::TempDir);

impl FakeHost {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(host.0.path().join("proc/self")).unwrap();
        fs::create_dir_all(host.0.path().join("etc")).unwrap();
        host
    }

    fn run(&self, pid: u32, stat: &[u8], cmdline: &[u8]) {
        let folder = self.0.path().join(format!("proc/{pid}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("stat"), stat).unwrap();
        fs::write(folder.join("cmdline"), cmdline).unwrap();
    }

    fn reader(&self) -> ProcessReader {
        ProcessReader {
            host: HostMeasures {
                ticks_per_second: 100,
                page_bytes: 4_096,
            },
            ..ProcessReader::new(self.0.path().to_owned())
        }
    }
}

fn start() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[test]
fn time_is_told_in_percent_of_a_core_since_the_look_before() {
    let host = FakeHost::new();
    let (mut reader, begun) = (host.reader(), start());
    host.run(1, &stat(b"init", 5_000, 1, 10), b"/sbin/init\0");
    host.run(2, &stat(b"busy", 100, 2, 20), b"busy\0-a\0");

    let first = reader.read(begun).unwrap();
    host.run(2, &stat(b"busy", 400, 2, 20), b"busy\0-a\0");
    host.run(3, &stat(b"new", 50, 900, 30), b"");
    let second = reader.read(begun + Duration::from_secs(2)).unwrap();

    assert!(first.top.iter().all(|process| process.cpu == 0.0));
    let told: Vec<_> = second
        .top
        .iter()
        .map(|p| (p.pid, p.cpu, p.memory_kib))
        .collect();
    assert_eq!(told, [(2, 150.0, 80), (3, 25.0, 120), (1, 0.0, 40)]);
    assert_eq!(second.total, 3);
    assert_eq!(second.top[0].command.as_deref(), Some("busy -a"));
    assert_eq!(second.top[1].command, None);
}

#[test]
fn a_process_that_took_the_id_of_another_is_not_told_to_have_used_its_time() {
    let host = FakeHost::new();
    let (mut reader, begun) = (host.reader(), start());
    host.run(9, &stat(b"old", 90_000, 1, 1), b"old\0");
    reader.read(begun).unwrap();
    host.run(9, &stat(b"new", 100, 5_000, 1), b"new\0");

    let second = reader.read(begun + Duration::from_secs(1)).unwrap();

    assert_eq!(second.top[0].cpu, 100.0);
}

#[test]
fn secrets_and_what_deceives_a_reader_do_not_leave_the_host() {
    let host = FakeHost::new();
    host.run(
        1,
        &stat(b"a) R 1 (b\n\x1b[31m\xff", 1, 1, 1),
        b"mysql\0--password=hunter2\0\xff\x07\0",
    );
    host.run(2, &stat(b"long", 0, 1, 1), &b"x\0".repeat(5_000));

    let processes = host.reader().read(start()).unwrap();

    let first = &processes.top[0];
    assert_eq!(&*first.name, "a) R 1 (b\u{fffd}\u{fffd}[31m\u{fffd}");
    let command = first.command.as_deref().unwrap();
    assert!(
        !command.contains("hunter2") && command.contains("mysql"),
        "{command:?}"
    );
    assert!(!command.contains(char::is_control), "{command:?}");
    assert_eq!(processes.top[1].command.as_deref().map(str::len), Some(384));
}

#[test]
fn no_more_than_two_hundred_are_told_and_the_busiest_first() {
    let host = FakeHost::new();
    for pid in 1..=300 {
        host.run(pid, &stat(b"p", 0, 1, i64::from(pid)), b"p\0");
    }

    let processes = host.reader().read(start()).unwrap();

    assert_eq!(processes.total, 300);
    let pids: Vec<_> = processes.top.iter().map(|process| process.pid).collect();
    assert_eq!(pids, (101..=300).rev().collect::<Vec<_>>());
    let text = hidps_wire::encode(&hidps_wire::AgentFrame::Processes(processes));
    assert!(text.len() < hidps_wire::MAX_AGENT_FRAME_BYTES);
}

#[test]
fn the_longest_snapshot_fits_a_frame() {
    let entry = |pid| ProcessEntry {
        pid,
        name: Shown::new(&"\"".repeat(64)),
        command: Some(Shown::new(&"\\".repeat(1_000))),
        user: Some(Shown::new(&"\"".repeat(64))),
        cpu: 1_000_000.0,
        memory_kib: u64::MAX,
    };
    let processes = Processes {
        total: u32::MAX,
        top: (0..200).map(|n| entry(u32::MAX - n)).collect(),
    };

    let text = hidps_wire::encode(&hidps_wire::AgentFrame::Processes(processes));

    assert!(
        text.len() <= hidps_wire::MAX_AGENT_FRAME_BYTES,
        "{}",
        text.len()
    );
}

#[test]
fn a_host_without_proc_is_told_to_have_none() {
    let error = ProcessReader::new(PathBuf::from("/nonexistent")).read(start());

    assert_eq!(
        error.unwrap_err().to_string(),
        "could not list the processes in /nonexistent/proc"
    );
}

#[test]
fn this_process_is_among_those_of_this_machine() {
    let processes = ProcessReader::new(PathBuf::from("/"))
        .read(start())
        .unwrap();

    assert!(processes.total > 0);
    assert!(processes.top.iter().any(|process| process.memory_kib > 0));
}

#[test]
fn a_command_line_that_is_cut_ends_with_a_whole_word() {
    let of = |line: &[u8]| {
        let begin = line.get(..MAX_COMMAND_LINE).unwrap_or(line);
        let shown = parse_command::<8_192>(begin).map(|shown| shown.as_str().to_owned());
        shown.unwrap_or_default()
    };
    let long = "y".repeat(4_075);

    let cut = of(format!("curl\0{long}\0https://a:hunter2@h/").as_bytes());
    let one = of("z".repeat(5_000).as_bytes());

    assert_eq!(cut, format!("curl {long}"));
    assert_eq!(one, "***", "a thread of the kernel has none");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_a_crash(
        bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let _ = parse_stat(&bytes);
        if let Some(command) = parse_command::<64>(&bytes) {
            prop_assert!(command.len() <= 64 && !command.contains(char::is_control));
        }
    }

    #[test]
    fn the_name_of_a_process_forges_no_number(
        name in prop::collection::vec(any::<u8>(), 0..60), ticks in 0_u64..1_000_000, pages in 0_i64..9_999
    ) {
        let read = parse_stat(&stat(&name, ticks, 77, pages)).unwrap();

        prop_assert_eq!((read.ticks, read.started, read.name), (ticks, 77, name));
        prop_assert_eq!(read.resident_pages, pages.unsigned_abs());
    }
}
