//! The tenant's administrator: the role `root`, a superuser. The server's own
//! superuser is not touched here.

use datastore::{Result, Secret, User};
use managed::password;
use tracing::info;

use crate::Server;
use crate::errors::sql_error;
use crate::names;
use crate::session::{Session, SqlResult};
use crate::users::{ANYWHERE, password_clause};

const ROOT: &str = "root";

impl Server {
    /// Creates or unlocks the tenant's administrator and sets its password.
    pub(crate) async fn unlock_root(&self, given: Option<&Secret>) -> Result<User> {
        let password = match given {
            Some(given) => {
                names::check_password(ROOT, given.expose())?;
                given.clone()
            }
            None => password::generate(self.settings.default_password_length),
        };
        let session = self.session().await?;
        let result = enable(&session, &password).await;
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

    /// Locks the tenant's administrator out: a password nobody knows, no login,
    /// and the end of its sessions. The role itself stays with what it owns.
    pub(crate) async fn lock_root(&self) -> Result<()> {
        let password = password::generate(self.settings.default_password_length);
        let session = self.session().await?;
        let result = disable(&session, &password).await;
        session.close().await;
        result.map_err(|error| sql_error("disable root", error))?;
        info!("Root disabled.");
        Ok(())
    }

    pub(crate) async fn is_root_unlocked(&self) -> Result<bool> {
        let session = self.session().await?;
        let query = "SELECT 1 FROM pg_roles WHERE rolname = 'root' AND rolcanlogin AND rolsuper";
        let result = session.finds(query, &[]).await;
        session.close().await;
        result.map_err(|error| sql_error("look for root", error))
    }
}

async fn exists(session: &Session) -> SqlResult<bool> {
    let query = "SELECT 1 FROM pg_roles WHERE rolname = 'root'";
    session.finds(query, &[]).await
}

async fn enable(session: &Session, password: &Secret) -> SqlResult<()> {
    let clause = password_clause(session, ROOT, password).await?;
    let create = match exists(session).await? {
        true => "",
        false => "CREATE ROLE root;",
    };
    let statements = format!(
        "{create}ALTER ROLE root SUPERUSER CREATEDB CREATEROLE INHERIT REPLICATION BYPASSRLS \
         LOGIN {clause}"
    );
    session.run(&statements).await
}

async fn disable(session: &Session, password: &Secret) -> SqlResult<()> {
    if !exists(session).await? {
        return Ok(());
    }
    let clause = password_clause(session, ROOT, password).await?;
    session
        .run(&format!("ALTER ROLE root NOLOGIN {clause}"))
        .await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'root'";
    session.rows(end, &[]).await.map(drop)
}
