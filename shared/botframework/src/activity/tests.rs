use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::activity::{InstallationAction, Scope};

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/activities");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

fn fixture(name: &str) -> Activity {
    let (_, body) = fixtures().into_iter().find(|(file, _)| file == name).unwrap();
    Activity::from_slice(&body).unwrap()
}

fn rewritten(activity: &Activity) -> LosslessJson {
    activity.to_lossless().unwrap()
}

#[test]
fn every_fixture_is_written_as_it_was_read() {
    let files = fixtures();
    assert!(files.len() > 50, "the fixtures are not where they should be");
    for (name, body) in files {
        let document = LosslessJson::from_slice(&body).unwrap();
        let activity = Activity::from_slice(&body).unwrap();
        assert_eq!(rewritten(&activity), document, "{name}");
        assert_eq!(
            serde_json::from_slice::<Activity>(&body).unwrap(),
            activity,
            "{name}"
        );
        assert!(activity.validate().is_ok(), "{name}");
    }
}

#[test]
fn the_fixtures_hold_every_type_that_is_known_and_one_that_is_not() {
    let types: BTreeSet<String> = fixtures()
        .iter()
        .filter_map(|(_, body)| Activity::from_slice(body).unwrap().kind)
        .map(|kind| {
            if let ActivityType::Other(_) = kind {
                "other".into()
            } else {
                kind.to_string()
            }
        })
        .collect();
    for known in [
        "message",
        "conversationUpdate",
        "installationUpdate",
        "messageReaction",
        "messageUpdate",
        "messageDelete",
        "typing",
        "endOfConversation",
        "event",
        "invoke",
        "trace",
        "handoff",
        "suggestion",
        "contactRelationUpdate",
        "deleteUserData",
        "command",
        "commandResult",
        "other",
    ] {
        assert!(types.contains(known), "{known}");
    }
}

#[test]
fn only_what_no_field_can_hold_stays_untyped() {
    for (name, body) in fixtures() {
        let untyped = Activity::from_slice(&body).unwrap().extra;
        let expected: &[&str] = match name.as_str() {
            "emulator-message" => &["emulatorOnly"],
            "playground-message-personal" => &["attachments", "entities"],
            "unknown-type" => &["tomorrow"],
            "odd-values" => continue,
            _ => &[],
        };
        assert_eq!(
            untyped.keys().map(String::as_str).collect::<Vec<_>>(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_value_that_a_field_cannot_hold_is_kept_beside_it() {
    let odd = fixture("odd-values");
    assert_eq!((&odd.text, &odd.timestamp, &odd.value), (&None, &None, &None));
    assert_eq!(odd.extra["text"], json!(5));
    assert_eq!(odd.extra["value"], Value::Null);
    assert_eq!(odd.extra["attachments"].as_array().unwrap().len(), 2);
    let from = odd.from.as_ref().unwrap();
    assert_eq!((&from.name, &from.entra_object_id), (&None, &None));
    assert_eq!(from.extra["badge"]["number"].to_string(), "9007199254740993");
    let numbers = rewritten(&odd).get("numbers").unwrap();
    let numbers = serde_json::to_string(&numbers).unwrap();
    assert!(numbers.contains(",-0,") && numbers.contains("1.10"), "{numbers}");
}

#[test]
fn a_typed_field_wins_over_a_property_of_its_name() {
    let mut odd = fixture("odd-values");
    odd.text = Some("five".into());
    odd.attachments.push(Attachment::default());
    let written = rewritten(&odd).value;
    assert_eq!(written["text"], json!("five"));
    assert_eq!(written["attachments"], json!([{}]));
    let text = serde_json::to_string(&odd).unwrap();
    assert_eq!(text.matches("\"text\":").count(), 1, "a name is written once");
}

#[test]
fn the_typed_fields_of_teams_are_read() {
    let installed = fixture("teams-installed-team");
    assert_eq!(installed.action, Some(InstallationAction::Add));
    assert_eq!(
        installed.conversation.as_ref().unwrap().scope,
        Some(Scope::Channel)
    );
    let teams = installed.teams().unwrap();
    let chosen = teams.settings.unwrap().selected_channel.unwrap();
    assert_eq!(
        chosen.id,
        Some("19:inventedchannel000000000000000001@thread.tacv2".into())
    );
    assert_eq!(
        teams.team.unwrap().entra_group_id,
        Some("a0000000-0000-4000-8000-000000000009".into())
    );

    let mentioned = fixture("teams-message-thread").entities[0].as_mention().unwrap();
    assert_eq!(mentioned.text.as_deref(), Some("<at>Herald</at>"));
    assert_eq!(
        mentioned.mentioned.unwrap().id.as_str(),
        "28:b0700000-0000-4000-8000-0000000000b0"
    );

    let invoke = fixture("teams-invoke-adaptive-card")
        .adaptive_card_invoke()
        .unwrap();
    assert_eq!(invoke.action.unwrap().verb.as_deref(), Some("acknowledge"));
    assert!(
        fixture("teams-invoke-task-fetch")
            .adaptive_card_invoke()
            .is_none()
    );
}

#[test]
fn the_tenant_is_found_in_both_places_of_teams_only() {
    let tenant = Some("b0a7c0de-0000-4000-8000-00000000000a".into());
    assert_eq!(fixture("teams-message-personal").tenant_id(), tenant);
    let mut old = fixture("teams-message-personal-old-tenant");
    assert_eq!(old.tenant_id(), tenant);
    old.channel_id = Some("slack".into());
    assert_eq!(old.tenant_id(), None);
    assert_eq!(fixture("slack-message").tenant_id(), None);
}

#[test]
fn the_bot_is_told_from_the_other_members() {
    assert!(fixture("teams-bot-added-group-chat").adds_bot());
    assert!(fixture("teams-bot-removed-team").removes_bot());
    assert!(!fixture("teams-member-added-team").adds_bot());
    assert!(!fixture("slack-conversation-update").adds_bot());
    let nobody = Activity {
        members_added: vec![ChannelAccount::default()],
        ..Activity::default()
    };
    assert!(!nobody.adds_bot());
}

#[test]
fn a_wrong_type_is_refused_with_its_path_where_nothing_works_without_it() {
    for (body, message) in [
        (json!({"type": 1}), "type: expected a string, found a number"),
        (json!({"id": []}), "id: expected a string, found a list"),
        (
            json!({"channelId": {}}),
            "channelId: expected a string, found an object",
        ),
        (
            json!({"serviceUrl": true}),
            "serviceUrl: expected a string, found a boolean",
        ),
        (
            json!({"conversation": {"id": 1.5}}),
            "conversation.id: expected a string, found a number",
        ),
        (
            json!({"from": {"id": false}}),
            "from.id: expected a string, found a boolean",
        ),
        (
            json!({"recipient": {"id": {}}}),
            "recipient.id: expected a string, found an object",
        ),
        (
            json!({"conversation": "c"}),
            "conversation: expected an object, found a string",
        ),
        (json!({"from": ["u"]}), "from: expected an object, found a list"),
        (json!([]), "expected a JSON object"),
    ] {
        let text = body.to_string();
        assert_eq!(
            Activity::from_slice(text.as_bytes()).unwrap_err().to_string(),
            message
        );
        assert_eq!(
            serde_json::from_str::<Activity>(&text).unwrap_err().to_string(),
            message
        );
    }
    assert!(matches!(
        Activity::from_slice(b"{\"type\":"),
        Err(Error::Syntax(_))
    ));
}

#[test]
fn null_is_absent_everywhere_and_still_written() {
    let body = json!({"type": null, "id": null, "from": null, "conversation": {"id": null}, "text": null});
    let activity = Activity::from_value(body.clone()).unwrap();
    assert_eq!((&activity.kind, &activity.from), (&None, &None));
    assert_eq!(rewritten(&activity), body.into());
}

#[test]
fn what_an_endpoint_needs_is_named_when_it_is_missing() {
    type Removal = fn(&mut Activity);
    let whole = fixture("teams-invoke-unknown");
    let removals: [(&str, Removal); 6] = [
        ("type", |it| it.kind = None),
        ("conversation.id", |it| it.conversation = None),
        ("conversation.id", |it| {
            it.conversation = Some(ConversationAccount::default());
        }),
        ("channelId", |it| it.channel_id = Some(String::new())),
        ("from.id", |it| it.from = Some(ChannelAccount::new(""))),
        ("name", |it| it.name = None),
    ];
    for (missing, remove) in removals {
        let mut activity = whole.clone();
        remove(&mut activity);
        assert!(matches!(activity.validate(), Err(Error::Missing { path }) if path == missing));
    }
    let mut message = fixture("teams-message-personal");
    message.recipient = None;
    assert!(message.validate().is_ok());
}

#[test]
fn a_message_subtype_is_a_message() {
    for (kind, is) in [
        ("message", true),
        ("message/card", true),
        ("Message/x", true),
        ("messageUpdate", false),
        ("Message", false),
    ] {
        let activity = Activity {
            kind: Some(kind.into()),
            ..Activity::default()
        };
        assert_eq!(activity.is_message(), is, "{kind}");
    }
}

#[test]
fn raising_an_alert_keeps_the_other_channel_data() {
    let mut message = fixture("teams-message-personal");
    message.raise_alert();
    let data = message.channel_data.unwrap();
    assert_eq!(data["notification"]["alert"], json!(true));
    assert_eq!(data["legacy"]["replyToId"], json!("1:1invented"));
}

/// Names from everywhere in the schema, so that typed places meet values they do not expect, at every
/// depth.
const NAMES: &[&str] = &[
    "timestamp",
    "localTimestamp",
    "localTimezone",
    "replyToId",
    "channelData",
    "entities",
    "callerId",
    "locale",
    "text",
    "textFormat",
    "speak",
    "inputHint",
    "attachments",
    "attachmentLayout",
    "summary",
    "suggestedActions",
    "value",
    "valueType",
    "name",
    "label",
    "relatesTo",
    "code",
    "expiration",
    "importance",
    "deliveryMode",
    "listenFor",
    "textHighlights",
    "semanticAction",
    "membersAdded",
    "membersRemoved",
    "reactionsAdded",
    "reactionsRemoved",
    "topicName",
    "historyDisclosed",
    "action",
    "requestId",
    "aadObjectId",
    "role",
    "tenantId",
    "isGroup",
    "conversationType",
    "contentType",
    "contentUrl",
    "content",
    "thumbnailUrl",
    "title",
    "image",
    "displayText",
    "to",
    "actions",
    "mentioned",
    "state",
    "occurrence",
    "activityId",
    "user",
    "bot",
    "agent",
    "team",
    "channel",
    "tenant",
    "eventType",
    "settings",
];
/// Refused at the root (and two of them with `id` inside) when of a wrong type; anywhere else a name like
/// others.
const CRITICAL: &[&str] = &[
    "type",
    "id",
    "channelId",
    "serviceUrl",
    "from",
    "recipient",
    "conversation",
];

/// A JSON text.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("1E400".to_owned()),
        Just("1.10".to_owned()),
        Just("-0".to_owned()),
        Just("-0.0e-0".to_owned()),
        Just("1180591620717411303424".to_owned()),
        Just("9007199254740993".to_owned()),
        any::<i128>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,5})?",
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(NAMES).prop_map(str::to_owned),
        2 => prop::sample::select(CRITICAL).prop_map(str::to_owned),
        2 => any::<String>(),
    ]
}

/// The JSON text of an object; of equal names the last one counts.
fn object(members: Vec<(String, String)>) -> String {
    let members: BTreeMap<String, String> = members.into_iter().collect();
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}:{value}", json!(name)))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// A JSON text.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        number(),
        any::<String>().prop_map(|text| json!(text).to_string()),
        Just(r#""""#.to_owned()),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name(), inner), 0..6).prop_map(object),
        ]
    })
}

/// A string or nothing, as the fields that nothing works without must be.
fn text_or_nothing() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        Just(Some("null".to_owned())),
        Just(Some(r#""""#.to_owned())),
        any::<String>().prop_map(|text| Some(json!(text).to_string())),
    ]
}

fn properties() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((name(), any_json()), 0..10)
}

fn with(mut members: Vec<(String, String)>, property: &str, value: Option<String>) -> Vec<(String, String)> {
    members.retain(|(name, _)| name != property);
    members.extend(value.map(|value| (property.to_owned(), value)));
    members
}

fn any_party() -> impl Strategy<Value = Option<String>> {
    let party =
        (properties(), text_or_nothing()).prop_map(|(members, id)| Some(object(with(members, "id", id))));
    prop_oneof![1 => Just(None), 1 => Just(Some("null".to_owned())), 4 => party]
}

fn any_members() -> impl Strategy<Value = Vec<(String, String)>> {
    let texts = prop::collection::vec(text_or_nothing(), 4);
    let parties = prop::collection::vec(any_party(), 3);
    (properties(), texts, parties).prop_map(|(mut members, texts, parties)| {
        for (name, value) in CRITICAL.iter().zip(texts.into_iter().chain(parties)) {
            members = with(members, name, value);
        }
        members
    })
}

fn read(text: &str) -> LosslessJson {
    LosslessJson::from_slice(text.as_bytes()).unwrap()
}

proptest! {
    #[test]
    fn any_activity_is_written_as_it_was_read(text in any_members().prop_map(object)) {
        let document = read(&text);
        // The document itself is written as it came, apart from the order of names.
        prop_assert_eq!(serde_json::to_string(&document).unwrap(), text.clone());
        let activity = Activity::from_slice(text.as_bytes()).unwrap();
        let written = rewritten(&activity);
        prop_assert_eq!(&written, &document);
        prop_assert_eq!(serde_json::to_string(&written).unwrap(), text.clone());
        prop_assert_eq!(&Activity::from_lossless(written).unwrap(), &activity);
        prop_assert_eq!(&serde_json::from_str::<Activity>(&text).unwrap(), &activity);
    }

    #[test]
    fn any_other_json_is_refused_without_harm(text in any_json()) {
        if let Ok(activity) = Activity::from_slice(text.as_bytes()) {
            prop_assert_eq!(rewritten(&activity), read(&text));
        }
    }

    #[test]
    fn any_bytes_are_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        // That it returns at all is the property; no such bytes make an object by chance but `{}`.
        let is_object = Activity::from_slice(&bytes).is_ok();
        prop_assert!(!is_object || bytes.trim_ascii().starts_with(b"{"), "{:?}", bytes);
    }

    #[test]
    fn a_wrong_type_names_its_path(members in any_members(), place in 0..CRITICAL.len(), number in number()) {
        let name = CRITICAL[place];
        let broken = object(with(members, name, Some(format!("[{number}]"))));
        let error = Activity::from_slice(broken.as_bytes()).unwrap_err();
        prop_assert!(matches!(error, Error::WrongType { path, .. } if path == name), "{}", error);
    }
}

#[test]
fn what_is_said_to_the_bot_is_the_text_without_its_mention() {
    let said = |text: &str| {
        let activity = json!({
            "type": "message", "text": text, "recipient": {"id": "28:bot"},
            "entities": [
                {"type": "mention", "text": "<at>Herald</at>", "mentioned": {"id": "28:bot"}},
                {"type": "mention", "text": "<at>Ada</at>", "mentioned": {"id": "29:ada"}},
            ],
        });
        Activity::from_value(activity).unwrap().text_to_bot()
    };
    assert_eq!(said("<at>Herald</at> help"), "help");
    assert_eq!(said("tell <at>Ada</at>, <at>Herald</at>"), "tell <at>Ada</at>,");
    assert_eq!(Activity::default().text_to_bot(), "");
}
#[test]
fn a_mention_without_its_part_of_the_text_is_found_by_the_bots_name() {
    let said = |text: &str, mention: &Value| {
        let activity = json!({
            "type": "message", "text": text, "recipient": {"id": "28:bot", "name": "R&D Bot"},
            "entities": [mention, {"type": "clientInfo"}],
        });
        Activity::from_value(activity).unwrap().text_to_bot()
    };
    let text = "<at>R&amp;D Bot</at>&nbsp;subscribe builds";
    let bot = json!({"id": "28:bot"});
    let named = json!({"id": "28:bot", "name": "R&D Bot"});
    for mention in [
        json!({"type": "mention", "mentioned": bot}),
        json!({"type": "mention", "mentioned": named}),
        json!({"type": "mention", "mentioned": named, "text": ""}),
        json!({"type": "mention", "mentioned": bot, "text": null}),
        json!({"type": "mention", "mentioned": named, "text": "<at>R&D Bot</at>"}),
        json!({"type": "mention", "mentioned": named, "text": "<at>R&amp;D Bot</at>"}),
    ] {
        assert_eq!(said(text, &mention), "subscribe builds", "{mention}");
    }
    let other = json!({"type": "mention", "mentioned": {"id": "29:ada", "name": "Ada"}});
    assert_eq!(said("<at>Ada</at> help", &other), "<at>Ada</at> help");
    let both = "<at>Ada</at> <at>R&amp;D Bot</at>";
    let of_bot = json!({"type": "mention", "mentioned": bot});
    assert_eq!(said(both, &of_bot), "<at>Ada</at>");
}

#[test]
fn an_id_that_is_a_whole_number_is_read_as_its_digits_and_written_back_as_the_number() {
    let body = r#"{"id":7,"from":{"id":9007199254740993},"recipient":{"id":0,"name":"bot"},
        "conversation":{"id":12},"membersAdded":[{"id":0}],"replyToId":5}"#;
    let activity = Activity::from_slice(body.as_bytes()).unwrap();
    assert_eq!(activity.id, Some("7".into()));
    assert_eq!(activity.from.as_ref().unwrap().id, "9007199254740993".into());
    assert_eq!(activity.conversation.as_ref().unwrap().id, "12".into());
    assert_eq!(activity.reply_to_id, Some("5".into()));
    assert!(activity.adds_bot());
    let written: Value = serde_json::from_str(&serde_json::to_string(&activity).unwrap()).unwrap();
    assert_eq!(written, serde_json::from_str::<Value>(body).unwrap());
    let other = Activity {
        id: Some("8".into()),
        ..activity
    };
    assert_eq!(serde_json::to_value(&other).unwrap()["id"], "8");
    for id in ["-1", "1.5", "1E400", "[]"] {
        let body = format!(r#"{{"recipient":{{"id":{id}}}}}"#);
        assert!(Activity::from_slice(body.as_bytes()).is_err(), "{id}");
    }
}

#[test]
fn an_activity_with_half_an_emoji_is_read() {
    let body = br#"{"type":"message","text":"ok \ud83d","from":{"id":"29:ada","name":"A \ude00"}}"#;
    let activity = Activity::from_slice(body).unwrap();
    assert_eq!(activity.text.as_deref(), Some("ok \u{fffd}"));
    assert_eq!(activity.from.unwrap().name.as_deref(), Some("A \u{fffd}"));
}

#[test]
fn a_mention_that_is_added_stands_in_the_text_and_names_its_account() {
    let account = ChannelAccount {
        name: Some("R&D <Bot>".to_owned()),
        ..ChannelAccount::new("29:rd")
    };
    let message = Activity::message("Hello ").and_mention(&account);
    assert_eq!(
        message.text.as_deref(),
        Some("Hello <at>R&amp;D &lt;Bot&gt;</at>")
    );
    let mention = message.entities[0].as_mention().unwrap();
    assert_eq!(mention.mentioned, Some(account.clone()));
    let incoming = Activity {
        recipient: Some(account),
        ..message
    };
    assert_eq!(incoming.text_to_bot(), "Hello");
}

#[test]
fn a_tenant_that_is_set_replaces_what_stood_in_its_place() {
    for placeholder in [json!(null), json!(""), json!(1.10)] {
        let account = json!({"id": "a:ada", "tenantId": placeholder, "colour": "red"});
        let account: ConversationAccount = serde_json::from_value(account).unwrap();
        let account = account.in_tenant(Some("tenant-1".into()));
        let written = serde_json::to_string(&account).unwrap();
        assert_eq!(
            serde_json::from_str::<ConversationAccount>(&written).unwrap(),
            account
        );
        assert_eq!(account.tenant_id, Some("tenant-1".into()));
    }
}
