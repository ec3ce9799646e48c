//! The SDK's errors in our terms.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::http::Transport;
use crate::retry::{Failure, status_kind};
use crate::{Error, ErrorKind};

/// The failure of the request `what`.
pub(super) fn failure<E>(what: &str, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let Some(response) = error.raw_response() else {
        return unanswered(what, &error).into();
    };
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|wish| wish.parse().ok())
        .map(Duration::from_secs);
    let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
    let code = meta.and_then(|meta| meta.code()).unwrap_or_default();
    let said = meta.and_then(|meta| meta.message()).unwrap_or_default();
    let kind = kind(code, status, retry_after.is_some());
    let hint = match kind {
        ErrorKind::Unauthorized => ": check the access key and the secret key",
        ErrorKind::Forbidden => ": the key's policy does not allow it",
        ErrorKind::Full => ": the store or the quota is full, or the part is too large",
        ErrorKind::Configuration => ": check the region, and this machine's clock",
        _ => "",
    };
    Failure {
        error: Error::new(kind, text(what, status, code, said, hint)),
        retry_after,
    }
}

fn text(what: &str, status: u16, code: &str, said: &str, hint: &str) -> String {
    let said = match (code, said) {
        ("", "") => String::new(),
        (code, "") => format!(" {code}"),
        (code, said) => format!(" {code} ({said})"),
    };
    format!("{what}: {status}{said}{hint}")
}

/// The kind of an answer: its code says more than its status, where it is one
/// of those that matter.
fn kind(code: &str, status: u16, wants_pause: bool) -> ErrorKind {
    match code {
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" => {
            ErrorKind::Unauthorized
        }
        "RequestTimeTooSkewed" | "AuthorizationHeaderMalformed" | "PermanentRedirect" => {
            ErrorKind::Configuration
        }
        "QuotaExceeded" | "EntityTooLarge" => ErrorKind::Full,
        "SlowDown" | "TooManyRequests" | "Throttling" => ErrorKind::Throttled,
        "BadDigest" | "IncompleteBody" => ErrorKind::Corrupt,
        "RequestTimeout" => ErrorKind::Connection,
        // It can come with status 200, in the body.
        "InternalError" => ErrorKind::Unavailable,
        _ => status_kind(status, wants_pause).unwrap_or(ErrorKind::Unexpected),
    }
}

/// No answer came: our own client knows why, or the SDK did not even ask.
fn unanswered(what: &str, error: &(dyn StdError + 'static)) -> Error {
    let mut cause = error;
    loop {
        if let Some(transport) = cause.downcast_ref::<Transport>() {
            return transport.of(what);
        }
        match cause.source() {
            Some(inner) => cause = inner,
            None => return Error::new(ErrorKind::Configuration, format!("{what}: {cause}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{kind, text};
    use crate::ErrorKind;

    #[test]
    fn codes_say_more_than_statuses() {
        for (code, status, expected) in [
            ("SignatureDoesNotMatch", 403, ErrorKind::Unauthorized),
            ("AccessDenied", 403, ErrorKind::Forbidden),
            ("QuotaExceeded", 403, ErrorKind::Full),
            ("RequestTimeTooSkewed", 403, ErrorKind::Configuration),
            ("SlowDown", 503, ErrorKind::Throttled),
            ("InternalError", 200, ErrorKind::Unavailable),
            ("BadDigest", 400, ErrorKind::Corrupt),
            ("RequestTimeout", 400, ErrorKind::Connection),
            ("NoSuchUpload", 404, ErrorKind::NotFound),
            ("", 404, ErrorKind::NotFound),
            ("", 500, ErrorKind::Unavailable),
            ("", 200, ErrorKind::Unexpected),
        ] {
            assert_eq!(kind(code, status, false), expected, "{code} {status}");
        }
    }

    #[test]
    fn texts_have_no_empty_brackets() {
        assert_eq!(text("HEAD c/o", 404, "", "", ""), "HEAD c/o: 404");
        assert_eq!(
            text("PUT c/o", 503, "SlowDown", "Reduce", "!"),
            "PUT c/o: 503 SlowDown (Reduce)!"
        );
    }
}
