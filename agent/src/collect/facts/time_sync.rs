//! Who keeps this host's clock right, and whether that has worked.
//! It asks no time server: it looks at what services leave in files, and asks those of this very host.

mod chrony;
mod ntp;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use hidps_wire::TimeSync;

/// An answer from this host comes in well under a millisecond, unless it does not come.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);

/// Longest answer that is read; those that are understood have less than a hundred bytes.
const MAX_ANSWER_BYTES: usize = 1_024;

/// Services that neither say in a file nor to others whether they have set the clock.
const SILENT: [(&str, &str); 3] = [
    ("openntpd", "OpenNTPD"),
    ("ntp-daemon", "ntpd-rs"),
    ("VBoxService", "VirtualBox guest additions"),
];

/// Where the services of this host answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeServices {
    pub(super) chrony: SocketAddr,
    pub(super) ntp: SocketAddr,
}

impl TimeServices {
    /// The ports they have by default, which only root can take.
    pub(super) const fn of_this_host() -> Self {
        let local = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            chrony: SocketAddr::new(local, 323),
            ntp: SocketAddr::new(local, 123),
        }
    }

    /// The service that runs.
    pub(super) fn find(self, root: &Path, programs: &BTreeSet<String>) -> Option<TimeSync> {
        let found = |source: &str, synchronized| {
            Some(TimeSync {
                source: source.into(),
                synchronized,
            })
        };
        // The kernel keeps 15 bytes of a name.
        if programs.contains("systemd-timesyn") {
            let mark = root.join("run/systemd/timesync/synchronized");
            return found("systemd-timesyncd", Some(mark.exists()));
        }
        if programs.contains("chronyd") {
            let answer = ask(self.chrony, &chrony::question());
            return found("chrony", answer.and_then(|answer| chrony::parse(&answer)));
        }
        if programs.contains("ntpd") {
            let answer = ask(self.ntp, &ntp::question());
            return found("ntpd", answer.and_then(|answer| ntp::parse(&answer)));
        }
        let service = SILENT
            .iter()
            .find(|(program, _)| programs.contains(*program))?;
        found(service.1, None)
    }
}

/// The answer of a service of this host; none where it does not answer.
fn ask(service: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    // From here on, nobody else's datagrams come in.
    socket.connect(service).ok()?;
    socket.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
    socket.send(question).ok()?;
    let mut answer = vec![0; MAX_ANSWER_BYTES];
    let length = socket.recv(&mut answer).ok()?;
    answer.truncate(length);
    Some(answer)
}

/// For fuzzing.
pub(super) mod fuzzing {
    pub(in crate::collect) fn read_answers(bytes: &[u8]) {
        super::chrony::parse(bytes);
        super::ntp::parse(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service that gives one answer, whatever it is asked.
    fn answering(answer: Vec<u8>) -> (SocketAddr, std::thread::JoinHandle<Vec<u8>>) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let answered = std::thread::spawn(move || {
            let mut question = vec![0; 1_024];
            let (length, peer) = socket.recv_from(&mut question).unwrap();
            socket.send_to(&answer, peer).unwrap();
            question.truncate(length);
            question
        });
        (address, answered)
    }

    fn state(services: TimeServices, program: &str) -> Option<bool> {
        let programs = BTreeSet::from([program.to_owned()]);
        let root = Path::new("/nonexistent");
        services.find(root, &programs).unwrap().synchronized
    }

    #[test]
    fn a_service_of_this_host_says_whether_it_has_set_the_clock() {
        let nobody = "127.0.0.1:1".parse().unwrap();
        let services = |chrony, ntp| TimeServices { chrony, ntp };
        let (chrony, asked) = answering(chrony::answer(0));
        assert_eq!(state(services(chrony, nobody), "chronyd"), Some(true));
        assert_eq!(asked.join().unwrap(), chrony::question());
        let (ntp, asked) = answering(ntp::answer(3, 0));
        assert_eq!(state(services(nobody, ntp), "ntpd"), Some(false));
        assert_eq!(asked.join().unwrap(), ntp::question());
    }

    #[test]
    fn a_service_that_does_not_answer_or_talks_nonsense_does_not_say() {
        let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let alone = TimeServices {
            chrony: nobody,
            ntp: nobody,
        };
        let (chrony, _) = answering(b"nonsense".to_vec());
        let confused = TimeServices { chrony, ..alone };

        assert_eq!(state(alone, "chronyd"), None);
        assert_eq!(state(alone, "ntpd"), None);
        assert_eq!(state(confused, "chronyd"), None);
    }
}
