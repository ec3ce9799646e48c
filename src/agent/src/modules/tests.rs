//! Modules on a directory in the place of the volume.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::logs::digest;

const ID: &str = "ec2c6611-fad6-4749-9d36-7ed6a86fccb9";

fn modules(directory: &Path) -> Modules {
    with(directory, None, &["Ping", "greeting"])
}

fn with(directory: &Path, inherited: Option<&Path>, allowed: &[&str]) -> Modules {
    let allowed: Vec<String> = allowed.iter().map(|kind| (*kind).to_owned()).collect();
    Modules::new(
        Store::at(directory, inherited),
        Drivers::new(&allowed, directory.join("programs")),
        "mysql",
    )
}

/// A module as the control plane sends it, with other values in some places.
fn module(kind: &str, contents: &str, other: Value) -> Module {
    let contents = request::encode(contents.as_bytes());
    let mut value = json!({
        "id": ID, "name": "m1", "type": kind, "description": null, "tenant_id": null,
        "datastore_id": null, "datastore_version_id": null, "auto_apply": false,
        "priority_apply": false, "apply_order": 5, "is_admin": false, "visible": true,
        "md5": digest(contents.as_bytes()), "created": "2026-11-22T07:38:30.000000",
        "updated": "2026-11-22T07:38:30.000000", "tenant": "all", "datastore": "all",
        "datastore_version": "all", "live_update": false, "contents": contents,
    });
    let (Value::Object(into), Value::Object(from)) = (&mut value, other) else {
        panic!("objects")
    };
    into.extend(from);
    serde_json::from_value::<Wrapped>(json!({ "module": value }))
        .unwrap()
        .into_inner()
}

async fn listed(modules: &Modules) -> Vec<String> {
    let found = modules.list(false, true).await.unwrap();
    found.into_iter().map(|applied| applied.name).collect()
}

#[tokio::test]
async fn a_module_is_applied_listed_retrieved_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let here = modules(dir.path());
    let ping = || module("ping", "message=hello", json!({}));
    let (first, again) = (
        here.apply(vec![ping()]).await.unwrap(),
        here.apply(vec![ping()]).await.unwrap(),
    );
    let applied = &again[0];
    assert_eq!(applied.status.as_deref(), Some("OK"));
    assert_eq!(applied.message.as_deref(), Some("hello"));
    assert_eq!(applied.created, first[0].created);
    // Another agent finds it, and everything the API shows of it.
    let next = modules(dir.path());
    let found = serde_json::to_value(next.list(true, false).await.unwrap()).unwrap();
    let found = found[0].as_object().unwrap();
    assert_eq!(found["contents"], request::encode(b"message=hello"));
    assert_eq!(found.len(), 16);
    assert_eq!(found["removed"], Value::Null);
    assert_eq!(found["updated"].as_str().unwrap().len(), 22);

    let place = dir.path().join("modules/ping").join(ID);
    for name in ["contents.dat", "result.json"] {
        assert_eq!(
            fs::metadata(place.join(name)).unwrap().mode() & 0o777,
            0o600
        );
    }
    next.remove(&ping()).await.unwrap();
    assert!(listed(&next).await.is_empty());
    assert!(!place.join("contents.dat").exists());
    let error = next.remove(&ping()).await.unwrap_err();
    assert_eq!(error.to_string(), "Module 'm1' has not been applied");
    // What comes back has been here before.
    let back = next.apply(vec![ping()]).await.unwrap();
    assert_eq!(back[0].created, first[0].created);
    assert_eq!(listed(&next).await, ["m1"]);
    next.forget().await.unwrap();
    assert!(listed(&next).await.is_empty());
}

#[tokio::test]
async fn nothing_is_applied_unless_all_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let here = modules(dir.path());
    let bad = [
        (json!({"type": "unknown"}), "module type 'unknown'"),
        (json!({"type": "../ping"}), "not a module's type or id"),
        (json!({"id": "../../etc"}), "not a module's type or id"),
        (
            json!({"datastore": "postgresql"}),
            "for datastore postgresql",
        ),
        (json!({"md5": "e75474d2b6187060b01908d5d41cbb1e"}), "MD5"),
        (json!({"contents": ""}), "has no contents"),
        (json!({"contents": null}), "has no contents"),
        (json!({"contents": "?", "md5": null}), "not base64"),
    ];
    for (other, why) in bad {
        let good = module("ping", "message=hello", json!({"id": "a"}));
        let bad = module("ping", "message=canary", other);
        let error = here.apply(vec![good, bad]).await.unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains("canary"), "{error}");
    }
    assert!(listed(&here).await.is_empty());
}

#[tokio::test]
async fn a_driver_that_fails_is_a_result_and_its_module_stays_until_it_can_go() {
    let dir = tempfile::tempdir().unwrap();
    let programs = dir.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let script = "#!/bin/sh\ncontents=$(cat)\necho \"$1 $TROVE_MODULE_NAME ${#contents}\"\n\
                  if test -e $0.refuse; then echo 'not now' >&2; exit 3; fi\n";
    let path = programs.join("greeting");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let here = modules(dir.path());
    let greeting = || module("greeting", "secret", json!({}));
    let applied = here.apply(vec![greeting()]).await.unwrap();
    assert_eq!(applied[0].message.as_deref(), Some("apply m1 6"));

    fs::write(programs.join("greeting.refuse"), "").unwrap();
    let failed = here.apply(vec![greeting()]).await.unwrap();
    assert_eq!(failed[0].status.as_deref(), Some("ERROR"));
    let message = failed[0].message.as_deref().unwrap();
    assert!(message.ends_with("not now"), "{message}");
    here.remove(&greeting()).await.unwrap_err();
    assert_eq!(listed(&here).await, ["m1"]);

    fs::remove_file(programs.join("greeting.refuse")).unwrap();
    // A new root disk has the program again, and the module applied by it.
    here.apply_again().await.unwrap();
    let found = here.list(false, true).await.unwrap();
    assert_eq!(found[0].status.as_deref(), Some("OK"));
    here.remove(&greeting()).await.unwrap();
}

#[tokio::test]
async fn modules_come_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let here = modules(dir.path());
    let one = |name: &str, other: Value| {
        let mut fields = json!({"id": name, "name": name});
        fields
            .as_object_mut()
            .unwrap()
            .extend(other.as_object().unwrap().clone());
        module("ping", "message=x", fields)
    };
    let modules = vec![
        one("last", json!({"apply_order": 9})),
        one("second", json!({"apply_order": 1})),
        one("first", json!({"apply_order": 7, "priority_apply": 1})),
        one("third", json!({"apply_order": 1})),
    ];
    let applied = here.apply(modules).await.unwrap();
    let names: Vec<_> = applied
        .iter()
        .map(|applied| applied.name.as_str())
        .collect();
    assert_eq!(names, ["first", "second", "third", "last"]);
}

#[tokio::test]
async fn users_see_what_is_theirs_to_see() {
    let dir = tempfile::tempdir().unwrap();
    let here = modules(dir.path());
    let admin = json!({"id": "a", "name": "admins", "is_admin": true});
    let hidden = json!({"id": "h", "name": "hidden", "visible": false});
    // Without the flag, what only an administrator can have made is his.
    let old = json!({"id": "o", "name": "old", "is_admin": null, "tenant": "all"});
    let own = json!({"id": "u", "name": "own", "is_admin": null, "tenant": "t"});
    for other in [admin, hidden, old, own] {
        let made = module("ping", "message=canary", other);
        here.apply(vec![made]).await.unwrap();
    }
    let found = here.list(true, false).await.unwrap();
    let seen: Vec<_> = found
        .iter()
        .map(|applied| (applied.name.as_str(), applied.contents.as_deref().unwrap()))
        .collect();
    let refusal = |name| {
        request::encode(format!("Must be admin to retrieve contents for module {name}").as_bytes())
    };
    let contents = request::encode(b"message=canary");
    let mut expected = vec![
        ("admins", refusal("admins")),
        ("old", refusal("old")),
        ("own", contents.clone()),
    ];
    let mut seen: Vec<_> = seen
        .iter()
        .map(|(name, text)| (*name, (*text).to_owned()))
        .collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(here.list(true, true).await.unwrap().len(), 4);
    assert!(here.list(false, true).await.unwrap()[0].contents.is_none());
}

#[tokio::test]
async fn what_upstreams_agent_left_is_taken_over_and_closed() {
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let place = home.path().join("modules/ping").join(ID);
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("contents.dat"), "message=old").unwrap();
    let result = json!({
        "type": "ping", "name": "old", "datastore": "all", "datastore_version": "all",
        "tenant": "all", "id": ID, "md5": "x", "status": "OK", "message": "old",
        "created": "2016-03-04 05:06:07.08", "updated": "2016-03-04 05:06:07.08",
        "removed": null, "auto_apply": false, "visible": true, "admin_only": true,
        "contents": null,
    });
    fs::write(place.join("result.json"), result.to_string()).unwrap();
    fs::write(home.path().join("modules/notes"), "mine").unwrap();
    let here = with(dir.path(), Some(home.path()), &["ping"]);
    let found = here.list(true, true).await.unwrap();
    assert_eq!(
        found[0].contents.as_deref(),
        Some(&*request::encode(b"message=old"))
    );
    assert!(found[0].is_admin);
    assert!(!place.exists());
    // Nothing else of that account's is touched.
    assert!(home.path().join("modules/notes").exists());
    here.remove(&module("ping", "", json!({}))).await.unwrap();
    assert!(listed(&here).await.is_empty());
}

#[tokio::test]
async fn a_damaged_result_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let here = modules(dir.path());
    here.apply(vec![module("ping", "message=x", json!({}))])
        .await
        .unwrap();
    let place = dir.path().join("modules/ping/damaged");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("result.json"), "{").unwrap();
    assert_eq!(listed(&here).await, ["m1"]);
}
