//! What is on a device decides what may be done to it.

use std::{fs, os::unix::fs::OpenOptionsExt as _};

use guest::{CommandError, FsType, MountState, VolumeError};

use crate::bench::{Bench, SIZE, run};

/// Asserts that the volume is refused, and that not one byte of it changed.
async fn refused(bench: &Bench) -> VolumeError {
    let before = bench.fingerprint();
    let error = bench
        .spec
        .ensure_mounted_with(&bench.files)
        .await
        .unwrap_err();
    assert_eq!(
        bench.fingerprint(),
        before,
        "the device was written to: {error}"
    );
    assert!(!bench.spec.is_mounted().unwrap());
    assert!(!bench.files.fstab.exists());
    error
}

#[tokio::test]
async fn every_foreign_signature_is_refused_and_named() {
    type Maker = (&'static str, fn(&Bench));
    let makers: [Maker; 5] = [
        ("xfs", |bench| {
            drop(run("mkfs.xfs", &["-q", bench.device()]))
        }),
        ("swap", |bench| drop(run("mkswap", &[bench.device()]))),
        ("ext2", |bench| {
            drop(run("mkfs.ext2", &["-q", bench.device()]))
        }),
        ("crypto_LUKS", |bench| {
            // LUKS on-disk format 1.1: magic, version 1, and a UUID at 168.
            bench.scribble(0, b"LUKS\xba\xbe\x00\x01");
            bench.scribble(168, b"5f565c15-ad01-467e-9e09-a8a2b5f7757f");
        }),
        ("a partition table (dos)", |bench| {
            // One Linux partition of 1 MiB at 1 MiB, and the boot signature.
            let mut entry = [0; 16];
            entry[4] = 0x83;
            entry[8..12].copy_from_slice(&2048u32.to_le_bytes());
            entry[12..].copy_from_slice(&2048u32.to_le_bytes());
            bench.scribble(446, &entry);
            bench.scribble(510, &[0x55, 0xAA]);
        }),
    ];
    for (name, make) in makers {
        let bench = Bench::new(FsType::Ext4);
        make(&bench);
        let error = refused(&bench).await;
        assert!(error.is_permanent(), "{error}");
        match &error {
            VolumeError::Foreign { found, .. } => assert_eq!(found, name),
            other => panic!("{name}: {other}"),
        }
        let text = error.to_string();
        assert!(
            text.contains(bench.device()) && text.contains("wipefs"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn ext4_is_foreign_where_xfs_is_wanted() {
    let bench = Bench::new(FsType::Xfs);
    run("mkfs.ext4", &["-q", bench.device()]);
    let error = refused(&bench).await;
    assert!(matches!(error, VolumeError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn data_without_a_signature_is_not_blank() {
    for offset in [0, 4096, (1 << 20) - 1, SIZE - (64 << 10), SIZE - 1] {
        let bench = Bench::new(FsType::Ext4);
        bench.scribble(offset, b"x");
        let error = refused(&bench).await;
        assert!(
            matches!(error, VolumeError::NotBlank { offset: found, .. } if found == offset),
            "{offset}: {error}"
        );
        // What the message advises does help.
        run("blkdiscard", &["--zeroout", bench.device()]);
        let state = bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
        assert_eq!(state, MountState::Formatted);
    }
}

#[tokio::test]
async fn contradicting_signatures_are_refused() {
    let bench = Bench::new(FsType::Ext4);
    run("mkfs.xfs", &["-q", bench.device()]);
    let mut sector = fs::read(bench.path("image")).unwrap();
    sector.truncate(512);
    run("mkfs.ext4", &["-q", "-F", bench.device()]);
    // ext4 leaves the first kilobyte alone: both superblocks are valid now.
    bench.scribble(0, &sector);
    let error = refused(&bench).await;
    assert!(matches!(error, VolumeError::Ambiguous { .. }), "{error}");
}

#[tokio::test]
async fn an_unreadable_device_is_never_blank() {
    let bench = Bench::new(FsType::Ext4);
    // Reads of a loop device past the end of its file are I/O errors.
    let image = fs::OpenOptions::new()
        .write(true)
        .open(bench.path("image"))
        .unwrap();
    image.set_len(0).unwrap();
    let error = bench
        .spec
        .ensure_mounted_with(&bench.files)
        .await
        .unwrap_err();
    assert!(matches!(error, VolumeError::File(_)), "{error:?}");
    assert_eq!(image.metadata().unwrap().len(), 0, "nothing was written");
}

#[tokio::test]
async fn a_damaged_file_system_is_left_to_a_human() {
    let bench = Bench::new(FsType::Ext4);
    run("mkfs.ext4", &["-q", bench.device()]);
    run("debugfs", &["-w", "-R", "clri <2>", bench.device()]);
    run(
        "debugfs",
        &["-w", "-R", "set_super_value state 2", bench.device()],
    );
    let error = bench
        .spec
        .ensure_mounted_with(&bench.files)
        .await
        .unwrap_err();
    assert!(matches!(error, VolumeError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("e2fsck"), "{error}");
    assert!(!bench.spec.is_mounted().unwrap());
}

#[tokio::test]
async fn a_failed_mkfs_does_not_block_the_next_one() {
    let mut bench = Bench::new(FsType::Ext4);
    // mke2fs finds out that it cannot copy these files when all else is written.
    let bad = vec!["-d".into(), "/no/such/directory".into()];
    let good = std::mem::replace(&mut bench.spec.format_options, bad);
    let error = bench
        .spec
        .ensure_mounted_with(&bench.files)
        .await
        .unwrap_err();
    assert!(
        matches!(error, VolumeError::Command(CommandError::Failed { .. })),
        "{error}"
    );
    bench.spec.format_options = good;
    let state = bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
    assert_eq!(state, MountState::Formatted);
}

/// Lets the volume be formatted until mkfs is about to run, and ends it there
/// as the end of the process would.
async fn interrupt(bench: &Bench) {
    let begun = async {
        while !bench.files.formatting.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = begun => {}
        state = bench.spec.ensure_mounted_with(&bench.files) => panic!("not interrupted: {state:?}"),
    }
    // mkfs has the device for itself until it is really gone.
    let exclusive = || {
        let mut options = fs::OpenOptions::new();
        options
            .read(true)
            .custom_flags(nix::libc::O_EXCL)
            .open(&bench.spec.device)
    };
    while exclusive().is_err() {
        tokio::task::yield_now().await;
    }
    // What is left depends on the moment; this much is never there by chance.
    bench.scribble(5000, b"half a group descriptor");
}

#[tokio::test]
async fn an_interrupted_mkfs_is_done_again() {
    let bench = Bench::new(FsType::Xfs);
    interrupt(&bench).await;
    let state = bench.spec.ensure_mounted_with(&bench.files).await.unwrap();
    assert_eq!(state, MountState::Formatted);
    assert!(!bench.files.formatting.exists());
}

#[tokio::test]
async fn the_mark_of_an_interrupted_mkfs_is_for_that_volume_only() {
    let bench = Bench::new(FsType::Ext4);
    interrupt(&bench).await;
    bench.grow_device(2 * SIZE);
    run("blkdiscard", &["--zeroout", bench.device()]);
    bench.scribble(5000, b"data of another volume");
    let error = refused(&bench).await;
    assert!(
        matches!(error, VolumeError::NotBlank { offset: 5000, .. }),
        "{error}"
    );
    // Nor does plain mounting ever act upon it.
    bench.grow_device(SIZE);
    assert!(bench.spec.mount().await.is_err());
    assert!(bench.files.formatting.exists());
}

#[tokio::test]
async fn mkfs_errors_are_quoted() {
    let mut bench = Bench::new(FsType::Ext4);
    bench.spec.format_options = vec!["-E".into(), "no-such-option".into()];
    let error = bench
        .spec
        .ensure_mounted_with(&bench.files)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("mkfs.ext4: exit status: 1: "), "{error}");
    assert!(error.contains("no-such-option"), "{error}");
}
