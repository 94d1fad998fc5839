//! Notices at once when somebody changes the agent's table or ufw, and who it was if the kernel tells.
//! It reads no rule and repairs nothing; where it cannot listen, the audit timer still looks.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio::sync::watch;
use tokio::time::sleep;

use super::TABLE_NAME;
use super::ufw::{rules_host, tell_changes};
use crate::shutdown::Shutdown;

/// The table of iptables that ufw's rules are in, where iptables is a face of nftables.
const TABLE_OF_UFW: &str = "filter";

/// The kernel's multicast group for changes of nftables.
const GROUP_NFTABLES: u32 = 7;

/// The subsystem of nftables in a message's type.
const SUBSYSTEM_NFTABLES: u8 = 10;

/// The message that ends a transaction and names its author.
const NEW_GENERATION: u8 = 15;

/// Tables, chains, rules, sets and their members: in each the first attribute of this type is the
/// table's name.
const MAX_NAMED_MESSAGE: u8 = 14;

/// A war with another program over the table is fought at this pace.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that failed is opened again after this time.
const REOPEN: Duration = Duration::from_secs(10);

/// Who changed the firewall, as the kernel says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actor {
    /// The process.
    pub process: u32,
    /// Its name.
    pub name: String,
}

/// A change of the agent's table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Drift {
    /// Who made it; none when the kernel's message was lost.
    pub actor: Option<Actor>,
}

/// Tells of every change of the table and of ufw until the agent ends, its own changes included.
pub async fn watch_drift(drifts: watch::Sender<Drift>, mut shutdown: Shutdown) {
    let listen = async {
        let mut was_told = false;
        loop {
            if let Err(error) = listen(&drifts).await
                && !was_told
            {
                was_told = true;
                tracing::warn!(%error, "changes of the firewall are noticed by a timer only");
            }
            sleep(REOPEN).await;
        }
    };
    tokio::select! {
        () = listen => {}
        () = tell_changes(&drifts) => {}
        () = shutdown.requested() => {}
    }
}

async fn listen(drifts: &watch::Sender<Drift>) -> io::Result<()> {
    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    socket.socket_mut().bind_auto()?;
    socket.socket_mut().add_membership(GROUP_NFTABLES)?;
    let mut transaction = Transaction::default();
    // What happened before the socket was open was told to nobody.
    drifts.send_replace(Drift::default());
    loop {
        let drift = match socket.recv_from_full().await {
            // Only the kernel speaks from address 0; a program may forge a message.
            Ok((datagram, sender)) if sender.port_number() == kernel().port_number() => {
                transaction.on_datagram(&datagram, rules_host)
            }
            Ok(_) => None,
            // The kernel had more to tell than the socket could hold.
            Err(error) if is_overrun(&error) => Some(Drift::default()),
            Err(error) => return Err(error),
        };
        if let Some(drift) = drift {
            drifts.send_replace(drift);
            sleep(PAUSE).await;
        }
    }
}

fn kernel() -> SocketAddr {
    SocketAddr::new(0, 0)
}

fn is_overrun(error: &io::Error) -> bool {
    let code = error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error);
    code == Some(rustix::io::Errno::NOBUFS)
}

/// What the kernel has told of a transaction that is not ended yet.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    touches_table: bool,
    touches_ufw: bool,
}

impl Transaction {
    /// Takes in messages; the end of a transaction on the agent's table is a drift, and of one on that
    /// of iptables where ufw filters by it.
    pub(super) fn on_datagram(
        &mut self,
        datagram: &[u8],
        is_ufw: impl Fn() -> bool,
    ) -> Option<Drift> {
        let mut drift = None;
        let mut rest = datagram;
        while let Some((message, next)) = Message::split_from(rest) {
            rest = next;
            if message.subsystem != SUBSYSTEM_NFTABLES {
                continue;
            }
            if message.kind == NEW_GENERATION {
                let transaction = std::mem::take(self);
                if transaction.touches_table || (transaction.touches_ufw && is_ufw()) {
                    drift = Some(Drift {
                        actor: message.actor(),
                    });
                }
            } else if message.kind <= MAX_NAMED_MESSAGE {
                let table = message.text(1);
                self.touches_table |= table == Some(TABLE_NAME);
                self.touches_ufw |= table == Some(TABLE_OF_UFW);
            }
        }
        drift
    }
}

/// One message: `nlmsghdr`, `nfgenmsg`, attributes.
struct Message<'d> {
    subsystem: u8,
    kind: u8,
    attributes: &'d [u8],
}

impl<'d> Message<'d> {
    fn split_from(datagram: &'d [u8]) -> Option<(Self, &'d [u8])> {
        let length = datagram
            .first_chunk()
            .map(|bytes| u32::from_ne_bytes(*bytes))?;
        let length = usize::try_from(length).ok()?;
        let message = datagram.get(..length)?;
        let kind = message
            .get(4..6)?
            .first_chunk()
            .map(|bytes| u16::from_ne_bytes(*bytes))?;
        let [kind, subsystem] = kind.to_le_bytes();
        let parsed = Self {
            subsystem,
            kind,
            attributes: message.get(20..)?,
        };
        let next = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
        Some((parsed, next))
    }

    /// The payload of the first attribute of a type.
    fn attribute(&self, wanted: u16) -> Option<&'d [u8]> {
        let mut rest = self.attributes;
        while let Some((header, _)) = rest.split_first_chunk::<4>() {
            let [a, b, c, d] = *header;
            let length = usize::from(u16::from_ne_bytes([a, b]));
            // The two highest bits are flags.
            let kind = u16::from_ne_bytes([c, d]) & 0x3fff;
            if length < header.len() {
                return None;
            }
            if kind == wanted {
                return rest.get(header.len()..length);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
        None
    }

    fn text(&self, wanted: u16) -> Option<&'d str> {
        let bytes = self.attribute(wanted)?;
        let bytes = bytes.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(bytes).ok()
    }

    /// Of a generation: 2 is the process, 3 its name.
    fn actor(&self) -> Option<Actor> {
        let process = self.attribute(2)?.first_chunk()?;
        Some(Actor {
            process: u32::from_be_bytes(*process),
            name: self.text(3).unwrap_or("unknown").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + payload.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let attributes = attributes.concat();
        let length = u32::try_from(20 + attributes.len()).unwrap();
        let kind = u16::from(SUBSYSTEM_NFTABLES) << 8 | u16::from(kind);
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.resize(20, 0);
        bytes.extend_from_slice(&attributes);
        bytes
    }

    fn generation() -> Vec<u8> {
        let process = attribute(2, &77_u32.to_be_bytes());
        message(
            NEW_GENERATION,
            &[attribute(1, &[0, 0, 0, 9]), process, attribute(3, b"nft\0")],
        )
    }

    #[test]
    fn a_transaction_on_our_table_is_a_drift_with_its_author() {
        let mut transaction = Transaction::default();
        let deleted = message(2, &[attribute(1, b"hidps\0")]);

        let before_end = transaction.on_datagram(&deleted, || false);
        let at_end = transaction.on_datagram(&generation(), || false);
        let afterwards = transaction.on_datagram(&generation(), || false);

        assert_eq!((before_end, afterwards), (None, None));
        let actor = Actor {
            process: 77,
            name: "nft".to_owned(),
        };
        assert_eq!(at_end, Some(Drift { actor: Some(actor) }));
    }

    #[tokio::test]
    async fn whoever_begins_to_listen_looks_once() {
        let (drifts, mut told) = watch::channel(Drift::default());
        told.mark_unchanged();
        let (_switch, shutdown) = crate::shutdown::shutdown();

        let looked = async {
            tokio::select! {
                () = watch_drift(drifts, shutdown) => Ok(()),
                changed = told.changed() => changed,
            }
        };
        let looked = tokio::time::timeout(Duration::from_secs(5), looked).await;

        if looked.is_err() && !rustix::process::geteuid().is_root() {
            let missing = "the changes of nftables are told to root only";
            return hidps_lab::say_skipped("whoever_begins_to_listen_looks_once", &missing);
        }
        looked.unwrap().unwrap();
    }

    #[test]
    fn transactions_on_other_tables_are_nobodys_business() {
        let other = message(6, &[attribute(1, b"nat\0")]);
        let datagram = [other, generation()].concat();

        let told = Transaction::default().on_datagram(&datagram, || true);

        assert_eq!(told, None);
    }

    #[test]
    fn what_iptables_does_is_a_drift_where_ufw_filters_by_it() {
        let other = message(6, &[attribute(1, b"filter\0")]);
        let datagram = [other, generation()].concat();
        let told = |is_ufw: bool| Transaction::default().on_datagram(&datagram, || is_ufw);

        assert_eq!(told(false), None);
        let actor = told(true).and_then(|drift| drift.actor);
        assert_eq!(actor.map(|actor| actor.process), Some(77));
    }

    proptest! {
        #[test]
        fn no_bytes_break_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Transaction::default().on_datagram(&bytes, || true);
        }

        #[test]
        fn no_damage_breaks_anything(at in 0_usize..60, value: u8) {
            let mut datagram = [message(2, &[attribute(1, b"hidps\0")]), generation()].concat();
            if let Some(byte) = datagram.get_mut(at) {
                *byte = value;
            }

            Transaction::default().on_datagram(&datagram, || true);
        }
    }
}
