//! What a product has to say about itself.

use std::ffi::OsString;
use std::path::Path;

use async_trait::async_trait;
use guest::{Account, CommandError};

use crate::{ServerVersion, Vendor};

/// A product of this family. Everything else is decided by the server's own
/// version at run time.
#[async_trait]
pub trait Flavor: Send + Sync + 'static {
    /// The manager's name in the configuration, e.g. `mysql`.
    fn manager(&self) -> &'static str;

    /// The product, to notice when the other one is installed.
    fn vendor(&self) -> Vendor;

    /// Names of the server program, most specific first.
    fn server_programs(&self) -> &'static [&'static str];

    /// Arguments that make the server read its options, complain about those
    /// it refuses and exit without starting.
    fn check_arguments(&self, version: &ServerVersion) -> Vec<OsString>;

    /// Fills the empty data directory. The result has `root@localhost`
    /// without a password and no network listener has been open.
    async fn initialise(&self, initialisation: &Initialisation<'_>) -> Result<(), CommandError>;
}

/// What [`Flavor::initialise`] works on.
#[derive(Debug)]
pub struct Initialisation<'a> {
    /// The server program.
    pub program: &'a Path,
    /// The base option file, complete with its overrides.
    pub config: &'a Path,
    /// The empty data directory, owned by the account.
    pub data_dir: &'a Path,
    /// The account that must own what is created.
    pub account: &'a Account,
}
