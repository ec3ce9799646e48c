//! The tenant's administrator: `root` from anywhere. `root@localhost` is the
//! server's own and is not touched here.

use datastore::{Error, Result, Secret, User};
use tracing::info;

use crate::credentials::ROOT;
use crate::errors::sql_error;
use crate::replication::privileged;
use crate::session::{Session, SqlResult};
use crate::users::UserId;
use crate::{
    Flavor, Server, ServerVersion, Vendor, identified, names, password, sessions, tls_accounts,
};

const ANYWHERE: &str = "%";

impl<F: Flavor> Server<F> {
    /// Creates or unlocks the tenant's administrator and sets its password.
    pub(crate) async fn unlock_root(&self, given: Option<&Secret>) -> Result<User> {
        let password = match given {
            Some(given) => {
                names::check_password(ROOT, given.expose())?;
                given.clone()
            }
            None => password::generate(self.settings.default_password_length),
        };
        let privileges = self.root_privileges()?;
        let mut session = self.writing_session().await?;
        let result = enable(
            &mut session,
            &password,
            &privileges,
            tls_accounts::clause(self.tls_mode()),
        )
        .await;
        session.close().await;
        result.map_err(|error| sql_error("enable root", error))?;
        info!("Root enabled.");
        Ok(User {
            name: ROOT.to_owned(),
            host: Some(ANYWHERE.to_owned()),
            password: Some(password),
            databases: Vec::new(),
            is_root: true,
        })
    }

    /// Locks the tenant's administrator out: a password nobody knows, a lock
    /// where the server has one, and the end of its sessions. The account
    /// itself stays, as Trove expects.
    pub(crate) async fn lock_root(&self) -> Result<()> {
        let password = password::generate(self.settings.default_password_length);
        let mut session = self.writing_session().await?;
        let result = disable(&mut session, &password).await;
        session.close().await;
        result.map_err(|error| sql_error("disable root", error))?;
        info!("Root disabled.");
        Ok(())
    }

    pub(crate) async fn is_root_unlocked(&self) -> Result<bool> {
        let mut session = self.session().await?;
        let query = match session.version().vendor {
            Vendor::MySql => {
                "SELECT COUNT(*) FROM mysql.user \
                 WHERE User = 'root' AND Host <> 'localhost' AND account_locked <> 'Y'"
            }
            Vendor::MariaDb if has_account_lock(session.version()) => {
                "SELECT COUNT(*) FROM mysql.global_priv \
                 WHERE User = 'root' AND Host <> 'localhost' \
                 AND COALESCE(JSON_VALUE(Priv, '$.account_locked'), '0') NOT IN ('1', 'true')"
            }
            Vendor::MariaDb => {
                "SELECT COUNT(*) FROM mysql.user WHERE User = 'root' AND Host <> 'localhost'"
            }
        };
        let result = session.first::<u64>(query, ()).await;
        session.close().await;
        let count = result.map_err(|error| sql_error("look for root", error))?;
        Ok(count.is_some_and(|count| count > 0))
    }

    /// `GRANT` clause of the configured privileges.
    fn root_privileges(&self) -> Result<String> {
        let valid = |name: &String| {
            !name.trim().is_empty()
                && name
                    .bytes()
                    .all(|c| c.is_ascii_alphabetic() || matches!(c, b'_' | b' '))
        };
        let configured = &self.settings.root_grant;
        if let Some(odd) = configured.iter().find(|name| !valid(name)) {
            return Err(Error::bad_request(format!(
                "root_grant of the agent's configuration holds {odd:?}, which is no privilege"
            )));
        }
        let privileges = match configured.is_empty() {
            true => "ALL".to_owned(),
            false => configured.join(", "),
        };
        let option = if self.settings.root_grant_option {
            " WITH GRANT OPTION"
        } else {
            ""
        };
        Ok(format!(
            "GRANT {privileges} ON *.* TO {}{option}",
            tenants_root().quoted()
        ))
    }
}

fn tenants_root() -> UserId {
    UserId {
        name: ROOT.to_owned(),
        host: ANYWHERE.to_owned(),
    }
}

/// `ACCOUNT LOCK`: MySQL 5.7.6, MariaDB 10.4.2 (their manuals, "CREATE USER").
pub(crate) fn has_account_lock(version: &ServerVersion) -> bool {
    version.is_at_least(Vendor::MySql, (5, 7, 6))
        || version.is_at_least(Vendor::MariaDb, (10, 4, 2))
}

async fn enable(
    session: &mut Session,
    password: &Secret,
    grant: &str,
    demand: &str,
) -> SqlResult<()> {
    let account = tenants_root().quoted();
    // Never a moment without a password.
    let create = format!("CREATE USER IF NOT EXISTS {account}");
    identified::run(session, &create, password, demand).await?;
    let alter = format!("ALTER USER {account}");
    identified::run(session, &alter, password, demand).await?;
    session.run(grant).await?;
    if privileged::is_revocable(session.version()) {
        privileged::revoke(session, &tenants_root()).await?;
    }
    if has_account_lock(session.version()) {
        let unlock = format!("ALTER USER {account} ACCOUNT UNLOCK");
        session.run(&unlock).await?;
    }
    Ok(())
}

async fn disable(session: &mut Session, password: &Secret) -> SqlResult<()> {
    let root = tenants_root();
    if !root.exists(session).await? {
        return Ok(());
    }
    let alter = format!("ALTER USER {}", root.quoted());
    if has_account_lock(session.version()) {
        session.run(&format!("{alter} ACCOUNT LOCK")).await?;
    }
    identified::run(session, &alter, password, "").await?;
    // The lock only meets new ones.
    sessions::end(session, |other| {
        other.user == ROOT && other.host != "localhost"
    })
    .await
}
