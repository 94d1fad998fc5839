//! Real files on a real file system, watched by the real kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hidps_wire::{
    EventBatch, EventKind, FieldValue, LogEvent, MAX_AGENT_FRAME_BYTES, WatchDepth, decode, encode,
};
use proptest::prelude::*;
use tokio::task::JoinSet;

use super::path_state::Stamp;
use super::*;
use crate::collect::process::host_processes;
use crate::state_dir::StateDir;
use watcher::{Mount, Told, Watcher, file_events};

mod away;
mod facts;
mod hung;
mod recursive;
mod watcher;

/// Longer than the kernel and the coalescing take, on any machine.
const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_written_file_is_one_modification() {
    let mut watcher = Watcher::start();
    fs::write(watcher.path("file"), "one").unwrap();
    let states = watcher.watch(&["file"]).await;

    for text in ["two", "three", "four"] {
        fs::write(watcher.path("file"), text).unwrap();
    }
    fs::remove_file(watcher.path("file")).unwrap();

    assert_eq!(states, [PathState::Watched(FileKind::File)]);
    assert_eq!(
        watcher.told_until("deleted file").await,
        ["modified file", "deleted file"]
    );
}

#[tokio::test]
async fn a_file_replaced_by_rename_is_told_and_watched_on() {
    let mut watcher = Watcher::start();
    fs::write(watcher.path("file"), "one").unwrap();
    watcher.watch(&["file"]).await;

    fs::write(watcher.path("draft"), "two").unwrap();
    fs::rename(watcher.path("draft"), watcher.path("file")).unwrap();
    let replaced = watcher.told_until("moved_to file").await;
    fs::write(watcher.path("file"), "three").unwrap();
    let written = watcher.told_until("modified file").await;

    assert_eq!(replaced, ["moved_to file"]);
    assert_eq!(written, ["modified file"]);
}

#[tokio::test]
async fn events_that_the_kernel_dropped_are_counted_as_an_unknown_number() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("d")).unwrap();
    watcher.watch(&["d"]).await;
    let before = watcher.board.lost();
    let room = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let room: u32 = room.trim().parse().unwrap();

    // The watcher has no turn before this is over.
    for _ in 0..=room / 2 {
        for name in ["d/a", "d/b"] {
            fs::write(watcher.path(name), "x").unwrap();
        }
    }
    let wanted = WatchSet::from([(watcher.watch_path("d"), WatchDepth::Entries)]);
    let heard = async {
        while !watcher
            .handle
            .ensure(wanted.clone())
            .await
            .unwrap()
            .has_lost
        {}
    };
    tokio::time::timeout(DEADLINE, heard).await.unwrap();

    assert!(before.is_empty(), "{before:?}");
    assert_eq!(watcher.board.lost().of(FILES).as_deref(), Some("unknown"));
}

#[tokio::test]
async fn a_file_moved_away_is_missing_and_no_longer_watched() {
    let mut watcher = Watcher::start();
    fs::write(watcher.path("file"), "one").unwrap();
    watcher.watch(&["file"]).await;

    fs::rename(watcher.path("file"), watcher.path("elsewhere")).unwrap();
    let moved = watcher.told_until("moved_from file").await;
    watcher.state_becomes("file", PathState::Missing).await;
    fs::write(watcher.path("elsewhere"), "two").unwrap();
    fs::write(watcher.path("file"), "new").unwrap();
    let created = watcher.told_until("modified file").await;

    assert_eq!(moved, ["moved_from file"]);
    assert_eq!(created, ["created file", "modified file"]);
    let watched = PathState::Watched(FileKind::File);
    watcher.state_becomes("file", watched).await;
}

#[tokio::test]
async fn a_deleted_file_heals_when_it_comes_back() {
    let mut watcher = Watcher::start();
    fs::write(watcher.path("file"), "one").unwrap();
    watcher.watch(&["file"]).await;

    fs::remove_file(watcher.path("file")).unwrap();
    let deleted = watcher.told_until("deleted file").await;
    fs::write(watcher.path("file"), "two").unwrap();
    let created = watcher.told_until("modified file").await;

    assert_eq!(deleted, ["deleted file"]);
    assert_eq!(created, ["created file", "modified file"]);
}

#[tokio::test]
async fn a_path_whose_directories_are_missing_heals_when_they_appear() {
    let mut watcher = Watcher::start();
    let states = watcher.watch(&["a/b/file"]).await;

    fs::create_dir_all(watcher.path("a/b")).unwrap();
    fs::write(watcher.path("a/b/file"), "one").unwrap();
    let told = watcher.told_until("created a/b/file").await;

    assert_eq!(states, [PathState::Missing]);
    assert_eq!(told, ["created a/b/file"]);
}

#[tokio::test]
async fn a_file_whose_directory_is_moved_away_is_told() {
    let mut watcher = Watcher::start();
    fs::create_dir_all(watcher.path("a/b")).unwrap();
    fs::write(watcher.path("a/b/file"), "one").unwrap();
    watcher.watch(&["a/b/file"]).await;

    fs::rename(watcher.path("a"), watcher.path("z")).unwrap();
    let gone = watcher.told_until("moved_from a/b/file").await;
    fs::write(watcher.path("z/b/file"), "unseen").unwrap();
    fs::rename(watcher.path("z"), watcher.path("a")).unwrap();
    let back = watcher.told_until("moved_to a/b/file").await;

    assert_eq!(gone, ["moved_from a/b/file"]);
    assert_eq!(back, ["moved_to a/b/file"]);
}

#[tokio::test]
async fn a_directory_tells_of_its_entries_by_name() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("dir")).unwrap();
    let states = watcher.watch(&["dir"]).await;

    fs::write(watcher.path("dir/one"), "1").unwrap();
    let created = watcher.told_until("modified dir/one").await;
    fs::rename(watcher.path("dir/one"), watcher.path("dir/two")).unwrap();
    fs::remove_file(watcher.path("dir/two")).unwrap();
    let renamed = watcher.told_until("deleted dir/two").await;

    assert_eq!(states, [PathState::Watched(FileKind::Directory)]);
    assert_eq!(created, ["created dir/one", "modified dir/one"]);
    assert_eq!(renamed, ["renamed dir/two", "deleted dir/two"]);
}

#[tokio::test]
async fn a_changed_mode_is_told_as_such() {
    let mut watcher = Watcher::start();
    fs::write(watcher.path("file"), "one").unwrap();
    watcher.watch(&["file"]).await;

    fs::set_permissions(watcher.path("file"), fs::Permissions::from_mode(0o4755)).unwrap();
    let told = watcher.told_until("attributes file").await;

    assert_eq!(told, ["attributes file"]);
}

#[tokio::test]
async fn neighbours_of_a_watched_file_are_nobodys_business() {
    let mut watcher = Watcher::start();
    fs::write(watcher.path("file"), "one").unwrap();
    watcher.watch(&["file"]).await;

    fs::write(watcher.path("neighbour"), "x").unwrap();
    fs::remove_file(watcher.path("neighbour")).unwrap();
    fs::write(watcher.path("file"), "two").unwrap();
    let told = watcher.told_until("modified file").await;

    assert_eq!(told, ["modified file"]);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_first_read_is_modified_and_not_touched() {
    let mut watcher = Watcher::start();
    let names: Vec<String> = (0..60).map(|number| format!("file-{number:02}")).collect();
    for name in &names {
        fs::write(watcher.path(name), "one").unwrap();
    }
    watcher
        .watch(&names.iter().map(String::as_str).collect::<Vec<_>>())
        .await;

    for name in &names {
        fs::write(watcher.path(name), "two").unwrap();
        tokio::task::yield_now().await;
    }
    let told = watcher.told_until("modified file-59").await;

    let touched: Vec<_> = told.iter().filter(|it| it.starts_with("touched")).collect();
    assert!(touched.is_empty(), "{touched:?}");
}

#[tokio::test]
async fn a_symbolic_link_is_watched_itself_and_not_followed() {
    let mut watcher = Watcher::start();
    fs::write(watcher.path("target"), "one").unwrap();
    std::os::unix::fs::symlink(watcher.path("target"), watcher.path("link")).unwrap();
    let states = watcher.watch(&["link"]).await;

    fs::write(watcher.path("target"), "two").unwrap();
    fs::remove_file(watcher.path("link")).unwrap();
    let told = watcher.told_until("deleted link").await;

    assert_eq!(states, [PathState::Watched(FileKind::SymbolicLink)]);
    assert_eq!(told, ["deleted link"]);
}

#[tokio::test]
async fn a_path_that_is_no_longer_desired_is_no_longer_told() {
    let mut watcher = Watcher::start();
    fs::write(watcher.path("one"), "1").unwrap();
    fs::write(watcher.path("two"), "2").unwrap();
    watcher.watch(&["one", "two"]).await;

    watcher.watch(&["two"]).await;
    fs::write(watcher.path("one"), "x").unwrap();
    fs::write(watcher.path("two"), "x").unwrap();
    let told = watcher.told_until("modified two").await;

    assert_eq!(told, ["modified two"]);
}

#[tokio::test]
async fn a_file_and_its_directory_are_told_once() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("dir")).unwrap();
    fs::write(watcher.path("dir/file"), "1").unwrap();
    watcher.watch(&["dir", "dir/file"]).await;

    fs::write(watcher.path("dir/file"), "2").unwrap();
    fs::remove_file(watcher.path("dir/file")).unwrap();
    let told = watcher.told_until("deleted dir/file").await;

    assert_eq!(told, ["modified dir/file", "deleted dir/file"]);
}

#[tokio::test]
async fn a_watched_directory_that_appears_with_another_inside_leads_to_files_below_both() {
    let mut watcher = Watcher::start();
    watcher.watch(&["d", "d/s/x"]).await;

    // The watcher sees both at once: no event tells of the inner one.
    fs::create_dir(watcher.path("d")).unwrap();
    fs::create_dir(watcher.path("d/s")).unwrap();
    let directory = PathState::Watched(FileKind::Directory);
    watcher.state_becomes("d", directory).await;
    fs::write(watcher.path("d/s/x"), "x").unwrap();

    let file = PathState::Watched(FileKind::File);
    watcher.state_becomes("d/s/x", file).await;
}

/// What is made from here on has another time of birth than what was made before.
fn pass_a_tick_of_the_file_system(directory: &Path) {
    let born = |name: &str| {
        let path = directory.join(name);
        fs::write(&path, "").unwrap();
        let born = fs::metadata(&path).unwrap().created().unwrap();
        fs::remove_file(&path).unwrap();
        born
    };
    let before = born("before");
    let end = std::time::Instant::now() + DEADLINE;
    while born("after") == before {
        assert!(std::time::Instant::now() < end, "its clock stands still");
    }
}

#[tokio::test]
async fn what_was_gone_for_a_moment_is_said_to_have_been() {
    // What somebody does before the watcher can look, and which paths were gone by it.
    let check = async |act: fn(&Path), gone: &[&str]| {
        let mut watcher = Watcher::start();
        fs::create_dir_all(watcher.path("above/directory")).unwrap();
        fs::write(watcher.path("above/file"), "1").unwrap();
        let names = ["above/directory", "above/file"];
        watcher.watch(&names).await;
        pass_a_tick_of_the_file_system(watcher.directory.path());

        act(&watcher.path("above"));
        if !gone.is_empty() {
            let changed = watcher.handle.changed();
            let changed = tokio::time::timeout(DEADLINE, changed).await;
            changed.unwrap_or_else(|_| panic!("{gone:?} is noticed"));
        }
        let paths: WatchSet = names
            .iter()
            .map(|name| (watcher.watch_path(name), WatchDepth::Entries))
            .collect();
        let outcome = watcher.handle.ensure(paths.clone()).await.unwrap();
        let again = watcher.handle.ensure(paths).await.unwrap();

        let gone = gone.iter().map(|name| watcher.watch_path(name)).collect();
        assert_eq!(outcome.vanished, gone);
        assert_eq!(again.vanished, BTreeSet::new(), "it is said once");
        let is_watched = |state: &PathState| matches!(state, PathState::Watched(_));
        assert!(outcome.states.values().all(is_watched), "{outcome:?}");
    };

    check(
        |above| {
            fs::remove_dir(above.join("directory")).unwrap();
            fs::create_dir(above.join("directory")).unwrap();
        },
        &["above/directory"],
    )
    .await;
    check(
        |above| {
            fs::remove_dir_all(above).unwrap();
            fs::create_dir_all(above.join("directory")).unwrap();
            fs::write(above.join("file"), "2").unwrap();
        },
        &["above/directory", "above/file"],
    )
    .await;
    check(
        |above| {
            fs::write(above.join("draft"), "2").unwrap();
            fs::rename(above.join("draft"), above.join("file")).unwrap();
        },
        &[],
    )
    .await;
}

#[tokio::test]
async fn no_change_is_missed_while_an_answer_is_on_its_way() {
    let mut watcher = Watcher::start();
    let path = watcher.path("directory");
    let paths = WatchSet::from([(watcher.watch_path("directory"), WatchDepth::Entries)]);
    watcher.handle.ensure(paths.clone()).await.unwrap();

    for round in 0..1_000 {
        let (is_there, path) = (round % 2 == 0, path.clone());
        let somebody = std::thread::spawn(move || {
            if is_there {
                fs::create_dir(&path).unwrap();
            } else {
                fs::remove_dir(&path).unwrap();
            }
        });
        let mut last = watcher.handle.ensure(paths.clone()).await.unwrap();
        somebody.join().unwrap();

        let wanted = if is_there {
            PathState::Watched(FileKind::Directory)
        } else {
            PathState::Missing
        };
        while last.states.values().any(|state| *state != wanted) {
            watcher.handle.not_before = Instant::now();
            let changed = tokio::time::timeout(DEADLINE, watcher.handle.changed()).await;
            changed.unwrap_or_else(|_| panic!("the change of round {round} is told"));
            last = watcher.handle.ensure(paths.clone()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_directory_that_was_made_again_is_watched_on() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("directory")).unwrap();
    watcher.watch(&["directory"]).await;

    fs::remove_dir(watcher.path("directory")).unwrap();
    watcher.state_becomes("directory", PathState::Missing).await;
    fs::create_dir(watcher.path("directory")).unwrap();
    let watched = PathState::Watched(FileKind::Directory);
    watcher.state_becomes("directory", watched).await;
    fs::write(watcher.path("directory/entry"), "1").unwrap();

    watcher.told_until("modified directory/entry").await;
}

#[tokio::test]
async fn what_the_kernel_dropped_is_found_by_comparing() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("dir")).unwrap();
    fs::write(watcher.path("file"), "one").unwrap();
    watcher.watch(&["dir", "file", "gone", "new"]).await;
    fs::write(watcher.path("gone"), "").unwrap();
    watcher.told_until("created gone").await;

    // The watcher does not run meanwhile: the kernel's queue holds 16,384 events.
    for number in 0..17_000 {
        fs::File::create(watcher.path(&format!("dir/{number}"))).unwrap();
    }
    fs::write(watcher.path("file"), "two and more").unwrap();
    fs::remove_file(watcher.path("gone")).unwrap();
    fs::write(watcher.path("new"), "").unwrap();

    let mut lost = BTreeSet::from(["modified file", "deleted gone", "created new"]);
    while !lost.is_empty() {
        for told in &watcher.next_events().await {
            lost.remove(told.as_str());
        }
    }
}

/// What happens to a small tree of files.
#[derive(Clone, Debug)]
enum Step {
    Write(&'static str),
    Remove(&'static str),
    Move(&'static str, &'static str),
    MakeDirectory(&'static str),
    Link(&'static str),
    /// Let the watcher take in what has happened so far.
    Rest,
}

impl Step {
    /// Many steps are not possible in the present tree; nothing happens then.
    fn take(&self, root: &Path) {
        let at = |name: &str| root.join(name);
        match self {
            Self::Write(name) => fs::write(at(name), "x").ok(),
            Self::Remove(name) => fs::remove_file(at(name))
                .or_else(|_| fs::remove_dir_all(at(name)))
                .ok(),
            Self::Move(from, to) => fs::rename(at(from), at(to)).ok(),
            Self::MakeDirectory(name) => fs::create_dir(at(name)).ok(),
            Self::Link(name) => std::os::unix::fs::symlink(at("elsewhere"), at(name)).ok(),
            Self::Rest => None,
        };
    }
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec!["a", "d", "d/b", "d/c", "e", "d/s", "d/s/x"]);
    prop_oneof![
        3 => name.clone().prop_map(Step::Write),
        2 => name.clone().prop_map(Step::Remove),
        3 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Move(from, to)),
        2 => name.clone().prop_map(Step::MakeDirectory),
        1 => name.prop_map(Step::Link),
        2 => Just(Step::Rest),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_the_report_becomes_what_is_so(steps in prop::collection::vec(step(), 1..25)) {
        const WATCHED: [&str; 5] = ["a", "d", "d/b", "d/s/x", "e"];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut watcher = Watcher::start();
            watcher.watch(&WATCHED).await;

            for step in &steps {
                step.take(watcher.directory.path());
                if matches!(step, Step::Rest) {
                    tokio::task::yield_now().await;
                }
            }

            // By events alone: nobody asks the watcher to look again.
            for name in WATCHED {
                let is_so = match Stamp::read(&watcher.path(name)).unwrap() {
                    Some(stamp) => PathState::Watched(stamp.kind),
                    None => PathState::Missing,
                };
                watcher.state_becomes(name, is_so).await;
            }
        });
    }
}
