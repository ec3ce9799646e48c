//! Growing. (ext4 in place needs CAP_SYS_RESOURCE, which containers often
//! lack; xfs in place needs only CAP_SYS_ADMIN, like mounting itself.)

use std::fs;

use guest::{FsType, VolumeError, filesystem_stats};

use crate::bench::{Bench, SIZE};

fn total(bench: &Bench) -> u64 {
    let stats = filesystem_stats(&bench.spec.mount_point).unwrap();
    stats.block_size * stats.total_blocks
}

async fn mounted(fstype: FsType) -> Bench {
    let bench = Bench::new(fstype);
    bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
    fs::write(bench.data(), "precious").unwrap();
    assert!(total(&bench) < SIZE);
    bench
}

#[tokio::test]
async fn unmounted_volumes_grow_and_stay_unmounted() {
    for fstype in [FsType::Ext3, FsType::Ext4, FsType::Xfs] {
        for unmount_first in [true, false] {
            let bench = mounted(fstype).await;
            if unmount_first {
                bench.spec.unmount().await.unwrap();
            }
            bench.grow_device(2 * SIZE);
            bench.spec.resize(false).await.unwrap();
            assert!(!bench.spec.is_mounted().unwrap(), "{fstype}");
            bench.spec.mount().await.unwrap();
            assert!(total(&bench) > SIZE, "{fstype}: {}", total(&bench));
            assert_eq!(fs::read_to_string(bench.data()).unwrap(), "precious");
        }
    }
}

#[tokio::test]
async fn xfs_grows_while_mounted() {
    let bench = mounted(FsType::Xfs).await;
    let open = fs::File::open(bench.data()).unwrap();
    bench.grow_device(2 * SIZE);
    for _ in 0..2 {
        bench.spec.resize(true).await.unwrap();
        assert!(bench.spec.is_mounted().unwrap());
        assert!(total(&bench) > SIZE);
    }
    drop(open);
}

#[tokio::test]
async fn a_busy_volume_does_not_grow_unmounted() {
    let bench = mounted(FsType::Ext4).await;
    let open = fs::File::open(bench.data()).unwrap();
    let error = bench.spec.resize(false).await.unwrap_err();
    assert!(matches!(error, VolumeError::Busy { .. }), "{error}");
    drop(open);
}

#[tokio::test]
async fn a_blank_device_has_nothing_to_grow() {
    let bench = Bench::new(FsType::Ext4);
    let error = bench.spec.resize(true).await.unwrap_err();
    assert!(matches!(error, VolumeError::NotFormatted { .. }), "{error}");
}
