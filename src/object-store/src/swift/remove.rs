//! Removal of objects and of what unfinished ones leave.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hyper::Method;
use hyper::header::{ACCEPT, HeaderValue};
use serde::Deserialize;

use super::account::{Account, Call};
use super::{headers, listing};
use crate::{Error, ErrorKind, ObjectName, Result, names};

/// Removals at the same time.
const PARALLEL: usize = 8;

/// Swift's answer to the removal of a large object; its status says nothing.
#[derive(Debug, Deserialize)]
struct BulkAnswer {
    #[serde(rename = "Response Status", default)]
    status: String,
    #[serde(rename = "Response Body", default)]
    text: String,
    #[serde(rename = "Errors", default)]
    errors: Vec<(String, String)>,
}

/// Removes an object, with its parts if it has any.
pub(super) async fn object(account: &Account, object: &ObjectName) -> Result<()> {
    let Some(answer) = found(account.ask(&Call::object(Method::HEAD, object)).await)? else {
        return Ok(());
    };
    let mut call = Call::object(Method::DELETE, object);
    if !headers::is_static_large(&answer.headers) {
        found(account.ask(&call).await)?;
        return Ok(());
    }
    call.query = "multipart-manifest=delete".to_owned();
    call.headers
        .insert(ACCEPT, HeaderValue::from_static("application/json"));
    // One answer for all parts.
    call.patience = 5;
    match found(account.ask(&call).await)? {
        Some(answer) => check(&account.what(&call), &answer.body),
        None => Ok(()),
    }
}

/// Removes one object, whatever it is, and none of its parts.
pub(super) async fn only(account: &Account, object: &ObjectName) -> Result<()> {
    found(account.ask(&Call::object(Method::DELETE, object)).await)?;
    Ok(())
}

/// Removes the parts of an object that was never completed. Those of a
/// complete one are its contents and stay.
pub(super) async fn parts(account: &Account, object: &ObjectName) -> Result<()> {
    if found(account.ask(&Call::object(Method::HEAD, object)).await)?.is_some() {
        tracing::info!("{object} is complete, its parts stay");
        return Ok(());
    }
    let prefix = format!("{}_", names::base(&object.name));
    let Some(listed) = found(listing::list(account, &object.container, &prefix).await)? else {
        return Ok(());
    };
    stream::iter(listed)
        .filter(|listed| std::future::ready(names::is_part_of(&object.name, &listed.name)))
        .map(|listed| ObjectName {
            container: object.container.clone(),
            name: listed.name,
        })
        .map(Ok)
        .try_for_each_concurrent(PARALLEL, |part| async move { only(account, &part).await })
        .await
}

/// Nothing instead of the error for what does not exist.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn check(what: &str, answer: &[u8]) -> Result<()> {
    // radosgw and Swift without this middleware answer with nothing.
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let answer: BulkAnswer = serde_json::from_slice(answer).map_err(|error| {
        Error::new(
            ErrorKind::Unexpected,
            format!("{what}: the answer cannot be read: {error}"),
        )
    })?;
    if let Some((part, status)) = answer.errors.first() {
        return Err(Error::new(
            kind(status),
            format!(
                "{what}: {} parts were not removed; {part}: {status}",
                answer.errors.len()
            ),
        ));
    }
    if answer.status.is_empty() || answer.status.starts_with('2') {
        return Ok(());
    }
    Err(Error::new(
        kind(&answer.status),
        format!("{what}: {} {}", answer.status, answer.text),
    ))
}

/// The kind of a status line such as `403 Forbidden`.
fn kind(status: &str) -> ErrorKind {
    status
        .split(' ')
        .next()
        .and_then(|code| code.parse().ok())
        .and_then(|code| crate::retry::status_kind(code, false))
        .unwrap_or(ErrorKind::Unexpected)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::ErrorKind;

    #[test]
    fn success_is_read_from_the_answer() {
        for answer in [
            "",
            "  \n",
            r#"  {"Number Deleted": 3, "Number Not Found": 0, "Errors": [],
                  "Response Status": "200 OK", "Response Body": ""}"#,
        ] {
            check("DELETE a/b", answer.as_bytes()).unwrap();
        }
    }

    #[test]
    fn failure_is_read_from_the_answer() {
        let answer = r#"{"Number Deleted": 1, "Errors": [["/c/id_00000001", "403 Forbidden"]],
                         "Response Status": "400 Bad Request", "Response Body": ""}"#;
        let error = check("DELETE a/b", answer.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert!(error.to_string().contains("id_00000001"), "{error}");

        let answer =
            r#"{"Response Status": "502 Bad Gateway", "Response Body": "x", "Errors": []}"#;
        let error = check("DELETE a/b", answer.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);

        let error = check("DELETE a/b", b"<html>").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
    }
}
