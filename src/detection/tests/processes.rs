//! Programs that are really run, seen by the agent's own source, and what rules say of them.
//! Where the kernel does not tell of processes the agent looks, and the rules find as much.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hidps_agent::collect::process::{ProcessSettings, ProcessWatch, host_processes};
use hidps_agent::collect::source_board::SourceBoard;
use hidps_agent::config::{ProcessExits, ProcessMode};
use hidps_agent::event_queue::EventQueue;

use rustix::process::{Pid, Signal, kill_process_group};

use super::{loaded, our_rules, run};

/// A loaded machine takes its time.
const DEADLINE: Duration = Duration::from_secs(60);

/// In the form of the community's rules.
const COMMUNITY: &str = "\
title: Interpreter started by a shell in a temporary directory
id: by-parent-and-place
status: test
level: high
logsource: {product: linux, category: process_creation}
detection:
  selection_image: {Image|endswith: [/sleep, /coreutils]}
  selection_parent: {ParentImage|endswith: [/sh, /dash, /bash, /busybox], ParentCommandLine|contains: hidps-marker}
  selection_place: {CurrentDirectory|startswith: /tmp, CommandLine|endswith: '1234'}
  condition: all of selection_*
---
title: Secret in a command line
id: secret
status: test
level: high
logsource: {product: linux, category: process_creation}
detection: {selection: {CommandLine|contains: hunter2}, condition: selection}
";

/// A shell that forgets what is typed and waits with a child of its own.
fn run_shell() -> Child {
    let script = "unset HISTFILE; : hidps-marker --password hunter2; sleep 1234; :";
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script])
        .current_dir("/tmp")
        .process_group(0);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a shell runs")
}

async fn alerts_while_a_shell_runs(mode: ProcessMode) -> Vec<String> {
    let queue = Arc::new(EventQueue::default());
    queue.on_connected(u32::MAX);
    let settings = ProcessSettings {
        mode,
        exits: ProcessExits::All,
        interval: Duration::from_millis(100),
    };
    let table = host_processes();
    let (board, _states) = SourceBoard::new();
    let _watch =
        ProcessWatch::start(settings, table, Arc::clone(&queue), board).expect("it starts");
    let rules = [our_rules(), loaded(COMMUNITY)];
    let mut shells = Vec::new();
    let mut frames = Vec::new();
    let found = async {
        loop {
            shells.push(run_shell());
            let until = tokio::time::Instant::now() + Duration::from_millis(1_500);
            while let Ok(batch) = tokio::time::timeout_at(until, queue.next_batch()).await {
                queue.on_acknowledged(batch.seq, u32::MAX);
                // What else this machine runs is none of the test's.
                frames.extend(Some(batch.text).filter(|text| text.contains("hidps-marker")));
            }
            let alerts: Vec<String> = rules
                .iter()
                .map(|rules| run(rules, &frames).1)
                .flat_map(|recorder| recorder.alerts.lock().expect("unpoisoned").clone())
                .map(|alert| alert.rule_id)
                .collect();
            let has = |id: &str| alerts.iter().any(|alert| alert == id);
            if has(HISTORY_OFF) && has("by-parent-and-place") {
                return alerts;
            }
        }
    };
    let alerts = tokio::time::timeout(DEADLINE, found).await;
    for mut shell in shells {
        let group = Pid::from_child(&shell);
        kill_process_group(group, Signal::KILL).expect("it is ours, with its child");
        shell.wait().expect("it is ours");
    }
    alerts.expect("both rules find the shell")
}

/// Our rule about shells that are told to forget.
const HISTORY_OFF: &str = "bafa821c-da67-42d8-9882-7f639cd25dfb";

#[tokio::test]
async fn a_real_program_is_found_by_our_rules_and_by_the_communitys() {
    let alerts = alerts_while_a_shell_runs(ProcessMode::Auto).await;

    assert!(!alerts.contains(&"secret".to_owned()), "{alerts:?}");
}

#[tokio::test]
async fn a_program_that_is_only_seen_by_looking_is_found_too() {
    let alerts = alerts_while_a_shell_runs(ProcessMode::Poll).await;

    assert!(!alerts.contains(&"secret".to_owned()), "{alerts:?}");
}
