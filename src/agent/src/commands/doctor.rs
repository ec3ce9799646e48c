//! `doctor`: tests each hop from the configuration to the database.

use std::path::Path;

use datastore::{Datastore, ServiceStatus};
use oslo_messaging::{Hop, ProbeTarget};

use super::report;
use crate::assemble::Assembly;
use crate::config::Settings;
use crate::isolation::Isolation;
use crate::{assemble, state_file};

/// Runs every test that can run and prints what each found. True when nothing
/// is broken.
pub async fn doctor(settings: &Settings, assembly: &Assembly) -> bool {
    report::step(
        true,
        "configuration",
        &format!(
            "guest {} ({})",
            settings.guest_id, settings.datastore_manager
        ),
    );
    let mut healthy = broker(settings, assembly).await;
    healthy &= key(settings);
    healthy &= volume(settings);
    healthy &= network(settings);
    healthy &= database(settings, &*assembly.datastore).await;
    healthy
}

async fn broker(settings: &Settings, assembly: &Assembly) -> bool {
    let target = ProbeTarget {
        exchange: Some(settings.control_exchange.clone()),
        queue: Some(format!("guestagent.{}", settings.guest_id)),
    };
    let mut healthy = true;
    for step in oslo_messaging::probe(&assembly.transport, &target).await {
        let (name, hint) = hop(step.hop);
        let name = format!("{name} {}", step.broker);
        match step.outcome {
            Ok(detail) => report::step(true, &name, &detail),
            Err(error) => {
                healthy = false;
                report::step(false, &name, &error.to_string());
                report::hint(hint.unwrap_or_else(|| error.kind.hint()));
            }
        }
    }
    healthy
}

/// The hop's name, and what to do where the error alone does not tell.
fn hop(hop: Hop) -> (&'static str, Option<&'static str>) {
    match hop {
        Hop::Dns => ("DNS", None),
        Hop::Tcp => ("TCP", None),
        Hop::Tls => ("TLS", None),
        Hop::Login => ("login", None),
        Hop::VirtualHost => ("virtual host", None),
        Hop::Exchange => (
            "exchange",
            Some(
                "control_exchange must be the control plane's (usually trove); it declares it on first use",
            ),
        ),
        Hop::Queue => (
            "queue",
            Some(
                "the running agent or the taskmanager declares it; check guest_id and that the agent runs",
            ),
        ),
    }
}

fn key(settings: &Settings) -> bool {
    let refused = state_file::read(Path::new(state_file::PATH))
        .map_or(0, |(state, _)| state.refused_requests);
    if refused > 0 {
        report::step(
            false,
            "key",
            &format!("{refused} requests did not open with instance_rpc_encr_key"),
        );
        report::hint(
            "guest_info.conf must be the one the control plane injected for this instance",
        );
        return false;
    }
    let detail = match (&settings.rpc_key, settings.allow_clear_text_rpc) {
        (None, _) => "none: RPC is not encrypted",
        (Some(_), true) => "present; requests in clear are accepted as well",
        (Some(_), false) => "present; whether it is the right one shows with the first request",
    };
    report::step(true, "key", detail);
    true
}

fn volume(settings: &Settings) -> bool {
    let volume = assemble::volume(settings);
    let (device, mount_point) = (volume.device.display(), volume.mount_point.display());
    match volume.is_mounted() {
        Ok(true) => report::step(true, "data volume", &format!("{mount_point} is mounted")),
        Ok(false) => {
            report::step(
                false,
                "data volume",
                &format!("{mount_point} is not mounted"),
            );
            report::hint(&format!(
                "the agent mounts {device} when it starts; its journal says why it did not"
            ));
            return false;
        }
        Err(error) => {
            report::step(false, "data volume", &error.to_string());
            return false;
        }
    }
    true
}

/// The tenant's network, if the instance has one of its own.
fn network(settings: &Settings) -> bool {
    let name = "tenant's network";
    let found = Isolation::of(settings)
        .network()
        .map_err(|error| error.to_string());
    let found = found.and_then(|network| match network {
        None => Ok(None),
        Some(network) => match network.established().map_err(|error| error.to_string())? {
            Some(interface) => Ok(Some((network, interface))),
            None => Err("no interface has the addresses of eth1.json".to_owned()),
        },
    });
    match found {
        Ok(None) => {}
        Ok(Some((network, interface))) => {
            let addresses = network
                .subnets
                .iter()
                .map(|subnet| subnet.address.to_string());
            let addresses = addresses.collect::<Vec<_>>().join(" and ");
            report::step(true, name, &format!("{addresses} on {interface}"));
        }
        Err(error) => {
            report::step(false, name, &error);
            report::hint("the agent sets it up when it starts; its journal says why it did not");
            return false;
        }
    }
    true
}

async fn database(settings: &Settings, datastore: &dyn Datastore) -> bool {
    let status = datastore.status().await;
    let unit = assemble::unit_name(settings);
    let healthy = status == ServiceStatus::Healthy;
    let detail = match status {
        ServiceStatus::Healthy => "answers on its socket".to_owned(),
        other => format!("{unit}.service is {other}"),
    };
    report::step(healthy, "database", &detail);
    if !healthy {
        report::hint(&format!(
            "journalctl -u {unit}; before the instance is prepared there is no database yet"
        ));
    }
    healthy
}
