//! Manifests of static large objects, as they are written and as Swift and
//! radosgw show them.

use serde::{Deserialize, Serialize};

use crate::checksum::{is_md5, unquoted};
use crate::{ObjectName, PartReceipt, ReadPart};

/// A line of a manifest to be stored.
#[derive(Debug, Serialize)]
struct Written<'a> {
    path: String,
    etag: &'a str,
    size_bytes: u64,
}

/// The manifest of parts; `name_of` says which object holds a part.
pub(super) fn write(parts: &[PartReceipt], name_of: impl Fn(u32) -> ObjectName) -> Vec<u8> {
    let lines: Vec<Written<'_>> = parts
        .iter()
        .map(|part| Written {
            path: name_of(part.number).to_string(),
            etag: &part.md5,
            size_bytes: part.size,
        })
        .collect();
    // Strings and numbers always serialise.
    serde_json::to_vec(&lines).unwrap_or_default()
}

/// A line of a manifest that a store shows: Swift's own keys, or those it was
/// written with.
#[derive(Debug, Deserialize)]
struct Shown {
    #[serde(alias = "path")]
    name: Option<String>,
    #[serde(alias = "etag", default)]
    hash: Option<String>,
    #[serde(alias = "size_bytes")]
    bytes: Option<u64>,
    #[serde(default)]
    range: Option<String>,
    #[serde(default)]
    sub_slo: bool,
}

/// The parts that a manifest lists, if every one of them is an object (bytes
/// can be in the manifest itself) and together they have `size` bytes.
pub(super) fn read(manifest: &[u8], size: u64) -> Option<Vec<ReadPart>> {
    let lines: Vec<Shown> = serde_json::from_slice(manifest).ok()?;
    let parts: Vec<ReadPart> = lines.iter().map(part).collect::<Option<_>>()?;
    let mut total = 0u64;
    for part in &parts {
        total = total.checked_add(part.range.end.checked_sub(part.range.start)?)?;
    }
    (total == size).then_some(parts)
}

fn part(line: &Shown) -> Option<ReadPart> {
    let path = line.name.as_deref()?;
    let (container, name) = path.strip_prefix('/').unwrap_or(path).split_once('/')?;
    let range = match &line.range {
        Some(range) => {
            let (first, last) = range.split_once('-')?;
            first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?
        }
        None => 0..line.bytes?,
    };
    // The checksum is that of a whole object of bytes only.
    let whole = line.range.is_none() && !line.sub_slo;
    let md5 = line
        .hash
        .as_deref()
        .map(unquoted)
        .filter(|hash| whole && is_md5(hash))
        .map(str::to_owned);
    Some(ReadPart {
        object: ObjectName {
            container: container.to_owned(),
            name: name.to_owned(),
        },
        range,
        md5,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{read, write};
    use crate::{ObjectName, PartReceipt};

    const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn named(number: u32) -> ObjectName {
        ObjectName {
            container: "backups".to_owned(),
            name: format!("id_{number:08}"),
        }
    }

    #[test]
    fn ranges_and_nested_manifests_have_no_checksum() {
        let shown = format!(
            r#"[{{"name": "/c/a", "hash": "{MD5}", "bytes": 10, "content_type": "x"}},
                {{"name": "/c/b/d", "hash": "{MD5}", "bytes": 100, "range": "5-9"}},
                {{"name": "/c/e", "hash": "{MD5}", "bytes": 20, "sub_slo": true}}]"#
        );
        let parts = read(shown.as_bytes(), 35).unwrap();
        assert_eq!(parts[0].md5.as_deref(), Some(MD5));
        assert_eq!(parts[1].object.name, "b/d");
        assert_eq!((parts[1].range.clone(), &parts[1].md5), (5..10, &None));
        assert_eq!((parts[2].range.clone(), &parts[2].md5), (0..20, &None));
    }

    #[test]
    fn manifests_that_do_not_add_up_are_not_used() {
        for shown in [
            "",
            "{}",
            r#"[{"data": "YWJj"}]"#,
            r#"[{"name": "/c/a", "bytes": 9}]"#,
            r#"[{"name": "/c/a", "bytes": 100, "range": "9-"}]"#,
            r#"[{"name": "/c/a", "bytes": 100, "range": "9-3"}]"#,
            r#"[{"name": "/c/a", "range": "0-18446744073709551615"}]"#,
        ] {
            assert_eq!(read(shown.as_bytes(), 10), None, "{shown}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(sizes in prop::collection::vec(0u64..1 << 40, 0..50)) {
            let receipts: Vec<PartReceipt> = (0..)
                .zip(&sizes)
                .map(|(number, size)| PartReceipt {
                    number,
                    size: *size,
                    md5: MD5.to_owned(),
                    tag: String::new(),
                })
                .collect();
            let parts = read(&write(&receipts, named), sizes.iter().sum()).unwrap();
            prop_assert_eq!(parts.len(), sizes.len());
            for (part, receipt) in parts.iter().zip(&receipts) {
                prop_assert_eq!(&part.object, &named(receipt.number));
                prop_assert_eq!(part.range.clone(), 0..receipt.size);
                prop_assert_eq!(part.md5.as_deref(), Some(MD5));
            }
        }

        #[test]
        fn no_manifest_panics(shown in "\\PC{0,200}", size in any::<u64>()) {
            let _any = read(shown.as_bytes(), size);
        }
    }
}
