//! The payloads against messages recorded from oslo.messaging's rabbit driver.

use super::*;
use crate::wire::{decode_body, encode_body};

const RECORDED: &str = include_str!("../../testdata/recorded.json");

fn recorded(name: &str) -> Map {
    let all: Value = serde_json::from_str(RECORDED).unwrap();
    let body = all[name]["body"].as_str().unwrap();
    decode_body(body.as_bytes(), Some("utf-8"), None).unwrap()
}

#[test]
fn a_recorded_call_decodes() {
    let request = Request::from_payload(recorded("call")).unwrap();
    assert_eq!(request.method, "list_databases");
    assert_eq!(request.version, "1.0");
    assert_eq!(request.namespace, None);
    assert_eq!(request.msg_id.as_deref().map(str::len), Some(32));
    assert!(request.reply_q.unwrap().starts_with("reply_"));
    assert_eq!(request.unique_id.as_deref().map(str::len), Some(32));
    assert_eq!(request.monitor_timeout, None);
    assert_eq!(request.context.keys().collect::<Vec<_>>(), ["context"]);
    let mut names: Vec<_> = request.args.keys().collect();
    names.sort();
    assert_eq!(names, ["include_marker", "limit", "marker"]);
}

#[test]
fn a_recorded_cast_has_no_reply() {
    let request = Request::from_payload(recorded("cast")).unwrap();
    assert_eq!((request.msg_id, request.reply_q), (None, None));
    assert!(request.context.contains_key("csz-instance-id"));
}

#[test]
fn our_cast_has_the_fields_of_a_recorded_one() {
    let theirs = recorded("cast");
    let request = Request::from_payload(theirs.clone()).unwrap();
    let id = request.unique_id.unwrap();
    let ours = encode_request("heartbeat", "1.0", request.args, request.context, &id);
    assert_eq!(ours, theirs);
    assert_eq!(
        decode_body(&encode_body(&ours), None, None).unwrap(),
        theirs
    );
}

fn same_but_for_the_unique_id(mut ours: Map, mut theirs: Map) {
    for map in [&mut ours, &mut theirs] {
        let id = map.remove("_unique_id").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 32);
    }
    assert_eq!(ours, theirs);
}

#[test]
fn our_reply_equals_a_recorded_one() {
    let theirs = recorded("reply");
    let msg_id = theirs["_msg_id"].as_str().unwrap().to_owned();
    let ours = reply(&msg_id, Ok(theirs["result"].clone()), true);
    same_but_for_the_unique_id(ours, theirs);
}

#[test]
fn our_failure_says_what_a_recorded_one_says() {
    let theirs = recorded("failure");
    let ours = reply(
        theirs["_msg_id"].as_str().unwrap(),
        Err(&RemoteError::no_such_method("no_such_method")),
        true,
    );
    let parse =
        |map: &Map| -> Value { serde_json::from_str(map["failure"].as_str().unwrap()).unwrap() };
    let (ours, theirs) = (parse(&ours), parse(&theirs));
    for key in ["class", "module", "message"] {
        assert_eq!(ours[key], theirs[key]);
    }
}

#[test]
fn the_call_monitor_is_only_on_with_a_positive_timeout() {
    for (timeout, expected) in [
        (json!(null), None),
        (json!(0), None),
        (json!(-3), None),
        (json!("5"), None),
        (json!(1e300), None),
        (json!(5), Some(Duration::from_secs(5))),
        (json!(1.5), Some(Duration::from_millis(1500))),
    ] {
        let payload = json!({ "method": "m", "_timeout": timeout });
        let Value::Object(payload) = payload else {
            unreachable!()
        };
        assert_eq!(
            Request::from_payload(payload).unwrap().monitor_timeout,
            expected
        );
    }
}

#[test]
fn shapes_that_are_no_request() {
    for payload in [
        json!({}),
        json!({ "method": 1 }),
        json!({ "method": "m", "args": [] }),
    ] {
        let Value::Object(payload) = payload else {
            unreachable!()
        };
        assert!(Request::from_payload(payload).is_err());
    }
}
