//! Modules as the control plane sends them (`trove/module/views.py`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datastore::{Error, Result, Secret};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::applied::{self, Applied};
use crate::logs::digest;
use crate::rpc::args::Flag;

/// Everything, in the places where one thing may be named.
const ALL: &str = "all";

/// Decoded contents; they may be a licence key or a password.
pub(super) type Contents = Zeroizing<Vec<u8>>;

/// `{"module": {...}}`.
#[derive(Debug, Clone, Deserialize)]
pub struct Wrapped {
    module: Module,
}

impl Wrapped {
    /// What is inside.
    pub fn into_inner(self) -> Module {
        self.module
    }
}

/// One module.
#[derive(Debug, Clone, Deserialize)]
pub struct Module {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    contents: Option<Secret>,
    md5: Option<String>,
    tenant: Option<String>,
    datastore: Option<String>,
    datastore_version: Option<String>,
    auto_apply: Option<Flag>,
    visible: Option<Flag>,
    is_admin: Option<Flag>,
    priority_apply: Option<Flag>,
    apply_order: Option<i64>,
}

impl Module {
    /// Where it stands among those it is applied with, lowest first.
    pub(super) fn order(&self) -> (bool, i64) {
        let priority = self.priority_apply.is_some_and(Flag::is_set);
        (!priority, self.apply_order.unwrap_or_default())
    }

    /// Refuses what is for another datastore.
    pub(super) fn check_datastore(&self, manager: &str) -> Result<()> {
        match self.datastore.as_deref() {
            None | Some("" | ALL) => Ok(()),
            Some(named) if named == manager => Ok(()),
            Some(named) => Err(Error::bad_request(format!(
                "Module '{}' is for datastore {named}, and this guest has {manager}",
                self.name
            ))),
        }
    }

    /// The contents, if they are what was stored in the control plane.
    pub(super) fn decoded(&self) -> Result<Contents> {
        let name = &self.name;
        let refuse = |what: &str| Error::bad_request(format!("Module '{name}' {what}"));
        let text = match &self.contents {
            Some(contents) if !contents.expose().is_empty() => contents.expose(),
            _ => return Err(refuse("has no contents")),
        };
        // The control plane digests what it was given, which is base64.
        if let Some(md5) = self.md5.as_deref().filter(|md5| !md5.is_empty())
            && md5 != digest(text.as_bytes())
        {
            return Err(refuse(
                "has contents with another MD5 than it says: they were damaged on the way",
            ));
        }
        // Encoders may break lines.
        let text: Zeroizing<String> = Zeroizing::new(text.split_ascii_whitespace().collect());
        STANDARD
            .decode(text.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| refuse("has contents that are not base64"))
    }

    /// The result as it is before the driver has said anything; `before` is
    /// that of the last time.
    pub(super) fn applied(&self, before: Option<&Applied>) -> Applied {
        let now = applied::now();
        let or_all = |text: &Option<String>| match text.as_deref() {
            None | Some("") => Some(ALL.to_owned()),
            Some(text) => Some(text.to_owned()),
        };
        let tenant = or_all(&self.tenant);
        let auto_apply = self.auto_apply.is_none_or(Flag::is_set);
        let visible = self.visible.is_none_or(Flag::is_set);
        // Before there was a flag, these were the marks of an administrator's.
        let marked = auto_apply || !visible || tenant.as_deref() == Some(ALL);
        Applied {
            kind: self.kind.clone(),
            name: self.name.clone(),
            datastore: or_all(&self.datastore),
            datastore_version: or_all(&self.datastore_version),
            tenant,
            id: self.id.clone(),
            md5: self.md5.clone(),
            status: None,
            message: None,
            created: before.map_or_else(|| now.clone(), |before| before.created.clone()),
            updated: now,
            removed: None,
            auto_apply,
            visible,
            is_admin: self.is_admin.map_or(marked, Flag::is_set),
            contents: None,
        }
    }
}

/// Contents as they travel.
pub(super) fn encode(contents: &[u8]) -> String {
    STANDARD.encode(contents)
}
