//! The words of replication: MySQL has replaced all of them in 8.0.22 and
//! 8.0.23 and taken the old ones away in 8.4; MariaDB goes on with those.

use datastore::ReplicaContext;

use crate::{ServerVersion, Vendor, sql};

/// Seconds between two attempts to reach a source that is away.
const RETRY_SECONDS: u32 = 5;
/// So often that years go by: the defaults give up, MySQL's after ten times
/// since 8.4.
const RETRIES: u32 = 100_000_000;
/// Seconds after which an idle source gives a sign of life.
const HEARTBEAT_SECONDS: u32 = 5;

/// The statements of one version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syntax {
    vendor: Vendor,
    modern: bool,
    resets_by_name: bool,
    asks_for_key: bool,
}

impl Syntax {
    pub(super) fn of(version: &ServerVersion) -> Self {
        Self {
            vendor: version.vendor,
            modern: version.is_at_least(Vendor::MySql, (8, 0, 23)),
            resets_by_name: version.is_at_least(Vendor::MySql, (8, 2, 0)),
            asks_for_key: version.is_at_least(Vendor::MySql, (8, 0, 4)),
        }
    }

    pub(super) fn status(self) -> &'static str {
        match self.modern {
            true => "SHOW REPLICA STATUS",
            false => "SHOW SLAVE STATUS",
        }
    }

    /// The name of a column of the status, by its old one.
    pub(super) fn column(self, old: &str) -> String {
        match self.modern {
            true => old.replace("Master", "Source").replace("Slave", "Replica"),
            false => old.to_owned(),
        }
    }

    pub(super) fn start(self) -> String {
        format!("START {}", self.replica())
    }

    pub(super) fn stop(self) -> String {
        format!("STOP {}", self.replica())
    }

    /// Stops receiving, and goes on applying.
    pub(super) fn stop_receiving(self) -> String {
        format!("STOP {} IO_THREAD", self.replica())
    }

    /// Applies what has been received.
    pub(super) fn start_applying(self) -> String {
        format!("START {} SQL_THREAD", self.replica())
    }

    /// Forgets the source, and what was received of it.
    pub(super) fn forget(self) -> String {
        format!("RESET {} ALL", self.replica())
    }

    /// Empties the binary log, and what the server knows of GTIDs.
    pub(super) fn reset_logs(self) -> &'static str {
        match self.resets_by_name {
            true => "RESET BINARY LOGS AND GTIDS",
            false => "RESET MASTER",
        }
    }

    /// Names the source. `tls` is whether it offers TLS: MySQL either demands
    /// it or does without, MariaDB takes it when it is there.
    pub(super) fn follow(self, context: &ReplicaContext, tls: bool) -> String {
        let account = &context.account;
        let mut options = vec![
            ("HOST", sql::literal(&context.source.host)),
            ("PORT", context.source.port.to_string()),
            ("USER", sql::literal(&account.name)),
            ("PASSWORD", sql::literal(account.password.expose())),
            ("CONNECT_RETRY", RETRY_SECONDS.to_string()),
            ("HEARTBEAT_PERIOD", HEARTBEAT_SECONDS.to_string()),
        ];
        match self.vendor {
            Vendor::MariaDb => {
                options.push(("USE_GTID", "slave_pos".to_owned()));
                options.push(("SSL", "1".to_owned()));
                options.push(("SSL_VERIFY_SERVER_CERT", "0".to_owned()));
            }
            Vendor::MySql => {
                options.push(("AUTO_POSITION", "1".to_owned()));
                options.push(("RETRY_COUNT", RETRIES.to_string()));
                options.push(("SSL", u8::from(tls).to_string()));
            }
        }
        let (statement, prefix) = self.change();
        let mut options: Vec<String> = options
            .into_iter()
            .map(|(name, value)| format!("{prefix}_{name} = {value}"))
            .collect();
        if self.asks_for_key {
            options.push(format!("GET_{prefix}_PUBLIC_KEY = 1"));
        }
        format!("{statement} {}", options.join(", "))
    }

    /// Changes whether encryption is demanded.
    pub(super) fn encrypt(self, tls: bool) -> String {
        let (statement, prefix) = self.change();
        format!("{statement} {prefix}_SSL = {}", u8::from(tls))
    }

    fn change(self) -> (&'static str, &'static str) {
        match self.modern {
            true => ("CHANGE REPLICATION SOURCE TO", "SOURCE"),
            false => ("CHANGE MASTER TO", "MASTER"),
        }
    }

    fn replica(self) -> &'static str {
        match self.modern {
            true => "REPLICA",
            false => "SLAVE",
        }
    }
}

#[cfg(test)]
mod tests {
    use datastore::{Endpoint, ReplicationAccount, Secret};
    use serde_json::Map;

    use super::*;

    fn of(version: &str) -> Syntax {
        Syntax::of(&ServerVersion::parse(version).unwrap())
    }

    fn context() -> ReplicaContext {
        ReplicaContext {
            source: Endpoint {
                host: "192.0.2.7".into(),
                port: 3307,
            },
            account: ReplicationAccount {
                name: "slave_1".into(),
                password: Secret::new("it's"),
            },
            position: Map::new(),
            dataset: Map::new(),
            tls: None,
        }
    }

    #[test]
    fn every_version_has_its_words() {
        for (version, start, status, reset) in [
            ("5.7.44", "START SLAVE", "SHOW SLAVE STATUS", "RESET MASTER"),
            ("8.0.22", "START SLAVE", "SHOW SLAVE STATUS", "RESET MASTER"),
            (
                "8.0.37",
                "START REPLICA",
                "SHOW REPLICA STATUS",
                "RESET MASTER",
            ),
            (
                "8.4.2",
                "START REPLICA",
                "SHOW REPLICA STATUS",
                "RESET BINARY LOGS AND GTIDS",
            ),
            (
                "11.8.3-MariaDB",
                "START SLAVE",
                "SHOW SLAVE STATUS",
                "RESET MASTER",
            ),
        ] {
            let syntax = of(version);
            assert_eq!(syntax.start(), start, "{version}");
            assert_eq!(syntax.status(), status, "{version}");
            assert_eq!(syntax.reset_logs(), reset, "{version}");
        }
        assert_eq!(of("9.7.4").column("Slave_IO_Running"), "Replica_IO_Running");
        assert_eq!(of("9.7.4").column("Master_Host"), "Source_Host");
        assert_eq!(of("10.11.2-MariaDB").column("Master_Host"), "Master_Host");
    }

    #[test]
    fn the_source_is_named_by_gtid() {
        let text = of("9.7.4").follow(&context(), true);
        assert!(text.starts_with(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '192.0.2.7', SOURCE_PORT = 3307, "
        ));
        assert!(text.contains("SOURCE_PASSWORD = 'it''s'"));
        assert!(text.contains("SOURCE_AUTO_POSITION = 1"));
        assert!(text.ends_with("SOURCE_SSL = 1, GET_SOURCE_PUBLIC_KEY = 1"));
        let text = of("5.7.44").follow(&context(), false);
        assert!(text.starts_with("CHANGE MASTER TO MASTER_HOST"));
        assert!(text.ends_with("MASTER_SSL = 0"));
        assert!(
            of("8.0.20")
                .follow(&context(), true)
                .ends_with("GET_MASTER_PUBLIC_KEY = 1")
        );
        let text = of("10.11.19-MariaDB").follow(&context(), false);
        assert!(text.ends_with(
            "MASTER_USE_GTID = slave_pos, MASTER_SSL = 1, MASTER_SSL_VERIFY_SERVER_CERT = 0"
        ));
    }
}
