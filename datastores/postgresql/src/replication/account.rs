//! The account of replicas at their source.
//!
//! It may read WAL, and the files of the data directory, which is all that
//! `pg_rewind` needs since version 11: it is no superuser, other than
//! upstream's. Replicas of upstream's agent get along with that, too.

use datastore::{Error, ReplicationAccount, Result, Secret};
use managed::password;
use tracing::info;

use crate::Server;
use crate::errors::{os_error, sql_error};
use crate::server::REPLICATOR;
use crate::session::{Session, SqlResult};
use crate::users::password_clause;

/// The password, in the data directory, where upstream keeps it: it is with
/// the account wherever the data goes.
const PASSWORD_FILE: &str = ".replpass";
/// What `pg_rewind` calls (PostgreSQL manual, "pg_rewind").
const FUNCTIONS: [&str; 4] = [
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
];

impl Server {
    /// See [`Datastore::replication_account`](datastore::Datastore::replication_account).
    pub(crate) async fn account_for_replicas(&self) -> Result<ReplicationAccount> {
        let session = self.session().await?;
        let result = self.ensure_account(&session).await;
        session.close().await;
        Ok(ReplicationAccount {
            name: REPLICATOR.to_owned(),
            password: result?,
        })
    }

    /// The password of the account, which is made or mended if need be.
    async fn ensure_account(&self, session: &Session) -> Result<Secret> {
        let failed = |error| sql_error(format!("make the account {REPLICATOR}"), error);
        let known = self.known_password()?;
        if session.is_in_recovery().await.map_err(failed)? {
            return known.ok_or_else(|| {
                Error::failed(format!(
                    "This server recovers, so the account {REPLICATOR} cannot be made now: make \
                     it a source first"
                ))
            });
        }
        let is_new = known.is_none();
        let password = match known {
            Some(password) => password,
            None => password::generate(self.settings.default_password_length),
        };
        if is_new {
            self.keep_password(&password)?;
        } else if is_complete(session).await.map_err(failed)? {
            return Ok(password);
        }
        make(session, &password).await.map_err(failed)?;
        info!(account = REPLICATOR, "Account for replicas made.");
        Ok(password)
    }

    fn known_password(&self) -> Result<Option<Secret>> {
        let path = self.settings.layout.data_dir().join(PASSWORD_FILE);
        let text = guest::read_optional(&path).map_err(os_error)?;
        let text = text.as_deref().map(str::trim);
        Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
    }

    /// Remembers the password, as whoever may become a source later.
    pub(super) fn keep_password(&self, password: &Secret) -> Result<()> {
        let path = self.settings.layout.data_dir().join(PASSWORD_FILE);
        self.write_volume_file(&path, password.expose())
    }
}

/// Whether the account has what it needs and nothing more.
async fn is_complete(session: &Session) -> SqlResult<bool> {
    let functions = FUNCTIONS.map(|function| {
        format!("AND has_function_privilege(rolname, 'pg_catalog.{function}', 'EXECUTE')")
    });
    let query = format!(
        "SELECT 1 FROM pg_authid WHERE rolname = '{REPLICATOR}' AND rolcanlogin AND rolreplication \
         AND NOT rolsuper AND rolpassword LIKE 'SCRAM-SHA-256$%' {}",
        functions.join(" ")
    );
    session.finds(&query, &[]).await
}

async fn make(session: &Session, password: &Secret) -> SqlResult<()> {
    let query = format!("SELECT 1 FROM pg_roles WHERE rolname = '{REPLICATOR}'");
    let create = match session.finds(&query, &[]).await? {
        true => String::new(),
        false => format!("CREATE ROLE {REPLICATOR};"),
    };
    let clause = password_clause(session, REPLICATOR, password).await?;
    let functions = FUNCTIONS.map(|function| format!("pg_catalog.{function}"));
    session
        .run(&format!(
            "{create}ALTER ROLE {REPLICATOR} NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS \
             REPLICATION LOGIN {clause};\
             GRANT EXECUTE ON FUNCTION {} TO {REPLICATOR}",
            functions.join(", ")
        ))
        .await
}
