//! The tenant's network on real interfaces: a guest between two networks that
//! have the same addresses, each in a network namespace. Needs root.

#![allow(clippy::unwrap_used, missing_docs)]

mod bench;

use guest::{HostRoute, NetworkError, TenantNetwork};

use crate::bench::{ACCOUNT, Bench, FAR, GUEST_MANAGEMENT, GUEST_TENANT, GUEST_TENANT_V6, PEER};

#[test]
fn both_sides_are_reached_although_they_have_the_same_addresses() {
    let bench = Bench::new();
    bench.ensure(&bench.network()).unwrap();
    let _server = bench.guest.serve(0, "guest");
    for address in [GUEST_TENANT, GUEST_TENANT_V6] {
        assert_eq!(bench.tenant.ask(0, address), "guest", "{address}");
    }
    // From beyond the router, by the gateway.
    assert_eq!(bench.tenant.ask_from(FAR, 0, GUEST_TENANT), "guest");
    assert_eq!(bench.management.ask(0, GUEST_MANAGEMENT), "guest");
}

#[test]
fn the_database_speaks_to_the_tenant_and_everybody_else_to_management() {
    let bench = Bench::new();
    bench.ensure(&bench.network()).unwrap();
    let _one = bench.tenant.serve(0, "tenant");
    let _other = bench.management.serve(0, "management");
    assert_eq!(bench.guest.ask(ACCOUNT, PEER), "tenant");
    assert_eq!(bench.guest.ask(0, PEER), "management");
    assert_eq!(bench.guest.ask(ACCOUNT, FAR), "tenant");
    // The agent's own traffic never goes to the tenant's network.
    assert_eq!(bench.guest.ask(0, FAR), "");
}

#[test]
fn the_database_does_not_answer_on_the_management_side() {
    let bench = Bench::new();
    bench.ensure(&bench.network()).unwrap();
    let _server = bench.guest.serve(ACCOUNT, "database");
    assert_eq!(bench.tenant.ask(0, GUEST_TENANT), "database");
    assert_eq!(bench.management.ask(0, GUEST_MANAGEMENT), "");
}

#[test]
fn doing_it_again_changes_nothing() {
    let bench = Bench::new();
    let network = bench.network();
    bench.ensure(&network).unwrap();
    let before = bench.state();
    for part in [
        "from 10.77.0.9 lookup 7306",
        "default via 10.77.0.1",
        "10.88.0.0/24 via",
    ] {
        assert!(before.contains(part), "{part}: {before}");
    }
    bench.ensure(&network).unwrap();
    assert_eq!(bench.state(), before);
}

#[test]
fn what_a_boot_or_dhcp_has_changed_is_put_right() {
    let bench = Bench::new();
    let network = bench.network();
    bench.ensure(&network).unwrap();
    let before = bench.state();
    // A DHCP client renews its lease.
    bench.guest.ip(&[
        "route",
        "add",
        "10.77.0.0/24",
        "dev",
        "tenant0",
        "metric",
        "100",
    ]);
    bench
        .guest
        .ip(&["route", "add", "default", "via", PEER, "dev", "tenant0"]);
    assert_ne!(bench.state(), before);
    bench.ensure(&network).unwrap();
    assert_eq!(bench.state(), before);
    // After a boot there is nothing.
    bench.guest.ip(&["address", "flush", "dev", "tenant0"]);
    bench.guest.ip(&["link", "set", "tenant0", "down"]);
    bench.guest.ip(&["rule", "flush"]);
    for table in ["main", "default"] {
        let preference = if table == "main" { "32766" } else { "32767" };
        bench
            .guest
            .ip(&["rule", "add", "priority", preference, "lookup", table]);
    }
    assert_eq!(bench.run(|network| network.established().unwrap()), None);
    bench.ensure(&network).unwrap();
    let established = bench.run(|network| network.established().unwrap());
    assert_eq!(established.as_deref(), Some("tenant0"));
    let _server = bench.guest.serve(0, "guest");
    assert_eq!(bench.tenant.ask(0, GUEST_TENANT), "guest");
}

#[test]
fn the_management_interface_is_never_cut() {
    let bench = Bench::new();
    let before = bench.state();
    let other = |change: fn(&mut TenantNetwork)| {
        let mut network = bench.network();
        change(&mut network);
        let error = bench.ensure(&network).unwrap_err();
        assert_eq!(bench.state(), before, "{error}");
        error
    };
    let error = other(|network| network.mac = [2, 0, 0, 0, 0, 99]);
    assert!(error.to_string().contains("02:00:00:00:00:63"), "{error}");
    let error = other(|network| network.subnets[0].address = GUEST_MANAGEMENT.parse().unwrap());
    assert!(matches!(error, NetworkError::SameAddress { .. }), "{error}");
    bench.guest.ip(&["address", "flush", "dev", "management0"]);
    let before = bench.state();
    let error = bench.ensure(&bench.network()).unwrap_err();
    assert!(
        matches!(error, NetworkError::OnlyInterface { .. }),
        "{error}"
    );
    assert_eq!(bench.state(), before);
}

#[test]
fn a_host_route_wins_over_the_gateway() {
    let bench = Bench::new();
    let mut network = bench.network();
    network.subnets[0].gateway = Some("10.77.0.254".parse().unwrap());
    network.subnets[0].routes.push(HostRoute {
        destination: "0.0.0.0/0".parse().unwrap(),
        nexthop: PEER.parse().unwrap(),
    });
    bench.ensure(&network).unwrap();
    let _server = bench.tenant.serve(0, "tenant");
    assert_eq!(bench.guest.ask(ACCOUNT, FAR), "tenant");
}
