//! `new_relic_license`: the licence key of New Relic's monitoring agent
//! (newrelic-infra), which the image brings.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use datastore::{Error, Result};
use guest::{Attributes, Unit};
use zeroize::Zeroizing;

use super::driver::{Driver, Job};
use super::pairs;

const UNIT: &str = "newrelic-infra.service";
const FILE: &str = "/etc/newrelic-infra.yml";
const KEY: &str = "license_key";
const LIMIT: Duration = Duration::from_secs(30);

/// Writes the key into the file the monitoring agent reads, and has it run with
/// it. (The one that upstream's driver was made for, nrsysmond, is served by
/// nobody any more; it took the key as an argument, where every process of the
/// guest could read it.)
pub(super) struct NewRelic;

#[async_trait]
impl Driver for NewRelic {
    async fn apply(&self, job: &Job<'_>) -> Result<String> {
        let text = Zeroizing::new(String::from_utf8_lossy(job.contents).into_owned());
        let key = pairs::value(&text, KEY)
            .ok_or_else(|| Error::bad_request("'license_key' not found in contents file"))?;
        check(key)?;
        let unit = installed().await?.ok_or_else(|| {
            Error::failed(
                "New Relic license key not installed: the guest's image has no newrelic-infra",
            )
        })?;
        write(Path::new(FILE), Some(key))?;
        unit.enable().await.map_err(failed)?;
        unit.restart(LIMIT).await.map_err(failed)?;
        Ok("New Relic license key installed".to_owned())
    }

    async fn remove(&self, _job: &Job<'_>) -> Result<String> {
        if let Some(unit) = installed().await? {
            unit.stop(LIMIT).await.map_err(failed)?;
            unit.disable().await.map_err(failed)?;
            write(Path::new(FILE), None)?;
        }
        Ok("New Relic license key removed".to_owned())
    }
}

async fn installed() -> Result<Option<Unit>> {
    let unit = Unit::new(UNIT);
    let state = unit.state().await.map_err(failed)?;
    Ok(state.exists.then_some(unit))
}

/// A key is one word: anything else could add settings to the file.
fn check(key: &str) -> Result<()> {
    let is_key = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    match is_key {
        true => Ok(()),
        false => Err(Error::bad_request(
            "'license_key' in the contents file is not a license key: it has other characters \
             than letters and digits",
        )),
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::failed(error.to_string())
}

/// Puts the key into the file, or takes it out; all other lines stay. Nobody
/// but owner and group can read it afterwards.
fn write(path: &Path, key: Option<&str>) -> Result<()> {
    let before = guest::read_optional(path).map_err(failed)?;
    if before.is_none() && key.is_none() {
        return Ok(());
    }
    let before = Zeroizing::new(before.unwrap_or_default());
    let text = Zeroizing::new(with_key(&before, key));
    let attributes = match fs::metadata(path) {
        Ok(found) => Attributes {
            mode: found.mode() & 0o770,
            owner: Some((found.uid(), found.gid())),
        },
        Err(_) => Attributes {
            mode: 0o600,
            owner: None,
        },
    };
    guest::write_atomic(path, text.as_bytes(), &attributes).map_err(failed)
}

fn with_key(text: &str, key: Option<&str>) -> String {
    let is_key = |line: &&str| line.split_once(':').is_some_and(|(name, _)| name == KEY);
    let others = text.lines().filter(|line| !is_key(line));
    let mut new: String = others.map(|line| format!("{line}\n")).collect();
    if let Some(key) = key {
        new += &format!("{KEY}: {key}\n");
    }
    new
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_the_line_with_the_key_changes() {
        let text = "# license_key: none\nlicense_key: old\nverbose: 1\n";
        let new = with_key(text, Some("new"));
        assert_eq!(new, "# license_key: none\nverbose: 1\nlicense_key: new\n");
        assert_eq!(with_key(&new, None), "# license_key: none\nverbose: 1\n");
        assert_eq!(with_key("", Some("k")), "license_key: k\n");
    }

    #[test]
    fn a_key_that_brings_lines_of_its_own_is_refused() {
        assert!(check("0123456789abcdefNRAL").is_ok());
        for key in ["", "a b", "a\nproxy: evil", "a:b", "a#b"] {
            let error = check(key).unwrap_err().to_string();
            assert!(key.is_empty() || !error.contains(key), "{error}");
        }
    }

    #[test]
    fn others_cannot_read_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("newrelic-infra.yml");
        write(&path, None).unwrap();
        assert!(!path.exists());
        write(&path, Some("k")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, Some("other")).unwrap();
        assert_eq!(mode(&path), 0o640);
        assert_eq!(fs::read_to_string(&path).unwrap(), "license_key: other\n");
    }
}
