//! A real sshd with a host key, log file and port of its own, and real failed logins to it.
//! It never reads or writes the machine's ssh configuration, keys or known hosts.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::command::{CommandError, Running, find_program, run, wait_for};
use crate::netns::Namespace;

/// sshd is up in some 50 ms; a machine with two busy cores needs longer.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// One failed login takes 0.2 s, more when sshd slows guessing down.
const LOGIN_DEADLINE: Duration = Duration::from_secs(120);

/// Why a real ssh server or login is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A package is missing.
    #[error("{program} is missing: apt-get install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// Its directory could not be prepared.
    #[error("could not prepare {path}")]
    Prepare {
        /// What could not be written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A process failed.
    #[error("could not {action}")]
    Run {
        /// What was tried.
        action: &'static str,
        /// How it failed.
        #[source]
        source: CommandError,
    },
    /// The login did not fail at the password.
    #[error("the login of {user:?} did not reach the password: {detail}")]
    NotRefused {
        /// The user.
        user: String,
        /// What ssh said.
        detail: String,
    },
}

/// A running sshd.
#[derive(Debug)]
pub struct SshServer {
    process: Running,
    address: SocketAddr,
    log_path: PathBuf,
    askpass: PathBuf,
    _directory: TempDir,
}

impl SshServer {
    /// Starts sshd on an address, inside a namespace if one is given.
    ///
    /// # Errors
    /// Fails when a package is missing or sshd does not start; the error quotes its log.
    pub fn start(place: Option<&Namespace>, address: SocketAddr) -> Result<Self, SshError> {
        let sshd = need("sshd", "openssh-server")?;
        need("ssh", "openssh-client")?;
        let directory = tempfile::Builder::new()
            .prefix("hidps-lab-sshd")
            .tempdir()
            .map_err(|source| prepare_failed(Path::new("a temporary directory"), source))?;
        let host_key = make_host_key(directory.path())?;
        let askpass = write_askpass(directory.path())?;
        ensure_separation_directory()?;
        let log_path = directory.path().join("sshd.log");
        fs::write(&log_path, "").map_err(|source| prepare_failed(&log_path, source))?;

        let mut command = Command::new(sshd);
        // -D -e would log to standard error; a file is what an agent tails.
        command.args(["-D", "-f", "/dev/null", "-h"]).arg(host_key);
        command.arg("-E").arg(&log_path);
        for option in [
            "UsePAM=no",
            "PasswordAuthentication=yes",
            "KbdInteractiveAuthentication=no",
            "PermitRootLogin=yes",
            "MaxStartups=200",
            "PidFile=none",
            &format!("ListenAddress={address}"),
        ] {
            command.args(["-o", option]);
        }
        let command = place.map_or_else(|| clone_plain(&command), |host| host.exec(&command));
        let process = Running::start("sshd", command).map_err(|source| SshError::Run {
            action: "start sshd",
            source,
        })?;
        let mut server = Self {
            process,
            address,
            log_path,
            askpass,
            _directory: directory,
        };
        server.wait_until_listening()?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file it logs to, without time, host or program in its lines.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Makes `attempts` logins with a wrong password from a place that reaches the server.
    ///
    /// # Errors
    /// Fails when an attempt is not refused because of its password.
    pub fn fail_login(
        &self,
        from: Option<&Namespace>,
        user: &str,
        attempts: usize,
    ) -> Result<(), SshError> {
        for _ in 0..attempts {
            self.fail_one_login(from, user)?;
        }
        Ok(())
    }

    fn fail_one_login(&self, from: Option<&Namespace>, user: &str) -> Result<(), SshError> {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-p", &self.address.port().to_string()]);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "PreferredAuthentications=password",
            "PubkeyAuthentication=no",
            "NumberOfPasswordPrompts=1",
            "ConnectTimeout=60",
            "LogLevel=ERROR",
        ] {
            command.args(["-o", option]);
        }
        command.args(["-l", user, &self.address.ip().to_string(), "true"]);
        command
            .env("SSH_ASKPASS", &self.askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env_remove("SSH_AUTH_SOCK");
        let command = from.map_or_else(|| clone_plain(&command), |host| host.exec(&command));
        match run(command, LOGIN_DEADLINE) {
            Err(CommandError::Failed { stderr, .. }) if stderr.contains("Permission denied") => {
                Ok(())
            }
            Err(CommandError::Failed { stderr, .. }) => Err(SshError::NotRefused {
                user: user.to_owned(),
                detail: stderr,
            }),
            Err(source) => Err(SshError::Run {
                action: "run ssh",
                source,
            }),
            Ok(_) => Err(SshError::NotRefused {
                user: user.to_owned(),
                detail: "it was let in".to_owned(),
            }),
        }
    }

    fn wait_until_listening(&mut self) -> Result<(), SshError> {
        let (process, log_path) = (&mut self.process, &self.log_path);
        let settled = || {
            let log = fs::read_to_string(log_path).unwrap_or_default();
            let ended = process.exit_status().unwrap_or_default();
            let listening = log.contains("Server listening on");
            (listening || ended.is_some()).then_some((ended, log))
        };
        let outcome = wait_for("sshd listening", START_DEADLINE, settled);
        let ended = match outcome {
            Ok((None, _)) => return Ok(()),
            Ok((Some(status), log)) => CommandError::Ended {
                name: "sshd".to_owned(),
                status,
                wanted: "listening".to_owned(),
                log,
            },
            Err(late) => late,
        };
        Err(SshError::Run {
            action: "see sshd listening",
            source: ended,
        })
    }
}

fn need(program: &'static str, package: &'static str) -> Result<PathBuf, SshError> {
    find_program(program).ok_or(SshError::Missing { program, package })
}

fn prepare_failed(path: &Path, source: std::io::Error) -> SshError {
    SshError::Prepare {
        path: path.to_owned(),
        source,
    }
}

fn make_host_key(directory: &Path) -> Result<PathBuf, SshError> {
    let path = directory.join("host_key");
    let mut command = Command::new(need("ssh-keygen", "openssh-client")?);
    command
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&path);
    run(command, START_DEADLINE).map_err(|source| SshError::Run {
        action: "make a host key",
        source,
    })?;
    Ok(path)
}

fn write_askpass(directory: &Path) -> Result<PathBuf, SshError> {
    let path = directory.join("askpass");
    fs::write(&path, "#!/bin/sh\necho a-wrong-password\n")
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)))
        .map_err(|source| prepare_failed(&path, source))?;
    Ok(path)
}

/// sshd run by root insists on this empty directory, which a package's unit makes at boot.
fn ensure_separation_directory() -> Result<(), SshError> {
    let path = Path::new("/run/sshd");
    if !rustix::process::geteuid().is_root() || path.exists() {
        return Ok(());
    }
    fs::create_dir(path)
        .or_else(|error| if path.exists() { Ok(()) } else { Err(error) })
        .map_err(|source| prepare_failed(path, source))
}

/// The same command anew: `Command` has no clone.
fn clone_plain(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::free_port;
    use crate::say_skipped;

    #[test]
    fn failed_logins_of_any_user_leave_their_lines() {
        let ip = [127, 0, 0, 1].into();
        let address = SocketAddr::new(ip, free_port(ip).unwrap());
        let server = match SshServer::start(None, address) {
            Ok(server) => server,
            Err(missing @ SshError::Missing { .. }) => {
                return say_skipped("failed_logins_of_any_user_leave_their_lines", &missing);
            }
            Err(error) => panic!("{error:?}"),
        };

        server.fail_login(None, "nobody-here", 2).unwrap();

        let log = fs::read_to_string(server.log_path()).unwrap();
        let failures = log.matches("Failed password for invalid user nobody-here from 127.0.0.1");
        assert_eq!(failures.count(), 2, "{log}");
    }
}
