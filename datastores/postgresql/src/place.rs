//! Places in the WAL, and the names of the files that hold them.

use std::fmt;

/// A place in the WAL: bytes since its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lsn(pub(crate) u64);

impl Lsn {
    /// Reads the server's notation, such as `16/B374D848`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.trim().split_once('/')?;
        let half = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_hexdigit());
            digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
        };
        Some(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// How the WAL of a server is cut into files (`wal_segment_size`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut(u64);

/// What `initdb` can be asked for.
const SIZES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

impl Cut {
    /// What servers have unless `initdb` was asked for something else.
    pub(crate) const DEFAULT: Self = Self(16 << 20);

    /// Files of `size` bytes.
    pub(crate) fn of(size: u64) -> Option<Self> {
        (SIZES.contains(&size) && size.is_power_of_two()).then_some(Self(size))
    }

    /// Bytes of a file.
    pub(crate) fn size(self) -> u64 {
        self.0
    }

    /// The number of the file that begins at or before a place.
    pub(crate) fn holding(self, place: Lsn) -> u64 {
        place.0 / self.0
    }

    /// The number of the last file of WAL that ends at a place.
    pub(crate) fn ending(self, place: Lsn) -> u64 {
        place.0.saturating_sub(1) / self.0
    }

    /// The name of a file (PostgreSQL's `XLogFileName`).
    pub(crate) fn name(self, timeline: u32, number: u64) -> String {
        let per_log = (1 << 32) / self.0;
        format!(
            "{timeline:08X}{:08X}{:08X}",
            number / per_log,
            number % per_log
        )
    }

    /// Whether a file of WAL may have this name, however it is cut.
    pub(crate) fn is_name(self, name: &str) -> bool {
        self.parse(name).is_some()
    }

    /// Timeline and number of a file by its name.
    pub(crate) fn parse(self, name: &str) -> Option<(u32, u64)> {
        let is_digit = |c: u8| c.is_ascii_digit() || (b'A'..=b'F').contains(&c);
        if name.len() != 24 || !name.bytes().all(is_digit) {
            return None;
        }
        let part = |at: usize| u64::from_str_radix(&name[at..at + 8], 16).ok();
        let (log, index, per_log) = (part(8)?, part(16)?, (1 << 32) / self.0);
        let timeline = u32::try_from(part(0)?).ok()?;
        (index < per_log).then_some((timeline, log * per_log + index))
    }
}

/// From which timeline which, up to one of them: where every file of the WAL
/// is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descent {
    /// Timelines and where they begin, oldest first.
    lines: Vec<(u32, Lsn)>,
}

impl Descent {
    /// Of a timeline, by its history file; one without is the first of all.
    pub(crate) fn of(timeline: u32, history: &str) -> Option<Self> {
        let mut lines = Vec::new();
        let mut begin = Lsn(0);
        for line in history.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut fields = line.split_whitespace();
            lines.push((fields.next()?.parse().ok()?, begin));
            begin = Lsn::parse(fields.next()?)?;
        }
        lines.push((timeline, begin));
        let in_order = lines.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
        in_order.then_some(Self { lines })
    }

    /// Whether WAL of `timeline` belongs to it up to `place`.
    pub(crate) fn passes(&self, timeline: u32, place: Lsn) -> bool {
        let Some(at) = self.lines.iter().position(|line| line.0 == timeline) else {
            return false;
        };
        self.lines.get(at + 1).is_none_or(|next| place <= next.1)
    }

    /// The timeline of a file. One in which a timeline begins is complete only
    /// as that timeline's.
    pub(crate) fn timeline_of(&self, number: u64, cut: Cut) -> u32 {
        let begun = |line: &&(u32, Lsn)| cut.holding(line.1) <= number;
        let line = self.lines.iter().rev().find(begun);
        line.unwrap_or(&self.lines[0]).0
    }
}

/// The name of the history file of a timeline.
pub(crate) fn history_name(timeline: u32) -> String {
    format!("{timeline:08X}.history")
}

/// The timeline of a history file.
pub(crate) fn timeline_of_history(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".history")?;
    let timeline = u32::from_str_radix(digits, 16).ok()?;
    (history_name(timeline) == name).then_some(timeline)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lsn(text: &str) -> Lsn {
        Lsn::parse(text).unwrap()
    }

    #[test]
    fn places_of_real_servers() {
        assert_eq!(lsn("0/2000138"), Lsn(0x2000138));
        assert_eq!(lsn("16/B374D848").to_string(), "16/B374D848");
        // As newer releases pad it.
        assert_eq!(lsn("0/02000138"), lsn("0/2000138"));
        for text in ["", "0", "/", "0/", "0/+1", "0/123456789", "g/1"] {
            assert_eq!(Lsn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_real_files() {
        let cut = Cut::of(16 << 20).unwrap();
        let name = "00000001000000000000000A";
        assert_eq!(cut.name(1, 10), name);
        assert_eq!(cut.parse(name), Some((1, 10)));
        assert_eq!(cut.name(3, 0x2FF), "0000000300000002000000FF");
        assert_eq!(cut.parse("000000030000000200000100"), None);
        assert_eq!(cut.parse("00000001000000000000000A.partial"), None);
        assert_eq!(cut.ending(lsn("0/3000000")), 2);
        assert_eq!(cut.holding(lsn("0/3000000")), 3);
        assert_eq!(cut.ending(lsn("0/3000001")), 3);
        for size in [0, 1 << 19, (16 << 20) + 1, 1 << 31] {
            assert_eq!(Cut::of(size), None, "{size}");
        }
    }

    #[test]
    fn every_file_is_on_one_timeline() {
        let cut = Cut::of(16 << 20).unwrap();
        let history = "1\t0/3000100\tno recovery target specified\n\n# a word\n2\t0/5000000\tx\n";
        let descent = Descent::of(3, history).unwrap();
        let of = |number| descent.timeline_of(number, cut);
        assert_eq!(
            [of(0), of(2), of(3), of(4), of(5), of(9)],
            [1, 1, 2, 2, 3, 3]
        );
        assert!(descent.passes(1, lsn("0/3000100")));
        assert!(!descent.passes(1, lsn("0/3000101")));
        assert!(descent.passes(3, lsn("9/0")));
        assert!(!descent.passes(4, lsn("0/1")));
        assert_eq!(Descent::of(1, "").unwrap().timeline_of(7, cut), 1);
        for broken in ["1", "x\t0/1", "1\t0-1", "4\t0/1", "1\t0/5\n2\t0/4"] {
            assert_eq!(Descent::of(3, broken), None, "{broken}");
        }
        assert_eq!(timeline_of_history("0000001A.history"), Some(26));
        assert_eq!(timeline_of_history("0000001a.history"), None);
        assert_eq!(timeline_of_history("1A.history"), None);
    }

    proptest! {
        #[test]
        fn names_come_back(timeline: u32, number in 0u64..1 << 30, power in 20u32..=30) {
            let cut = Cut::of(1 << power).unwrap();
            let number = number % (u64::from(u32::MAX) * ((1 << 32) >> power));
            prop_assert_eq!(cut.parse(&cut.name(timeline, number)), Some((timeline, number)));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = Lsn::parse(&text);
            let _ = Cut::of(16 << 20).unwrap().parse(&text);
            let _ = Descent::of(2, &text);
            let _ = timeline_of_history(&text);
        }

        #[test]
        fn places_come_back(place: u64) {
            prop_assert_eq!(Lsn::parse(&Lsn(place).to_string()), Some(Lsn(place)));
        }
    }
}
