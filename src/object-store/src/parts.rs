//! What a complete list of parts is.

use crate::{Error, ErrorKind, ObjectName, PartReceipt, Result};

/// The size of all parts together; they must be all, and in order.
pub(crate) fn check_complete(object: &ObjectName, parts: &[PartReceipt]) -> Result<u64> {
    let mut size = 0u64;
    for (expected, part) in (0u32..).zip(parts) {
        if part.number != expected {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{object}: part {expected} was not sent"),
            ));
        }
        size = size.saturating_add(part.size);
    }
    if parts.is_empty() {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("{object}: no part was sent"),
        ));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::check_complete;
    use crate::{ErrorKind, ObjectName, PartReceipt};

    #[test]
    fn a_missing_part_is_found() {
        let object = ObjectName {
            container: "c".to_owned(),
            name: "o".to_owned(),
        };
        let part = |number| PartReceipt {
            number,
            size: 5,
            md5: String::new(),
            tag: String::new(),
        };
        assert_eq!(check_complete(&object, &[part(0), part(1)]).unwrap(), 10);
        for parts in [
            vec![],
            vec![part(1)],
            vec![part(0), part(2)],
            vec![part(1), part(0)],
        ] {
            let error = check_complete(&object, &parts).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
