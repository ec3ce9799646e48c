//! What Swift keeps with an object and other stores do not: a small document
//! beside it, written last.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Metadata, ObjectInfo, ObjectName, PartReceipt, ReadPart, Result};

/// The document. Unknown keys are ignored, so that it can grow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    pub(crate) size: u64,
    pub(crate) checksum: String,
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) parts: Vec<Part>,
    /// The store's own name for this very contents; empty where there is none.
    #[serde(default)]
    pub(crate) tag: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) size: u64,
    pub(crate) md5: String,
}

impl Sidecar {
    /// That of an object sent at once.
    pub(crate) fn whole(size: u64, md5: String, metadata: Metadata, tag: String) -> Self {
        Self {
            size,
            checksum: md5.clone(),
            metadata,
            parts: vec![Part { size, md5 }],
            tag,
        }
    }

    /// That of an object sent in parts.
    pub(crate) fn of_parts(parts: &[PartReceipt], metadata: Metadata, tag: String) -> Self {
        Self {
            size: parts.iter().map(|part| part.size).sum(),
            checksum: crate::checksum::of_parts(parts.iter().map(|part| part.md5.as_str())),
            metadata,
            parts: parts
                .iter()
                .map(|part| Part {
                    size: part.size,
                    md5: part.md5.clone(),
                })
                .collect(),
            tag,
        }
    }

    pub(crate) fn parse(object: &ObjectName, text: &[u8]) -> Result<Self> {
        let sidecar: Self = serde_json::from_slice(text).map_err(|error| {
            corrupt(
                object,
                &format!("what is known of it cannot be read: {error}"),
            )
        })?;
        let mut total = Some(0u64);
        for part in &sidecar.parts {
            total = total.and_then(|total| total.checked_add(part.size));
        }
        if total != Some(sidecar.size) {
            return Err(corrupt(object, "its parts do not add up to its size"));
        }
        Ok(sidecar)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Strings and numbers always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn info(self) -> ObjectInfo {
        ObjectInfo {
            size: self.size,
            checksum: self.checksum,
            metadata: self.metadata,
        }
    }

    /// The parts as ranges of the object.
    pub(crate) fn read_parts(&self, object: &ObjectName) -> Vec<ReadPart> {
        let mut begin = 0;
        self.parts
            .iter()
            .map(|part| {
                let range = begin..begin + part.size;
                begin = range.end;
                ReadPart {
                    object: object.clone(),
                    range,
                    md5: Some(part.md5.clone()),
                }
            })
            .collect()
    }
}

/// The object is not what it should be.
pub(crate) fn corrupt(object: &ObjectName, text: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{object}: {text}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Sidecar;
    use crate::{ErrorKind, Metadata, ObjectName, PartReceipt};

    fn object() -> ObjectName {
        ObjectName {
            container: "c".to_owned(),
            name: "o".to_owned(),
        }
    }

    #[test]
    fn documents_that_do_not_add_up_are_refused() {
        for text in [
            "",
            "{}",
            r#"{"size": 3, "checksum": "", "parts": []}"#,
            r#"{"size": 3, "checksum": "", "parts": [{"size": 2, "md5": ""}]}"#,
            r#"{"size": 0, "checksum": "", "parts":
                [{"size": 18446744073709551615, "md5": ""}, {"size": 1, "md5": ""}]}"#,
        ] {
            let error = Sidecar::parse(&object(), text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            sizes in prop::collection::vec(0u64..1 << 40, 1..20),
            metadata in prop::collection::btree_map("[a-z_]{1,9}", "\\PC{0,20}", 0..4),
        ) {
            let receipts: Vec<PartReceipt> = (0..)
                .zip(&sizes)
                .map(|(number, size)| PartReceipt {
                    number,
                    size: *size,
                    md5: format!("{number:032x}"),
                    tag: String::new(),
                })
                .collect();
            let metadata: Metadata = metadata;
            let written = Sidecar::of_parts(&receipts, metadata, "tag".to_owned());
            let read = Sidecar::parse(&object(), &written.to_bytes()).unwrap();
            let mut end = 0;
            for (part, receipt) in read.read_parts(&object()).iter().zip(&receipts) {
                prop_assert_eq!(part.range.start, end);
                end = part.range.end;
                prop_assert_eq!(part.md5.as_deref(), Some(receipt.md5.as_str()));
            }
            prop_assert_eq!(end, read.size);
            prop_assert_eq!(read, written);
        }
    }
}
