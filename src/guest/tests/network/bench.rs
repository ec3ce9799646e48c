//! Three network namespaces, and programs that speak to one another in them.

use std::{
    fs::File,
    io::Read as _,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use guest::{HostRoute, NetworkError, Subnet, TenantNetwork};
use nix::sched::{CloneFlags, setns};

pub(crate) const ACCOUNT: u32 = 1001;
/// The address that both networks' other hosts have.
pub(crate) const PEER: &str = "10.77.0.1";
/// Another address of the tenant's, not in its network.
pub(crate) const FAR: &str = "203.0.113.9";
pub(crate) const GUEST_MANAGEMENT: &str = "10.77.0.5";
pub(crate) const GUEST_TENANT: &str = "10.77.0.9";
pub(crate) const GUEST_TENANT_V6: &str = "fd00:77::9";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// Prints what it is told at an address, if anything within two seconds.
const CLIENT: &str = "\
import socket, sys
address, own = sys.argv[1:]
s = socket.create_connection((address, 5000), 2, (own, 0) if own else None)
print(s.makefile().read(), end='')
";
const SERVER: &str = "\
import socket, sys
s = socket.create_server(('', 5000), family=socket.AF_INET6, dualstack_ipv6=True)
print('ready', flush=True)
while True:
    client, _ = s.accept()
    client.sendall(sys.argv[1].encode())
    client.close()
";

pub(crate) struct Bench {
    pub(crate) guest: Namespace,
    pub(crate) management: Namespace,
    pub(crate) tenant: Namespace,
}

impl Bench {
    /// A guest as an image leaves it that asks for DHCP on all interfaces.
    pub(crate) fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name =
            |which: &str| Namespace::new(&format!("tga{}-{serial}{which}", std::process::id()));
        let bench = Self {
            guest: name("g"),
            management: name("m"),
            tenant: name("t"),
        };
        for (side, peer, mac, own) in [
            (
                "management0",
                &bench.management,
                [2, 0, 0, 0, 0, 5],
                GUEST_MANAGEMENT,
            ),
            ("tenant0", &bench.tenant, MAC, GUEST_TENANT),
        ] {
            let mac = mac.map(|byte: u8| format!("{byte:02x}")).join(":");
            let link = ["link", "add", side, "address", &mac, "type", "veth"];
            let end = ["peer", "name", "host0", "netns", &peer.name];
            bench.guest.ip(&[&link[..], &end[..]].concat());
            for (namespace, device, address) in [(&bench.guest, side, own), (peer, "host0", PEER)] {
                let full = format!("{address}/24");
                namespace.ip(&["address", "add", &full, "dev", device]);
                namespace.ip(&["link", "set", device, "up"]);
                namespace.ip(&["link", "set", "lo", "up"]);
            }
        }
        bench
            .guest
            .ip(&["route", "add", "default", "via", PEER, "dev", "tenant0"]);
        bench
            .tenant
            .ip(&["address", "add", &format!("{FAR}/32"), "dev", "lo"]);
        let v6 = [
            "-6",
            "address",
            "add",
            "fd00:77::1/64",
            "dev",
            "host0",
            "nodad",
        ];
        bench.tenant.ip(&v6);
        bench
    }

    /// As the control plane describes it.
    pub(crate) fn network(&self) -> TenantNetwork {
        let subnet = |address: &str, network: &str, gateway: &str| Subnet {
            address: address.parse().unwrap(),
            network: network.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            routes: Vec::new(),
        };
        let mut v4 = subnet(GUEST_TENANT, "10.77.0.0/24", PEER);
        v4.routes.push(HostRoute {
            destination: "10.88.0.0/24".parse().unwrap(),
            nexthop: PEER.parse().unwrap(),
        });
        let v6 = subnet(GUEST_TENANT_V6, "fd00:77::/64", "fd00:77::1");
        TenantNetwork {
            mac: MAC,
            subnets: vec![v4, v6],
            uid: ACCOUNT,
        }
    }

    /// What the agent does at every start.
    pub(crate) fn ensure(&self, network: &TenantNetwork) -> Result<(), NetworkError> {
        let network = network.clone();
        self.guest.inside(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(network.ensure())
        })
    }

    /// Something else about the network, in the guest.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce(TenantNetwork) -> T + Send) -> T {
        let network = self.network();
        self.guest.inside(move || work(network))
    }

    /// All addresses, routes and rules of the guest.
    pub(crate) fn state(&self) -> String {
        let mut all = String::new();
        for family in ["-4", "-6"] {
            for what in [
                &["address"][..],
                &["route", "show", "table", "all"],
                &["rule"],
            ] {
                all += &self.guest.ip(&[&[family], what].concat());
            }
        }
        all
    }
}

/// A network namespace, gone when dropped with all that is in it.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    fn new(name: &str) -> Self {
        let namespace = Self {
            name: name.to_owned(),
        };
        run(Command::new("ip").args(["netns", "add", name]));
        namespace
    }

    /// Runs ip(8) there; its output.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// Runs `work` in a thread there.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let file = File::open(path).unwrap();
                setns(file, CloneFlags::CLONE_NEWNET).expect("these tests must be run as root");
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Says `word` to everybody who connects, as a process of an account.
    pub(crate) fn serve(&self, account: u32, word: &str) -> Server {
        let mut command = self.python(account, SERVER);
        let mut child = command.arg(word).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 5];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        Server(child)
    }

    /// What is said at an address, to a process of an account; nothing when
    /// nobody answers.
    pub(crate) fn ask(&self, account: u32, address: &str) -> String {
        self.ask_from("", account, address)
    }

    /// The same from one of the namespace's addresses.
    pub(crate) fn ask_from(&self, own: &str, account: u32, address: &str) -> String {
        let mut command = self.python(account, CLIENT);
        let output = command.args([address, own]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn python(&self, account: u32, code: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name));
        command.arg(format!("--setuid={account}"));
        command.args(["--", "python3", "-c", code]);
        command.stderr(Stdio::null());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Not an assertion: a failed test must not hide its own message.
        let _gone = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
    }
}

/// A process that is killed when dropped.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Runs a tool that must succeed; its output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
