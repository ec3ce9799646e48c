//! What is on the device.

use std::{
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use super::{FsType, VolumeError, VolumeSpec};
use crate::{Command, Output};

/// A blank device reads as zeros this far from its beginning, where every file
/// system, partition table and encryption header has its start...
const HEAD: u64 = 1 << 20;
/// ...and this far from its end, where RAID and backup partition tables live.
const TAIL: u64 = 64 << 10;
/// blkid(8), "Exit status": nothing found, or the device cannot be read.
const NOTHING_FOUND: i32 = 2;
/// blkid(8): ambivalent low-level probing result.
const AMBIVALENT: i32 = 8;

/// The device's content, if it is one to go on with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Safe to format.
    Blank,
    /// The file system that is wanted, or its close relative.
    Filesystem(Filesystem),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filesystem {
    pub(super) kind: FsType,
    pub(super) uuid: String,
}

/// Looks at the device itself, never at a cache. Anything but blank or the
/// wanted file system is an error, as is a device that cannot be read.
pub(super) async fn probe(spec: &VolumeSpec) -> Result<Content, VolumeError> {
    let blkid = Command::new("blkid")
        .args(["-p", "-o", "export", "--"])
        .arg(&spec.device);
    let output = blkid.timeout(spec.command_timeout).output().await?;
    match output.status.code() {
        Some(0) => identify(spec, &output).map(Content::Filesystem),
        Some(NOTHING_FOUND) => match first_data(&spec.device).map_err(spec.io_error("read"))? {
            None => Ok(Content::Blank),
            Some(offset) => Err(VolumeError::NotBlank {
                device: spec.device.clone(),
                offset,
            }),
        },
        Some(AMBIVALENT) => Err(VolumeError::Ambiguous {
            device: spec.device.clone(),
            detail: output.stderr_tail(),
        }),
        _ => Err(output.into_error("blkid").into()),
    }
}

fn identify(spec: &VolumeSpec, output: &Output) -> Result<Filesystem, VolumeError> {
    let text = output.stdout_text();
    let signature = Signature::parse(&text);
    signature
        .filesystem(spec.fstype)
        .ok_or_else(|| VolumeError::Foreign {
            device: spec.device.clone(),
            found: signature.describe(),
            wanted: spec.fstype,
        })
}

/// The tags of `blkid -o export` that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Signature<'a> {
    kind: &'a str,
    usage: &'a str,
    uuid: &'a str,
    label: &'a str,
    partition_table: &'a str,
}

impl<'a> Signature<'a> {
    /// One `NAME=value` a line.
    fn parse(text: &'a str) -> Self {
        let mut found = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "TYPE" => found.kind = value,
                "USAGE" => found.usage = value,
                "UUID" => found.uuid = value,
                "LABEL" => found.label = value,
                "PTTYPE" => found.partition_table = value,
                _ => {}
            }
        }
        found
    }

    /// The file system, if it is the wanted one. ext3 and ext4 are one family:
    /// the volume of an older instance keeps what it was made with.
    fn filesystem(&self, wanted: FsType) -> Option<Filesystem> {
        let kind: FsType = self.kind.parse().ok()?;
        let related = kind == wanted || (kind.is_ext() && wanted.is_ext());
        let whole = self.usage == "filesystem" && self.partition_table.is_empty();
        // The UUID goes into fstab: only what mount(8) can look up.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let named = !self.uuid.is_empty() && self.uuid.bytes().all(plain);
        (related && whole && named).then(|| Filesystem {
            kind,
            uuid: self.uuid.to_owned(),
        })
    }

    fn describe(&self) -> String {
        let mut words = Vec::new();
        if !self.kind.is_empty() {
            words.push(self.kind.to_owned());
        }
        if !self.label.is_empty() {
            words.push(format!("labelled {}", self.label));
        }
        if !self.partition_table.is_empty() {
            words.push(format!("a partition table ({})", self.partition_table));
        }
        if words.is_empty() {
            "an unknown signature".to_owned()
        } else {
            words.join(" ")
        }
    }
}

/// Where the first byte other than zero is, in the parts that matter.
fn first_data(device: &Path) -> io::Result<Option<u64>> {
    let mut file = std::fs::File::open(device)?;
    let size = file.seek(SeekFrom::End(0))?;
    for (start, length) in edges(size) {
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0xFF; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact(&mut bytes)?;
        if let Some(index) = bytes.iter().position(|&byte| byte != 0) {
            return Ok(Some(start + index as u64));
        }
    }
    Ok(None)
}

/// Beginning and end of a device as (offset, length), also of a small one.
pub(super) fn edges(size: u64) -> [(u64, u64); 2] {
    let head = HEAD.min(size);
    let tail = TAIL.min(size - head);
    [(0, head), (size - tail, tail)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXT4: &str = "DEVNAME=/dev/vdb\nLABEL=data\nUUID=5f565c15-ad01-467e-9e09-a8a2b5f7757f\n\
                        VERSION=1.0\nBLOCK_SIZE=4096\nTYPE=ext4\nUSAGE=filesystem\n";

    #[test]
    fn the_wanted_file_system_and_its_relative_are_taken() {
        let signature = Signature::parse(EXT4);
        for wanted in [FsType::Ext4, FsType::Ext3] {
            let found = signature.filesystem(wanted).unwrap();
            assert_eq!(found.kind, FsType::Ext4);
            assert_eq!(found.uuid, "5f565c15-ad01-467e-9e09-a8a2b5f7757f");
        }
        assert_eq!(signature.filesystem(FsType::Xfs), None);
        assert_eq!(signature.describe(), "ext4 labelled data");
    }

    #[test]
    fn everything_else_is_refused_and_named() {
        for (text, named) in [
            ("TYPE=ext2\nUUID=1-1\nUSAGE=filesystem\n", "ext2"),
            ("TYPE=jbd\nUUID=1-1\nUSAGE=other\n", "jbd"),
            ("TYPE=LVM2_member\nUUID=a-b\nUSAGE=raid\n", "LVM2_member"),
            ("TYPE=crypto_LUKS\nUUID=a-b\nUSAGE=crypto\n", "crypto_LUKS"),
            ("PTUUID=1\nPTTYPE=gpt\n", "a partition table (gpt)"),
            (
                "TYPE=ext4\nUUID=1-1\nUSAGE=filesystem\nPTTYPE=dos\n",
                "ext4 a partition table (dos)",
            ),
            ("TYPE=ext4\nUSAGE=filesystem\n", "ext4"),
            ("TYPE=ext4\nUUID=a b\nUSAGE=filesystem\n", "ext4"),
            ("DEVNAME=/dev/vdb\n", "an unknown signature"),
        ] {
            let signature = Signature::parse(text);
            assert_eq!(signature.filesystem(FsType::Ext4), None, "{text}");
            assert_eq!(signature.describe(), named);
        }
    }

    proptest! {
        #[test]
        fn any_report_is_read(text in "(?s).{0,200}") {
            let signature = Signature::parse(&text);
            prop_assert!(!signature.describe().is_empty());
            let _either = signature.filesystem(FsType::Xfs);
        }

        #[test]
        fn edges_stay_inside_and_do_not_overlap(size in any::<u64>()) {
            let [(start, head), (tail_start, tail)] = edges(size);
            prop_assert_eq!(start, 0);
            prop_assert!(head <= tail_start && tail_start + tail == size);
            prop_assert!(size <= HEAD + TAIL || (head == HEAD && tail == TAIL));
            prop_assert!(size > HEAD + TAIL || head + tail == size);
        }
    }
}
