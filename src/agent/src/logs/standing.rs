//! How a log stands: what of it is published, and what the API calls that.

use super::{Facts, Metafile};

/// The state of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// In the API's words.
    pub status: &'static str,
    /// Bytes that are published.
    pub published: u64,
    /// Bytes that the next publish has to store.
    pub pending: u64,
    /// Whether the file is another one than what is published of it.
    pub rotated: bool,
}

/// Compares a file with what is published (`trove/guestagent/guest_log.py`).
/// `waits` tells that the log begins with the server's next start.
pub fn stand(
    enabled: bool,
    waits: bool,
    file: Option<&Facts>,
    meta: Option<&Metafile>,
) -> Standing {
    let size = file.map_or(0, |facts| facts.size);
    let published = match file {
        Some(_) => meta.map_or(0, |meta| meta.log_size),
        None => 0,
    };
    let rotated = file
        .zip(meta)
        .is_some_and(|(facts, meta)| is_another(facts, meta));
    let status = match (published, size) {
        _ if waits => "Restart Required",
        _ if !enabled => "Disabled",
        _ if rotated => "Rotated",
        (0, 0) => "Enabled",
        (0, _) => "Ready",
        (published, size) if size > published => "Partial",
        _ => "Published",
    };
    Standing {
        status,
        published,
        pending: match rotated {
            true => size,
            false => size.saturating_sub(published),
        },
        rotated,
    }
}

/// Whether the file has been begun anew since.
fn is_another(facts: &Facts, meta: &Metafile) -> bool {
    if meta.log_size == 0 {
        return false;
    }
    let first_line = meta.log_header_digest.as_ref();
    // Absent from a metafile of upstream's agent.
    let tail = meta.log_tail_digest.as_ref();
    facts.size < meta.log_size
        || first_line.is_some_and(|digest| *digest != facts.first_line)
        || tail.is_some_and(|digest| Some(digest) != facts.before.as_ref())
}

#[cfg(test)]
mod tests {
    use super::super::file::digest;
    use super::super::tests::log;
    use super::*;

    fn facts(content: &[u8], place: usize) -> Facts {
        let line = content.split_inclusive(|byte| *byte == b'\n').next();
        Facts {
            size: content.len() as u64,
            first_line: digest(line.unwrap_or_default()),
            before: content.get(..place).map(digest),
        }
    }

    fn meta(published: &[u8]) -> Metafile {
        Metafile {
            log_size: published.len() as u64,
            log_header_digest: Some(facts(published, 0).first_line),
            log_tail_digest: Some(digest(published)),
            ..Metafile::new(&log())
        }
    }

    #[test]
    fn words_of_the_api() {
        let published = b"one\ntwo\n";
        for (content, expected) in [
            (&b"one\ntwo\n"[..], ("Published", 8, 0)),
            (b"one\ntwo\nthree\n", ("Partial", 8, 6)),
            (b"one\n", ("Rotated", 8, 4)),
            (b"uno\ntwo\nthree\n", ("Rotated", 8, 14)),
            // The same first line, as servers write it.
            (b"one\ntoo\nthree\n", ("Rotated", 8, 14)),
        ] {
            let found = stand(
                true,
                false,
                Some(&facts(content, 8)),
                Some(&meta(published)),
            );
            assert_eq!((found.status, found.published, found.pending), expected);
        }
        for (content, expected) in [(&b""[..], ("Enabled", 0, 0)), (b"one\n", ("Ready", 0, 4))] {
            let found = stand(true, false, Some(&facts(content, 0)), None);
            assert_eq!((found.status, found.published, found.pending), expected);
        }
    }

    #[test]
    fn a_log_without_a_file_has_nothing() {
        let found = stand(true, false, None, Some(&meta(b"one\n")));
        assert_eq!(
            (found.status, found.published, found.pending),
            ("Enabled", 0, 0)
        );
    }

    #[test]
    fn a_log_that_is_off_says_so() {
        let one = facts(b"one\n", 0);
        assert_eq!(stand(false, false, Some(&one), None).status, "Disabled");
        assert_eq!(
            stand(false, true, Some(&one), None).status,
            "Restart Required"
        );
    }
}
