use super::*;

fn way_out(form: WayOutForm, category: Option<&str>) -> WayOut {
    WayOut {
        form,
        category: category.map(str::to_owned),
    }
}

/// The message as it is sent.
fn sent(way_out: &WayOut, message: Value) -> Value {
    let message = Activity::from_value(message).unwrap();
    serde_json::to_value(way_out.add_to(message)).unwrap()
}

fn text(way_out: &WayOut, message: Value) -> String {
    sent(way_out, message)["text"].as_str().unwrap().to_owned()
}

fn with_card(card: &Value) -> Value {
    json!({"attachments": [{"contentType": Attachment::ADAPTIVE_CARD, "content": card}]})
}

#[test]
fn a_line_follows_the_text_in_its_format_and_language() {
    let line = way_out(WayOutForm::Line, Some("news"));
    for (message, expected) in [
        (
            json!({"text": "hi"}),
            "hi\n\nTo stop these messages, say **stop news**.",
        ),
        (
            json!({"text": "hi", "textFormat": "plain"}),
            "hi\n\nTo stop these messages, say stop news.",
        ),
        (
            json!({"text": "hi", "textFormat": "xml"}),
            "hi<br/><br/>To stop these messages, say <b>stop news</b>.",
        ),
        (
            json!({"text": "hallo", "locale": "de-AT"}),
            "hallo\n\nMit **stopp news** enden diese Nachrichten.",
        ),
        (
            json!({"text": "hi", "locale": "ja-JP"}),
            "hi\n\nTo stop these messages, say **stop news**.",
        ),
        (
            json!({"attachments": [{"contentType": "image/png"}]}),
            "To stop these messages, say **stop news**.",
        ),
    ] {
        assert_eq!(text(&line, message), expected);
    }
    let everything = way_out(WayOutForm::Line, None);
    assert_eq!(
        text(&everything, json!({"text": "hi"})),
        "hi\n\nTo stop these messages, say **stop**."
    );
}

#[test]
fn the_name_of_a_category_is_text_in_every_format() {
    let odd = way_out(WayOutForm::Line, Some("a*b<at>"));
    assert!(text(&odd, json!({"text": "hi"})).contains(r"**stop a\*b\<at\>**"));
    let xml = json!({"text": "hi", "textFormat": "xml"});
    assert!(text(&odd, xml).contains("<b>stop a*b&lt;at&gt;</b>"));
}

#[test]
fn a_card_without_a_text_has_the_line_at_its_end_and_keeps_its_numbers() {
    let line = way_out(WayOutForm::Line, None);
    let message = br#"{"attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","content":{"body":[{"height":1.50}]}}]}"#;
    let sent = line.add_to(Activity::from_slice(message).unwrap());
    assert_eq!(sent.text, None);
    let body = &sent.attachments[0].content.as_ref().unwrap()["body"];
    assert_eq!(body[1]["text"], "To stop these messages, say **stop**.");
    assert!(serde_json::to_string(&sent).unwrap().contains("1.50"));
}

#[test]
fn a_button_goes_to_the_actions_of_a_card_that_may_have_it() {
    let button = way_out(WayOutForm::Button, Some("news"));
    let new = sent(&button, with_card(&json!({"version": "1.5", "body": []})));
    let action = &new["attachments"][0]["content"]["actions"][0];
    assert_eq!(action["verb"], VERB);
    assert_eq!(action["title"], "Stop these messages");
    assert_eq!(action["mode"], Value::Null, "a menu of nothing else has no name");
    let data: ChoiceButton = serde_json::from_value(action["data"].clone()).unwrap();
    assert_eq!(
        (data.category.as_deref(), data.choice),
        (Some("news"), Choice::OptedOut)
    );

    let one = json!({"version": "1.5", "actions": [{"type": "Action.OpenUrl"}]});
    let action = &sent(&button, with_card(&one))["attachments"][0]["content"]["actions"][1];
    assert_eq!(action["mode"], "secondary");

    let full = json!({"version": "1.4", "actions": vec![json!({"type": "Action.Submit"}); ACTIONS_MAX]});
    let full = sent(&button, with_card(&full));
    let content = &full["attachments"][0]["content"];
    assert_eq!(content["actions"].as_array().unwrap().len(), ACTIONS_MAX);
    assert_eq!(content["body"][0]["actions"][0]["verb"], VERB);

    // An older card does not know the action, and a text has no buttons.
    let old = sent(&button, with_card(&json!({"version": "1.3", "body": []})));
    assert_eq!(old["attachments"][0]["content"]["actions"], Value::Null);
    assert_eq!(old["attachments"][0]["content"]["body"][0]["type"], "TextBlock");
    assert!(text(&button, json!({"text": "hi"})).ends_with("say **stop news**."));
}

#[test]
fn a_message_that_is_as_large_as_teams_takes_has_no_room_for_it() {
    let line = way_out(WayOutForm::Line, None);
    let fits = |length: usize| line.fits(&Activity::message("x".repeat(length)));
    assert!(fits(1000));
    assert!(!fits(49_990));
    assert!(as_teams_counts(&Activity::message("x".repeat(49_950))) <= TEAMS_BYTES_MAX);
}
