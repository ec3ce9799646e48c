//! Where others reach this guest.

mod cidr;
mod interfaces;
mod socket;
mod tenant;

pub use cidr::{BadCidr, Cidr};
pub use socket::tcp_socket_of;
pub use tenant::{HostRoute, NetworkError, Subnet, TenantNetwork};

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// An address of the Internet; nothing is ever sent there.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(8, 8, 8, 8), 53);

/// The address from which this guest speaks to others by default: that of the
/// default route, as oslo.utils' `get_my_ipv4` finds it, or else the first
/// IPv4 address that is not the loopback's.
///
/// # Errors
/// When there is none.
pub fn own_address() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Connecting a datagram socket only asks the routing table.
    if socket.connect(ELSEWHERE).is_ok() {
        return socket.local_addr().map(|address| address.ip());
    }
    nix::ifaddrs::getifaddrs()?
        .filter_map(|interface| interface.address?.as_sockaddr_in().map(|v4| v4.ip()))
        .find(|address| !address.is_loopback())
        .map(IpAddr::from)
        .ok_or_else(|| std::io::Error::other("this guest has no IPv4 address"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_has_an_address_or_says_so() {
        match super::own_address() {
            Ok(address) => assert!(!address.is_unspecified()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
