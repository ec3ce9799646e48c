//! The table of options: what Trove's guest agent reads (`trove/common/cfg.py`,
//! `trove/cmd/guest.py`, oslo.messaging, oslo.log) and the few of our own.
//! Defaults and types are those of Trove 26.

use oslo_config::{Kind, Opt};

use super::control_plane::{CONTROL_PLANE, CONTROL_PLANE_SECRETS};
use super::rabbit;

/// What this agent does with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It is honoured.
    Native,
    /// It belongs to an operation that may not be there yet; it is checked.
    Later,
    /// It configures containers, which this agent doesn't run.
    DockerOnly,
    /// Upstream's agent reads it; here it means nothing.
    NoEffect,
    /// Only the control plane reads it.
    ControlPlane,
}

/// An option and its class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) opt: Opt,
    pub(crate) class: Class,
}

impl Row {
    const fn new(class: Class, group: &'static str, name: &'static str, kind: Kind) -> Self {
        Self {
            opt: Opt::new(group, name, kind),
            class,
        }
    }

    pub(super) const fn native(group: &'static str, name: &'static str, kind: Kind) -> Self {
        Self::new(Class::Native, group, name, kind)
    }

    const fn later(group: &'static str, name: &'static str, kind: Kind) -> Self {
        Self::new(Class::Later, group, name, kind)
    }

    const fn docker(group: &'static str, name: &'static str) -> Self {
        Self::new(Class::DockerOnly, group, name, Kind::Str)
    }

    const fn no_effect(group: &'static str, name: &'static str) -> Self {
        Self::new(Class::NoEffect, group, name, Kind::Str)
    }

    const fn control_plane(group: &'static str, name: &'static str) -> Self {
        Self::new(Class::ControlPlane, group, name, Kind::Str)
    }

    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.opt = self.opt.default(text);
        self
    }

    pub(super) const fn deprecated(
        mut self,
        names: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.opt = self.opt.deprecated(names);
        self
    }

    const fn secret(mut self) -> Self {
        self.opt = self.opt.secret();
        self
    }

    const fn help(mut self, text: &'static str) -> Self {
        self.opt = self.opt.help(text);
        self
    }
}

/// Longest time an option may give, in seconds: ten years. Sums of times stay
/// far from any overflow.
const LONGEST: i64 = 315_360_000;
/// A time in seconds where zero has a meaning.
const SECONDS: Kind = Kind::between(0, LONGEST);
/// A time in seconds where zero would be a mistake.
const SOME_SECONDS: Kind = Kind::between(1, LONGEST);
/// A count of at least one that fits 32 bits.
const COUNT: Kind = Kind::between(1, i32::MAX as i64);

const D: &str = "DEFAULT";
const OWN: &str = "guest_agent";

/// Every option, in the order of reports.
pub(crate) fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(IDENTITY);
    rows.extend(MESSAGING);
    rows.extend(LIFE);
    rows.extend(DATA);
    rows.extend(LOGS);
    rows.extend(OWN_OPTIONS);
    rows.extend(OWN_BACKUP_OPTIONS);
    rows.extend(SERVICE_CREDENTIALS);
    rows.extend(rabbit::OPTIONS);
    rows.extend(datastore("mysql"));
    rows.extend(datastore("mariadb"));
    rows.extend(datastore("postgresql"));
    rows.extend(IGNORED);
    rows.extend(CONTROL_PLANE.iter().map(|(name, default)| {
        let mut row = Row::control_plane(D, name);
        row.opt.default = *default;
        row.opt.secret = CONTROL_PLANE_SECRETS.contains(name);
        row
    }));
    rows
}

const IDENTITY: [Row; 8] = [
    Row::native(D, "guest_id", Kind::Str),
    Row::native(D, "datastore_manager", Kind::Str),
    Row::native(D, "datastore_version", Kind::Str),
    Row::native(D, "tenant_id", Kind::Str),
    Row::native(D, "datastore_registry_ext", Kind::Dict).default(""),
    Row::native(D, "instance_rpc_encr_key", Kind::Str).secret(),
    Row::native(D, "injected_config_location", Kind::Str).default("/etc/trove/conf.d"),
    Row::native(D, "guest_info", Kind::Str).default("guest_info.conf"),
];

const MESSAGING: [Row; 5] = [
    Row::native(D, "transport_url", Kind::Str)
        .default("rabbit://")
        .secret(),
    Row::native(D, "control_exchange", Kind::Str).default("openstack"),
    Row::native(D, "conductor_queue", Kind::Str).default("trove-conductor"),
    Row::native(D, "executor_thread_pool_size", COUNT)
        .default("64")
        .deprecated(&[(D, "rpc_thread_pool_size")]),
    Row::native(D, "rpc_ping_enabled", Kind::Bool).default("false"),
];

const LIFE: [Row; 17] = [
    Row::native(D, "report_interval", SECONDS).default("30"),
    Row::native(D, "state_change_wait_time", SOME_SECONDS).default("180"),
    Row::native(D, "state_change_poll_time", SOME_SECONDS).default("3"),
    Row::native(D, "state_healthy_counts", COUNT).default("5"),
    Row::native(D, "command_process_timeout", SOME_SECONDS).default("30"),
    Row::native(D, "num_tries", COUNT).default("3"),
    Row::native(D, "volume_fstype", Kind::one_of(&["ext3", "ext4", "xfs"])).default("ext4"),
    Row::native(D, "format_options", Kind::Str).default("-m 5"),
    Row::native(D, "volume_format_timeout", SOME_SECONDS).default("120"),
    Row::native(D, "mount_options", Kind::Str).default("defaults,noatime"),
    Row::native(D, "database_service_uid", Kind::Str).default("1001"),
    Row::native(D, "network_isolation", Kind::Bool),
    Row::native(D, "ssl_mode", Kind::Str),
    Row::native(D, "replication_strategy", Kind::Str),
    Row::native(D, "root_grant", Kind::List).default("ALL"),
    Row::native(D, "root_grant_option", Kind::Bool).default("true"),
    Row::native(D, "hostname_require_valid_ip", Kind::Bool)
        .default("true")
        .deprecated(&[(D, "hostname_require_ipv4")]),
];

const DATA: [Row; 11] = [
    Row::native(D, "storage_strategy", Kind::Str).default("swift"),
    Row::native(D, "backup_swift_container", Kind::Str).default("database_backups"),
    Row::native(D, "backup_aes_cbc_key", Kind::Str)
        .default("")
        .secret(),
    Row::native(D, "swift_url", Kind::Uri),
    Row::native(D, "swift_service_type", Kind::Str).default("object-store"),
    Row::native(D, "swift_endpoint_type", Kind::Str).default("publicURL"),
    Row::native(D, "swift_api_insecure", Kind::Bool).default("false"),
    Row::native(D, "guest_log_container_name", Kind::Str).default("database_logs"),
    Row::native(D, "guest_log_limit", Kind::at_least(1)).default("1000000"),
    Row::native(D, "guest_log_expiry", SECONDS).default("2592000"),
    Row::native(D, "module_types", Kind::List).default("ping,new_relic_license"),
];

const LOGS: [Row; 4] = [
    Row::native(D, "debug", Kind::Bool).default("false"),
    Row::native(D, "log_dir", Kind::Str).deprecated(&[(D, "logdir")]),
    Row::native(D, "log_file", Kind::Str).deprecated(&[(D, "logfile")]),
    Row::native(D, "use_stderr", Kind::Bool).default("false"),
];

const LOG_LEVELS: Kind = Kind::Choice {
    choices: &["trace", "debug", "info", "warn", "warning", "error"],
    ignore_case: true,
};

const COMPRESSIONS: Kind = Kind::one_of(&["gzip", "zstd", "none"]);

const OWN_BACKUP_OPTIONS: [Row; 14] = [
    Row::native(OWN, "backup_compression", COMPRESSIONS)
        .default("gzip")
        .help("gzip can be restored by every Trove guest; zstd is faster and smaller."),
    Row::native(OWN, "backup_compression_level", Kind::between(0, 19))
        .default("0")
        .help("gzip 1 to 12, zstd 1 to 19; 0 chooses."),
    Row::native(OWN, "backup_threads", Kind::between(0, 256))
        .default("0")
        .help("Blocks compressed at once; 0 means one for each core."),
    Row::native(OWN, "backup_uploads", Kind::between(1, 64))
        .default("3")
        .help("Parts sent at once. Each is in memory until the store has it."),
    Row::native(OWN, "backup_bandwidth", Kind::at_least(0))
        .default("0")
        .help("Bytes per second read from the database; 0 is no limit."),
    Row::native(OWN, "backup_encryption_passphrase", Kind::Str)
        .secret()
        .help("Encrypt backups with age before they leave the guest."),
    Row::native(OWN, "backup_directory", Kind::Str)
        .help("Where the storage driver local keeps backups."),
    Row::native(OWN, "object_store_ca_file", Kind::Str)
        .help("PEM file of the authorities of Swift, Keystone and S3; the system's if unset."),
    Row::native(OWN, "object_store_tries", Kind::between(1, 20))
        .default("6")
        .help("How often a request to an object store is made before its error counts."),
    Row::native(OWN, "s3_endpoint", Kind::Uri).help("URL of the storage driver s3."),
    Row::native(OWN, "s3_region", Kind::Str).default("us-east-1"),
    Row::native(OWN, "s3_path_style", Kind::Bool)
        .default("true")
        .help("Name the bucket in the path, not in the host."),
    Row::native(OWN, "s3_access_key", Kind::Str),
    Row::native(OWN, "s3_secret_key", Kind::Str).secret(),
];

const OWN_OPTIONS: [Row; 6] = [
    Row::native(OWN, "allow_clear_text_rpc", Kind::Bool)
        .default("false")
        .help("Execute requests that are not sealed although instance_rpc_encr_key is set."),
    Row::native(OWN, "log_level", LOG_LEVELS).help("Least severe level to log; wins over debug."),
    Row::native(OWN, "state_path", Kind::Str)
        .default("/var/lib/trove-guestagent")
        .help("Directory of what the agent remembers across restarts."),
    Row::docker(OWN, "container_registry"),
    Row::docker(OWN, "container_registry_username"),
    Row::docker(OWN, "container_registry_password").secret(),
];

const SERVICE_CREDENTIALS: [Row; 8] = [
    Row::native("service_credentials", "region_name", Kind::Str)
        .default("RegionOne")
        .deprecated(&[(D, "os_region_name")]),
    // Upstream's default is an address that cannot be meant.
    Row::native("service_credentials", "auth_url", Kind::Uri).deprecated(&[(D, "trove_auth_url")]),
    Row::control_plane("service_credentials", "username")
        .deprecated(&[(D, "nova_proxy_admin_user")]),
    Row::control_plane("service_credentials", "password")
        .deprecated(&[(D, "nova_proxy_admin_pass")])
        .secret(),
    Row::control_plane("service_credentials", "project_id")
        .deprecated(&[(D, "nova_proxy_admin_tenant_id")]),
    Row::control_plane("service_credentials", "project_name")
        .deprecated(&[(D, "nova_proxy_admin_tenant_name")]),
    Row::control_plane("service_credentials", "project_domain_name")
        .deprecated(&[(D, "nova_proxy_admin_project_domain_name")]),
    Row::control_plane("service_credentials", "user_domain_name")
        .deprecated(&[(D, "nova_proxy_admin_user_domain_name")]),
];

/// Read by upstream's agent, without meaning here: containers, the Python
/// logging module, template files, version caps (all casts are 1.0).
const IGNORED: [Row; 41] = [
    Row::docker(D, "docker_bridge_network_ip"),
    Row::docker(D, "docker_insecure_registries"),
    Row::no_effect(D, "default_log_levels"),
    // Every datastore's section has its own, which always wins.
    Row::no_effect(D, "device_path").default("/dev/vdb"),
    Row::no_effect(D, "fatal_deprecations"),
    Row::no_effect(D, "instance_format"),
    Row::no_effect(D, "instance_uuid_format"),
    Row::no_effect(D, "log_color"),
    Row::no_effect(D, "log_config_append").deprecated(&[(D, "log-config"), (D, "log_config")]),
    Row::no_effect(D, "log_date_format"),
    Row::no_effect(D, "log_rotate_interval"),
    Row::no_effect(D, "log_rotate_interval_type"),
    Row::no_effect(D, "log_rotation_type"),
    Row::no_effect(D, "logging_context_format_string"),
    Row::no_effect(D, "logging_debug_format_suffix"),
    Row::no_effect(D, "logging_default_format_string"),
    Row::no_effect(D, "logging_exception_prefix"),
    Row::no_effect(D, "logging_user_identity_format"),
    Row::no_effect(D, "max_logfile_count"),
    Row::no_effect(D, "max_logfile_size_mb"),
    Row::no_effect(D, "publish_errors"),
    Row::no_effect(D, "rate_limit_burst"),
    Row::no_effect(D, "rate_limit_except_level"),
    Row::no_effect(D, "rate_limit_interval"),
    Row::no_effect(D, "rpc_response_timeout"),
    Row::no_effect(D, "sql_query_logging"),
    Row::no_effect(D, "syslog_log_facility"),
    Row::no_effect(D, "template_path"),
    Row::no_effect(D, "use_journal"),
    Row::no_effect(D, "use_json"),
    Row::no_effect(D, "use_syslog"),
    Row::no_effect(D, "watch_log_file"),
    Row::no_effect(D, "pydev_debug"),
    Row::no_effect(D, "pydev_debug_host"),
    Row::no_effect(D, "pydev_debug_port"),
    Row::no_effect(D, "pydev_path"),
    Row::no_effect(D, "pybasedir"),
    Row::no_effect("upgrade_levels", "conductor").default("latest"),
    Row::no_effect("upgrade_levels", "guestagent").default("latest"),
    Row::no_effect("upgrade_levels", "taskmanager").default("latest"),
    Row::no_effect("postgresql", "wal_archive_location").default("/mnt/wal_archive"),
];

/// The section of a datastore.
fn datastore(group: &'static str) -> Vec<Row> {
    let choose = |mysql, mariadb, postgresql| match group {
        "mysql" => mysql,
        "mariadb" => mariadb,
        _ => postgresql,
    };
    let postgresql = group == "postgresql";
    let mut rows = vec![
        Row::native(group, "mount_point", Kind::Str).default(if postgresql {
            "/var/lib/postgresql"
        } else {
            "/var/lib/mysql"
        }),
        Row::native(group, "device_path", Kind::Str).default("/dev/vdb"),
        Row::native(group, "database_service_uname", Kind::Str).default("database"),
        Row::native(group, "database_service_uid", Kind::Str),
        Row::native(group, "database_service_gid", Kind::Str),
        in_default_before(
            Row::native(group, "ignore_users", Kind::List),
            postgresql,
            &[(D, "ignore_users")],
        )
        .default(if postgresql {
            "os_admin,postgres"
        } else {
            "os_admin,root"
        }),
        in_default_before(
            Row::native(group, "ignore_dbs", Kind::List),
            postgresql,
            &[(D, "ignore_dbs")],
        )
        .default(choose(
            "mysql,information_schema,performance_schema,sys",
            "mysql,information_schema,performance_schema",
            "os_admin,postgres",
        )),
        Row::native(group, "default_password_length", Kind::between(1, 4096)).default(choose(
            "36",
            "${mysql.default_password_length}",
            "36",
        )),
        Row::native(group, "replication_strategy", Kind::Str).default(choose(
            "MysqlGTIDReplication",
            "MariaDBGTIDReplication",
            "PostgresqlReplicationStreaming",
        )),
        Row::native(group, "replication_namespace", Kind::Str).default(choose(
            "trove.guestagent.strategies.replication.mysql_gtid",
            "trove.guestagent.strategies.replication.mariadb_gtid",
            "trove.guestagent.strategies.replication.postgresql",
        )),
        in_default_before(
            Row::later(group, "backup_strategy", Kind::Str),
            postgresql,
            &[(D, "backup_strategy")],
        )
        .default(choose("innobackupex", "mariabackup", "pg_basebackup")),
        Row::native(group, "guest_log_exposed_logs", Kind::List).default(if postgresql {
            "general"
        } else {
            "general,slow_query"
        }),
        Row::native(group, "guest_log_long_query_time", SECONDS).default(if postgresql {
            "0"
        } else {
            "1000"
        }),
        Row::docker(group, "docker_image"),
        Row::docker(group, "backup_docker_image"),
        // Upstream publishes these ports of the container.
        Row::docker(group, "tcp_ports"),
    ];
    if group == "mysql" {
        rows.push(
            Row::native(group, "replica_provisioning", Kind::one_of(&["snapshot", "clone"]))
                .default("snapshot")
                .help("clone: replicas copy the data of the running source; MySQL 8.0.17 and newer, both guests ours."),
        );
    }
    if postgresql {
        rows.push(Row::native(group, "postgresql_port", Kind::between(1, 65_535)).default("5432"));
        rows.push(Row::native(group, "enable_clean_wal_archives", Kind::Bool).default("true"));
        rows.push(
            Row::native(group, "backup_incremental", Kind::one_of(&["wal", "native"]))
                .default("wal")
                .help("native: blocks that have changed, from PostgreSQL 17 on; upstream cannot restore them."),
        );
    }
    let control_plane = [
        "udp_ports",
        "icmp",
        "root_on_create",
        "usage_timeout",
        "volume_support",
        "root_controller",
        "cluster_support",
        "min_cluster_member_count",
        "api_strategy",
        "guestagent_strategy",
        "taskmanager_strategy",
    ];
    rows.extend(control_plane.map(|name| Row::control_plane(group, name)));
    rows
}

/// Options that stood in `[DEFAULT]` once and are still read from there,
/// except PostgreSQL's.
fn in_default_before(row: Row, postgresql: bool, names: &'static [(&str, &str)]) -> Row {
    if postgresql {
        row
    } else {
        row.deprecated(names)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_option_stands_twice() {
        let mut seen = HashSet::new();
        for Row { opt, .. } in table() {
            assert!(
                seen.insert((opt.group, opt.name)),
                "[{}] {}",
                opt.group,
                opt.name
            );
            assert!(!opt.secret || opt.kind == Kind::Str, "{}", opt.name);
        }
    }

    #[test]
    fn every_default_is_allowed() {
        for Row { opt, .. } in table() {
            if let Some(text) = opt.default.filter(|text| !text.contains('$')) {
                assert!(
                    opt.kind.convert(text).is_ok(),
                    "[{}] {} = {text}",
                    opt.group,
                    opt.name
                );
            }
        }
    }
}
