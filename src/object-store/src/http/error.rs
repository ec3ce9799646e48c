//! What went wrong below and in HTTP.

use std::error::Error as StdError;
use std::time::Duration;

use hyper::header::{HeaderMap, RETRY_AFTER};

use super::header;
use crate::retry::{Failure, status_kind};
use crate::{Error, ErrorKind};

/// Why no complete answer came. Knows the host, not yet the request.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Transport {
    kind: ErrorKind,
    text: String,
}

impl Transport {
    fn connection(text: String) -> Self {
        Self {
            kind: ErrorKind::Connection,
            text,
        }
    }

    pub(super) fn no_authorities(host: &str) -> Self {
        Self {
            kind: ErrorKind::Configuration,
            text: format!(
                "{host} speaks HTTPS, and this machine has no certificate authorities: \
                 install ca-certificates or name a CA file"
            ),
        }
    }

    pub(super) fn stalled(host: &str, limit: Duration) -> Self {
        Self::connection(format!(
            "{host} has stood still for {} s",
            limit.as_secs_f64()
        ))
    }

    pub(super) fn too_long(host: &str) -> Self {
        Self {
            kind: ErrorKind::Unexpected,
            text: format!("the answer of {host} is too long"),
        }
    }

    pub(super) fn from_client(host: &str, error: &hyper_util::client::legacy::Error) -> Self {
        let cause = root_cause(error);
        if error.is_connect() {
            Self::connection(format!("cannot connect to {host}: {cause}"))
        } else {
            Self::connection(format!("{host} broke the connection: {cause}"))
        }
    }

    pub(super) fn from_body(host: &str, error: &(dyn StdError + 'static)) -> Self {
        Self::connection(format!(
            "{host} broke the connection within its answer: {}",
            root_cause(error)
        ))
    }

    /// The error of the request `what`.
    pub(crate) fn of(&self, what: &str) -> Error {
        Error::new(self.kind, format!("{what}: {}", self.text))
    }
}

/// The innermost error: the outer ones only say that there was one.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The failure that an answer with this status is, if it is one. `what` is the
/// request, `text` what the store says about it.
pub(crate) fn status_failure(
    what: &str,
    status: u16,
    headers: &HeaderMap,
    text: &[u8],
) -> Option<Failure> {
    let wish = header(headers, RETRY_AFTER.as_str()).parse().ok();
    let kind = status_kind(status, wish.is_some())?;
    let name = hyper::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("unknown status");
    let said = first_line(text);
    let hint = match kind {
        ErrorKind::Full => ": the store or the quota is full, or the part is too large",
        ErrorKind::Forbidden => ": the user's roles do not allow it",
        _ => "",
    };
    let message = if said.is_empty() {
        format!("{what}: {status} {name}{hint}")
    } else {
        format!("{what}: {status} {name} ({said}){hint}")
    };
    Some(Failure {
        error: Error::new(kind, message),
        retry_after: wish.map(Duration::from_secs),
    })
}

/// What an error page says, short: markup taken out, one line.
fn first_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(1024)]);
    let mut plain = String::new();
    let mut markup = false;
    for c in text.chars() {
        match c {
            '<' => markup = true,
            '>' => {
                markup = false;
                plain.push(' ');
            }
            _ if markup => {}
            c if c.is_whitespace() || c.is_control() => plain.push(' '),
            c => plain.push(c),
        }
    }
    let mut line = String::new();
    for word in plain.split_whitespace() {
        if line.len() + word.len() > 200 {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
    use proptest::prelude::*;

    use super::{first_line, status_failure};
    use crate::ErrorKind;

    #[test]
    fn pages_become_one_line() {
        let page = b"<html><h1>Unauthorized</h1><p>This server could not\nverify.</p></html>";
        assert_eq!(
            first_line(page),
            "Unauthorized This server could not verify."
        );
        assert_eq!(first_line(b""), "");
    }

    #[test]
    fn the_wish_for_a_pause_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        let failure = status_failure("PUT a/b", 503, &headers, b"busy").unwrap();
        assert_eq!(failure.error.kind(), ErrorKind::Throttled);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(
            failure.error.to_string(),
            "PUT a/b: 503 Service Unavailable (busy)"
        );
        assert!(status_failure("PUT a/b", 201, &headers, b"").is_none());
    }

    proptest! {
        #[test]
        fn no_page_breaks_the_line(page in prop::collection::vec(any::<u8>(), 0..2048)) {
            let line = first_line(&page);
            prop_assert!(line.len() <= 202);
            prop_assert!(!line.contains(|c: char| c.is_control()));
        }
    }
}
