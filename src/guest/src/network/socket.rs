//! Sockets of other accounts.

use std::io;
use std::net::IpAddr;

use nix::unistd::{Uid, setfsuid};
use tokio::net::TcpSocket;

/// A socket to `peer` that counts as the account's: where packets go may depend
/// on whose they are (`ip rule ... uidrange`), and this guest lets the database's
/// account alone into the tenant's network.
///
/// # Errors
/// When there are too many files.
pub fn tcp_socket_of(account: u32, peer: IpAddr) -> io::Result<TcpSocket> {
    // A socket belongs to who made it (`sock_alloc` in `net/socket.c`). The
    // thread has its own identity back before anything else runs on it.
    let own = setfsuid(Uid::from_raw(account));
    let socket = match peer {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    };
    setfsuid(own);
    socket
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn a_socket_belongs_to_the_account() {
        let own = Uid::effective();
        let other = if own.is_root() { 64_123 } else { own.as_raw() };
        let socket = tcp_socket_of(other, IpAddr::from([127, 0, 0, 1])).unwrap();
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        assert_eq!(std::fs::metadata(path).unwrap().uid(), other);
        // And what comes after it does not.
        let file = tempfile::tempfile().unwrap();
        assert_eq!(file.metadata().unwrap().uid(), own.as_raw());
    }
}
