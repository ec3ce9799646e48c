//! The operating system of a database guest, for code that knows nothing of
//! Trove's wire and nothing of database servers: child processes, files,
//! accounts, the data volume, systemd units, facts about the machine, and the
//! notification socket of the service manager.
//!
//! Other programs are always run as argument arrays ([`Command`]), never
//! through a shell. Asynchronous functions need a tokio runtime with I/O and
//! time enabled.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod account;
mod command;
mod facts;
mod files;
mod freeze;
mod network;
pub mod notify;
mod nss;
mod readable;
mod service;
mod volume;
mod watch;

pub use account::{Account, AccountError, ensure_service_account};
pub use command::{Command, CommandError, Output, Running, enlarge_pipe};
pub use facts::{Hardware, ProcessDiagnostics, hardware, max_open_files, process_diagnostics};
pub use files::{
    Attributes, FileError, Kept, ensure_directory, read_optional, remove_if_exists, write_atomic,
};
pub use freeze::{freeze, thaw};
pub use network::{
    BadCidr, Cidr, HostRoute, NetworkError, Subnet, TenantNetwork, own_address, tcp_socket_of,
};
pub use nss::pin_name_services;
pub use service::{ActiveState, ServiceError, Unit, UnitState};
pub use volume::{
    FilesystemStats, FsType, MountState, UnknownFsType, VolumeError, VolumeFiles, VolumeSpec,
    filesystem_stats,
};
pub use watch::Watch;
