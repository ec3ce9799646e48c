use std::os::unix::fs::{MetadataExt as _, symlink};

use nix::unistd::{getegid, geteuid};

use super::*;

fn attributes_of(path: &Path) -> Attributes {
    let metadata = fs::symlink_metadata(path).unwrap();
    Attributes {
        mode: metadata.mode() & 0o7777,
        owner: Some((metadata.uid(), metadata.gid())),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// An owner other than the tests' own where that can be set.
fn some_owner() -> (u32, u32) {
    if geteuid().is_root() {
        (1234, 2345)
    } else {
        (geteuid().as_raw(), getegid().as_raw())
    }
}

#[test]
fn writes_with_owner_and_mode_and_leaves_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my.cnf");
    let attributes = Attributes {
        mode: 0o640,
        owner: Some(some_owner()),
    };
    for contents in ["one", "two, longer", ""] {
        write_atomic(&path, contents.as_bytes(), &attributes).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), contents);
        assert_eq!(attributes_of(&path), attributes);
        assert_eq!(names(directory.path()), ["my.cnf"]);
    }
}

#[test]
fn a_link_is_replaced_and_its_target_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (target, link) = (
        directory.path().join("target"),
        directory.path().join("link"),
    );
    fs::write(&target, "old").unwrap();
    symlink(&target, &link).unwrap();
    write_atomic(
        &link,
        b"new",
        &Attributes {
            mode: 0o644,
            owner: None,
        },
    )
    .unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    assert_eq!(fs::read_to_string(&link).unwrap(), "new");
    assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn leftovers_of_a_killed_process_go_and_others_stay() {
    let directory = tempfile::tempdir().unwrap();
    let stale = ".a.cnf.trove-tmp-4294967295-0";
    for name in [stale, ".b.cnf.trove-tmp-4294967295-0", ".a.cnf"] {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    let attributes = Attributes {
        mode: 0o600,
        owner: None,
    };
    write_atomic(&directory.path().join("a.cnf"), b"", &attributes).unwrap();
    assert_eq!(
        names(directory.path()),
        [".a.cnf", ".b.cnf.trove-tmp-4294967295-0", "a.cnf"]
    );
}

#[test]
fn failed_writes_leave_the_old_file_and_no_temporary() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("occupied");
    // A directory with contents cannot be replaced by a rename.
    fs::create_dir_all(path.join("inside")).unwrap();
    let error = write_atomic(
        &path,
        b"x",
        &Attributes {
            mode: 0o600,
            owner: None,
        },
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("write {}: ", path.display())),
        "{error}"
    );
    assert_eq!(names(directory.path()), ["occupied"]);
    let missing = directory.path().join("no/such/directory");
    assert!(
        write_atomic(
            &missing,
            b"x",
            &Attributes {
                mode: 0o600,
                owner: None
            }
        )
        .is_err()
    );
}

#[test]
fn concurrent_writers_never_mix() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shared");
    std::thread::scope(|scope| {
        for letter in ["a", "b", "c", "d"] {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..25 {
                    let attributes = Attributes {
                        mode: 0o600,
                        owner: None,
                    };
                    write_atomic(path, letter.repeat(5000).as_bytes(), &attributes).unwrap();
                }
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, text[..1].repeat(5000));
    assert_eq!(names(directory.path()), ["shared"]);
}

#[test]
fn directories_get_parents_and_only_the_last_gets_the_owner() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/c");
    let attributes = Attributes {
        mode: 0o750,
        owner: Some(some_owner()),
    };
    ensure_directory(&path, &attributes).unwrap();
    assert_eq!(attributes_of(&path), attributes);
    let parent = attributes_of(&root.path().join("a/b"));
    assert_eq!(
        (parent.mode, parent.owner.unwrap().0),
        (0o755, geteuid().as_raw())
    );
    fs::write(path.join("data"), "x").unwrap();
    let before = attributes_of(&path.join("data"));
    ensure_directory(
        &path,
        &Attributes {
            mode: 0o700,
            owner: None,
        },
    )
    .unwrap();
    assert_eq!(attributes_of(&path).mode, 0o700);
    assert_eq!(
        attributes_of(&path.join("data")),
        before,
        "contents are left alone"
    );
}

#[test]
fn links_and_files_are_no_directories() {
    let root = tempfile::tempdir().unwrap();
    let attributes = Attributes {
        mode: 0o700,
        owner: None,
    };
    let (link, file) = (root.path().join("link"), root.path().join("file"));
    symlink("/tmp", &link).unwrap();
    fs::write(&file, "").unwrap();
    let error = ensure_directory(&link, &attributes)
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("it is a symbolic link"), "{error}");
    let error = ensure_directory(&file, &attributes)
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("something else has that name"), "{error}");
}

#[test]
fn optional_reads_and_removals() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    assert_eq!(read_optional(&path).unwrap(), None);
    assert!(!remove_if_exists(&path).unwrap());
    fs::write(&path, "text").unwrap();
    assert_eq!(read_optional(&path).unwrap().as_deref(), Some("text"));
    fs::write(&path, b"\xff").unwrap();
    assert!(
        read_optional(&path)
            .unwrap_err()
            .to_string()
            .starts_with("read ")
    );
    assert!(remove_if_exists(&path).unwrap());
    assert!(remove_if_exists(root.path()).is_err());
}

#[test]
fn links_of_others_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    fs::write(&secret, "transport_url").unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let link = data.join("my.cnf");
    symlink(&secret, &link).unwrap();
    let set_mode = |mode| fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
    set_mode(0o755);
    if geteuid().is_root() {
        assert_eq!(
            read_optional(&link).unwrap().as_deref(),
            Some("transport_url")
        );
        std::os::unix::fs::chown(&data, Some(1234), None).unwrap();
        assert!(read_optional(&link).is_err());
        std::os::unix::fs::chown(&data, Some(0), None).unwrap();
    }
    set_mode(0o775);
    let error = read_optional(&link).unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    assert!(!error.contains("transport_url"), "{error}");
}

#[test]
fn what_is_no_file_of_ours_does_not_keep_us_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("PG_VERSION");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = read_optional(&pipe).unwrap_err().to_string();
    assert!(error.contains("no regular file"), "{error}");
    assert!(read_optional(directory.path()).is_err());
    let large = directory.path().join("large");
    File::create(&large).unwrap().set_len(LARGEST + 1).unwrap();
    assert!(read_optional(&large).is_err());
    File::create(&large).unwrap().set_len(LARGEST).unwrap();
    assert!(read_optional(&large).unwrap().is_some());
}
