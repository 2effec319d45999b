//! Numbers keep their texts, without a feature that other crates of a program would get, too.

use botframework::activity::Activity;
use botframework::cloud::Cloud;
use botframework::lossless::LosslessJson;
use botframework::outgoing::SharedMessage;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use herald::conversation::{self, Export, Import};
use herald::notification::request::Request;
use jiff::Timestamp;
use serde::Deserialize;

/// With `serde_json/arbitrary_precision` anywhere in the workspace, none of these is read.
#[test]
fn a_float_is_read_in_untagged_flattened_and_tagged_types() {
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Untagged {
        Number { price: f64 },
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Flattened {
        #[serde(flatten)]
        inner: Inner,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        price: f64,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "type")]
    enum Tagged {
        Price { price: f64 },
    }
    let price = 1.5;
    let text = r#"{"type":"Price","price":1.5}"#;
    assert_eq!(
        serde_json::from_str::<Untagged>(text).unwrap(),
        Untagged::Number { price }
    );
    assert_eq!(
        serde_json::from_str::<Flattened>(text).unwrap(),
        Flattened {
            inner: Inner { price }
        }
    );
    assert_eq!(
        serde_json::from_str::<Tagged>(text).unwrap(),
        Tagged::Price { price }
    );
}

#[test]
fn a_message_of_a_request_is_sent_with_its_numbers() {
    let body = br#"{"audience":{"everyone":true},"message":{"text":"hi","channelData":{"n":1.10},
        "attachments":[{"contentType":"x","content":{"n":[1e2,12345678901234567890123]}}],"value":-0,"novel":1E400}}"#;
    let body = LosslessJson::from_slice(body).unwrap();
    let request = Request::parse(&body, Timestamp::UNIX_EPOCH).unwrap();
    // As it is stored and read again.
    let stored = serde_json::to_vec(&request.message).unwrap();
    let message: Activity = serde_json::from_slice(&stored).unwrap();
    let sent = serde_json::to_string(&SharedMessage::from_activity(&message).unwrap()).unwrap();
    for number in [
        r#""channelData":{"n":1.10}"#,
        r#""content":{"n":[1e2,12345678901234567890123]}"#,
        r#""value":-0"#,
        r#""novel":1E400"#,
    ] {
        assert!(sent.contains(number), "{sent}");
    }
}

#[test]
fn an_imported_reference_is_exported_and_updated_with_its_numbers() {
    let text = r#"{"channelId":"msteams","serviceUrl":"https://smba.trafficmanager.net/emea/","bot":{"id":"28:bot"},
        "user":{"id":"29:ada","n":1.10},"novel":{"n":[1e2]},
        "conversation":{"id":"a:ada","conversationType":"personal","tenantId":"t"}}"#;
    let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
    let read = |text: &str| {
        let document = LosslessJson::from_slice(text.as_bytes()).unwrap();
        Import::read(document, &trust).unwrap().remove(0)
    };
    let record = conversation::import(None, read(text), Timestamp::UNIX_EPOCH).unwrap();
    let exported = serde_json::to_string(&Export::from(&record)).unwrap();
    for exported in [exported.clone(), {
        let again = conversation::import(None, read(&exported), Timestamp::UNIX_EPOCH).unwrap();
        serde_json::to_string(&Export::from(&again)).unwrap()
    }] {
        assert!(
            exported.contains(r#""n":1.10"#) && exported.contains(r#""n":[1e2]"#),
            "{exported}"
        );
    }
    // An update keeps what only the record has.
    let other = text.replace(r#""novel":{"n":[1e2]}"#, r#""more":-0"#);
    let updated = conversation::import(Some(&record), read(&other), Timestamp::UNIX_EPOCH).unwrap();
    let updated = serde_json::to_string(&updated.reference).unwrap();
    for number in [r#""n":1.10"#, r#""n":[1e2]"#, r#""more":-0"#] {
        assert!(updated.contains(number), "{updated}");
    }
}
