//! Databases.

use datastore::{Database, Page, PageRequest, Result};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tracing::info;

use crate::Server;
use crate::errors::sql_error;
use crate::names;
use crate::session::{Parameter, Session, SqlResult};
use crate::sql::{self, Text};

impl Server {
    /// Creates databases; an existing one is left as it is. All names are
    /// checked before the first is created. Databases created before a failure
    /// stay: somebody may be using them already.
    pub(crate) async fn add_databases(&self, databases: &[Database]) -> Result<()> {
        for database in databases {
            names::check_database(&database.name, &self.settings.ignore_dbs)?;
        }
        let session = self.session().await?;
        let result = create_all(&session, databases).await;
        session.close().await;
        result
    }

    pub(crate) async fn page_of_databases(&self, page: &PageRequest) -> Result<Page<Database>> {
        let reserved = &self.settings.ignore_dbs;
        let mut query = "SELECT datname, pg_encoding_to_char(encoding), datcollate \
                         FROM pg_database WHERE NOT datistemplate AND datname::text <> ALL ($1)"
            .to_owned();
        let mut parameters: Vec<Parameter<'_>> = vec![reserved];
        if let Some(marker) = &page.marker {
            query += &format!(" AND {} {} $2", in_order("datname"), after(page));
            parameters.push(marker);
        }
        query += &format!(" ORDER BY {}{}", in_order("datname"), limit_clause(page));

        let session = self.session().await?;
        let rows = session.rows(&query, &parameters).await;
        session.close().await;
        let databases = rows
            .and_then(|rows| rows.iter().map(|row| database_in(row, 0)).collect())
            .map_err(|error| sql_error("list databases", error))?;
        Ok(Page::cut(databases, page.limit, |database: &Database| {
            database.name.clone()
        }))
    }

    /// Drops a database with everything in it, and ends the sessions that use
    /// it. One that does not exist is dropped already.
    pub(crate) async fn drop_database(&self, name: &str) -> Result<()> {
        names::check_database(name, &self.settings.ignore_dbs)?;
        let session = self.session().await?;
        let statement = format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            sql::identifier(name)
        );
        let result = session.run(&statement).await;
        session.close().await;
        result.map_err(|error| sql_error(format!("drop database {name}"), error))?;
        info!(database = name, "Database dropped.");
        Ok(())
    }
}

async fn create_all(session: &Session, databases: &[Database]) -> Result<()> {
    for database in databases {
        let name = &database.name;
        let mut statement = format!("CREATE DATABASE {}", sql::identifier(name));
        if let Some(encoding) = &database.character_set {
            statement += &format!(" ENCODING {}", sql::literal(encoding));
        }
        if let Some(locale) = &database.collate {
            // Order and classes of characters come from one locale: others do
            // not fit every encoding.
            let locale = sql::literal(locale);
            statement += &format!(" LC_COLLATE {locale} LC_CTYPE {locale}");
        }
        if database.character_set.is_some() || database.collate.is_some() {
            // Only from this one can a copy differ.
            statement += " TEMPLATE template0";
        }
        match session.run(&statement).await {
            Ok(()) => info!(database = name, "Database created."),
            Err(error) if error.state() == Some(&SqlState::DUPLICATE_DATABASE) => {
                info!(database = name, "Database exists already.");
            }
            Err(error) => return Err(sql_error(format!("create database {name}"), error)),
        }
    }
    Ok(())
}

/// A database from three columns of a row, the first at `index`.
pub(crate) fn database_in(row: &Row, index: usize) -> SqlResult<Database> {
    let Text(name) = row.try_get(index)?;
    let Text(character_set) = row.try_get(index + 1)?;
    let Text(collate) = row.try_get(index + 2)?;
    Ok(Database {
        name,
        character_set: Some(character_set),
        collate: Some(collate),
    })
}

/// A name as it is ordered and compared with markers: by code points.
pub(crate) fn in_order(column: &str) -> String {
    format!("{column}::text COLLATE \"C\"")
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
