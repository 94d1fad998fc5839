//! Real files under every fate a log may meet, while they are followed and between two runs.

use super::*;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;

struct Log {
    directory: tempfile::TempDir,
    now: Instant,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = Instant::now();
        Self { directory, now }
    }

    fn path(&self) -> PathBuf {
        self.named("auth.log")
    }

    fn named(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn append(&self, text: &str) {
        self.append_to("auth.log", text);
    }

    fn append_to(&self, name: &str, text: &str) {
        let mut options = File::options();
        let file = options.create(true).append(true).open(self.named(name));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Renames, as logrotate does by default.
    fn rotate(&self) {
        fs::rename(self.path(), self.named("auth.log.1")).unwrap();
    }

    /// Copies and truncates, as logrotate does for programs that keep their file open.
    fn copy_and_truncate(&self) {
        fs::copy(self.path(), self.named("auth.log.1")).unwrap();
        self.truncate();
    }

    fn truncate(&self) {
        File::options()
            .write(true)
            .open(self.path())
            .unwrap()
            .set_len(0)
            .unwrap();
    }

    fn follow(&self) -> Follower {
        Follower::start(&self.path(), Start::AtEnd)
    }

    /// Ends a run and begins another.
    fn restart(&self, follower: &Follower) -> Follower {
        let start = match follower.position().unwrap() {
            Some(position) => {
                let text = serde_json::to_string(&position).unwrap();
                Start::At(serde_json::from_str(&text).unwrap())
            }
            None => Start::AtBeginning,
        };
        Follower::start(&self.path(), start)
    }

    fn read(&self, follower: &mut Follower) -> Vec<String> {
        self.read_after(follower, Duration::ZERO)
    }

    fn read_after(&self, follower: &mut Follower, time: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        let mut take =
            |line: Line<'_>| lines.push(String::from_utf8_lossy(line.bytes).into_owned());
        while follower.read_new(self.now + time, &mut take).unwrap() {}
        lines
    }
}

/// Lines long enough to be told from others.
fn lines(name: &str, numbers: std::ops::Range<u32>) -> String {
    let line = |number| format!("{name} {number} {}\n", "x".repeat(40));
    numbers.map(line).collect()
}

fn numbers_of(lines: &[String]) -> Vec<u32> {
    let number = |line: &String| line.split(' ').nth(1).unwrap().parse().unwrap();
    lines.iter().map(number).collect()
}

#[test]
fn a_log_that_is_renamed_again_and_again_keeps_a_bounded_number_of_files_open() {
    let log = Log::new();
    log.append(&lines("one", 0..1));
    let mut follower = log.follow();
    let mut told = Vec::new();

    for number in 1..100 {
        log.rotate();
        log.append(&lines("one", number..number + 1));
        told.extend(log.read(&mut follower));
    }

    assert_eq!(follower.old.len(), MAX_OLD_FILES);
    assert_eq!(numbers_of(&told), (1..100).collect::<Vec<_>>());
    assert_eq!(follower.take_gaps(), 0, "all of them were read");
}

#[test]
fn only_what_is_written_afterwards_is_read() {
    let log = Log::new();
    log.append("old\n");
    let mut follower = log.follow();

    log.append("new\npart");
    let first = log.read(&mut follower);
    log.append("ial\n");
    let second = log.read(&mut follower);

    assert_eq!(
        (first, second),
        (vec!["new".into()], vec!["partial".into()])
    );
}

#[test]
fn rotation_by_rename_loses_nothing_however_late_the_writer_changes_over() {
    let log = Log::new();
    log.append("old\n");
    let mut follower = log.follow();

    log.append("one\n");
    log.rotate();
    let moved = log.read(&mut follower);
    log.append_to("auth.log.1", "two\nthr");
    log.append("four\n");
    let both = log.read(&mut follower);
    log.append_to("auth.log.1", "ee\nunfinished");
    let late = log.read(&mut follower);
    let closed = log.read_after(&mut follower, OLD_FILE_QUIET);

    assert_eq!(moved, ["one"]);
    assert_eq!(both, ["two", "four"]);
    assert_eq!(late, ["three"]);
    assert_eq!(closed, ["unfinished"]);
    assert!(follower.old.is_empty());
}

#[test]
fn truncation_starts_over() {
    let log = Log::new();
    log.append("a long first line\n");
    let mut follower = log.follow();

    fs::write(log.path(), "new\n").unwrap();

    assert_eq!(log.read(&mut follower), ["new"]);
}

#[test]
fn a_truncated_file_that_has_grown_beyond_its_old_length_is_known() {
    let log = Log::new();
    log.append(&lines("old", 0..3));
    let mut follower = log.follow();

    log.truncate();
    log.append(&lines("new", 0..9));

    assert_eq!(
        numbers_of(&log.read(&mut follower)),
        (0..9).collect::<Vec<_>>()
    );
}

#[test]
fn copying_and_truncating_loses_nothing_that_is_in_the_copy() {
    let log = Log::new();
    log.append(&lines("line", 0..5));
    let mut follower = log.follow();

    log.append(&lines("line", 5..8));
    log.append("line 8 begun");
    log.read(&mut follower);
    log.append(" and ended\n");
    log.append(&lines("line", 9..11));
    log.copy_and_truncate();
    log.append(&lines("line", 11..13));

    let read = log.read(&mut follower);
    assert_eq!(numbers_of(&read), [8, 9, 10, 11, 12]);
    assert_eq!(read[0], "line 8 begun and ended");
}

#[test]
fn a_writer_that_keeps_its_place_in_a_truncated_file_is_followed() {
    let log = Log::new();
    log.append(&lines("old", 0..2_000));
    let mut writer = File::options().write(true).open(log.path()).unwrap();
    writer.seek(SeekFrom::End(0)).unwrap();
    let mut follower = log.follow();

    log.truncate();
    writer.write_all(b"new line\n").unwrap();

    let read = log.read(&mut follower);
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!(read[0].trim_start_matches('\0'), "new line");
}

#[test]
fn a_file_that_appears_later_is_read_from_its_beginning() {
    let log = Log::new();
    let mut follower = log.follow();
    assert!(follower.read_new(log.now, |_| {}).is_err());

    log.append("first\n");

    assert_eq!(log.read(&mut follower), ["first"]);
}

#[test]
fn a_file_that_is_deleted_and_made_again_is_read_from_its_beginning() {
    let log = Log::new();
    log.append(&lines("old", 0..3));
    let mut follower = log.follow();

    fs::remove_file(log.path()).unwrap();
    assert!(log.read(&mut follower).is_empty());
    log.append(&lines("new", 0..6));

    assert_eq!(log.read(&mut follower).len(), 6);
}

#[test]
fn what_is_not_a_file_is_refused_at_once() {
    let log = Log::new();
    fs::create_dir(log.path()).unwrap();
    let mut follower = log.follow();

    assert!(follower.read_new(log.now, |_| {}).is_err());
}

#[test]
fn a_flood_is_read_in_turns() {
    let log = Log::new();
    log.append("");
    let mut follower = log.follow();
    log.append(&"x\n".repeat(TURN_BYTES));

    let mut n_lines = 0;
    let more = follower.read_new(log.now, |_| n_lines += 1).unwrap();

    assert!(more && n_lines < TURN_BYTES);
    assert_eq!(n_lines + log.read(&mut follower).len(), TURN_BYTES);
}

#[test]
fn a_link_that_is_turned_to_another_file_is_followed() {
    let log = Log::new();
    log.append_to("monday", "old\n");
    std::os::unix::fs::symlink(log.named("monday"), log.path()).unwrap();
    let mut follower = log.follow();
    log.append_to("monday", "one\n");
    let first = log.read(&mut follower);

    log.append_to("tuesday", "two\n");
    fs::remove_file(log.path()).unwrap();
    std::os::unix::fs::symlink(log.named("tuesday"), log.path()).unwrap();

    assert_eq!(first, ["one"]);
    assert_eq!(log.read(&mut follower), ["two"]);
}

/// Whether modes bind this process; those of root do not.
fn are_modes_binding(path: &Path) -> bool {
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    let is_refused = File::open(path).is_err();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    is_refused
}

#[test]
fn a_file_that_cannot_be_read_for_a_while_is_read_whole_afterwards() {
    let log = Log::new();
    log.append("old\n");
    let mut follower = log.follow();
    log.rotate();
    // What is no file cannot be read by anybody; modes do not bind root.
    fs::create_dir(log.path()).unwrap();
    assert!(follower.read_new(log.now, |_| {}).is_err());
    fs::remove_dir(log.path()).unwrap();
    log.append("new\n");

    assert_eq!(log.read(&mut follower), ["new"]);
    if are_modes_binding(&log.path()) {
        log.rotate();
        log.append("newer\n");
        fs::set_permissions(log.path(), fs::Permissions::from_mode(0o000)).unwrap();
        assert!(follower.read_new(log.now, |_| {}).is_err());
        fs::set_permissions(log.path(), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(log.read(&mut follower), ["newer"]);
    }
}

#[test]
fn what_could_not_be_opened_at_first_is_not_read_from_its_beginning() {
    let log = Log::new();
    fs::create_dir(log.path()).unwrap();
    let mut follower = log.follow();
    assert!(follower.position().is_err());
    fs::remove_dir(log.path()).unwrap();

    log.append("old\n");
    let first = log.read(&mut follower);
    log.append("new\n");

    assert!(first.is_empty());
    assert_eq!(log.read(&mut follower), ["new"]);
}

#[test]
fn a_restart_neither_loses_nor_repeats_a_line() {
    let log = Log::new();
    log.append("old\n");
    let mut follower = log.follow();
    log.append("one\nbeg");
    let first = log.read(&mut follower);

    let mut again = log.restart(&follower);
    log.append("un\ntwo\n");

    assert_eq!(first, ["one"]);
    assert_eq!(log.read(&mut again), ["begun", "two"]);
    assert_eq!(again.take_gaps(), 0);
}

#[test]
fn the_rest_of_a_long_line_is_no_line_after_a_restart() {
    let log = Log::new();
    log.append("");
    let mut follower = log.follow();
    log.append(&"x".repeat(40_000));
    let first = log.read(&mut follower);

    let mut again = log.restart(&follower);
    log.append("the rest\nnext\n");

    assert_eq!(first.len(), 1);
    assert_eq!(log.read(&mut again), ["next"]);
}

#[test]
fn a_file_that_was_absent_is_read_from_its_beginning_after_a_restart() {
    let log = Log::new();
    let follower = log.follow();

    let mut again = log.restart(&follower);
    log.append("first\n");

    assert_eq!(log.read(&mut again), ["first"]);
}

#[test]
fn rotations_while_the_agent_does_not_run_are_caught_up_with() {
    let log = Log::new();
    log.append(&lines("line", 0..4));
    let follower = log.follow();

    log.append(&lines("line", 4..6));
    fs::rename(log.path(), log.named("auth.log.2")).unwrap();
    log.append(&lines("line", 6..8));
    set_age(&log.named("auth.log.2"), 20);
    log.rotate();
    set_age(&log.named("auth.log.1"), 10);
    log.append(&lines("line", 8..10));
    let mut again = log.restart(&follower);

    assert_eq!(
        numbers_of(&log.read(&mut again)),
        (4..10).collect::<Vec<_>>()
    );
    assert_eq!(again.take_gaps(), 0);
}

#[test]
fn a_copy_and_a_truncation_while_the_agent_does_not_run_are_caught_up_with() {
    let log = Log::new();
    log.append(&lines("line", 0..4));
    let follower = log.follow();

    log.append(&lines("line", 4..6));
    log.copy_and_truncate();
    log.append(&lines("line", 6..30));
    let mut again = log.restart(&follower);

    assert_eq!(
        numbers_of(&log.read(&mut again)),
        (4..30).collect::<Vec<_>>()
    );
}

#[test]
fn what_was_packed_while_the_agent_did_not_run_is_a_gap() {
    let log = Log::new();
    log.append(&lines("line", 0..4));
    let follower = log.follow();

    fs::remove_file(log.path()).unwrap();
    log.append_to("auth.log.1.gz", "packed");
    log.append_to("auth.log.bak", &lines("line", 0..4));
    log.append(&lines("line", 6..8));
    let mut again = log.restart(&follower);

    assert_eq!(numbers_of(&log.read(&mut again)), [6, 7]);
    assert_eq!((again.take_gaps(), again.take_gaps()), (1, 0));
}

#[test]
fn a_new_file_with_the_old_ones_number_is_read_from_its_beginning() {
    let log = Log::new();
    log.append(&lines("old", 0..4));
    let follower = log.follow();
    let old = follower.position().unwrap().unwrap();

    log.truncate();
    log.append(&lines("new", 0..8));
    let mut again = Follower::start(&log.path(), Start::At(old));

    assert_eq!(log.read(&mut again).len(), 8);
}

#[test]
fn a_restart_in_the_middle_of_a_rotated_file_goes_on_there() {
    let log = Log::new();
    log.append(&lines("line", 0..4));
    let follower = log.follow();
    log.append(&lines("line", 4..8_000));
    log.rotate();
    log.append(&lines("line", 8_000..8_002));
    let mut first = Vec::new();
    let mut half = log.restart(&follower);
    let take = |line: Line<'_>| first.push(String::from_utf8(line.bytes.to_owned()).unwrap());
    assert!(half.read_new(log.now, take).unwrap());

    let mut again = log.restart(&half);
    let rest = log.read(&mut again);

    let all = [numbers_of(&first), numbers_of(&rest)].concat();
    assert!(rest.len() > 2);
    assert_eq!(all, (4..8_002).collect::<Vec<_>>());
}

fn set_age(path: &Path, secs: u64) {
    let time = std::time::SystemTime::now() - Duration::from_secs(secs);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}
