use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

fn written(document: &LosslessJson) -> String {
    document.to_string()
}

fn read(text: &str) -> LosslessJson {
    LosslessJson::from_slice(text.as_bytes()).unwrap()
}

#[test]
fn a_number_is_written_as_it_came() {
    for number in [
        "1.10",
        "1e2",
        "1E+2",
        "-0",
        "-0.0e-0",
        "0.10",
        "12345678901234567890",
        "123456789012345678901234567890",
        "1E400",
        "-1E400",
        "1e-400",
        "9007199254740993",
        "1.5",
        "0",
    ] {
        for text in [
            number.to_owned(),
            format!(r#"{{"a":{{"":[null,{number},{{"b":{number}}}],"c\n":{number}}},"d":"{number}"}}"#),
        ] {
            assert_eq!(written(&read(&text)), text);
        }
    }
}

#[test]
fn a_document_whose_numbers_are_written_as_they_came_keeps_no_texts() {
    for text in [
        "{}",
        r#"{"a":[1,-7,0,1.5,0.1,18446744073709551615,-9223372036854775808,1700000000001]}"#,
        r#"{"a":"1.10, \"1.10","1.10":true}"#,
    ] {
        assert!(read(text).numbers.is_empty(), "{text}");
    }
}

#[test]
fn a_number_beyond_the_range_is_the_nearest_in_the_value() {
    let document = read("[1E400,-1E400,1e-400]");
    assert_eq!(document.value, serde_json::json!([f64::MAX, f64::MIN, 0.0]));
}

#[test]
fn a_changed_number_is_written_as_it_is_now() {
    let mut document = read(r#"{"a":1.10,"b":[1.10,2.5]}"#);
    document.value["a"] = 2.into();
    document.value["b"].as_array_mut().unwrap().remove(0);
    assert_eq!(written(&document), r#"{"a":2,"b":[2.5]}"#);
    document.value["b"] = "1.10".into();
    assert_eq!(written(&document), r#"{"a":2,"b":"1.10"}"#);
}

#[test]
fn of_equal_names_the_last_one_counts() {
    assert_eq!(written(&read(r#"{"a":1.10,"a":1.1}"#)), r#"{"a":1.1}"#);
    assert_eq!(
        written(&read(r#"{"a":{"b":1.10},"a":{"b":1.1}}"#)),
        r#"{"a":{"b":1.1}}"#
    );
    assert_eq!(written(&read(r#"{"a":1.1,"a":1.10}"#)), r#"{"a":1.10}"#);
}

#[test]
fn a_member_of_a_document_has_its_numbers() {
    let document = read(r#"{"a":{"b":1.10},"c":2.20}"#);
    assert_eq!(written(&document.get("a").unwrap()), r#"{"b":1.10}"#);
    assert_eq!(document.get("d"), None);
}

#[test]
fn filling_adds_members_with_their_numbers() {
    let mut document = read(r#"{"a":{"b":1.1,"n":null},"c":[1.10]}"#);
    document.fill(read(
        r#"{"a":{"b":1.10,"n":3.30,"x":{"y":4.40}},"c":{"d":5.50},"e":6.60}"#,
    ));
    assert_eq!(
        written(&document),
        r#"{"a":{"b":1.1,"n":null,"x":{"y":4.40}},"c":[1.10],"e":6.60}"#
    );
}

#[test]
fn any_deserializer_brings_the_value_and_that_of_texts_the_numbers_too() {
    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    struct Inside {
        document: LosslessJson,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Buffered {
        Inside(Inside),
    }
    let text = r#"{"document":{"a":[1.10,"x",null,true,-1]}}"#;
    let inside: Inside = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&inside).unwrap(), text);
    let Buffered::Inside(buffered) = serde_json::from_str(text).unwrap();
    assert_eq!(buffered.document.value, inside.document.value);
    let from_value: Inside = serde_json::from_value(serde_json::from_str(text).unwrap()).unwrap();
    assert_eq!(from_value.document.value, inside.document.value);
}

proptest! {
    #[test]
    fn any_number_is_written_as_it_came(
        number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,5})?", depth in 0..20_usize,
    ) {
        let text = format!("{}{number}{}", r#"[0,{"a":"#.repeat(depth), "}]".repeat(depth));
        prop_assert_eq!(written(&read(&text)), text);
    }

    #[test]
    fn any_bytes_are_read_as_the_parser_reads_them(bytes in proptest::collection::vec(prop_oneof![
        any::<u8>(), prop::sample::select(&b"{}[]\":,.-+eE0123456789\\ tfn"[..]),
    ], 0..48)) {
        if let Ok(value) = serde_json::from_slice::<Value>(&bytes) {
            prop_assert_eq!(LosslessJson::from_slice(&bytes).unwrap().value, value);
        }
    }
}
