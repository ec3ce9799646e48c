//! Where a project's Swift is. Control planes before 26.0 do not say it in
//! their requests.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::http::ClientSettings;
use crate::keystone::{EndpointFilter, Identity, Keystone, KeystoneAccess, Project};
use crate::swift::SwiftAccess;
use crate::token::{FixedToken, TokenSource};
use crate::{Error, ErrorKind, Result};

/// All that may tell where Swift is. Empty texts are as good as none.
#[derive(Clone)]
pub struct SwiftSearch {
    /// The account's URL, from the request itself (26.0 and newer).
    pub swift_url: String,
    /// `[DEFAULT] swift_url`: the URL of all accounts, up to the project's id.
    pub configured_url: String,
    /// The request's service catalogue.
    pub catalog: Value,
    /// Which endpoint of a catalogue.
    pub endpoint: EndpointFilter,
    /// The request's project.
    pub project_id: String,
    /// Keystone, for the case that nothing else helps.
    pub auth_url: String,
    /// The request's token.
    pub token: SecretString,
    /// How to speak to Swift and Keystone.
    pub client: ClientSettings,
}

impl fmt::Debug for SwiftSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwiftSearch")
            .field("swift_url", &self.swift_url)
            .field("configured_url", &self.configured_url)
            .field("endpoint", &self.endpoint)
            .field("project_id", &self.project_id)
            .field("auth_url", &self.auth_url)
            .finish_non_exhaustive()
    }
}

/// Finds the account: what the request says counts most, then what the
/// operator has configured, then the request's catalogue, and at last a new
/// login with the request's token.
pub async fn find_swift(search: &SwiftSearch) -> Result<SwiftAccess> {
    if let Some(url) = without_login(search) {
        let token = FixedToken::new(search.token.expose_secret());
        return Ok(access(search, url, Arc::new(token)));
    }
    if search.auth_url.is_empty() || search.project_id.is_empty() {
        return Err(not_found(
            search,
            "and there is no auth_url to ask Keystone at",
        ));
    }
    let keystone = Keystone::new(KeystoneAccess {
        auth_url: search.auth_url.clone(),
        identity: Identity::Token(search.token.clone()),
        project: Project::Id(search.project_id.clone()),
        client: search.client.clone(),
    })?;
    let session = keystone.session().await?;
    match search.endpoint.find(&session.catalog) {
        Some(url) => Ok(access(search, url, Arc::new(keystone))),
        None => Err(not_found(search, "nor in Keystone's")),
    }
}

fn without_login(search: &SwiftSearch) -> Option<String> {
    if !search.swift_url.is_empty() {
        return Some(search.swift_url.clone());
    }
    if !search.configured_url.is_empty() && !search.project_id.is_empty() {
        // Joined as they are: the option ends with `/v1/AUTH_` or the like.
        return Some(format!("{}{}", search.configured_url, search.project_id));
    }
    search.endpoint.find(&search.catalog)
}

fn access(search: &SwiftSearch, url: String, tokens: Arc<dyn TokenSource>) -> SwiftAccess {
    SwiftAccess {
        storage_url: url,
        tokens,
        client: search.client.clone(),
    }
}

fn not_found(search: &SwiftSearch, rest: &str) -> Error {
    let EndpointFilter {
        service_type,
        region,
        interface,
    } = &search.endpoint;
    let region = match region.as_str() {
        "" => String::new(),
        region => format!(" in region {region:?}"),
    };
    Error::new(
        ErrorKind::Configuration,
        format!(
            "cannot find Swift: the request has no swift_url, [DEFAULT] swift_url is not set, \
             no {service_type:?} endpoint {interface:?}{region} is in the request's catalogue, \
             {rest}"
        ),
    )
}
