//! The account the database server runs as.

use std::path::Path;

use tracing::info;

use crate::{Command, CommandError, FileError, read_optional};

/// A user of this guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name, also the name of its group.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Number of its primary group.
    pub gid: u32,
}

/// Why the account is not there.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The name exists with another number. Files on the volume carry numbers,
    /// so neither may be changed silently.
    #[error(
        "{kind} {name} has number {found}, but {wanted} is configured; change the configuration \
         or the image so that they agree"
    )]
    NumberDiffers {
        /// `user`, `group`, or `primary group of user`.
        kind: &'static str,
        /// Name of the user or group.
        name: String,
        /// The number in the guest's data base.
        found: u32,
        /// The number asked for.
        wanted: u32,
    },
    /// The number belongs to another name.
    #[error(
        "{kind} number {number} belongs to {owner}, so {name} cannot get it; configure another \
         number or remove {owner} from the image"
    )]
    NumberTaken {
        /// `user` or `group`.
        kind: &'static str,
        /// The number asked for.
        number: u32,
        /// Who has it.
        owner: String,
        /// Who wanted it.
        name: String,
    },
    /// useradd or groupadd reported success, but the entry is not there.
    #[error("{kind} {name} was created but is not in {path}")]
    Missing {
        /// `user` or `group`.
        kind: &'static str,
        /// Name of the user or group.
        name: String,
        /// The data base it should be in.
        path: &'static str,
    },
    /// useradd or groupadd failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// `/etc/passwd` or `/etc/group` could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Makes sure there is a group and a user `name` with these numbers, the user
/// without a home directory, a password or a shell. Idempotent.
///
/// Only `/etc/passwd` and `/etc/group` are consulted: an account of a remote
/// directory cannot be relied upon when the database starts at boot.
pub async fn ensure_service_account(
    name: &str,
    uid: u32,
    gid: u32,
) -> Result<Account, AccountError> {
    ensure_below(Path::new("/"), name, uid, gid).await
}

/// As [`ensure_service_account`], for the system installed below `root`.
async fn ensure_below(
    root: &Path,
    name: &str,
    uid: u32,
    gid: u32,
) -> Result<Account, AccountError> {
    if find_group(root, name, gid)?.is_none() {
        let number = gid.to_string();
        add("groupadd", root, &["--gid", &number], name).await?;
        let missing = AccountError::Missing {
            kind: "group",
            name: name.into(),
            path: "/etc/group",
        };
        find_group(root, name, gid)?.ok_or(missing)?;
        info!(group = name, gid, "Service group created.");
    }
    if let Some(account) = find_user(root, name, uid, gid)? {
        return Ok(account);
    }
    let (user, group) = (uid.to_string(), gid.to_string());
    let options = [
        "--uid",
        &user,
        "--gid",
        &group,
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
        "--shell",
        "/usr/sbin/nologin",
        "--comment",
        "Database service",
    ];
    add("useradd", root, &options, name).await?;
    let missing = AccountError::Missing {
        kind: "user",
        name: name.into(),
        path: "/etc/passwd",
    };
    let account = find_user(root, name, uid, gid)?.ok_or(missing)?;
    info!(user = name, uid, gid, "Service user created.");
    Ok(account)
}

async fn add(program: &str, root: &Path, options: &[&str], name: &str) -> Result<(), CommandError> {
    let mut command = Command::new(program).args(options);
    if root != Path::new("/") {
        command = command.arg("--prefix").arg(root);
    }
    command.arg("--").arg(name).run().await.map(drop)
}

fn find_group(root: &Path, name: &str, gid: u32) -> Result<Option<u32>, AccountError> {
    let text = read_optional(&root.join("etc/group"))?.unwrap_or_default();
    find(&text, "group", name, gid)?.map_or(Ok(None), |entry| Ok(Some(entry.number)))
}

fn find_user(root: &Path, name: &str, uid: u32, gid: u32) -> Result<Option<Account>, AccountError> {
    let text = read_optional(&root.join("etc/passwd"))?.unwrap_or_default();
    let Some(entry) = find(&text, "user", name, uid)? else {
        return Ok(None);
    };
    if entry.group != Some(gid) {
        return Err(AccountError::NumberDiffers {
            kind: "primary group of user",
            name: name.to_owned(),
            found: entry.group.unwrap_or_default(),
            wanted: gid,
        });
    }
    Ok(Some(Account {
        name: name.to_owned(),
        uid,
        gid,
    }))
}

/// The entry of that name and number; an error if only one of the two matches.
fn find<'a>(
    text: &'a str,
    kind: &'static str,
    name: &str,
    number: u32,
) -> Result<Option<Entry<'a>>, AccountError> {
    let mut owner = None;
    for entry in text.lines().filter_map(Entry::parse) {
        if entry.name == name {
            if entry.number == number {
                return Ok(Some(entry));
            }
            return Err(AccountError::NumberDiffers {
                kind,
                name: name.to_owned(),
                found: entry.number,
                wanted: number,
            });
        }
        if entry.number == number {
            owner.get_or_insert(entry.name);
        }
    }
    match owner {
        None => Ok(None),
        Some(owner) => Err(AccountError::NumberTaken {
            kind,
            number,
            owner: owner.to_owned(),
            name: name.to_owned(),
        }),
    }
}

/// What passwd(5) and group(5) have in common: name, password, number. The
/// fourth field is the primary group in one and the member list in the other.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    name: &'a str,
    number: u32,
    group: Option<u32>,
}

impl<'a> Entry<'a> {
    /// `None` for comments, NIS lines (`+`, `-`) and malformed lines, as libc.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        if name.starts_with(['#', '+', '-']) {
            return None;
        }
        let number = fields.nth(1)?.parse().ok()?;
        Some(Self {
            name,
            number,
            group: fields.next().and_then(|field| field.parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nubuntu:x:1000:\n";

    fn system() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        for (name, text) in [
            ("passwd", PASSWD),
            ("group", GROUP),
            ("shadow", ""),
            ("gshadow", ""),
        ] {
            fs::write(etc.join(name), text).unwrap();
        }
        root
    }

    #[tokio::test]
    async fn creates_once_with_the_real_tools() {
        if !nix::unistd::geteuid().is_root() {
            panic!("run as root: accounts are made with useradd and groupadd");
        }
        let root = system();
        let expected = Account {
            name: "database".into(),
            uid: 1001,
            gid: 1002,
        };
        for _ in 0..2 {
            assert_eq!(
                ensure_below(root.path(), "database", 1001, 1002)
                    .await
                    .unwrap(),
                expected
            );
        }
        let passwd = fs::read_to_string(root.path().join("etc/passwd")).unwrap();
        let line = "database:x:1001:1002:Database service:/nonexistent:/usr/sbin/nologin";
        assert_eq!(passwd, format!("{PASSWD}{line}\n"));
        let group = fs::read_to_string(root.path().join("etc/group")).unwrap();
        assert_eq!(group, format!("{GROUP}database:x:1002:\n"));
    }

    #[tokio::test]
    async fn conflicts_say_who_has_what() {
        let root = system();
        let path = root.path();
        let refused = async |name: &str, uid, gid| {
            ensure_below(path, name, uid, gid)
                .await
                .unwrap_err()
                .to_string()
        };
        let text = refused("ubuntu", 1001, 1000).await;
        assert!(
            text.starts_with("user ubuntu has number 1000, but 1001 is configured"),
            "{text}"
        );
        let text = refused("ubuntu", 1000, 1001).await;
        assert!(text.starts_with("group ubuntu has number 1000"), "{text}");
        let text = refused("database", 1001, 1000).await;
        assert!(
            text.starts_with("group number 1000 belongs to ubuntu"),
            "{text}"
        );
        assert_eq!(
            fs::read_to_string(path.join("etc/group")).unwrap(),
            GROUP,
            "nothing changed"
        );
        let added = format!("{GROUP}database:x:1001:\n");
        fs::write(path.join("etc/group"), added).unwrap();
        let text = refused("database", 1000, 1001).await;
        assert!(
            text.starts_with("user number 1000 belongs to ubuntu"),
            "{text}"
        );
        let other = format!("{PASSWD}database:x:1001:50::/:/bin/sh\n");
        fs::write(path.join("etc/passwd"), other).unwrap();
        let text = refused("database", 1001, 1001).await;
        assert!(
            text.starts_with("primary group of user database has number 50"),
            "{text}"
        );
    }

    #[test]
    fn odd_lines_are_no_entries() {
        for line in [
            "",
            ":x:1:1",
            "# a:x:1:1",
            "+::::",
            "+name:x:5:5",
            "name",
            "n:x:many:1",
            "n:x",
        ] {
            assert_eq!(Entry::parse(line), None, "{line}");
        }
        let entry = Entry {
            name: "g",
            number: 7,
            group: None,
        };
        assert_eq!(Entry::parse("g:x:7:a,b"), Some(entry));
    }

    proptest! {
        #[test]
        fn entries_are_read_back(
            name in "[a-z_][a-z0-9_-]{0,30}", uid in any::<u32>(), gid in any::<u32>(),
            noise in "(?s).{0,80}",
        ) {
            let line = format!("{name}:x:{uid}:{gid}:{}", noise.replace('\n', " "));
            let entry = Entry { name: &name, number: uid, group: Some(gid) };
            prop_assert_eq!(Entry::parse(&line), Some(entry));
            let _any = Entry::parse(&noise);
        }
    }
}
