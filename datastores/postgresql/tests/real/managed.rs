//! Servers that the datastore starts and stops itself.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use datastore::{
    Datastore, Endpoint, PrepareRequest, ReplicaContext, ReplicaRequest, ReplicationAccount, User,
};
use postgresql::{Server, Settings};
use serde_json::Map;

use crate::chain::Chain;
use crate::harness::{Site, user};

const SYSTEMCTL: &str = include_str!("systemctl.sh");
/// How long replicas may stay behind.
const LAG: Duration = Duration::from_secs(30);

/// A server with a service manager of its own; stopped when dropped.
pub(crate) struct Managed {
    site: Site,
    extra: &'static str,
}

impl std::ops::Deref for Managed {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let systemctl = std::process::Command::new(self.path("systemctl"));
        let stopped = { systemctl }.args(["stop"]).status();
        if !std::thread::panicking() {
            assert!(stopped.unwrap().success());
        } else {
            println!("{}: {}", self.settings().instance, self.log());
        }
    }
}

impl Managed {
    fn new(extra: &'static str) -> Self {
        Self::with(extra, |_| {})
    }

    /// One with other settings.
    pub(crate) fn with(extra: &'static str, change: impl FnOnce(&mut Settings)) -> Self {
        let mut site = Site::with(change);
        site.extra = extra;
        if !extra.contains("wal_keep_size") {
            // As Trove's template has it from version 13 on.
            site.extra = "wal_keep_size = 80\n";
        }
        let layout = site.settings().layout.clone();
        let account = &site.settings().account;
        let conf = format!(
            "postgres='{}'\nconfig='{}'\ndata='{}'\nuid={}\ngid={}\n",
            layout.programs_link.join("postgres").display(),
            layout.base_config.display(),
            layout.data_dir().display(),
            account.uid,
            account.gid
        );
        std::fs::write(site.path("systemctl.conf"), conf).unwrap();
        std::fs::write(site.path("server.log"), "").unwrap();
        let program = site.path("systemctl");
        std::fs::write(&program, SYSTEMCTL).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        site.datastore = Server::new(site.settings().clone()).managed_by(program);
        Self { site, extra }
    }

    /// A prepared server with a table and a user.
    pub(crate) async fn source() -> Self {
        Self::source_with("").await
    }

    pub(crate) async fn source_with(extra: &'static str) -> Self {
        Self::new(extra).prepared().await
    }

    /// The same with a table and a user.
    pub(crate) async fn prepared(self) -> Self {
        self.prepared_with(None).await
    }

    pub(crate) async fn prepared_with(self, version: Option<String>) -> Self {
        let source = self;
        let request = PrepareRequest {
            datastore_version: version,
            ..source.request()
        };
        source.ds().prepare(&request).await.unwrap();
        let tenant: User = user("tenant", "word", &["postgres"]);
        source
            .ds()
            .create_users(&[User {
                databases: Vec::new(),
                ..tenant
            }])
            .await
            .unwrap();
        source
            .sql(
                "postgres",
                &[
                    "CREATE TABLE t (n int PRIMARY KEY)",
                    "GRANT ALL ON t TO tenant",
                ],
            )
            .await;
        source
    }

    pub(crate) fn ds(&self) -> &dyn Datastore {
        &self.site.datastore
    }

    /// What the agent makes of `get_replica_context`.
    pub(crate) async fn context(&self) -> ReplicaContext {
        ReplicaContext {
            source: Endpoint {
                host: "127.0.0.1".into(),
                port: self.ds().port().await.unwrap(),
            },
            account: self.ds().replication_account().await.unwrap(),
            position: self.ds().source_position().await.unwrap(),
            dataset: Map::new(),
            tls: None,
        }
    }

    /// A replica, the way the control plane makes one.
    pub(crate) async fn replica(&self) -> Self {
        self.ds().enable_as_source("").await.unwrap();
        let mut chain = Chain::default();
        chain.back_up(self.ds()).await;
        self.replica_of(&chain).await
    }

    pub(crate) async fn replica_of(&self, chain: &Chain) -> Self {
        self.fill(Self::new(self.extra), chain).await
    }

    /// A replica with other settings.
    pub(crate) async fn replica_like(&self, change: impl FnOnce(&mut Settings)) -> Self {
        self.ds().enable_as_source("").await.unwrap();
        let mut chain = Chain::default();
        chain.back_up(self.ds()).await;
        self.fill(Self::with(self.extra, change), &chain).await
    }

    async fn fill(&self, replica: Self, chain: &Chain) -> Self {
        let request = replica.replica_request(self.context().await);
        replica.ds().restore(&request, chain).await.unwrap();
        replica
    }

    /// A server that has nothing yet.
    pub(crate) fn nothing() -> Self {
        Self::new("")
    }

    pub(crate) fn replica_request(&self, context: ReplicaContext) -> PrepareRequest {
        PrepareRequest {
            replica: Some(ReplicaRequest {
                context,
                config: String::new(),
            }),
            ..self.request()
        }
    }

    /// Waits until a query answers what is expected.
    pub(crate) async fn until(&self, query: &str, expected: &str) {
        let started = Instant::now();
        loop {
            let found = self.value(query).await;
            if found.as_deref() == Some(expected) {
                return;
            }
            assert!(
                started.elapsed() < LAG,
                "{query}: {found:?}, not {expected}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The guest gets a new root disk.
    pub(crate) fn lose_root_disk(&mut self) {
        let etc = self.path("etc");
        std::fs::remove_dir_all(etc).unwrap();
        for name in ["enabled", "wanted"] {
            let _ = std::fs::remove_file(self.path(name));
        }
        let settings = self.settings().clone();
        self.site.datastore = Server::new(settings).managed_by(self.path("systemctl"));
    }

    /// Whether it recovers.
    pub(crate) async fn recovers(&self) -> bool {
        self.value("SELECT pg_is_in_recovery()").await.unwrap() == "t"
    }

    pub(crate) fn has_mark(&self, name: &str) -> bool {
        self.settings().layout.mount_point.join(name).exists()
    }

    /// Power fails.
    pub(crate) fn kill(&self) {
        let pid = std::fs::read_to_string(self.path("main.pid")).unwrap();
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
        // The whole session: its children have lost their parent otherwise.
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
}

/// With another password.
pub(crate) fn with_password(context: &ReplicaContext, password: &str) -> ReplicaContext {
    ReplicaContext {
        account: ReplicationAccount {
            password: datastore::Secret::new(password),
            ..context.account.clone()
        },
        ..context.clone()
    }
}
