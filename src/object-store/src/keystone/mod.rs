//! Keystone, as far as it is needed to open an object store.

mod catalog;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;

pub use self::catalog::EndpointFilter;
use crate::http::{Answer, ClientSettings, Http, status_failure};
use crate::retry::{Failure, RetryPolicy, retry};
use crate::token::{TokenSource, same};
use crate::{Error, ErrorKind, Result};

/// Who logs in.
#[derive(Clone)]
pub enum Identity {
    /// Somebody who has logged in already.
    Token(SecretString),
    /// A user of a domain.
    Password {
        /// Name of the user.
        user: String,
        /// Name of the domain the user is in.
        domain: String,
        /// The password.
        password: SecretString,
    },
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(***)"),
            Self::Password { user, domain, .. } => write!(f, "Password({user:?}, {domain:?})"),
        }
    }
}

/// For which project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Project {
    /// By id.
    Id(String),
    /// By name in a domain.
    Name {
        /// Name of the project.
        name: String,
        /// Name of its domain.
        domain: String,
    },
}

/// A Keystone and a way in.
#[derive(Debug, Clone)]
pub struct KeystoneAccess {
    /// Its URL, with or without `/v3`.
    pub auth_url: String,
    /// Who logs in.
    pub identity: Identity,
    /// For which project.
    pub project: Project,
    /// How to speak to it.
    pub client: ClientSettings,
}

/// What a login gives.
#[derive(Clone)]
pub struct Session {
    /// A token for the project.
    pub token: SecretString,
    /// The project's services, in the form of version 3.
    pub catalog: Value,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(***)")
    }
}

/// Keystone, as a source of tokens.
#[derive(Debug)]
pub struct Keystone {
    http: Http,
    url: String,
    access: KeystoneAccess,
    retry: RetryPolicy,
    current: Mutex<Option<Session>>,
}

impl Keystone {
    /// The Keystone of `access`; nothing is asked of it yet.
    pub fn new(access: KeystoneAccess) -> Result<Self> {
        Ok(Self {
            http: Http::new(&access.client)?,
            url: tokens_url(&access.auth_url),
            retry: access.client.retry,
            access,
            current: Mutex::new(None),
        })
    }

    /// The session of the last login; the first call logs in.
    pub async fn session(&self) -> Result<Session> {
        let mut current = self.current.lock().await;
        if let Some(session) = &*current {
            return Ok(session.clone());
        }
        let session = self.log_in().await?;
        *current = Some(session.clone());
        Ok(session)
    }

    async fn log_in(&self) -> Result<Session> {
        let what = format!("POST {}", self.url);
        let answer = retry(&self.retry, || self.once(&what)).await?;
        let token = answer.header("x-subject-token");
        let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let catalog = body.pointer_mut("/token/catalog").map(Value::take);
        if token.is_empty() {
            return Err(Error::new(
                ErrorKind::Unexpected,
                format!("{what}: the answer has no token"),
            ));
        }
        Ok(Session {
            token: token.into(),
            catalog: catalog.unwrap_or_default(),
        })
    }

    async fn once(&self, what: &str) -> std::result::Result<Answer, Failure> {
        let body = self.request_body().to_string();
        let json = HeaderValue::from_static("application/json");
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, json.clone())
            .header(ACCEPT, json)
            .body(Bytes::from(body))
            .map_err(|error| {
                let text = format!("{:?} is no URL of Keystone: {error}", self.access.auth_url);
                Error::new(ErrorKind::Configuration, text)
            })?;
        let answer = self.http.ask(request, 1).await;
        let answer = answer.map_err(|error| error.of(what))?;
        match answer.status {
            401 => Err(self.refused(what).into()),
            status => {
                // What Keystone says may repeat what it was asked: left out.
                let failure = status_failure(what, status, &answer.headers, b"");
                failure.map_or(Ok(answer), Err)
            }
        }
    }

    fn refused(&self, what: &str) -> Error {
        let text = match &self.access.identity {
            Identity::Token(_) => {
                "Keystone does not accept the token of the user's request; it may have expired: \
                 repeat the request with a new one"
                    .to_owned()
            }
            Identity::Password { user, domain, .. } => format!(
                "Keystone does not accept user {user:?} of domain {domain:?} with this password \
                 and project"
            ),
        };
        Error::new(ErrorKind::Unauthorized, format!("{what}: {text}"))
    }

    fn request_body(&self) -> Value {
        let identity = match &self.access.identity {
            Identity::Token(token) => json!({
                "methods": ["token"],
                "token": {"id": token.expose_secret()},
            }),
            Identity::Password {
                user,
                domain,
                password,
            } => json!({
                "methods": ["password"],
                "password": {"user": {
                    "name": user,
                    "domain": {"name": domain},
                    "password": password.expose_secret(),
                }},
            }),
        };
        let project = match &self.access.project {
            Project::Id(id) => json!({"id": id}),
            Project::Name { name, domain } => json!({"name": name, "domain": {"name": domain}}),
        };
        json!({"auth": {"identity": identity, "scope": {"project": project}}})
    }
}

#[async_trait]
impl TokenSource for Keystone {
    async fn token(&self) -> Result<SecretString> {
        Ok(self.session().await?.token)
    }

    async fn renew(&self, rejected: &SecretString) -> Result<Option<SecretString>> {
        // A token's children die with it.
        if matches!(self.access.identity, Identity::Token(_)) {
            return Ok(None);
        }
        let mut current = self.current.lock().await;
        if let Some(session) = &*current
            && !same(&session.token, rejected)
        {
            return Ok(Some(session.token.clone()));
        }
        let session = self.log_in().await?;
        let token = session.token.clone();
        *current = Some(session);
        Ok(Some(token))
    }
}

/// Where tokens are made.
fn tokens_url(auth_url: &str) -> String {
    let base = auth_url.trim_end_matches('/');
    let base = base.strip_suffix("/v2.0").unwrap_or(base);
    let version = if base.ends_with("/v3") { "" } else { "/v3" };
    format!("{base}{version}/auth/tokens")
}

#[cfg(test)]
mod tests {
    use super::tokens_url;

    #[test]
    fn the_version_is_added_where_it_is_missing() {
        for url in [
            "http://k:5000",
            "http://k:5000/",
            "http://k:5000/v3/",
            "http://k:5000/v2.0",
        ] {
            assert_eq!(tokens_url(url), "http://k:5000/v3/auth/tokens");
        }
        assert_eq!(
            tokens_url("http://k/identity"),
            "http://k/identity/v3/auth/tokens"
        );
    }
}
