//! What users may do with databases.
//!
//! A user has access to a database when it holds every privilege on it by its
//! own name. The server opens new databases to everybody (`PUBLIC`), so that
//! taking a user's privileges away would change nothing; the first revocation
//! closes the database, and first gives everybody else by name what they had
//! by being somebody.

use std::collections::HashMap;

use datastore::{Database, Error, ErrorKind, Result};
use tokio_postgres::error::SqlState;
use tracing::info;

use crate::Server;
use crate::databases::{database_in, in_order};
use crate::errors::sql_error;
use crate::names;
use crate::session::{Session, SqlError, SqlResult};
use crate::sql::{self, Text};
use crate::users::must_exist;

/// Privileges on databases, one row each; without any the owner's and
/// everybody's defaults hold.
const PRIVILEGES: &str =
    "pg_database d CROSS JOIN LATERAL aclexplode(COALESCE(datacl, acldefault('d', datdba))) a";
/// CREATE, CONNECT and TEMPORARY.
const ALL: i64 = 3;

/// Databases that each of `users` has access to, by name.
pub(crate) async fn databases_of(
    session: &Session,
    users: &[String],
    hidden: &[String],
) -> SqlResult<HashMap<String, Vec<Database>>> {
    let mut granted: HashMap<String, Vec<Database>> = HashMap::new();
    let query = format!(
        "SELECT rolname, datname, pg_encoding_to_char(encoding), datcollate \
         FROM {PRIVILEGES} JOIN pg_roles r ON r.oid = a.grantee \
         WHERE rolname::text = ANY ($1) AND datname::text <> ALL ($2) AND NOT datistemplate \
         GROUP BY rolname, datname, encoding, datcollate \
         HAVING count(DISTINCT privilege_type) = $3 ORDER BY {}",
        in_order("datname")
    );
    for row in session.rows(&query, &[&users, &hidden, &ALL]).await? {
        let Text(user) = row.try_get(0)?;
        granted.entry(user).or_default().push(database_in(&row, 1)?);
    }
    Ok(granted)
}

impl Server {
    /// Gives an existing user all privileges on databases. Every name is
    /// checked before the first is granted.
    pub(crate) async fn grant(&self, name: &str, databases: &[String]) -> Result<()> {
        names::check_user(name, &self.settings.ignore_users)?;
        for database in databases {
            names::check_database(database, &self.settings.ignore_dbs)?;
        }
        let session = self.session().await?;
        let known = must_exist(&session, name).await;
        session.close().await;
        known?;
        self.grant_all(name, databases.iter().map(String::as_str))
            .await
    }

    /// Gives `user` all privileges on databases, and on the schema that
    /// everybody's tables are in unless told otherwise.
    pub(crate) async fn grant_all<'a>(
        &self,
        user: &str,
        databases: impl Iterator<Item = &'a str> + Send,
    ) -> Result<()> {
        for database in databases {
            let session = self.session_of(database).await?;
            let result = grant_here(&session, user, database).await;
            session.close().await;
            let what = format!("grant access to database {database} to user {user}");
            result.map_err(|error| sql_error(what, error))?;
            info!(user, database, "Access granted.");
        }
        Ok(())
    }

    /// Takes a user's privileges on a database away. Nobody else's change.
    pub(crate) async fn revoke(&self, name: &str, database: &str) -> Result<()> {
        names::check_user(name, &self.settings.ignore_users)?;
        names::check_database(database, &self.settings.ignore_dbs)?;
        let session = self.session_of(database).await?;
        let result = match must_exist(&session, name).await {
            Ok(()) => revoke_here(&session, name, database).await,
            Err(error) => Err(error),
        };
        session.close().await;
        result?;
        info!(user = name, database, "Access revoked.");
        Ok(())
    }

    /// Databases a user has access to.
    pub(crate) async fn access_of(&self, name: &str) -> Result<Vec<Database>> {
        names::check_user(name, &self.settings.ignore_users)?;
        let session = self.session().await?;
        let result = match must_exist(&session, name).await {
            Ok(()) => databases_of(&session, &[name.to_owned()], &self.settings.ignore_dbs)
                .await
                .map_err(|error| sql_error(format!("list the databases of user {name}"), error)),
            Err(error) => Err(error),
        };
        session.close().await;
        Ok(result?.remove(name).unwrap_or_default())
    }

    /// A session of its own in the database of a request.
    async fn session_of(&self, database: &str) -> Result<Session> {
        self.session_in(database).await.map_err(|error| {
            if error.state() == Some(&SqlState::INVALID_CATALOG_NAME) {
                let text = format!("Database {database} does not exist");
                return Error::with_source(ErrorKind::NotFound, text, error);
            }
            sql_error(format!("log in to database {database}"), error)
        })
    }
}

async fn grant_here(session: &Session, user: &str, database: &str) -> SqlResult<()> {
    let (user, database) = (sql::identifier(user), sql::identifier(database));
    let mut statements = format!("GRANT ALL ON DATABASE {database} TO {user};");
    if has_public_schema(session).await? {
        statements += &format!("GRANT USAGE, CREATE ON SCHEMA public TO {user};");
    }
    session.run(&statements).await
}

async fn revoke_here(session: &Session, user: &str, database: &str) -> Result<()> {
    let what = format!("revoke access to database {database} from user {user}");
    let failed = |error: SqlError| sql_error(&what, error);
    let mut statements = close_to_public(session, user, database)
        .await
        .map_err(failed)?;
    statements += &revocations(session, user, Some(database))
        .await
        .map_err(failed)?;
    if has_public_schema(session).await.map_err(failed)? {
        let role = sql::identifier(user);
        statements += &format!("REVOKE ALL ON SCHEMA public FROM {role};");
    }
    session.run(&statements).await.map_err(failed)
}

/// Statements that take everything away from a user that it was granted on
/// one database or on all of them. Only whoever granted it can: a superuser's
/// own word counts as the owner's.
pub(crate) async fn revocations(
    session: &Session,
    user: &str,
    database: Option<&str>,
) -> SqlResult<String> {
    let query = format!(
        "SELECT DISTINCT datname, g.rolname FROM {PRIVILEGES} \
         JOIN pg_roles r ON r.oid = a.grantee JOIN pg_roles g ON g.oid = a.grantor \
         WHERE r.rolname::text = $1 AND datname::text = COALESCE($2, datname::text)"
    );
    let role = sql::identifier(user);
    let mut statements = String::new();
    for row in session.rows(&query, &[&user, &database]).await? {
        let (Text(database), Text(grantor)) = (row.try_get(0)?, row.try_get(1)?);
        let (database, grantor) = (sql::identifier(&database), sql::identifier(&grantor));
        statements += &format!(
            "SET LOCAL ROLE {grantor}; REVOKE ALL ON DATABASE {database} FROM {role} CASCADE; \
             RESET ROLE;"
        );
    }
    Ok(statements)
}

/// Statements that give every other user by name what everybody has, and take
/// it from everybody; none when it was taken before.
async fn close_to_public(session: &Session, user: &str, database: &str) -> SqlResult<String> {
    let query = format!(
        "SELECT DISTINCT privilege_type FROM {PRIVILEGES} WHERE datname::text = $1 AND grantee = 0"
    );
    let mut privileges = Vec::new();
    for row in session.rows(&query, &[&database]).await? {
        let Text(privilege) = row.try_get(0)?;
        privileges.push(privilege);
    }
    if privileges.is_empty() {
        return Ok(String::new());
    }
    let privileges = privileges.join(", ");
    let database = sql::identifier(database);
    let others = "SELECT rolname FROM pg_roles \
                  WHERE rolcanlogin AND NOT rolsuper AND rolname::text <> $1";
    let mut statements = String::new();
    for row in session.rows(others, &[&user]).await? {
        let Text(other) = row.try_get(0)?;
        let other = sql::identifier(&other);
        statements += &format!("GRANT {privileges} ON DATABASE {database} TO {other};");
    }
    statements += &format!("REVOKE {privileges} ON DATABASE {database} FROM PUBLIC;");
    Ok(statements)
}

async fn has_public_schema(session: &Session) -> SqlResult<bool> {
    let query = "SELECT 1 FROM pg_namespace WHERE nspname = 'public'";
    session.finds(query, &[]).await
}
