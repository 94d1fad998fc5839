//! The private Postgres of a stack: finding it, making its data directory, running it as a user it accepts.
//! Never touches a Postgres that runs already.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tempfile::TempDir;
use tokio::process::Command;

use crate::error::{StackError, io_failed};
use crate::keys::Keys;
use crate::owned_process::{OwnedProcess, tail};

/// Oldest version with everything the migrations use.
const OLDEST_VERSION: u32 = 15;
/// A free port may be taken by somebody else before Postgres binds it.
const START_ATTEMPTS: u32 = 3;
/// Longest wait for the first connection.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two attempts to connect while Postgres starts; it takes about 100 ms.
const READY_PAUSE: Duration = Duration::from_millis(20);

/// How long a server may take to crash by its own means before it and its children are killed: one that was hit while
/// it started has been seen to wait for a child for ever.
const CRASH_PATIENCE: Duration = Duration::from_secs(3);

/// Tells the supervisor that the end of the server, which follows, is not the end of all.
const DOWN_FILE: &str = "down";
/// Takes the place of the above when the server has ended; it is started again when this is gone.
const AWAY_FILE: &str = "away";

/// Runs Postgres until the pipe from us closes, then ends it at once (the data are disposable) and removes them.
///
/// The signal is repeated, because a server that is still being started inherits the shell's ignoring of it. The
/// watcher's trap lets it finish its last pause, so that nothing of it outlives the supervisor.
const SUPERVISOR: &str = r#"
PATH=/usr/bin:/bin:$PATH
home=$1
shift
over=
trap 'over=1; kill -QUIT "$server" 2>/dev/null' USR1
exec 3<&0
(
  trap exit TERM
  read -r _ <&3
  while kill -USR1 "$$"; do sleep 0.1; done
) >/dev/null 2>&1 &
watcher=$!
exec 3<&- </dev/null
while :; do
  "$@" </dev/null &
  server=$!
  while kill -0 "$server" 2>/dev/null; do wait "$server"; done
  [ -e "$home/down" ] || break
  mv "$home/down" "$home/away"
  while [ -z "$over" ] && [ -e "$home/away" ]; do sleep 0.05; done
  [ -z "$over" ] || break
done
trap '' USR1
kill "$watcher" 2>/dev/null
wait "$watcher"
rm -rf "$home"
"#;

/// A running server.
#[derive(Debug)]
pub(crate) struct Postgres {
    process: OwnedProcess,
    home: PathBuf,
    port: u16,
    password: String,
}

impl Postgres {
    /// Makes a data directory and starts a server on it.
    pub(crate) async fn start(keys: &Keys) -> Result<Self, StackError> {
        let bin = find_binaries(&candidate_directories()).ok_or(StackError::PostgresMissing)?;
        let owner = find_owner()?;
        let mut attempt = 1;
        loop {
            match Self::start_once(&bin, owner, keys).await {
                Err(StackError::NotReady { .. }) if attempt < START_ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn start_once(bin: &Path, owner: Option<Owner>, keys: &Keys) -> Result<Self, StackError> {
        let home = create_home(owner)?;
        initialize(bin, home.path(), owner, &keys.superuser_password).await?;
        let port = find_free_port()?;
        let mut process = launch(bin, home.path(), owner, port)?;
        wait_until_listening(&mut process, home.path(), port).await?;
        // From here the supervisor removes the directory, also if we are killed.
        let home = home.keep();
        Ok(Self {
            process,
            home,
            port,
            password: keys.superuser_password.clone(),
        })
    }

    /// Gives the directory that holds everything the stack writes.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Gives the directory of the logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.home.join("logs")
    }

    /// Gives the address for the superuser.
    pub(crate) fn superuser_url(&self) -> String {
        self.url("postgres", &self.password)
    }

    /// Gives the address for a role.
    pub(crate) fn url(&self, role: &str, password: &str) -> String {
        format!(
            "postgres://{role}:{password}@127.0.0.1:{}/postgres",
            self.port
        )
    }

    /// Ends the server as a crash would, and leaves it away.
    pub(crate) async fn crash(&self) -> Result<(), StackError> {
        let down = self.home.join(DOWN_FILE);
        std::fs::write(&down, "").map_err(io_failed(format!("write {}", down.display())))?;
        let pid_file = self.home.join("data/postmaster.pid");
        let away = self.home.join(AWAY_FILE);
        let begun = tokio::time::Instant::now();
        let gone = async {
            while !away.exists() {
                // A server that has just started may not listen to signals yet, or not have said who it is.
                let text = std::fs::read_to_string(&pid_file).unwrap_or_default();
                if let Some(server) = text.lines().next().and_then(|line| line.parse().ok()) {
                    crash_process(Pid::from_raw(server), begun.elapsed() > CRASH_PATIENCE);
                }
                tokio::time::sleep(READY_PAUSE).await;
            }
        };
        let gone = tokio::time::timeout(READY_DEADLINE, gone).await;
        gone.map_err(|_| self.process.not_ready())?;
        // One that was killed leaves a file that still says it is ready.
        std::fs::remove_file(&pid_file).ok();
        Ok(())
    }

    /// Starts a crashed server again and waits until it listens.
    pub(crate) async fn revive(&mut self) -> Result<(), StackError> {
        let away = self.home.join(AWAY_FILE);
        std::fs::remove_file(&away).map_err(io_failed(format!("remove {}", away.display())))?;
        wait_until_listening(&mut self.process, &self.home, self.port).await
    }

    /// Ends the server and removes its data.
    pub(crate) async fn stop(self) -> Result<(), StackError> {
        self.process.stop().await
    }
}

/// Makes a server end as in a crash, or kills it with its children. One that is gone by now is what was wanted.
fn crash_process(server: Pid, by_force: bool) {
    if !by_force {
        kill(server, Signal::SIGQUIT).ok();
        return;
    }
    for process in list_children(server).into_iter().chain([server]) {
        kill(process, Signal::SIGKILL).ok();
    }
}

/// Lists the processes that a process has started.
fn list_children(parent: Pid) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name before the state may hold anything, brackets included.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        fields.split(' ').nth(1) == Some(parent.to_string().as_str())
    };
    ids.filter(is_child).map(Pid::from_raw).collect()
}

/// The user Postgres runs as, if it is not our own.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    fn apply(owner: Option<Self>, command: &mut Command) {
        if let Some(Self { uid, gid }) = owner {
            command.as_std_mut().uid(uid).gid(gid);
        }
    }
}

/// Lists where Postgres may be; whoever names a directory means that one and no other.
fn candidate_directories() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os("HIDPS_POSTGRES_BIN") {
        return vec![PathBuf::from(named)];
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Debian keeps the server's programs off PATH, one directory per version: the newest first.
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    directories.extend(versions.into_iter().map(|(_, path)| path.join("bin")));
    directories
}

fn find_binaries(directories: &[PathBuf]) -> Option<PathBuf> {
    let is_recent = |bin: &&PathBuf| {
        bin.join("initdb").is_file()
            && read_version(&bin.join("postgres")).is_some_and(|version| version >= OLDEST_VERSION)
    };
    directories.iter().find(is_recent).cloned()
}

fn read_version(postgres: &Path) -> Option<u32> {
    let output = std::process::Command::new(postgres)
        .arg("--version")
        .output()
        .ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Reads the major version out of `postgres (PostgreSQL) 15.18 (Debian …)`.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.split_whitespace().nth(2)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Finds a user for the server: none if we are not root, since then it runs as us.
fn find_owner() -> Result<Option<Owner>, StackError> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| {
            Some(Owner {
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            })
        })
        .ok_or(StackError::NoUserForPostgres)
}

fn create_home(owner: Option<Owner>) -> Result<TempDir, StackError> {
    let home = tempfile::Builder::new()
        .prefix("local-supabase-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(io_failed("create a temporary directory"))?;
    let logs = home.path().join("logs");
    std::fs::create_dir(&logs).map_err(io_failed(format!("create {}", logs.display())))?;
    if let Some(Owner { uid, gid }) = owner {
        for path in [home.path(), &logs] {
            chown(path, Some(uid), Some(gid))
                .map_err(io_failed(format!("give {} to postgres", path.display())))?;
        }
    }
    Ok(home)
}

async fn initialize(
    bin: &Path,
    home: &Path,
    owner: Option<Owner>,
    password: &str,
) -> Result<(), StackError> {
    let password_file = home.join("password");
    std::fs::write(&password_file, password).map_err(io_failed("write the password file"))?;
    if let Some(Owner { uid, gid }) = owner {
        chown(&password_file, Some(uid), Some(gid)).map_err(io_failed("give away a file"))?;
    }
    let mut initdb = Command::new(bin.join("initdb"));
    initdb
        .arg("--pgdata")
        .arg(home.join("data"))
        .arg("--pwfile")
        .arg(&password_file)
        .args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
        ])
        .arg("--no-sync")
        .current_dir(home);
    Owner::apply(owner, &mut initdb);
    let output = initdb.output().await.map_err(io_failed("start initdb"))?;
    std::fs::remove_file(&password_file).map_err(io_failed("remove the password file"))?;
    if !output.status.success() {
        let last_words = tail(&[output.stdout, output.stderr].concat());
        return Err(StackError::Program {
            program: "initdb",
            last_words,
        });
    }
    Ok(())
}

fn launch(
    bin: &Path,
    home: &Path,
    owner: Option<Owner>,
    port: u16,
) -> Result<OwnedProcess, StackError> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SUPERVISOR, "postgres-supervisor"])
        .arg(home);
    command
        .arg(bin.join("postgres"))
        .arg("-D")
        .arg(home.join("data"));
    command.arg("-k").arg(home).args(["-p", &port.to_string()]);
    let settings = [
        "listen_addresses=127.0.0.1",
        "wal_level=logical",
        "timezone=UTC",
        // The data die with the stack, so nothing is gained by waiting for a disk. Commits still flush to the
        // operating system, since logical decoding reads no further than that.
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=32MB",
        "max_connections=100",
    ];
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.current_dir(home);
    Owner::apply(owner, &mut command);
    OwnedProcess::start("postgres", command, &home.join("logs"))
}

fn find_free_port() -> Result<u16, StackError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(io_failed("find a free port"))
}

async fn wait_until_listening(
    process: &mut OwnedProcess,
    home: &Path,
    port: u16,
) -> Result<(), StackError> {
    let socket = home.join(format!(".s.PGSQL.{port}"));
    let listening = async {
        // The socket file appears before the server accepts; only its pid file says "ready".
        while !(socket.exists() && says_ready(&home.join("data/postmaster.pid"))) {
            if process.has_ended() {
                return false;
            }
            tokio::time::sleep(READY_PAUSE).await;
        }
        true
    };
    match tokio::time::timeout(READY_DEADLINE, listening).await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(process.not_ready()),
    }
}

/// Reads the last line of the server's pid file, which is its state.
fn says_ready(pid_file: &Path) -> bool {
    std::fs::read_to_string(pid_file).is_ok_and(|text| {
        text.lines()
            .last()
            .is_some_and(|state| state.trim() == "ready")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_kind_of_release() {
        let check = |text: &str, version| assert_eq!(parse_version(text), version, "{text}");

        check(
            "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
            Some(15),
        );
        check("postgres (PostgreSQL) 18beta2", Some(18));
        check("postgres (PostgreSQL) 9.6.1", Some(9));
        check("something else", None);
    }

    #[test]
    fn a_directory_without_postgres_is_not_taken() {
        let empty = tempfile::tempdir().unwrap();

        assert_eq!(find_binaries(&[empty.path().to_owned()]), None);
    }
}
