//! From a history of one's own back to the source's.
//!
//! `pg_rewind` replaces all that has changed since the histories parted. It is
//! tried without changing anything first. Then a mark on the volume says that
//! the data is neither the old nor the new one, until it has ended: what it
//! has left in between is never started.

use std::time::Duration;

use datastore::{Error, ErrorKind, Result, Secret};
use guest::Command;
use tracing::{info, warn};

use super::minimums::number;
use super::remote::{Identity, Remote};
use crate::Server;
use crate::errors::os_error;
use crate::marker::Marker;
use crate::recovered::STANDBY_SIGNAL;

/// As long as it takes: data that is half rewound is lost.
const REWIND_LIMIT: Duration = Duration::from_secs(6 * 3600);
const TRIAL_LIMIT: Duration = Duration::from_secs(60);
/// The first version that can be told where its configuration is.
const CONFIG_SINCE: u32 = 15;
/// Files of the data directory that are this server's own.
const KEPT: [&str; 4] = ["postgresql.auto.conf", "server.key", "server.crt", "ca.crt"];

/// Where a server that is down has stopped.
#[derive(Debug, PartialEq, Eq)]
struct Stopped {
    timeline: u32,
}

impl Stopped {
    /// Reads what `pg_controldata` prints.
    fn parse(text: &str) -> Option<Self> {
        let number = |label| u32::try_from(number(text, label)?).ok();
        let checkpoint = number("Latest checkpoint's TimeLineID")?;
        let recovered = number("Min recovery ending loc's timeline")?;
        Some(Self {
            timeline: checkpoint.max(recovered),
        })
    }
}

impl Server {
    /// Lets a replica that does not follow do so; `reason` is why it does not.
    pub(super) async fn mend(
        &self,
        remote: &Remote,
        source: &Identity,
        reason: Error,
    ) -> Result<()> {
        self.service.keep_down().await?;
        if self.stopped().await?.timeline >= source.timeline {
            // Nothing a rewind could do about it.
            self.bring_up(false).await?;
            return Err(reason);
        }
        self.turn_back(remote, source).await
    }

    /// Stops the server and starts it as a replica of the source, whose data it
    /// has then.
    pub(super) async fn rewind(&self, remote: &Remote, source: &Identity) -> Result<()> {
        let layout = &self.settings.layout;
        // Not even a reboot starts it now.
        self.service.keep_down().await?;
        if let Err(error) = self.try_rewind(remote, source).await {
            warn!(%error, "No rewind: the server comes back as it was.");
            if let Err(error) = self.bring_up(false).await {
                warn!(%error, "The server does not come back.");
            }
            return Err(error);
        }
        let kept = self.read_kept()?;
        Marker::Rewinding.set(layout)?;
        let output = self
            .rewind_command(remote, &[])
            .timeout(REWIND_LIMIT)
            .output()
            .await
            .map_err(os_error)?;
        if !output.status.success() {
            return Err(remote.failed(
                ErrorKind::Failed,
                &format!(
                    "pg_rewind failed halfway, so the data here is lost: {}. Delete this replica \
                     and make a new one",
                    output.stderr_tail()
                ),
            ));
        }
        info!("Data is rewound to that of the source.");
        for (name, text) in kept {
            self.write_data_file(name, text.expose())?;
        }
        self.write_data_file(STANDBY_SIGNAL, "")?;
        Marker::Rewinding.remove(layout)?;
        self.forget_role()?;
        self.bring_up(false).await
    }

    /// Whether a rewind would succeed.
    async fn try_rewind(&self, remote: &Remote, source: &Identity) -> Result<()> {
        let own = self.stopped().await?.timeline;
        if own >= source.timeline {
            // pg_rewind would compare these numbers, and find nothing to do.
            return Err(remote.failed(
                ErrorKind::BadRequest,
                &format!(
                    "both have gone on by themselves ({own} here, {} there): delete this \
                     replica and make a new one",
                    source.timeline
                ),
            ));
        }
        let output = self
            .rewind_command(remote, &["--dry-run"])
            .timeout(TRIAL_LIMIT)
            .output()
            .await
            .map_err(os_error)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(remote.failed(
                ErrorKind::Failed,
                &format!("pg_rewind refuses: {}", output.stderr_tail()),
            )),
        }
    }

    fn rewind_command(&self, remote: &Remote, more: &[&str]) -> Command {
        let layout = &self.settings.layout;
        let command = remote
            .program("pg_rewind")
            .arg("--target-pgdata")
            .arg(layout.data_dir())
            .arg("--source-server")
            .arg(remote.text())
            .args(more);
        match self.data_major() {
            // Segments that the server has removed are in its archive.
            Ok(Some(major)) if major >= CONFIG_SINCE => command
                .arg("--restore-target-wal")
                .arg("--config-file")
                .arg(&layout.base_config),
            _ => command,
        }
    }

    async fn stopped(&self) -> Result<Stopped> {
        Stopped::parse(&self.control_data().await?)
            .ok_or_else(|| Error::failed("pg_controldata does not tell the timeline of the data"))
    }

    fn read_kept(&self) -> Result<Vec<(&'static str, Secret)>> {
        let data = self.settings.layout.data_dir();
        let mut kept = Vec::new();
        for name in KEPT {
            let text = guest::read_optional(&data.join(name)).map_err(os_error)?;
            kept.extend(text.map(|text| (name, Secret::new(text))));
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_data_of_real_servers() {
        let text = |checkpoint, recovered| {
            format!(
                "pg_control version number:            1300\n\
                 Latest checkpoint's TimeLineID:       {checkpoint}\n\
                 Latest checkpoint's PrevTimeLineID:   1\n\
                 Minimum recovery ending location:     0/0\n\
                 Min recovery ending loc's timeline:   {recovered}\n"
            )
        };
        for (checkpoint, recovered, timeline) in [(1, 0, 1), (3, 0, 3), (1, 2, 2)] {
            let stopped = Stopped::parse(&text(checkpoint, recovered));
            assert_eq!(stopped, Some(Stopped { timeline }));
        }
        assert_eq!(Stopped::parse(""), None);
    }
}
