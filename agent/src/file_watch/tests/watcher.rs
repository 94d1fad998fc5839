//! A watcher of a directory of its own, as tests use it: what is watched, and what is told of it.
//! It tests nothing itself.

use super::*;

/// The fields of an event, as text.
pub(super) type Told = BTreeMap<String, String>;

pub(super) struct Watcher {
    pub(super) handle: FileWatchHandle,
    pub(super) events: Arc<EventQueue>,
    /// Before the directory, which cannot be removed while something is mounted on it.
    pub(super) mount: Option<Mount>,
    pub(super) directory: tempfile::TempDir,
    /// What outlives the agent.
    pub(super) state: tempfile::TempDir,
    pub(super) board: Arc<SourceBoard>,
    pub(super) memory: Arc<FileMemory>,
    pub(super) tasks: JoinSet<()>,
    /// How long it waits for a file system that does not answer.
    pub(super) patience: Duration,
}

/// A file system in memory, as long as it is wanted.
pub(super) struct Mount(std::path::PathBuf);

impl Mount {
    /// None without the right to mount.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "tmpfs"])
            .arg(path)
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(path.to_owned()));
        }
        // Only root may mount; the tests of this repository run as root.
        assert!(!rustix::process::geteuid().is_root(), "root can mount");
        None
    }

    /// Ends it. Programs that other tests begin hold what is open here until they really run.
    pub(super) fn end(&self) {
        let give_up = std::time::Instant::now() + DEADLINE;
        let unmount = || {
            std::process::Command::new("umount")
                .arg(&self.0)
                .output()
                .unwrap()
        };
        let mut ended = unmount();
        while !ended.status.success() && std::time::Instant::now() < give_up {
            ended = unmount();
        }
        assert!(ended.status.success(), "{ended:?}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Unless it was ended.
        std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .output()
            .ok();
    }
}

/// The fields of the events about files in a batch, as text.
pub(super) fn file_events(batch: &str) -> Vec<Told> {
    let batch: EventBatch<'_> = decode(batch, MAX_AGENT_FRAME_BYTES).unwrap();
    let text = |value: &FieldValue<'_>| match value {
        FieldValue::Text(text) => text.to_string(),
        FieldValue::Bool(_) | FieldValue::Integer(_) | FieldValue::Number(_) => encode(value),
    };
    let fields = |event: &LogEvent<'_>| {
        let fields = event.fields.iter();
        let fields = fields.map(|(name, value)| (name.to_string(), text(value)));
        fields.collect()
    };
    let is_ours = |event: &&LogEvent<'_>| event.kind == EventKind::FileMonitoring;
    batch.events.iter().filter(is_ours).map(fields).collect()
}

impl Watcher {
    pub(super) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), None)
    }

    /// A watcher on a file system of its own, where nobody else fills the kernel's queues.
    pub(super) fn start_alone() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mount = Mount::at(directory.path());
        Self::start_in(directory, mount)
    }

    /// A watcher that waits so long for a file system that does not answer.
    pub(super) fn start_waiting(patience: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::start_with((directory, None, tempfile::tempdir().unwrap()), patience)
    }

    pub(super) fn start_in(directory: tempfile::TempDir, mount: Option<Mount>) -> Self {
        // However busy the host is, its file systems answer by then.
        Self::start_with((directory, mount, tempfile::tempdir().unwrap()), DEADLINE)
    }

    pub(super) fn start_with(
        (directory, mount, state): (tempfile::TempDir, Option<Mount>, tempfile::TempDir),
        patience: Duration,
    ) -> Self {
        let events = Arc::new(EventQueue::default());
        events.on_connected(u32::MAX);
        let state_dir = StateDir::open(&state.path().join("state")).unwrap();
        let memory = Arc::new(FileMemory::new(state_dir, Arc::clone(&events)));
        let (board, _states) = SourceBoard::new();
        let (mut handle, mut task) = file_watch(
            Arc::clone(&events),
            host_processes(),
            Arc::clone(&memory),
            Arc::clone(&board),
        );
        task.patience = patience;
        handle.reply_within = 4 * DEADLINE;
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run());
        Self {
            handle,
            events,
            mount,
            directory,
            state,
            memory,
            board,
            tasks,
            patience,
        }
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn watch_path(&self, name: &str) -> WatchPath {
        WatchPath::parse(self.path(name).to_str().unwrap()).unwrap()
    }

    pub(super) async fn watch(&mut self, names: &[&str]) -> Vec<PathState> {
        let paths: Vec<_> = names
            .iter()
            .map(|&name| (name, WatchDepth::Entries))
            .collect();
        self.watch_deep(&paths).await
    }

    pub(super) async fn watch_deep(&mut self, names: &[(&str, WatchDepth)]) -> Vec<PathState> {
        let paths: Vec<_> = names
            .iter()
            .map(|(name, depth)| (self.watch_path(name), *depth))
            .collect();
        let wanted = paths.iter().cloned().collect();
        let report = self.handle.ensure(wanted).await.unwrap();
        paths
            .iter()
            .map(|(path, _)| report.states[path].clone())
            .collect()
    }

    /// The next events as "action name", until the last one wanted has come.
    pub(super) async fn told_until(&self, last: &str) -> Vec<String> {
        let mut told = Vec::new();
        while told.last().map(String::as_str) != Some(last) {
            let next = tokio::time::timeout(DEADLINE, self.next_events()).await;
            let Ok(mut events) = next else {
                panic!("{last:?} was not told, only {told:?}");
            };
            told.append(&mut events);
        }
        told
    }

    /// The events of the next batch as "action name"; the agent's own are left out.
    pub(super) async fn next_events(&self) -> Vec<String> {
        let events = self.next_fields().await;
        let text = |fields: &Told, name: &str| fields[name].clone();
        let mut told = Vec::new();
        for fields in &events {
            let target = text(fields, "TargetFilename");
            let name = Path::new(&target).strip_prefix(self.directory.path());
            let name = name.unwrap().display();
            told.push(format!("{} {name}", text(fields, "action")));
        }
        told
    }

    /// The fields of the events of the next batch, as text.
    pub(super) async fn next_fields(&self) -> Vec<Told> {
        let mut told = Vec::new();
        while told.is_empty() {
            let batch = tokio::time::timeout(DEADLINE, self.events.next_batch()).await;
            let batch = batch.expect("a batch comes");
            told.extend(file_events(&batch.text));
            self.events.on_acknowledged(batch.seq, u32::MAX);
        }
        told
    }

    pub(super) async fn state_becomes(&mut self, name: &str, wanted: PathState) {
        let path = WatchPath::parse(self.path(name).to_str().unwrap()).unwrap();
        let mut report = self.handle.report.clone();
        tokio::time::timeout(
            DEADLINE,
            report.wait_for(|report| report.states[&path] == wanted),
        )
        .await
        .unwrap_or_else(|_| panic!("{name} never became {wanted:?}"))
        .unwrap();
    }
}
