//! Private IPv4 networks of four addresses, one for each link, distinct between processes.
//! It never hands out an address of a block that another living process holds.

use std::fs::{File, create_dir_all};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Where the locks are; shared by all processes of the machine.
const LOCK_DIRECTORY: &str = "/tmp/hidps-lab-addresses";

/// A network of 256 addresses holds this many links of four addresses.
const LINKS_PER_BLOCK: u8 = 64;

/// The block this process draws from; its lock is held until the process ends.
static BLOCK: Mutex<Option<Block>> = Mutex::new(None);

struct Block {
    network: [u8; 3],
    used: u8,
    /// Never read: the open file is the lock.
    _lock: File,
}

/// The two ends of a link, in a network with a prefix of 30 bits.
pub(crate) fn claim_pair() -> std::io::Result<(Ipv4Addr, Ipv4Addr)> {
    let mut slot = BLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let mut block = match slot.take() {
        Some(block) if block.used < LINKS_PER_BLOCK => block,
        Some(_) | None => claim_block()?,
    };
    let [a, b, c] = block.network;
    let base = block.used * 4;
    block.used += 1;
    *slot = Some(block);
    Ok((
        Ipv4Addr::new(a, b, c, base + 1),
        Ipv4Addr::new(a, b, c, base + 2),
    ))
}

/// Tries the 10.96.0.0/11 networks from one that depends on the process id.
fn claim_block() -> std::io::Result<Block> {
    create_dir_all(LOCK_DIRECTORY)?;
    let start = std::process::id();
    for step in 0..8_192_u32 {
        let number = start.wrapping_add(step) % 8_192;
        let [_, _, high, low] = number.to_be_bytes();
        let path = PathBuf::from(LOCK_DIRECTORY).join(format!("10.{}.{low}", 96 + high));
        let lock = File::options().create(true).append(true).open(path)?;
        if lock.try_lock().is_ok() {
            return Ok(Block {
                network: [10, 96 + high, low],
                used: 0,
                _lock: lock,
            });
        }
    }
    Err(std::io::Error::other(
        "all 8192 private networks are held by other processes",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_neighbours_and_never_repeat() {
        let pairs: Vec<_> = (0..70).map(|_| claim_pair().unwrap()).collect();

        let distinct: std::collections::BTreeSet<_> = pairs.iter().collect();
        assert_eq!(distinct.len(), pairs.len());
        for (first, second) in pairs {
            assert_eq!(u32::from(second), u32::from(first) + 1);
        }
    }
}
