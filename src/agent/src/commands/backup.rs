//! `trove-guestagent backup`: the agent's own backups from the command line,
//! to and from the same stores. For a DBA on a guest, and for emergencies.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use backup::{Orphans, Progress};
use clap::{Args, Subcommand};
use datastore::{Datastore, RestoreSource as _, Secret};
use object_store::{
    EndpointFilter, Identity, Keystone, KeystoneAccess, ObjectStore, Project, Swift, SwiftAccess,
    TokenSource,
};
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::report::text_line;
use crate::backups::{self, BackupInfo, Chain, Driver, Making, Parent, StoreAccess, verify};
use crate::config::Settings;

/// What to do with backups.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum BackupAction {
    /// Make a backup of the running server and print where it is, as JSON.
    Create {
        /// Its id; letters, digits, - and _.
        #[arg(long)]
        id: String,
        /// Make an incremental backup on top of the one at this location.
        #[arg(long, value_name = "LOCATION")]
        parent: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// List the backups of a container.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Read a backup and all it adds to, and check every part and the archive.
    Verify {
        #[command(flatten)]
        source: Source,
    },
    /// Unpack a backup and all it adds to into the empty data directory; the
    /// server must not run, and is not started.
    Restore {
        #[command(flatten)]
        source: Source,
    },
}

/// A store and a container in it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Place {
    /// Kind of store. Swift is logged in to with the variables of OpenStack's
    /// clients (OS_AUTH_URL, OS_USERNAME, ..., or OS_STORAGE_URL with
    /// OS_AUTH_TOKEN); the others with the configuration.
    #[arg(long, value_enum, default_value = "swift")]
    store: Driver,
    /// Container; backup_swift_container unless given.
    #[arg(long)]
    container: Option<String>,
}

/// A backup in a store.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Source {
    /// Kind of store, see `create`.
    #[arg(long, value_enum, default_value = "swift")]
    store: Driver,
    /// URL of the object, or CONTAINER/NAME.
    #[arg(long)]
    location: String,
    /// The checksum that was recorded.
    #[arg(long)]
    checksum: Option<String>,
}

/// Runs one of them; true when it is done.
///
/// # Errors
/// Why it could not be done.
pub async fn backup(
    action: &BackupAction,
    settings: &Settings,
    datastore: &dyn Datastore,
) -> Result<bool> {
    match action {
        BackupAction::Create { id, parent, place } => {
            create(id, parent.as_deref(), place, settings, datastore).await?;
        }
        BackupAction::List { place } => list(place, settings).await?,
        BackupAction::Verify { source } => {
            let (chain, _) = chain(source, settings).await?;
            for index in 0..chain.links().len() {
                let found = verify(&chain, index).await?;
                let location = &chain.links()[index].location;
                let (files, bytes) = (found.files, found.bytes);
                text_line(&format!("{location}: ok, {files} files, {bytes} bytes"));
            }
        }
        BackupAction::Restore { source } => {
            let (chain, progress) = chain(source, settings).await?;
            datastore.unpack(&chain).await?;
            let backups: Vec<_> = chain.links().iter().map(|link| &link.location).collect();
            text_line(&json!({"restored": backups, "bytes": progress.plain()}).to_string());
        }
    }
    Ok(true)
}

async fn create(
    id: &str,
    parent: Option<&str>,
    place: &Place,
    settings: &Settings,
    datastore: &dyn Datastore,
) -> Result<()> {
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let info = BackupInfo {
        parent: parent.map(|location| Parent {
            location: location.to_owned(),
            checksum: None,
        }),
        datastore: Some(datastore.manager().to_owned()),
        datastore_version: settings.datastore_version.clone(),
        ..BackupInfo::default()
    };
    let interrupted = cancel.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let making = Making {
        datastore,
        store: open(place.store, settings).await?,
        container: container(place, settings),
        id,
        info: &info,
        settings: backups::upload_settings(&settings.backup),
        progress: Progress::default(),
        cancel,
        // What stays in the store is in the log.
        orphans: Orphans::default(),
    };
    let made = backups::make(making, &|_| Ok(())).await?;
    text_line(
        &json!({
            "location": made.location,
            "checksum": made.checksum,
            "size": made.stored,
            "data": made.plain,
        })
        .to_string(),
    );
    Ok(())
}

async fn list(place: &Place, settings: &Settings) -> Result<()> {
    let store = open(place.store, settings).await?;
    let container = container(place, settings);
    for object in store.list(container, "").await? {
        // Segments have no suffix.
        if backup::coding_of(&object.name).is_ok() {
            text_line(&format!("{container}/{}  {}", object.name, object.size));
        }
    }
    Ok(())
}

async fn chain(source: &Source, settings: &Settings) -> Result<(Chain, Progress)> {
    let progress = Progress::default();
    let chain = Chain::find(
        open(source.store, settings).await?,
        &source.location,
        source.checksum.clone(),
        backups::keys(&settings.backup),
        backups::client(&settings.backup).retry,
        progress.clone(),
    )
    .await?;
    Ok((chain, progress))
}

fn container<'a>(place: &'a Place, settings: &'a Settings) -> &'a str {
    let default = &settings.backup.swift_container;
    place.container.as_ref().unwrap_or(default)
}

async fn open(driver: Driver, settings: &Settings) -> Result<Arc<dyn ObjectStore>> {
    let client = backups::client(&settings.backup);
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let needed = |name: &str| variable(name).with_context(|| format!("{name} is not set"));
    if driver != Driver::Swift {
        let access = StoreAccess {
            driver,
            storage_url: String::new(),
            token: Secret::new(""),
        };
        return Ok(access.open(&settings.backup)?);
    }
    if let (Some(storage_url), Some(token)) =
        (variable("OS_STORAGE_URL"), variable("OS_AUTH_TOKEN"))
    {
        let access = StoreAccess {
            driver,
            storage_url,
            token: Secret::new(token),
        };
        return Ok(access.open(&settings.backup)?);
    }
    let domain = |name: &str| variable(name).unwrap_or_else(|| "Default".to_owned());
    let project = match (variable("OS_PROJECT_ID"), variable("OS_PROJECT_NAME")) {
        (Some(id), _) => Project::Id(id),
        (None, Some(name)) => Project::Name {
            name,
            domain: domain("OS_PROJECT_DOMAIN_NAME"),
        },
        (None, None) => bail!("OS_PROJECT_NAME is not set"),
    };
    let keystone = Keystone::new(KeystoneAccess {
        auth_url: needed("OS_AUTH_URL")?,
        identity: Identity::Password {
            user: needed("OS_USERNAME")?,
            domain: domain("OS_USER_DOMAIN_NAME"),
            password: SecretString::from(needed("OS_PASSWORD")?),
        },
        project,
        client: client.clone(),
    })?;
    let endpoint = EndpointFilter {
        service_type: settings.backup.swift_service_type.clone(),
        region: variable("OS_REGION_NAME").unwrap_or_else(|| settings.backup.region_name.clone()),
        interface: settings.backup.swift_endpoint_type.clone(),
    };
    let session = keystone.session().await?;
    let storage_url = endpoint
        .find(&session.catalog)
        .context("the catalogue has no such object store")?;
    let tokens: Arc<dyn TokenSource> = Arc::new(keystone);
    Ok(Arc::new(Swift::new(&SwiftAccess {
        storage_url,
        tokens,
        client,
    })?))
}
