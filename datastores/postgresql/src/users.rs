//! Users: roles that may log in.

use datastore::{Error, Page, PageRequest, PasswordChange, Result, Secret, User, UserAttributes};
use postgres_protocol::password;
use tracing::{info, warn};

use crate::Server;
use crate::access::{databases_of, revocations};
use crate::databases::{after, in_order, limit_clause};
use crate::errors::sql_error;
use crate::names;
use crate::server::SUPERUSER;
use crate::session::{Parameter, Session, SqlResult};
use crate::sql::{self, Text};

/// Roles have no hosts; the control plane's models do.
pub(crate) const ANYWHERE: &str = "%";

impl Server {
    /// Creates users with their grants. Everything is checked before the first
    /// statement; when the server refuses one nevertheless, the users created
    /// by this call are dropped again, so that the request can be repeated.
    pub(crate) async fn add_users(&self, users: &[User]) -> Result<()> {
        let mut wanted = Vec::with_capacity(users.len());
        for user in users {
            names::check_user(&user.name, &self.settings.ignore_users)?;
            let Some(password) = &user.password else {
                let name = &user.name;
                return Err(Error::bad_request(format!("User {name} has no password")));
            };
            names::check_password(&user.name, password.expose())?;
            for database in &user.databases {
                names::check_database(&database.name, &self.settings.ignore_dbs)?;
            }
            wanted.push((user, password));
        }
        let session = self.session().await?;
        let mut created: Vec<&str> = Vec::new();
        let mut result = Ok(());
        for (user, password) in wanted {
            result = create(&session, &user.name, password).await;
            if result.is_ok() {
                created.push(&user.name);
                let databases = user.databases.iter().map(|database| database.name.as_str());
                result = self.grant_all(&user.name, databases).await;
            }
            if result.is_err() {
                break;
            }
        }
        if result.is_err() {
            for name in created.into_iter().rev() {
                if let Err(error) = self.drop_role(&session, name).await {
                    warn!(%error, "User of a failed request not dropped.");
                }
            }
        }
        session.close().await;
        result
    }

    pub(crate) async fn page_of_users(&self, page: &PageRequest) -> Result<Page<User>> {
        let session = self.session().await?;
        let result = self.users(&session, page).await;
        session.close().await;
        let users = result.map_err(|error| sql_error("list users", error))?;
        Ok(Page::cut(users, page.limit, |user: &User| {
            user.name.clone()
        }))
    }

    async fn users(&self, session: &Session, page: &PageRequest) -> SqlResult<Vec<User>> {
        let reserved = &self.settings.ignore_users;
        let mut query = "SELECT rolname FROM pg_roles \
                         WHERE rolcanlogin AND rolname::text <> ALL ($1)"
            .to_owned();
        let mut parameters: Vec<Parameter<'_>> = vec![reserved];
        let marker = page.marker.as_deref().map(|marker| start(marker, page));
        if let Some(marker) = &marker {
            query += &format!(" AND {} {} $2", in_order("rolname"), after(page));
            parameters.push(marker);
        }
        query += &format!(" ORDER BY {}{}", in_order("rolname"), limit_clause(page));
        let mut names = Vec::new();
        for row in session.rows(&query, &parameters).await? {
            let Text(name) = row.try_get(0)?;
            names.push(name);
        }
        let mut granted = databases_of(session, &names, &self.settings.ignore_dbs).await?;
        let user = |name: String| shown(granted.remove(&name).unwrap_or_default(), name);
        Ok(names.into_iter().map(user).collect())
    }

    pub(crate) async fn find_user(&self, name: &str) -> Result<Option<User>> {
        names::check_user(name, &self.settings.ignore_users)?;
        let session = self.session().await?;
        let found = async {
            if !exists(&session, name).await? {
                return Ok(None);
            }
            let names = [name.to_owned()];
            let mut granted = databases_of(&session, &names, &self.settings.ignore_dbs).await?;
            Ok(Some(shown(
                granted.remove(name).unwrap_or_default(),
                name.to_owned(),
            )))
        };
        let result = found.await;
        session.close().await;
        result.map_err(|error| sql_error(format!("look for user {name}"), error))
    }

    /// Drops a user; one that does not exist is dropped already.
    pub(crate) async fn drop_user(&self, name: &str) -> Result<()> {
        names::check_user(name, &self.settings.ignore_users)?;
        let session = self.session().await?;
        let result = self.drop_role(&session, name).await;
        session.close().await;
        result
    }

    /// Drops a role. What it owns becomes the superuser's, in every database,
    /// and what it was granted is taken away: else the server would keep it.
    async fn drop_role(&self, session: &Session, name: &str) -> Result<()> {
        let failed = |error| sql_error(format!("drop user {name}"), error);
        let role = "SELECT oid FROM pg_roles WHERE rolname::text = $1";
        let Some(row) = session.first(role, &[&name]).await.map_err(failed)? else {
            info!(user = name, "User does not exist.");
            return Ok(());
        };
        let oid: u32 = row.try_get(0).map_err(|error| failed(error.into()))?;
        let rows = session
            .rows(
                "SELECT DISTINCT datname FROM pg_shdepend JOIN pg_database d ON d.oid = dbid \
                 WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1",
                &[&oid],
            )
            .await
            .map_err(failed)?;
        let quoted = sql::identifier(name);
        let release =
            format!("REASSIGN OWNED BY {quoted} TO {SUPERUSER}; DROP OWNED BY {quoted} CASCADE");
        for row in rows {
            let Text(database) = row.try_get(0).map_err(|error| failed(error.into()))?;
            let there = self.session_in(&database).await.map_err(failed)?;
            let released = there.run(&release).await;
            there.close().await;
            released.map_err(failed)?;
        }
        // Databases and their grants are not in any database.
        let granted = revocations(session, name, None).await.map_err(failed)?;
        let statements = format!("{granted}{release}; DROP ROLE {quoted}");
        session.run(&statements).await.map_err(failed)?;
        info!(user = name, "User dropped.");
        // A session outlives its role, and goes on with what it has open.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = $1";
        if let Err(error) = session.rows(end, &[&oid]).await {
            warn!(%error, user = name, "Sessions of a dropped user not ended.");
        }
        Ok(())
    }

    /// Sets passwords, all or none.
    pub(crate) async fn set_passwords(&self, changes: &[PasswordChange]) -> Result<()> {
        for change in changes {
            names::check_user(&change.name, &self.settings.ignore_users)?;
            names::check_password(&change.name, change.password.expose())?;
        }
        let session = self.session().await?;
        let work = async {
            let mut statements = String::new();
            for change in changes {
                let clause = password_clause(&session, &change.name, &change.password).await?;
                statements += &format!("ALTER ROLE {} {clause};", sql::identifier(&change.name));
            }
            session.run(&statements).await
        };
        let result = work.await;
        session.close().await;
        let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        let names = names.join(", ");
        result.map_err(|error| sql_error(format!("set the password of user {names}"), error))?;
        info!(users = names, "Passwords set.");
        Ok(())
    }

    /// Renames a user and sets its password, both or neither.
    pub(crate) async fn change_user(&self, name: &str, attributes: &UserAttributes) -> Result<()> {
        names::check_user(name, &self.settings.ignore_users)?;
        let new = attributes.name.as_deref().filter(|new| *new != name);
        if let Some(new) = new {
            names::check_user(new, &self.settings.ignore_users)?;
        }
        if let Some(password) = &attributes.password {
            names::check_password(name, password.expose())?;
        }
        let session = self.session().await?;
        let result = change(&session, name, new, attributes.password.as_ref()).await;
        session.close().await;
        result
    }
}

/// Where a page of users starts. The control plane looks for one user by the
/// marker of datastores that have hosts, and never pages with it.
fn start<'a>(marker: &'a str, page: &PageRequest) -> &'a str {
    match page.include_marker {
        true => marker.strip_suffix("@%").unwrap_or(marker),
        false => marker,
    }
}

fn shown(databases: Vec<datastore::Database>, name: String) -> User {
    User {
        name,
        host: Some(ANYWHERE.to_owned()),
        password: None,
        databases,
        is_root: false,
    }
}

/// Whether there is a user of that name.
pub(crate) async fn exists(session: &Session, name: &str) -> SqlResult<bool> {
    let query = "SELECT 1 FROM pg_roles WHERE rolcanlogin AND rolname::text = $1";
    session.finds(query, &[&name]).await
}

pub(crate) async fn must_exist(session: &Session, name: &str) -> Result<()> {
    match exists(session, name).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::not_found(format!("User {name} does not exist"))),
        Err(error) => Err(sql_error(format!("look for user {name}"), error)),
    }
}

async fn create(session: &Session, name: &str, password: &Secret) -> Result<()> {
    let work = async {
        let clause = password_clause(session, name, password).await?;
        let statement = format!("CREATE ROLE {} LOGIN {clause}", sql::identifier(name));
        session.run(&statement).await
    };
    let result = work.await;
    result.map_err(|error| sql_error(format!("create user {name}"), error))?;
    info!(user = name, "User created.");
    Ok(())
}

async fn change(
    session: &Session,
    name: &str,
    new: Option<&str>,
    password: Option<&Secret>,
) -> Result<()> {
    must_exist(session, name).await?;
    let failed = |error| sql_error(format!("change user {name}"), error);
    let mut statements = String::new();
    if let Some(new) = new {
        // The name is a part of what is stored: the server would forget it.
        let query = "SELECT 1 FROM pg_authid WHERE rolname::text = $1 AND rolpassword LIKE 'md5%'";
        if password.is_none() && session.finds(query, &[&name]).await.map_err(failed)? {
            return Err(Error::bad_request(format!(
                "The password of user {name} is stored as MD5 and would be lost with a new name: \
                 give a password, too"
            )));
        }
        let (old, new) = (sql::identifier(name), sql::identifier(new));
        statements += &format!("ALTER ROLE {old} RENAME TO {new};");
    }
    if let Some(password) = password {
        let name = new.unwrap_or(name);
        let clause = password_clause(session, name, password)
            .await
            .map_err(failed)?;
        statements += &format!("ALTER ROLE {} {clause};", sql::identifier(name));
    }
    session.run(&statements).await.map_err(failed)?;
    info!(user = name, new, "User changed.");
    Ok(())
}

/// `PASSWORD '...'` with what the server stores of it, so that the password
/// itself is in no statement, and in no log of one.
pub(crate) async fn password_clause(
    session: &Session,
    user: &str,
    password: &Secret,
) -> SqlResult<String> {
    let setting = "SELECT current_setting('password_encryption')";
    let row = session.first(setting, &[]).await?;
    let encryption: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
    let password = password.expose();
    let stored = match encryption.as_deref() {
        // Somebody has clients that know no better.
        Some("md5") => password::md5(password.as_bytes(), user),
        _ => password::scram_sha_256(password.as_bytes()),
    };
    Ok(format!("PASSWORD {}", sql::literal(&stored)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_for_one_user_is_told_from_a_page() {
        let mut page = PageRequest {
            include_marker: true,
            ..PageRequest::default()
        };
        assert_eq!(start("u@%", &page), "u");
        assert_eq!(start("u@host", &page), "u@host");
        page.include_marker = false;
        // The name of the last user on a page.
        assert_eq!(start("u@%", &page), "u@%");
    }
}
