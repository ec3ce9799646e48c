//! A server begins to follow a source.

use std::time::Duration;

use datastore::{Error, ReplicaContext, Result};
use serde_json::Value;
use tracing::info;

use super::channel::{Channel, unknown, wait_following};
use super::kept::Kept;
use super::position::{check_history, furthest};
use super::syntax::Syntax;
use crate::cnf::Document;
use crate::errors::{os_error, sql_error};
use crate::marker::Marker;
use crate::restored::{BINLOG_INFO, find_file};
use crate::session::{Session, SqlResult};
use crate::{Flavor, Server, Vendor, sql};

/// How long the source may take to send the first transaction; the caller waits
/// for 180 s.
const ATTACH_LIMIT: Duration = Duration::from_secs(60);
/// Files that tell where the binary log of the source stood when the data was
/// copied. MariaDB has its own name for it since 11.1.
const POSITION_FILES: [&str; 2] = ["mariadb_backup_binlog_info", BINLOG_INFO];
/// Key of the position in the dataset of a volume snapshot.
const SNAPSHOT_KEY: &str = "log_executed_gtid_set";

impl<F: Flavor> Server<F> {
    /// See [`Datastore::attach_replica`](datastore::Datastore::attach_replica).
    pub(crate) async fn attach(&self, context: &ReplicaContext, config: &str) -> Result<()> {
        let tls = self.source_offers_tls(&context.source).await?;
        // The data is that of a backup: what it has comes from there.
        let copied = !context.dataset.is_empty();
        let position = match copied {
            true => Some(self.copied_position(context)?),
            false => None,
        };
        let mut session = self.session().await?;
        let channel = Channel::of(&mut session).await.map_err(unknown)?;
        // A replica that follows may have got more since the source was asked.
        if !copied && channel.is_none() {
            check_history(&mut session, &context.position).await?;
        }
        let wanted = self.keep_replica_overrides(context, config).await?;
        let mut session = self.put_in_force(session, &wanted).await?;
        let result = self.follow(&mut session, context, position, tls).await;
        session.close().await;
        result?;
        Marker::Failover.remove(&self.settings.layout)?;
        self.take_tls(context).await
    }

    /// What the server is from its next start on: a replica of that source.
    pub(super) async fn keep_replica_overrides(
        &self,
        context: &ReplicaContext,
        config: &str,
    ) -> Result<Document> {
        let wanted = self.accepted(config).await?;
        self.remember_account(&context.account)?;
        self.keep_common_override().await?;
        self.keep_read_only()?;
        self.keep_override(Kept::Replica, &wanted)?;
        Ok(wanted)
    }

    /// Lets the running server follow the source; from `position` on if its data
    /// is a copy, and from where it is otherwise.
    pub(super) async fn follow(
        &self,
        session: &mut Session,
        context: &ReplicaContext,
        position: Option<String>,
        tls: bool,
    ) -> Result<()> {
        let source = format!("{}:{}", context.source.host, context.source.port);
        let failed = |error| sql_error(format!("follow the source {source}"), error);
        let syntax = Syntax::of(session.version());
        forget_source(session).await.map_err(failed)?;
        match position {
            Some(position) => begin_at(session, &position).await.map_err(failed)?,
            None => go_on_from_here(session).await.map_err(failed)?,
        }
        self.close_to_writers(session).await?;
        let follow = syntax.follow(context, tls);
        session.run(&follow).await.map_err(failed)?;
        session.run(&syntax.start()).await.map_err(failed)?;
        wait_following(session, ATTACH_LIMIT).await?;
        info!(source, "Replica follows its source.");
        Ok(())
    }

    /// Replicas have the TLS of their source.
    pub(super) async fn take_tls(&self, context: &ReplicaContext) -> Result<()> {
        let Some((mode, material)) = &context.tls else {
            return Ok(());
        };
        match self.switch_tls(Some(*mode), Some(material)).await? {
            // It is nobody's yet.
            true => self.bring_up(true).await,
            false => Ok(()),
        }
    }

    /// The position of copied data.
    pub(super) fn copied_position(&self, context: &ReplicaContext) -> Result<String> {
        if let Some(text) = context.dataset.get(SNAPSHOT_KEY).and_then(Value::as_str) {
            return Ok(text.replace('\n', ""));
        }
        let data_dir = self.settings.layout.data_dir();
        let path = find_file(&data_dir, &POSITION_FILES).ok_or_else(|| {
            Error::failed(format!(
                "The data does not tell where its source was when it was copied: there is no {} \
                 in {}. Make the replica of a new backup",
                POSITION_FILES.join(" or "),
                data_dir.display()
            ))
        })?;
        let text = guest::read_optional(&path).map_err(os_error)?;
        Ok(gtids_in(&text.unwrap_or_default()))
    }
}

/// The third field: file, position, GTIDs. Sets may be broken into lines.
fn gtids_in(text: &str) -> String {
    let gtids = text.splitn(3, '\t').nth(2).unwrap_or_default();
    gtids.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Ends following, whomever, and drops what was received and not applied: it is
/// asked for again.
pub(super) async fn forget_source(session: &mut Session) -> SqlResult<()> {
    let syntax = Syntax::of(session.version());
    if Channel::of(session).await?.is_some() {
        session.run(&syntax.stop()).await?;
        session.run(&syntax.forget()).await?;
    }
    Ok(())
}

/// Tells a server with copied data what is in there: nothing else, and nothing
/// of its own.
async fn begin_at(session: &mut Session, position: &str) -> SqlResult<()> {
    let position = sql::literal(position);
    let syntax = Syntax::of(session.version());
    let set = match session.version().vendor {
        Vendor::MySql => {
            if session.is_read_only() {
                // Even that is a change; others still may not.
                session.run("SET GLOBAL super_read_only = 0").await?;
            }
            "gtid_purged"
        }
        Vendor::MariaDb => "gtid_slave_pos",
    };
    session.run(syntax.reset_logs()).await?;
    session.run(&format!("SET GLOBAL {set} = {position}")).await
}

/// What a former source of MariaDB's has written itself is not in the position
/// that a replica goes on from. MySQL has one for both.
async fn go_on_from_here(session: &mut Session) -> SqlResult<()> {
    if session.version().vendor == Vendor::MySql {
        return Ok(());
    }
    let position = sql::literal(&furthest(session).await?.to_string());
    session
        .run(&format!("SET GLOBAL gtid_slave_pos = {position}"))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_as_tools_write_them() {
        for (text, gtids) in [
            ("binlog.000002\t157\ta-b:1-5\n", "a-b:1-5"),
            ("mariadb-bin.000001\t1099\t0-1-5,1-1-7\n", "0-1-5,1-1-7"),
            (
                "mysql-bin.000003\t197\ta-b:1-5,\nc-d:1-7\n",
                "a-b:1-5,c-d:1-7",
            ),
            // No transaction yet.
            ("mariadb-bin.000001\t330\t\n", ""),
            ("mariadb-bin.000001\t330\n", ""),
        ] {
            assert_eq!(gtids_in(text), gtids, "{text:?}");
        }
    }
}
