//! The account of replicas at their source.
//!
//! There is one for all servers of a replication set: it comes to a replica
//! with the data, and its password with the request to follow. So whoever
//! becomes the source has it already, where upstream makes a new account for
//! every replica and every change of the source, and never drops one.

use datastore::{ReplicationAccount, Result};
use tracing::info;

use crate::credentials::{self, Login};
use crate::errors::{os_error, sql_error};
use crate::session::{CONNECT_TIMEOUT, Session, SqlResult, probe};
use crate::users::UserId;
use crate::{Flavor, Server, identified, password, sql};

/// Where the login is, among the others on the volume.
const FILE: &str = "replication";
/// What upstream's names begin with; eight hexadecimal digits follow.
const PREFIX: &str = "slave_";
/// Replicas take no longer password (MySQL manual, "CHANGE REPLICATION SOURCE
/// TO Statement").
const PASSWORD_LENGTH: usize = 32;
pub(super) const ANYWHERE: &str = "%";

impl<F: Flavor> Server<F> {
    /// The account of this replication set, as far as this server knows it.
    pub(crate) fn known_account(&self) -> Result<Option<Login>> {
        credentials::load_as(&self.settings.layout.credentials_dir(), FILE)
    }

    /// Remembers the account of a source, as whoever may become one.
    pub(super) fn remember_account(&self, account: &ReplicationAccount) -> Result<()> {
        let login = Login {
            user: account.name.clone(),
            password: account.password.clone(),
        };
        credentials::save_as(&self.settings.layout.credentials_dir(), FILE, &login)
    }

    pub(super) fn forget_account(&self) -> Result<()> {
        let path = self
            .settings
            .layout
            .credentials_dir()
            .join(format!("{FILE}.cnf"));
        guest::remove_if_exists(&path).map(drop).map_err(os_error)
    }

    /// See [`Datastore::replication_account`](datastore::Datastore::replication_account).
    pub(crate) async fn account_for_replicas(&self) -> Result<ReplicationAccount> {
        let login = match self.known_account()? {
            Some(login) => login,
            None => Login {
                user: format!("{PREFIX}{:08x}", rand::random::<u32>()),
                password: password::generate_mixed(PASSWORD_LENGTH),
            },
        };
        let account = ReplicationAccount {
            name: login.user.clone(),
            password: login.password.clone(),
        };
        if probe(&self.settings.layout.socket, &login, CONNECT_TIMEOUT)
            .await
            .is_ok()
        {
            return Ok(account);
        }
        let mut session = self.writing_session().await?;
        // A password that is remembered for nothing does no harm.
        self.remember_account(&account)?;
        let made = make(&mut session, &login).await;
        session.close().await;
        made.map_err(|error| sql_error("make the account of replicas", error))?;
        info!(account = login.user, "Account for replicas made.");
        Ok(account)
    }

    /// Drops accounts that replicas of former sources had, except this
    /// replication set's own.
    pub(super) async fn drop_other_accounts(&self, session: &mut Session) -> SqlResult<()> {
        let own = self.known_account().ok().flatten().map(|login| login.user);
        let query = "SELECT User, Host FROM mysql.user WHERE User LIKE 'slave|_%' ESCAPE '|'";
        let accounts: Vec<(String, String)> = session.rows(query, ()).await?;
        for (name, host) in accounts {
            if is_generated(&name) && Some(&name) != own.as_ref() {
                session
                    .run(&format!("DROP USER {}", sql::account(&name, &host)))
                    .await?;
                info!(account = name, "Account of former replicas dropped.");
            }
        }
        Ok(())
    }
}

/// Makes the account, or gives it what it lacks. Nothing is demanded of its
/// connections: replicas have no certificates.
async fn make(session: &mut Session, login: &Login) -> SqlResult<()> {
    let account = UserId {
        name: login.user.clone(),
        host: ANYWHERE.to_owned(),
    };
    let account = account.quoted();
    let create = format!("CREATE USER IF NOT EXISTS {account}");
    identified::run(session, &create, &login.password, "").await?;
    let alter = format!("ALTER USER {account}");
    identified::run(session, &alter, &login.password, " REQUIRE NONE").await?;
    session
        .run(&format!("GRANT REPLICATION SLAVE ON *.* TO {account}"))
        .await
}

/// Whether a name is one that agents make, and no tenant's.
fn is_generated(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() == 8 && rest.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_agents_make_is_theirs() {
        for (name, generated) in [
            ("slave_0123abcd", true),
            ("slave_trader", false),
            ("slave_0123ABCD", false),
            ("slave_0123abcde", false),
            ("slaveX0123abcd", false),
        ] {
            assert_eq!(is_generated(name), generated, "{name}");
        }
    }
}
