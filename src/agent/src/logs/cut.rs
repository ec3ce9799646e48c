//! Where an object ends: after a line, where there is one.

/// The longest code point of UTF-8, less one byte.
const UNFINISHED: usize = 3;

/// Bytes at the start of `piece` that make the next object, and the lines in
/// them. `is_last` tells that the log has no more for now.
///
/// Objects end with a line. One that is longer than an object is cut, between
/// two characters if it is text: clients decode each object on its own.
pub fn next_object(piece: &[u8], is_last: bool) -> (usize, u64) {
    let whole_lines = piece.iter().rposition(|byte| *byte == b'\n');
    let end = match whole_lines {
        _ if is_last => before_unfinished(piece),
        Some(newline) => newline + 1,
        None => before_unfinished(piece),
    };
    (end, lines(&piece[..end]))
}

fn lines(object: &[u8]) -> u64 {
    let ends = object.iter().filter(|byte| **byte == b'\n').count() as u64;
    ends + u64::from(object.last().is_some_and(|last| *last != b'\n'))
}

/// The end of `piece` without the start of a character whose rest is to come;
/// all of it when it is nothing else.
fn before_unfinished(piece: &[u8]) -> usize {
    let from = piece.len().saturating_sub(UNFINISHED);
    let cut = piece[from..].utf8_chunks().last().and_then(|chunk| {
        // Only the start of a character at the very end is a chunk of its own
        // that more bytes could make valid.
        let invalid = chunk.invalid();
        let start = piece.len() - invalid.len();
        (!invalid.is_empty() && needs_more(invalid)).then_some(start)
    });
    match cut {
        Some(0) | None => piece.len(),
        Some(cut) => cut,
    }
}

/// Whether `bytes` are the start of a character.
fn needs_more(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn objects_end_with_a_line() {
        assert_eq!(next_object(b"a\nb\nc", false), (4, 2));
        assert_eq!(next_object(b"a\nb\nc", true), (5, 3));
        assert_eq!(next_object(b"a\nb\n", true), (4, 2));
        assert_eq!(next_object(b"abc", false), (3, 1));
    }

    #[test]
    fn a_line_that_is_cut_is_cut_between_characters() {
        let line = "aä€😀".as_bytes();
        for (end, cut) in [
            (2, 1),
            (3, 3),
            (4, 3),
            (5, 3),
            (6, 6),
            (7, 6),
            (9, 6),
            (10, 10),
        ] {
            assert_eq!(next_object(&line[..end], false).0, cut, "{end}");
        }
        // What is no text is cut anywhere.
        assert_eq!(next_object(b"a\xff", false).0, 2);
        assert_eq!(next_object(b"\xc3", true).0, 1);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_text_stays_text(text in "[aä€😀\n]{1,40}", limit in 4usize..20) {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let piece = &rest[..rest.len().min(limit)];
                let (end, lines) = next_object(piece, piece.len() == rest.len());
                prop_assert!(end > 0 && end <= piece.len());
                let object = std::str::from_utf8(&piece[..end]);
                prop_assert_eq!(object.map(|text| text.lines().count() as u64), Ok(lines));
                rest = &rest[end..];
            }
        }

        #[test]
        fn any_bytes_get_on(piece in prop::collection::vec(any::<u8>(), 1..40), last in any::<bool>()) {
            let (end, _) = next_object(&piece, last);
            prop_assert!(end > 0 && end <= piece.len());
        }
    }
}
