//! Names of files in the archive.

/// Where a segment stands in the order in which WAL is written. Timelines
/// branch off, but never go back behind their beginning: they are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment(u64);

/// Eight digits each of timeline, log and segment.
const NAME: usize = 24;

impl Segment {
    /// Of a file name: a segment's, or one that begins with it, such as
    /// `.partial` or `.backup` (PostgreSQL's `xlog_internal.h`).
    pub(crate) fn of(name: &str) -> Option<Self> {
        let (segment, rest) = name.split_at_checked(NAME)?;
        let is_digit = |c: u8| c.is_ascii_digit() || (b'A'..=b'F').contains(&c);
        let whole = segment.bytes().all(is_digit) && (rest.is_empty() || rest.starts_with('.'));
        if !whole {
            return None;
        }
        u64::from_str_radix(&segment[8..], 16).ok().map(Self)
    }

    /// The segment at which a backup began, of the name of its history file.
    pub(crate) fn of_backup(name: &str) -> Option<Self> {
        let is_backup = name.ends_with(".backup");
        is_backup.then(|| Self::of(name)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_real_archives() {
        let segment = Segment::of("0000000100000002000000FF");
        assert_eq!(segment, Some(Segment(0x2_0000_00FF)));
        // The next one, on a later timeline.
        assert!(Segment::of("000000030000000300000000") > segment);
        let backup = "000000010000000000000005.00000028.backup";
        assert_eq!(Segment::of_backup(backup), Some(Segment(5)));
        assert_eq!(Segment::of(backup), Some(Segment(5)));
        assert_eq!(
            Segment::of("000000010000000000000005.partial"),
            Some(Segment(5))
        );
        assert_eq!(Segment::of_backup("000000010000000000000005.partial"), None);
        for name in [
            "00000002.history",
            "00000001000000000000000g",
            "0000000100000000000000055",
            "",
            "00000001000000000000000\u{e4}",
            "+00000010000000000000005",
        ] {
            assert_eq!(Segment::of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read_or_refused(name in "\\PC{0,40}") {
            let _ = Segment::of(&name);
        }
    }
}
