//! Hosts of accounts.

use std::net::{Ipv4Addr, Ipv6Addr};

use datastore::{Error, Result};

/// The host of an account: what the caller gave, `%` when nothing. Servers
/// store hosts in lower case.
pub(crate) fn canonical(host: Option<&str>) -> String {
    match host {
        None | Some("") => "%".to_owned(),
        Some(host) => host.to_ascii_lowercase(),
    }
}

/// Checks the host of an account that is to be created. With
/// `require_address` (`hostname_require_valid_ip`) only `%`, addresses,
/// networks with a prefix or mask, and patterns of addresses are allowed.
pub(crate) fn check(host: &str, require_address: bool) -> Result<()> {
    let printable = host.bytes().all(|c| c.is_ascii_graphic());
    if !printable || host.contains('@') {
        return Err(Error::bad_request(format!(
            "Host {host:?} of the user is not valid"
        )));
    }
    if require_address && host != "%" && !is_address(host) {
        return Err(Error::bad_request(format!(
            "Host {host:?} of the user is not an IP address, a network or a pattern of one \
             such as 192.0.2.%"
        )));
    }
    Ok(())
}

/// Whether `host` is an address or network once each `%` is taken for a 1,
/// the rule of `trove/common/db/mysql/models.py`. IPv4 addresses may be cut
/// short at a wildcard.
fn is_address(host: &str) -> bool {
    let is_pattern = host.contains('%');
    let host = host.replace('%', "1");
    let (address, mask) = match host.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (host.as_str(), None),
    };
    if address.parse::<Ipv6Addr>().is_ok() {
        return mask.is_none_or(|mask| is_prefix(mask, 128));
    }
    let octets: Vec<&str> = address.split('.').collect();
    let enough = octets.len() == 4 || (is_pattern && octets.len() < 4);
    let valid =
        |octet: &&str| octet.bytes().all(|c| c.is_ascii_digit()) && octet.parse::<u8>().is_ok();
    enough
        && octets.iter().all(valid)
        && mask.is_none_or(|mask| is_prefix(mask, 32) || mask.parse::<Ipv4Addr>().is_ok())
}

fn is_prefix(mask: &str, limit: u8) -> bool {
    mask.bytes().all(|c| c.is_ascii_digit()) && mask.parse::<u8>().is_ok_and(|bits| bits <= limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_networks_and_patterns() {
        for host in [
            "%",
            "10.0.0.1",
            "192.168.%",
            "192.168.1.%",
            "10.%.0.1",
            "10.0.0.1%",
            "%.1.2.3",
            "10.0.0.0/8",
            "10.0.0.0/255.0.0.0",
            "::1",
            "2001:db8::%",
            "2001:db8::/32",
        ] {
            assert!(check(host, true).is_ok(), "{host}");
            assert!(check(host, false).is_ok(), "{host}");
        }
        for host in [
            "localhost",
            "db.example.com",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1.2",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "10.0.0.0/",
            "",
            "1.2.3.4/5/6",
            "+1.2.3.4",
            "192.168.1._",
        ] {
            assert!(check(host, true).is_err(), "{host}");
        }
        assert!(check("db.example.com", false).is_ok());
    }

    #[test]
    fn hosts_that_no_server_may_see() {
        for host in ["a b", "a'@'b", "h\u{1F600}", "a\nb", "é", "\0"] {
            assert!(check(host, false).is_err(), "{host:?}");
        }
    }

    #[test]
    fn missing_hosts_mean_any() {
        assert_eq!(canonical(None), "%");
        assert_eq!(canonical(Some("")), "%");
        assert_eq!(canonical(Some("DB.Example.com")), "db.example.com");
    }

    proptest! {
        #[test]
        fn every_address_is_one(address: std::net::IpAddr) {
            prop_assert!(check(&address.to_string(), true).is_ok());
        }

        #[test]
        fn any_text_is_answered(host in "\\PC{0,20}") {
            let _ = check(&host, true);
        }
    }
}
