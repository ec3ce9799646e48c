//! The data volume on real block devices: loop devices over sparse files, each
//! test in a mount namespace of its own. Needs root.

#![allow(clippy::unwrap_used, missing_docs)]

mod bench;
mod content;
mod mounting;
mod resizing;
