//! From an empty volume to a secured server.
//!
//! Servers initialise themselves with administrators that have no password.
//! Those accounts never meet a client: the first start runs with an init file,
//! whose statements a server executes before it accepts its first connection
//! (`mysqld_main` reads it ahead of the connection loop), and one start is
//! enough. Files written meanwhile (`Layout::init_file` and the override that
//! names it) are gone afterwards, whatever happened.

use std::path::{Path, PathBuf};

use datastore::{Error, PrepareRequest, Result, Secret};
use guest::Attributes;
use tracing::{info, warn};

use crate::credentials::{self, Login, OS_ADMIN, ROOT};
use crate::errors::{code, os_error, sql_error};
use crate::flavor::Initialisation;
use crate::marker::Marker;
use crate::overrides::PUBLIC;
use crate::scratch::{self, io_failed};
use crate::session::{CONNECT_TIMEOUT, SqlError, probe};
use crate::{Flavor, Server, password, sql};

/// Sorts behind every override, so that it is in force once.
const FIRST_START: &str = "99-first-start.cnf";

impl<F: Flavor> Server<F> {
    /// Everything before the first start: directories, configuration, an
    /// initialised data directory. The server must not run.
    pub async fn install(&self, request: &PrepareRequest) -> Result<()> {
        self.install_for(request, Marker::Initialising).await
    }

    /// The same; the mark says what the data directory is for.
    pub(crate) async fn install_for(
        &self,
        request: &PrepareRequest,
        purpose: Marker,
    ) -> Result<()> {
        scratch::sweep(&self.settings.layout.mount_point)?;
        self.ensure_directories()?;
        self.claim_data_dir(purpose).await?;
        self.install_configuration(request).await?;
        self.initialise().await
    }

    /// Directories of configuration and passwords.
    pub(crate) fn ensure_directories(&self) -> Result<()> {
        let layout = &self.settings.layout;
        for dir in [layout.config_dir(), &layout.include_dir] {
            ensure_directory(dir, 0o755, None)?;
        }
        ensure_directory(&layout.credentials_dir(), 0o700, None)
    }

    /// Makes an empty data directory with a mark that says for what, or takes
    /// the leftovers of an interrupted initialisation or restore away. Data of
    /// anybody's is never touched.
    pub(crate) async fn claim_data_dir(&self, purpose: Marker) -> Result<()> {
        let layout = &self.settings.layout;
        let data_dir = layout.data_dir();
        let owner = (self.settings.account.uid, self.settings.account.gid);
        let leftover = [Marker::Initialising, Marker::Restoring, Marker::Cloning]
            .into_iter()
            .find(|marker| marker.is_set(layout));
        let failed = |error| io_failed("prepare directory", &data_dir, error);
        if !managed::is_empty(&data_dir).map_err(failed)? {
            if leftover.is_none() {
                let reason = match purpose {
                    Marker::Restoring => "and a backup is never restored over data",
                    _ => "and no backup is to be restored",
                };
                return Err(Error::failed(format!(
                    "{} holds data {reason}: it is not touched. Use a new volume, or remove the \
                     data if nobody needs it",
                    data_dir.display()
                )));
            }
            warn!(path = %data_dir.display(), "The data was left incomplete; starting over.");
            tokio::fs::remove_dir_all(&data_dir).await.map_err(failed)?;
        }
        ensure_directory(&data_dir, 0o750, Some(owner))?;
        purpose.set(layout)?;
        match leftover {
            Some(other) if other != purpose => other.remove(layout),
            _ => Ok(()),
        }
    }

    async fn initialise(&self) -> Result<()> {
        let layout = &self.settings.layout;
        self.close_error_log()?;
        info!(path = %layout.data_dir().display(), "Initialising the data directory.");
        self.flavor
            .initialise(&Initialisation {
                program: &self.program()?,
                config: &layout.base_config,
                data_dir: &layout.data_dir(),
                account: &self.settings.account,
            })
            .await
            .map_err(os_error)
    }

    /// New passwords for both administrators, saved on the volume, and the
    /// files that make the next start set them. They are removed when the
    /// result is dropped.
    pub fn arm_first_start(&self) -> Result<FirstStart> {
        let length = self.settings.default_password_length;
        self.arm(|| password::generate(length), statements, "")
    }

    /// Works for the first starts of new and of restored data.
    pub(crate) fn arm(
        &self,
        new_password: impl Fn() -> Secret,
        statements: impl Fn(&Login, &Login) -> String,
        options: &str,
    ) -> Result<FirstStart> {
        let layout = &self.settings.layout;
        let new_login = |user: &str| Login {
            user: user.to_owned(),
            password: new_password(),
        };
        let (root, os_admin) = (new_login(ROOT), new_login(OS_ADMIN));
        for login in [&root, &os_admin] {
            credentials::save(&layout.credentials_dir(), login)?;
        }
        let files = FirstStart {
            init_file: layout.init_file(),
            override_file: layout.include_dir.join(FIRST_START),
        };
        let account = &self.settings.account;
        let private = Attributes {
            mode: 0o600,
            owner: Some((account.uid, account.gid)),
        };
        guest::write_atomic(
            &files.init_file,
            statements(&root, &os_admin).as_bytes(),
            &private,
        )
        .map_err(os_error)?;
        let init_file = files.init_file.display();
        let text = format!("[mysqld]\ninit_file = {init_file}\n{options}");
        guest::write_atomic(&files.override_file, text.as_bytes(), &PUBLIC).map_err(os_error)?;
        Ok(files)
    }

    /// Checks that the first start has secured the server: no anonymous users,
    /// no administrator from afar, none without a password.
    pub async fn check_secured(&self) -> Result<()> {
        let mut session = self.session().await?;
        let open: Option<u64> = session
            .first(
                "SELECT COUNT(*) FROM mysql.user \
                 WHERE User = '' OR (User = 'root' AND Host <> 'localhost')",
                (),
            )
            .await
            .map_err(|error| sql_error("check the accounts", error))?;
        session.close().await;
        if open != Some(0) {
            return Err(insecure("it has anonymous users or a remote administrator"));
        }
        self.refuse_open_root().await?;
        Marker::Initialising.remove(&self.settings.layout)?;
        info!("Server secured.");
        Ok(())
    }

    /// Checks that the administrator has a password.
    pub(crate) async fn refuse_open_root(&self) -> Result<()> {
        let without = Login {
            user: ROOT.to_owned(),
            password: Secret::new(""),
        };
        match probe(&self.settings.layout.socket, &without, CONNECT_TIMEOUT).await {
            Err(SqlError::Server {
                code: code::ACCESS_DENIED,
                ..
            }) => Ok(()),
            Ok(()) => Err(insecure("its administrator has no password")),
            Err(error) => Err(sql_error("check the administrator's password", error)),
        }
    }

    /// Removes what a first start left that was cut off by a crash. Whoever
    /// starts the server after that takes its data for real.
    pub(crate) fn disarm_first_start(&self) {
        let layout = &self.settings.layout;
        if let Err(error) = Marker::Initialising.remove(layout) {
            warn!(%error, "Mark of the initialisation not removed.");
        }
        drop(FirstStart {
            init_file: layout.init_file(),
            override_file: layout.include_dir.join(FIRST_START),
        });
    }
}

/// The files of a first start, removed when this is dropped.
#[derive(Debug)]
pub struct FirstStart {
    init_file: PathBuf,
    override_file: PathBuf,
}

impl Drop for FirstStart {
    fn drop(&mut self) {
        // The override first: a server that starts in between must not look
        // for a file that is gone.
        for path in [&self.override_file, &self.init_file] {
            if let Err(error) = guest::remove_if_exists(path) {
                warn!(%error, "File of the first start not removed.");
            }
        }
    }
}

impl FirstStart {
    /// Lets the files stay until the next first start takes them away, even if
    /// this agent does not live to see it.
    pub(crate) fn keep(self) {
        let _files = std::mem::ManuallyDrop::new(self);
    }
}

/// Statements of the init file, one per line as MySQL 5.7 wants them. They do
/// not go into the binary log: every server has administrators of its own.
/// The passwords are alphanumeric.
fn statements(root: &Login, os_admin: &Login) -> String {
    let set_password = |login: &Login| {
        format!(
            "{} IDENTIFIED BY {}",
            sql::account(&login.user, "localhost"),
            sql::literal(login.password.expose())
        )
    };
    let (root, admin) = (set_password(root), set_password(os_admin));
    format!(
        "SET SESSION sql_log_off = 1, sql_log_bin = 0, sql_mode = '', group_concat_max_len = 1048576;\n\
         SELECT IFNULL(CONCAT('DROP USER ', GROUP_CONCAT(CONCAT(QUOTE(User), '@', QUOTE(Host)))), 'DO 0') INTO @trove FROM mysql.user WHERE User = '' OR (User = 'root' AND Host <> 'localhost');\n\
         PREPARE trove FROM @trove;\n\
         EXECUTE trove;\n\
         DEALLOCATE PREPARE trove;\n\
         ALTER USER {root};\n\
         CREATE USER IF NOT EXISTS {admin};\n\
         ALTER USER {admin};\n\
         GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;\n",
        account = sql::account(OS_ADMIN, "localhost"),
    )
}

pub(crate) fn insecure(what: &str) -> Error {
    Error::failed(format!("The new server is not secure: {what}"))
}

fn ensure_directory(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    guest::ensure_directory(path, &Attributes { mode, owner }).map_err(os_error)
}
