//! The stream of a backup.
#![deny(unsafe_code)]
