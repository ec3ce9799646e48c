use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{Owner, check};

fn head(flags: u8, kind: u8, path: &str) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend([flags, kind]);
    out.extend((path.len() as u32).to_le_bytes());
    out.extend(path.as_bytes());
    out
}

fn data(flags: u8, path: &str, offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = head(flags, b'P', path);
    out.extend((payload.len() as u64).to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend(libdeflater::crc32(payload).to_le_bytes());
    out.extend(payload);
    out
}

fn end(path: &str) -> Vec<u8> {
    head(0, b'E', path)
}

fn sparse(path: &str, offset: u64, map: &[(u32, u32)], payload: &[u8]) -> Vec<u8> {
    let mut out = head(0, b'S', path);
    out.extend((map.len() as u32).to_le_bytes());
    out.extend((payload.len() as u64).to_le_bytes());
    out.extend(offset.to_le_bytes());
    let pairs = map
        .iter()
        .flat_map(|(skip, length)| [skip.to_le_bytes(), length.to_le_bytes()].concat());
    let all: Vec<u8> = pairs.chain(payload.iter().copied()).collect();
    out.extend(libdeflater::crc32(&all).to_le_bytes());
    out.extend(all);
    out
}

fn seek(path: &str, offset: u64) -> Vec<u8> {
    let mut out = head(0, b'S', path);
    out.extend(offset.to_le_bytes());
    out
}

fn rename(from: &str, to: &str) -> Vec<u8> {
    let mut out = head(0, b'R', from);
    out.extend((to.len() as u32).to_le_bytes());
    out.extend(to.as_bytes());
    out
}

fn unpack_into(stream: &[u8], dir: &Path) -> io::Result<()> {
    let own = std::fs::metadata(dir).unwrap();
    let owner = Owner {
        uid: own.uid(),
        gid: own.gid(),
    };
    unpack(stream, &Directory::new(dir.to_owned(), owner))
}

fn unpacked(stream: &[u8]) -> io::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    unpack_into(stream, dir.path()).map(|()| dir)
}

#[test]
fn chunks_of_several_files_take_turns() {
    let stream = [
        data(0, "ibdata1", 0, b"pages"),
        data(0, "./db/t.ibd", 0, b"more"),
        data(0, "ibdata1", 5, b" and pages"),
        end("ibdata1"),
        end("./db/t.ibd"),
        end("db/empty"),
    ]
    .concat();
    let dir = unpacked(&stream).unwrap();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("ibdata1"), b"pages and pages");
    assert_eq!(read("db/t.ibd"), b"more");
    assert_eq!(read("db/empty"), b"");
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().mode() & 0o7777;
    assert_eq!((mode("ibdata1"), mode("db")), (0o640, 0o750));
    assert_eq!(check::xbstream(&*stream).unwrap(), 3);
    // What exists is not replaced.
    assert!(unpack_into(&stream, dir.path()).is_err());
}

#[test]
fn a_stream_that_is_cut_is_an_error() {
    let stream = [
        data(0, "ibdata1", 0, b"pages"),
        end("ibdata1"),
        sparse("t", 0, &[(4, 2)], b"ab"),
        end("t"),
    ]
    .concat();
    let first = data(0, "ibdata1", 0, b"pages").len() + end("ibdata1").len();
    for cut in (1..stream.len()).filter(|cut| *cut != first) {
        assert!(check::xbstream(&stream[..cut]).is_err(), "{cut}");
        assert!(unpacked(&stream[..cut]).is_err(), "{cut}");
    }
    assert!(check::xbstream(&[][..]).is_err());
}

#[test]
fn holes_stay_holes() {
    let map = [(0, 3), (4096, 2), (10, 0)];
    let stream = [sparse("t.ibd", 100, &map, b"abcde"), end("t.ibd")].concat();
    let dir = unpacked(&stream).unwrap();
    let read = std::fs::read(dir.path().join("t.ibd")).unwrap();
    assert_eq!(read.len(), 100 + 3 + 4096 + 2);
    assert_eq!(&read[100..103], b"abc");
    assert_eq!(&read[4199..], b"de");
    let map = [(0, 4), (1, 2)];
    let lying = [sparse("t.ibd", 0, &map, b"abcde"), end("t.ibd")].concat();
    assert!(unpacked(&lying).is_err());
}

#[test]
fn what_newer_mariadb_does_to_files() {
    let stream = [
        data(0, "a", 0, b"first"),
        seek("a", 8),
        data(0, "a", 8, b"later"),
        end("a"),
        data(REWRITE, "a", 0, b"FIR"),
        end("a"),
        data(0, "b", 0, b"open"),
        rename("b", "db/c"),
        data(0, "db/c", 4, b"ed"),
        end("db/c"),
        data(0, "gone", 0, b"x"),
        head(0, b'D', "gone"),
    ]
    .concat();
    let dir = unpacked(&stream).unwrap();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("a"), b"FIRst\0\0\0later");
    assert_eq!(read("db/c"), b"opened");
    assert!(!dir.path().join("gone").exists());
    assert!(!dir.path().join("b").exists());
    assert_eq!(check::xbstream(&*stream).unwrap(), 3);
}

#[test]
fn kinds_nobody_knows() {
    let known = [data(0, "a", 0, b"x"), end("a")].concat();
    let with = |flags| [head(flags, b'Z', "a"), known.clone()].concat();
    assert!(unpacked(&with(IGNORABLE)).is_ok());
    assert!(unpacked(&with(0)).is_err());
}

#[test]
fn nothing_gets_out_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(dir.path().join("out"), b"untouched").unwrap();
    for stream in [
        [data(REWRITE, "../out", 0, b"x"), end("../out")].concat(),
        [data(0, "/etc/trove-archive-out", 0, b"x"), end("/etc/x")].concat(),
        [data(0, "a", 0, b"x"), end("a"), rename("a", "../out")].concat(),
        [data(0, "b", 0, b"x"), end("b"), rename("../out", "c")].concat(),
        head(0, b'D', "../out"),
        data(0, "", 0, b"x"),
        data(0, ".", 0, b"x"),
    ] {
        assert!(unpack_into(&stream, &inside).is_err());
    }
    assert_eq!(std::fs::read(dir.path().join("out")).unwrap(), b"untouched");
    assert!(!Path::new("/etc/trove-archive-out").exists());
}

proptest! {
    #[test]
    fn a_changed_bit_never_passes(payload in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, bit in 0u8..8) {
        let mut stream = [data(0, "f", 0, &payload), end("f")].concat();
        let start = stream.len() - end("f").len() - payload.len();
        stream[start + at.index(payload.len())] ^= 1 << bit;
        prop_assert!(check::xbstream(&*stream).is_err());
    }

    #[test]
    fn garbage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 1..300), magic: bool) {
        let stream = if magic { [MAGIC.as_slice(), &bytes].concat() } else { bytes };
        prop_assert!(check::xbstream(&*stream).is_err());
    }
}
