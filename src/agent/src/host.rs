//! What the guest's operating system must have before a datastore can work:
//! the service account, the data volume and the tenant's network.

use std::time::Duration;

use guest::{Account, MountState, VolumeSpec};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::isolation::Isolation;

/// Longest pause between two tries to get the host ready.
const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// What to prepare.
#[derive(Debug, Clone)]
pub struct HostSpec {
    /// The account the database server runs as.
    pub account: Account,
    /// The data volume.
    pub volume: VolumeSpec,
    /// The tenant's network.
    pub isolation: Isolation,
}

#[derive(Debug, Clone, PartialEq)]
enum Readiness {
    Pending,
    Ready,
    /// Not ready, for this reason; tried again.
    Refused(String),
}

/// Whether the host is ready; anything that needs the volume asks first.
#[derive(Debug)]
pub struct Host(watch::Sender<Readiness>);

impl Default for Host {
    fn default() -> Self {
        Self(watch::Sender::new(Readiness::Pending))
    }
}

impl Host {
    /// A host that is ready, for tests of what comes after.
    #[cfg(test)]
    pub fn ready_now() -> Self {
        Self(watch::Sender::new(Readiness::Ready))
    }

    /// Gets the host ready, again and again until it is. A volume may be
    /// attached late, and an operator may mend what was refused. Then looks
    /// after what others may change.
    pub async fn run(&self, spec: HostSpec, cancel: CancellationToken) {
        let mut pause = Duration::from_secs(1);
        loop {
            // Cut off by the end of the agent, a format is recognised and done
            // again by the next one.
            let tried = tokio::select! {
                () = cancel.cancelled() => return,
                tried = prepare(&spec) => tried,
            };
            let reason = match tried {
                Ok(()) => {
                    self.0.send_replace(Readiness::Ready);
                    return spec.isolation.keep(cancel).await;
                }
                Err(error) => format!("{error:#}"),
            };
            let news = Readiness::Refused(reason.clone());
            if self.0.send_replace(news.clone()) != news {
                error!(name: "guest_not_ready", %reason, "Guest not ready for a database.");
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_LIMIT),
            }
        }
    }

    /// Waits until the first try has ended.
    ///
    /// # Errors
    /// The reason, when the host is not ready.
    pub async fn ready(&self) -> Result<(), datastore::Error> {
        let mut readiness = self.0.subscribe();
        let decided = readiness
            .wait_for(|readiness| *readiness != Readiness::Pending)
            .await;
        match decided.as_deref() {
            Ok(Readiness::Ready) => Ok(()),
            Ok(Readiness::Refused(reason)) => Err(datastore::Error::failed(reason.clone())),
            _ => Err(datastore::Error::failed("the guest agent is stopping")),
        }
    }

    /// The reason why the host is not ready, if one is known.
    pub fn refusal(&self) -> Option<String> {
        match &*self.0.borrow() {
            Readiness::Refused(reason) => Some(reason.clone()),
            _ => None,
        }
    }
}

async fn prepare(spec: &HostSpec) -> anyhow::Result<()> {
    let Account { name, uid, gid } = &spec.account;
    guest::ensure_service_account(name, *uid, *gid).await?;
    // Neither network nor volume has to wait for the other.
    let network = spec.isolation.establish().await;
    let device = spec.volume.device.display();
    let mount_point = spec.volume.mount_point.display();
    match spec.volume.ensure_mounted().await? {
        MountState::AlreadyMounted => info!(%mount_point, "Data volume is mounted."),
        MountState::Mounted => info!(%device, %mount_point, "Data volume mounted."),
        MountState::Formatted => {
            info!(%device, %mount_point, "Blank data volume formatted and mounted.")
        }
    }
    network?;
    Ok(())
}
