//! Listings of a container.

use hyper::Method;
use serde::Deserialize;

use super::account::{Account, Call};
use crate::names::encode;
use crate::{Error, ErrorKind, Listed, Result};

/// Swift's own longest page.
const PAGE: usize = 10_000;

/// A line of a listing; one of a pseudo directory has no name.
#[derive(Debug, Deserialize)]
struct Line {
    name: Option<String>,
    #[serde(default)]
    bytes: u64,
}

/// All objects whose name begins with `prefix`, page by page.
pub(super) async fn list(account: &Account, container: &str, prefix: &str) -> Result<Vec<Listed>> {
    let mut found: Vec<Listed> = Vec::new();
    loop {
        let mut call = Call::container(Method::GET, container);
        call.query = format!("format=json&limit={PAGE}&prefix={}", encode(prefix));
        if let Some(last) = found.last() {
            call.query.push_str("&marker=");
            call.query.push_str(&encode(&last.name));
        }
        let answer = account.ask(&call).await?;
        // An empty container can be told by 204 and no text.
        if answer.body.is_empty() {
            return Ok(found);
        }
        let lines: Vec<Line> = serde_json::from_slice(&answer.body).map_err(|error| {
            Error::new(
                ErrorKind::Unexpected,
                format!(
                    "{}: the listing cannot be read: {error}",
                    account.what(&call)
                ),
            )
        })?;
        let before = found.len();
        found.extend(lines.into_iter().filter_map(|line| {
            Some(Listed {
                name: line.name?,
                size: line.bytes,
            })
        }));
        // A store may have shorter pages: only an empty one is the last.
        if found.len() == before {
            return Ok(found);
        }
    }
}
