//! Ports for programs that cannot be told to take any: below the range the kernel draws from.
//! It holds none of them; whoever asks has to bind at once.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// The first port handed out; below are well-known ones.
const FIRST: u16 = 20_000;

/// How many there are: the kernel's own range begins at 32768.
const COUNT: u16 = 12_000;

/// How many this process has tried.
static TRIED: AtomicU16 = AtomicU16::new(0);

/// A TCP port that is free now, another one at each call.
///
/// # Errors
/// Fails when none is free or the address is not the machine's.
pub fn free_port(ip: IpAddr) -> io::Result<u16> {
    // Processes begin at different ports, so that two of them seldom meet.
    let start = std::process::id().wrapping_mul(97) % u32::from(COUNT);
    let start = u16::try_from(start).unwrap_or_default();
    let mut last = io::Error::other("no port was tried");
    for _ in 0..COUNT {
        let step = TRIED.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        match TcpListener::bind((ip, port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_not_handed_out_twice() {
        let ip = [127, 0, 0, 1].into();

        let (first, second) = (free_port(ip).unwrap(), free_port(ip).unwrap());

        assert_ne!(first, second);
        assert!(
            [first, second]
                .iter()
                .all(|port| (FIRST..32_768).contains(port))
        );
        TcpListener::bind((ip, first)).unwrap();
    }

    #[test]
    fn an_address_of_another_machine_has_no_port_here() {
        assert!(free_port([192, 0, 2, 1].into()).is_err());
    }
}
