//! Every expected value below is what oslo.config 10.7 answered, unless a
//! comment says otherwise.

use proptest::prelude::*;

use super::*;
use crate::filesystem::MemoryFileSystem;
use crate::loader::{Loader, Source};

const OPTIONS: &[Opt] = &[
    Opt::new("DEFAULT", "a", Kind::Str),
    Opt::new("DEFAULT", "b", Kind::Str),
    Opt::new("DEFAULT", "n", Kind::between(1, 100)).default("7"),
    Opt::new("DEFAULT", "t", Kind::Bool).default("true"),
    Opt::new("DEFAULT", "l", Kind::List).default("x,y"),
    Opt::new("DEFAULT", "d", Kind::Dict).default("k:v"),
    Opt::new("DEFAULT", "f", Kind::FLOAT).default("1.0"),
    Opt::new("DEFAULT", "none", Kind::Str),
    Opt::new("DEFAULT", "key", Kind::Str).secret(),
    Opt::new("DEFAULT", "m", Kind::Multi).deprecated(&[("DEFAULT", "o")]),
    Opt::new("g", "a", Kind::Str),
    Opt::new("g", "q", Kind::Str).default("gq"),
    Opt::new("g", "c", Kind::Str),
    Opt::new("g", "dep", Kind::Str).deprecated(&[
        ("g", "o1"),
        ("DEFAULT", "o2"),
        ("DEFAULT", "dep"),
    ]),
    Opt::new("mysql", "length", Kind::INT).default("36"),
    Opt::new("mariadb", "length", Kind::INT).default("${mysql.length}"),
];

fn config_with(files: &[&str], env: &[(&str, &str)]) -> Config {
    let mut fs = MemoryFileSystem::default().file("/d/keep", "");
    for (i, text) in files.iter().enumerate() {
        fs = fs.file(format!("/d/{i}.conf"), *text);
    }
    let loader = Loader::new("p", &[], env.iter().copied().collect(), &fs);
    loader
        .load(&[Source::Dir("/d".into())], OPTIONS.iter().copied())
        .unwrap()
}

fn config(text: &str) -> Config {
    config_with(&[text], &[])
}

fn get(config: &Config, group: &str, name: &str) -> Result<Option<String>, Box<ValueError>> {
    let resolved = config.get(group, name).unwrap()?;
    Ok(resolved
        .value
        .map(|v| v.as_str().map_or_else(|| v.render(), str::to_owned)))
}

/// The value of `a`, or `None` when it is an error.
fn a(text: &str) -> Option<String> {
    get(&config(text), "DEFAULT", "a").ok().flatten()
}

#[test]
fn interpolation() {
    let cases = [
        ("$b", "BB"),
        ("${b}", "BB"),
        ("$b$b", "BBBB"),
        ("${b}x", "BBx"),
        ("${g.q}", "gq"),
        ("$g.q", "gq"),
        ("$$b", "$b"),
        ("\\$b", "$b"),
        ("$", "$"),
        ("$1", "$1"),
        ("$n", "7"),
        ("$t", "True"),
        ("$l", "['x', 'y']"),
        ("$d", "{'k': 'v'}"),
        ("$f", "1.0"),
        ("$none", ""),
        ("[$none]", "[]"),
        ("${g.q}.x", "gq.x"),
        ("$$$b", "$BB"),
        ("${b", "${b"),
    ];
    for (text, value) in cases {
        let value = Some(value.to_owned());
        assert_eq!(a(&format!("[DEFAULT]\na={text}\nb=BB\n")), value, "{text}");
    }
    for text in [
        "$bx",
        "$b.",
        "$b.x",
        "$g",
        "$nope",
        "${nope}",
        "$g.nope",
        "$nope.x",
        "$B",
        "$g.q.",
        "${g.q.z}",
        "${DEFAULT.b}",
    ] {
        assert_eq!(a(&format!("[DEFAULT]\na={text}\nb=BB\n")), None, "{text}");
    }
}

#[test]
fn references_look_in_their_own_group_first() {
    let config = config("[DEFAULT]\na=top\nb=BB\n[g]\na=own\nc=$a-$b-$q");
    assert_eq!(get(&config, "g", "c").unwrap(), Some("own-BB-gq".into()));
    let nested = config_with(
        &["[DEFAULT]\na=$b\nb=$n-$$x\nn=$m\n"],
        &[("OS_DEFAULT__N", "12")],
    );
    assert_eq!(get(&nested, "DEFAULT", "a").unwrap(), Some("12-$x".into()));
}

#[test]
fn references_may_use_deprecated_names() {
    let config = config("[g]\ndep=v\nc=$o1-${g.o1}\n");
    assert_eq!(get(&config, "g", "c").unwrap(), Some("v-v".into()));
}

#[test]
fn interpolation_comes_before_conversion() {
    let config = config("[DEFAULT]\na=1,z:2\nl=$a,c\nd=k:$a\nn=$b\nb=12");
    assert_eq!(
        get(&config, "DEFAULT", "l").unwrap(),
        Some("1,z:2,c".into())
    );
    assert_eq!(
        get(&config, "DEFAULT", "d").unwrap(),
        Some("k:1,z:2".into())
    );
    assert_eq!(get(&config, "DEFAULT", "n").unwrap(), Some("12".into()));
}

#[test]
fn defaults_may_refer_to_other_options() {
    let config = config("[mysql]\nlength=12");
    let resolved = config.get("mariadb", "length").unwrap().unwrap();
    assert_eq!(
        (resolved.value, resolved.origin),
        (Some(Value::Int(12)), Origin::Default)
    );
}

#[test]
fn errors_name_place_value_and_what_is_allowed() {
    let config = config("[DEFAULT]\na=$b\n\nb=$a\nn=\n  many\nl=$nope\nd=$n");
    let message = |name| get(&config, "DEFAULT", name).unwrap_err().to_string();
    assert_eq!(
        message("n"),
        "/d/0.conf:5: [DEFAULT] n = \"\\nmany\": must be a whole number from 1 to 100"
    );
    assert_eq!(
        message("a"),
        "/d/0.conf:2: [DEFAULT] a = \"$b\": the value refers to itself"
    );
    assert!(
        message("l").contains("there is no option ${nope}"),
        "{}",
        message("l")
    );
    assert!(message("d").contains("a value that cannot be used: /d/0.conf:5: [DEFAULT] n ="));
}

#[test]
fn the_environment_wins_over_files() {
    let env = [
        ("OS_DEFAULT__A", " \"e$b\" "),
        ("OS_DEFAULT__b", "wrong case"),
        ("OS_G__A", ""),
        ("OS_G__O1", "deprecated names don't count"),
        ("OS_MYSQL__LENGTH", "x"),
    ];
    let config = config_with(&["[DEFAULT]\na=f\nb=f\n[g]\na=f\ndep=d\n"], &env);
    assert_eq!(
        get(&config, "DEFAULT", "a").unwrap(),
        Some(" \"ef\" ".into())
    );
    assert_eq!(get(&config, "g", "a").unwrap(), Some(String::new()));
    assert_eq!(get(&config, "g", "dep").unwrap(), Some("d".into()));
    assert_eq!(
        get(&config, "mysql", "length").unwrap_err().to_string(),
        "environment OS_MYSQL__LENGTH: [mysql] length = \"x\": must be a whole number"
    );
}

#[test]
fn deprecated_names() {
    let dep = |files: &[&str]| {
        let config = config_with(files, &[]);
        let resolved = config.get("g", "dep").unwrap().unwrap();
        (resolved.value.unwrap().render(), resolved.deprecated)
    };
    assert_eq!(
        dep(&["[g]\no1=1\n[DEFAULT]\no2=2"]),
        ("1".into(), Some(("g", "o1")))
    );
    assert_eq!(
        dep(&["[DEFAULT]\no2=2"]),
        ("2".into(), Some(("DEFAULT", "o2")))
    );
    assert_eq!(
        dep(&["[DEFAULT]\ndep=3"]),
        ("3".into(), Some(("DEFAULT", "dep")))
    );
    // In one file the current name wins, wherever it stands ...
    assert_eq!(dep(&["[g]\ndep=new\no1=old"]), ("new".into(), None));
    // ... but a later file wins whatever the name.
    assert_eq!(
        dep(&["[g]\ndep=new", "[g]\no1=old"]),
        ("old".into(), Some(("g", "o1")))
    );
}

#[test]
fn sections_in_any_case_are_one() {
    let config = config("[MYSQL]\nlength=1\n[MySQL]\nlength=2\n[mysql]\nother=3\n");
    let resolved = config.get("mysql", "length").unwrap().unwrap();
    assert_eq!(resolved.value, Some(Value::Int(2)));
    assert_eq!(
        resolved.origin,
        Origin::File {
            path: "/d/0.conf".into(),
            line: 4
        }
    );
    let unknown = config.unknown();
    assert_eq!(unknown.len(), 1);
    assert_eq!(
        (unknown[0].group.as_str(), unknown[0].name, unknown[0].line),
        ("mysql", "other", 6)
    );
}

#[test]
fn multi_valued_options_collect() {
    let multi = |files: &[&str]| {
        get(&config_with(files, &[]), "DEFAULT", "m")
            .unwrap()
            .unwrap()
    };
    assert_eq!(
        multi(&["[DEFAULT]\nm=1\nm=2", "[DEFAULT]\nm=3\nm=a,b"]),
        "1,2,3,a,b"
    );
    assert_eq!(
        multi(&["[DEFAULT]\nm=1\no=2", "[DEFAULT]\no=3\nm=4"]),
        "2,1,3,4"
    );
}

#[test]
fn an_empty_number_is_unset() {
    let config = config("[DEFAULT]\nn=\n");
    assert_eq!(config.get("DEFAULT", "n").unwrap().unwrap().value, None);
    assert!(config.get("DEFAULT", "unregistered").is_none());
}

#[test]
fn a_literal_none_is_text() {
    assert_eq!(a("[DEFAULT]\na=None"), Some("None".into()));
}

#[test]
fn secrets_stay_hidden() {
    let text = "[DEFAULT]\nkey = canary\na = x-$key\nn = $key\nl = $key\n";
    let config = config_with(&[text], &[("OS_DEFAULT__B", "canary")]);
    let shown = |name| format!("{:?}", config.get("DEFAULT", name).unwrap());
    for name in ["key", "a", "n", "l"] {
        assert!(!shown(name).contains("canary"), "{name}: {}", shown(name));
    }
    assert!(
        !get(&config, "DEFAULT", "n")
            .unwrap_err()
            .to_string()
            .contains("canary")
    );
    assert!(config.get("DEFAULT", "a").unwrap().unwrap().secret);
    assert!(!format!("{config:?}").contains("canary"));
    // A part of a password that looks like a reference isn't shown either.
    let bad = self::config("[DEFAULT]\nkey = pa$canary\n");
    let message = get(&bad, "DEFAULT", "key").unwrap_err().to_string();
    assert!(!message.contains("canary"), "{message}");
    assert!(
        message.starts_with("/d/0.conf:2: [DEFAULT] key: a dollar sign refers"),
        "{message}"
    );
}

proptest! {
    #[test]
    fn never_panics_and_escaped_text_is_kept(text in "[^\r\n]*", wild in "[$\\\\{}abgnl.\"]{0,16}") {
        let _ = a(&format!("[DEFAULT]\na={wild}\nb={wild}\nl={wild}\n"));
        let text = text.replace('\\', "");
        let escaped = text.replace('$', "$$");
        let written = crate::ini::write([("DEFAULT", "a", escaped.as_str())]).unwrap();
        prop_assert_eq!(a(&written), Some(text));
    }
}
