//! The interfaces of this guest, as the kernel has them now.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::net::if_::InterfaceFlags;

/// One interface.
#[derive(Debug, Default)]
pub(super) struct Interface {
    pub(super) mac: Option<[u8; 6]>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) is_loopback: bool,
}

impl Interface {
    /// Whether others could speak to this guest by it.
    pub(super) fn is_reachable(&self) -> bool {
        !self.is_loopback && self.addresses.iter().any(|address| !is_link_local(address))
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// All interfaces by name.
pub(super) fn all() -> std::io::Result<BTreeMap<String, Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in nix::ifaddrs::getifaddrs()? {
        let interface = found.entry(entry.interface_name).or_default();
        interface.is_loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let Some(storage) = entry.address else {
            continue;
        };
        if let Some(link) = storage.as_link_addr() {
            interface.mac = link.addr();
        } else if let Some(v4) = storage.as_sockaddr_in() {
            interface.addresses.push(v4.ip().into());
        } else if let Some(v6) = storage.as_sockaddr_in6() {
            interface.addresses.push(v6.ip().into());
        }
    }
    Ok(found)
}
