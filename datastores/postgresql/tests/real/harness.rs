//! Private servers, and clients that log in to them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datastore::{Datastore, PageRequest, PrepareRequest, Restored, Secret, ServiceStatus};
use guest::Account;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, getuid};
use postgresql::{Increments, Layout, Recovery, Server, Settings};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

/// An account that every machine has: initdb wants to know its own name.
const SERVER_ACCOUNT: &str = "nobody";
const START_LIMIT: Duration = Duration::from_secs(120);

/// Directory of the server programs of this machine.
pub(crate) fn programs() -> PathBuf {
    if let Some(path) = std::env::var_os("POSTGRES_BINARY") {
        let path = PathBuf::from(path);
        return match path.is_dir() {
            true => path,
            false => path.parent().unwrap().to_owned(),
        };
    }
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .filter(|(_, dir)| dir.join("postgres").is_file())
        .collect();
    found.sort();
    let newest = found.pop();
    newest
        .expect("set POSTGRES_BINARY: there is no server in /usr/lib/postgresql")
        .1
}

/// An installed server that has not been started.
pub(crate) struct Site {
    pub(crate) datastore: Server,
    /// Lines for the template.
    pub(crate) extra: &'static str,
    dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// One with other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new()
            .prefix("postgresql-")
            .tempdir()
            .unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut settings = settings(dir.path());
        change(&mut settings);
        let site = Self {
            datastore: Server::new(settings),
            extra: "",
            dir,
        };
        let account = &site.settings().account;
        for name in ["volume", "run"] {
            std::fs::create_dir(site.path(name)).unwrap();
        }
        std::os::unix::fs::chown(site.path("run"), Some(account.uid), Some(account.gid)).unwrap();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.datastore.settings()
    }

    /// What Trove's template sets, rendered for 512 MiB, with a parameter of
    /// another version and a locale that no system has.
    pub(crate) fn template(&self) -> String {
        format!(
            "listen_addresses = '127.0.0.1'\nmax_connections = 100\t\t# (change requires restart)\n\
             shared_buffers = 51MB\t\t\t# min 128kB\nmax_stack_depth = 7MB\n\
             dynamic_shared_memory_type = posix\nwal_level = replica\nwal_log_hints = on\n\
             max_wal_size = 1GB\nmin_wal_size = 80MB\narchive_mode = on\n\
             archive_command = 'test ! -f /var/lib/postgresql/data/wal_archive/%f && cp %p /var/lib/postgresql/data/wal_archive/%f'\n\
             restore_command = 'cp /var/lib/postgresql/data/wal_archive/%f \"%p\"'\n\
             wal_keep_segments = 5\neffective_cache_size = 512MB\nlog_timezone = 'Etc/UTC'\n\
             update_process_title = off\t# (controlled by Trove)\ndatestyle = 'iso, mdy'\n\
             timezone = 'Etc/UTC'\nlc_messages = 'tlh_QO.utf8'\n\
             default_text_search_config = 'pg_catalog.english'\nfsync = off\n{}\
             include_dir = '{}'\n",
            self.extra,
            self.settings().layout.include_dir.display()
        )
    }

    pub(crate) fn request(&self) -> PrepareRequest {
        PrepareRequest {
            config_contents: self.template(),
            overrides: BTreeMap::new(),
            datastore_version: None,
            replica: None,
        }
    }

    /// Starts the server as the unit would.
    pub(crate) fn spawn(&self) -> Process {
        let account = &self.settings().account;
        let layout = &self.settings().layout;
        let log = std::fs::File::create(self.path("server.log")).unwrap();
        let child = Command::new(layout.programs_link.join("postgres"))
            .arg("-c")
            .arg(format!("config_file={}", layout.base_config.display()))
            .uid(account.uid)
            .gid(account.gid)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Process { child: Some(child) }
    }

    /// Waits until the server answers the agent.
    pub(crate) async fn wait_healthy(&self, process: &mut Process) {
        let started = Instant::now();
        while self.datastore.status().await != ServiceStatus::Healthy {
            let log = self.log();
            assert!(process.is_alive(), "the server ended:\n{log}");
            assert!(
                started.elapsed() < START_LIMIT,
                "the server does not answer:\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the server has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).unwrap()
    }

    /// Logs in over TCP, as tenants do.
    pub(crate) async fn login(
        &self,
        user: &str,
        password: &str,
        database: &str,
    ) -> Result<Client, Error> {
        let address = ("127.0.0.1", self.settings().port);
        let stream = TcpStream::connect(address).await.unwrap();
        let mut config = Config::new();
        config.user(user).password(password).dbname(database);
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A session of the superuser.
    pub(crate) async fn admin(&self, database: &str) -> Client {
        let socket = self.settings().layout.socket(self.settings().port);
        let stream = UnixStream::connect(socket).await.unwrap();
        let mut config = Config::new();
        config.user("postgres").dbname(database);
        let (client, connection) = config.connect_raw(stream, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Runs statements as the superuser.
    pub(crate) async fn sql(&self, database: &str, statements: &[&str]) {
        let admin = self.admin(database).await;
        for statement in statements {
            if let Err(error) = admin.batch_execute(statement).await {
                panic!("{statement}: {error:?}");
            }
        }
    }

    /// The first column of the first row, as text.
    pub(crate) async fn value(&self, query: &str) -> Option<String> {
        value(&self.admin("postgres").await, query).await.unwrap()
    }
}

/// The first column of the first row, as text.
pub(crate) async fn value(client: &Client, query: &str) -> Result<Option<String>, Error> {
    let messages = client.simple_query(query).await?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
        _ => None,
    });
    Ok(row.flatten())
}

/// A server process; killed when dropped.
pub(crate) struct Process {
    child: Option<Child>,
}

impl Process {
    fn is_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    fn pid(&self) -> Pid {
        let child = self.child.as_ref().unwrap();
        Pid::from_raw(child.id().unwrap().try_into().unwrap())
    }

    /// Ends the server as the unit would.
    pub(crate) async fn stop(mut self) {
        kill(self.pid(), Signal::SIGINT).unwrap();
        let mut child = self.child.take().unwrap();
        let status = tokio::time::timeout(START_LIMIT, child.wait())
            .await
            .unwrap()
            .unwrap();
        assert!(status.success(), "the server ended with {status}");
    }
}

/// A running, secured server that cases share.
pub(crate) struct Fixture {
    pub(crate) site: Site,
    process: Process,
}

impl std::ops::Deref for Fixture {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Fixture {
    /// The way of `prepare`, with the test in the place of systemd.
    pub(crate) async fn start() -> Self {
        let site = Site::new();
        let request = site.request();
        Self::prepare(site, &request).await
    }

    pub(crate) async fn prepare(site: Site, request: &PrepareRequest) -> Self {
        site.datastore.install(request).await.unwrap();
        let mut process = site.spawn();
        site.wait_healthy(&mut process).await;
        site.datastore.check_secured().await.unwrap();
        Self { site, process }
    }

    /// The first start on restored data.
    pub(crate) async fn start_restored(site: Site, recovery: &Recovery) -> (Self, Restored) {
        site.datastore.arm_recovery(recovery).unwrap();
        let mut process = site.spawn();
        site.wait_healthy(&mut process).await;
        let found = site.datastore.check_restored(recovery).await.unwrap();
        (Self { site, process }, found)
    }

    /// The same on data that is not what it should be; what is told.
    pub(crate) async fn fail_restored(site: Site, recovery: &Recovery) -> String {
        site.datastore.arm_recovery(recovery).unwrap();
        let mut process = site.spawn();
        site.wait_healthy(&mut process).await;
        let error = site.datastore.check_restored(recovery).await;
        assert!(
            site.settings()
                .layout
                .mount_point
                .join(".restoring")
                .exists()
        );
        process.stop().await;
        error.unwrap_err().to_string()
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Ends the server.
    pub(crate) async fn stop(self) -> Site {
        self.process.stop().await;
        self.site
    }
}

pub(crate) type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Case = Box<dyn Fn(Arc<Fixture>) -> Work<'static, ()> + Send>;

/// Named pieces of one test that share a server.
#[derive(Default)]
pub(crate) struct Cases(Vec<(&'static str, Case)>);

impl Cases {
    pub(crate) fn add<W>(
        &mut self,
        name: &'static str,
        case: impl Fn(Arc<Fixture>) -> W + Send + 'static,
    ) where
        W: Future<Output = ()> + Send + 'static,
    {
        self.0
            .push((name, Box::new(move |fixture| Box::pin(case(fixture)))));
    }

    /// Runs all, one after the other, stops the server, and fails if any did.
    pub(crate) async fn run(self, fixture: Fixture) {
        let fixture = Arc::new(fixture);
        let only = std::env::var("ONLY").unwrap_or_default();
        let mut failed = Vec::new();
        for (name, case) in self.0.into_iter().filter(|(name, _)| name.contains(&only)) {
            let started = Instant::now();
            let result = tokio::spawn(case(Arc::clone(&fixture))).await;
            let word = if result.is_ok() { "ok" } else { "FAILED" };
            println!("{name} ... {word} ({} ms)", started.elapsed().as_millis());
            if result.is_err() {
                failed.push(name);
            }
        }
        // A case that panicked may have left its share behind for a moment.
        let fixture = Arc::into_inner(fixture).unwrap();
        fixture.stop().await;
        assert!(failed.is_empty(), "failed: {failed:?}");
    }
}

/// A user with the password `password`.
pub(crate) fn user(name: &str, password: &str, databases: &[&str]) -> datastore::User {
    datastore::User {
        name: name.into(),
        host: Some("%".into()),
        password: Some(Secret::new(password)),
        databases: databases
            .iter()
            .map(|&name| datastore::Database::named(name))
            .collect(),
        is_root: false,
    }
}

/// A page.
pub(crate) fn page(limit: Option<u32>, marker: Option<&str>, include_marker: bool) -> PageRequest {
    PageRequest {
        limit,
        marker: marker.map(str::to_owned),
        include_marker,
    }
}

fn settings(dir: &Path) -> Settings {
    let agent = User::from_uid(getuid()).unwrap().unwrap();
    let server = match getuid().is_root() {
        true => User::from_name(SERVER_ACCOUNT).unwrap().unwrap(),
        false => agent.clone(),
    };
    Settings {
        instance: format!("Instance-{}", free_port()),
        layout: Layout {
            base_config: dir.join("etc/postgresql.conf"),
            include_dir: dir.join("etc/conf.d"),
            hba_file: dir.join("etc/pg_hba.conf"),
            ident_file: dir.join("etc/pg_ident.conf"),
            programs_link: dir.join("etc/server"),
            socket_dir: dir.join("run"),
            mount_point: dir.join("volume"),
            versions_dir: dir.join("none"),
            programs_dir: Some(programs()),
        },
        account: Account {
            name: server.name,
            uid: server.uid.as_raw(),
            gid: server.gid.as_raw(),
        },
        agent_account: agent.name,
        unit: "postgresql-test-unit-that-does-not-exist".into(),
        port: free_port(),
        tls: None,
        ignore_users: vec!["os_admin".into(), "postgres".into()],
        ignore_dbs: vec!["os_admin".into(), "postgres".into()],
        default_password_length: 36,
        long_query_time: Duration::ZERO,
        state_change_wait_time: Duration::from_secs(180),
        state_change_poll_time: Duration::from_secs(3),
        state_healthy_counts: 5,
        clean_wal_archive: true,
        increments: Increments::Wal,
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
