//! Messages of the kernel's process connector, read from bytes.
//! It opens no socket and believes no length that the bytes do not bear out.

/// The operation that turns messages on, for this socket.
const LISTEN: u32 = 1;

/// The operation that turns them off.
const IGNORE: u32 = 2;

/// The connector's own address for news of processes: both of its parts are one.
const ADDRESS: [u32; 2] = [1, 1];

/// `nlmsghdr` and `cn_msg`, which stand before the news.
const HEADERS_BYTES: usize = 16 + 20;

/// What the kernel tells of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The processor it was told on; every one counts for itself.
    pub cpu: u32,
    /// The number of the message on that processor.
    pub number: u32,
    /// When, in nanoseconds of the monotonic clock.
    pub at: u64,
    /// What happened.
    pub news: News,
}

/// What happened to a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The answer to our own request: zero, or the number of an error.
    Answer(u32),
    /// A process made another.
    Forked {
        /// The older one.
        parent: u32,
        /// The new one.
        child: u32,
    },
    /// A process began to run another program.
    Executed {
        /// It.
        pid: u32,
    },
    /// A process ended.
    Exited {
        /// It.
        pid: u32,
        /// How, as `wait` has it.
        status: u32,
    },
    /// Something that is counted and not looked at: threads, changes of users and names.
    Other,
}

/// All notices of a datagram.
pub fn parse(datagram: &[u8]) -> impl Iterator<Item = Notice> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(word(rest, 0)?).ok()?;
            let message = rest.get(..length).filter(|m| m.len() >= HEADERS_BYTES)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if let Some(notice) = parse_message(message) {
                return Some(notice);
            }
        }
    })
}

fn parse_message(message: &[u8]) -> Option<Notice> {
    if [word(message, 16)?, word(message, 20)?] != ADDRESS {
        return None;
    }
    let event = message.get(HEADERS_BYTES..)?;
    let at = event.get(8..16)?.first_chunk()?;
    let data = |place: usize| word(event, 16 + 4 * place);
    let news = match word(event, 0)? {
        0 => News::Answer(data(0)?),
        // Threads have a number of their own within their process.
        1 if data(2)? == data(3)? => News::Forked {
            parent: data(1)?,
            child: data(3)?,
        },
        2 => News::Executed { pid: data(1)? },
        0x8000_0000 if data(0)? == data(1)? => News::Exited {
            pid: data(1)?,
            status: data(2)?,
        },
        _ => News::Other,
    };
    Some(Notice {
        cpu: word(event, 4)?,
        number: word(message, 24)?,
        at: u64::from_ne_bytes(*at),
        news,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// The request that turns messages on or off.
#[must_use]
pub(super) fn request(on: bool, sender: u32) -> Vec<u8> {
    let operation = if on { LISTEN } else { IGNORE };
    let length: u32 = 40;
    // nlmsghdr: length, type, flags, number, sender; cn_msg: address, number, acknowledgement,
    // length of the data, flags.
    let [done, no_flags]: [u16; 2] = [3, 0];
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(done.to_ne_bytes());
    bytes.extend(no_flags.to_ne_bytes());
    for word in [0, sender, ADDRESS[0], ADDRESS[1], 0, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(4_u16.to_ne_bytes());
    bytes.extend(0_u16.to_ne_bytes());
    bytes.extend(operation.to_ne_bytes());
    bytes
}

/// Numbers of messages that never came, by processor.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    last: std::collections::BTreeMap<u32, u32>,
}

/// The processor of an answer in older kernels; in newer ones answers are numbered like news.
const NO_CPU: u32 = u32::MAX;

/// Most processors counted apart; the kernel has at most this many.
const MAX_CPUS: usize = 8_192;

impl Gaps {
    /// Takes note of a message; returns how many before it on its processor never came.
    pub(super) fn count(&mut self, notice: &Notice) -> u32 {
        if notice.cpu == NO_CPU {
            return 0;
        }
        if self.last.len() >= MAX_CPUS && !self.last.contains_key(&notice.cpu) {
            return 0;
        }
        let last = self.last.insert(notice.cpu, notice.number);
        let missing = last.map_or(0, |last| notice.number.wrapping_sub(last).wrapping_sub(1));
        // What seems to be half of all numbers is a message out of order.
        if missing > u32::MAX / 2 { 0 } else { missing }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message as the kernel writes it.
    pub(in super::super) fn datagram(notice: &Notice) -> Vec<u8> {
        let (what, data): (u32, Vec<u32>) = match notice.news {
            News::Answer(error) => (0, vec![error]),
            News::Forked { parent, child } => (1, vec![parent, parent, child, child]),
            News::Executed { pid } => (2, vec![pid, pid]),
            News::Exited { pid, status } => (0x8000_0000, vec![pid, pid, status, 17, 1, 1]),
            News::Other => (4, vec![1, 1, 0, 0]),
        };
        let mut event: Vec<u8> = [what, notice.cpu]
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        event.extend(notice.at.to_ne_bytes());
        event.extend(data.iter().flat_map(|w| w.to_ne_bytes()));
        event.resize(40, 0);
        let length = 36 + 40;
        let mut bytes: Vec<u8> = [length, 3, 0, 0, 1, 1, notice.number, 0]
            .iter()
            .flat_map(|w: &u32| w.to_ne_bytes())
            .collect();
        bytes.extend(40_u16.to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(event);
        bytes
    }

    fn notice(cpu: u32, number: u32, news: News) -> Notice {
        Notice {
            cpu,
            number,
            at: 7,
            news,
        }
    }

    #[test]
    fn what_the_kernel_writes_is_read() {
        for news in [
            News::Answer(0),
            News::Forked {
                parent: 1,
                child: 2,
            },
            News::Executed { pid: 2 },
            News::Exited {
                pid: 2,
                status: 0x8b,
            },
            News::Other,
        ] {
            let notice = notice(3, 9, news);
            let bytes = [datagram(&notice), datagram(&notice)].concat();

            assert_eq!(parse(&bytes).collect::<Vec<_>>(), [notice, notice]);
        }
    }

    #[test]
    fn a_thread_is_no_process() {
        let mut bytes = datagram(&notice(
            0,
            0,
            News::Forked {
                parent: 1,
                child: 2,
            },
        ));
        // The number of the thread within its process.
        bytes[36 + 16 + 8] = 99;

        assert_eq!(parse(&bytes).next().unwrap().news, News::Other);
    }

    #[test]
    fn what_never_came_is_counted_by_processor() {
        let mut gaps = Gaps::default();
        let mut count = |cpu, number| gaps.count(&notice(cpu, number, News::Other));

        assert_eq!(count(0, 5), 0, "the first number says nothing");
        assert_eq!(count(1, 90), 0);
        assert_eq!(count(0, 6), 0);
        assert_eq!(count(0, 10), 3);
        assert_eq!(count(1, 91), 0);
        assert_eq!(count(0, 9), 0, "out of order is not lost");
        assert_eq!(count(2, u32::MAX), 0);
        assert_eq!(count(2, 1), 1, "numbers begin again at zero");
        assert_eq!(count(u32::MAX, 0) + count(u32::MAX, 9), 0, "an answer");
    }

    #[test]
    fn a_request_has_the_form_of_a_message() {
        let bytes = request(true, 77);

        assert_eq!(bytes.len(), 40);
        assert_eq!(word(&bytes, 4), Some(3));
        assert_eq!(
            (word(&bytes, 12), word(&bytes, 36)),
            (Some(77), Some(LISTEN))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0_u32..90) {
            let mut with_length = bytes.clone();
            with_length.splice(0..4.min(bytes.len()), length.to_ne_bytes());

            prop_assert!(parse(&bytes).count() <= bytes.len());
            prop_assert!(parse(&with_length).count() <= with_length.len() / HEADERS_BYTES + 1);
        }
    }
}
