//! The tenant's own network beside the one the control plane uses.
//!
//! The tenant chooses that network's addresses, so they may be the same as those
//! of the management network. Nothing of it is therefore in the main routing
//! table: a table of its own is used by the packets that come from the tenant's
//! address and by the processes of the database's account, and by nobody else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tracing::debug;

use super::cidr::Cidr;
use super::interfaces::{self, Interface};
use crate::{Command, CommandError};

/// Number of the routing table, and the first of the rules' priorities: any that
/// distributions and cloud-init leave alone.
const TABLE: &str = "7306";
const FENCE: &str = "7304";
const BY_ADDRESS: &str = "7305";
const BY_ACCOUNT: &str = "7306";
/// After every other route of the table: nothing of it ever ends in the main one.
const LAST_METRIC: &str = "4278198272";
/// Origins of routes that are not the kernel's own: of the router, of DHCP, of
/// somebody's configuration.
const LEARNED: [&str; 4] = ["ra", "dhcp", "static", "boot"];

/// The tenant's interface and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantNetwork {
    /// Hardware address of the interface.
    pub mac: [u8; 6],
    /// Its addresses, one of each family at most.
    pub subnets: Vec<Subnet>,
    /// The account whose connections go there.
    pub uid: u32,
}

/// An address in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// The guest's address.
    pub address: IpAddr,
    /// The network.
    pub network: Cidr,
    /// The way to everything else.
    pub gateway: Option<IpAddr>,
    /// Further routes.
    pub routes: Vec<HostRoute>,
}

/// A way to a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    /// The network.
    pub destination: Cidr,
    /// The router on the interface's link.
    pub nexthop: IpAddr,
}

/// Why the tenant's network is not there.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No interface has the hardware address.
    #[error(
        "no interface has the MAC address {mac} of the tenant's port; attach the port to the \
         server"
    )]
    NoInterface {
        /// As the control plane writes it.
        mac: String,
    },
    /// It would be the only way to this guest.
    #[error(
        "{name} is the only interface with an address: if it were the tenant's alone, the control \
         plane could not reach this guest; attach it to a management network as well"
    )]
    OnlyInterface {
        /// The interface.
        name: String,
    },
    /// Two interfaces cannot have one address.
    #[error(
        "the tenant's address {address} is the management address of {name}, too; give the \
         tenant's port another one"
    )]
    SameAddress {
        /// The address.
        address: IpAddr,
        /// The other interface.
        name: String,
    },
    /// The interfaces cannot be listed.
    #[error("list network interfaces: {0}")]
    List(#[from] std::io::Error),
    /// ip(8) refused.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl TenantNetwork {
    /// The name of the interface that has the tenant's addresses; `None` when
    /// they are missing.
    ///
    /// # Errors
    /// When the interfaces cannot be listed.
    pub fn established(&self) -> Result<Option<String>, NetworkError> {
        let found = interfaces::all()?.into_iter().find(|(_, interface)| {
            let has = |subnet: &Subnet| interface.addresses.contains(&subnet.address);
            interface.mac == Some(self.mac) && self.subnets.iter().all(has)
        });
        Ok(found.map(|(name, _)| name))
    }

    /// Gives the interface its addresses, routes and rules, and keeps it out of
    /// the main routing table. Every step may be repeated at any time; no other
    /// interface is touched.
    ///
    /// # Errors
    /// When that would cut this guest off, or the kernel refuses.
    pub async fn ensure(&self) -> Result<(), NetworkError> {
        let interfaces = interfaces::all()?;
        let name = self.find(&interfaces)?;
        let others = interfaces.iter().filter(|(other, _)| *other != name);
        let others: Vec<_> = others.filter(|(_, found)| !found.is_loopback).collect();
        if !others.iter().any(|(_, interface)| interface.is_reachable()) {
            return Err(NetworkError::OnlyInterface { name: name.clone() });
        }
        for subnet in &self.subnets {
            let same = |found: &&(&String, &Interface)| found.1.addresses.contains(&subnet.address);
            if let Some((other, _)) = others.iter().find(same) {
                return Err(NetworkError::SameAddress {
                    address: subnet.address,
                    name: (*other).clone(),
                });
            }
        }
        quieten(name);
        ip(&["link", "set", "dev", name, "up"]).await?;
        for subnet in &self.subnets {
            subnet.establish(name).await?;
            let is_family = |address: &&IpAddr| address.is_ipv4() == subnet.address.is_ipv4();
            let elsewhere = others.iter().flat_map(|(_, found)| &found.addresses);
            self.rules(subnet, elsewhere.filter(is_family)).await?;
            subnet.leave_main(name).await?;
        }
        Ok(())
    }

    fn find<'a>(
        &self,
        interfaces: &'a BTreeMap<String, Interface>,
    ) -> Result<&'a String, NetworkError> {
        let mut found = interfaces.iter();
        let found = found.find(|(_, interface)| interface.mac == Some(self.mac));
        found.map(|(name, _)| name).ok_or_else(|| {
            let bytes = self.mac.map(|byte| format!("{byte:02x}"));
            NetworkError::NoInterface {
                mac: bytes.join(":"),
            }
        })
    }

    /// Who uses the table: replies and everybody who has bound the tenant's
    /// address, and the database. To the other addresses the database does not
    /// answer.
    async fn rules(
        &self,
        subnet: &Subnet,
        elsewhere: impl Iterator<Item = &IpAddr>,
    ) -> Result<(), NetworkError> {
        let family = subnet.family();
        let own = subnet.address.to_string();
        let account = format!("{0}-{0}", self.uid);
        for other in elsewhere {
            let other = other.to_string();
            let fence = ["from", &other, "uidrange", &account, "unreachable"];
            rule(family, FENCE, &fence).await?;
        }
        rule(family, BY_ADDRESS, &["from", &own, "lookup", TABLE]).await?;
        let account = ["uidrange", &account, "lookup", TABLE];
        rule(family, BY_ACCOUNT, &account).await
    }
}

impl Subnet {
    fn family(&self) -> &'static str {
        if self.address.is_ipv4() { "-4" } else { "-6" }
    }

    /// The address, and the table's routes. What is more special comes last and
    /// wins: a host route may be a default route.
    async fn establish(&self, name: &str) -> Result<(), NetworkError> {
        let family = self.family();
        let own = self.address.to_string();
        let full = format!("{own}/{}", self.network.length);
        let address = [family, "address", "replace", &full, "dev", name];
        // The cloud has seen to it that nobody else has the address; until that
        // were found out, IPv6 would not use it.
        let options = match self.address.is_ipv4() {
            true => ["noprefixroute"].as_slice(),
            false => &["noprefixroute", "nodad"],
        };
        ip(&[&address[..], options].concat()).await?;
        let network = self.network.to_string();
        // IPv6 takes an address of the outgoing interface by itself.
        let source = ["src", &own];
        let source = &source[..if self.address.is_ipv4() { 2 } else { 0 }];
        let table = [&["dev", name], source, &["table", TABLE]].concat();
        let route = |to: &[&str]| {
            let argv = [&[family, "route", "replace"], to, &table].concat();
            argv.iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let last = [
            "unreachable",
            "default",
            "metric",
            LAST_METRIC,
            "table",
            TABLE,
        ];
        ip(&[&[family, "route", "replace"], &last[..]].concat()).await?;
        ip(&route(&[&network])).await?;
        if let Some(gateway) = &self.gateway {
            let gateway = gateway.to_string();
            ip(&route(&["default", "via", &gateway, "onlink"])).await?;
        }
        for HostRoute {
            destination,
            nexthop,
        } in &self.routes
        {
            let (to, via) = (destination.to_string(), nexthop.to_string());
            ip(&route(&[&to, "via", &via, "onlink"])).await?;
        }
        Ok(())
    }

    /// Takes out of the main table what DHCP, a router or the prefix of an
    /// address has put there: it could lead the agent's own traffic away.
    async fn leave_main(&self, name: &str) -> Result<(), NetworkError> {
        let flush = [
            self.family(),
            "route",
            "flush",
            "table",
            "main",
            "dev",
            name,
        ];
        if self.address.is_ipv4() {
            return ip(&flush).await;
        }
        // IPv6 does not work without the kernel's own route to the link.
        let network = self.network.to_string();
        ip(&[&flush[..], &["exact", &network]].concat()).await?;
        for origin in LEARNED {
            ip(&[&flush[..], &["proto", origin]].concat()).await?;
        }
        Ok(())
    }
}

/// Keeps the interface from speaking for the others: it answers for its own
/// addresses only, and takes no routes from the tenant's routers.
fn quieten(name: &str) {
    for (family, setting, value) in [
        ("ipv4", "arp_ignore", "1"),
        ("ipv4", "arp_announce", "2"),
        ("ipv6", "accept_ra", "0"),
    ] {
        let path = format!("/proc/sys/net/{family}/conf/{name}/{setting}");
        // A guest without IPv6 has no such file.
        if let Err(error) = std::fs::write(&path, value) {
            debug!(%error, path, "Setting of an interface not changed.");
        }
    }
}

/// Adds a rule; one that is there already is as good.
async fn rule(family: &str, priority: &str, rest: &[&str]) -> Result<(), NetworkError> {
    let add = [family, "rule", "add", "priority", priority];
    let done = ip(&[&add[..], rest].concat()).await;
    match done {
        Err(NetworkError::Command(CommandError::Failed { stderr, .. }))
            if stderr.contains("File exists") =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn ip(argv: &[impl AsRef<std::ffi::OsStr>]) -> Result<(), NetworkError> {
    Command::new("ip").args(argv).run().await?;
    Ok(())
}
