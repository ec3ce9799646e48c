//! The part of RFC 3986 that oslo.config's `URI` type insists on: a scheme, and
//! an authority with a host and, if given, a numeric port.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether `text` is a URI with scheme and host.
pub(crate) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    is_scheme(scheme) && is_authority(authority)
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b))
}

fn is_authority(authority: &str) -> bool {
    let (user, host_port) = match authority.split_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.is_empty() || !is_host_text(&user.replace(':', ""))) {
        return false;
    }
    let (host, port) = match host_port.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, after)) if host.parse::<Ipv6Addr>().is_ok() => (host, after),
            _ => return false,
        },
        None => {
            let end = host_port.find(':').unwrap_or(host_port.len());
            let (host, port) = host_port.split_at(end);
            if host.is_empty() || !is_host_text(host) || is_bad_ipv4(host) {
                return false;
            }
            (host, port)
        }
    };
    let port_ok = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()),
        None => port.is_empty(),
    };
    !host.is_empty() && port_ok
}

/// `reg-name`: unreserved, sub-delims, percent escapes.
fn is_host_text(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&b))
}

/// Four numbers that are no IPv4 address are taken for a slip, not for a name.
fn is_bad_ipv4(host: &str) -> bool {
    let numeric = host.split('.').count() == 4
        && host
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    numeric && host.parse::<Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_the_original_judges() {
        let good = [
            "http://h/v1/AUTH_",
            "ftp://h",
            "http://h:99999/",
            "http://[::1]:80/a",
            "http://h:",
            "http://u:p@h/%zz",
            "http://h/é",
            "HTTP://h",
            "http://h_x/",
            "http://h/a b",
            "http://h?q",
            "http://h#f",
            "a+b-c.d://h",
            "http://h/AUTH_%(t)s",
            "http://a%20b/",
            "http://!$&*/",
        ];
        for uri in good {
            assert!(is_uri(uri), "{uri}");
        }
        let bad = [
            "h/x",
            "http:///x",
            "http://a b/",
            "",
            "http://h:x/",
            "//h/x",
            "http://[::1",
            "http://[zz]",
            "http://h /",
            "http:h",
            "http:/h",
            "1http://h",
            "http://h\"/",
            "http://é/",
            "None",
            "http://@h",
            "http://1.2.3.999/",
            " http://h",
            "http://h ",
            "http://a@b@c/",
            "http://[::1]x/",
            "ht_tp://h/",
        ];
        for uri in bad {
            assert!(!is_uri(uri), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>(), near in "[a-z]{0,2}:?/?/?[\\[\\]:@.a1é/]{0,12}") {
            let _ = (is_uri(&text), is_uri(&near));
        }
    }
}
