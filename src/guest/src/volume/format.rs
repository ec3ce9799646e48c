//! Making a file system on a blank device.

use std::{
    io::{self, Seek as _, SeekFrom, Write as _},
    path::Path,
};

use tracing::{info, warn};

use super::{
    FsType, VolumeError, VolumeSpec, device, mountinfo,
    probe::{self, Content, Filesystem},
};
use crate::{Attributes, Command, ensure_directory, read_optional, remove_if_exists, write_atomic};

/// Formats the device, which the caller has found blank, and looks at the
/// result with fresh eyes. When mkfs fails, the device is made blank again, so
/// that the next attempt does not mistake its remains for somebody's data; for
/// the case that this very process is ended meanwhile, `marker` says so.
pub(super) async fn format(spec: &VolumeSpec, marker: &Path) -> Result<Filesystem, VolumeError> {
    mark(spec, marker)?;
    if let Err(error) = make_filesystem(spec).await {
        match make_blank(spec) {
            Ok(()) => drop(remove_if_exists(marker)?),
            // The marker stays: it is tried again before the next mkfs.
            Err(error) => {
                warn!(%error, device = %spec.device.display(), "The remains of mkfs could not be erased.");
            }
        }
        return Err(error);
    }
    let Content::Filesystem(filesystem) = probe::probe(spec).await? else {
        return Err(VolumeError::NotFormatted {
            device: spec.device.clone(),
        });
    };
    // Before the first mount: a marked device never holds data.
    remove_if_exists(marker)?;
    Ok(filesystem)
}

async fn make_filesystem(spec: &VolumeSpec) -> Result<(), VolumeError> {
    let options = options(spec.fstype, &spec.format_options);
    if options.len() != spec.format_options.len() {
        info!(
            configured = ?spec.format_options, used = ?options,
            "Format option -m (reserved blocks) does not exist for xfs, left out."
        );
    }
    info!(device = %spec.device.display(), fstype = %spec.fstype, ?options, "Formatting the blank volume.");
    let mkfs = Command::new(format!("mkfs.{}", spec.fstype))
        .args(&options)
        .arg("--")
        .arg(&spec.device);
    mkfs.timeout(spec.format_timeout).run().await?;
    Ok(())
}

/// Makes a device blank again whose formatting was cut short by the end of the
/// agent or of the guest. What is on it came from mkfs, as the marker is
/// written when the device is blank and removed before it is ever mounted.
pub(super) fn undo_interrupted(spec: &VolumeSpec, marker: &Path) -> Result<(), VolumeError> {
    if read_optional(marker)?.as_deref() != Some(identity(spec)?.as_str()) {
        return Ok(());
    }
    warn!(device = %spec.device.display(), "Formatting was interrupted, starting again.");
    make_blank(spec).map_err(spec.io_error("erase"))?;
    remove_if_exists(marker)?;
    Ok(())
}

fn mark(spec: &VolumeSpec, marker: &Path) -> Result<(), VolumeError> {
    if let Some(directory) = marker.parent().filter(|directory| !directory.is_dir()) {
        ensure_directory(
            directory,
            &Attributes {
                mode: 0o700,
                owner: None,
            },
        )?;
    }
    let attributes = Attributes {
        mode: 0o600,
        owner: None,
    };
    write_atomic(marker, identity(spec)?.as_bytes(), &attributes)?;
    Ok(())
}

/// Tells this volume from another one under the same name: its size, and the
/// serial number that virtio disks get from the volume's id.
fn identity(spec: &VolumeSpec) -> Result<String, VolumeError> {
    let size = device::size(&spec.device)?.unwrap_or_default();
    let serial = mountinfo::number(&spec.device)
        .and_then(|(major, minor)| {
            std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/serial")).ok()
        })
        .unwrap_or_default();
    Ok(format!(
        "{} {size} {}\n",
        spec.device.display(),
        serial.trim()
    ))
}

/// Options as configured, without the reserved-blocks percentage (`-m 5`, part
/// of Trove's default) where the file system is xfs: there, `-m` is something
/// else and the number is an error.
fn options(fstype: FsType, configured: &[String]) -> Vec<String> {
    if fstype != FsType::Xfs {
        return configured.to_vec();
    }
    let is_number = |text: &str| text.parse::<f64>().is_ok();
    let mut kept = Vec::new();
    let mut words = configured.iter().peekable();
    while let Some(word) = words.next() {
        if word == "-m" && words.next_if(|next| is_number(next)).is_some() {
            continue;
        }
        if !word.strip_prefix("-m").is_some_and(is_number) {
            kept.push(word.clone());
        }
    }
    kept
}

/// Erases what mkfs wrote at the edges of the device. They were zeros a moment
/// ago, so this only restores them; the exclusive open makes sure that nobody
/// has taken the device since, not even a mkfs that refuses to die.
fn make_blank(spec: &VolumeSpec) -> io::Result<()> {
    let mut file = device::open_exclusive(&spec.device, true)?;
    let size = file.seek(SeekFrom::End(0))?;
    for (start, length) in probe::edges(size) {
        file.seek(SeekFrom::Start(start))?;
        file.write_all(&vec![0; usize::try_from(length).map_err(io::Error::other)?])?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(fstype: FsType, words: &str) -> String {
        let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
        options(fstype, &words).join(" ")
    }

    #[test]
    fn only_the_reserved_blocks_of_xfs_are_left_out() {
        assert_eq!(kept(FsType::Ext4, "-m 5 -L data"), "-m 5 -L data");
        assert_eq!(kept(FsType::Xfs, "-m 5"), "");
        assert_eq!(kept(FsType::Xfs, "-K -m 1.5 -L data -m2"), "-K -L data");
        assert_eq!(
            kept(FsType::Xfs, "-m crc=1 -m reflink=0"),
            "-m crc=1 -m reflink=0"
        );
        assert_eq!(kept(FsType::Xfs, "-L -m"), "-L -m");
    }
}
