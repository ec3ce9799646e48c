//! HTTP to a store: one pool of connections, no request that waits for ever,
//! and errors that name the host and the cause.

mod body;
mod error;
mod tls;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use self::body::{Outgoing, Progress};
pub(crate) use self::error::{Transport, status_failure};
use crate::retry::RetryPolicy;
use crate::{Error, ErrorKind, Result};

/// How to speak to a store.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Authorities to trust instead of the operating system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
    /// Longest time for a connection to be made.
    pub connect_timeout: Duration,
    /// Longest time in which nothing moves in a request.
    pub stall_timeout: Duration,
    /// Repetition of requests.
    pub retry: RetryPolicy,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            ca_file: None,
            insecure: false,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
        }
    }
}

/// Longest answer that is read as a whole. A listing of 10 000 names or a
/// manifest of 1000 parts is far below it.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// An answer that has been read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header as text, empty when it is absent or no text.
    pub(crate) fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }
}

/// A header as text, empty when it is absent or no text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
        .unwrap_or_default()
}

/// A client with its pool of connections.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Outgoing>,
    stall: Duration,
    tls_usable: bool,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("stall", &self.stall)
            .finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) fn new(settings: &ClientSettings) -> Result<Self> {
        let tls = tls::client(settings.ca_file.as_deref(), settings.insecure)
            .map_err(|text| Error::new(ErrorKind::Configuration, text))?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(settings.stall_timeout));
        connector.set_connect_timeout(Some(settings.connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            // Below the 60 s after which Swift's proxies hang up.
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self {
            client,
            stall: settings.stall_timeout,
            tls_usable: tls.usable,
        })
    }

    /// Sends a request; returns when the answer's headers are there. While the
    /// body is on its way, and then until the store answers, nothing may stand
    /// still for longer than the stall timeout times `patience`.
    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
        patience: u32,
    ) -> std::result::Result<Response<Incoming>, Transport> {
        let host = host(request.uri());
        if request.uri().scheme_str() == Some("https") && !self.tls_usable {
            return Err(Transport::no_authorities(&host));
        }
        let progress = Progress::new();
        let (mut parts, bytes) = request.into_parts();
        parts.headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("trove-guestagent/", env!("CARGO_PKG_VERSION"))),
        );
        // hyper leaves it out for an empty body, and Swift insists on it.
        if matches!(parts.method, Method::PUT | Method::POST) {
            parts
                .headers
                .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        let outgoing = Request::from_parts(parts, Outgoing::new(bytes, progress.clone()));
        let limit = self.stall.saturating_mul(patience.max(1));
        tokio::select! {
            answer = self.client.request(outgoing) => {
                answer.map_err(|error| Transport::from_client(&host, &error))
            }
            () = progress.stalled(limit) => Err(Transport::stalled(&host, limit)),
        }
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask(
        &self,
        request: Request<Bytes>,
        patience: u32,
    ) -> std::result::Result<Answer, Transport> {
        let host = host(request.uri());
        let response = self.send(request, patience).await?;
        self.collect(&host, response).await
    }

    /// Reads an answer.
    pub(crate) async fn collect(
        &self,
        host: &str,
        response: Response<Incoming>,
    ) -> std::result::Result<Answer, Transport> {
        let (parts, mut body) = response.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.next_piece(host, &mut body).await {
            bytes.extend_from_slice(&piece?);
            if bytes.len() > LONGEST_ANSWER {
                return Err(Transport::too_long(host));
            }
        }
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: bytes.freeze(),
        })
    }

    /// The body of an answer as a stream that ends with an error when it is
    /// not exactly `expected` bytes long. `what` is the request, for messages.
    pub(crate) fn stream<B>(
        &self,
        what: String,
        host: String,
        body: B,
        expected: u64,
    ) -> BoxStream<'static, Result<Bytes>>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
    {
        struct State<B> {
            http: Http,
            what: String,
            host: String,
            body: B,
            rest: u64,
        }
        let state = State {
            http: self.clone(),
            what,
            host,
            body,
            rest: expected,
        };
        stream::try_unfold(Some(state), |state| async move {
            let Some(mut state) = state else {
                return Ok(None);
            };
            match state.http.next_piece(&state.host, &mut state.body).await {
                None if state.rest == 0 => Ok(None),
                None => Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("{}: the last {} bytes are missing", state.what, state.rest),
                )),
                Some(Err(error)) => Err(error.of(&state.what)),
                Some(Ok(piece)) => {
                    state.rest = state.rest.checked_sub(piece.len() as u64).ok_or_else(|| {
                        Error::new(
                            ErrorKind::Corrupt,
                            format!("{}: more bytes came than were asked for", state.what),
                        )
                    })?;
                    Ok(Some((piece, Some(state))))
                }
            }
        })
        .boxed()
    }

    /// The next bytes of a body; nothing at its end.
    async fn next_piece<B>(
        &self,
        host: &str,
        body: &mut B,
    ) -> Option<std::result::Result<Bytes, Transport>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        loop {
            let frame = match timeout(self.stall, body.frame()).await {
                Ok(None) => return None,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    return Some(Err(Transport::from_body(host, error.into().as_ref())));
                }
                Err(_) => return Some(Err(Transport::stalled(host, self.stall))),
            };
            // Trailers say nothing that is of use here.
            if let Ok(data) = frame.into_data() {
                return Some(Ok(data));
            }
        }
    }
}

/// Host and port of a URL, for messages.
pub(crate) fn host(uri: &Uri) -> String {
    uri.authority()
        .map(|authority| {
            // A login in a URL must not get into messages.
            let text = authority.as_str();
            text.rsplit('@').next().unwrap_or(text).to_owned()
        })
        .unwrap_or_default()
}
