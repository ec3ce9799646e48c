//! TCP: several addresses of one name, and the options of the socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Head start of each address over the next one (RFC 8305 recommends 250 ms).
const HEAD_START: Duration = Duration::from_millis(250);
/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the first address that answers.
///
/// `user_timeout` bounds how long sent data may stay unacknowledged
/// (TCP_USER_TIMEOUT, tcp(7)); oslo.messaging sets it to the heartbeat
/// threshold as well.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    user_timeout: Option<Duration>,
) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    if let Some(address) = waiting.next() {
        attempts.push(connect_one(address));
    }
    while !attempts.is_empty() {
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => {
                    tune(&stream, user_timeout)?;
                    return Ok(stream);
                }
                Err(error) => {
                    last = error;
                    attempts.extend(waiting.next().map(connect_one));
                }
            },
            () = sleep(HEAD_START), if waiting.len() > 0 => {
                attempts.extend(waiting.next().map(connect_one));
            }
        }
    }
    Err(last)
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(result) => {
            result.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
        }
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "{address}: no answer within {} s",
                CONNECT_TIMEOUT.as_secs()
            ),
        )),
    }
}

fn tune(stream: &TcpStream, user_timeout: Option<Duration>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(user_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_live_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = listener.local_addr().unwrap();
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let stream = connect(&[closed, live], Some(Duration::from_secs(7)))
            .await
            .unwrap();
        assert_eq!(stream.peer_addr().unwrap(), live);
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(7))
        );
        let error = connect(&[closed], None).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&closed.to_string()));
    }
}
