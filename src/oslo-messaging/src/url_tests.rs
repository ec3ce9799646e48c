use super::*;
use proptest::prelude::*;

fn parse(url: &str) -> TransportUrl {
    TransportUrl::parse(url, |key| key.starts_with("rabbit_") || key == "ssl").unwrap()
}

fn credentials(host: &BrokerAddress) -> (&str, &str) {
    (&host.username, host.password.expose_secret())
}

#[test]
fn defaults_apply_without_a_host() {
    for url in ["rabbit://", "rabbit:///", "kombu://", "rabbit+x://"] {
        assert_eq!(parse(url), TransportUrl::default(), "{url}");
    }
}

#[test]
fn each_host_has_its_own_credentials() {
    let url = parse("rabbit://u:p@h1,h2:5673,,a:b@[2001:db8::1]:99/");
    assert_eq!(url.hosts.len(), 3);
    assert_eq!(credentials(&url.hosts[0]), ("u", "p"));
    assert_eq!(credentials(&url.hosts[1]), ("", ""));
    assert_eq!(
        (url.hosts[1].host.as_str(), url.hosts[1].port),
        ("h2", 5673)
    );
    assert_eq!(
        (url.hosts[2].host.as_str(), url.hosts[2].port),
        ("2001:db8::1", 99)
    );
    assert_eq!(url.hosts[2].endpoint(), "[2001:db8::1]:99");
    assert_eq!(url.hosts_without_credentials(), ["h2:5673"]);
}

#[test]
fn credentials_split_at_the_last_at_and_first_colon() {
    let url = parse("rabbit://us%40er:p%2Fw%3A+@x:y@h/");
    assert_eq!(credentials(&url.hosts[0]), ("us@er", "p/w:+@x:y"));
    assert_eq!(url.hosts[0].port, DEFAULT_PORT);
}

#[test]
fn virtual_hosts() {
    for (url, vhost) in [
        ("rabbit://h", "/"),
        ("rabbit://h/", "/"),
        ("rabbit://h//", "/"),
        ("rabbit://h/%2F", "/"),
        ("rabbit://h/trove", "trove"),
        ("rabbit://h//trove", "/trove"),
        ("rabbit://h/%2Ftrove", "/trove"),
        ("rabbit://h/a%20b?ssl=1", "a b"),
    ] {
        assert_eq!(parse(url).virtual_host, vhost, "{url}");
    }
}

#[test]
fn the_query_overrides_options() {
    let url = parse("rabbit://h/?ssl=1&rabbit_a=x&rabbit_a=y+z&rabbit_b=&rabbit_c=%2Fetc%2Fca");
    let expected = [("ssl", "1"), ("rabbit_a", "x,y z"), ("rabbit_c", "/etc/ca")];
    assert!(
        url.overrides
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .eq(expected)
    );
    let error = TransportUrl::parse("rabbit://h/?sssl=1", |key| key == "ssl").unwrap_err();
    assert_eq!(error, UrlError::Option("sssl".into()));
}

#[test]
fn bad_urls_are_refused_without_repeating_secrets() {
    for url in [
        "rabbit:/u:hunter2@h/",
        "fake://u:hunter2@h/",
        "rabbit://u:hunter2@[::1/",
        "rabbit://u:hunter2@h:port/",
        "rabbit://u:hunter2@h:0/",
        "rabbit://u:hunter2@/",
        "rabbit://u:hunter2@h/?nope=1",
    ] {
        let error = TransportUrl::parse(url, |_| false).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}");
    }
}

#[test]
fn passwords_are_masked() {
    let url = parse("rabbit://u:hunter2@h1,v:hunter2@[::1]/x?ssl=1");
    assert_eq!(
        url.to_string(),
        "rabbit://u:***@h1:5672,v:***@[::1]:5672/x?ssl=1"
    );
    assert!(!format!("{url:?} {:?}", url.hosts).contains("hunter2"));
}

fn quote(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

proptest! {
    #[test]
    fn never_panics(url in "\\PC*", tail in "[a-z0-9:@,/?&=%\\[\\]+]{0,60}") {
        let _ = TransportUrl::parse(&url, |_| true);
        let _ = TransportUrl::parse(&format!("rabbit://{tail}"), |_| true);
    }

    #[test]
    fn quoted_parts_survive(
        user in "\\PC{1,20}", password in "\\PC{0,30}", vhost in "\\PC{1,20}",
        host in "[a-z][a-z0-9.-]{0,20}", port in 1u16..,
    ) {
        let parse = |password: &str| {
            let (user, password, vhost) = (quote(&user), quote(password), quote(&vhost));
            let url = format!("rabbit://{user}:{password}@{host}:{port}/{vhost}");
            TransportUrl::parse(&url, |_| false).unwrap()
        };
        let url = parse(&password);
        prop_assert_eq!(credentials(&url.hosts[0]), (user.as_str(), password.as_str()));
        prop_assert_eq!(&url.hosts[0].host, &host);
        prop_assert_eq!(url.hosts[0].port, port);
        prop_assert_eq!(&url.virtual_host, &vhost);
        let other = parse("another password");
        prop_assert_eq!(format!("{url:?} {url} {:?}", url.hosts), format!("{other:?} {other} {:?}", other.hosts));
    }
}
