//! The injected files are what Trove 26 writes into guests, with the ids and
//! the key replaced.

use std::path::Path;
use std::time::Duration;

use oslo_config::{MemoryFileSystem, Value};
use secrecy::ExposeSecret;

use super::settings::{ServiceAccount, VolumeSettings};
use super::*;

const OPERATOR: &str = include_str!("testdata/trove-guestagent.conf");
const MYSQL: &str = include_str!("testdata/encrypted-mysql.conf");
const MARIADB: &str = include_str!("testdata/encrypted-mariadb.conf");
const POSTGRESQL: &str = include_str!("testdata/encrypted-postgresql.conf");
const REBUILT: &str = include_str!("testdata/rebuild-mariadb.conf");
const ISOLATED: &str = include_str!("testdata/network-isolation-unencrypted.conf");

const KEY: &str = "SANITISEDsanitised0123456789canary";

fn load_with(
    guest_info: &str,
    operator: &str,
    env: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let fs = MemoryFileSystem::default()
        .file("/etc/trove/conf.d/guest_info.conf", guest_info)
        .file("/etc/trove/conf.d/trove-guestagent.conf", operator);
    let args = ConfigArgs {
        sources: vec![Source::Dir("/etc/trove/conf.d".into())],
        environment: env.iter().copied().collect(),
    };
    load_from(&args, &fs)
}

fn settings(guest_info: &str, operator: &str) -> Settings {
    load_with(guest_info, operator, &[]).unwrap().settings
}

/// Settings of a MariaDB guest with options of `[guest_agent]`.
pub(crate) fn with_own(options: &str) -> Settings {
    settings(MARIADB, &format!("{OPERATOR}\n[guest_agent]\n{options}"))
}

fn problems(guest_info: &str, operator: &str) -> Vec<String> {
    let error = load_with(guest_info, operator, &[]).unwrap_err();
    assert_eq!(
        error.to_string().lines().count(),
        error.problems.len(),
        "{error}"
    );
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn what_trove_injects_for_mysql() {
    let settings = settings(MYSQL, OPERATOR);
    assert_eq!(settings.guest_id, "00000000-1111-4222-8333-444444444444");
    assert_eq!(settings.datastore_manager, DatastoreManager::Mysql);
    assert_eq!(settings.datastore_version.as_deref(), Some("8.4.6"));
    assert_eq!(
        settings.tenant_id.as_deref(),
        Some("0123456789abcdef0123456789abcdef")
    );
    assert_eq!(settings.rpc_key.unwrap().expose_secret(), KEY);
    assert!(!settings.allow_clear_text_rpc);
    assert_eq!(
        settings.transport_url.expose_secret(),
        "rabbit://guest:guest@127.0.0.1:5672/"
    );
    assert_eq!(settings.control_exchange, "trove");
    assert_eq!(settings.conductor_queue, "trove-conductor");
    assert_eq!(settings.ssl_mode, None);
    assert!(!settings.network_isolation);
    assert_eq!(settings.report_interval, Some(Duration::from_secs(30)));
    assert_eq!(settings.state_change_wait_time, Duration::from_secs(180));
    assert_eq!(settings.command_process_timeout, Duration::from_secs(60));
    assert_eq!(settings.ignore_users, ["os_admin"]);
    assert_eq!(
        settings.ignore_dbs,
        ["mysql", "information_schema", "performance_schema", "sys"]
    );
    assert_eq!(settings.replication_strategy, "MysqlGTIDReplication");
    assert_eq!(
        settings.log.path().unwrap(),
        Path::new("/var/log/trove/trove-guestagent.log")
    );
    assert!(settings.log.debug && settings.backup.swift_api_insecure);
    assert_eq!(
        settings.guest_info,
        Path::new("/etc/trove/conf.d/guest_info.conf")
    );
    assert_eq!(settings.state_path, Path::new("/var/lib/trove-guestagent"));
    assert_eq!(settings.executor_thread_pool_size, 64);
    assert_eq!(
        settings.volume,
        VolumeSettings {
            device_path: "/dev/vdb".into(),
            mount_point: "/var/lib/mysql".into(),
            fstype: "ext4".into(),
            format_options: vec!["-m".into(), "5".into()],
            format_timeout: Duration::from_secs(120),
            mount_options: "defaults,noatime".into(),
            num_tries: 3,
        }
    );
    let account = ServiceAccount {
        name: "database".into(),
        uid: 1001,
        gid: 1001,
    };
    assert_eq!(settings.service_account, account);
}

#[test]
fn what_trove_injects_for_the_others() {
    let mariadb = settings(MARIADB, OPERATOR);
    assert_eq!(mariadb.datastore_manager, DatastoreManager::Mariadb);
    assert_eq!(
        mariadb.ignore_dbs,
        ["mysql", "information_schema", "performance_schema"]
    );
    assert_eq!(mariadb.default_password_length, 36);
    assert_eq!(
        settings(REBUILT, OPERATOR).datastore_version.as_deref(),
        Some("11.4")
    );

    assert!(!settings(MYSQL, OPERATOR).clone_replicas);
    let clone = format!("{OPERATOR}\n[mysql]\nreplica_provisioning = clone\n");
    assert!(settings(MYSQL, &clone).clone_replicas);
    assert!(!settings(MARIADB, &clone).clone_replicas);

    let postgresql = settings(POSTGRESQL, OPERATOR);
    // Only MySQL and MariaDB look for ignore_users in [DEFAULT].
    assert_eq!(postgresql.ignore_users, ["os_admin", "postgres"]);
    assert!(!postgresql.native_increments);
    let native = format!("{OPERATOR}\n[postgresql]\nbackup_incremental = native\n");
    assert!(settings(POSTGRESQL, &native).native_increments);
    assert_eq!(
        postgresql.volume.mount_point,
        Path::new("/var/lib/postgresql")
    );
    assert_eq!(
        postgresql.replication_strategy,
        "PostgresqlReplicationStreaming"
    );
    assert_eq!(postgresql.guest_log.exposed_logs, ["general"]);

    let isolated = settings(ISOLATED, OPERATOR);
    assert!(isolated.network_isolation && isolated.rpc_key.is_none());
}

#[test]
fn sections_and_fallbacks() {
    let operator = "[DEFAULT]\ndatabase_service_uid = 2000\nreport_interval = 0\nformat_options = -L 'a b'\n\
        [mysql]\ndatabase_service_gid = 3000\ndefault_password_length = 20\ndevice_path = /dev/sdc\n\
        guest_log_exposed_logs = General Slow_Query\n\
        [mariadb]\ndatabase_service_uid = 4000\ndatabase_service_uname = maria\n";
    let mysql = settings(MYSQL, operator);
    assert_eq!(
        (mysql.service_account.uid, mysql.service_account.gid),
        (2000, 3000)
    );
    assert_eq!(mysql.volume.device_path, Path::new("/dev/sdc"));
    assert_eq!(mysql.report_interval, None);
    assert_eq!(mysql.volume.format_options, ["-L", "a b"]);
    assert_eq!(mysql.guest_log.exposed_logs, ["general", "slow_query"]);
    let mariadb = settings(MARIADB, operator);
    let account = ServiceAccount {
        name: "maria".into(),
        uid: 4000,
        gid: 4000,
    };
    assert_eq!(mariadb.service_account, account);
    assert_eq!(mariadb.default_password_length, 20);
    let empty = "[mariadb]\ndefault_password_length =\n[DEFAULT]\nreport_interval =\n";
    assert_eq!(settings(MARIADB, empty).default_password_length, 36);
    assert_eq!(
        settings(MARIADB, empty).report_interval,
        Some(Duration::from_secs(30))
    );
}

#[test]
fn replication_strategy_of_the_section_when_none_is_injected() {
    let old = "[DEFAULT]\nguest_id=x\ndatastore_manager=mariadb\n";
    assert_eq!(
        settings(old, "").replication_strategy,
        "MariaDBGTIDReplication"
    );
    let old = format!("{old}replication_strategy=None\n[mariadb]\nreplication_strategy=Own\n");
    assert_eq!(settings(&old, "").replication_strategy, "Own");
}

#[test]
fn a_rebuild_names_the_datastore_by_its_display_name() {
    let renamed = REBUILT.replace(
        "datastore_manager=mariadb",
        "datastore_manager=Maria for all",
    );
    let loaded = load_with(&renamed, "", &[]).unwrap();
    assert_eq!(loaded.settings.datastore_manager, DatastoreManager::Mariadb);
    assert!(
        loaded
            .report
            .notes
            .iter()
            .any(|note| note.contains("Maria for all"))
    );
    let custom = "[DEFAULT]\nguest_id=x\ndatastore_manager=pg\ndatastore_registry_ext=\
        mine:own.Class,pg:trove.guestagent.datastore.postgres.manager.PostgresManager\n";
    assert_eq!(
        settings(custom, "").datastore_manager,
        DatastoreManager::Postgresql
    );
}

#[test]
fn what_was_not_injected_is_named() {
    assert_eq!(problems("", OPERATOR), ["datastore_manager", "guest_id"].map(|option| format!(
        "[DEFAULT] {option} is not set: Trove's task manager writes it to \
         /etc/trove/conf.d/guest_info.conf through cloud-init when it creates or rebuilds the \
         instance; files read: /etc/trove/conf.d/guest_info.conf, /etc/trove/conf.d/trove-guestagent.conf"
    )));
    assert_eq!(
        problems("[DEFAULT]\nguest_id=x\ndatastore_manager=redis\n", ""),
        [
            "/etc/trove/conf.d/guest_info.conf:3: [DEFAULT] datastore_manager = \"redis\": must be one of \
          mysql, mariadb, postgresql"
        ]
    );
}

#[test]
fn all_bad_values_are_named_at_once() {
    let operator = "[DEFAULT]\nreport_interval = soon\nvolume_fstype = btrfs\nmount_options = a b\n\
        state_change_poll_time = 0\nformat_options = '\ndatabase_service_uid = root\nlog_dir = $nope\n\
        [MySQL]\nmount_point = /\ndatabase_service_uname = Data Base\n\
        [oslo_messaging_rabbit]\nssl = perhaps\n[guest_agent]\nlog_level = loud\nstate_path = var\n";
    let expected = [
        "2: [DEFAULT] report_interval = \"soon\": must be a whole number from 0 to 315360000",
        "5: [DEFAULT] state_change_poll_time = \"0\": must be a whole number from 1 to 315360000",
        "3: [DEFAULT] volume_fstype = \"btrfs\": must be one of ext3, ext4, xfs",
        "8: [DEFAULT] log_dir = \"$nope\": there is no option ${nope} to take the value from (write $$ for a dollar sign)",
        "15: [guest_agent] log_level = \"loud\": must be one of trace, debug, info, warn, warning, error",
        "13: [oslo_messaging_rabbit] ssl = \"perhaps\": must be one of true, 1, on, yes, false, 0, off, no",
        "4: [DEFAULT] mount_options = \"a b\": must be options separated by commas, without white space",
        "6: [DEFAULT] format_options = \"'\": must be arguments with every quote closed",
        "10: [mysql] mount_point = \"/\": must be an absolute path other than /, without ..",
        "11: [mysql] database_service_uname = \"Data Base\": must be an account name: a lower-case letter or _, \
         then up to 31 lower-case letters, digits, - or _",
        "7: [DEFAULT] database_service_uid = \"root\": must be a user or group id from 1 to 4294967294",
        "16: [guest_agent] state_path = \"var\": must be an absolute path other than /, without ..",
    ]
    .map(|line| format!("/etc/trove/conf.d/trove-guestagent.conf:{line}"));
    // A lone quote counts as quoted and empty; open one after text.
    let operator = operator.replace("format_options = '", "format_options = \"'\"");
    let mut found = problems(MYSQL, &operator);
    let mut expected = expected.to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn values_that_a_guest_does_not_read_may_be_anything() {
    let operator = "[DEFAULT]\nagent_call_low_timeout = $nope\nuse_syslog = perhaps\n\
        [postgresql]\npostgresql_port = x\n[mysql]\ndocker_image = $nope\ntcp_ports = none\n[database]\nconnection = $x\n";
    let loaded = load_with(MYSQL, operator, &[]).unwrap();
    let notes = loaded.report.notes.join("\n");
    assert!(
        notes.contains("no effect in this agent: [DEFAULT] use_syslog."),
        "{notes}"
    );
    assert!(
        notes.contains("[mysql] docker_image, [mysql] tcp_ports."),
        "{notes}"
    );
    assert!(!notes.contains("agent_call_low_timeout"));
    assert!(
        loaded.report.unknown.is_empty(),
        "{:?}",
        loaded.report.unknown
    );
}

#[test]
fn a_missing_directory_is_an_error() {
    let args = ConfigArgs {
        sources: vec![Source::Dir("/etc/trove/conf.d".into())],
        ..Default::default()
    };
    let error = load_from(&args, &MemoryFileSystem::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/etc/trove/conf.d: the configuration directory does not exist"
    );
}

#[test]
fn the_environment_overrides_files() {
    let env = [
        ("OS_DEFAULT__REPORT_INTERVAL", "7"),
        ("OS_OSLO_MESSAGING_RABBIT__SSL", "on"),
    ];
    let loaded = load_with(MYSQL, OPERATOR, &env).unwrap();
    assert_eq!(
        loaded.settings.report_interval,
        Some(Duration::from_secs(7))
    );
    assert_eq!(
        loaded.settings.rabbit_option("ssl"),
        Some(&Value::Bool(true))
    );
    assert_eq!(loaded.settings.rabbit_option("hostname"), None);
    let printed = loaded.report.to_string();
    assert!(
        printed.contains("# environment OS_DEFAULT__REPORT_INTERVAL"),
        "{printed}"
    );
}

#[test]
fn rabbit_options_under_their_old_names() {
    let operator = "[oslo_messaging_rabbit]\nrabbit_use_ssl = true\nkombu_ssl_ca_certs = /ca\n\
        kombu_reconnect_timeout = 5\nrabbit_quroum_max_memory_bytes = 9\n";
    let loaded = load_with(MYSQL, operator, &[]).unwrap();
    let text = |name| loaded.settings.rabbit_option(name).unwrap().render();
    assert_eq!(text("ssl"), "true");
    assert_eq!(text("ssl_ca_file"), "/ca");
    assert_eq!(text("kombu_missing_consumer_retry_timeout"), "5");
    assert_eq!(text("rabbit_quorum_max_memory_bytes"), "9");
    let deprecated = loaded
        .report
        .notes
        .iter()
        .filter(|note| note.contains("deprecated name"));
    assert_eq!(deprecated.count(), 4);
}

#[test]
fn the_report_shows_values_origins_and_remarks() {
    let operator =
        format!("{OPERATOR}\n[mysql]\ntypo_option = 1\n[DEFAULT]\ncontroller_address = 1.2.3.4\n");
    let report = load_with(MYSQL, &operator, &[]).unwrap().report;
    let printed = report.to_string();
    for part in [
        "\n[DEFAULT]\n",
        "guest_id = 00000000-1111-4222-8333-444444444444",
        "# /etc/trove/conf.d/guest_info.conf:2\n",
        "transport_url = rabbit://guest:***@127.0.0.1:5672/",
        "instance_rpc_encr_key = ***",
        "\nswift_url = (unset)",
        "[mysql] ignore_users is read from its deprecated name [DEFAULT] ignore_users \
         (/etc/trove/conf.d/trove-guestagent.conf:5).",
        "they have no effect: [mysql] docker_image, [mysql] backup_docker_image, [mariadb] docker_image",
        "[mysql] typo_option (/etc/trove/conf.d/trove-guestagent.conf:",
    ] {
        assert!(printed.contains(part), "{part}\n{printed}");
    }
    assert!(!printed.contains("controller_address"));
    assert_eq!(
        report
            .notes
            .iter()
            .filter(|note| note.contains("Docker"))
            .count(),
        1
    );
    assert_eq!(report.unknown.len(), 1);
}

#[test]
fn no_secret_is_shown_anywhere() {
    let operator = "[DEFAULT]\ntransport_url = rabbit://u:canary@h1,u2:canary2@h2/?x=canary\n\
        backup_aes_cbc_key = canary\nlog_file = $instance_rpc_encr_key\nos_region_name = ${backup_aes_cbc_key}\n\
        [service_credentials]\npassword = canary\n[guest_agent]\ncontainer_registry_password = canary\n";
    let loaded = load_with(
        MYSQL,
        operator,
        &[("OS_DEFAULT__SWIFT_URL", "http://h/$backup_aes_cbc_key")],
    )
    .unwrap();
    let printed = format!("{}\n{:?}", loaded.report, loaded.report);
    assert!(!printed.contains("canary"), "{printed}");
    let secrets = format!(
        "{:?} {:?} {:?}",
        loaded.settings.rpc_key, loaded.settings.transport_url, loaded.settings.backup.aes_cbc_key
    );
    assert!(!secrets.contains("canary"), "{secrets}");
    // Nor by an error, about a secret or about what a secret was put into.
    let operator = "[DEFAULT]\ntransport_url = rabbit://u:pa$canary@h\nreport_interval = $instance_rpc_encr_key\n\
        canary junk\n";
    for text in [operator, &operator.replace("canary junk\n", "")] {
        let error = load_with(MYSQL, text, &[]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
}
