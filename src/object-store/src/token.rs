//! Where tokens come from.

use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use crate::Result;

/// Gives tokens, and new ones when a store does not accept one any more.
#[async_trait]
pub trait TokenSource: Send + Sync + Debug {
    /// The token to use now.
    async fn token(&self) -> Result<SecretString>;

    /// Another token than `rejected`, which the store has refused; none when
    /// there is no way to get one. Called by many requests at once: only the
    /// first of them should cost a login.
    async fn renew(&self, rejected: &SecretString) -> Result<Option<SecretString>>;
}

/// The one token of a user's request, which nothing can renew.
#[derive(Clone)]
pub struct FixedToken(SecretString);

impl FixedToken {
    /// Wraps `token`.
    pub fn new(token: impl Into<String>) -> Self {
        Self(SecretString::from(token.into()))
    }
}

impl Debug for FixedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[async_trait]
impl TokenSource for FixedToken {
    async fn token(&self) -> Result<SecretString> {
        Ok(self.0.clone())
    }

    async fn renew(&self, _rejected: &SecretString) -> Result<Option<SecretString>> {
        Ok(None)
    }
}

/// Whether two tokens are the same one.
pub(crate) fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
