//! A program that is given so much time and no more, whose output is kept and looked through.
//! It never waits for what a program that has ended left behind.

use std::io::{Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How often it is looked whether a silent program has ended.
const LOOK: Duration = Duration::from_millis(50);

/// After so long without a word, what keeps the output of an ended program open is something else.
const SILENCE: Duration = Duration::from_secs(3);

/// Most that is kept of what one program says: the end of it.
const MOST_KEPT: usize = 8 << 20;

/// How libtest begins the name of a test, and goes on when it has run for a minute.
const SLOW: (&str, &str) = ("test ", " has been running for over");

/// How tests say that they cannot run here.
const SKIPPED: &str = "SKIPPED ";

/// What came of a program.
#[derive(Default, Debug)]
pub(crate) struct Ended {
    /// Why it failed; none when it did not.
    pub(crate) failure: Option<String>,
    /// What it said, in the order in which it came.
    pub(crate) said: Vec<u8>,
    /// What it said on standard error alone, where no dots of a test runner come between.
    complaints: Vec<u8>,
}

impl Ended {
    /// The tests that said they cannot run here, each with the reason.
    pub(crate) fn skipped(&self) -> Vec<String> {
        let complaints = String::from_utf8_lossy(&self.complaints);
        let lines = complaints.lines();
        let skipped = lines.filter_map(|line| line.strip_prefix(SKIPPED));
        skipped.map(str::to_owned).collect()
    }

    /// The tests that ran for more than a minute.
    fn slow_tests(&self) -> Vec<String> {
        let said = String::from_utf8_lossy(&self.said);
        let names = said.lines().filter_map(|line| {
            let (before, _) = line.split_once(SLOW.1)?;
            before.rsplit_once(SLOW.0).map(|(_, name)| name.to_owned())
        });
        names.collect()
    }

    fn take(&mut self, words: &Words, is_aloud: bool) {
        keep(&mut self.said, &words.text);
        if words.is_complaint {
            keep(&mut self.complaints, &words.text);
        }
        if is_aloud {
            let mut out = std::io::stdout().lock();
            // A closed output leaves nobody to tell.
            out.write_all(&words.text).and_then(|()| out.flush()).ok();
        }
    }
}

fn keep(kept: &mut Vec<u8>, text: &[u8]) {
    kept.extend_from_slice(text);
    kept.drain(..kept.len().saturating_sub(MOST_KEPT));
}

/// What a program said at once.
struct Words {
    is_complaint: bool,
    text: Vec<u8>,
}

/// Runs a program to its end or to the end of its time; prints what it says as it comes, or not.
///
/// # Errors
/// When it cannot be started or looked after.
pub(crate) fn run(command: &mut Command, limit: Duration, is_aloud: bool) -> Result<Ended> {
    command.stdin(Stdio::null());
    let started = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.context("it cannot be started")?;
    let words = listen(&mut child);
    let mut ended = Ended::default();
    ended.failure = wait(&mut child, limit, &words, |words| {
        ended.take(words, is_aloud);
    })?;
    while let Ok(words) = words.recv_timeout(SILENCE) {
        ended.take(&words, is_aloud);
    }
    let slow = ended.slow_tests();
    if let (Some(failure), false) = (&mut ended.failure, slow.is_empty()) {
        failure.push_str("; slow were ");
        failure.push_str(&slow.join(", "));
    }
    Ok(ended)
}

fn listen(child: &mut Child) -> Receiver<Words> {
    let (sender, words) = mpsc::channel();
    if let Some(pipe) = child.stderr.take() {
        let sender = sender.clone();
        thread::spawn(move || forward(pipe, true, &sender));
    }
    if let Some(pipe) = child.stdout.take() {
        thread::spawn(move || forward(pipe, false, &sender));
    }
    words
}

fn forward(mut pipe: impl Read, is_complaint: bool, sender: &Sender<Words>) {
    let mut buffer = [0; 4_096];
    while let Ok(n) = pipe.read(&mut buffer) {
        let text = buffer.get(..n).unwrap_or_default().to_vec();
        if n == 0 || sender.send(Words { is_complaint, text }).is_err() {
            return;
        }
    }
}

/// Says why it failed, if it did.
fn wait(
    child: &mut Child,
    limit: Duration,
    words: &Receiver<Words>,
    mut take: impl FnMut(&Words),
) -> Result<Option<String>> {
    let begun = Instant::now();
    loop {
        match words.recv_timeout(LOOK) {
            Ok(words) => take(&words),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
        }
        if let Some(status) = child.try_wait().context("it cannot be waited for")? {
            return Ok((!status.success()).then(|| status.to_string()));
        }
        if begun.elapsed() >= limit {
            child.kill().context("it cannot be killed")?;
            child.wait().context("it cannot be waited for")?;
            return Ok(Some(format!(
                "did not end within {limit:?}, and was killed"
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::program;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str, limit: Duration) -> Ended {
        run(program("sh").args(["-c", script]), limit, false).expect("the shell runs")
    }

    #[test]
    fn a_program_that_hangs_is_killed_and_its_slow_tests_are_named() {
        let hangs = "printf '..test a::b has been running for over 60 seconds\\n'; exec sleep 600";

        let ended = shell(hangs, Duration::from_secs(10));

        let failure = ended.failure.expect("it is no success");
        assert!(failure.contains("did not end within 10s"), "{failure}");
        assert!(failure.ends_with("slow were a::b"), "{failure}");
    }

    #[test]
    fn tests_that_cannot_run_here_are_found_among_the_dots() {
        let ended = shell("printf ..; echo 'SKIPPED one: no root' >&2; printf .", LONG);

        assert_eq!(ended.failure, None);
        assert_eq!(ended.skipped(), ["one: no root"]);
    }

    #[test]
    fn all_that_a_failing_program_said_is_kept() {
        let ended = shell("seq 1 20000; exit 3", LONG);

        assert_eq!(ended.failure.as_deref(), Some("exit status: 3"));
        assert!(ended.said.ends_with(b"\n20000\n"));
        assert_eq!(
            ended.said.iter().filter(|byte| **byte == b'\n').count(),
            20_000
        );
    }

    #[test]
    fn what_outlives_a_program_is_not_waited_for() {
        let begun = Instant::now();

        let ended = shell("sleep 600 & echo done", LONG);

        assert_eq!(ended.said, b"done\n");
        assert!(begun.elapsed() < LONG);
    }
}
