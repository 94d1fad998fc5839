//! What the service manager is told: that the agent runs, that its loop turns, and how the link is.
//! It waits for nobody: a manager that does not read loses a message, never the agent's time.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::link::LinkState;
use crate::shutdown::Shutdown;
use crate::text::printable;

/// Longest status; it is one line of `systemctl status`.
const MAX_STATUS_CHARS: usize = 300;

/// Ticks where no watchdog asks for any.
const IDLE_TICK: Duration = Duration::from_secs(3600);

/// Shortest time between two signs of life, whatever a manager asks for.
const MIN_TICK: Duration = Duration::from_millis(100);

/// The service manager that started this process, if one did and wants to be told.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The manager that started this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self::find(|name| std::env::var_os(name))
    }

    /// The manager that the environment names.
    #[must_use]
    pub fn find(env: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let socket = env("NOTIFY_SOCKET").and_then(|name| open_socket(name.as_bytes()).ok());
        let number = |name: &str| env(name)?.to_str()?.parse::<u64>().ok();
        // A watchdog that was meant for the process that started this one is none of ours.
        let is_ours = number("WATCHDOG_PID").is_none_or(|id| id == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC")
            .filter(|micros| *micros > 0 && is_ours)
            .map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// How often a sign of life is due: twice within what the watchdog allows.
    fn tick(&self) -> Duration {
        self.watchdog
            .map_or(IDLE_TICK, |allowed| (allowed / 2).max(MIN_TICK))
    }

    fn tell(&self, message: &str) {
        if let Some((socket, manager)) = &self.socket
            && let Err(error) = socket.send_to_addr(message.as_bytes(), manager)
        {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

fn open_socket(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Says that the agent is ready, then how the link is and that the loop turns, until the agent
/// ends. It runs on the one thread that does all the work, so its silence means that the work is
/// stuck.
pub async fn keep_told(
    manager: Supervisor,
    mut link: watch::Receiver<LinkState>,
    mut shutdown: Shutdown,
) {
    let mut ticks = interval(manager.tick());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    manager.tell("READY=1");
    manager.tell(&status_line(&link.borrow_and_update()));
    loop {
        tokio::select! {
            _ = ticks.tick() => manager.tell("WATCHDOG=1"),
            Ok(()) = link.changed() => {
                let line = status_line(&link.borrow_and_update());
                manager.tell(&line);
            }
            () = shutdown.requested() => {
                manager.tell("STOPPING=1");
                return;
            }
        }
    }
}

fn status_line(link: &LinkState) -> String {
    format!("STATUS={}", printable(&link.to_string(), MAX_STATUS_CHARS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::ffi::OsString;

    /// A manager that can be asked what it was told.
    struct FakeSupervisor {
        socket: std::os::unix::net::UnixDatagram,
        _directory: tempfile::TempDir,
        environment: Vec<(&'static str, OsString)>,
    }

    impl FakeSupervisor {
        fn new(watchdog_usec: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_nonblocking(true).unwrap();
            let environment = vec![
                ("NOTIFY_SOCKET", path.into_os_string()),
                ("WATCHDOG_USEC", watchdog_usec.into()),
                ("WATCHDOG_PID", std::process::id().to_string().into()),
            ];
            Self {
                socket,
                _directory: directory,
                environment,
            }
        }

        fn of_agent(&self) -> Supervisor {
            Supervisor::find(|wanted| {
                let found = self.environment.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| value.clone())
            })
        }
    }

    async fn next(socket: &tokio::net::UnixDatagram) -> String {
        let mut buffer = [0; 1_000];
        let received = tokio::time::timeout(Duration::from_secs(20), socket.recv(&mut buffer));
        let n = received.await.expect("something is told").unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_manager_hears_of_readiness_status_life_and_end_in_one_line_each() {
        let manager = FakeSupervisor::new("200000");
        let socket = manager.socket.try_clone().unwrap();
        let socket = tokio::net::UnixDatagram::from_std(socket).unwrap();
        let (link_tx, link) = watch::channel(LinkState::Starting);
        let (switch, shutdown) = crate::shutdown::shutdown();
        let told = keep_told(manager.of_agent(), link, shutdown);
        let script = async {
            assert_eq!(next(&socket).await, "READY=1");
            assert_eq!(next(&socket).await, "STATUS=starting");
            link_tx.send_replace(LinkState::Waiting {
                reason: "no route\nREADY=0".to_owned(),
                refused: false,
            });
            let mut heard = BTreeSet::new();
            while heard.len() < 2 {
                heard.insert(next(&socket).await);
            }
            switch.request();
            heard
        };

        let ((), heard) = tokio::join!(told, script);

        let wanted = ["STATUS=down: no route\u{fffd}READY=0", "WATCHDOG=1"];
        assert_eq!(heard, BTreeSet::from(wanted.map(str::to_owned)));
        let mut last = next(&socket).await;
        while last == "WATCHDOG=1" {
            last = next(&socket).await;
        }
        assert_eq!(last, "STOPPING=1");
    }

    #[test]
    fn signs_of_life_come_twice_within_what_the_watchdog_allows() {
        let tick = |micros: &str| FakeSupervisor::new(micros).of_agent().tick();

        assert_eq!(tick("30000000"), Duration::from_secs(15));
        assert_eq!(tick("1"), MIN_TICK);
        assert_eq!(Supervisor::default().tick(), IDLE_TICK);
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let mut manager = FakeSupervisor::new("30000000");
        manager.environment[2].1 = "1".into();

        assert_eq!(manager.of_agent().watchdog, None);
    }
}
