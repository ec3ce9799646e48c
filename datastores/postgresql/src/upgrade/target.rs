//! Whether what is installed is what the control plane asks for.

use datastore::{Error, ErrorKind, Result};
use managed::Target;

use crate::ServerVersion;

/// Refuses what is newer than the installed server of its series.
pub(super) fn check(target: &Target, installed: &ServerVersion) -> Result<()> {
    match target.minor.is_some_and(|minor| minor > installed.minor) {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::NotSupported,
            format!(
                "PostgreSQL {target} is not installed, there is {installed}: rebuild the instance \
                 with a newer image"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_is_reached() {
        let installed = ServerVersion::parse("17.6").unwrap();
        let check = |text| check(&Target::parse(text, "PostgreSQL").unwrap(), &installed);
        for text in ["17", "17.0", "17.6"] {
            check(text).unwrap();
        }
        let error = check("17.7").unwrap_err();
        assert!(
            error.to_string().contains("there is PostgreSQL 17.6"),
            "{error}"
        );
    }
}
