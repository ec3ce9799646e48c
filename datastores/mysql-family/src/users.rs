//! Users.

use std::fmt;

use datastore::{
    Error, ErrorKind, Page, PageRequest, PasswordChange, Result, Secret, User, UserAttributes,
};
use mysql_async::Value;
use tracing::{info, warn};

use crate::databases::{after, limit_clause};
use crate::errors::{code, sql_error};
use crate::grants::{databases_of, grant_all};
use crate::session::{Session, SqlResult};
use crate::{Flavor, Server, Vendor, host, identified, names, sql, tls_accounts};

/// What users are listed by, compared as bytes.
const MARKER: &str = "CAST(CONCAT(User, '@', Host) AS BINARY)";

/// Name and host of an account, host in lower case as servers store it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UserId {
    pub(crate) name: String,
    pub(crate) host: String,
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}@{}", self.name, self.host)
    }
}

impl UserId {
    /// As SQL has it.
    pub(crate) fn quoted(&self) -> String {
        sql::account(&self.name, &self.host)
    }

    fn marker(&self) -> String {
        format!("{}@{}", self.name, self.host)
    }

    /// Whether the server has this account, seen or unseen by the tenant.
    pub(crate) async fn exists(&self, session: &mut Session) -> SqlResult<bool> {
        let found: Option<u8> = session
            .first(
                "SELECT 1 FROM mysql.user \
                 WHERE CAST(User AS BINARY) = CAST(? AS BINARY) AND Host = ?",
                (&self.name, &self.host),
            )
            .await?;
        Ok(found.is_some())
    }

    pub(crate) async fn must_exist(&self, session: &mut Session) -> Result<()> {
        match self.exists(session).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.missing()),
            Err(error) => Err(sql_error(format!("look for {self}"), error)),
        }
    }

    fn missing(&self) -> Error {
        Error::not_found(format!("User {} does not exist", self.marker()))
    }

    /// `demand` is what its connections have to be.
    async fn create(&self, session: &mut Session, password: &Secret, demand: &str) -> Result<()> {
        let statement = format!("CREATE USER {}", self.quoted());
        match identified::run(session, &statement, password, demand).await {
            Ok(()) => {
                info!(user = self.marker(), "User created.");
                Ok(())
            }
            Err(error) if error.code() == Some(code::CANNOT_USER) => {
                if let Some(refusal) = password_refusal(session, self).await {
                    return Err(refusal);
                }
                let text = format!("User {} exists already", self.marker());
                Err(Error::with_source(ErrorKind::AlreadyExists, text, error))
            }
            Err(error) => Err(sql_error(format!("create {self}"), error)),
        }
    }

    async fn drop(&self, session: &mut Session) -> Result<()> {
        let result = session.run(&format!("DROP USER {}", self.quoted())).await;
        self.changed(session, "drop", result).await
    }

    async fn set_password(&self, session: &mut Session, password: &Secret) -> Result<()> {
        let statement = format!("ALTER USER {}", self.quoted());
        let result = identified::run(session, &statement, password, "").await;
        self.changed(session, "set the password of", result).await
    }

    async fn rename(&self, session: &mut Session, new: &Self) -> Result<()> {
        let statement = format!("RENAME USER {} TO {}", self.quoted(), new.quoted());
        let result = session.run(&statement).await;
        self.changed(session, "rename", result).await
    }

    /// Judges the result of a statement that needs the account to exist.
    async fn changed(
        &self,
        session: &mut Session,
        action: &str,
        result: SqlResult<()>,
    ) -> Result<()> {
        match result {
            Ok(()) => {
                info!(user = self.marker(), action, "User changed.");
                Ok(())
            }
            Err(error) if error.code() == Some(code::CANNOT_USER) => {
                if let Some(refusal) = password_refusal(session, self).await {
                    return Err(refusal);
                }
                match self.exists(session).await {
                    Ok(false) => Err(self.missing()),
                    _ => Err(sql_error(format!("{action} {self}"), error)),
                }
            }
            Err(error) => Err(sql_error(format!("{action} {self}"), error)),
        }
    }
}

impl<F: Flavor> Server<F> {
    /// The account of a request about an existing user. Reserved names are
    /// refused wherever they come from.
    pub(crate) fn user_id(&self, name: &str, host: Option<&str>) -> Result<UserId> {
        names::check_user(name, &self.reserved_users()?)?;
        let host = host::canonical(host);
        host::check(&host, false)?;
        Ok(UserId {
            name: name.to_owned(),
            host,
        })
    }

    /// The account of a request to create.
    fn new_user_id(&self, name: &str, host: Option<&str>) -> Result<UserId> {
        names::check_new_user(name, &self.reserved_users()?)?;
        let host = host::canonical(host);
        host::check(&host, self.settings.hostname_require_valid_ip)?;
        Ok(UserId {
            name: name.to_owned(),
            host,
        })
    }

    /// The account that `old` is to become. What stays is not checked again:
    /// it may be older than the rules.
    fn renamed_id(&self, old: &UserId, attributes: &UserAttributes) -> Result<UserId> {
        let mut new = old.clone();
        if let Some(name) = &attributes.name {
            names::check_new_user(name, &self.reserved_users()?)?;
            new.name.clone_from(name);
        }
        if let Some(host) = &attributes.host {
            new.host = host::canonical(Some(host));
            host::check(&new.host, self.settings.hostname_require_valid_ip)?;
        }
        Ok(new)
    }

    /// Creates users with their grants. Everything is checked before the first
    /// statement; when the server refuses one nevertheless, the users created
    /// by this call are dropped again, so that the request can be repeated.
    pub(crate) async fn add_users(&self, users: &[User]) -> Result<()> {
        let mut wanted = Vec::with_capacity(users.len());
        for user in users {
            let id = self.new_user_id(&user.name, user.host.as_deref())?;
            let Some(password) = &user.password else {
                return Err(Error::bad_request(format!("{id} has no password")));
            };
            names::check_password(&user.name, password.expose())?;
            for database in &user.databases {
                names::check_database(&database.name, &self.settings.ignore_dbs)?;
            }
            let databases: Vec<&str> = user
                .databases
                .iter()
                .map(|database| database.name.as_str())
                .collect();
            wanted.push((id, password, databases));
        }
        let demand = tls_accounts::clause(self.tls_mode());
        let mut session = self.writing_session().await?;
        let mut created: Vec<&UserId> = Vec::new();
        let mut result = Ok(());
        for (id, password, databases) in &wanted {
            result = id.create(&mut session, password, demand).await;
            if result.is_ok() {
                created.push(id);
                result = grant_all(&mut session, id, databases).await;
            }
            if result.is_err() {
                break;
            }
        }
        if result.is_err() {
            for id in created.into_iter().rev() {
                if let Err(error) = id.drop(&mut session).await {
                    warn!(%error, "User of a failed request not dropped.");
                }
            }
        }
        session.close().await;
        result
    }

    /// Users that are neither shown nor touched: those of the configuration,
    /// and whom replicas log in as.
    fn reserved_users(&self) -> Result<Vec<String>> {
        let mut reserved = self.settings.ignore_users.clone();
        reserved.extend(self.known_account()?.map(|login| login.user));
        Ok(reserved)
    }

    pub(crate) async fn page_of_users(&self, page: &PageRequest) -> Result<Page<User>> {
        let reserved = self.reserved_users()?;
        let mut session = self.session().await?;
        let result = users(&mut session, page, &reserved).await;
        session.close().await;
        let users = result.map_err(|error| sql_error("list users", error))?;
        Ok(Page::cut(users, page.limit, |user: &User| {
            format!("{}@{}", user.name, user.host.as_deref().unwrap_or("%"))
        }))
    }

    pub(crate) async fn find_user(&self, name: &str, host: Option<&str>) -> Result<Option<User>> {
        let id = self.user_id(name, host)?;
        if id.host == "localhost" {
            return Ok(None);
        }
        let mut session = self.session().await?;
        let result = match id.exists(&mut session).await {
            Ok(true) => databases_of(&mut session, std::slice::from_ref(&id))
                .await
                .map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        session.close().await;
        let granted = result.map_err(|error| sql_error(format!("look for {id}"), error))?;
        Ok(granted.map(|mut granted| User {
            databases: granted.remove(&id).unwrap_or_default(),
            name: id.name,
            host: Some(id.host),
            password: None,
            is_root: false,
        }))
    }

    pub(crate) async fn drop_user(&self, name: &str, host: Option<&str>) -> Result<()> {
        let id = self.user_id(name, host)?;
        let mut session = self.writing_session().await?;
        let result = id.drop(&mut session).await;
        session.close().await;
        result
    }

    /// Sets passwords. Everything is checked before the first is set.
    pub(crate) async fn set_passwords(&self, changes: &[PasswordChange]) -> Result<()> {
        let mut wanted = Vec::with_capacity(changes.len());
        for change in changes {
            names::check_password(&change.name, change.password.expose())?;
            wanted.push((
                self.user_id(&change.name, change.host.as_deref())?,
                &change.password,
            ));
        }
        let mut session = self.writing_session().await?;
        let result = set_all(&mut session, &wanted).await;
        session.close().await;
        result
    }

    /// Renames a user and sets its password, both or neither.
    pub(crate) async fn change_user(
        &self,
        name: &str,
        host: Option<&str>,
        attributes: &UserAttributes,
    ) -> Result<()> {
        let old = self.user_id(name, host)?;
        let new = self.renamed_id(&old, attributes)?;
        if let Some(password) = &attributes.password {
            names::check_password(&old.name, password.expose())?;
        }
        let mut session = self.writing_session().await?;
        let result = rename_and_set(&mut session, &old, &new, attributes.password.as_ref()).await;
        session.close().await;
        result
    }
}

/// Users of a page, and one more if there are more, without the `reserved`.
async fn users(
    session: &mut Session,
    page: &PageRequest,
    reserved: &[String],
) -> SqlResult<Vec<User>> {
    let mut query = "SELECT User, Host FROM mysql.user WHERE Host <> 'localhost'".to_owned();
    if session.version().vendor == Vendor::MariaDb {
        // Roles are rows, too.
        query += " AND is_role = 'N'";
    }
    let mut parameters: Vec<Value> = reserved.iter().map(Value::from).collect();
    if !reserved.is_empty() {
        query += &format!(
            " AND CAST(User AS BINARY) NOT IN ({})",
            sql::binary_placeholders(reserved.len())
        );
    }
    if let Some(marker) = &page.marker {
        query += &format!(" AND {MARKER} {} CAST(? AS BINARY)", after(page));
        parameters.push(marker.into());
    }
    query += &format!(" ORDER BY {MARKER}{}", limit_clause(page));
    let ids: Vec<UserId> = session
        .rows::<(String, String)>(&query, parameters)
        .await?
        .into_iter()
        .map(|(name, host)| UserId { name, host })
        .collect();
    let mut granted = databases_of(session, &ids).await?;
    Ok(ids
        .into_iter()
        .map(|id| User {
            databases: granted.remove(&id).unwrap_or_default(),
            name: id.name,
            host: Some(id.host),
            password: None,
            is_root: false,
        })
        .collect())
}

/// MariaDB says that it cannot do something with a user; that the password is
/// to blame stands in the warnings of the last statement.
async fn password_refusal(session: &mut Session, user: &UserId) -> Option<Error> {
    let message = session.warning(code::NOT_VALID_PASSWORD).await?;
    Some(Error::bad_request(format!(
        "Cannot set the password of {user}: {message}"
    )))
}

async fn set_all(session: &mut Session, wanted: &[(UserId, &Secret)]) -> Result<()> {
    for (id, _) in wanted {
        id.must_exist(session).await?;
    }
    for (id, password) in wanted {
        id.set_password(session, password).await?;
    }
    Ok(())
}

/// The name first: it can be taken back without knowing the old password when
/// the server refuses the new one.
async fn rename_and_set(
    session: &mut Session,
    old: &UserId,
    new: &UserId,
    password: Option<&Secret>,
) -> Result<()> {
    old.must_exist(session).await?;
    if new != old {
        let taken = new.exists(session).await;
        if taken.map_err(|error| sql_error(format!("look for {new}"), error))? {
            let text = format!("User {} exists already", new.marker());
            return Err(Error::new(ErrorKind::AlreadyExists, text));
        }
        old.rename(session, new).await?;
    }
    let Some(password) = password else {
        return Ok(());
    };
    let result = new.set_password(session, password).await;
    if result.is_err()
        && new != old
        && let Err(error) = new.rename(session, old).await
    {
        warn!(%error, "Name of a user not taken back.");
    }
    result
}
