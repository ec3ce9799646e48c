//! Databases and users as Trove serialises them: underscored keys, every key
//! present in results (`trove/common/db/models.py`).

use serde::{Deserialize, Serialize};

use crate::Secret;

/// A database (schema) of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// Its name.
    #[serde(rename = "_name")]
    pub name: String,
    /// Character set, or the server's default when absent.
    #[serde(rename = "_character_set", default)]
    pub character_set: Option<String>,
    /// Collation, or the character set's default when absent.
    #[serde(rename = "_collate", default)]
    pub collate: Option<String>,
}

impl Database {
    /// A database by name, everything else at the server's defaults.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            character_set: None,
            collate: None,
        }
    }
}

/// A user account of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Account name.
    #[serde(rename = "_name")]
    pub name: String,
    /// Host part; `%` for any. Datastores without hosts report `%`.
    #[serde(rename = "_host", default)]
    pub host: Option<String>,
    /// Password; always absent in listings.
    #[serde(rename = "_password", default)]
    pub password: Option<Secret>,
    /// Databases the user has been granted.
    #[serde(rename = "_databases", default)]
    pub databases: Vec<Database>,
    /// Whether this is the administrator account the tenant may enable.
    #[serde(rename = "_is_root", default)]
    pub is_root: bool,
}

/// One element of `change_passwords`; its keys carry no underscore.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PasswordChange {
    /// Account name.
    pub name: String,
    /// Host part, `%` when absent.
    #[serde(default)]
    pub host: Option<String>,
    /// The new password.
    pub password: Secret,
}

/// What `update_attributes` may change; absent means unchanged.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct UserAttributes {
    /// New account name.
    #[serde(default)]
    pub name: Option<String>,
    /// New host part.
    #[serde(default)]
    pub host: Option<String>,
    /// New password.
    #[serde(default)]
    pub password: Option<Secret>,
}
