//! What happens to watched files while the agent is not there, on a real file system.

use super::*;

impl Watcher {
    /// Ends the watcher, and has the daemon hear all it told; what that was since the last time.
    async fn end(&mut self) -> Vec<Told> {
        // The watcher ends with its handle.
        let (handle, _) = file_watch(
            Arc::clone(&self.events),
            host_processes(),
            Arc::clone(&self.memory),
            SourceBoard::new().0,
        );
        drop(std::mem::replace(&mut self.handle, handle));
        while self.tasks.join_next().await.is_some() {}
        let mut told = Vec::new();
        while self.events.settled() < self.events.pushed() {
            let batch = self.events.next_batch().await;
            told.extend(file_events(&batch.text));
            self.events.on_acknowledged(batch.seq, u32::MAX);
        }
        self.memory.save_last();
        told
    }

    /// Ends the watcher, has somebody do something, and starts another one that knows what this one
    /// knew.
    pub(super) async fn while_away(mut self, act: impl FnOnce(&Path)) -> Self {
        self.end().await;
        act(self.directory.path());
        Self::start_with((self.directory, self.mount, self.state), self.patience)
    }

    /// Everything told until the last one, by action and name, and whether it was while nobody
    /// watched.
    pub(super) async fn all_until(&self, last: &str) -> BTreeMap<String, Told> {
        let mut all = BTreeMap::new();
        while !all.contains_key(last) {
            for told in self.next_fields().await {
                let name = self.name_of(&told);
                let before = all.insert(name.clone(), told);
                assert!(before.is_none(), "{name} is told twice");
            }
        }
        all
    }
}

impl Watcher {
    /// What was told, as action and name.
    fn name_of(&self, told: &Told) -> String {
        let name = Path::new(&told["TargetFilename"]).strip_prefix(self.directory.path());
        format!("{} {}", told["action"], name.unwrap().display())
    }
}

const WATCHED: [(&str, WatchDepth); 4] = [
    ("single", WatchDepth::Entries),
    ("later", WatchDepth::Entries),
    ("flat", WatchDepth::Entries),
    ("deep", WatchDepth::Everything),
];

/// A watcher of a few files, of which it knows the content.
async fn watcher_that_knows() -> Watcher {
    let mut watcher = Watcher::start();
    for directory in ["flat", "deep/a/b", "deep/gone"] {
        fs::create_dir_all(watcher.path(directory)).unwrap();
    }
    let names = [
        "single",
        "flat/file",
        "deep/a/b/written",
        "deep/a/b/rewritten",
        "deep/a/b/back-dated",
        "deep/a/mode",
        "deep/a/replaced",
        "deep/a/removed",
        "deep/gone/file",
        "deep/untouched",
    ];
    for name in names {
        fs::write(watcher.path(name), "abc").unwrap();
    }
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(watcher.path("deep/a/mode"), mode).unwrap();
    watcher.watch_deep(&WATCHED).await;
    for name in names {
        watcher.content_is_known(name).await;
    }
    watcher
}

fn write_back_dated(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, "xyz").unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

#[tokio::test]
async fn what_changed_while_the_agent_was_away_is_one_event_each_that_says_so() {
    let watcher = watcher_that_knows().await;
    pass_a_tick_of_the_file_system(watcher.directory.path());

    let mut watcher = watcher
        .while_away(|root| {
            let at = |name: &str| root.join(name);
            fs::write(at("single"), "abcd").unwrap();
            fs::write(at("later"), "").unwrap();
            fs::write(at("flat/new"), "").unwrap();
            fs::write(at("deep/a/b/written"), "abcd").unwrap();
            fs::write(at("deep/a/b/rewritten"), "abc").unwrap();
            write_back_dated(&at("deep/a/b/back-dated"));
            let mode = fs::Permissions::from_mode(0o4755);
            fs::set_permissions(at("deep/a/mode"), mode).unwrap();
            fs::write(at("draft"), "abcd").unwrap();
            fs::rename(at("draft"), at("deep/a/replaced")).unwrap();
            fs::remove_file(at("deep/a/removed")).unwrap();
            fs::remove_dir_all(at("deep/gone")).unwrap();
            fs::create_dir(at("deep/came")).unwrap();
            fs::write(at("deep/came/with"), "").unwrap();
        })
        .await;
    watcher.watch_deep(&WATCHED).await;
    let mut all = watcher.all_until("created deep/came/with").await;
    fs::write(watcher.path("deep/last"), "").unwrap();
    all.extend(watcher.all_until("created deep/last").await);

    let away: BTreeSet<_> = all
        .iter()
        .filter(|(_, told)| told.get("while_away").is_some_and(|away| away == "true"))
        .map(|(name, _)| name.as_str())
        .collect();
    let expected = BTreeSet::from([
        "modified single",
        "created later",
        "created flat/new",
        "modified deep/a/b/written",
        "touched deep/a/b/rewritten",
        "modified deep/a/b/back-dated",
        "attributes deep/a/mode",
        "modified deep/a/replaced",
        "deleted deep/a/removed",
        "deleted deep/gone",
        "created deep/came",
        "created deep/came/with",
    ]);
    assert_eq!(away, expected);
    assert_eq!(all.len(), expected.len() + 1, "{:?}", all.keys());
    for name in ["single", "deep/a/b/written", "deep/a/replaced"] {
        let told = &all[&format!("modified {name}")];
        assert!(told["old_sha256"].starts_with("ba7816bf"), "{told:?}");
        assert!(told["sha256"].starts_with("88d4266f"), "{told:?}");
        assert!(told.contains_key("changed_at"), "{told:?}");
    }
    let mode = &all["attributes deep/a/mode"];
    assert_eq!((&*mode["old_mode"], &*mode["mode"]), ("0644", "4755"));
}

#[tokio::test]
async fn what_nobody_touched_is_known_by_its_content_at_once_and_not_told() {
    let watcher = watcher_that_knows().await;

    let mut watcher = watcher.while_away(|_| {}).await;
    watcher.watch_deep(&WATCHED).await;
    // Before there was time to read any of them.
    fs::write(watcher.path("deep/untouched"), "abcd").unwrap();
    let all = watcher.all_until("modified deep/untouched").await;

    assert_eq!(all.len(), 1, "{all:?}");
    let told = &all["modified deep/untouched"];
    assert!(told["old_sha256"].starts_with("ba7816bf"), "{told:?}");
    assert!(!told.contains_key("while_away"), "{told:?}");
}

#[tokio::test]
async fn what_was_about_to_be_told_when_the_agent_ended_is_told_once_all_the_same() {
    let mut watcher = watcher_that_knows().await;
    fs::write(watcher.path("single"), "abcd").unwrap();
    watcher.told_until("modified single").await;

    // The watcher takes them in, and has hardly time to tell them.
    fs::write(watcher.path("deep/untouched"), "abcd").unwrap();
    fs::write(watcher.path("flat/new"), "").unwrap();
    fs::remove_file(watcher.path("flat/file")).unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let told = watcher.end().await;
    let mut names: Vec<_> = told.iter().map(|told| watcher.name_of(told)).collect();
    let mut watcher = watcher.while_away(|_| {}).await;
    watcher.watch_deep(&WATCHED).await;
    fs::write(watcher.path("flat/last"), "").unwrap();
    let all = watcher.all_until("created flat/last").await;
    names.extend(all.into_keys());

    names.sort();
    let expected = [
        "created flat/last",
        "created flat/new",
        "deleted flat/file",
        "modified deep/untouched",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_watched_path_that_went_while_the_agent_was_away_is_told() {
    let watcher = watcher_that_knows().await;

    let mut watcher = watcher
        .while_away(|root| {
            fs::remove_file(root.join("single")).unwrap();
            fs::remove_dir_all(root.join("deep")).unwrap();
        })
        .await;
    let states = watcher.watch_deep(&WATCHED).await;
    let mut wanted = BTreeSet::from(["deleted single", "deleted deep"]);
    while !wanted.is_empty() {
        for told in watcher.next_events().await {
            assert!(wanted.remove(told.as_str()), "{told}");
        }
    }

    assert_eq!(
        (&states[0], &states[3]),
        (&PathState::Missing, &PathState::Missing)
    );
}

#[tokio::test]
async fn a_path_that_is_watched_for_the_first_time_tells_nothing_of_before() {
    let watcher = watcher_that_knows().await;
    fs::create_dir(watcher.path("other")).unwrap();

    let mut watcher = watcher
        .while_away(|root| fs::write(root.join("other/file"), "").unwrap())
        .await;
    watcher.watch(&["other"]).await;
    fs::write(watcher.path("other/last"), "").unwrap();
    let told = watcher.told_until("created other/last").await;

    assert_eq!(told, ["created other/last"]);
}
