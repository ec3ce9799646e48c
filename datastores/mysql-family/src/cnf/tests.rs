use managed::OptionFile as _;
use proptest::prelude::*;

use super::*;

const SAMPLE: &str = "\
# base
[client]
port = 3306

[mysqld]
datadir = /var/lib/mysql/data
skip-external-locking
innodb_log_file_size=50M # removed in 9
ft-stopword = 'a # b'
; another comment
key_buffer_size = 50M

!includedir /etc/mysql/conf.d/
";

#[test]
fn values_are_the_text_they_are() {
    let document = Document::parse(SAMPLE);
    assert_eq!(
        document.get("mysqld", "datadir"),
        Some(Some("/var/lib/mysql/data"))
    );
    assert_eq!(document.get("mysqld", "skip_external_locking"), Some(None));
    assert_eq!(
        document.get("mysqld", "innodb-log-file-size"),
        Some(Some("50M"))
    );
    assert_eq!(document.get("mysqld", "ft_stopword"), Some(Some("'a # b'")));
    assert_eq!(document.get("mysqld", "port"), None);
    assert_eq!(document.get("client", "port"), Some(Some("3306")));
    assert_eq!(
        document.include_dirs().collect::<Vec<_>>(),
        ["/etc/mysql/conf.d/"]
    );
    assert_eq!(document.to_string(), SAMPLE);
}

#[test]
fn setting_touches_one_line() {
    let mut document = Document::parse(SAMPLE);
    document.set("mysqld", "key-buffer-size", Some("0644"));
    document.set("mysqld", "server_id", Some("007"));
    document.set("mysqldump", "quick", None);
    let expected = SAMPLE.replace(
        "key_buffer_size = 50M\n",
        "key-buffer-size = 0644\nserver_id = 007\n",
    ) + "[mysqldump]\nquick\n";
    assert_eq!(document.to_string(), expected);
}

#[test]
fn a_missing_last_newline_is_added_before_more_text() {
    let mut document = Document::parse("[mysqld]\nport=1");
    document.set("mysqld", "socket", Some("/s"));
    document.add_include_dir("/d");
    assert_eq!(
        document.to_string(),
        "[mysqld]\nport=1\nsocket = /s\n!includedir /d\n"
    );
}

#[test]
fn the_last_of_several_is_in_force_and_setting_leaves_one() {
    let mut document = Document::parse("[mysqld]\na=1\n[client]\na=2\n[mysqld]\na=3\n");
    assert_eq!(document.get("mysqld", "a"), Some(Some("3")));
    document.set("mysqld", "a", Some("4"));
    assert_eq!(
        document.to_string(),
        "[mysqld]\n[client]\na=2\n[mysqld]\na = 4\n"
    );
}

#[test]
fn refused_options_become_comments_in_the_groups_of_servers() {
    let mut document = Document::parse("[client]\nx_y=1\n[mysqld-9.7]\nx-y = 2\n[mysqld]\nx_y\n");
    let count = document.comment_out("x_y", "Refused");
    assert_eq!(count, 2);
    assert_eq!(
        document.to_string(),
        "[client]\nx_y=1\n[mysqld-9.7]\n# Refused: x-y = 2\n[mysqld]\n# Refused: x_y\n"
    );
}

#[test]
fn groups_of_servers() {
    for group in [
        "mysqld",
        "server",
        "mariadb",
        "mariadbd",
        "mariadb-10.11",
        "mysqld-9.7",
        "galera",
    ] {
        assert!(is_server_group(group), "{group}");
    }
    for group in [
        "",
        "client",
        "mysqld_safe",
        "mysql",
        "mysqldump",
        "client-server",
    ] {
        assert!(!is_server_group(group), "{group}");
    }
}

#[test]
fn includes_can_be_left_out() {
    let document = Document::parse("!include /a\n[mysqld]\n!includedir /b\nx\n!includes\n");
    assert_eq!(
        document.without_includes().to_string(),
        "[mysqld]\nx\n!includes\n"
    );
}

fn any_document() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "\\[(mysqld|client|server| a )\\]",
        "[a-c_-]{1,3}( ?= ?[a-z0-9'\"# \\\\]{0,8})?",
        "[#;][a-z =]{0,8}",
        "!include(dir)? /[a-z]{0,3}",
        "\\PC{0,12}",
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")];
    (prop::collection::vec((line, end), 0..12), "\\PC{0,6}").prop_map(|(lines, last)| {
        lines
            .into_iter()
            .map(|(line, end)| line + end)
            .collect::<String>()
            + &last
    })
}

proptest! {
    #[test]
    fn printing_gives_back_every_byte(text in any_document()) {
        prop_assert_eq!(Document::parse(&text).to_string(), text);
    }

    #[test]
    fn what_is_set_is_what_is_read(
        text in any_document(),
        name in "[a-c][a-c_-]{0,2}",
        value in prop::option::of("([a-zA-Z0-9/.:,+-]([a-zA-Z0-9 /.:,+=-]{0,8}[a-zA-Z0-9])?)?"),
    ) {
        let mut document = Document::parse(&text);
        let others = |document: &Document| {
            document
                .options()
                .filter(|entry| entry.group != "mysqld" || !same_name(entry.name, &name))
                .map(|entry| format!("{entry:?}"))
                .collect::<Vec<_>>()
        };
        let before = others(&document);
        document.set("mysqld", &name, value.as_deref());
        let again = Document::parse(&document.to_string());
        prop_assert_eq!(again.get("mysqld", &name), Some(value.as_deref()));
        prop_assert_eq!(others(&again), before);
    }

    #[test]
    fn commented_out_options_are_gone_and_no_other(text in any_document(), name in "[a-c_-]{1,3}") {
        let mut document = Document::parse(&text);
        let others: Vec<String> = document
            .options()
            .filter(|entry| !is_server_group(entry.group) || !same_name(entry.name, &name))
            .map(|entry| format!("{entry:?}"))
            .collect();
        document.comment_out(&name, "Refused");
        let again = Document::parse(&document.to_string());
        let after: Vec<String> = again.options().map(|entry| format!("{entry:?}")).collect();
        prop_assert_eq!(after, others);
    }
}
