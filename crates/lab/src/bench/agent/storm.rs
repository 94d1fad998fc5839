//! A storm of tiny programs, and what became of every single one. It begins no program that does
//! anything.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::arrivals::Programs;
use super::cost::{Cost, Reading};
use super::peers::Peers;
use super::subject::{Follower, Subject};
use crate::command::wait_for;

/// What is aimed at.
const PER_SEC: u64 = 10_000;

/// Programs of one chain; a chain is begun every ten milliseconds or so.
const CHAIN: u64 = 100;

/// Everything is told by then: what is held back or lost is told every ten seconds.
const AFTER: Duration = Duration::from_secs(25);

/// A program that becomes itself as often as the eight digits of its first argument say, and then
/// ends with 0: an ELF header, one segment, and 62 bytes of x86-64 that count down and `execve`.
const PROGRAM: [u8; 182] = program();

const fn program() -> [u8; 182] {
    let mut elf = [0_u8; 182];
    let parts: [(usize, &[u8]); 12] = [
        (0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]),
        (16, &[2, 0, 62, 0, 1]),
        (24, &[0x78, 0, 0x40]),
        (32, &[64]),
        (52, &[64, 0, 56, 0, 1]),
        (64, &[1, 0, 0, 0, 5]),
        (82, &[0x40, 0, 0, 0, 0, 0, 0, 0, 0x40]),
        (96, &[182, 0, 0, 0, 0, 0, 0, 0, 182]),
        // The last digit that is not 0 goes down by one, those behind it become 9.
        (
            120,
            &[
                0x48, 0x8b, 0x5c, 0x24, 0x10, 0xb9, 7, 0, 0, 0, 0xfe, 0x0c, 0x0b,
            ],
        ),
        (
            133,
            &[
                0x80, 0x3c, 0x0b, 0x30, 0x7d, 0x0c, 0xc6, 0x04, 0x0b, 0x39, 0xff, 0xc9,
            ],
        ),
        (
            145,
            &[
                0x79, 0xef, 0x31, 0xff, 0xeb, 0x18, 0x48, 0x8b, 0x7c, 0x24, 0x08, 0x48, 0x8d,
            ],
        ),
        (
            158,
            &[
                0x74, 0x24, 0x08, 0x31, 0xd2, 0xb8, 0x3b, 0, 0, 0, 0x0f, 0x05, 0xbf, 1, 0, 0, 0,
                0xb8, 60, 0, 0, 0, 0x0f, 0x05,
            ],
        ),
    ];
    let mut part = 0;
    while part < parts.len() {
        let (at, bytes) = parts[part];
        let mut byte = 0;
        while byte < bytes.len() {
            elf[at + byte] = bytes[byte];
            byte += 1;
        }
        part += 1;
    }
    elf
}

/// How programs begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Weather {
    /// So many a second as are asked for.
    Steady,
    /// As many as the machine can make, each of a process of its own.
    Spawning,
}

impl Weather {
    /// What people call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Steady => "10,000 programs/s asked for",
            Self::Spawning => "as many processes as there can be",
        }
    }
}

/// Who listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listener {
    /// Nobody: what the machine can make.
    Nobody,
    /// The agent.
    Agent,
    /// Debian's forkstat, which prints each.
    Forkstat,
}

impl Listener {
    /// What people call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Agent => Subject::Agent.name(),
            Self::Forkstat => "forkstat",
        }
    }
}

/// A storm that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storm {
    /// How programs began.
    pub(super) weather: Weather,
    /// Who listened.
    pub(super) listener: Listener,
    /// Programs that began.
    pub(super) n_began: u64,
    /// For how long they did.
    pub(super) took: Duration,
    /// What was told of them.
    pub(super) told: Programs,
    /// What the listener cost meanwhile.
    pub(super) cost: Cost,
}

impl Storm {
    /// Every weather for every listener; where none can listen, says so.
    pub(super) fn measure_all(
        peers: &Peers,
        during: Duration,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Vec<Self>> {
        if !cfg!(target_arch = "x86_64") || !rustix::process::getuid().is_root() {
            notes.push("no storm of programs: it needs root, on x86-64".to_owned());
            return Ok(Vec::new());
        }
        let directory = tempfile::tempdir()?;
        let program = directory.path().join("again");
        fs::write(&program, PROGRAM)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let mut storms = Vec::new();
        for weather in [Weather::Steady, Weather::Spawning] {
            storms.push(Self::blow_alone(weather, &program, during)?);
            if let Some(forkstat) = peers.find("usr/bin/forkstat") {
                storms.push(Self::blow_on_forkstat(
                    weather, &program, during, &forkstat,
                )?);
            }
            storms.push(Self::blow_on_agent(weather, &program, during, peers)?);
        }
        Ok(storms)
    }

    fn blow_alone(weather: Weather, program: &Path, during: Duration) -> anyhow::Result<Self> {
        let (n_began, took) = blow(weather, program, during)?;
        Ok(Self {
            weather,
            listener: Listener::Nobody,
            n_began,
            took,
            told: Programs::default(),
            cost: Cost::default(),
        })
    }

    fn blow_on_agent(
        weather: Weather,
        program: &Path,
        during: Duration,
        peers: &Peers,
    ) -> anyhow::Result<Self> {
        let settle = Duration::from_secs(3);
        let follower = Follower::start(Subject::Agent, peers, settle, (Instant::now(), program))?;
        let before = Reading::of(follower.process())?;
        let (n_began, took) = blow(weather, program, during)?;
        let cost = before.cost_since(follower.process())?;
        let told = || follower.sink.arrivals().programs;
        // Whatever is still missing by then is missed, and said to be.
        let all = || (told().accounted() >= n_began).then_some(());
        wait_for("news of every program", AFTER, all).ok();
        Ok(Self {
            weather,
            listener: Listener::Agent,
            n_began,
            took,
            told: told(),
            cost,
        })
    }

    fn blow_on_forkstat(
        weather: Weather,
        program: &Path,
        during: Duration,
        forkstat: &PathBuf,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(forkstat);
        command.args(["-l", "-e", "exec"]).stdout(Stdio::piped());
        let mut child = command.spawn().context("forkstat cannot be started")?;
        let lines = child.stdout.take().context("forkstat prints nothing")?;
        let name = program.display().to_string();
        let counting = thread::spawn(move || {
            let lines = BufReader::new(lines).lines().map_while(Result::ok);
            lines.filter(|line| line.contains(&name)).count() as u64
        });
        thread::sleep(Duration::from_secs(1));
        let before = Reading::of(child.id())?;
        let (n_began, took) = blow(weather, program, during)?;
        let cost = before.cost_since(child.id())?;
        thread::sleep(Duration::from_secs(2));
        kill_process(Pid::from_child(&child), Signal::INT)?;
        child.wait()?;
        let told = counting.join().unwrap_or_default();
        Ok(Self {
            weather,
            listener: Listener::Forkstat,
            n_began,
            took,
            told: Programs {
                told,
                ..Programs::default()
            },
            cost,
        })
    }

    /// Programs that nobody told of, in any way.
    pub(super) const fn missed(&self) -> u64 {
        self.n_began.saturating_sub(self.told.accounted())
    }

    /// Programs a second.
    pub(super) fn rate(&self) -> f64 {
        self.n_began as f64 / self.took.as_secs_f64()
    }
}

/// Begins programs for a while, on as many threads as there are cores; gives how many.
fn blow(weather: Weather, program: &Path, during: Duration) -> anyhow::Result<(u64, Duration)> {
    let n_threads = thread::available_parallelism()?.get() as u64;
    let started = Instant::now();
    let threads: Vec<_> = (0..n_threads)
        .map(|_| {
            let program = program.to_owned();
            thread::spawn(move || match weather {
                Weather::Steady => begin_steadily(&program, PER_SEC / n_threads, during),
                Weather::Spawning => begin_processes(&program, during),
            })
        })
        .collect();
    let mut n_began = 0;
    for thread in threads {
        let began = thread.join();
        n_began += began.map_err(|_| anyhow::anyhow!("a thread of the storm failed"))??;
    }
    Ok((n_began, started.elapsed()))
}

fn begin_steadily(program: &Path, per_sec: u64, during: Duration) -> std::io::Result<u64> {
    let started = Instant::now();
    let mut n_began = 0;
    while started.elapsed() < during {
        run_chain(program, CHAIN)?;
        n_began += CHAIN;
        let due = Duration::from_secs_f64(n_began as f64 / per_sec as f64);
        thread::sleep(due.saturating_sub(started.elapsed()));
    }
    Ok(n_began)
}

fn begin_processes(program: &Path, during: Duration) -> std::io::Result<u64> {
    let started = Instant::now();
    let mut n_began = 0;
    while started.elapsed() < during {
        run_chain(program, 1)?;
        n_began += 1;
    }
    Ok(n_began)
}

/// One process that begins so many programs one after another.
fn run_chain(program: &Path, n_programs: u64) -> std::io::Result<()> {
    let mut command = Command::new(program);
    // The program begins itself by its name.
    command.arg0(program).arg(format!("{:08}", n_programs - 1));
    command.spawn()?.wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_the_storm_begins_itself_and_ends_well() {
        if !cfg!(target_arch = "x86_64") {
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("again");
        fs::write(&program, PROGRAM).expect("it can be written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");

        let status = Command::new(&program)
            .arg0(&program)
            .arg("00000120")
            .status();

        assert!(status.expect("it can be run").success());
    }
}
