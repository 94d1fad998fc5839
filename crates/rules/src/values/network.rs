//! Networks in CIDR notation and which addresses lie in them.
//! It never resolves names; what is not an address is in no network.

use std::net::IpAddr;

/// A range of addresses with a common prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    v4: bool,
    prefix: u128,
    mask: u128,
}

impl Network {
    /// Reads `address/length`, or an address alone as the network of itself.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let (v4, bits) = number_of(address.parse().ok()?);
        let width = if v4 { 32 } else { 128 };
        let length = length.unwrap_or(width);
        let host_bits = width.checked_sub(length)?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(Self {
            v4,
            prefix: bits & mask,
            mask,
        })
    }

    /// Whether `text` is an address in this network; `::ffff:a.b.c.d` counts as version 4.
    #[must_use]
    pub fn contains(self, text: &str) -> bool {
        let Ok(address) = text.parse::<IpAddr>() else {
            return false;
        };
        let (v4, bits) = number_of(address.to_canonical());
        v4 == self.v4 && bits & self.mask == self.prefix
    }
}

/// Version and bits of an address.
fn number_of(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u128::from(address.to_bits())),
        IpAddr::V6(address) => (false, address.to_bits()),
    }
}
