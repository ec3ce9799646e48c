//! Every expected value below is what oslo.config 10.7 answered for the input.

use proptest::prelude::*;

use super::*;

fn list(text: &str) -> Vec<String> {
    Kind::List
        .convert(text)
        .unwrap()
        .unwrap()
        .as_list()
        .unwrap()
        .to_vec()
}

#[test]
fn lists() {
    let cases: &[(&str, &[&str])] = &[
        ("a,b", &["a", "b"]),
        (" a , b ", &["a", "b"]),
        ("a,b,,", &["a", "b"]),
        (",a", &["", "a"]),
        ("a, ,", &["a", ""]),
        ("", &[]),
        (",,", &[]),
        ("a,,b", &["a", "", "b"]),
        ("\"a,b\",c", &["\"a", "b\"", "c"]),
        ("a b", &["a b"]),
        ("x\ny,z", &["x\ny", "z"]),
    ];
    for (text, items) in cases {
        assert_eq!(list(text), *items, "{text:?}");
    }
}

#[test]
fn dicts() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("k:v", &[("k", "v")]),
        ("k:v,k2:v2", &[("k", "v"), ("k2", "v2")]),
        ("k:v:w", &[("k", "v:w")]),
        ("k:v,w,x:y", &[("k", "v"), ("w,x", "y")]),
        ("w,k:v", &[("w,k", "v")]),
        ("k : v , x: y", &[("k", "v"), ("x", "y")]),
        ("k:", &[("k", "")]),
        ("", &[]),
    ];
    for (text, pairs) in cases {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        assert_eq!(
            Kind::Dict.convert(text).unwrap(),
            Some(Value::Dict(pairs)),
            "{text:?}"
        );
    }
    for text in ["k:v,", "k", ":v", "k:v,k:w", "k:v, "] {
        assert!(Kind::Dict.convert(text).is_err(), "{text:?}");
    }
}

#[test]
fn ports() {
    let cases = [
        ("3306", "3306"),
        ("3306,4444", "3306,4444"),
        ("16379-16384", "16379-16384"),
        ("20-10", "20-10"),
        ("5-5", "5"),
        ("", ""),
    ];
    for (text, shown) in cases {
        assert_eq!(Kind::Ports.convert(text).unwrap().unwrap().render(), shown);
    }
    let bad = [
        "0", "65536", "1-65536", "0-5", "5-", "a", "3306,x", "-5", "5--3", "003", "10 - 20",
        "1-2-3",
    ];
    for text in bad {
        assert!(Kind::Ports.convert(text).is_err(), "{text:?}");
    }
    assert!(
        PortRange {
            first: 20,
            last: 10
        }
        .contains(15)
    );
}

#[test]
fn booleans() {
    for (text, value) in [
        ("TRUE", true),
        ("On", true),
        ("yEs", true),
        ("1", true),
        ("no", false),
        ("0", false),
    ] {
        assert_eq!(Kind::Bool.convert(text).unwrap(), Some(Value::Bool(value)));
    }
    for text in ["", " true", "t", "y", "enabled", "None", "2"] {
        assert!(Kind::Bool.convert(text).is_err(), "{text:?}");
    }
}

#[test]
fn numbers_and_their_bounds() {
    let kind = Kind::between(1, 10);
    assert_eq!(kind.convert(" 10 ").unwrap(), Some(Value::Int(10)));
    assert_eq!(kind.convert("  ").unwrap(), None);
    for text in ["0", "11", "-0", "x", "99999999999999999999"] {
        assert_eq!(
            kind.convert(text),
            Err(Expected("a whole number from 1 to 10".into())),
            "{text}"
        );
    }
    let kind = Kind::Float {
        min: Some(0.0),
        max: Some(4.5),
    };
    assert_eq!(kind.convert("4.5").unwrap(), Some(Value::Float(4.5)));
    assert!(
        kind.convert("nan")
            .unwrap()
            .unwrap()
            .as_float()
            .unwrap()
            .is_nan()
    );
    assert!(kind.convert("4.6").is_err());
    assert!(kind.convert("-1").is_err());
    assert!(Kind::PORT.convert("0").is_ok());
    assert!(Kind::PORT.convert("65536").is_err());
}

#[test]
fn choices() {
    let kind = Kind::one_of(&["ext3", "ext4", "xfs"]);
    assert_eq!(
        kind.convert("ext4").unwrap(),
        Some(Value::Str("ext4".into()))
    );
    for text in ["EXT4", "", "btrfs"] {
        assert_eq!(
            kind.convert(text),
            Err(Expected("one of ext3, ext4, xfs".into()))
        );
    }
    let kind = Kind::Choice {
        choices: &["Seconds", "Days"],
        ignore_case: true,
    };
    assert_eq!(
        kind.convert("DAYS").unwrap(),
        Some(Value::Str("DAYS".into()))
    );
}

proptest! {
    #[test]
    fn never_panics(text in any::<String>(), near in "[-a1,: .\n]{0,16}") {
        let kinds = [Kind::Str, Kind::INT, Kind::FLOAT, Kind::Bool, Kind::List, Kind::Dict,
                     Kind::Ports, Kind::Uri, Kind::Multi, Kind::one_of(&["a"])];
        for kind in kinds {
            let _ = (kind.convert(&text), kind.convert(&near));
        }
    }

    #[test]
    fn what_is_rendered_converts_back(
        items in proptest::collection::vec("[a-z:]{1,4}( [a-z])?", 0..5),
        ports in proptest::collection::vec((1u16.., 1u16..), 0..5),
        pairs in proptest::collection::btree_map("[a-z]{1,3}", "[a-z:]{0,3}", 0..5),
    ) {
        let ports = ports.into_iter().map(|(first, last)| PortRange { first, last }).collect();
        let values = [(Kind::List, Value::List(items)), (Kind::Ports, Value::Ports(ports)),
                      (Kind::Dict, Value::Dict(pairs.into_iter().collect()))];
        for (kind, value) in values {
            prop_assert_eq!(kind.convert(&value.render()).unwrap(), Some(value));
        }
    }
}
