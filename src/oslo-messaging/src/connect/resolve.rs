//! Names to addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;

/// Turns a broker's name into addresses. A statically linked program may want
/// to bring its own instead of the C library's.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// Addresses of `host`, best first; never an empty list.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// `getaddrinfo` of the C library.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name has no address",
            ));
        }
        Ok(addresses)
    }
}
