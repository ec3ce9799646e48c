//! What became of a module: `result.json`, and what the API shows
//! (`trove/guestagent/module/module_manager.py`).

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

const OK: &str = "OK";

/// The result of applying one module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Type of the module.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The datastore it is for, or `all`.
    #[serde(default)]
    pub datastore: Option<String>,
    /// The version of the datastore, or `all`.
    #[serde(default)]
    pub datastore_version: Option<String>,
    /// Whose it is, or `all`.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Its id.
    pub id: String,
    /// MD5 of its contents in base64.
    #[serde(default)]
    pub md5: Option<String>,
    /// `OK` or `ERROR`.
    #[serde(default)]
    pub status: Option<String>,
    /// What the driver says.
    #[serde(default)]
    pub message: Option<String>,
    /// When it was applied first.
    pub created: String,
    /// When it was applied last.
    pub updated: String,
    /// When it was removed.
    #[serde(default)]
    pub removed: Option<String>,
    /// Whether new instances get it by themselves.
    #[serde(default)]
    pub auto_apply: bool,
    /// Whether others than administrators see it.
    #[serde(default)]
    pub visible: bool,
    /// Whether only administrators see its contents (`admin_only` long ago).
    #[serde(default, alias = "admin_only")]
    pub is_admin: bool,
    /// The contents in base64, for those who asked; never in the file.
    #[serde(default)]
    pub contents: Option<String>,
}

impl Applied {
    /// Whether the driver has done its work.
    pub fn succeeded(&self) -> bool {
        self.status.as_deref() == Some(OK)
    }

    /// The driver has done its work.
    pub(super) fn succeed(&mut self, message: String) {
        self.conclude(OK, message);
    }

    /// It has not.
    pub(super) fn fail(&mut self, reason: &str) {
        self.conclude("ERROR", reason.to_owned());
    }

    fn conclude(&mut self, status: &str, message: String) {
        self.status = Some(status.to_owned());
        self.message = Some(message);
        self.updated = now();
    }
}

/// The time as upstream's agent writes it, in UTC.
pub(super) fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second, milli) = now.to_hms_milli();
    let (month, hundredth) = (u8::from(month), milli / 10);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{hundredth:02}")
}
