//! What is there while a stack runs, what is left when it has ended, and what is said when it cannot start.
//! Never uses the shared stack, because these tests end theirs.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::Context;
use hidps_local_supabase::{Options, Stack};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Far longer than an immediate shutdown of Postgres takes.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// Postgres with its supervisor, REST with Auth, mail.
const N_PARTS: usize = 4;
/// User and group of nobody on Linux.
const NOBODY: u32 = 65_534;

/// Lists the processes that name the directory of a stack in their command line or environment.
fn list_processes_of(home: &Path) -> Vec<String> {
    let home = home.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("/proc is readable");
    processes
        .filter_map(Result::ok)
        .map(|process| {
            let told = ["cmdline", "environ"]
                .map(|file| std::fs::read(process.path().join(file)).unwrap_or_default());
            told.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .concat()
        })
        .filter(|told| told.contains(&home))
        .collect()
}

/// Waits until neither a process nor a file of a stack is left.
async fn until_nothing_is_left(home: &Path) -> anyhow::Result<()> {
    let gone = async {
        while home.exists() || !list_processes_of(home).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(END_DEADLINE, gone)
        .await
        .with_context(|| format!("left: {} {:?}", home.display(), list_processes_of(home)))
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-supabase"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Starts the program and gives it with the directory of its stack.
async fn start_program(mut command: Command) -> anyhow::Result<(Child, PathBuf)> {
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().context("standard output is a pipe")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    let place: Value = serde_json::from_str(&line).context("the program did not start")?;
    let home = place["data_dir"].as_str().context("no directory")?;
    Ok((child, PathBuf::from(home)))
}

fn words_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_stopped_stack_leaves_no_process_and_no_file() -> anyhow::Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let home = stack.data_dir().to_owned();
    let n_running = list_processes_of(&home).len();

    stack.stop().await?;

    assert!(n_running >= N_PARTS, "{n_running}");
    assert_eq!(list_processes_of(&home), Vec::<String>::new());
    assert!(!home.exists());
    Ok(())
}

#[tokio::test]
async fn a_crashed_postgres_comes_back_with_what_was_committed() -> anyhow::Result<()> {
    let mut stack = Stack::start(Options::default()).await?;
    let home = stack.data_dir().to_owned();
    stack
        .sql("create table kept (id int); insert into kept values (7)")
        .await?;

    stack.crash_postgres().await?;
    let away = stack.sql("select id::text from kept").await;
    stack.revive_postgres().await?;
    let back = stack.sql("select id::text from kept").await?;
    stack.crash_postgres().await?;
    drop(stack);

    assert!(away.is_err(), "{away:?}");
    assert_eq!(back[0]["id"].as_deref(), Some("7"));
    until_nothing_is_left(&home).await
}

#[tokio::test]
async fn a_postgres_that_cannot_end_by_itself_is_made_to_crash() -> anyhow::Result<()> {
    let mut stack = Stack::start(Options::default()).await?;
    let home = stack.data_dir().to_owned();
    let server = std::fs::read_to_string(home.join("data/postmaster.pid"))?;
    let server: i32 = server.lines().next().context("no id")?.parse()?;

    kill(Pid::from_raw(server), Signal::SIGSTOP)?;
    stack.crash_postgres().await?;
    stack.revive_postgres().await?;
    let back = stack.sql("select 1::text as one").await?;
    drop(stack);

    assert_eq!(back[0]["one"].as_deref(), Some("1"));
    until_nothing_is_left(&home).await
}

#[tokio::test]
async fn a_dropped_stack_leaves_nothing_either() -> anyhow::Result<()> {
    let stack = Stack::start(Options::default()).await?;
    let home = stack.data_dir().to_owned();

    drop(stack);

    until_nothing_is_left(&home).await
}

#[tokio::test]
async fn a_stack_whose_owner_is_killed_leaves_nothing_either() -> anyhow::Result<()> {
    let (mut child, home) = start_program(program()).await?;
    let n_running = list_processes_of(&home).len();

    child.kill().await?;

    assert!(n_running >= N_PARTS, "{n_running}");
    until_nothing_is_left(&home).await
}

/// Tells whether everybody may enter all directories above a file.
fn is_reachable_by_all(file: &Path) -> bool {
    let mut above = file.ancestors().skip(1);
    above.all(|directory| {
        directory
            .metadata()
            .is_ok_and(|directory| directory.permissions().mode() & 0o001 != 0)
    })
}

#[tokio::test]
async fn a_stack_runs_for_an_ordinary_user() -> anyhow::Result<()> {
    let mut command = program();
    if Uid::effective().is_root() {
        let binary = Path::new(env!("CARGO_BIN_EXE_local-supabase"));
        if !is_reachable_by_all(binary) {
            let binary = binary.display();
            let line = format!(
                "SKIPPED a_stack_runs_for_an_ordinary_user: {binary} is in a directory of root's alone\n"
            );
            // Past the capture of the test runner.
            std::io::stderr().write_all(line.as_bytes()).ok();
            return Ok(());
        }
        // The packages have to be there, since nobody may not write to the cache of root.
        Stack::start(Options::default()).await?.stop().await?;
        command.uid(NOBODY).gid(NOBODY);
    }

    let (child, home) = start_program(command).await?;
    let pid = child.id().context("the program runs")?.try_into()?;
    kill(Pid::from_raw(pid), Signal::SIGTERM)?;
    let output = child.wait_with_output().await?;

    assert!(output.status.success(), "{}", words_of(&output));
    until_nothing_is_left(&home).await
}

#[tokio::test]
async fn what_is_missing_is_named_with_its_remedy() -> anyhow::Result<()> {
    let check = async |name: &str, value: &str, words: &str| -> anyhow::Result<()> {
        let output = program().env(name, value).output().await?;
        let said = words_of(&output);
        assert!(!output.status.success());
        assert!(said.contains(words), "{said}");
        assert!(said.contains("apt-get install"), "{said}");
        Ok(())
    };

    check("HIDPS_POSTGRES_BIN", "/nonexistent", "find postgres").await?;
    check("PATH", "/nonexistent", "find node").await
}

#[tokio::test]
async fn a_broken_migration_is_named_with_its_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let text = "create table public.a (id int);\n\nselect nonsense;\n";
    std::fs::write(folder.path().join("1_broken.sql"), text)?;
    let options = Options {
        migrations: Some(folder.path().to_owned()),
        ..Options::default()
    };

    let error = Stack::start(options)
        .await
        .expect_err("the migration is broken")
        .to_string();

    assert!(error.contains("1_broken.sql"), "{error}");
    assert!(error.contains("line 3"), "{error}");
    assert!(error.contains("nonsense"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() -> anyhow::Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();

    let error = Stack::start(Options {
        port,
        ..Options::default()
    })
    .await;

    let error = error.expect_err("the port is taken").to_string();
    assert!(error.contains(&format!("listen on port {port}")), "{error}");
    Ok(())
}
