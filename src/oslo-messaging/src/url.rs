//! Transport URLs:
//! `driver://[user:pass@]host[:port][,[user:pass@]host[:port]]…/[vhost][?option=value&…]`.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// AMQP's registered port, also with TLS: oslo.messaging never switches to 5671.
pub const DEFAULT_PORT: u16 = 5672;

/// Why a transport URL was refused. The texts never repeat the URL, which may
/// hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No `driver://` in front.
    #[error("transport URL has no scheme, expected rabbit://")]
    NoScheme,
    /// A driver other than rabbit.
    #[error("transport URL: driver {0:?} is not supported, expected rabbit")]
    Driver(String),
    /// A host that is empty or whose brackets do not match.
    #[error("transport URL: host number {0} is malformed")]
    Host(usize),
    /// A port that is not 1 to 65535.
    #[error("transport URL: port of host number {0} is not a number from 1 to 65535")]
    Port(usize),
    /// The query names an option that does not exist.
    #[error("transport URL: unknown option {0:?} in the query")]
    Option(String),
    /// A virtual host, user or password AMQP cannot carry (more than 255 bytes).
    #[error("transport URL: {0} is longer than 255 bytes")]
    TooLong(&'static str),
}

/// One broker of a URL, with its own credentials.
#[derive(Clone)]
pub struct BrokerAddress {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login name; may be empty.
    pub username: String,
    /// Password; may be empty.
    pub password: SecretString,
}

impl BrokerAddress {
    /// `host:port`, with brackets around IPv6 addresses; safe to log.
    pub fn endpoint(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***@{}", self.username, self.endpoint())
    }
}

impl PartialEq for BrokerAddress {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, self.port, &self.username) == (&other.host, other.port, &other.username)
            && self.password.expose_secret() == other.password.expose_secret()
    }
}

/// A parsed `transport_url`. `Debug` and `Display` show `***` for passwords.
#[derive(Clone, PartialEq)]
pub struct TransportUrl {
    /// Brokers in the order given; never empty.
    pub hosts: Vec<BrokerAddress>,
    /// AMQP virtual host.
    pub virtual_host: String,
    /// Options of `[oslo_messaging_rabbit]` that override the configuration,
    /// in order of first appearance.
    pub overrides: Vec<(String, String)>,
}

impl Default for TransportUrl {
    /// `rabbit://`: `guest:guest@localhost:5672`, virtual host `/`.
    fn default() -> Self {
        Self {
            hosts: vec![default_broker()],
            virtual_host: "/".to_owned(),
            overrides: Vec::new(),
        }
    }
}

fn default_broker() -> BrokerAddress {
    BrokerAddress {
        host: "localhost".to_owned(),
        port: DEFAULT_PORT,
        username: "guest".to_owned(),
        password: SecretString::from("guest"),
    }
}

impl TransportUrl {
    /// Parses `url` as oslo.messaging does (`oslo_messaging/transport.py`).
    ///
    /// Hosts are separated by `,` before percent-decoding; each has its own
    /// credentials, which are not inherited. `is_option` tells which keys the
    /// query may contain; [`crate::RabbitOptions::canonical_name`] fits.
    ///
    /// # Errors
    /// [`UrlError`], whose texts contain no part of the credentials.
    pub fn parse(url: &str, is_option: impl Fn(&str) -> bool) -> Result<Self, UrlError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::NoScheme)?;
        let driver = scheme.split('+').next().unwrap_or_default();
        if driver != "rabbit" && driver != "kombu" {
            return Err(UrlError::Driver(driver.to_owned()));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (netloc, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let mut hosts = Vec::new();
        for (index, item) in netloc
            .split(',')
            .filter(|item| !item.is_empty())
            .enumerate()
        {
            hosts.push(parse_host(item, index + 1)?);
        }
        if hosts.is_empty() {
            hosts.push(default_broker());
        }
        Ok(Self {
            hosts,
            virtual_host: parse_virtual_host(path)?,
            overrides: parse_query(query, is_option)?,
        })
    }

    /// Hosts without a user or password next to hosts that have both: almost
    /// always a mistake, because credentials are not inherited.
    pub fn hosts_without_credentials(&self) -> Vec<String> {
        let (with, without): (Vec<_>, Vec<_>) = self
            .hosts
            .iter()
            .partition(|host| !host.username.is_empty());
        if with.is_empty() {
            return Vec::new();
        }
        without.into_iter().map(BrokerAddress::endpoint).collect()
    }
}

fn parse_virtual_host(path: &str) -> Result<String, UrlError> {
    let decoded = percent_decode(path.strip_prefix('/').unwrap_or(path));
    match decoded.as_str() {
        "" => Ok("/".to_owned()),
        name if name.len() > 255 => Err(UrlError::TooLong("virtual host")),
        _ => Ok(decoded),
    }
}

fn parse_host(item: &str, number: usize) -> Result<BrokerAddress, UrlError> {
    let (userinfo, address) = match item.rsplit_once('@') {
        Some((userinfo, address)) => (userinfo, address),
        None => ("", item),
    };
    let (username, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let (host, port) = if let Some(bracketed) = address.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']').ok_or(UrlError::Host(number))?;
        (
            host,
            port.strip_prefix(':')
                .or(port.is_empty().then_some(""))
                .ok_or(UrlError::Host(number))?,
        )
    } else if address.matches(':').count() > 1 {
        // A bare IPv6 address: oslo_utils.netutils takes it as a host without a port.
        (address, "")
    } else {
        address.split_once(':').unwrap_or((address, ""))
    };
    if host.is_empty() || host.contains(['[', ']', '@', ' ']) {
        return Err(UrlError::Host(number));
    }
    let port = match port {
        "" => DEFAULT_PORT,
        digits => digits
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(UrlError::Port(number))?,
    };
    let username = percent_decode(username);
    let password = percent_decode(password);
    if username.len() > 255 {
        return Err(UrlError::TooLong("user name"));
    }
    Ok(BrokerAddress {
        host: host.to_owned(),
        port,
        username,
        password: SecretString::from(password),
    })
}

/// Python's `parse_qs`: `+` is a space, blank values are dropped; repeated
/// keys are then joined by `,`.
fn parse_query(
    query: &str,
    is_option: impl Fn(&str) -> bool,
) -> Result<Vec<(String, String)>, UrlError> {
    let mut overrides: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = percent_decode(&key.replace('+', " "));
        if !is_option(&key) {
            return Err(UrlError::Option(key));
        }
        let value = percent_decode(&value.replace('+', " "));
        if value.is_empty() {
            continue;
        }
        match overrides.iter_mut().find(|(known, _)| *known == key) {
            Some((_, joined)) => {
                joined.push(',');
                joined.push_str(&value);
            }
            None => overrides.push((key, value)),
        }
    }
    Ok(overrides)
}

/// Python's `unquote`: a `%` that starts no escape stays, bytes that are no
/// UTF-8 become U+FFFD.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .filter(|pair| pair.iter().all(u8::is_ascii_hexdigit))
            .and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        match escape {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

impl fmt::Display for TransportUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rabbit://")?;
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if host.username.is_empty() && host.password.expose_secret().is_empty() {
                write!(f, "{comma}{}", host.endpoint())?;
            } else {
                write!(f, "{comma}{}:***@{}", host.username, host.endpoint())?;
            }
        }
        write!(
            f,
            "/{}",
            self.virtual_host
                .strip_prefix('/')
                .unwrap_or(&self.virtual_host)
        )?;
        for (index, (key, value)) in self.overrides.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for TransportUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransportUrl({self})")
    }
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
