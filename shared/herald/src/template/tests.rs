use botframework::activity::Activity;
use botframework::cards::notification::{NotificationAction, NotificationCard};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::notification::request::{Request, message_of};
use crate::problem::Fault;

fn faults(request: &Value) -> Vec<Fault> {
    Request::parse(&request.clone().into(), Timestamp::UNIX_EPOCH).unwrap_err()
}

fn pointers(request: &Value) -> Vec<String> {
    faults(request).into_iter().map(|fault| fault.pointer).collect()
}

fn source(request: &Value) -> MessageSource {
    message_of(&request.clone().into()).unwrap()
}

fn rendered(request: &Value, recipient: Value) -> Result<Activity, RenderingError> {
    let renderer = MessageRenderer::new(&source(request), json!({"id": "ntf_1"})).unwrap();
    renderer.render(recipient, None)
}

fn text(request: &Value, recipient: Value) -> String {
    rendered(request, recipient).unwrap().text.unwrap()
}

fn everyone(with: &Value) -> Value {
    let mut request = json!({"audience": {"everyone": true}, "message": {"text": "${a}"}});
    for (name, value) in with.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

#[test]
fn only_a_request_with_data_or_texts_is_a_template() {
    let plain = source(&json!({"message": {"text": "costs ${a"}}));
    assert_eq!(plain.bindings, None);
    assert!(MessageRenderer::new(&plain, Value::Null).is_none());
    assert_eq!(
        pointers(&everyone(&json!({"message": {"text": "costs ${a"}, "data": {}}))),
        ["#/message/text"]
    );
    assert!(
        source(&json!({"message": {"text": "hi"}, "texts": {}}))
            .bindings
            .is_some()
    );
}

#[test]
fn what_a_request_cannot_have_is_named_by_its_place() {
    let texts = |texts: Value| everyone(&json!({"texts": texts}));
    for (request, pointer) in [
        (everyone(&json!({"data": 7})), "#/data"),
        (everyone(&json!({"data": {"recipient": {}}})), "#/data/recipient"),
        (everyone(&json!({"data": {"texts": {}}})), "#/data/texts"),
        (
            everyone(&json!({"data": {"notification": 1}})),
            "#/data/notification",
        ),
        (
            everyone(&json!({"data": {"long": "x".repeat(DATA_BYTES_MAX)}})),
            "#/data",
        ),
        (texts(json!([])), "#/texts"),
        (texts(json!({"a": "b"})), "#/texts/a"),
        (texts(json!({"a": {"de": "b"}})), "#/texts/a/*"),
        (texts(json!({"a": {"de_CH": "b", "*": "c"}})), "#/texts/a/de_CH"),
        (texts(json!({"a": {"de": 1, "*": "c"}})), "#/texts/a/de"),
        (
            everyone(&json!({"data": {}, "message": {"text": "${utcNow()}"}})),
            "#/message/text",
        ),
        (
            everyone(&json!({"data": {}, "message": {"text": "a", "$when": "${a}"}})),
            "#/message/$when",
        ),
        (
            everyone(
                &json!({"data": {}, "replacement": {"text": "${"}, "retractAt": "1970-01-02T00:00:00Z"}),
            ),
            "#/replacement/text",
        ),
        (everyone(&json!({"template": "builds"})), "#/template"),
        (
            everyone(&json!({"message": null, "template": "No Name"})),
            "#/template",
        ),
        (
            everyone(&json!({"data": {}, "message": {"text": "${recipient.name}"}, "sendMode": "batch"})),
            "#/sendMode",
        ),
        (
            everyone(
                &json!({"texts": {"a": {"*": "b"}}, "message": {"text": "${texts.a}"}, "sendMode": "batch"}),
            ),
            "#/sendMode",
        ),
    ] {
        assert_eq!(pointers(&request), [pointer], "{request}");
    }
    let nested =
        json!({"attachments": [{"contentType": "x", "content": {"body": [{"text": "ab ${xPath(a)}"}]}}]});
    let fault = faults(&everyone(&json!({"data": {}, "message": nested}))).remove(0);
    assert_eq!(fault.pointer, "#/message/attachments/0/content/body/0/text");
    assert!(fault.detail.contains("`xPath`"), "{}", fault.detail);
}

#[test]
fn a_message_that_is_the_same_for_all_can_go_by_batch() {
    let request = everyone(
        &json!({"data": {"a": 1}, "sendMode": "batch", "message": {"text": "${a} ${notification.id}"}}),
    );
    let parsed = Request::parse(&request.into(), Timestamp::UNIX_EPOCH).unwrap();
    assert!(!parsed.message.is_personal());
    let personal = everyone(&json!({"data": {}, "message": {"text": "${$root.recipient.name}"}}));
    let parsed = Request::parse(&personal.into(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(parsed.send_mode, Some(crate::notification::SendMode::Individual));
}

#[test]
fn data_in_a_text_makes_no_mention_and_no_tag() {
    let name = json!({"name": "<at>R&D</at>"});
    let of_format = |format: &str| {
        let message = json!({"text": "<b>${recipient.name}</b>", "textFormat": format});
        text(&json!({"message": message, "data": {}}), name.clone())
    };
    let escaped = "<b>&lt;at&gt;R&amp;D&lt;/at&gt;</b>";
    assert_eq!(of_format("xml"), escaped);
    assert_eq!(of_format("markdown"), escaped);
    assert_eq!(of_format("plain"), "<b><at>R&D</at></b>");
    // Neither is a value of the data read as an expression.
    let data = json!({"message": {"text": "${a}"}, "data": {"a": "${recipient.name}"}});
    assert_eq!(text(&data, name), "${recipient.name}");
}

#[test]
fn a_mention_has_the_text_that_stands_in_the_message() {
    let message = json!({"text": "Hello <at>${recipient.name}</at>", "entities": [
        {"type": "mention", "text": "<at>${recipient.name}</at>", "mentioned": {"id": "${recipient.user}", "name": "${recipient.name}"}}]});
    let request = json!({"message": message, "data": {}});
    let sent = rendered(&request, json!({"name": "R&D", "user": "7"})).unwrap();
    let mention = sent.entities[0].as_mention().unwrap();
    assert_eq!(sent.text.as_deref(), Some("Hello <at>R&amp;D</at>"));
    assert_eq!(mention.text.as_deref(), Some("<at>R&amp;D</at>"));
    assert_eq!(mention.mentioned.unwrap().name.as_deref(), Some("R&D"));
}

#[test]
fn each_recipient_has_the_texts_of_their_language() {
    let texts = json!({"greeting": {"de": "Guten Tag", "de-CH": "Grüezi", "*": "Hello"}});
    let request = json!({"message": {"text": "${texts.greeting}"}, "texts": texts});
    for (locale, expected) in [
        (json!("de-CH"), "Grüezi"),
        (json!("DE-ch-1996"), "Grüezi"),
        (json!("de-AT"), "Guten Tag"),
        (json!("fr"), "Hello"),
        (json!("d"), "Hello"),
        (Value::Null, "Hello"),
    ] {
        assert_eq!(text(&request, json!({"locale": locale})), expected, "{locale}");
    }
}

#[test]
fn what_has_no_value_is_left_as_text_and_named() {
    let request =
        json!({"message": {"text": "Hi ${nick}", "summary": "${recipient.nick}"}, "data": {"a": 1}});
    let renderer = MessageRenderer::new(&source(&request), json!({})).unwrap();
    let (message, unresolved) = renderer.render_with_unresolved(json!({}), None).unwrap();
    assert_eq!(message.text.as_deref(), Some("Hi ${nick}"));
    let found: Vec<_> = unresolved
        .iter()
        .map(|it| (&*it.pointer, &*it.expression))
        .collect();
    assert_eq!(found, [("/text", "${nick}"), ("/summary", "${recipient.nick}")]);
}

#[test]
fn a_rendering_that_is_no_message_is_an_error() {
    let empty = json!({"message": {"text": "${a}"}, "data": {"a": " "}});
    assert_eq!(rendered(&empty, json!({})), Err(RenderingError::Empty));
    let wrong = json!({"message": {"text": "x", "summary": "${a}"}, "data": {"a": ["list"]}});
    assert_eq!(rendered(&wrong, json!({})), Err(RenderingError::NotAMessage));
    let large = json!({"message": {"text": "x", "summary": "${json(a)}${join(select(a, x, a), '')}"}, "data": {"a": vec!["y".repeat(99); 999]}});
    assert!(matches!(
        rendered(&large, json!({})),
        Err(RenderingError::Bound(_))
    ));
}

#[test]
fn a_source_survives_its_table_with_its_numbers() {
    for request in [
        r#"{"message": {"text": "a", "value": 1.10}}"#,
        r#"{"message": {"text": "${a}", "value": 1.10}, "data": {"a": [1, null]}, "texts": {"t": {"*": "x"}}}"#,
        r#"{"message": {"text": "${a}"}, "data": {}}"#,
    ] {
        let request = botframework::lossless::LosslessJson::from_slice(request.as_bytes()).unwrap();
        let source = message_of(&request).unwrap();
        let stored = serde_json::to_vec(&source).unwrap();
        let read: MessageSource = serde_json::from_slice(&stored).unwrap();
        assert_eq!(read, source);
        assert!(read.is_same_document(&source));
    }
}

#[test]
fn the_built_in_template_is_the_card_of_a_notification() {
    let full = NotificationCard {
        title: "Version 7 *is* deployed".to_owned(),
        result: Some("All 12 checks passed.".to_owned()),
        triggered_by: Some("Ada, by a merge".to_owned()),
        actions: vec![
            NotificationAction::open_url("Open", "https://deploy.example/7"),
            NotificationAction::execute("Undo", "undo", json!({"version": 7})),
        ],
        how_to_stop: Some("Say stop.".to_owned()),
    };
    let least = NotificationCard {
        title: "Done".to_owned(),
        ..NotificationCard::default()
    };
    for card in [full, least] {
        let request = json!({"template": "notification", "data": card}).into();
        assert_eq!(named_in(&request), Some("notification"));
        let filled = filled_in(&request, &built_in("notification").unwrap());
        let mut message = rendered(&filled.value, json!({})).unwrap();
        assert_eq!(message.summary.as_deref(), Some(&*card.summary()));
        let made = message.attachments[0].content.as_mut().unwrap();
        if card.actions.is_empty() {
            assert_eq!(made["actions"], json!([]));
            made.as_object_mut().unwrap().remove("actions");
        }
        assert_eq!(*made, card.card());
    }
}

#[test]
fn a_template_is_written_anew_only_if_it_changes() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let (one, two) = (
        json!({"message": {"text": "a"}}).into(),
        json!({"message": {"text": "b"}}).into(),
    );
    let first = TemplateRecord::written(None, "ada", &one, at(1));
    let same = TemplateRecord::written(Some(first.clone()), "ben", &one, at(2));
    assert_eq!((first.version, &same), (1, &first));
    let second = TemplateRecord::written(Some(same), "ben", &two, at(3));
    assert_eq!(
        (second.version, second.caller.as_str(), second.changed_at),
        (2, "ben", at(3))
    );
}
