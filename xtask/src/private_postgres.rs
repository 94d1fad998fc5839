//! A PostgreSQL server of our own for the SQL tests: on a Unix socket, without durability, gone after.
//! It never touches a server or cluster that is there already.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::program::{program, succeed};

/// The programs of one version.
pub(crate) struct Programs {
    /// The directory of `postgres`, `initdb` and `pg_ctl`.
    pub(crate) server: PathBuf,
    /// The directory of `psql`.
    pub(crate) client: PathBuf,
    /// Whether the server's lie where only this user may look, with all they need beside them.
    pub(crate) is_ours: bool,
}

/// A running server; dropping it ends it and removes its files.
pub(crate) struct PrivatePostgres {
    programs: PathBuf,
    client: PathBuf,
    directory: PathBuf,
    owner: Option<Owner>,
}

/// A user without privileges; PostgreSQL refuses to run as root.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl PrivatePostgres {
    /// Starts a server with these programs.
    ///
    /// # Errors
    /// When the server's own programs fail.
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // Another run, in another container or killed, may have had this process's id.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let (id, nanos) = (std::process::id(), now.as_nanos());
        let name = format!("hidps-sql-{id}-{number}-{nanos}");
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let owner = unprivileged_owner()?;
        let mut server = Self {
            programs: programs.server.clone(),
            client: programs.client.clone(),
            directory,
            owner,
        };
        if programs.is_ours {
            server.take_programs_along()?;
        }
        if let Some(Owner { user, group }) = owner {
            chown(&server.directory, Some(user), Some(group))
                .context("cannot hand over a directory")?;
        }
        let mut initdb = server.program("initdb");
        initdb.arg("--pgdata").arg(server.data());
        initdb.args([
            "--auth=trust",
            "--username=postgres",
            "--no-sync",
            "--encoding=UTF8",
        ]);
        succeed(initdb.args(["--locale=C.UTF-8"]))?;
        let mut start = server.program("pg_ctl");
        start.args(["start", "--wait", "--silent"]);
        start.arg("--log").arg(server.directory.join("log"));
        let options = format!(
            "-c listen_addresses= -c fsync=off -c wal_level=logical -k {}",
            server.directory.display()
        );
        succeed(start.args(["--options", &options]))?;
        Ok(server)
    }

    /// Copies the programs to where the server's user may run them.
    fn take_programs_along(&mut self) -> Result<()> {
        let all = self.programs.parent().context("programs lie in a folder")?;
        let own = self.directory.join("programs");
        succeed(program("cp").arg("-a").arg(all).arg(&own))?;
        self.programs = own.join("bin");
        Ok(())
    }

    /// Makes an empty database and gives its address.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn create_database(&self, name: &str) -> Result<String> {
        let mut psql = program(self.client.join("psql"));
        psql.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            &format!("create database {name}"),
        ]);
        succeed(psql.arg(self.address("postgres")))?;
        Ok(self.address(name))
    }

    fn address(&self, database: &str) -> String {
        let host = self.directory.display();
        format!("postgresql://postgres@/{database}?host={host}")
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = program(self.programs.join(name));
        // A directory that every user may enter.
        command
            .current_dir("/")
            .env("PGDATA", self.data())
            .stdout(Stdio::null());
        if let Some(Owner { user, group }) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl");
        stop.args(["stop", "--wait", "--silent", "--mode=immediate"]);
        let stopped = succeed(&mut stop);
        if let Err(error) = stopped.and_then(|()| Ok(fs::remove_dir_all(&self.directory)?)) {
            println!("{} is left over: {error:#}", self.directory.display());
        }
    }
}

/// For root: the user that PostgreSQL's package made, or the one that owns nothing.
fn unprivileged_owner() -> Result<Option<Owner>> {
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() != 0) {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let owner = ["postgres", "nobody"]
        .iter()
        .find_map(|name| find_user(&users, name));
    owner
        .map(Some)
        .context("there is neither a user postgres nor a user nobody")
}

fn find_user(users: &str, name: &str) -> Option<Owner> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let mut numbers = fields.skip(1).map(str::parse);
        Some(Owner {
            user: numbers.next()?.ok()?,
            group: numbers.next()?.ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_takes_a_database_and_vanishes() {
        let Some((_, programs)) = crate::setup::find_postgres().pop() else {
            panic!("no PostgreSQL here: cargo x setup");
        };
        let programs = Programs {
            server: programs.clone(),
            client: programs,
            is_ours: false,
        };
        let server = PrivatePostgres::start(&programs).expect("it starts");
        let directory = server.directory.clone();

        let address = server
            .create_database("empty")
            .expect("it takes a database");

        let mut psql = program(programs.client.join("psql"));
        let one = crate::program::capture(psql.args(["-XAtc", "select 1"]).arg(address));
        assert_eq!(one.expect("it answers").trim(), "1");
        drop(server);
        assert!(!directory.exists());
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:8:::\npostgres:x:110:115:::\n";

        let owner = find_user(users, "postgres").expect("it is there");

        assert_eq!((owner.user, owner.group), (110, 115));
        assert!(find_user(users, "nobody").is_none());
    }
}
