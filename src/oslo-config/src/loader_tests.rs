use super::*;
use crate::environment::Environment;
use crate::filesystem::{DiskFileSystem, MemoryFileSystem};
use crate::kind::Kind;

const OPTIONS: [Opt; 2] = [
    Opt::new("DEFAULT", "a", Kind::Str),
    Opt::new("DEFAULT", "b", Kind::Str),
];

fn load_with(
    fs: &MemoryFileSystem,
    sources: &[Source],
    environment: Environment,
) -> Result<Config, Vec<LoadError>> {
    Loader::new(
        "trove",
        &["guest-agent", "trove-guestagent"],
        environment,
        fs,
    )
    .load(sources, OPTIONS)
}

fn load(fs: &MemoryFileSystem, sources: &[Source]) -> Result<Config, Vec<LoadError>> {
    load_with(fs, sources, Environment::default())
}

fn value(config: &Config, name: &str) -> Option<String> {
    config
        .get("DEFAULT", name)
        .unwrap()
        .unwrap()
        .value
        .map(|v| v.render())
}

fn dir(path: &str) -> Source {
    Source::Dir(path.into())
}

fn file(path: &str) -> Source {
    Source::File(path.into())
}

fn messages(errors: Vec<LoadError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn directory_files_in_order_of_name() {
    let fs = MemoryFileSystem::default()
        .file("/d/b.conf", "[DEFAULT]\na=2")
        .file("/d/a.conf", "[DEFAULT]\na=1\nb=1");
    let config = load(&fs, &[dir("/d")]).unwrap();
    assert_eq!(
        (value(&config, "a"), value(&config, "b")),
        (Some("2".into()), Some("1".into()))
    );
    // Upper case sorts first, and neither hidden files nor other endings count.
    let fs = MemoryFileSystem::default()
        .file("/d/.z.conf", "[DEFAULT]\na=hidden")
        .file("/d/B.conf", "[DEFAULT]\na=2")
        .file("/d/a.conf", "[DEFAULT]\na=1")
        .file("/d/x.CONF", "[DEFAULT]\na=upper")
        .file("/d/y.conf~", "[DEFAULT]\na=tilde");
    assert_eq!(
        value(&load(&fs, &[dir("/d")]).unwrap(), "a"),
        Some("1".into())
    );
}

#[test]
fn command_line_order_decides() {
    let fs = MemoryFileSystem::default()
        .file("/d1/a.conf", "[DEFAULT]\na=d1")
        .file("/f.conf", "[DEFAULT]\na=f\nb=f")
        .file("/d2/a.conf", "[DEFAULT]\na=d2");
    let config = load(&fs, &[dir("/d2"), file("/f.conf"), dir("/d1")]).unwrap();
    assert_eq!(
        (value(&config, "a"), value(&config, "b")),
        (Some("d1".into()), Some("f".into()))
    );
    let config = load(&fs, &[dir("/d1"), dir("/d2"), file("/f.conf")]).unwrap();
    assert_eq!(value(&config, "a"), Some("f".into()));
}

#[test]
fn default_files_come_first_unless_a_file_is_named() {
    let fs = MemoryFileSystem::default()
        .file("/etc/trove/trove.conf", "[DEFAULT]\na=etc\nb=etc")
        .file("/etc/trove.conf", "[DEFAULT]\na=shadowed")
        .file("/home/u/.trove/guest-agent.conf", "[DEFAULT]\na=home")
        .file("/etc/trove-guestagent.conf", "[DEFAULT]\nb=prog")
        .file("/etc/trove/trove.conf.d/x.conf", "[DEFAULT]\na=default-dir")
        .file("/d/x.conf", "[DEFAULT]\nc=1")
        .file("/f.conf", "");
    let home: Environment = [("HOME", "/home/u")].into_iter().collect();
    let paths = |sources: &[Source]| -> Vec<String> {
        let config = load_with(&fs, sources, home.clone()).unwrap();
        config.files().map(|p| p.display().to_string()).collect()
    };
    assert_eq!(
        paths(&[dir("/d")]),
        [
            "/etc/trove/trove.conf",
            "/home/u/.trove/guest-agent.conf",
            "/etc/trove-guestagent.conf",
            "/d/x.conf",
        ]
    );
    assert_eq!(
        paths(&[file("/f.conf")]),
        ["/etc/trove/trove.conf.d/x.conf", "/f.conf"]
    );
    assert_eq!(
        paths(&[file("/f.conf"), dir("/d")]),
        ["/f.conf", "/d/x.conf"]
    );
    assert_eq!(
        paths(&[file("~/.trove/guest-agent.conf"), dir("/d")])[0],
        "/home/u/.trove/guest-agent.conf"
    );
}

#[test]
fn snap_directories_come_last() {
    let fs = MemoryFileSystem::default().file("/snap/etc/trove/trove.conf", "[DEFAULT]\na=snap");
    let env: Environment = [("SNAP", "/snap")].into_iter().collect();
    assert_eq!(
        value(&load_with(&fs, &[], env).unwrap(), "a"),
        Some("snap".into())
    );
}

#[test]
fn all_unreadable_sources_are_reported() {
    let fs = MemoryFileSystem::default()
        .file("/d/x.conf/y", "a directory called x.conf")
        .file("/f", "")
        .file("/bad.conf", "[DEFAULT]\njunk secret\n")
        .file("/latin.conf", b"[DEFAULT]\na=\xe9".to_vec());
    let sources = [
        dir("/nope"),
        dir("/f"),
        dir("/d"),
        file("/no.conf"),
        file("/bad.conf"),
        file("/latin.conf"),
    ];
    let errors = messages(load(&fs, &sources).unwrap_err());
    assert_eq!(errors.len(), 6);
    assert_eq!(
        errors[0],
        "/nope: the configuration directory does not exist"
    );
    assert!(errors[1].starts_with("/f: cannot list the configuration directory:"));
    assert!(errors[2].starts_with("/d/x.conf: cannot read the configuration file:"));
    assert_eq!(errors[3], "/no.conf: the configuration file does not exist");
    assert_eq!(errors[4], "/bad.conf:2: no '=' or ':' in the assignment");
    assert_eq!(errors[5], "/latin.conf:2: the file is not UTF-8 text");
}

#[test]
fn reads_the_disk() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.conf"), "[DEFAULT]\na = 1\n").unwrap();
    std::os::unix::fs::symlink("nowhere", root.path().join("b.conf")).unwrap();
    let loader = || Loader::new("no-project", &[], Environment::default(), &DiskFileSystem);
    let sources = [Source::Dir(root.path().to_owned())];
    let errors = messages(loader().load(&sources, OPTIONS).unwrap_err());
    assert_eq!(
        errors,
        [format!(
            "{}/b.conf: the configuration file does not exist",
            root.path().display()
        )]
    );
    std::fs::remove_file(root.path().join("b.conf")).unwrap();
    assert_eq!(
        value(&loader().load(&sources, OPTIONS).unwrap(), "a"),
        Some("1".into())
    );
}
