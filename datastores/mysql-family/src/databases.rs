//! Databases.

use datastore::{Database, Error, ErrorKind, Page, PageRequest, Result};
use mysql_async::Value;
use tracing::info;

use crate::errors::{code, sql_error};
use crate::session::{Session, SqlError, SqlResult};
use crate::{Flavor, Server, Vendor, names, sql};

/// Names are compared and ordered as bytes, so that a marker means the same to
/// every version and collation.
const NAME: &str = "CAST(SCHEMA_NAME AS BINARY)";

impl<F: Flavor> Server<F> {
    /// Creates databases; an existing one is left as it is. All names are
    /// checked before the first is created. Databases created before a failure
    /// stay: somebody may be using them already.
    pub(crate) async fn add_databases(&self, databases: &[Database]) -> Result<()> {
        for database in databases {
            names::check_database(&database.name, &self.settings.ignore_dbs)?;
        }
        let mut session = self.writing_session().await?;
        let result = create_all(&mut session, databases).await;
        session.close().await;
        result
    }

    pub(crate) async fn page_of_databases(&self, page: &PageRequest) -> Result<Page<Database>> {
        let reserved = &self.settings.ignore_dbs;
        // Directories that are no databases appear as #mysql50#name.
        let mut query = "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME \
                         FROM information_schema.SCHEMATA \
                         WHERE SCHEMA_NAME NOT LIKE '#mysql50#%'"
            .to_owned();
        let mut parameters: Vec<Value> = reserved.iter().map(Value::from).collect();
        if !reserved.is_empty() {
            query += &format!(
                " AND {NAME} NOT IN ({})",
                sql::binary_placeholders(reserved.len())
            );
        }
        if let Some(marker) = &page.marker {
            query += &format!(" AND {NAME} {} CAST(? AS BINARY)", after(page));
            parameters.push(marker.into());
        }
        query += &format!(" ORDER BY {NAME}{}", limit_clause(page));

        let mut session = self.session().await?;
        let rows = session
            .rows::<(String, Option<String>, Option<String>)>(&query, parameters)
            .await;
        session.close().await;
        let databases = rows
            .map_err(|error| sql_error("list databases", error))?
            .into_iter()
            .map(|(name, character_set, collate)| Database {
                name,
                character_set,
                collate,
            })
            .collect();
        Ok(Page::cut(databases, page.limit, |database: &Database| {
            database.name.clone()
        }))
    }

    pub(crate) async fn drop_database(&self, name: &str) -> Result<()> {
        names::check_database(name, &self.settings.ignore_dbs)?;
        let mut session = self.writing_session().await?;
        let result = session
            .run(&format!("DROP DATABASE {}", sql::identifier(name)))
            .await;
        session.close().await;
        match result {
            Ok(()) => {
                info!(database = name, "Database dropped.");
                Ok(())
            }
            Err(error) if error.code() == Some(code::CANT_DROP_DATABASE) => {
                let text = format!("Database {name} does not exist");
                Err(Error::with_source(ErrorKind::NotFound, text, error))
            }
            Err(error) => Err(sql_error(format!("drop database {name}"), error)),
        }
    }
}

async fn create_all(session: &mut Session, databases: &[Database]) -> Result<()> {
    for database in databases {
        let default = match (&database.character_set, &database.collate) {
            (None, None) => default_character_set(session)
                .await
                .map_err(|error| sql_error("read the default character set", error))?,
            _ => None,
        };
        let mut statement = format!(
            "CREATE DATABASE IF NOT EXISTS {}",
            sql::identifier(&database.name)
        );
        if let Some(character_set) = database.character_set.as_deref().or(default) {
            statement += &format!(" CHARACTER SET {}", sql::literal(character_set));
        }
        if let Some(collation) = &database.collate {
            statement += &format!(" COLLATE {}", sql::literal(collation));
        }
        if let Err(error) = session.run(&statement).await {
            return Err(refusal(session, database, error).await);
        }
        info!(database = database.name, "Database created.");
    }
    Ok(())
}

/// The character set of databases for which nobody has chosen one: the
/// server's default, unless that is the product's old one of before utf8mb4
/// and nobody has set it.
async fn default_character_set(session: &mut Session) -> SqlResult<Option<&'static str>> {
    if session.version().is_at_least(Vendor::MySql, (8, 0, 0)) {
        return Ok(None);
    }
    let chosen = match session.version().vendor {
        Vendor::MariaDb => {
            session
                .first(
                    "SELECT GLOBAL_VALUE = 'utf8mb4' OR GLOBAL_VALUE_ORIGIN <> 'COMPILE-TIME' \
                     FROM information_schema.SYSTEM_VARIABLES \
                     WHERE VARIABLE_NAME = 'CHARACTER_SET_SERVER'",
                    (),
                )
                .await?
        }
        // 5.7 does not tell where a value comes from.
        Vendor::MySql => {
            session
                .first("SELECT @@GLOBAL.character_set_server <> 'latin1'", ())
                .await?
        }
    };
    Ok(if chosen == Some(true) {
        None
    } else {
        Some("utf8mb4")
    })
}

/// Why a database could not be created; for character sets and collations with
/// what the server would take.
async fn refusal(session: &mut Session, database: &Database, error: SqlError) -> Error {
    let what = format!("create database {}", database.name);
    let character_set = database.character_set.as_deref().unwrap_or_default();
    let collation = database.collate.as_deref().unwrap_or_default();
    let (problem, query, parameter) = match error.code() {
        Some(code::UNKNOWN_CHARSET) => (
            format!("there is no character set {character_set}"),
            "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS ORDER BY 1",
            None,
        ),
        Some(code::UNKNOWN_COLLATION) if character_set.is_empty() => {
            let text = format!("Cannot {what}: there is no collation {collation}");
            return Error::with_source(ErrorKind::BadRequest, text, error);
        }
        Some(code::UNKNOWN_COLLATION | code::COLLATION_MISMATCH) => (
            format!("character set {character_set} has no collation {collation}"),
            "SELECT COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY \
             WHERE CHARACTER_SET_NAME = ? ORDER BY 1",
            Some(character_set),
        ),
        _ => return sql_error(what, error),
    };
    let parameters: Vec<Value> = parameter.into_iter().map(Value::from).collect();
    let known: Vec<String> = session.rows(query, parameters).await.unwrap_or_default();
    let text = format!(
        "Cannot {what}: {problem}; {} knows {}",
        session.version(),
        known.join(", ")
    );
    Error::with_source(ErrorKind::BadRequest, text, error)
}

/// The comparison that starts a page at its marker.
pub(crate) fn after(page: &PageRequest) -> &'static str {
    if page.include_marker { ">=" } else { ">" }
}

/// One row more than the page has tells whether more follow.
pub(crate) fn limit_clause(page: &PageRequest) -> String {
    page.limit.map_or_else(String::new, |limit| {
        format!(" LIMIT {}", u64::from(limit) + 1)
    })
}
