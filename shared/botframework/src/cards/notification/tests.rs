use serde_json::{Value, json};

use super::*;

fn notification() -> NotificationCard {
    NotificationCard {
        title: "Build 7 failed".to_owned(),
        result: Some("2 of 40 tests".to_owned()),
        triggered_by: Some("A push by Ada".to_owned()),
        actions: vec![
            NotificationAction::open_url("Open", "https://ci.example/7"),
            NotificationAction::execute("Run again", "run", json!({"number": 7})),
            NotificationAction::execute("Acknowledge", "acknowledge", Value::Null),
        ],
        how_to_stop: Some("Reply \"stop builds\".".to_owned()),
    }
}

#[test]
fn a_notification_is_a_card_with_its_answers_in_order() {
    let card = notification().card();
    let texts: Vec<_> = card["body"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["inlines"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        texts,
        [
            "Build 7 failed",
            "2 of 40 tests",
            "A push by Ada",
            "Reply \"stop builds\"."
        ]
    );
    assert_eq!(
        card["actions"],
        json!([
            {"type": "Action.OpenUrl", "title": "Open", "url": "https://ci.example/7"},
            {"type": "Action.Execute", "title": "Run again", "verb": "run", "data": {"number": 7}},
            {"type": "Action.Execute", "title": "Acknowledge", "verb": "acknowledge"},
        ])
    );
    assert_eq!(
        (&card["type"], &card["version"]),
        (&json!("AdaptiveCard"), &json!("1.4"))
    );
}

#[test]
fn a_channel_without_cards_gets_the_same_as_text() {
    let text =
        "Build 7 failed\n2 of 40 tests\nA push by Ada\nOpen: https://ci.example/7\nReply \"stop builds\".";
    assert_eq!(notification().card()["fallbackText"], text);
    let message = notification().text_message();
    assert_eq!(message.text.as_deref(), Some(text));
    assert_eq!(message.text_format, Some(TextFormat::Plain));
    assert!(message.attachments.is_empty());
    assert_eq!(message.summary.as_deref(), Some("Build 7 failed: 2 of 40 tests"));
}

#[test]
fn a_message_with_the_card_has_a_summary_and_no_second_text() {
    let message = serde_json::to_value(notification().message()).unwrap();
    assert_eq!(message["type"], "message");
    assert_eq!(message["summary"], "Build 7 failed: 2 of 40 tests");
    assert_eq!(message.get("text"), None);
    assert_eq!(message["attachments"][0]["content"], notification().card());
}

#[test]
fn a_title_is_enough() {
    let notification: NotificationCard =
        serde_json::from_value(json!({"title": "Closed on Monday"})).unwrap();
    let card = notification.card();
    assert_eq!(card["body"].as_array().unwrap().len(), 1);
    assert_eq!(card.get("actions"), None);
    assert_eq!(notification.summary(), "Closed on Monday");
    assert_eq!(notification.text(), "Closed on Monday");
}

#[test]
fn markdown_in_a_text_stays_text() {
    let title = "[click](https://evil.example) **now**".to_owned();
    let notification = NotificationCard {
        title: title.clone(),
        ..notification()
    };
    let block = &notification.card()["body"][0];
    assert_eq!(block["type"], "RichTextBlock");
    assert_eq!(
        (&block["inlines"][0]["type"], &block["inlines"][0]["text"]),
        (&json!("TextRun"), &json!(title))
    );
}

#[test]
fn fields_are_read_and_written_as_json_and_others_are_refused() {
    let json = json!({
        "title": "Build 7 failed", "result": "2 of 40 tests", "triggeredBy": "A push by Ada",
        "actions": [
            {"title": "Open", "url": "https://ci.example/7"},
            {"title": "Run again", "verb": "run", "data": {"number": 7}},
            {"title": "Acknowledge", "verb": "acknowledge"},
        ],
        "howToStop": "Reply \"stop builds\".",
    });
    assert_eq!(
        serde_json::from_value::<NotificationCard>(json.clone()).unwrap(),
        notification()
    );
    assert_eq!(serde_json::to_value(notification()).unwrap(), json);
    for wrong in [
        json!({"title": "t", "text": "x"}),
        json!({"result": "x"}),
        json!({"title": "t", "actions": [{"title": "a"}]}),
        json!({"title": "t", "actions": [{"title": "a", "url": "u", "verb": "v"}]}),
    ] {
        assert!(
            serde_json::from_value::<NotificationCard>(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}
