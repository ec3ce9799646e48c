//! The stream of a backup: read, split into blocks, compress them on all
//! cores, encrypt, gather them into parts, hash and upload several at once,
//! and join them at the end; and the way back, where nothing is believed that
//! was not verified.
//!
//! Blocks are compressed on their own. gzip members and zstd frames may follow
//! one another in a file, so what comes out is still one ordinary `.gz` or
//! `.zst` that other programs read.
//!
//! Memory is bounded whatever the backup's size: (threads + 2) blocks and
//! (uploads + 1) parts, see [`PartPlan`]. Nothing is written to a disk.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod age;
mod codec;
mod decode;
mod download;
mod error;
mod gzip;
mod legacy;
mod limit;
mod name;
mod plan;
mod pool;
mod progress;
mod upload;
mod zstandard;

pub use codec::Compression;
pub use decode::Keys;
pub use download::{Download, open};
pub use error::{Error, Result};
pub use limit::Bandwidth;
pub use name::{Coding, Packing, Sealing, coding_of, object_name};
pub use plan::PartPlan;
pub use progress::Progress;
pub use upload::{Orphans, Remember, Sent, Upload, UploadSettings};
