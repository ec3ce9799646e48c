//! Mounting, unmounting, and the line in fstab.

use std::{fs, os::unix::fs::symlink, time::Duration};

use guest::{FsType, MountState, VolumeError, filesystem_stats};
use nix::mount::{MsFlags, mount};

use crate::bench::{Bench, lines, run, uuid};

#[tokio::test]
async fn a_blank_device_is_formatted_once_and_keeps_its_data() {
    for fstype in [FsType::Ext3, FsType::Ext4, FsType::Xfs] {
        let bench = Bench::new(fstype);
        fs::write(&bench.files.fstab, "# kept\ntmpfs /tmp tmpfs rw 0 0").unwrap();
        let state = bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
        assert_eq!(state, MountState::Formatted);
        assert_eq!(bench.mounted_type(), fstype.as_str());
        fs::write(bench.data(), "precious").unwrap();

        let recorded = lines(&bench.files.fstab);
        let pass = if fstype == FsType::Xfs { 0 } else { 2 };
        let expected = format!(
            "UUID={}\t{}\t{fstype}\tdefaults,noatime,nofail,x-systemd.device-timeout=60s\t0\t{pass}",
            uuid(bench.device()),
            bench
                .spec
                .mount_point
                .display()
                .to_string()
                .replace(' ', "\\040"),
        );
        assert_eq!(recorded, ["# kept", "tmpfs /tmp tmpfs rw 0 0", &expected]);

        let state = bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
        assert_eq!(state, MountState::AlreadyMounted);
        for _ in 0..2 {
            bench.spec.unmount().await.unwrap();
            assert!(!bench.spec.is_mounted().unwrap());
        }
        let state = bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
        assert_eq!(state, MountState::Mounted);
        assert_eq!(fs::read_to_string(bench.data()).unwrap(), "precious");
        assert_eq!(lines(&bench.files.fstab), recorded);
        run(
            "findmnt",
            &[
                "--verify",
                "--tab-file",
                bench.files.fstab.to_str().unwrap(),
            ],
        );
    }
}

#[tokio::test]
async fn a_frozen_file_system_stands_still_until_it_is_thawed() {
    for fstype in [FsType::Ext4, FsType::Xfs] {
        let bench = Bench::new(fstype);
        bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
        let point = &bench.spec.mount_point;
        guest::freeze(point).await.unwrap();
        // Whoever writes now waits.
        let data = bench.data();
        let write = std::thread::spawn(move || fs::write(data, "late"));
        guest::freeze(point).await.unwrap_err();
        assert!(!write.is_finished());
        guest::thaw(point).await.unwrap();
        write.join().unwrap().unwrap();
        guest::thaw(point).await.unwrap_err();
        assert_eq!(fs::read_to_string(bench.data()).unwrap(), "late");
    }
}

#[tokio::test]
async fn the_line_of_an_older_agent_is_replaced() {
    let bench = Bench::new(FsType::Ext4);
    // Made by Trove up to 2025.1, whose default was ext3.
    run("mkfs.ext3", &["-q", "-m", "5", bench.device()]);
    let point = bench
        .spec
        .mount_point
        .display()
        .to_string()
        .replace(' ', "\\040");
    let old = format!(
        "LABEL=root\t/\text4\trw\t0 1\n{}\t{point}\text3\tdefaults\t0\t0",
        bench.device()
    );
    fs::write(&bench.files.fstab, old).unwrap();
    let state = bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
    assert_eq!(state, MountState::Mounted);
    assert_eq!(bench.mounted_type(), "ext3");
    let recorded = lines(&bench.files.fstab);
    assert_eq!(recorded.len(), 2, "{recorded:?}");
    assert!(recorded[1].starts_with(&format!("UUID={}\t{point}\text3\t", uuid(bench.device()))));
}

#[tokio::test]
async fn mount_neither_formats_nor_records() {
    let bench = Bench::new(FsType::Ext4);
    let before = bench.fingerprint();
    let error = bench.spec.mount().await.unwrap_err();
    assert!(matches!(error, VolumeError::NotFormatted { .. }), "{error}");
    assert_eq!(bench.fingerprint(), before);
    run("mkfs.ext4", &["-q", bench.device()]);
    for _ in 0..2 {
        bench.spec.mount().await.unwrap();
        assert!(bench.spec.is_mounted().unwrap());
    }
    assert!(!bench.files.fstab.exists());
    let stats = filesystem_stats(&bench.spec.mount_point).unwrap();
    assert!(
        stats.total_blocks * stats.block_size > 200 << 20,
        "{stats:?}"
    );
    assert!(
        stats.avail_blocks < stats.free_blocks,
        "ext4 reserves blocks: {stats:?}"
    );
}

#[tokio::test]
async fn something_else_at_the_mount_point_is_an_error() {
    let bench = Bench::new(FsType::Ext4);
    fs::create_dir(&bench.spec.mount_point).unwrap();
    let none: Option<&str> = None;
    mount(
        Some("intruder"),
        &bench.spec.mount_point,
        Some("tmpfs"),
        MsFlags::empty(),
        none,
    )
    .unwrap();
    for error in [
        bench
            .spec
            .ensure_mounted_with(&bench.files)
            .await
            .unwrap_err(),
        bench.spec.unmount().await.unwrap_err(),
        bench.spec.is_mounted().unwrap_err(),
    ] {
        assert!(matches!(error, VolumeError::Occupied { .. }), "{error}");
        assert!(error.to_string().contains("intruder"), "{error}");
    }
}

#[tokio::test]
async fn a_device_in_use_elsewhere_is_left_alone() {
    let bench = Bench::new(FsType::Ext4);
    run("mkfs.ext4", &["-q", bench.device()]);
    let elsewhere = bench.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    run("mount", &[bench.device(), elsewhere.to_str().unwrap()]);
    let error = bench
        .spec
        .ensure_mounted_with(&bench.files)
        .await
        .unwrap_err();
    assert!(matches!(error, VolumeError::InUse { .. }), "{error}");
    assert!(
        error.to_string().contains(elsewhere.to_str().unwrap()),
        "{error}"
    );
    run("umount", &[elsewhere.to_str().unwrap()]);
}

#[tokio::test]
async fn a_busy_volume_names_who_uses_it() {
    let bench = Bench::new(FsType::Ext4);
    bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
    let mut holder = std::process::Command::new("sleep")
        .arg("600")
        .current_dir(&bench.spec.mount_point)
        .spawn()
        .unwrap();
    let error = bench.spec.unmount().await.unwrap_err();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(matches!(error, VolumeError::Busy { .. }), "{error}");
    assert!(
        error
            .to_string()
            .ends_with(&format!("sleep (process {})", holder.id())),
        "{error}"
    );
    bench.spec.unmount().await.unwrap();
}

#[tokio::test]
async fn mounts_over_mounts_are_all_taken_off() {
    let bench = Bench::new(FsType::Ext4);
    bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
    let point = bench.spec.mount_point.to_str().unwrap();
    run("mount", &["--bind", point, point]);
    bench.spec.unmount().await.unwrap();
    assert!(!bench.spec.is_mounted().unwrap());
}

#[tokio::test]
async fn a_device_that_shows_up_later_is_awaited() {
    let mut bench = Bench::new(FsType::Ext4);
    let node = bench.path("by-id").join("volume");
    let device = std::mem::replace(&mut bench.spec.device, node.clone());
    let appear = async {
        // First the directory, then the node in it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::create_dir(node.parent().unwrap()).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        symlink(&device, &node).unwrap();
    };
    let files = bench.files.clone();
    let (state, ()) = tokio::join!(bench.spec.ensure_mounted_with(&files), appear);
    assert_eq!(state.unwrap(), MountState::Formatted);
    assert!(bench.spec.is_mounted().unwrap());
    bench.spec.unmount().await.unwrap();
    bench.spec.device = device;
}
