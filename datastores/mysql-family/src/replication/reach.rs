//! A look at the source before anything is changed for it.

use std::time::Duration;

use datastore::{Endpoint, Error, ErrorKind, Result};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::{Flavor, Server};

/// How long the source may take to greet: it asks for the name of who comes
/// before, and a resolver that does not answer is given up after 10 to 20 s.
const LIMIT: Duration = Duration::from_secs(30);
/// The server can speak TLS (`CLIENT_SSL`).
const CAPABLE_OF_TLS: u16 = 0x0800;
/// What a server says to those it does not want to greet.
const ERROR: u8 = 0xff;

impl<F: Flavor> Server<F> {
    /// Whether the source offers TLS, which it says before any login (MySQL
    /// "Client/Server Protocol", `HandshakeV10`).
    pub(super) async fn source_offers_tls(&self, source: &Endpoint) -> Result<bool> {
        offers_tls(source, self.settings.account.uid).await
    }
}

async fn offers_tls(source: &Endpoint, account: u32) -> Result<bool> {
    let place = format!("{}:{}", source.host, source.port);
    let greeted = timeout(LIMIT, greeting(source, account)).await;
    let greeting = match greeted {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(error)) => {
            let text = format!("The source {place} cannot be reached: {error}");
            return Err(Error::with_source(ErrorKind::Failed, text, error));
        }
        Err(_) => {
            let text = format!(
                "The source {place} does not answer within {} s",
                LIMIT.as_secs()
            );
            return Err(Error::new(ErrorKind::Timeout, text));
        }
    };
    capabilities(&greeting)
        .map(|flags| flags & CAPABLE_OF_TLS != 0)
        .map_err(|said| Error::failed(format!("The source {place} turns replicas away: {said}")))
}

/// The first packet of the server.
async fn greeting(source: &Endpoint, account: u32) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(source, account).await?;
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    // A greeting has less than a hundred bytes.
    let mut packet = vec![0; usize::try_from(length).unwrap_or(0).min(1024)];
    stream.read_exact(&mut packet).await?;
    Ok(packet)
}

/// A connection as the replica itself would make it.
async fn connect(source: &Endpoint, account: u32) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::other("the name has no address");
    for address in lookup_host((source.host.as_str(), source.port)).await? {
        let socket = guest::tcp_socket_of(account, address.ip())?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The lower half of the capabilities, or what the server said instead.
fn capabilities(packet: &[u8]) -> std::result::Result<u16, String> {
    let strange = || "it does not speak the protocol of MySQL".to_owned();
    let (&first, rest) = packet.split_first().ok_or_else(strange)?;
    if first == ERROR {
        // A number of two bytes, then the text.
        return Err(String::from_utf8_lossy(rest.get(2..).unwrap_or_default()).into_owned());
    }
    // Behind the version: the connection's number, eight bytes and a zero.
    let end = rest
        .iter()
        .position(|&byte| byte == 0)
        .ok_or_else(strange)?;
    let at = end + 1 + 4 + 8 + 1;
    match rest.get(at..at + 2) {
        Some(&[low, high]) => Ok(u16::from_le_bytes([low, high])),
        _ => Err(strange()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(flags: u16) -> Vec<u8> {
        let mut packet = b"\x0a9.7.4\0".to_vec();
        packet.extend([1, 0, 0, 0]);
        packet.extend(b"12345678\0");
        packet.extend(flags.to_le_bytes());
        packet.extend([255, 2, 0]);
        packet
    }

    #[test]
    fn greetings() {
        assert_eq!(
            capabilities(&packet(0xffff)).unwrap() & CAPABLE_OF_TLS,
            CAPABLE_OF_TLS
        );
        assert_eq!(capabilities(&packet(0xf7ff)).unwrap() & CAPABLE_OF_TLS, 0);
        let blocked = b"\xff\x69\x04Host is blocked";
        assert_eq!(capabilities(blocked).unwrap_err(), "Host is blocked");
        assert!(capabilities(b"HTTP/1.1 400").is_err());
    }

    #[tokio::test]
    async fn who_does_not_listen_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let source = Endpoint {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
        };
        drop(listener);
        let error = offers_tls(&source, nix::unistd::getuid().as_raw()).await;
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains(&format!("127.0.0.1:{}", source.port)),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn any_packet_is_read_or_refused(packet in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = capabilities(&packet);
        }
    }
}
