//! An HTTP server that answers as a test tells it to, and remembers what it
//! was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Reads it and answers.
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    },
    /// Hangs up within the request's body.
    CutRequest,
    /// Announces `announced` bytes, sends fewer, and hangs up.
    CutAnswer {
        headers: Vec<(&'static str, String)>,
        announced: usize,
        body: Vec<u8>,
    },
    /// Reads it and says nothing.
    Stall,
    /// Takes nothing of the request's body.
    StallBody,
}

/// An answer without a body.
pub(crate) fn status(status: u16) -> Step {
    answer(status, &[], b"")
}

/// An answer.
pub(crate) fn answer(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Step {
    Step::Answer {
        status,
        headers: owned(headers),
        body: body.to_vec(),
    }
}

pub(crate) fn owned(headers: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    headers
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Method and path, such as `PUT /v1/A/c/o`.
    pub(crate) line: String,
    /// Header lines, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map_or("", |(_, value)| value)
    }
}

#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// A server that goes through `steps`, and answers 418 beyond them.
    pub(crate) async fn start(steps: Vec<Step>) -> Self {
        Self::listen(steps, None).await
    }

    /// The same over TLS, with a certificate of the test authority.
    pub(crate) async fn start_tls(steps: Vec<Step>) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/tls/server.pem");
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).unwrap().collect();
        let key = PrivateKeyDer::from_pem_file(path).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.unwrap(), key)
            .unwrap();
        Self::listen(steps, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn listen(steps: Vec<Step>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let steps = Arc::new(Mutex::new(VecDeque::from(steps)));
        let seen = asked.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (steps, seen, tls) = (steps.clone(), seen.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, steps, seen).await,
                        // A client that does not believe us hangs up.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, steps, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, asked, task }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Method and path of every request so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    steps: Arc<Mutex<VecDeque<Step>>>,
    seen: Arc<Mutex<Vec<Asked>>>,
) {
    let Some((mut asked, mut rest)) = read_head(&mut stream).await else {
        return;
    };
    let step = steps.lock().unwrap().pop_front().unwrap_or(status(418));
    let length: usize = asked.header("content-length").parse().unwrap_or(0);
    if matches!(step, Step::CutRequest | Step::StallBody) {
        seen.lock().unwrap().push(asked);
        if matches!(step, Step::StallBody) {
            std::future::pending::<()>().await;
        }
        return;
    }
    while rest.len() < length {
        if stream.read_buf(&mut rest).await.unwrap_or(0) == 0 {
            return;
        }
    }
    asked.body = rest;
    let head_only = asked.line.starts_with("HEAD ");
    seen.lock().unwrap().push(asked);
    let (code, headers, announced, body) = match step {
        Step::Answer {
            status,
            headers,
            body,
        } => (status, headers, body.len(), body),
        Step::CutAnswer {
            headers,
            announced,
            body,
        } => (206, headers, announced, body),
        _ => return std::future::pending().await,
    };
    let mut text = format!("HTTP/1.1 {code} X\r\nConnection: close\r\n");
    // A HEAD has the length of what a GET would give.
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-length"))
    {
        text.push_str(&format!("Content-Length: {announced}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let _gone = stream.write_all(text.as_bytes()).await;
    if !head_only {
        let _gone = stream.write_all(&body).await;
    }
    // TLS ends with a word of its own.
    let _gone = stream.shutdown().await;
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<(Asked, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let rest = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).ok()?;
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next()?.strip_suffix(" HTTP/1.1")?.to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let asked = Asked {
        line,
        headers,
        body: Vec::new(),
    };
    Some((asked, rest))
}
