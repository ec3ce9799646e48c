//! Private servers, and clients that log in to them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datastore::{Datastore, PrepareRequest, RestoreSource, Restored, ServiceStatus};
use guest::Account;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use mysql_family::{FirstStart, Layout, Server, Settings};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getgid, getuid};
use tokio::process::{Child, Command};

/// Any number that nobody on the machine has.
const SERVER_UID: u32 = 64_123;
const START_LIMIT: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Mysql,
    Mariadb,
}

impl Product {
    /// The server program of this machine.
    pub(crate) fn binary(self) -> PathBuf {
        let (variable, name) = match self {
            Self::Mysql => ("MYSQLD_BINARY", "mysqld"),
            Self::Mariadb => ("MARIADBD_BINARY", "mariadbd"),
        };
        if let Some(path) = std::env::var_os(variable) {
            return path.into();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/usr/libexec".into()])
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
            .unwrap_or_else(|| panic!("set {variable}: there is no {name} in PATH"))
    }
}

impl Product {
    /// Directory of the backup tools: beside the server for MariaDB; for
    /// MySQL there are none but those a test makes.
    fn tools(self, dir: &Path) -> PathBuf {
        match self {
            Self::Mysql => dir.join("tools"),
            Self::Mariadb => Self::mariadb_tools(),
        }
    }

    pub(crate) fn mariadb_tools() -> PathBuf {
        let binary = Self::Mariadb.binary();
        let prefix = binary.parent().and_then(Path::parent).unwrap();
        prefix.join("bin")
    }
}

/// What both product crates build, behind one type.
pub(crate) trait Guest: Datastore {
    fn parts(&self) -> &Settings;
    fn install<'a>(&'a self, request: &'a PrepareRequest) -> Work<'a, datastore::Result<()>>;
    fn arm_first_start(&self) -> datastore::Result<FirstStart>;
    fn check_secured(&self) -> Work<'_, datastore::Result<()>>;
    fn unpack_restore<'a>(
        &'a self,
        request: &'a PrepareRequest,
        source: &'a dyn RestoreSource,
    ) -> Work<'a, datastore::Result<()>>;
    fn take_over_snapshot<'a>(
        &'a self,
        request: &'a PrepareRequest,
    ) -> Work<'a, datastore::Result<()>>;
    fn arm_restored_start(&self) -> Work<'_, datastore::Result<FirstStart>>;
    fn check_restored(&self) -> Work<'_, datastore::Result<Restored>>;
}

pub(crate) type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl<F: mysql_family::Flavor> Guest for Server<F> {
    fn parts(&self) -> &Settings {
        self.settings()
    }

    fn install<'a>(&'a self, request: &'a PrepareRequest) -> Work<'a, datastore::Result<()>> {
        Box::pin(Server::install(self, request))
    }

    fn arm_first_start(&self) -> datastore::Result<FirstStart> {
        Server::arm_first_start(self)
    }

    fn check_secured(&self) -> Work<'_, datastore::Result<()>> {
        Box::pin(Server::check_secured(self))
    }

    fn unpack_restore<'a>(
        &'a self,
        request: &'a PrepareRequest,
        source: &'a dyn RestoreSource,
    ) -> Work<'a, datastore::Result<()>> {
        Box::pin(Server::unpack_restore(self, request, source))
    }

    fn take_over_snapshot<'a>(
        &'a self,
        request: &'a PrepareRequest,
    ) -> Work<'a, datastore::Result<()>> {
        Box::pin(Server::take_over_snapshot(self, request))
    }

    fn arm_restored_start(&self) -> Work<'_, datastore::Result<FirstStart>> {
        Box::pin(Server::arm_restored_start(self))
    }

    fn check_restored(&self) -> Work<'_, datastore::Result<Restored>> {
        Box::pin(Server::check_restored(self))
    }
}

/// An installed server that has not been started.
pub(crate) struct Site {
    pub(crate) product: Product,
    pub(crate) datastore: Box<dyn Guest>,
    pub(crate) port: u16,
    /// Port of the X protocol, which only MySQL has.
    pub(crate) x_port: u16,
    /// Lines for the server's section of the template.
    pub(crate) extra: &'static str,
    /// Its number among servers that replicate.
    pub(crate) server_id: u32,
    dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new(product: Product) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new()
            .prefix("mysql-family-")
            .tempdir()
            .unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self {
            product,
            datastore: datastore_of(product, settings(product, dir.path())),
            port: free_port(),
            x_port: free_port(),
            extra: "",
            server_id: 1_790_430_125,
            dir,
        };
        let account = &site.settings().account;
        for name in ["volume", "run", "tmp"] {
            std::fs::create_dir(site.path(name)).unwrap();
        }
        for name in ["run", "tmp"] {
            std::os::unix::fs::chown(site.path(name), Some(account.uid), Some(account.gid))
                .unwrap();
        }
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn settings(&self) -> &Settings {
        self.datastore.parts()
    }

    /// Another datastore on the same server, with other settings.
    pub(crate) fn with_settings(&self, change: impl FnOnce(&mut Settings)) -> Box<dyn Guest> {
        let mut settings = self.settings().clone();
        change(&mut settings);
        datastore_of(self.product, settings)
    }

    /// Trove's template for this product, rendered for 512 MiB with the paths
    /// of this site and the options the test needs.
    pub(crate) fn template(&self) -> String {
        let binary = self.product.binary();
        let prefix = binary.parent().and_then(Path::parent).unwrap();
        let own = match self.product {
            Product::Mariadb => "query_cache_type = 1\nquery_cache_limit = 1M\n".to_owned(),
            Product::Mysql => format!(
                "secure-file-priv = NULL\nperformance_schema = ON\nmysqlx_port = {}\n\
                 mysqlx_bind_address = 127.0.0.1\nmysqlx_socket = {}\n",
                self.x_port,
                self.path("run/x.sock").display()
            ),
        };
        // A tree that is not installed in / does not know where it is.
        let tree = format!(
            "plugin-dir = {0}/lib/mysql/plugin\nlc-messages-dir = {0}/share/mysql\n\
             character-sets-dir = {0}/share/mysql/charsets\n",
            prefix.display()
        );
        let run = self.path("run");
        format!(
            "[client]\nport = {port}\nsocket = {run}/mysqld.sock\n\n\
             [mysqld_safe]\nnice = 0\n\n\
             [mysqld]\nport = {port}\nbasedir = {prefix}\ndatadir = /nonexistent\ntmpdir = {tmp}\n\
             pid_file = {run}/mysqld.pid\nsocket = {run}/mysqld.sock\n{own}{tree}\
             skip-external-locking = 1\nkey_buffer_size = 8M\nmax_allowed_packet = 1024K\n\
             thread_stack = 192K\nthread_cache_size = 4\nmyisam-recover-options = BACKUP,FORCE\n\
             innodb_data_file_path = ibdata1:10M:autoextend\ninnodb_buffer_pool_size = 32M\n\
             innodb_file_per_table = 1\ninnodb_log_files_in_group = 2\ninnodb_log_file_size=50M\n\
             innodb_log_buffer_size=25M\nconnect_timeout = 15\nwait_timeout = 120\n\
             max_connections = 100\ndefault_storage_engine = innodb\nlocal-infile = 0\n\
             bind-address = 127.0.0.1\n{extra}log_bin = {data}/binlog\nserver_id = {server_id}\n\n\
             [mysqldump]\nquick = 1\n\n[isamchk]\nkey_buffer = 16M\n\n!includedir {include}/\n",
            port = self.port,
            extra = self.extra,
            server_id = self.server_id,
            run = run.display(),
            prefix = prefix.display(),
            tmp = self.path("tmp").display(),
            data = self.settings().layout.data_dir().display(),
            include = self.settings().layout.include_dir.display(),
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
        let log = std::fs::File::create(self.path("server.log")).unwrap();
        let child = Command::new(self.product.binary())
            .arg(format!(
                "--defaults-file={}",
                self.settings().layout.base_config.display()
            ))
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
            let log = || std::fs::read_to_string(self.path("server.log")).unwrap();
            assert!(process.is_alive(), "the server ended:\n{}", log());
            assert!(
                started.elapsed() < START_LIMIT,
                "the server does not answer:\n{}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Logs in over the socket, as a host the server calls localhost.
    pub(crate) async fn login(&self, user: &str, password: &str) -> mysql_async::Result<Conn> {
        let socket = self.settings().layout.socket.to_str().map(str::to_owned);
        let options = OptsBuilder::default().socket(socket).prefer_socket(false);
        Conn::new(options.user(Some(user)).pass(Some(password))).await
    }

    /// Logs in over TCP, from 127.0.0.1.
    pub(crate) async fn login_tcp(&self, user: &str, password: &str) -> mysql_async::Result<Conn> {
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port);
        Conn::new(
            options
                .prefer_socket(false)
                .user(Some(user))
                .pass(Some(password)),
        )
        .await
    }

    /// A session of the agent's administrator.
    pub(crate) async fn admin(&self) -> Conn {
        let path = self
            .settings()
            .layout
            .credentials_dir()
            .join("os_admin.cnf");
        let text = std::fs::read_to_string(path).unwrap();
        let password = text
            .lines()
            .find_map(|line| line.strip_prefix("password = "))
            .unwrap();
        self.login("os_admin", password).await.unwrap()
    }

    /// Runs statements as the agent's administrator.
    pub(crate) async fn sql(&self, statements: &[&str]) {
        let mut admin = self.admin().await;
        for statement in statements {
            if let Err(error) = admin.query_drop(*statement).await {
                panic!("{statement}: {error}");
            }
        }
        admin.disconnect().await.unwrap();
    }
}

/// A server process; stopped when dropped.
pub(crate) struct Process {
    child: Option<Child>,
}

impl Process {
    fn is_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub(crate) async fn stop(mut self) {
        let mut child = self.child.take().unwrap();
        let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
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
    pub(crate) async fn start(product: Product) -> Self {
        let mut site = Site::new(product);
        // Else 127.0.0.1 is localhost, and root from there is not the tenant's.
        site.extra = "skip-name-resolve\n";
        Self::start_site(site).await
    }

    pub(crate) async fn start_site(site: Site) -> Self {
        site.datastore.install(&site.request()).await.unwrap();
        let first_start = site.datastore.arm_first_start().unwrap();
        let mut process = site.spawn();
        site.wait_healthy(&mut process).await;
        drop(first_start);
        site.datastore.check_secured().await.unwrap();
        Self { site, process }
    }

    /// The first start of a site that a restore has filled.
    pub(crate) async fn start_restored(site: Site) -> (Self, Restored) {
        let first_start = site.datastore.arm_restored_start().await.unwrap();
        let mut process = site.spawn();
        site.wait_healthy(&mut process).await;
        drop(first_start);
        let restored = site.datastore.check_restored().await.unwrap();
        (Self { site, process }, restored)
    }

    /// Stops and starts the server.
    pub(crate) async fn restart(self) -> Self {
        let site = self.stop().await;
        let mut process = site.spawn();
        site.wait_healthy(&mut process).await;
        Self { site, process }
    }

    /// Ends the server.
    pub(crate) async fn stop(self) -> Site {
        self.process.stop().await;
        self.site
    }
}

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
            println!(
                "{:?}: {name} ... {word} ({} ms)",
                fixture.product,
                started.elapsed().as_millis()
            );
            if result.is_err() {
                failed.push(name);
            }
        }
        // A case that panicked may have left its share behind for a moment.
        let fixture = Arc::into_inner(fixture).unwrap();
        fixture.process.stop().await;
        assert!(failed.is_empty(), "failed: {failed:?}");
    }
}

fn datastore_of(product: Product, settings: Settings) -> Box<dyn Guest> {
    match product {
        Product::Mysql => Box::new(mysql::datastore(settings)),
        Product::Mariadb => Box::new(mariadb::datastore(settings)),
    }
}

fn settings(product: Product, dir: &Path) -> Settings {
    let is_root = getuid().is_root();
    let (uid, gid) = match is_root {
        true => (SERVER_UID, SERVER_UID),
        false => (getuid().as_raw(), getgid().as_raw()),
    };
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Settings {
        layout: Layout {
            base_config: dir.join("etc/my.cnf"),
            include_dir: dir.join("etc/conf.d"),
            socket: dir.join("run/mysqld.sock"),
            error_log: dir.join("run/error.log"),
            mount_point: dir.join("volume"),
            server_program: Some(product.binary()),
            tools_dir: Some(product.tools(dir)),
        },
        account: Account {
            name: "database".into(),
            uid,
            gid,
        },
        unit: "mysql-family-test-unit-that-does-not-exist".into(),
        ignore_users: names(&["os_admin", "root"]),
        ignore_dbs: names(&["mysql", "information_schema", "performance_schema", "sys"]),
        root_grant: names(&["ALL"]),
        root_grant_option: true,
        hostname_require_valid_ip: true,
        default_password_length: 36,
        long_query_time: Duration::from_millis(500),
        tls: None,
        clone_replicas: false,
        state_change_wait_time: Duration::from_secs(180),
        state_change_poll_time: Duration::from_secs(3),
        state_healthy_counts: 5,
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
