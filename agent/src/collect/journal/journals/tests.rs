//! Several files as one journal: their order, rotation, restarts, gaps and copies.

use super::super::image::{Image, NewEntry};
use super::*;

struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes in place, as journald does.
    fn write(&self, name: &str, image: &Image) {
        use std::io::Write as _;
        let mut options = File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path(name));
        file.unwrap().write_all(image.bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn open(&self, cursor: Option<Cursor>) -> Journals {
        Journals::open(&[self.directory.path().to_owned()], cursor).unwrap()
    }
}

fn image(series: u8, numbers: impl IntoIterator<Item = u64>) -> Image {
    let mut image = Image::new(false, series);
    for number in numbers {
        append(&mut image, number);
    }
    image
}

fn append(image: &mut Image, number: u64) {
    let text = format!("MESSAGE={number}");
    image.append(NewEntry::numbered(number), &[text.as_bytes()]);
}

/// The messages that are told, and how many entries are told as lost.
fn read(journals: &mut Journals) -> (Vec<u64>, u64) {
    let (mut numbers, mut n_lost) = (Vec::new(), 0);
    let mut take = |told| match told {
        Told::Entry(_, record) => {
            let message = record.message.unwrap();
            numbers.push(std::str::from_utf8(&message).unwrap().parse().unwrap());
        }
        Told::Lost(n, _) => n_lost += n,
    };
    while journals.read_new(&mut take) {}
    (numbers, n_lost)
}

/// A restart: what is kept is what a file holds.
fn kept(journals: &Journals) -> Option<Cursor> {
    let text = serde_json::to_string(journals.cursor()?).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn a_first_run_begins_at_the_end_and_tells_files_in_one_order() {
    let host = Host::new();
    let (mut system, mut user) = (image(1, [1, 2, 4]), image(1, [3]));
    host.write("system.journal", &system);
    host.write("user-1000.journal", &user);
    let mut journals = host.open(None);
    let first = read(&mut journals);

    for number in [5, 6, 9] {
        append(&mut system, number);
    }
    for number in [7, 8, 10] {
        append(&mut user, number);
    }
    host.write("user-1000.journal", &user);
    host.write("system.journal", &system);

    assert_eq!(first, (vec![], 0));
    assert_eq!(read(&mut journals), ((5..=10).collect(), 0));
}

#[test]
fn rotation_loses_nothing_and_repeats_nothing() {
    let host = Host::new();
    let mut system = image(1, 1..=3);
    host.write("system.journal", &system);
    let mut journals = host.open(None);

    append(&mut system, 4);
    system.archive();
    host.write("system.journal", &system);
    host.rename("system.journal", "system@1-1.journal");
    host.write("system.journal", &image(1, 5..=6));
    host.write("user-7.journal", &image(1, [7]));

    assert_eq!(read(&mut journals), ((4..=7).collect(), 0));
    assert_eq!(journals.files.len(), 2, "the old file is closed");
    assert_eq!(read(&mut journals), (vec![], 0));
}

#[test]
fn a_restart_goes_on_behind_the_last_entry_through_rotations() {
    let host = Host::new();
    let mut system = image(1, 1..=3);
    host.write("system.journal", &system);
    let journals = host.open(None);
    let cursor = kept(&journals);
    drop(journals);

    append(&mut system, 4);
    system.archive();
    host.write("system.journal", &system);
    host.rename("system.journal", "system@1-1.journal");
    host.write("system.journal", &image(1, 5..=6));
    let mut again = host.open(cursor);

    assert_eq!(read(&mut again), ((4..=6).collect(), 0));
    let mut third = host.open(kept(&again));
    assert_eq!(read(&mut third), (vec![], 0));
}

#[test]
fn what_was_vacuumed_is_counted_and_the_rest_is_told() {
    let host = Host::new();
    host.write("system.journal", &image(1, 1..=3));
    let cursor = kept(&host.open(None));

    fs::remove_file(host.path("system.journal")).unwrap();
    host.write("system.journal", &image(1, 10..=12));
    let mut again = host.open(cursor);

    assert_eq!(read(&mut again), ((10..=12).collect(), 6));
}

#[test]
fn another_series_of_numbers_is_told_by_its_times() {
    let host = Host::new();
    host.write("system.journal", &image(1, 1..=3));
    let cursor = kept(&host.open(None));

    host.write("system@2-1.journal", &image(2, 2..=5));
    let mut again = host.open(cursor);

    assert_eq!(read(&mut again), (vec![4, 5], 0));
}

#[test]
fn what_journald_moved_to_the_disk_is_not_told_again() {
    let host = Host::new();
    host.write("system.journal", &image(1, 1..=3));
    let mut journals = host.open(None);
    assert_eq!(read(&mut journals).0, Vec::<u64>::new());

    // The same entries under new numbers of the same series, and one that is new.
    let mut flushed = Image::new(false, 1);
    for number in 1..=4 {
        let entry = NewEntry {
            seqnum: number + 3,
            ..NewEntry::numbered(number)
        };
        // The third one is as old as the cursor, which is told by its number alone.
        if number != 3 {
            flushed.append(entry, &[format!("MESSAGE={number}").as_bytes()]);
        }
    }
    fs::remove_file(host.path("system.journal")).unwrap();
    host.write("system.journal", &flushed);

    assert_eq!(read(&mut journals).0, [4]);
}

#[test]
fn damaged_entries_are_counted_and_passed_over() {
    let host = Host::new();
    let mut system = image(1, [1]);
    host.write("system.journal", &system);
    let mut journals = host.open(None);
    append(&mut system, 2);
    let value = system.bytes().len();
    append(&mut system, 3);
    append(&mut system, 4);
    // The first object of the second new entry is its message.
    system.damage(value.next_multiple_of(8), 99);
    host.write("system.journal", &system);

    assert_eq!(read(&mut journals), (vec![2, 4], 1));
}

#[test]
fn damage_without_end_is_passed_over_in_turns() {
    let host = Host::new();
    let mut system = image(1, [1]);
    host.write("system.journal", &system);
    let mut journals = host.open(None);
    // Numbers that nobody gave: every entry but the last is no entry of this file.
    for number in 0..60 {
        append(&mut system, (1 << 60) + number);
    }
    append(&mut system, 2);
    host.write("system.journal", &system);

    let (mut turns, mut n_told) = (Vec::new(), 0);
    while turns.len() < 10 {
        let mut n_damages = 0;
        let more = journals.read_new(|told| match told {
            Told::Entry(..) => n_told += 1,
            Told::Lost(..) => n_damages += 1,
        });
        turns.push(n_damages);
        if !more {
            break;
        }
    }

    assert_eq!((turns, n_told), (vec![TURN_DAMAGES, 60 - TURN_DAMAGES], 1));
}

#[test]
fn no_journal_and_one_that_cannot_be_read_are_told() {
    let host = Host::new();
    let directory = [host.directory.path().to_owned()];
    let absent = Journals::open(&directory, None).unwrap_err();
    fs::write(host.path("system.journal"), "no journal").unwrap();
    let unreadable = Journals::open(&directory, None).unwrap_err();

    assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    assert!(
        unreadable.to_string().contains("not a journal"),
        "{unreadable}"
    );
}

#[test]
fn a_flood_is_told_in_turns() {
    let host = Host::new();
    host.write("system.journal", &image(1, [1]));
    let mut journals = host.open(None);
    for series in 0..8_u64 {
        let from = 10 + series * 60;
        host.write(
            &format!("system@{series}.journal"),
            &image(1, from..from + 60),
        );
    }

    let mut turns = Vec::new();
    loop {
        let mut n_told = 0;
        let more = journals.read_new(|told| {
            n_told += usize::from(matches!(told, Told::Entry(..)));
        });
        turns.push(n_told);
        if !more {
            break;
        }
    }

    assert_eq!(turns.iter().sum::<usize>(), 480);
    assert!(
        turns.iter().all(|n_told| *n_told <= TURN_ENTRIES),
        "{turns:?}"
    );
}

#[test]
fn an_entry_with_a_number_nobody_gave_is_told_as_lost_and_keeps_nothing_back() {
    let host = Host::new();
    let mut system = image(1, 1..=3);
    host.write("system.journal", &system);
    let mut journals = host.open(None);

    for number in [4, 1 << 60, 5] {
        append(&mut system, number);
    }
    host.write("system.journal", &system);

    let (mut told, mut n_lost, mut rounds) = (0, 0, 0);
    while rounds < 100
        && journals.read_new(|one| match one {
            Told::Entry(..) => told += 1,
            Told::Lost(n, _) => n_lost += n,
        })
    {
        rounds += 1;
    }
    assert_eq!((told, n_lost, rounds), (2, 1, 0));
}

#[test]
fn the_highest_number_there_is_has_none_behind_it() {
    let host = Host::new();
    let mut system = image(1, [1]);
    host.write("system.journal", &system);
    let mut journals = host.open(None);

    let highest = NewEntry {
        seqnum: u64::MAX,
        ..NewEntry::numbered(2)
    };
    system.append(highest, &[b"MESSAGE=2"]);
    append(&mut system, 3);
    system.claim_tail(u64::MAX);
    host.write("system.journal", &system);

    assert_eq!(read(&mut journals).0, [2, 3]);
}
