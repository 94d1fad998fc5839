//! Notices at once when somebody changes ufw, by the files it writes.
//! It cannot tell who it was, and sees no change that is made in the kernel alone: the audit does.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use inotify::{Inotify, WatchMask};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::firewall::Drift;

/// Where ufw's files are, with the names of those that count.
const FILES: [(&str, &[&str]); 2] = [
    ("/etc/ufw", &["user.rules", "user6.rules", "ufw.conf"]),
    ("/etc/default", &["ufw"]),
];

/// ufw writes several files in a row.
const PAUSE: Duration = Duration::from_millis(100);

/// ufw may be installed later.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Enough for a few dozen names.
const BUFFER_BYTES: usize = 4 * 1024;

/// Tells of every change, the agent's own included, for as long as it is polled.
pub(in crate::firewall) async fn tell_changes(drifts: &watch::Sender<Drift>) {
    loop {
        if let Err(error) = listen(drifts).await {
            tracing::debug!(%error, "changes of ufw are noticed by a timer only");
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn listen(drifts: &watch::Sender<Drift>) -> io::Result<()> {
    let inotify = Inotify::init()?;
    for (directory, _) in FILES {
        let mask = WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO | WatchMask::DELETE;
        inotify
            .watches()
            .add(Path::new(directory), mask | WatchMask::ONLYDIR)?;
    }
    let mut events = inotify.into_event_stream([0; BUFFER_BYTES])?;
    while let Some(event) = events.next().await {
        let event = event?;
        // An overflow has no name, and may have hidden anything.
        let counts = event.name.is_none_or(|name| is_of_ufw(&name));
        if counts {
            sleep(PAUSE).await;
            drifts.send_replace(Drift::default());
        }
    }
    Ok(())
}

fn is_of_ufw(name: &OsStr) -> bool {
    FILES
        .iter()
        .any(|(_, names)| names.iter().any(|it| OsStr::new(it) == name))
}
