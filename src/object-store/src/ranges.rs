//! Ranges of objects that are not stored in parts.

use crate::{ObjectName, ReadPart};

/// An object in ranges of `range_size` bytes; `md5` is that of the whole.
pub(crate) fn split(
    object: &ObjectName,
    size: u64,
    range_size: u64,
    md5: Option<String>,
) -> Vec<ReadPart> {
    let step = range_size.max(1);
    if size <= step {
        return vec![ReadPart {
            object: object.clone(),
            range: 0..size,
            md5,
        }];
    }
    (0..size.div_ceil(step))
        .map(|index| ReadPart {
            object: object.clone(),
            range: index * step..size.min((index + 1).saturating_mul(step)),
            md5: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::split;
    use crate::ObjectName;

    proptest! {
        #[test]
        fn ranges_cover_the_object_once(size in 0u64..100_000, step in 0u64..5_000) {
            // Small steps through a large object make too many ranges to look at.
            let step = step.max(size / 1000);
            let object = ObjectName { container: "c".to_owned(), name: "o".to_owned() };
            let parts = split(&object, size, step, Some("md5".to_owned()));
            let mut end = 0;
            for part in &parts {
                prop_assert_eq!(part.range.start, end);
                prop_assert!(part.range.end > end || size == 0);
                end = part.range.end;
            }
            prop_assert_eq!(end, size);
            prop_assert_eq!(parts.len() == 1, parts[0].md5.is_some());
        }
    }
}
