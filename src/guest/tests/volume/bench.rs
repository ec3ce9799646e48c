//! A volume to test with: image file, loop device, mount point, fstab.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use guest::{FsType, VolumeFiles, VolumeSpec};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;

/// mkfs.xfs refuses less than 300 MiB; the files are sparse.
pub(crate) const SIZE: u64 = 320 << 20;

pub(crate) struct Bench {
    directory: TempDir,
    pub(crate) spec: VolumeSpec,
    pub(crate) files: VolumeFiles,
}

impl Bench {
    /// A blank device for `fstype`, in a new mount namespace of this thread.
    pub(crate) fn new(fstype: FsType) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("these tests must be run as root");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        let device = run("losetup", &["--find", "--show", image.to_str().unwrap()]);
        let spec = VolumeSpec {
            device: PathBuf::from(device.trim()),
            mount_point: directory.path().join("mount point"),
            fstype,
            format_options: vec!["-m".into(), "5".into()],
            mount_options: "defaults,noatime".into(),
            format_timeout: Duration::from_secs(120),
            command_timeout: Duration::from_secs(60),
            num_tries: 1,
        };
        let files = VolumeFiles {
            fstab: directory.path().join("fstab"),
            formatting: directory.path().join("state/formatting"),
        };
        Self {
            directory,
            spec,
            files,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn device(&self) -> &str {
        self.spec.device.to_str().unwrap()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.spec.mount_point.join("data")
    }

    /// The device's volume gets bigger under the guest.
    pub(crate) fn grow_device(&self, size: u64) {
        OpenOptions::new()
            .write(true)
            .open(self.path("image"))
            .unwrap()
            .set_len(size)
            .unwrap();
        run("losetup", &["--set-capacity", self.device()]);
    }

    /// Writes to the device, past any file system.
    pub(crate) fn scribble(&self, offset: u64, bytes: &[u8]) {
        let mut device = OpenOptions::new()
            .write(true)
            .open(&self.spec.device)
            .unwrap();
        device.seek(SeekFrom::Start(offset)).unwrap();
        device.write_all(bytes).unwrap();
        device.sync_all().unwrap();
    }

    /// A number that changes when any byte of the device does.
    pub(crate) fn fingerprint(&self) -> u64 {
        use std::hash::{DefaultHasher, Hasher as _};
        let mut device = File::open(&self.spec.device).unwrap();
        let (mut hasher, mut block) = (DefaultHasher::new(), vec![0; 1 << 20]);
        loop {
            match device.read(&mut block).unwrap() {
                0 => return hasher.finish(),
                length => hasher.write(&block[..length]),
            }
        }
    }

    /// The file system type the kernel has mounted, as mountinfo says.
    pub(crate) fn mounted_type(&self) -> String {
        let path = self.spec.mount_point.to_str().unwrap();
        run("findmnt", &["--noheadings", "--output", "FSTYPE", path])
            .trim()
            .to_owned()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Not an assertion: a failed test must not hide its own message.
        while umount2(&self.spec.mount_point, MntFlags::MNT_DETACH).is_ok() {}
        let _detached = Command::new("losetup")
            .arg("--detach")
            .arg(&self.spec.device)
            .status();
    }
}

/// Runs a tool that must succeed; its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn uuid(device: &str) -> String {
    run("blkid", &["-p", "-o", "value", "-s", "UUID", device])
        .trim()
        .to_owned()
}

pub(crate) fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}
