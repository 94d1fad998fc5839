//! The daemon as a process: started, killed, started again with the same settings.
//! It never talks to the daemon but over its sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::command::{CommandError, Running};
use crate::world::probe::{NotSeen, http_get, wait_until};

/// From start to ready takes a second; a machine busy with builds needs longer.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// Far above the daemon's own deadline for its drain.
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);

/// What the daemon is started with.
#[derive(Clone, Debug)]
pub struct DaemonSettings {
    /// The program.
    pub program: PathBuf,
    /// Port on loopback and on `also_listen`.
    pub port: u16,
    /// The machine's end of the cable to a host, if there is one.
    pub also_listen: Option<Ipv4Addr>,
    /// Everything else, as environment.
    pub environment: Vec<(&'static str, String)>,
}

/// A daemon, running or killed.
#[derive(Debug)]
pub struct Daemon {
    settings: DaemonSettings,
    /// Settings that take the place of, or come to, those it was first started with.
    changed: Vec<(&'static str, String)>,
    process: Running,
}

impl Daemon {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start or does not become ready; the error quotes its log.
    pub async fn start(settings: DaemonSettings) -> Result<Self, DaemonError> {
        let process = spawn(&settings, &[])?;
        let mut daemon = Self {
            settings,
            changed: Vec::new(),
            process,
        };
        daemon.wait_ready().await?;
        Ok(daemon)
    }

    /// Where viewers and this machine's agents reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.settings.port).into()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it logged since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn kill(&mut self) -> Result<ExitStatus, DaemonError> {
        self.process.kill().map_err(|source| DaemonError::Process {
            action: "kill",
            source,
        })
    }

    /// Starts it again, with the same settings, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn restart(&mut self) -> Result<(), DaemonError> {
        self.respawn()?;
        self.wait_ready().await
    }

    /// Starts it again, with the same settings, where it cannot become ready.
    ///
    /// # Errors
    /// When it does not start.
    pub fn respawn(&mut self) -> Result<(), DaemonError> {
        self.process = spawn(&self.settings, &self.changed)?;
        Ok(())
    }

    /// Changes what the next start has beside, or instead of, the first settings; says whether
    /// that differs from the start before.
    pub fn configure(&mut self, changed: &[(&'static str, &str)]) -> bool {
        let owned = |(name, value): &(&'static str, &str)| (*name, (*value).to_owned());
        let changed: Vec<_> = changed.iter().map(owned).collect();
        let differs = self.changed != changed;
        self.changed = changed;
        differs
    }

    /// Lets it drain and end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> Result<ExitStatus, DaemonError> {
        let stopped = self.process.terminate(DRAIN_DEADLINE);
        stopped.map_err(|source| DaemonError::Process {
            action: "stop",
            source,
        })
    }

    /// The value of a metric, all labels added up; none when it was never counted.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, body) = http_get(self.address(), "/metrics").await.ok()?;
        sum_metric(&body, name)
    }

    async fn wait_ready(&mut self) -> Result<(), DaemonError> {
        let address = self.address();
        let ready = wait_until("the daemon's readiness", READY_DEADLINE, async || {
            if let Ok(Some(status)) = self.process.exit_status() {
                return Ok(Err(status));
            }
            match http_get(address, "/readyz").await {
                Ok((200, _)) => Ok(Ok(())),
                Ok((status, body)) => Err(format!("{status} {}", body.trim())),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        match ready {
            Ok((Ok(()), _)) => Ok(()),
            Ok((Err(status), _)) => Err(DaemonError::Ended {
                status,
                log: self.log(),
            }),
            Err(source) => Err(DaemonError::NotReady {
                log: self.log(),
                source,
            }),
        }
    }
}

fn spawn(
    settings: &DaemonSettings,
    changed: &[(&'static str, String)],
) -> Result<Running, DaemonError> {
    let loopback = format!("127.0.0.1:{}", settings.port);
    let listen = settings.also_listen.map_or_else(
        || loopback.clone(),
        |address| format!("{loopback},{address}:{}", settings.port),
    );
    let mut command = Command::new(&settings.program);
    command.arg("serve").env_clear().env("HIDPS_LISTEN", listen);
    // Programs of the system are found as everywhere; nothing else of this process is inherited.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let environment = settings.environment.iter().chain(changed);
    command.envs(environment.map(|(name, value)| (name, value)));
    Running::start("hidpsd", command).map_err(|source| DaemonError::Process {
        action: "start",
        source,
    })
}

/// The sum of a metric over all its labels, in Prometheus' text form.
fn sum_metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let is_whole_name = rest.starts_with([' ', '{']);
        let value = rest.rsplit(' ').next().filter(|_| is_whole_name)?;
        value.parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

/// What went wrong with the daemon's process.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The process did not do as told.
    #[error("could not {action} the daemon")]
    Process {
        /// What was tried.
        action: &'static str,
        /// How it failed.
        #[source]
        source: CommandError,
    },
    /// It ended by itself.
    #[error("the daemon ended with {status}; it logged:\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What it logged.
        log: String,
    },
    /// It runs, but something it needs is missing.
    #[error("the daemon did not become ready; it logged:\n{log}")]
    NotReady {
        /// What it logged.
        log: String,
        /// What its health route said last.
        #[source]
        source: NotSeen,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_others() {
        let text = "# HELP a_total x\na_total{k=\"1\"} 2\na_total{k=\"2 3\"} 3\na_total_more 9\n";

        assert_eq!(sum_metric(text, "a_total"), Some(5.0));
        assert_eq!(sum_metric(text, "a"), None);
    }
}
