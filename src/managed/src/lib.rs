//! What database servers have in common that run as systemd units of a guest,
//! whatever product they are: override files, the last configuration that
//! worked, versions that are asked for, errors of the system.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod configuration;
mod errors;
mod option_file;
mod overrides;
mod target;

pub use configuration::{Configurations, Trial};
pub use errors::{io_failed, os_error};
pub use option_file::OptionFile;
pub use overrides::{COMMON, Group, Overrides, PUBLIC};
pub use target::Target;
