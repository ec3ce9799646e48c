//! What MySQL and MariaDB guests share.
//!
//! [`Server`] implements [`datastore::Datastore`] for both; a [`Flavor`] says
//! what sets a product apart. Behaviour that differs between versions is
//! decided by the version that the server itself reports.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod apply;
mod backup;
mod clone;
pub mod cnf;
mod config;
mod credentials;
mod data_version;
mod databases;
mod datastore_impl;
mod errors;
mod flavor;
mod grants;
mod host;
mod identified;
mod init;
mod logs;
mod mariabackup;
mod marker;
mod names;
mod overrides;
mod password;
mod rebuild;
mod replication;
mod restore;
mod restored;
mod root;
mod scratch;
mod server;
mod service;
mod session;
mod sessions;
mod settings;
mod snapshot;
mod sql;
mod status;
mod tls;
mod tls_accounts;
mod tool;
mod upgrade;
mod users;
mod variable;
mod version;
mod xtrabackup;

pub use credentials::Login;
pub use flavor::{Flavor, Initialisation};
pub use init::FirstStart;
pub use server::Server;
pub use settings::{Layout, Settings};
pub use version::{ServerVersion, Vendor};
