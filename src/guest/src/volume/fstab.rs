//! The volume's line in fstab(5).

use std::{
    fs, io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{
    mountinfo::{escape, unescape},
    probe::Filesystem,
};
use crate::{Attributes, FileError, write_atomic};

/// A boot without the volume must neither hang nor fail: the agent has to come
/// up and say so (systemd.mount(5)).
const BOOT_OPTIONS: [(&str, &str); 2] = [
    ("nofail", "nofail"),
    ("x-systemd.device-timeout=", "x-systemd.device-timeout=60s"),
];

/// One line, its fields not yet escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    source: String,
    mount_point: PathBuf,
    fstype: String,
    options: String,
    /// Sixth field: whether the boot checks the file system before it mounts it.
    pass: u8,
}

impl Entry {
    /// The source is the UUID: device names change from boot to boot.
    pub(super) fn new(filesystem: &Filesystem, mount_point: &Path, options: &str) -> Self {
        let mut options = options.to_owned();
        for (start, option) in BOOT_OPTIONS {
            if !options.split(',').any(|known| known.starts_with(start)) {
                options = format!("{options},{option}");
            }
        }
        Self {
            source: format!("UUID={}", filesystem.uuid),
            mount_point: mount_point.to_owned(),
            fstype: filesystem.kind.to_string(),
            options,
            pass: if filesystem.kind.is_ext() { 2 } else { 0 },
        }
    }

    fn to_line(&self) -> Vec<u8> {
        let fields = [
            escape(self.source.as_bytes()),
            escape(self.mount_point.as_os_str().as_bytes()),
            escape(self.fstype.as_bytes()),
            escape(self.options.as_bytes()),
            b"0".to_vec(),
            self.pass.to_string().into_bytes(),
        ];
        let mut line = fields.join(&b'\t');
        line.push(b'\n');
        line
    }
}

/// Writes the entry into the file, in the place of any other line for the same
/// mount point; `false` when it is there already. The file is made if there is
/// none; all other bytes of it stay as they are.
pub(super) fn update(fstab: &Path, entry: &Entry) -> Result<bool, FileError> {
    let before = match fs::read(fstab) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(FileError::new(fstab, "read")(error)),
    };
    let after = with_entry(&before, entry);
    if after == before {
        return Ok(false);
    }
    write_atomic(
        fstab,
        &after,
        &Attributes {
            mode: 0o644,
            owner: None,
        },
    )?;
    Ok(true)
}

fn with_entry(contents: &[u8], entry: &Entry) -> Vec<u8> {
    let line = entry.to_line();
    let mut result = Vec::with_capacity(contents.len() + line.len());
    let mut placed = false;
    for existing in contents.split_inclusive(|&byte| byte == b'\n') {
        if mount_point(existing).as_ref() != Some(&entry.mount_point) {
            result.extend_from_slice(existing);
        } else if !std::mem::replace(&mut placed, true) {
            result.extend_from_slice(&line);
        }
    }
    if !placed {
        // Some editors leave the last line without its end.
        if result.last().is_some_and(|&last| last != b'\n') {
            result.push(b'\n');
        }
        result.extend_from_slice(&line);
    }
    result
}

/// The second field, unless the line is blank or a comment.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let mut fields = line
        // Blanks and tabs, as getmntent(3); a form feed is part of a name.
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        .filter(|field| !field.is_empty());
    let source = fields.next().filter(|source| !source.starts_with(b"#"))?;
    debug_assert!(!source.is_empty());
    // `/var/lib/mysql/` is the same place: compare by components.
    Some(
        PathBuf::from(unescape(fields.next()?))
            .components()
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::fs::PermissionsExt as _};

    use proptest::prelude::*;

    use super::*;
    use crate::FsType;

    fn entry(mount_point: &Path) -> Entry {
        let filesystem = Filesystem {
            kind: FsType::Ext4,
            uuid: "5f565c15-ad01".into(),
        };
        Entry::new(&filesystem, mount_point, "defaults,noatime")
    }

    const LINE: &str = "UUID=5f565c15-ad01\t/var/lib/mysql\text4\t\
                        defaults,noatime,nofail,x-systemd.device-timeout=60s\t0\t2\n";

    fn text(before: &str) -> String {
        String::from_utf8(with_entry(
            before.as_bytes(),
            &entry(Path::new("/var/lib/mysql")),
        ))
        .unwrap()
    }

    #[test]
    fn the_line_is_appended_after_an_unfinished_one() {
        assert_eq!(text(""), LINE);
        let root = "LABEL=root / ext4 rw 0 1";
        assert_eq!(text(root), format!("{root}\n{LINE}"));
        assert_eq!(text(&text(root)), text(root));
    }

    #[test]
    fn other_lines_for_the_mount_point_are_replaced() {
        let before = "# /dev/vdb /var/lib/mysql\nLABEL=root\t/\text4 rw 0 1\n\
                      /dev/vdb\t/var/lib/mysql\text3\tdefaults,noatime\t0\t0\n\n\
                      /dev/vdb /var/lib/mysql/ ext3 defaults 0 0\n/dev/vdc /var/lib/mysql2 xfs rw";
        let expected = format!(
            "# /dev/vdb /var/lib/mysql\nLABEL=root\t/\text4 rw 0 1\n{LINE}\n/dev/vdc /var/lib/mysql2 xfs rw"
        );
        assert_eq!(text(before), expected);
        assert_eq!(text(&expected), expected);
    }

    #[test]
    fn options_of_the_operator_are_not_doubled() {
        let filesystem = Filesystem {
            kind: FsType::Xfs,
            uuid: "1-2".into(),
        };
        let options = "rw,nofail,x-systemd.device-timeout=5";
        let entry = Entry::new(&filesystem, Path::new("/a b"), options);
        assert_eq!(
            String::from_utf8(entry.to_line()).unwrap(),
            format!("UUID=1-2\t/a\\040b\txfs\t{options}\t0\t0\n")
        );
    }

    #[test]
    fn the_file_is_made_and_written_only_when_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let fstab = directory.path().join("fstab");
        let entry = entry(Path::new("/var/lib/mysql"));
        assert!(update(&fstab, &entry).unwrap());
        assert!(!update(&fstab, &entry).unwrap());
        assert_eq!(fs::read_to_string(&fstab).unwrap(), LINE);
        assert_eq!(
            fs::metadata(&fstab).unwrap().permissions().mode() & 0o777,
            0o644
        );
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            "[ -~\t]{0,40}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..30),
            Just(b"/dev/vdb /target ext3 defaults 0 0".to_vec()),
        ];
        (prop::collection::vec(line, 0..8), any::<bool>()).prop_map(|(lines, ended)| {
            let mut bytes = lines.join(&b'\n');
            if ended {
                bytes.push(b'\n');
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn one_line_for_the_target_and_all_others_kept(before in lines()) {
            let target = Path::new("/target");
            let after = with_entry(&before, &entry(target));
            let others = |bytes: &[u8]| -> Vec<Vec<u8>> {
                bytes
                    .split_inclusive(|&byte| byte == b'\n')
                    .filter(|line| mount_point(line).as_deref() != Some(target))
                    .map(|line| line.strip_suffix(b"\n").unwrap_or(line).to_vec())
                    .collect()
            };
            prop_assert_eq!(others(&after), others(&before));
            let ours = after
                .split_inclusive(|&byte| byte == b'\n')
                .filter(|line| mount_point(line).as_deref() == Some(target));
            prop_assert_eq!(ours.count(), 1);
            prop_assert_eq!(with_entry(&after, &entry(target)), after);
        }

        #[test]
        fn any_mount_point_is_read_back(name in prop::collection::vec(1u8.., 1..30)) {
            let path: PathBuf = Path::new("/").join(OsStr::from_bytes(&name)).components().collect();
            prop_assert_eq!(mount_point(&entry(&path).to_line()), Some(path));
        }
    }
}
