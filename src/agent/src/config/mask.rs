//! transport_url without its passwords, for reports.
//!
//! Whatever is not plainly a scheme, a user name, a host, a port, a virtual
//! host or a known parameter is masked: a URL with a slip in it must not give a
//! password away.

use super::rabbit::parse_rabbit_option;

const MASK: &str = "***";

/// The URL with every password, and everything doubtful, as `***`.
pub(crate) fn transport_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return MASK.to_owned();
    };
    if !scheme
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "+_-".contains(c))
    {
        return MASK.to_owned();
    }
    // Passwords may hold '/', '?', ',' and '@' that should have been escaped:
    // all before the last '@' belongs to users and hosts.
    let (users, tail) = match rest.rsplit_once('@') {
        Some((users, tail)) => (Some(users), tail),
        None => (None, rest),
    };
    let mut out = format!("{scheme}://");
    if let Some(users) = users {
        // What follows a piece without a host may go on with its password.
        let mut whole = true;
        let pieces: Vec<_> = users
            .split(',')
            .map(|text| piece(text, std::mem::replace(&mut whole, text.contains('@'))))
            .collect();
        let (last, hosts) = pieces
            .split_last()
            .map_or((String::new(), &[][..]), |(l, h)| (l.user.clone(), h));
        for host in hosts {
            out.push_str(&format!("{}{},", host.user_at(), host.host));
        }
        out.push_str(&format!("{last}@"));
    }
    out.push_str(&tail_of(tail));
    out
}

/// One `user:password@host:port` of several; of the last one the host is
/// elsewhere, so all of it is the user.
struct Piece {
    user: String,
    host: String,
    has_user: bool,
}

impl Piece {
    fn user_at(&self) -> String {
        if self.has_user {
            format!("{}@", self.user)
        } else {
            String::new()
        }
    }
}

/// `known`: it begins where a user does, and not within a password.
fn piece(text: &str, known: bool) -> Piece {
    let user = |user_info: &str| match known {
        true => user(user_info),
        false => MASK.to_owned(),
    };
    match text.rsplit_once('@') {
        Some((user_info, host)) => Piece {
            user: user(user_info),
            host: plain_host(host),
            has_user: true,
        },
        // Either a host without user or a part of a password with a comma.
        None => Piece {
            user: user(text),
            host: MASK.to_owned(),
            has_user: false,
        },
    }
}

fn user(user_info: &str) -> String {
    let (name, password) = match user_info.split_once(':') {
        Some((name, _)) => (name, true),
        None => (user_info, false),
    };
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-~%".contains(c));
    let name = if plain && (password || name.is_empty()) {
        name
    } else {
        MASK
    };
    if password {
        format!("{name}:{MASK}")
    } else {
        name.to_owned()
    }
}

fn tail_of(tail: &str) -> String {
    let (path, query) = match tail.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (tail, None),
    };
    let (hosts, vhost) = match path.split_once('/') {
        Some((hosts, vhost)) => (hosts, Some(vhost)),
        None => (path, None),
    };
    let mut out = hosts
        .split(',')
        .map(plain_host)
        .collect::<Vec<_>>()
        .join(",");
    if let Some(vhost) = vhost {
        out.push('/');
        out.push_str(vhost);
    }
    if let Some(query) = query {
        let shown: Vec<_> = query.split('&').map(parameter).collect();
        out.push('?');
        out.push_str(&shown.join("&"));
    }
    out
}

fn plain_host(text: &str) -> String {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let bracketed = inner.len() != host.len();
    let host_ok = inner.chars().all(|c| {
        c.is_ascii_alphanumeric() || ".-_".contains(c) || (bracketed && (c == ':' || c == '%'))
    });
    let port_ok = port.len() <= 5 && port.chars().all(|c| c.is_ascii_digit());
    if host_ok && port_ok {
        text.to_owned()
    } else {
        MASK.to_owned()
    }
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, value)) if parse_rabbit_option(name, value).is_ok() => text.to_owned(),
        Some((name, _)) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            format!("{name}={MASK}")
        }
        _ => MASK.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shows_all_but_the_passwords() {
        let cases = [
            ("rabbit://", "rabbit://"),
            (
                "rabbit://guest:guest@127.0.0.1:5672/",
                "rabbit://guest:***@127.0.0.1:5672/",
            ),
            ("rabbit://h1,h2:5672/v", "rabbit://h1,h2:5672/v"),
            (
                "rabbit://u:p@h1:1,w:q@h2:2//v?ssl=1",
                "rabbit://u:***@h1:1,w:***@h2:2//v?ssl=1",
            ),
            ("rabbit://u:p@[::1]:5672/v", "rabbit://u:***@[::1]:5672/v"),
            (
                "rabbit://u%40x:p@h/?ssl_ca_file=/ca&x=canary",
                "rabbit://u%40x:***@h/?ssl_ca_file=/ca&x=***",
            ),
            ("rabbit://:p@h/", "rabbit://:***@h/"),
        ];
        for (url, shown) in cases {
            assert_eq!(transport_url(url), shown, "{url}");
        }
    }

    #[test]
    fn slips_give_nothing_away() {
        let urls = [
            "canary",
            "rabbit:/u:canary@h",
            "rabbit://u:can,canary@h/",
            "rabbit://u:x@canary@h/",
            "rabbit://u:canary/x@h/",
            "rabbit://u:canary?x@h/",
            "rabbit://u:canary",
            "rabbit://canary@h/",
            "rabbit://u:x,y:canary,z@h/",
            "rab canary://h",
            "rabbit://u:p@h/?canary",
            "rabbit://u:#canary@h",
            "rabbit://:,canary:@a/",
            "rabbit://u:x,canary:y@h/",
        ];
        for url in urls {
            assert!(
                !transport_url(url).contains("canary"),
                "{url} -> {}",
                transport_url(url)
            );
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>(), near in "rabbit://[\\[\\]a:@/,?&=é%1]{0,24}") {
            let _ = (transport_url(&text), transport_url(&near));
        }

        #[test]
        fn no_password_is_ever_shown(
            before in "[^@:]{0,4}", after in "[^@]{0,6}", user in "[a-z]{0,3}", tail in "[a-z]{1,3}(:[0-9]{1,4})?/[a-z]{0,3}",
        ) {
            let url = format!("rabbit://{user}:{before}CANARY{after}@{tail}");
            prop_assert!(!transport_url(&url).contains("CANARY"), "{}", transport_url(&url));
        }
    }
}
