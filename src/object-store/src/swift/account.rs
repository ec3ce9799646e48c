//! Requests to one Swift account.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, Uri};
use secrecy::{ExposeSecret as _, SecretString};

use crate::http::{Answer, ClientSettings, Http, host, status_failure};
use crate::names::encode;
use crate::retry::{Failure, RetryPolicy, retry};
use crate::token::{TokenSource, same};
use crate::{Error, ErrorKind, ObjectName, Result};

/// One request, to be sent as often as need be.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Path below the storage URL, encoded.
    path: String,
    /// What is asked of, for messages.
    subject: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How many stall timeouts the store may take to answer.
    pub(super) patience: u32,
}

impl Call {
    pub(super) fn container(method: Method, container: &str) -> Self {
        Self {
            method,
            path: encode(container),
            subject: container.to_owned(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            patience: 1,
        }
    }

    pub(super) fn object(method: Method, object: &ObjectName) -> Self {
        Self {
            path: format!("{}/{}", encode(&object.container), encode(&object.name)),
            subject: object.to_string(),
            ..Self::container(method, "")
        }
    }
}

/// An account: its URL, and the token that opens it.
#[derive(Debug)]
pub(super) struct Account {
    http: Http,
    /// Without a slash at the end.
    pub(super) url: String,
    tokens: Arc<dyn TokenSource>,
    retry: RetryPolicy,
    /// When the store first accepted the token.
    accepted: OnceLock<Instant>,
}

impl Account {
    pub(super) fn new(
        url: &str,
        tokens: Arc<dyn TokenSource>,
        settings: &ClientSettings,
    ) -> Result<Self> {
        let url = url.trim_end_matches('/');
        let parsed: Option<Uri> = url.parse().ok();
        let usable = parsed.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some()
                && uri.query().is_none()
        });
        if !usable {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("{url:?} is no storage URL of Swift: expected http(s)://host/v1/account"),
            ));
        }
        Ok(Self {
            http: Http::new(settings)?,
            url: url.to_owned(),
            tokens,
            retry: settings.retry,
            accepted: OnceLock::new(),
        })
    }

    /// Sends until it succeeds or cannot.
    pub(super) async fn ask(&self, call: &Call) -> Result<Answer> {
        retry(&self.retry, || self.once(call)).await
    }

    /// Repeats `attempt`, which sends several requests and compares.
    pub(super) async fn repeat<T, F>(&self, attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, Failure>>,
    {
        retry(&self.retry, attempt).await
    }

    /// Sends once and reads the answer.
    pub(super) async fn once(&self, call: &Call) -> std::result::Result<Answer, Failure> {
        let response = self.open(call).await?;
        let answer = self.http.collect(&self.host(), response).await;
        answer.map_err(|error| error.of(&self.what(call)).into())
    }

    /// Sends once, with a new token if the old one is refused and there is a
    /// way to get one. Only a success comes back.
    pub(super) async fn open(
        &self,
        call: &Call,
    ) -> std::result::Result<Response<Incoming>, Failure> {
        let token = self.tokens.token().await?;
        let response = self.send(call, &token).await?;
        if response.status() != 401 {
            return self.checked(call, response).await;
        }
        match self.tokens.renew(&token).await? {
            Some(renewed) if !same(&renewed, &token) => {
                tracing::info!("{}: renewed the token", self.what(call));
                let response = self.send(call, &renewed).await?;
                self.checked(call, response).await
            }
            _ => Err(self.refused(call).into()),
        }
    }

    async fn send(
        &self,
        call: &Call,
        token: &SecretString,
    ) -> std::result::Result<Response<Incoming>, Failure> {
        let request = self.request(call, token)?;
        let answer = self.http.send(request, call.patience).await;
        answer.map_err(|error| error.of(&self.what(call)).into())
    }

    async fn checked(
        &self,
        call: &Call,
        response: Response<Incoming>,
    ) -> std::result::Result<Response<Incoming>, Failure> {
        let status = response.status();
        if status == 401 {
            return Err(self.refused(call).into());
        }
        // Whatever else it says, it knows the token.
        self.accepted.get_or_init(Instant::now);
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        // The status decides; what is said about it is an extra.
        let text = match self.http.collect(&self.host(), response).await {
            Ok(answer) => answer.body,
            Err(_) => Bytes::new(),
        };
        let failure = status_failure(&self.what(call), status.as_u16(), &headers, &text);
        Err(failure.unwrap_or_else(|| {
            Error::new(
                ErrorKind::Unexpected,
                format!("{}: {status}", self.what(call)),
            )
            .into()
        }))
    }

    fn request(&self, call: &Call, token: &SecretString) -> Result<Request<Bytes>> {
        let mut uri = format!("{}/{}", self.url, call.path);
        if !call.query.is_empty() {
            uri.push('?');
            uri.push_str(&call.query);
        }
        let mut secret = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
            Error::new(
                ErrorKind::Configuration,
                "the token holds characters that cannot be sent",
            )
        })?;
        secret.set_sensitive(true);
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(uri)
            .body(call.body.clone())
            .map_err(|error| {
                Error::new(
                    ErrorKind::Configuration,
                    format!("{}: {error}", self.what(call)),
                )
            })?;
        *request.headers_mut() = call.headers.clone();
        request.headers_mut().insert("x-auth-token", secret);
        Ok(request)
    }

    /// The error of a token that is not accepted (any more).
    fn refused(&self, call: &Call) -> Error {
        let what = self.what(call);
        let text = match self.accepted.get() {
            None => format!(
                "{what}: Swift does not accept the token of the user's request; it may have \
                 expired before the work began: repeat the request with a new one"
            ),
            Some(since) => format!(
                "{what}: Swift no longer accepts the token of the user's request, {} after it \
                 was first used: it has expired or was revoked. Repeat the request with a new \
                 token, and raise [token] expiration in Keystone if the work takes longer than \
                 tokens live",
                in_words(since.elapsed())
            ),
        };
        Error::new(ErrorKind::Unauthorized, text)
    }

    /// A request for messages.
    pub(super) fn what(&self, call: &Call) -> String {
        format!("{} {}", call.method, call.subject)
    }

    /// The store for messages.
    pub(super) fn host(&self) -> String {
        self.url.parse().as_ref().map(host).unwrap_or_default()
    }

    pub(super) fn http(&self) -> &Http {
        &self.http
    }
}

fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, _) => format!("{minutes} min"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Account, Call, in_words};
    use crate::{ClientSettings, ErrorKind, FixedToken, ObjectName};

    fn account(url: &str) -> crate::Result<Account> {
        let tokens = Arc::new(FixedToken::new("s3cret"));
        Account::new(url, tokens, &ClientSettings::default())
    }

    #[test]
    fn storage_urls_are_checked() {
        for url in [
            "",
            "swift",
            "ftp://swift/v1",
            "http:///v1",
            "http://s/v1?x=1",
        ] {
            let error = account(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
        }
        assert_eq!(account("http://s/v1/A/").unwrap().url, "http://s/v1/A");
    }

    #[tokio::test]
    async fn requests_are_encoded_and_show_no_token() {
        let account = account("http://s:1/v1/A").unwrap();
        let object = ObjectName {
            container: "my backups".to_owned(),
            name: "a%b".to_owned(),
        };
        let call = Call::object(hyper::Method::PUT, &object);
        let token = account.tokens.token().await.unwrap();
        let request = account.request(&call, &token).unwrap();
        assert_eq!(request.uri(), "http://s:1/v1/A/my%20backups/a%25b");
        assert_eq!(request.headers()["x-auth-token"], "s3cret");
        assert!(!format!("{request:?} {account:?}").contains("s3cret"));
        assert_eq!(account.host(), "s:1");
    }

    #[test]
    fn times_in_words() {
        for (seconds, words) in [(5, "5 s"), (65, "1 min"), (3_725, "1 h 2 min")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
