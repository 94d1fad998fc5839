//! The network interfaces of this host with their addresses, as the kernel lists them.
//! It resolves no name and sends nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hidps_wire::{Interface, MAX_INTERFACE_ADDRESSES, MAX_INTERFACES, Shown};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{SockaddrLike as _, SockaddrStorage};

/// All interfaces by name; those that are up first where there are too many.
pub(super) fn read() -> Vec<Interface> {
    getifaddrs().map(group).unwrap_or_default()
}

fn group(addresses: impl IntoIterator<Item = InterfaceAddress>) -> Vec<Interface> {
    let mut interfaces = BTreeMap::<String, Interface>::new();
    for entry in addresses {
        let name = entry.interface_name;
        let interface = interfaces.entry(name).or_insert_with_key(|name| Interface {
            name: Shown::new(name),
            mac: None,
            up: false,
            addresses: Vec::new(),
        });
        interface.up |= entry.flags.contains(InterfaceFlags::IFF_UP);
        let Some(address) = entry.address else {
            continue;
        };
        if let Some(link) = address.as_link_addr() {
            interface.mac = link
                .addr()
                .filter(|mac| *mac != [0; 6])
                .map(|mac| print_mac(&mac));
        } else if let Some(address) = print_address(&address, entry.netmask.as_ref())
            && interface.addresses.len() < MAX_INTERFACE_ADDRESSES
        {
            interface.addresses.push(address);
        }
    }
    let mut interfaces: Vec<_> = interfaces.into_values().collect();
    if interfaces.len() > MAX_INTERFACES {
        interfaces.sort_by_key(|interface| (!interface.up, interface.addresses.is_empty()));
        interfaces.truncate(MAX_INTERFACES);
    }
    for interface in &mut interfaces {
        interface.addresses.sort();
    }
    interfaces.sort();
    interfaces
}

fn print_mac(mac: &[u8; 6]) -> Shown<64> {
    let bytes: Vec<_> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    Shown::new(&bytes.join(":"))
}

fn print_address(address: &SockaddrStorage, mask: Option<&SockaddrStorage>) -> Option<Shown<64>> {
    let ip = ip_of(address)?;
    let prefix = mask.and_then(ip_of).map(|mask| match mask {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    });
    Some(match prefix {
        Some(prefix) => Shown::new(&format!("{ip}/{prefix}")),
        None => Shown::new(&ip.to_string()),
    })
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    if address.len() == 0 {
        return None;
    }
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_loopback_with_its_address() {
        let interfaces = read();

        let loopback = interfaces.iter().find(|interface| &*interface.name == "lo");
        let loopback = loopback.expect("every machine has one");
        assert!(
            loopback.addresses.iter().any(|a| &**a == "127.0.0.1/8"),
            "{loopback:?}"
        );
        assert_eq!(loopback.mac, None);
        assert!(interfaces.is_sorted());
    }

    #[test]
    fn a_hardware_address_is_told_as_people_write_it() {
        assert_eq!(
            &*print_mac(&[0, 1, 2, 0xaa, 0xbb, 0xff]),
            "00:01:02:aa:bb:ff"
        );
    }
}
