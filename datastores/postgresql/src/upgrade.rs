//! To another version of the server.
//!
//! Which versions there are is decided by the image. Within a release series
//! the server is restarted on what is installed. Another series has another
//! format of data: `pg_upgrade` makes new data beside the old, and the old is
//! the good one until the new server has run on the new ([`place`]). Nobody but
//! the agent reaches the new server before that is decided, so nothing that
//! anybody has written is ever lost.

mod convert;
mod facts;
mod place;
mod statistics;
mod target;

use std::path::Path;

use datastore::{Error, ErrorKind, Result};
use managed::Target;
use tracing::{error, info, warn};

use self::place::Transfer;
use crate::conf::Document;
use crate::installation::version_in;
use crate::marker::{self, Marker};
use crate::overrides::{COMMON, Group, Overrides};
use crate::{Server, ServerVersion};

/// The override that keeps everybody out of a new server.
const OVERRIDE: &str = "upgrade";

impl Server {
    /// See [`Datastore::upgrade`](datastore::Datastore::upgrade).
    pub(crate) async fn go_over_to(&self, target: &str) -> Result<()> {
        let target = Target::parse(target, "PostgreSQL")?;
        self.settle_upgrade().await?;
        marker::ensure_complete(&self.settings.layout)?;
        let present = self.data_major()?.ok_or_else(|| {
            Error::failed(format!(
                "There is no data in {} to upgrade",
                self.settings.layout.data_dir().display()
            ))
        })?;
        if target.major == present {
            return self.go_over_within(&target).await;
        }
        if target.major < present {
            return Err(Error::bad_request(format!(
                "The data is of PostgreSQL {present}, and there is no way back to {target}"
            )));
        }
        self.go_over_beyond(&target).await
    }

    /// To what is installed of the same series.
    async fn go_over_within(&self, target: &Target) -> Result<()> {
        let installed = self.installed_version(None).await?;
        target::check(target, &installed)?;
        let Ok(session) = self.session().await else {
            return self.start_and_wait().await;
        };
        let running = session.version().clone();
        session.close().await;
        if target.minor.is_some_and(|minor| minor < running.minor) {
            return Err(Error::bad_request(format!(
                "{running} is running, and there is no way back to {target}"
            )));
        }
        if running.text == installed.text {
            info!(
                version = running.text,
                "The server is of that version already."
            );
            return Ok(());
        }
        info!(
            from = running.text,
            to = installed.text,
            "Restarting another version."
        );
        self.restart_and_wait().await
    }

    async fn go_over_beyond(&self, target: &Target) -> Result<()> {
        let layout = &self.settings.layout;
        let programs = self.programs_of_series(target.major)?;
        let version = version_in(&programs).await?;
        target::check(target, &version)?;
        let facts = self.facts_for_upgrade().await?;
        let old_programs = self.programs(None)?;
        self.check_parameters(&programs).await?;
        self.sweep_upgrade().await?;
        let transfer = self.choose_transfer().await?;
        Marker::Upgrading.set(layout)?;
        info!(%version, ?transfer, "Upgrading the data.");
        let made = async {
            self.make_new_data(&facts, &programs).await?;
            self.check_conversion(&old_programs, &programs, transfer)
                .await
        };
        if let Err(refusal) = made.await {
            // The old server has not noticed anything.
            if let Err(error) = self.put_old_data_back().await {
                error!(%error, "Leftovers of the upgrade stay.");
            }
            return Err(refusal);
        }
        let upgraded = async {
            self.service.keep_down().await?;
            self.convert(&facts, &old_programs, &programs, transfer)
                .await?;
            self.take_along(&programs).await?;
            self.start_new_data(&version, &programs, transfer).await
        };
        if let Err(failure) = upgraded.await {
            return Err(self.give_up(failure).await);
        }
        self.finish_upgrade().await
    }

    /// Refuses parameters of the tenant's that the new server refuses.
    async fn check_parameters(&self, programs: &Path) -> Result<()> {
        let base = self.base_for(programs).await?;
        let user = self.overrides().read(Group::User, COMMON)?;
        self.check_user_parameters(&base, &user, programs).await
    }

    /// Starts the new server where only the agent reaches it; then the new data
    /// is the good one. Linked files are shared with the old data, which is
    /// worth nothing as soon as the new server has touched them.
    async fn start_new_data(
        &self,
        version: &ServerVersion,
        programs: &Path,
        transfer: Transfer,
    ) -> Result<()> {
        let mut alone = Document::default();
        alone.set("listen_addresses", "");
        self.overrides()
            .write(Group::SystemLate, OVERRIDE, &alone)?;
        self.refit_base(programs).await?;
        Marker::Unanalysed.set(&self.settings.layout)?;
        self.swap_data()?;
        if transfer == Transfer::Link {
            self.commit_upgrade()?;
        }
        self.bring_up(false).await?;
        let session = self.session().await?;
        let running = session.version().clone();
        session.close().await;
        if running.major != version.major {
            return Err(Error::failed(format!(
                "{running} has been started instead of {version}"
            )));
        }
        self.commit_upgrade()
    }

    /// After the decision: the server for everybody, and what is left to do.
    async fn finish_upgrade(&self) -> Result<()> {
        self.open_up()?;
        let started = match self.bring_up(true).await {
            Ok(()) => self.forget_override(),
            Err(error) => Err(error),
        };
        if let Err(error) = self.forget_manifests() {
            warn!(%error, "Manifests of old backups stay.");
        }
        if let Err(error) = self.sweep_upgrade().await {
            warn!(%error, "The old data is not removed yet.");
        }
        started?;
        self.warn_of_collations().await;
        self.analyse();
        info!("Data upgraded. Backups begin anew: the next one must be a full one.");
        Ok(())
    }

    /// After a failure: the old server comes back, if its data is the good one.
    async fn give_up(&self, failure: Error) -> Error {
        let layout = &self.settings.layout;
        let back = async {
            if !Marker::Upgrading.is_set(layout) {
                return self.open_up();
            }
            self.settle_upgrade().await?;
            self.bring_up(false).await?;
            self.forget_override()
        };
        let Err(second) = back.await else {
            return failure;
        };
        let text = format!("{failure}. The server from before does not come back: {second}");
        Error::with_source(ErrorKind::Failed, text, failure)
    }

    /// Whether an agent has died in the middle of an upgrade.
    pub(crate) fn is_upgrade_interrupted(&self) -> Result<bool> {
        Ok(Marker::Upgrading.is_set(&self.settings.layout)
            || self.overrides().has(Group::SystemLate, OVERRIDE)?)
    }

    /// Before a start: puts the old data back, if an upgrade was interrupted.
    pub(crate) async fn settle_upgrade(&self) -> Result<()> {
        let layout = &self.settings.layout;
        if !Marker::Upgrading.is_set(layout) {
            return self.open_up();
        }
        warn!("An upgrade was not completed: the data from before is put back.");
        self.service.keep_down().await?;
        self.put_old_data_back().await?;
        self.open_up()?;
        self.refit_base(&self.programs(None)?).await
    }

    /// Lets the next start be for everybody. The file stays until that has
    /// happened: a server that runs may still be for the agent alone.
    fn open_up(&self) -> Result<()> {
        match self.overrides().has(Group::SystemLate, OVERRIDE)? {
            true => self
                .overrides()
                .write(Group::SystemLate, OVERRIDE, &Document::default()),
            false => Ok(()),
        }
    }

    /// After that start.
    pub(crate) fn forget_override(&self) -> Result<()> {
        match self.overrides().has(Group::SystemLate, OVERRIDE)? {
            true => self.overrides().remove(Group::SystemLate, OVERRIDE),
            false => Ok(()),
        }
    }

    fn overrides(&self) -> Overrides<'_> {
        Overrides::new(&self.settings.layout.include_dir)
    }

    /// Goes on with what an upgrade has left to do.
    pub(crate) async fn tend_upgrade(&self) {
        let layout = &self.settings.layout;
        if Marker::Upgrading.is_set(layout) {
            return;
        }
        if let Err(error) = self.sweep_upgrade().await {
            warn!(%error, "Leftovers of an upgrade stay.");
        }
        if Marker::Unanalysed.is_set(layout) {
            self.analyse();
        }
    }
}
