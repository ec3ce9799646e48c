//! What is mounted where, from `/proc/thread-self/mountinfo`
//! (proc_pid_mountinfo(5)). Not `/proc/self`: mounts belong to a thread's
//! namespace, and that of the main thread may be another.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::sys::stat::{major, minor};

use super::VolumeError;
use crate::FileError;

const MOUNTINFO: &str = "/proc/thread-self/mountinfo";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Major and minor number of the device.
    pub(super) device: (u64, u64),
    /// The part of the file system that is mounted; `/` unless bind-mounted.
    pub(super) root: PathBuf,
    pub(super) mount_point: PathBuf,
    /// Device or other source, as it was named when it was mounted.
    pub(super) source: OsString,
}

/// What a mount point is covered by.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    Nothing,
    Device,
    Other { source: String },
}

/// All mounts of this thread's namespace; later ones cover earlier ones.
pub(super) fn read() -> Result<Vec<Mount>, VolumeError> {
    let text = fs::read(MOUNTINFO).map_err(FileError::new(Path::new(MOUNTINFO), "read"))?;
    Ok(text
        .split(|&byte| byte == b'\n')
        .filter_map(parse_line)
        .collect())
}

/// What is mounted at `mount_point`, compared to `device`.
pub(super) fn occupant(device: &Path, mount_point: &Path) -> Result<Occupant, VolumeError> {
    // The kernel shows paths without symbolic links. A path that does not
    // exist is no mount point.
    let mount_point = fs::canonicalize(mount_point).unwrap_or_else(|_| mount_point.to_owned());
    let mounts = read()?;
    let Some(top) = mounts
        .iter()
        .rev()
        .find(|mount| mount.mount_point == mount_point)
    else {
        return Ok(Occupant::Nothing);
    };
    let same = match number(device) {
        Some(number) => number == top.device && top.root == Path::new("/"),
        // A detached device has no number any more, but its stale mount is ours.
        None => Path::new(&top.source) == device,
    };
    if same {
        return Ok(Occupant::Device);
    }
    Ok(Occupant::Other {
        source: top.source.to_string_lossy().into_owned(),
    })
}

/// Major and minor number of a device node; symbolic links are followed.
pub(super) fn number(device: &Path) -> Option<(u64, u64)> {
    let rdev = fs::metadata(device).ok()?.rdev();
    Some((major(rdev), minor(rdev)))
}

/// `36 35 98:0 /root /mount/point options [optional...] - type source options`
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ').skip(2);
    let numbers = std::str::from_utf8(fields.next()?).ok()?;
    let (major, minor) = numbers.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let root = PathBuf::from(unescape(fields.next()?));
    let mount_point = PathBuf::from(unescape(fields.next()?));
    let mut rest = fields.skip_while(|&field| field != b"-").skip(1);
    let source = unescape(rest.nth(1)?);
    Some(Mount {
        device,
        root,
        mount_point,
        source,
    })
}

/// Resolves the `\ooo` escapes that the kernel and fstab(5) use for blanks and
/// backslashes; other backslashes stand for themselves.
pub(super) fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match rest {
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                tail @ ..,
            ] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// The inverse of [`unescape`] for a field of mountinfo or fstab.
pub(super) fn escape(field: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(field.len());
    for &byte in field {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\\' | b'#') {
            escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            escaped.push(byte);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_with_and_without_optional_fields() {
        let line =
            br"36 35 254:16 / /var/lib/my\040sql rw,noatime master:1 shared:2 - ext4 /dev/vdb rw";
        let expected = Mount {
            device: (254, 16),
            root: "/".into(),
            mount_point: "/var/lib/my sql".into(),
            source: "/dev/vdb".into(),
        };
        assert_eq!(parse_line(line), Some(expected));
        let line = b"22 28 0:21 /a /proc rw,nosuid - proc proc rw";
        assert_eq!(parse_line(line).unwrap().root, Path::new("/a"));
        for broken in [
            "",
            "1 2 3",
            "36 35 98-0 / /x rw - ext4 /dev/x rw",
            "36 35 9:8 / /x rw ext4",
        ] {
            assert_eq!(parse_line(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn this_system_has_a_root_and_proc() {
        let mounts = read().unwrap();
        for path in ["/", "/proc"] {
            assert!(
                mounts
                    .iter()
                    .any(|mount| mount.mount_point == Path::new(path)),
                "{path}"
            );
        }
        let occupied = occupant(Path::new("/dev/null"), Path::new("/proc")).unwrap();
        assert_eq!(
            occupied,
            Occupant::Other {
                source: "proc".into()
            }
        );
        let nothing = occupant(Path::new("/dev/null"), Path::new("/no/such/path")).unwrap();
        assert_eq!(nothing, Occupant::Nothing);
    }

    proptest! {
        #[test]
        fn escapes_are_undone(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let escaped = escape(&bytes);
            prop_assert!(!escaped.iter().any(|byte| b" \t\n#".contains(byte)));
            let unescaped = unescape(&escaped);
            prop_assert_eq!(unescaped.as_bytes(), bytes.as_slice());
            let _any = unescape(&bytes);
            let _any = parse_line(&bytes);
        }

        #[test]
        fn lines_are_read_back(
            major in 0u64..4096, minor in 0u64..1 << 20,
            point in prop::collection::vec(1u8.., 1..40), source in prop::collection::vec(1u8.., 1..40),
            optional in prop::collection::vec("[a-z]{1,8}:[0-9]{1,3}", 0..3),
        ) {
            let mut line = format!("36 35 {major}:{minor} / ").into_bytes();
            line.extend(escape(&point));
            line.extend(format!(" rw {} - ext4 ", optional.join(" ")).bytes());
            line.extend(escape(&source));
            line.extend(b" rw");
            let mount = parse_line(&line).unwrap();
            prop_assert_eq!(mount.device, (major, minor));
            prop_assert_eq!(mount.mount_point.as_os_str().as_bytes(), point.as_slice());
            prop_assert_eq!(mount.source.as_bytes(), source.as_slice());
        }
    }
}
