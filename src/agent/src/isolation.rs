//! The network of the tenant's port, as the control plane injects it
//! (`trove/instance/models.py`, `_get_user_nic_info`).

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use datastore::{Error, Result};
use guest::{Cidr, HostRoute, Subnet, TenantNetwork};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::config::Settings;

/// The description of the port (`trove/common/constants.py`).
const PATH: &str = "/etc/trove/eth1.json";
/// How often is looked whether somebody has changed the interface: DHCP clients
/// renew their routes.
const LOOK: Duration = Duration::from_secs(180);

/// Whether the tenant's port belongs to the database alone.
#[derive(Debug, Clone)]
pub struct Isolation {
    asked: bool,
    /// The database's account.
    uid: u32,
}

impl Isolation {
    /// What the configuration says.
    pub fn of(settings: &Settings) -> Self {
        Self {
            asked: settings.network_isolation,
            uid: settings.service_account.uid,
        }
    }

    /// The tenant's network of this guest; `None` when the instance has no port
    /// of its own, or shares its network with the control plane.
    ///
    /// # Errors
    /// When the description cannot be understood.
    pub fn network(&self) -> Result<Option<TenantNetwork>> {
        match self.asked {
            true => read(Path::new(PATH), self.uid),
            false => Ok(None),
        }
    }

    /// The tenant's own address, IPv4 first.
    ///
    /// # Errors
    /// When the description cannot be understood.
    pub fn address(&self) -> Result<Option<IpAddr>> {
        let network = self.network()?;
        Ok(network.and_then(|network| network.subnets.first().map(|subnet| subnet.address)))
    }

    /// Has the interface be as described.
    ///
    /// # Errors
    /// When the description cannot be understood, or the interface is not there.
    pub async fn establish(&self) -> Result<()> {
        let Some(network) = self.network()? else {
            return Ok(());
        };
        network
            .ensure()
            .await
            .map_err(|error| Error::failed(format!("tenant's network: {error}")))
    }

    /// Looks after the interface until the agent ends.
    pub async fn keep(&self, cancel: CancellationToken) {
        let mut last = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let reason = self.establish().await.err().map(|error| error.to_string());
            if reason != last {
                match &reason {
                    Some(reason) => error!(%reason, "Tenant's network is not kept."),
                    None => info!("Tenant's network is kept again."),
                }
                last = reason;
            }
        }
    }
}

#[derive(Deserialize)]
struct Port {
    mac_address: String,
    ipv4_address: Option<String>,
    ipv4_cidr: Option<String>,
    ipv4_gateway: Option<String>,
    ipv4_host_routes: Option<Vec<Route>>,
    ipv6_address: Option<String>,
    ipv6_cidr: Option<String>,
    /// Absent when the network's routers tell it themselves.
    ipv6_gateway: Option<String>,
    ipv6_host_routes: Option<Vec<Route>>,
}

#[derive(Deserialize)]
struct Route {
    destination: String,
    nexthop: String,
}

fn read(path: &Path, uid: u32) -> Result<Option<TenantNetwork>> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::failed(format!(
            "{}: {error}; it must be as the control plane has injected it",
            path.display()
        ))
    };
    let Some(text) = guest::read_optional(path).map_err(|error| unreadable(&error))? else {
        return Ok(None);
    };
    let port: Port = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
    port.network(uid)
        .map(Some)
        .map_err(|error| unreadable(&error))
}

impl Port {
    fn network(&self, uid: u32) -> std::result::Result<TenantNetwork, String> {
        let v4 = subnet(
            &self.ipv4_address,
            &self.ipv4_cidr,
            &self.ipv4_gateway,
            &self.ipv4_host_routes,
        )?;
        let v6 = subnet(
            &self.ipv6_address,
            &self.ipv6_cidr,
            &self.ipv6_gateway,
            &self.ipv6_host_routes,
        )?;
        let subnets: Vec<Subnet> = v4.into_iter().chain(v6).collect();
        if subnets.is_empty() {
            return Err("there is no address in it".to_owned());
        }
        Ok(TenantNetwork {
            mac: mac(&self.mac_address)?,
            subnets,
            uid,
        })
    }
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn subnet(
    address: &Option<String>,
    network: &Option<String>,
    gateway: &Option<String>,
    routes: &Option<Vec<Route>>,
) -> std::result::Result<Option<Subnet>, String> {
    let Some(address) = given(address) else {
        return Ok(None);
    };
    let network = given(network).ok_or_else(|| format!("{address} has no network"))?;
    let mut subnet = Subnet {
        address: ip(address)?,
        network: cidr(network)?,
        gateway: given(gateway).map(ip).transpose()?,
        routes: Vec::new(),
    };
    for route in routes.iter().flatten() {
        subnet.routes.push(HostRoute {
            destination: cidr(&route.destination)?,
            nexthop: ip(&route.nexthop)?,
        });
    }
    let is_family = |other: &IpAddr| other.is_ipv4() == subnet.address.is_ipv4();
    let routed = subnet.routes.iter();
    let mut all = routed.flat_map(|route| [route.destination.address, route.nexthop]);
    match is_family(&subnet.network.address)
        && subnet.gateway.as_ref().is_none_or(is_family)
        && all.all(|other| is_family(&other))
    {
        true => Ok(Some(subnet)),
        false => Err(format!("not all that belongs to {address} is of its kind")),
    }
}

fn ip(text: &str) -> std::result::Result<IpAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an address"))
}

fn cidr(text: &str) -> std::result::Result<Cidr, String> {
    text.parse()
        .map_err(|error: guest::BadCidr| error.to_string())
}

fn mac(text: &str) -> std::result::Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("{text:?} is not a MAC address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<TenantNetwork>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("eth1.json");
        std::fs::write(&path, text).unwrap();
        read(&path, 1001)
    }

    /// Recorded from the control plane, 26.0.0.
    #[test]
    fn what_the_control_plane_injects() {
        let network = parse(
            r#"{"mac_address": "fa:16:3e:00:00:2a", "ipv4_address": "172.24.0.42",
                "ipv4_cidr": "172.24.0.0/16", "ipv4_gateway": "172.24.0.1",
                "ipv4_host_routes": []}"#,
        );
        let network = network.unwrap().unwrap();
        assert_eq!(network.mac, [0xfa, 0x16, 0x3e, 0, 0, 0x2a]);
        assert_eq!(network.subnets.len(), 1);
        assert_eq!(network.subnets[0].network.length, 16);
        assert_eq!(
            network.subnets[0].gateway,
            Some("172.24.0.1".parse().unwrap())
        );
    }

    #[test]
    fn both_families_and_what_is_left_out() {
        let network = parse(
            r#"{"mac_address": "fa:16:3e:00:00:2a", "ipv4_address": "10.1.1.5",
                "ipv4_cidr": "10.1.1.0/24", "ipv4_gateway": null,
                "ipv4_host_routes": [{"destination": "169.254.169.254/32",
                                      "nexthop": "10.1.1.2"}],
                "ipv6_address": "fd00::5", "ipv6_cidr": "fd00::/64", "ipv6_host_routes": []}"#,
        );
        let subnets = network.unwrap().unwrap().subnets;
        assert_eq!(subnets.len(), 2);
        assert_eq!(subnets[0].gateway, None);
        assert_eq!(subnets[0].routes[0].destination.length, 32);
        assert_eq!(subnets[1].address.to_string(), "fd00::5");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_named() {
        for (text, why) in [
            ("{", "eth1.json"),
            (r#"{"mac_address": "fa:16:3e:00:00:2a"}"#, "no address"),
            (
                r#"{"mac_address": "fa:16", "ipv4_address": "10.1.1.5", "ipv4_cidr": "10.1.1.0/24"}"#,
                "MAC",
            ),
            (
                r#"{"mac_address": "fa:16:3e:00:00:2a", "ipv4_address": "here",
                    "ipv4_cidr": "10.1.1.0/24"}"#,
                "\"here\"",
            ),
            (
                r#"{"mac_address": "fa:16:3e:00:00:2a", "ipv4_address": "10.1.1.5"}"#,
                "no network",
            ),
            (
                r#"{"mac_address": "fa:16:3e:00:00:2a", "ipv4_address": "10.1.1.5",
                    "ipv4_cidr": "10.1.1.0/24", "ipv4_gateway": "fd00::1"}"#,
                "of its kind",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn no_description_is_no_network() {
        assert_eq!(read(Path::new("/nonexistent/eth1.json"), 1).unwrap(), None);
    }
}
