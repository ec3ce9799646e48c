//! GTIDs as text. Sets of MySQL's are compared by the server itself.

use std::collections::BTreeMap;
use std::fmt;

/// The last transaction of every domain: a position of MariaDB
/// (`domain-server-number`, separated by commas).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct MariadbPosition(BTreeMap<u32, (u32, u64)>);

impl MariadbPosition {
    /// Reads a position; `None` if it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut position = Self::default();
        let gtids = text.split(',').map(str::trim);
        for gtid in gtids.filter(|gtid| !gtid.is_empty()) {
            let mut parts = gtid.split('-');
            let (domain, server) = (parts.next()?, parts.next()?);
            let number = parts.next()?.parse().ok()?;
            if parts.next().is_some() {
                return None;
            }
            let last = (server.parse().ok()?, number);
            position.add(domain.parse().ok()?, last);
        }
        Some(position)
    }

    fn add(&mut self, domain: u32, last: (u32, u64)) {
        let entry = self.0.entry(domain).or_insert(last);
        if last.1 > entry.1 {
            *entry = last;
        }
    }

    /// In every domain what is further on.
    pub(super) fn furthest(mut self, other: &Self) -> Self {
        for (&domain, &last) in &other.0 {
            self.add(domain, last);
        }
        self
    }

    /// What of this position `other` has not reached, or has in another way.
    pub(super) fn beyond(&self, other: &Self) -> Self {
        let beyond = |(domain, last): &(&u32, &(u32, u64))| match other.0.get(domain) {
            None => true,
            Some(theirs) => last.1 > theirs.1 || (last.1 == theirs.1 && last.0 != theirs.0),
        };
        Self(
            self.0
                .iter()
                .filter(beyond)
                .map(|(&domain, &last)| (domain, last))
                .collect(),
        )
    }

    /// A number that grows with every transaction. Numbers of one domain grow
    /// whoever writes.
    pub(super) fn count(&self) -> u64 {
        self.0.values().map(|&(_, number)| number).sum()
    }
}

impl fmt::Display for MariadbPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (domain, (server, number))) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{server}-{number}")?;
        }
        Ok(())
    }
}

/// The last number that `source` has in a set of MySQL's
/// (`uuid[:tag]:first[-last]...`, separated by commas); 0 if none.
pub(super) fn last_number(set: &str, source: &str) -> u64 {
    let of_source = |part: &str| -> Option<u64> {
        let mut pieces = part.trim().split(':');
        if !pieces.next()?.eq_ignore_ascii_case(source) {
            return None;
        }
        // Tags (8.3) begin with a letter or an underscore.
        let intervals = pieces.filter_map(|piece| piece.rsplit('-').next()?.trim().parse().ok());
        intervals.max()
    };
    set.split(',').filter_map(of_source).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn position(text: &str) -> MariadbPosition {
        MariadbPosition::parse(text).unwrap()
    }

    #[test]
    fn positions_of_mariadb() {
        assert_eq!(position("").to_string(), "");
        assert_eq!(position("1-2-7, 0-1-5").to_string(), "0-1-5,1-2-7");
        assert_eq!(position("0-1-5,1-2-7").count(), 12);
        for text in ["0-1", "0-1-5-6", "x", "0-1-x", "-0-1-5"] {
            assert_eq!(MariadbPosition::parse(text), None, "{text}");
        }
        // Who was a source has its own transactions in one place and those of
        // its sources in another.
        let own = position("0-7-12").furthest(&position("0-3-10,4-3-1"));
        assert_eq!(own.to_string(), "0-7-12,4-3-1");
    }

    #[test]
    fn who_has_gone_on_alone_is_found() {
        let source = position("0-2-20,1-2-7");
        for (replica, beyond) in [
            ("", ""),
            ("0-1-5", ""),
            ("0-2-20,1-2-7", ""),
            ("0-1-21", "0-1-21"),
            ("0-1-20", "0-1-20"),
            ("3-1-1", "3-1-1"),
        ] {
            assert_eq!(position(replica).beyond(&source).to_string(), beyond);
        }
    }

    #[test]
    fn the_last_number_of_a_source() {
        for (set, number) in [
            ("", 0),
            (&format!("{ONE}:5"), 5),
            (&format!("{ONE}:1-5:7-9"), 9),
            (&format!("0-:1-4,\n{}:1-12", ONE.to_uppercase()), 12),
            (&format!("{ONE}:1-5:backup:1-3"), 5),
            ("4e11fa47-71ca-11e1-9e33-c80aa9429562:1-77", 0),
        ] {
            assert_eq!(last_number(set, ONE), number, "{set}");
        }
    }

    proptest! {
        #[test]
        fn a_position_is_read_as_it_was_written(
            parts in proptest::collection::btree_map(any::<u32>(), any::<(u32, u64)>(), 0..5)
        ) {
            let position = MariadbPosition(parts);
            prop_assert_eq!(MariadbPosition::parse(&position.to_string()), Some(position));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-0-9a-f:, ]{0,40}") {
            let _ = MariadbPosition::parse(&text);
            let _ = last_number(&text, ONE);
        }
    }
}
