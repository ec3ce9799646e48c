//! What is asked about the guest itself, and its data volume.

use std::path::Path;

use datastore::{Error, Result};
use serde_json::{Value, json};
use tracing::warn;

use super::Operations;

const GIB: f64 = (1u64 << 30) as f64;

impl Operations {
    /// Use of the data volume, in the shape the API reads on every instance
    /// request: `total` and `used` in GB, `free` in bytes.
    ///
    /// # Errors
    /// When the mount point cannot be examined.
    pub async fn filesystem_stats(&self) -> Result<Value> {
        let mount_point = &self.volume.mount_point;
        let stats = guest::filesystem_stats(mount_point).map_err(|error| {
            Error::failed(format!(
                "examine the filesystem of {}: {error}",
                mount_point.display()
            ))
        })?;
        let extra = self
            .datastore
            .volume_extra_info()
            .await
            .unwrap_or_else(|error| {
                warn!(%error, "No further information on the volume.");
                serde_json::Map::new()
            });
        let used = stats.total_blocks.saturating_sub(stats.free_blocks) * stats.block_size;
        Ok(json!({
            "block_size": stats.block_size,
            "total_blocks": stats.total_blocks,
            "free_blocks": stats.free_blocks,
            "avail_blocks": stats.avail_blocks,
            "total": gigabytes(stats.total_blocks * stats.block_size),
            "free": stats.free_blocks * stats.block_size,
            "used": gigabytes(used),
            "mgr_extra_info": extra,
        }))
    }

    /// Processors and memory, for the management API.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn hwinfo(&self) -> Result<Value> {
        let hardware = guest::hardware().map_err(|e| Error::failed(format!("read /proc: {e}")))?;
        Ok(json!({"mem_total": hardware.mem_total, "num_cpus": hardware.num_cpus}))
    }

    /// The server's version and the resources its process uses, in kB.
    ///
    /// # Errors
    /// When the server is not running.
    pub async fn diagnostics(&self) -> Result<Value> {
        let pid = self
            .datastore
            .main_pid()
            .await
            .ok_or_else(|| Error::failed("the database server is not running"))?;
        let version = self.datastore.version().await?;
        let process = guest::process_diagnostics(pid)
            .map_err(|error| Error::failed(format!("read /proc/{pid}/status: {error}")))?;
        Ok(json!({
            "version": version,
            "threads": process.threads,
            "fd_size": process.fd_size,
            "vm_size": process.vm_size,
            "vm_peak": process.vm_peak,
            "vm_rss": process.vm_rss,
            "vm_hwm": process.vm_hwm,
        }))
    }

    /// Mounts the data volume; mounted already is success.
    ///
    /// # Errors
    /// When it cannot be mounted, or the request names another volume than
    /// this guest's configuration.
    pub async fn mount_volume(
        &self,
        device: Option<&str>,
        mount_point: Option<&str>,
    ) -> Result<()> {
        self.check_volume(device, mount_point);
        let _exclusive = self.turns.exclusive("mount_volume").await?;
        self.volume.mount().await.map_err(volume_error)
    }

    /// Unmounts the data volume; not mounted is success.
    ///
    /// # Errors
    /// When it is busy.
    pub async fn unmount_volume(
        &self,
        device: Option<&str>,
        mount_point: Option<&str>,
    ) -> Result<()> {
        self.check_volume(device, mount_point);
        let _exclusive = self.turns.exclusive("unmount_volume").await?;
        self.volume.unmount().await.map_err(volume_error)
    }

    /// Grows the filesystem to the size of its device.
    ///
    /// # Errors
    /// When the filesystem cannot be grown.
    pub async fn resize_fs(
        &self,
        device: Option<&str>,
        mount_point: Option<&str>,
        online: bool,
    ) -> Result<()> {
        self.check_volume(device, mount_point);
        let _exclusive = self.turns.exclusive("resize_fs").await?;
        self.volume.resize(online).await.map_err(volume_error)
    }

    /// The guest has one data volume and the configuration says where it is;
    /// a request that names another is only worth a line.
    fn check_volume(&self, device: Option<&str>, mount_point: Option<&str>) {
        let differs =
            |asked: Option<&str>, own: &Path| asked.is_some_and(|asked| Path::new(asked) != own);
        if differs(device, &self.volume.device) || differs(mount_point, &self.volume.mount_point) {
            warn!(
                asked_device = device,
                asked_mount_point = mount_point,
                device = %self.volume.device.display(),
                mount_point = %self.volume.mount_point.display(),
                "Request names another volume than the configuration; using the configured one."
            );
        }
    }
}

fn volume_error(error: guest::VolumeError) -> Error {
    Error::failed(error.to_string())
}

/// GB with two decimals; 0.0 only for nothing at all
/// (`trove/common/utils.py`, `to_gb`: the API shows it as it is).
pub(super) fn gigabytes(bytes: u64) -> f64 {
    if bytes == 0 {
        return 0.0;
    }
    ((bytes as f64 / GIB * 100.0).round() / 100.0).max(0.01)
}

#[cfg(test)]
mod tests {
    use super::gigabytes;

    #[test]
    fn gigabytes_are_rounded_and_never_vanish() {
        assert_eq!(gigabytes(0), 0.0);
        assert_eq!(gigabytes(1), 0.01);
        assert_eq!(gigabytes(5 << 30), 5.0);
        assert_eq!(gigabytes((1 << 30) * 3 / 2 + 1000), 1.5);
    }
}
