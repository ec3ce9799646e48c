//! What database servers have in common that run as systemd units of a guest,
//! whatever product they are: their unit and state, their option files and the
//! last configuration that worked, marks and directories on the volume.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod base;
mod configuration;
mod errors;
mod files;
mod mark;
mod option_file;
mod overrides;
pub mod password;
mod scratch;
mod service;
mod status;
mod target;
mod tls;

pub use base::{Examined, Examiner};
pub use configuration::{Configurations, Trial};
pub use errors::{io_failed, os_error};
pub use files::{Modes, is_empty, own, sync_file_system};
pub use mark::{Mark, ensure_data, ensure_restored};
pub use option_file::OptionFile;
pub use overrides::{COMMON, Group, Overrides, PUBLIC};
pub use scratch::Scratch;
pub use service::{Patience, Probe, Service};
pub use status::{Answer, PROBE_LIMIT};
pub use target::Target;
pub use tls::{must_exist, write_material};
