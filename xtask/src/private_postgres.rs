//! A PostgreSQL server of our own for the SQL tests: on a Unix socket, without durability, gone after.
//! It never touches a server or cluster that is there already.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::program::{program, succeed};

/// A running server; dropping it ends it and removes its files.
pub(crate) struct PrivatePostgres {
    programs: PathBuf,
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
    /// Starts a server with the programs of this directory.
    ///
    /// # Errors
    /// When the server's own programs fail.
    pub(crate) fn start(programs: &Path) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("hidps-sql-{}", std::process::id()));
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let owner = unprivileged_owner()?;
        let server = Self {
            programs: programs.to_owned(),
            directory,
            owner,
        };
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

    /// Makes an empty database and gives its address.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn create_database(&self, name: &str) -> Result<String> {
        let mut psql = program(self.programs.join("psql"));
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
            println!("SKIPPED a_server_takes_a_database_and_vanishes: no PostgreSQL here");
            return;
        };
        let server = PrivatePostgres::start(&programs).expect("it starts");
        let directory = server.directory.clone();

        let address = server
            .create_database("empty")
            .expect("it takes a database");

        let mut psql = program(programs.join("psql"));
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
