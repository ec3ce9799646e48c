//! Objects that Swift removes by itself after a time, and small objects as a
//! whole: what published logs are made of.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderValue;

use super::account::Call;
use super::{Swift, headers, store};
use crate::checksum::{hex, md5_of};
use crate::{Error, ErrorKind, Metadata, ObjectName, Result, Stored};

const DELETE_AFTER: &str = "x-delete-after";

impl Swift {
    /// Makes a container with a header that tells the lifetime of its objects;
    /// one that exists is left as it is.
    ///
    /// # Errors
    /// When it is not there and cannot be made.
    pub async fn ensure_expiring_container(
        &self,
        container: &str,
        lifetime: Duration,
    ) -> Result<()> {
        let look = Call::container(Method::HEAD, container);
        match self.account.ask(&look).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => return found.map(drop),
        }
        let mut call = Call::container(Method::PUT, container);
        expire(&mut call, lifetime)?;
        self.account.ask(&call).await.map(drop)
    }

    /// Like [`ObjectStore::put`](crate::ObjectStore::put), for an object that
    /// Swift removes after `lifetime`; zero means never.
    ///
    /// # Errors
    /// When it is not stored as it was sent.
    pub async fn put_expiring(
        &self,
        object: &ObjectName,
        body: Bytes,
        metadata: &Metadata,
        lifetime: Duration,
    ) -> Result<Stored> {
        let md5 = hex(&md5_of(&body).await?);
        let mut call = Call::object(Method::PUT, object);
        call.headers = headers::to_headers(metadata)?;
        expire(&mut call, lifetime)?;
        call.body = body;
        store(&self.account, &call, &md5).await?;
        self.account
            .confirm(object, call.body.len() as u64, &md5)
            .await
    }

    /// All bytes of a small object.
    ///
    /// # Errors
    /// When there is none, or it is too large to be read at once.
    pub async fn get(&self, object: &ObjectName) -> Result<Bytes> {
        let mut call = Call::object(Method::GET, object);
        // What this account has written last, not what one replica knows.
        call.headers
            .insert("x-newest", HeaderValue::from_static("true"));
        Ok(self.account.ask(&call).await?.body)
    }
}

/// Swift refuses a lifetime of zero.
fn expire(call: &mut Call, lifetime: Duration) -> Result<()> {
    if lifetime.is_zero() {
        return Ok(());
    }
    let seconds = lifetime.as_secs().max(1).to_string();
    let value = HeaderValue::from_str(&seconds)
        .map_err(|error| Error::new(ErrorKind::Unexpected, format!("{seconds}: {error}")))?;
    call.headers.insert(DELETE_AFTER, value);
    Ok(())
}
