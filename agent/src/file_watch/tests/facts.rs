//! What an event says beside what happened: content, mode, owner, and who did it.

use std::os::unix::fs::chown;
use std::process::Command;

use super::super::check_who;
use super::*;

impl Watcher {
    /// The next event of a file that did this.
    async fn next_of(&self, action: &str, name: &str) -> Told {
        let target = self.path(name).to_str().unwrap().to_owned();
        loop {
            let events = self.next_fields().await;
            let mut found = events.into_iter();
            let is_it = |told: &Told| told["action"] == action && told["TargetFilename"] == target;
            if let Some(found) = found.find(is_it) {
                return found;
            }
        }
    }

    /// Waits until what is in a file is known, so that a change of it can be told as one.
    pub(super) async fn content_is_known(&self, name: &str) {
        let path = self.path(name);
        let content = fs::read(&path).unwrap();
        let end = Instant::now() + DEADLINE;
        loop {
            // Written with the same content: touched if it was known, else modified.
            fs::write(&path, &content).unwrap();
            let events = self.next_fields().await;
            if events.iter().any(|told| told["action"] == "touched") {
                return;
            }
            assert!(Instant::now() < end, "{name} is never hashed");
        }
    }
}

fn value<'t>(told: &'t Told, name: &str) -> Option<&'t str> {
    told.get(name).map(String::as_str)
}

#[tokio::test]
async fn a_change_of_content_says_what_it_was_and_what_it_is() {
    let mut watcher = Watcher::start();
    fs::create_dir_all(watcher.path("dir/below")).unwrap();
    for name in ["single", "dir/entry", "dir/below/deep"] {
        fs::write(watcher.path(name), "abc").unwrap();
    }
    let below = [
        ("single", WatchDepth::Entries),
        ("dir", WatchDepth::Everything),
    ];
    watcher.watch_deep(&below).await;

    for name in ["single", "dir/entry", "dir/below/deep"] {
        watcher.content_is_known(name).await;
        fs::write(watcher.path(name), "abcd").unwrap();
        let told = watcher.next_of("modified", name).await;

        let begins = |field: &str, with: &str| told[field].starts_with(with);
        assert!(begins("old_sha256", "ba7816bf"), "{told:?}");
        assert!(begins("sha256", "88d4266f"), "{told:?}");
        assert_eq!(
            (value(&told, "size"), value(&told, "unhashed")),
            (Some("4"), None)
        );
    }
}

#[tokio::test]
async fn a_touched_file_does_not_say_that_it_changed() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("dir")).unwrap();
    fs::write(watcher.path("dir/file"), "abc").unwrap();
    watcher.watch(&["dir"]).await;
    watcher.content_is_known("dir/file").await;

    let file = fs::File::open(watcher.path("dir/file")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    let told = watcher.told_until("touched dir/file").await;

    assert_eq!(told, ["touched dir/file"]);
}

#[tokio::test]
async fn mode_and_owner_are_told_as_they_were_and_are() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("dir")).unwrap();
    let file = watcher.path("dir/file");
    fs::write(&file, "abc").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    watcher.watch(&["dir"]).await;

    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
    let mode = watcher.next_of("attributes", "dir/file").await;
    assert_eq!(value(&mode, "old_mode"), Some("0640"));
    assert_eq!(
        (value(&mode, "mode"), value(&mode, "setuid")),
        (Some("4755"), Some("true"))
    );
    assert_eq!(
        (value(&mode, "owner"), value(&mode, "old_owner")),
        (Some("root"), None)
    );

    chown(&file, Some(1), Some(2)).unwrap();
    let owner = watcher.next_of("attributes", "dir/file").await;
    assert_eq!(value(&owner, "old_owner"), Some("root"));
    assert_eq!(
        (value(&owner, "owner"), value(&owner, "setuid")),
        (Some("daemon"), Some("false"))
    );
    assert_eq!(
        (value(&owner, "group_id"), value(&owner, "old_group_id")),
        (Some("2"), Some("0"))
    );
}

#[tokio::test]
async fn a_renaming_is_one_event_with_both_names() {
    let mut watcher = Watcher::start();
    fs::create_dir_all(watcher.path("root/a")).unwrap();
    fs::create_dir_all(watcher.path("root/b")).unwrap();
    fs::write(watcher.path("root/a/one"), "abc").unwrap();
    watcher
        .watch_deep(&[("root", WatchDepth::Everything)])
        .await;

    fs::rename(watcher.path("root/a/one"), watcher.path("root/b/two")).unwrap();
    let told = watcher.next_of("renamed", "root/b/two").await;

    let from = watcher.path("root/a/one");
    assert_eq!(value(&told, "SourceFilename"), from.to_str());
}

#[tokio::test]
async fn a_hard_link_is_told_where_it_is_and_where_it_leads() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("dir")).unwrap();
    fs::write(watcher.path("outside"), "abc").unwrap();
    watcher.watch(&["dir", "outside"]).await;

    fs::hard_link(watcher.path("outside"), watcher.path("dir/link")).unwrap();
    let link = watcher.next_of("created", "dir/link").await;
    assert!(link["sha256"].starts_with("ba7816bf"), "{link:?}");
    fs::write(watcher.path("dir/link"), "abcd").unwrap();

    watcher.next_of("modified", "outside").await;
}

#[tokio::test]
async fn pipes_and_devices_are_told_and_hold_up_nobody() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("dir")).unwrap();
    let pipe = watcher.path("dir/pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    watcher.watch_deep(&[("dir", WatchDepth::Everything)]).await;

    let second = watcher.path("dir/second");
    assert!(
        Command::new("mkfifo")
            .arg(&second)
            .status()
            .unwrap()
            .success()
    );
    let told = watcher.next_of("created", "dir/second").await;
    assert_eq!(
        (value(&told, "sha256"), value(&told, "unhashed")),
        (None, None)
    );
    fs::rename(&second, watcher.path("dir/third")).unwrap();
    watcher.next_of("renamed", "dir/third").await;
    fs::write(watcher.path("dir/file"), "abc").unwrap();

    let told = watcher.next_of("modified", "dir/file").await;
    assert!(told["sha256"].starts_with("ba7816bf"), "{told:?}");
}

#[tokio::test]
async fn a_large_file_says_that_it_is_not_hashed() {
    let mut watcher = Watcher::start();
    fs::create_dir(watcher.path("dir")).unwrap();
    watcher.watch(&["dir"]).await;

    let file = fs::File::create(watcher.path("dir/large")).unwrap();
    file.set_len(17 * 1024 * 1024).unwrap();
    let told = watcher.next_of("created", "dir/large").await;

    assert_eq!(
        (value(&told, "unhashed"), value(&told, "sha256")),
        (Some("too_large"), None)
    );
}

#[tokio::test]
async fn who_did_it_is_told_where_the_kernel_tells() {
    let mut watcher = Watcher::start_alone();
    fs::create_dir_all(watcher.path("root/a")).unwrap();
    fs::write(watcher.path("single"), "").unwrap();
    let paths = [
        ("single", WatchDepth::Entries),
        ("root", WatchDepth::Everything),
    ];
    watcher.watch_deep(&paths).await;
    let outcome = watcher.handle.ensure(
        paths
            .iter()
            .map(|(name, depth)| (watcher.watch_path(name), *depth))
            .collect(),
    );
    let who_unknown = outcome.await.unwrap().who_unknown;
    assert_eq!(
        who_unknown.is_none(),
        check_who().is_ok(),
        "{who_unknown:?}"
    );

    // The shell lives on until its place was looked at, and does all of it by itself, once.
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "echo x > root/a/file; echo x >> single; read line"])
        .current_dir(watcher.directory.path())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut by = BTreeMap::new();
    while by.len() < 2 {
        for told in watcher.next_fields().await {
            if told["action"] == "modified" {
                by.insert(told["TargetFilename"].clone(), told);
            }
        }
    }
    shell.kill().unwrap();
    shell.wait().unwrap();

    for told in by.values() {
        if let Some(why) = &who_unknown {
            assert_eq!(value(told, "ProcessId"), None, "nothing is made up");
            hidps_lab::say_skipped("who_did_it_is_told_where_the_kernel_tells", why);
            continue;
        }
        assert_eq!(told["ProcessId"], shell.id().to_string());
        assert_eq!(told["User"], "root");
        assert!(told.contains_key("Image"), "{told:?}");
        assert!(told["CommandLine"].contains("read line"), "{told:?}");
    }
}

#[tokio::test]
async fn who_fills_a_brand_new_directory_and_ends_is_told_by_number_at_least() {
    let mut watcher = Watcher::start_alone();
    fs::create_dir(watcher.path("root")).unwrap();
    watcher
        .watch_deep(&[("root", WatchDepth::Everything)])
        .await;

    // It has ended before anybody can look.
    let mut shell = Command::new("/bin/sh")
        .args(["-c", "mkdir root/new && : > root/new/file"])
        .current_dir(watcher.directory.path())
        .spawn()
        .unwrap();
    let process = shell.id().to_string();
    shell.wait().unwrap();
    let told = watcher.next_of("created", "root/new/file").await;

    if let Err(error) = check_who() {
        let test = "who_fills_a_brand_new_directory_and_ends_is_told_by_number_at_least";
        return hidps_lab::say_skipped(test, &error);
    }
    let by = value(&told, "ProcessId");
    assert_eq!(by, Some(process.as_str()), "{told:?}");
    assert_eq!(value(&told, "Image"), None, "nothing is made up");
}
