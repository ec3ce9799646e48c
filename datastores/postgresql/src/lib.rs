//! PostgreSQL guests, 13 and later.
//!
//! [`Server`] implements [`datastore::Datastore`]. The agent reaches the
//! server over its Unix socket as the superuser `postgres`, by the identity of
//! its own process: there is no password to keep. Behaviour that differs
//! between versions is decided by the version that the server itself reports.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod apply;
mod backup;
mod basebackup;
mod combine;
pub mod conf;
mod config;
mod databases;
mod datastore_impl;
mod errors;
mod hba;
mod increment;
mod init;
mod installation;
mod label;
mod logs;
mod manifests;
mod marker;
mod names;
mod overrides;
mod place;
mod rebuild;
mod recovered;
mod replication;
mod restore;
mod root;
mod server;
mod service;
mod session;
mod settings;
mod snapshot;
mod sql;
mod status;
mod tls;
mod tls_check;
mod upgrade;
mod users;
mod version;
mod wal;

pub use restore::Recovery;
pub use server::{Server, datastore};
pub use settings::{Increments, Layout, Settings};
pub use version::ServerVersion;
