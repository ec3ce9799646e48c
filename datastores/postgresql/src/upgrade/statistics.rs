//! Statistics of the tables, without which queries are planned badly: the new
//! server begins without them.

use std::time::Duration;

use guest::Command;
use tracing::{info, warn};

use crate::Server;
use crate::marker::Marker;
use crate::server::SUPERUSER;

const LIMIT: Duration = Duration::from_secs(24 * 3600);

impl Server {
    /// Makes them, beside everything else: rough ones soon, good ones later. The
    /// mark stays until all are made, and whoever sees it begins again.
    pub(super) fn analyse(&self) {
        let Ok(busy) = self.analysis.clone().try_lock_owned() else {
            return;
        };
        let program = match self.program("vacuumdb") {
            Ok(program) => program,
            Err(error) => {
                warn!(%error, "No statistics.");
                return;
            }
        };
        let command = Command::new(program)
            .args(["--all", "--analyze-in-stages", "--no-password", "--quiet"])
            .args(["--username", SUPERUSER])
            .arg(format!("--port={}", self.settings.port))
            .arg("--host")
            .arg(&self.settings.layout.socket_dir)
            .timeout(LIMIT);
        let layout = self.settings.layout.clone();
        tokio::spawn(async move {
            let _busy = busy;
            match command.run().await {
                Ok(_) => match Marker::Unanalysed.remove(&layout) {
                    Ok(()) => info!("Statistics of all tables are made."),
                    Err(error) => warn!(%error, "Statistics will be made again."),
                },
                Err(error) => warn!(%error, "Statistics are not complete; trying again later."),
            }
        });
    }
}
