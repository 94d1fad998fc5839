//! Directories that are watched with everything below them, on a real file system.

use std::os::unix::fs::symlink;

use super::*;

const BELOW: WatchDepth = WatchDepth::Everything;

const DIRECTORY: PathState = PathState::Watched(FileKind::Directory);

/// A watcher of everything below "root", and whoever else is named.
async fn watcher_below(directories: &[&str]) -> Watcher {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("root")).unwrap();
    for directory in directories {
        fs::create_dir_all(watcher.path(directory)).unwrap();
    }
    assert_eq!(watcher.watch_deep(&[("root", BELOW)]).await, [DIRECTORY]);
    watcher
}

#[tokio::test]
async fn whatever_happens_deep_below_is_told() {
    let watcher = watcher_below(&["root/a/b/c"]).await;

    fs::write(watcher.path("root/a/b/c/file"), "1").unwrap();
    let written = watcher.told_until("modified root/a/b/c/file").await;
    fs::remove_dir_all(watcher.path("root/a/b")).unwrap();
    let removed = watcher.told_until("deleted root/a/b").await;

    let expected = ["created root/a/b/c/file", "modified root/a/b/c/file"];
    assert_eq!(written, expected);
    let expected = [
        "deleted root/a/b/c/file",
        "deleted root/a/b/c",
        "deleted root/a/b",
    ];
    assert_eq!(removed, expected);
}

#[tokio::test]
async fn no_file_created_at_once_in_a_brand_new_directory_is_missed() {
    let watcher = watcher_below(&[]).await;
    let mut wanted = BTreeSet::new();

    for number in 0..500 {
        let name = format!("root/{number}/deeper");
        fs::create_dir_all(watcher.path(&name)).unwrap();
        fs::write(watcher.path(&format!("{name}/file")), "").unwrap();
        wanted.insert(format!("created {name}/file"));
        // The watcher runs now and then, at every stage of it.
        tokio::task::yield_now().await;
    }

    let mut n_twice = 0;
    let mut told = BTreeSet::new();
    while !wanted.is_subset(&told) {
        for event in watcher.next_events().await {
            n_twice += usize::from(!told.insert(event));
        }
    }
    assert_eq!(n_twice, 0, "and none is told twice");
}

#[tokio::test]
async fn a_file_found_in_a_brand_new_directory_is_told_again_when_it_is_made_again() {
    let watcher = watcher_below(&["elsewhere"]).await;
    let file = watcher.path("root/new/file");
    // Both before the watcher runs: only looking finds the file.
    fs::create_dir(watcher.path("root/new")).unwrap();
    fs::write(&file, "").unwrap();
    watcher.told_until("created root/new/file").await;

    fs::remove_file(&file).unwrap();
    watcher.told_until("deleted root/new/file").await;
    symlink(watcher.path("elsewhere"), &file).unwrap();

    watcher.told_until("created root/new/file").await;
}

#[tokio::test]
async fn a_directory_that_comes_with_content_is_told_with_all_of_it_and_watched() {
    let watcher = watcher_below(&["elsewhere/a/b"]).await;
    fs::write(watcher.path("elsewhere/a/b/file"), "1").unwrap();

    fs::rename(watcher.path("elsewhere/a"), watcher.path("root/a")).unwrap();
    let came = watcher.told_until("moved_to root/a/b/file").await;
    fs::write(watcher.path("root/a/b/file"), "2").unwrap();
    let written = watcher.told_until("modified root/a/b/file").await;

    let expected = [
        "moved_to root/a",
        "moved_to root/a/b",
        "moved_to root/a/b/file",
    ];
    assert_eq!(came, expected);
    assert_eq!(written, ["modified root/a/b/file"]);
}

#[tokio::test]
async fn what_leaves_is_no_longer_watched() {
    let watcher = watcher_below(&["root/a/b"]).await;

    fs::rename(watcher.path("root/a"), watcher.path("gone")).unwrap();
    watcher.told_until("moved_from root/a").await;
    fs::write(watcher.path("gone/b/file"), "1").unwrap();
    fs::create_dir_all(watcher.path("root/a/b")).unwrap();
    let told = watcher.told_until("created root/a/b").await;

    assert_eq!(told, ["created root/a", "created root/a/b"]);
}

#[tokio::test]
async fn a_path_of_which_several_levels_are_missing_is_watched_below_once_it_is_there() {
    let mut watcher = Watcher::start();
    let states = watcher.watch_deep(&[("x/y/root", BELOW)]).await;

    fs::create_dir_all(watcher.path("x/y/root/a")).unwrap();
    watcher.told_until("created x/y/root/a").await;
    fs::write(watcher.path("x/y/root/a/file"), "").unwrap();

    assert_eq!(states, [PathState::Missing]);
    watcher.told_until("created x/y/root/a/file").await;
}

#[tokio::test]
async fn a_path_becomes_recursive_and_no_longer_is_as_desired() {
    let mut watcher = Watcher::start();
    fs::create_dir_all(watcher.path("root/a")).unwrap();
    watcher.watch(&["root"]).await;

    watcher.watch_deep(&[("root", BELOW)]).await;
    fs::write(watcher.path("root/a/one"), "").unwrap();
    let deep = watcher.told_until("created root/a/one").await;
    watcher.watch(&["root"]).await;
    fs::write(watcher.path("root/a/two"), "").unwrap();
    fs::write(watcher.path("root/three"), "").unwrap();
    let flat = watcher.told_until("created root/three").await;

    assert_eq!(deep, ["created root/a/one"]);
    assert_eq!(flat, ["created root/three"]);
}

#[tokio::test]
async fn a_recursive_path_within_another_tells_once_and_hands_over() {
    let mut watcher = Watcher::start();
    fs::create_dir_all(watcher.path("root/a/b")).unwrap();
    let both = [("root", BELOW), ("root/a", BELOW)];
    assert_eq!(watcher.watch_deep(&both).await, [DIRECTORY, DIRECTORY]);

    fs::write(watcher.path("root/a/b/one"), "").unwrap();
    let by_both = watcher.told_until("created root/a/b/one").await;
    watcher.watch_deep(&[("root", BELOW)]).await;
    fs::write(watcher.path("root/a/b/two"), "").unwrap();
    let by_outer = watcher.told_until("created root/a/b/two").await;

    assert_eq!(by_both, ["created root/a/b/one"]);
    assert_eq!(by_outer, ["created root/a/b/two"]);
}

#[tokio::test]
async fn a_link_below_never_leads_outside() {
    let watcher = watcher_below(&["outside/deep", "root/a"]).await;
    symlink(watcher.path("outside"), watcher.path("root/a/link")).unwrap();
    watcher.told_until("created root/a/link").await;

    // A directory that becomes a link between the kernel's word and the look.
    fs::create_dir(watcher.path("root/swapped")).unwrap();
    fs::remove_dir(watcher.path("root/swapped")).unwrap();
    symlink(watcher.path("outside"), watcher.path("root/swapped")).unwrap();
    watcher.told_until("deleted root/swapped").await;
    fs::write(watcher.path("outside/secret"), "").unwrap();
    fs::write(watcher.path("outside/deep/secret"), "").unwrap();
    fs::write(watcher.path("root/last"), "").unwrap();
    let told = watcher.told_until("created root/last").await;

    assert_eq!(told, ["created root/last"]);
}

#[tokio::test]
async fn what_the_kernel_dropped_below_is_found_and_the_loss_is_said() {
    let mut watcher = watcher_below(&["root/a/b", "root/c"]).await;
    for name in ["root/a/b/changed", "root/a/b/gone", "root/a/b/mode"] {
        fs::write(watcher.path(name), "1").unwrap();
        watcher.told_until(&format!("modified {name}")).await;
    }

    // The watcher does not run meanwhile: the kernel's queue holds 16,384 events.
    for number in 0..17_000 {
        fs::File::create(watcher.path(&format!("root/c/{number}"))).unwrap();
    }
    fs::write(watcher.path("root/a/b/changed"), "two and more").unwrap();
    fs::remove_file(watcher.path("root/a/b/gone")).unwrap();
    let mode = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(watcher.path("root/a/b/mode"), mode).unwrap();
    fs::create_dir(watcher.path("root/a/new")).unwrap();
    fs::write(watcher.path("root/a/new/file"), "").unwrap();

    let mut wanted = BTreeSet::from([
        "modified root/a/b/changed",
        "deleted root/a/b/gone",
        "attributes root/a/b/mode",
        "created root/a/new/file",
        "created root/c/16999",
    ]);
    while !wanted.is_empty() {
        for told in &watcher.next_events().await {
            wanted.remove(told.as_str());
        }
    }
    let paths = WatchSet::from([(watcher.watch_path("root"), BELOW)]);
    let outcome = watcher.handle.ensure(paths.clone()).await.unwrap();
    let again = watcher.handle.ensure(paths).await.unwrap();
    assert!(outcome.has_lost && !again.has_lost);
}

#[tokio::test]
async fn an_unmounted_file_system_below_is_told_by_what_is_gone() {
    let mut watcher = Watcher::start();
    fs::create_dir_all(watcher.path("root/mounted")).unwrap();
    let at = watcher.path("root/mounted");
    let Some(mount) = Mount::at(&at) else {
        let test = "an_unmounted_file_system_below_is_told_by_what_is_gone";
        return hidps_lab::say_skipped(test, &"only root may mount");
    };
    fs::create_dir(at.join("a")).unwrap();
    fs::write(at.join("a/file"), "").unwrap();
    watcher.watch_deep(&[("root", BELOW)]).await;

    mount.end();
    watcher.told_until("deleted root/mounted/a").await;
    fs::write(at.join("below"), "").unwrap();

    watcher.told_until("created root/mounted/below").await;
}

#[tokio::test]
async fn a_hundred_thousand_files_are_watched_while_others_have_their_turn() {
    let mut watcher = Watcher::start();
    for directory in 0..1_000 {
        let path = watcher.path(&format!("root/{}/{directory}", directory % 10));
        fs::create_dir_all(&path).unwrap();
        for file in 0..100 {
            fs::File::create(path.join(file.to_string())).unwrap();
        }
    }
    let turns = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let taken = Arc::clone(&turns);
    tasks.spawn(async move {
        loop {
            await_turn().await;
            taken.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });

    let begun = Instant::now();
    let memory = resident();
    let states = watcher.watch_deep(&[("root", BELOW)]).await;
    assert!(
        matches!(states[0], PathState::Surveying { .. }),
        "{states:?}"
    );
    let before = turns.load(std::sync::atomic::Ordering::Relaxed);
    watcher.state_becomes("root", DIRECTORY).await;
    let turns = turns.load(std::sync::atomic::Ordering::Relaxed) - before;
    let (took, memory) = (begun.elapsed(), resident().saturating_sub(memory));
    fs::write(watcher.path("root/9/999/99"), "x").unwrap();
    let told = watcher.told_until("modified root/9/999/99").await;

    println!(
        "100,000 files in 1,011 directories: {took:?}, {} MiB, {turns} turns of others",
        memory >> 20
    );
    assert_eq!(told, ["modified root/9/999/99"]);
    assert!(memory < 64 << 20, "{memory} bytes");
    // Some 256 files are looked at in a turn.
    assert!(turns > 100, "{turns}");
}

/// Waits behind everything that is ready, and for nothing else.
async fn await_turn() {
    let mut was_asked = false;
    let turn = std::future::poll_fn(|context| {
        if std::mem::replace(&mut was_asked, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    });
    turn.await;
}

/// How many bytes this process holds.
fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}
