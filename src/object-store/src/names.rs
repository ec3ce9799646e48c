//! Names in URLs and in locations.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Error, ErrorKind, ObjectName, Result};

/// Everything that RFC 3986 does not call unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A container or object name as one element of a URL's path, or a value of
/// its query.
pub(crate) fn encode(name: &str) -> String {
    utf8_percent_encode(name, RESERVED).to_string()
}

/// The part of an object's name that its parts' names begin with: upstream
/// cuts at the first dot.
pub(crate) fn base(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Name of part `number` of an object.
pub(crate) fn part_name(name: &str, number: u32) -> String {
    format!("{}_{number:08}", base(name))
}

/// Whether `candidate` is a part of the object `name`.
pub(crate) fn is_part_of(name: &str, candidate: &str) -> bool {
    candidate
        .strip_prefix(base(name))
        .and_then(|rest| rest.strip_prefix('_'))
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The object a location names: its last two path elements.
pub(crate) fn resolve(location: &str) -> Result<ObjectName> {
    let path = match location.split_once("://") {
        // The host is no container.
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => location,
    };
    let mut elements = path.rsplit('/');
    match (elements.next(), elements.next()) {
        (Some(name), Some(container)) if !name.is_empty() && !container.is_empty() => {
            Ok(ObjectName {
                container: container.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "{location:?} names no backup: expected a location that ends with \
                 <container>/<object>"
            ),
        )),
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.container, self.name)
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::{encode, is_part_of, part_name, resolve};
    use crate::ErrorKind;

    #[test]
    fn parts_are_named_as_upstream_names_them() {
        let id = "0f6e1a9e-5f7c-4c6e-9d3a-000000000001";
        let name = format!("{id}.xbstream.gz");
        assert_eq!(part_name(&name, 12), format!("{id}_00000012"));
        assert!(is_part_of(&name, &format!("{id}_00000012")));
        for other in ["_0000001", "_000000012", "_0000000x", ".xbstream.gz", ""] {
            assert!(!is_part_of(&name, &format!("{id}{other}")), "{other}");
        }
    }

    #[test]
    fn only_the_last_two_elements_of_a_location_count() {
        for location in [
            "http://swift:8080/v1/AUTH_1/backups/a.tar.gz",
            "https://other/swift/v1/AUTH_2/backups/a.tar.gz",
            "backups/a.tar.gz",
        ] {
            let object = resolve(location).unwrap();
            assert_eq!(object.container, "backups");
            assert_eq!(object.name, "a.tar.gz");
        }
    }

    #[test]
    fn a_location_without_two_elements_is_refused() {
        for location in ["", "a", "/a", "a/", "http://swift/a", "http://swift/"] {
            let error = resolve(location).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{location}");
        }
    }

    proptest! {
        #[test]
        fn encoded_names_are_one_element_and_come_back(name in "\\PC{1,64}") {
            let encoded = encode(&name);
            let one_element = encoded
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte));
            prop_assert!(one_element);
            let decoded = percent_decode_str(&encoded).decode_utf8().unwrap();
            prop_assert_eq!(decoded, name);
        }

        #[test]
        fn what_is_located_is_resolved(
            container in "[A-Za-z0-9@%+=:,._-]{1,32}",
            name in "[A-Za-z0-9._-]{1,64}",
        ) {
            let object = resolve(&format!("https://store/v1/AUTH_1/{container}/{name}")).unwrap();
            prop_assert_eq!(object.to_string(), format!("{container}/{name}"));
        }

        #[test]
        fn every_part_is_a_part(name in "[a-z0-9-]{1,36}(\\.[a-z]{1,8}){0,3}", number in 0u32..100_000_000) {
            prop_assert!(is_part_of(&name, &part_name(&name, number)));
        }
    }
}
