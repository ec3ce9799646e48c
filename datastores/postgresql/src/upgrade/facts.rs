//! What the old server says of its data: the new has to be made alike.

use datastore::{Error, ErrorKind, Result};

use crate::Server;
use crate::errors::sql_error;
use crate::session::{Session, SqlError, SqlResult};
use crate::sql::Text;

/// Parameters without which a server may not start on the data, or its
/// extensions not load.
const PARAMETERS: [&str; 5] = [
    "shared_preload_libraries",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_connections",
    "wal_level",
];

/// The data of a server.
#[derive(Debug)]
pub(super) struct Facts {
    /// The encoding of new databases.
    pub(super) encoding: String,
    /// How they sort and class characters.
    pub(super) collate: String,
    pub(super) ctype: String,
    /// Who knows the locale: `c` for the C library, `i` for ICU, `b` for the
    /// server itself; and what it calls it.
    pub(super) provider: String,
    pub(super) locale: String,
    pub(super) checksums: bool,
    /// Bytes of a file of WAL.
    pub(super) segment: i64,
    /// Names and values of [`PARAMETERS`].
    pub(super) parameters: Vec<(String, String)>,
}

impl Server {
    /// Asks the running server, and refuses what cannot be upgraded.
    pub(super) async fn facts_for_upgrade(&self) -> Result<Facts> {
        let session = self.session().await?;
        let found = async {
            if let Some(reason) = obstacle(&session).await? {
                return Ok(Err(reason));
            }
            facts(&session).await.map(Ok)
        };
        let found = found.await;
        session.close().await;
        match found.map_err(|error| sql_error("examine the server before its upgrade", error))? {
            Ok(facts) => Ok(facts),
            Err(reason) => Err(Error::new(ErrorKind::NotSupported, reason)),
        }
    }
}

async fn obstacle(session: &Session) -> SqlResult<Option<&'static str>> {
    if session.is_in_recovery().await? {
        return Ok(Some(
            "This server is a replica, which cannot be taken to another release series: upgrade \
             its source without replicas, and make new ones",
        ));
    }
    for (query, reason) in [
        (
            "SELECT 1 FROM pg_stat_replication WHERE usename = 'replicator'",
            "This server has replicas, which cannot follow it to another release series: detach \
             or delete them, upgrade, and make new ones",
        ),
        (
            "SELECT 1 FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')",
            "Databases with tablespaces cannot be upgraded: move what is in them to pg_default \
             and drop them",
        ),
    ] {
        if session.finds(query, &[]).await? {
            return Ok(Some(reason));
        }
    }
    Ok(None)
}

async fn facts(session: &Session) -> SqlResult<Facts> {
    let (provider, locale) = match session.version().major {
        ..15 => ("'c'", "''"),
        15..17 => ("datlocprovider::text", "coalesce(daticulocale, '')"),
        17.. => ("datlocprovider::text", "coalesce(datlocale, '')"),
    };
    let query = format!(
        "SELECT pg_encoding_to_char(encoding), datcollate::text, datctype::text, {provider}, \
         {locale}, current_setting('data_checksums')::bool, \
         (SELECT setting::int8 FROM pg_settings WHERE name = 'wal_segment_size') \
         FROM pg_database WHERE datname = 'template0'"
    );
    let row = session.first(&query, &[]).await?;
    let row = row.ok_or(SqlError::Nonsense("how its data was made"))?;
    let text = |column| row.try_get(column).map(|Text(text)| text);
    let mut parameters = Vec::new();
    let query = "SELECT name, setting FROM pg_settings WHERE name = ANY ($1) ORDER BY name";
    for row in session.rows(query, &[&PARAMETERS.as_slice()]).await? {
        let (Text(name), Text(value)) = (row.try_get(0)?, row.try_get(1)?);
        parameters.push((name, value));
    }
    Ok(Facts {
        encoding: text(0)?,
        collate: text(1)?,
        ctype: text(2)?,
        provider: text(3)?,
        locale: text(4)?,
        checksums: row.try_get(5)?,
        segment: row.try_get(6)?,
        parameters,
    })
}

impl Facts {
    /// The options by which `initdb` of a release series makes such data.
    pub(super) fn options(&self, major: u32) -> Vec<String> {
        let mut options = vec![
            format!("--encoding={}", self.encoding),
            format!("--lc-collate={}", self.collate),
            format!("--lc-ctype={}", self.ctype),
            format!("--wal-segsize={}", self.segment >> 20),
        ];
        match self.provider.as_str() {
            "i" => {
                options.push("--locale-provider=icu".to_owned());
                options.push(format!("--icu-locale={}", self.locale));
            }
            "b" => {
                options.push("--locale-provider=builtin".to_owned());
                options.push(format!("--builtin-locale={}", self.locale));
            }
            _ => {}
        }
        match self.checksums {
            true => options.push("--data-checksums".to_owned()),
            // The default since.
            false if major >= 18 => options.push("--no-data-checksums".to_owned()),
            false => {}
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_data_is_made_like_the_old() {
        let mut facts = Facts {
            encoding: "UTF8".into(),
            collate: "C.UTF-8".into(),
            ctype: "C.UTF-8".into(),
            provider: "c".into(),
            locale: String::new(),
            checksums: false,
            segment: 64 << 20,
            parameters: Vec::new(),
        };
        let like_before = facts.options(17);
        assert!(like_before.contains(&"--wal-segsize=64".to_owned()));
        assert!(
            !like_before
                .iter()
                .any(|option| option.contains("checksums"))
        );
        assert!(
            facts
                .options(18)
                .contains(&"--no-data-checksums".to_owned())
        );
        facts.checksums = true;
        facts.provider = "i".into();
        facts.locale = "de-AT".into();
        let options = facts.options(18);
        for option in [
            "--data-checksums",
            "--locale-provider=icu",
            "--icu-locale=de-AT",
        ] {
            assert!(options.contains(&option.to_owned()), "{options:?}");
        }
    }
}
