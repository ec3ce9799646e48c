//! Which store a backup goes to or comes from.

use std::sync::Arc;

use backup::{Bandwidth, Compression, UploadSettings};
use datastore::{Error, Result, Secret};
use object_store::{
    ClientSettings, EndpointFilter, FixedToken, Local, ObjectStore, RetryPolicy, S3, S3Access,
    Swift, SwiftAccess, SwiftSearch, find_swift,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BackupInfo, store_error};
use crate::config::{BackupSettings, CompressionKind, Settings};
use crate::rpc::context::Context;

/// A kind of store, by the names of `storage_driver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// OpenStack Swift, or anything that speaks its API.
    Swift,
    /// Amazon S3, or anything that speaks its API.
    S3,
    /// A directory.
    Local,
}

impl Driver {
    /// The driver a request names.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "swift" => Ok(Self::Swift),
            "s3" => Ok(Self::S3),
            "local" => Ok(Self::Local),
            _ => Err(Error::bad_request(format!(
                "storage driver {name:?} is not one of swift, s3, local"
            ))),
        }
    }
}

/// How to reach a store again after a restart of the agent: kept in the
/// journal, which only root can read, as long as the backup runs. What the
/// configuration says is not in it.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoreAccess {
    /// Which kind.
    pub driver: Driver,
    /// Swift: URL of the account.
    pub storage_url: String,
    /// Swift: the request's token.
    pub token: Secret,
}

impl std::fmt::Debug for StoreAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.driver, self.storage_url)
    }
}

impl StoreAccess {
    /// The store.
    ///
    /// # Errors
    /// When the configuration lacks something it needs.
    pub fn open(&self, settings: &BackupSettings) -> Result<Arc<dyn ObjectStore>> {
        Ok(match self.driver {
            Driver::Swift => Arc::new(
                Swift::new(&SwiftAccess {
                    storage_url: self.storage_url.clone(),
                    tokens: Arc::new(FixedToken::new(self.token.expose())),
                    client: client(settings),
                })
                .map_err(store_error)?,
            ),
            Driver::S3 => Arc::new(S3::new(&s3(settings)?).map_err(store_error)?),
            Driver::Local => Arc::new(Local::new(needed(
                settings.directory.clone(),
                "backup_directory",
            )?)),
        })
    }
}

/// The store that a request means, and how to reach it again.
///
/// # Errors
/// When it cannot be found.
pub async fn requested(
    info: &BackupInfo,
    context: &Context,
    settings: &Settings,
) -> Result<StoreAccess> {
    let name = info.storage_driver.as_deref();
    let driver = Driver::named(name.unwrap_or(&settings.backup.storage_strategy))?;
    let (storage_url, token) = match driver {
        Driver::Swift => find(info.swift_url.as_deref(), context, settings).await?,
        Driver::S3 | Driver::Local => (String::new(), Secret::new("")),
    };
    Ok(StoreAccess {
        driver,
        storage_url,
        token,
    })
}

/// The Swift account of the request's project.
///
/// # Errors
/// [`ErrorKind::BadRequest`](datastore::ErrorKind::BadRequest) when there is
/// none.
pub async fn swift(context: &Context, settings: &Settings) -> Result<Swift> {
    let (storage_url, token) = find(None, context, settings).await?;
    Swift::new(&SwiftAccess {
        storage_url,
        tokens: Arc::new(FixedToken::new(token.expose())),
        client: client(&settings.backup),
    })
    .map_err(store_error)
}

async fn find(
    swift_url: Option<&str>,
    context: &Context,
    settings: &Settings,
) -> Result<(String, Secret)> {
    let token = context.token().ok_or_else(|| {
        Error::bad_request("the request has no token of its user, so that Swift cannot be used")
    })?;
    let backup = &settings.backup;
    let catalog = context.service_catalog();
    let search = SwiftSearch {
        swift_url: swift_url.unwrap_or_default().to_owned(),
        configured_url: backup.swift_url.clone().unwrap_or_default(),
        endpoint: endpoint(backup, &catalog),
        catalog,
        project_id: context.project_id().unwrap_or_default().to_owned(),
        auth_url: backup.auth_url.clone().unwrap_or_default(),
        token: SecretString::from(token.to_owned()),
        client: client(backup),
    };
    let access = find_swift(&search).await.map_err(store_error)?;
    let token = access.tokens.token().await.map_err(store_error)?;
    Ok((access.storage_url, Secret::new(token.expose_secret())))
}

/// The endpoint that is meant. Operators are told to remove the section that
/// names the region: if the catalogue has none in the default one, any will do.
fn endpoint(settings: &BackupSettings, catalog: &Value) -> EndpointFilter {
    let wanted = EndpointFilter {
        service_type: settings.swift_service_type.clone(),
        region: settings.region_name.clone(),
        interface: settings.swift_endpoint_type.clone(),
    };
    let anywhere = EndpointFilter {
        region: String::new(),
        ..wanted.clone()
    };
    match wanted.find(catalog) {
        None if anywhere.find(catalog).is_some() => anywhere,
        _ => wanted,
    }
}

/// How to speak to stores.
pub fn client(settings: &BackupSettings) -> ClientSettings {
    ClientSettings {
        ca_file: settings.ca_file.clone(),
        insecure: settings.swift_api_insecure,
        retry: RetryPolicy {
            tries: settings.tries,
            ..RetryPolicy::default()
        },
        ..ClientSettings::default()
    }
}

fn s3(settings: &BackupSettings) -> Result<S3Access> {
    Ok(S3Access {
        endpoint: needed(settings.s3.endpoint.clone(), "s3_endpoint")?,
        region: settings.s3.region.clone(),
        path_style: settings.s3.path_style,
        key: needed(settings.s3.access_key.clone(), "s3_access_key")?,
        secret: needed(settings.s3.secret_key.clone(), "s3_secret_key")?,
        client: client(settings),
    })
}

fn needed<T>(value: Option<T>, option: &str) -> Result<T> {
    value.ok_or_else(|| {
        Error::bad_request(format!("[guest_agent] {option} is not set on this guest"))
    })
}

/// How backups are stored, from the configuration.
pub fn upload_settings(settings: &BackupSettings) -> UploadSettings {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let level = |default: u8| match settings.compression_level {
        0 => default,
        level => level,
    };
    UploadSettings {
        compression: match settings.compression {
            CompressionKind::Gzip => Compression::Gzip(level(GZIP_LEVEL).min(12)),
            CompressionKind::Zstd => Compression::Zstd(level(ZSTD_LEVEL)),
            CompressionKind::None => Compression::None,
        },
        threads: match settings.threads {
            0 => cores,
            threads => threads,
        },
        uploads: settings.uploads,
        passphrase: settings.passphrase.clone(),
        bandwidth: Bandwidth::new(settings.bandwidth),
    }
}

/// libdeflate's level 1 is about as small as gzip's default and several times
/// faster.
const GZIP_LEVEL: u8 = 1;
/// Zstandard's fastest that is no larger than gzip's default.
const ZSTD_LEVEL: u8 = 1;
