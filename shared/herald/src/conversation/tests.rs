use super::observation::REFERENCE_BYTES_MAX;
use super::*;
use botframework::activity::Activity;
use serde_json::{Value, json};

const NOON: Timestamp = Timestamp::UNIX_EPOCH;

fn personal(kind: &str) -> Value {
    json!({
        "type": kind, "id": "1", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/emea/",
        "from": {"id": "29:ada", "aadObjectId": "00000000-0000-0000-0000-00000000000a", "name": "A"},
        "recipient": {"id": "28:bot"},
        "conversation": {"id": "a:1", "conversationType": "personal", "tenantId": "t1", "novel": {"kept": null}},
    })
}

fn see(activity: &Value) -> Observation {
    observations(activity).pop().unwrap()
}

fn observations(activity: &Value) -> Vec<Observation> {
    Observation::from_activity(&Activity::from_slice(activity.to_string().as_bytes()).unwrap())
}

fn first(activity: &Value) -> Conversation {
    remember(None, see(activity), NOON).unwrap()
}

fn with(mut activity: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    activity.pointer_mut(parent).unwrap()[name] = value;
    activity
}

#[test]
fn keys_survive_as_text_whatever_the_ids_hold() {
    for (channel, bot, conversation) in [
        ("msteams", "28:b", "19:x@thread.v2;messageid=7"),
        ("a|b", "%7C|%25", "|%7C||"),
    ] {
        let key = ConversationKey {
            conversation: conversation.into(),
            channel: channel.into(),
            bot: bot.into(),
        };
        assert_eq!(key.to_string().parse::<ConversationKey>().unwrap(), key);
        assert_eq!(
            ConversationKey::from_place(conversation.into(), &key.place()).unwrap(),
            key
        );
    }
}

#[test]
fn a_first_sighting_is_kept_whole_but_for_its_moment() {
    let record = first(&personal("message"));
    let reference = serde_json::to_value(&record.reference).unwrap();
    assert_eq!(reference["conversation"]["novel"], json!({"kept": null}));
    assert_eq!(reference["user"]["name"], "A");
    assert!(reference.get("activityId").is_none());
    assert_eq!(record.attributes.account, Some("29:ada".into()));
    assert_eq!(record.attributes.tenant.as_deref(), Some("t1"));
}

#[test]
fn the_same_again_changes_nothing() {
    let record = first(&personal("message"));
    let again = with(personal("message"), "/id", json!("2"));
    assert_eq!(remember(Some(&record), see(&again), NOON), None);
}

#[test]
fn an_event_that_says_less_does_not_make_the_record_flap() {
    let record = first(&personal("message"));
    let mut less = personal("conversationUpdate");
    less["from"].as_object_mut().unwrap().remove("name");
    less["conversation"].as_object_mut().unwrap().remove("novel");
    assert_eq!(remember(Some(&record), see(&less), NOON), None);
}

#[test]
fn a_new_service_url_leads_and_the_old_ones_stay_to_fall_back_on() {
    let mut record = first(&personal("message"));
    for region in ["amer", "apac", "emea", "in", "br"] {
        let url = format!("https://smba.trafficmanager.net/{region}/");
        let moved = with(personal("message"), "/serviceUrl", json!(url));
        record = remember(Some(&record), see(&moved), NOON).unwrap();
        assert_eq!(record.service_urls[0], url);
        assert_eq!(record.reference.service_url.as_deref(), Some(url.as_str()));
    }
    let regions: Vec<_> = record
        .service_urls
        .iter()
        .map(|url| url.split('/').nth(3).unwrap())
        .collect();
    assert_eq!(regions, ["br", "in", "emea", "apac"]);
}

#[test]
fn an_invokes_service_url_is_not_believed() {
    let record = first(&personal("message"));
    let invoke = with(
        personal("invoke"),
        "/serviceUrl",
        json!("https://smba.trafficmanager.net/jp/"),
    );
    assert_eq!(remember(Some(&record), see(&invoke), NOON), None);
}

#[test]
fn removed_stays_removed_until_installed_or_spoken_to() {
    let record = first(&personal("message"));
    let uninstall = with(personal("installationUpdate"), "/action", json!("remove"));
    let removed = remember(Some(&record), see(&uninstall), NOON).unwrap();
    assert_eq!(removed.state, State::Removed);
    assert_eq!(
        remember(Some(&removed), see(&personal("messageReaction")), NOON),
        None
    );
    let install = with(personal("installationUpdate"), "/action", json!("add"));
    for returning in [install, personal("message")] {
        assert_eq!(
            remember(Some(&removed), see(&returning), NOON).unwrap().state,
            State::Active
        );
    }
}

#[test]
fn a_bot_among_the_removed_members_has_left_and_a_person_has_not() {
    let record = first(&personal("message"));
    let update = |member: &str| {
        with(
            personal("conversationUpdate"),
            "/membersRemoved",
            json!([{"id": member}]),
        )
    };
    assert_eq!(
        remember(Some(&record), see(&update("28:bot")), NOON)
            .unwrap()
            .state,
        State::Removed
    );
    assert_eq!(remember(Some(&record), see(&update("29:eve")), NOON), None);
}

#[test]
fn a_thread_shows_its_channel_too_and_both_know_the_team() {
    let mut post = personal("message");
    post["conversation"] =
        json!({"id": "19:c@thread.tacv2;messageid=5", "conversationType": "channel", "isGroup": true});
    post["channelData"] = json!({"team": {"id": "19:t@thread.tacv2"}, "tenant": {"id": "t1"}});
    let seen = observations(&post);
    let ids: Vec<_> = seen
        .iter()
        .map(|observation| observation.key.conversation.as_str())
        .collect();
    assert_eq!(ids, ["19:c@thread.tacv2", "19:c@thread.tacv2;messageid=5"]);
    for observation in seen {
        assert_eq!(observation.attributes.team.as_deref(), Some("19:t@thread.tacv2"));
        assert_eq!(observation.attributes.tenant.as_deref(), Some("t1"));
        assert_eq!(
            (
                observation.attributes.scope,
                observation.attributes.account.as_ref()
            ),
            (Scope::Channel, None)
        );
    }
}

#[test]
fn whoever_speaks_next_in_a_group_does_not_change_the_place() {
    let group = with(
        personal("message"),
        "/conversation/conversationType",
        json!("groupChat"),
    );
    let record = first(&group);
    let other = with(group, "/from", json!({"id": "29:eve", "name": "E"}));
    assert_eq!(remember(Some(&record), see(&other), NOON), None);
}

#[test]
fn an_event_that_does_not_say_what_kind_of_place_it_is_changes_none() {
    let mut silent = personal("messageReaction");
    silent["conversation"]
        .as_object_mut()
        .unwrap()
        .remove("conversationType");
    let group = with(
        personal("message"),
        "/conversation/conversationType",
        json!("groupChat"),
    );
    let record = first(&group);
    assert_eq!(remember(Some(&record), see(&silent), NOON), None);
    // First observed by such an event, it counts as personal; a later activity corrects the scope and removes the person.
    let guessed = first(&with(silent, "/type", json!("event")));
    assert_eq!(guessed.attributes.account, Some("29:ada".into()));
    let corrected = remember(Some(&guessed), see(&group), NOON).unwrap();
    assert_eq!(
        (
            corrected.attributes.scope,
            corrected.attributes.account,
            corrected.attributes.user
        ),
        (Scope::GroupChat, None, None)
    );
    let novel = with(
        personal("message"),
        "/conversation/conversationType",
        json!("hologram"),
    );
    assert_eq!(first(&novel).attributes.scope, Scope::GroupChat);
}

#[test]
fn nobody_is_a_teams_user_by_saying_so_on_another_channel() {
    let posing = with(personal("message"), "/channelId", json!("webchat"));
    let record = first(&posing);
    assert_eq!((record.attributes.user, record.attributes.account), (None, None));
    let slack = with(
        posing,
        "/from",
        json!({"id": "U1:T1", "aadObjectId": "00000000-0000-0000-0000-00000000000a"}),
    );
    let record = first(&slack);
    assert_eq!(
        (record.attributes.user, record.attributes.account),
        (None, Some("U1:T1".into()))
    );
}

#[test]
fn a_reference_larger_than_any_record_is_not_remembered() {
    let large = with(
        personal("message"),
        "/conversation/name",
        json!("x".repeat(REFERENCE_BYTES_MAX)),
    );
    assert!(observations(&large).is_empty());
}

#[test]
fn what_is_no_id_is_not_remembered() {
    for conversation in ["", "a:\u{7}", &"x".repeat(ID_BYTES_MAX + 1)] {
        let activity = with(personal("message"), "/conversation/id", json!(conversation));
        assert!(observations(&activity).is_empty());
    }
    let longest = with(
        personal("message"),
        "/conversation/id",
        json!("x".repeat(ID_BYTES_MAX)),
    );
    assert_eq!(observations(&longest).len(), 1);
    let endless_tenant = with(
        personal("message"),
        "/conversation/tenantId",
        json!("x".repeat(ID_BYTES_MAX + 1)),
    );
    assert_eq!(see(&endless_tenant).attributes.tenant, None);
}

#[test]
fn what_cannot_be_answered_is_not_remembered() {
    for missing in ["serviceUrl", "channelId", "recipient", "conversation"] {
        let mut activity = personal("message");
        activity.as_object_mut().unwrap().remove(missing);
        assert!(observations(&activity).is_empty(), "{missing}");
    }
}

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(hour * 3600).unwrap()
}

fn blocked(code: &str) -> Conversation {
    let blocked = apply_feedback(
        &first(&personal("message")),
        &Feedback::Blocked(code.into()),
        NOON,
    )
    .unwrap();
    assert_eq!(blocked.state, State::Blocked { code: code.into() });
    blocked
}

#[test]
fn what_the_person_blocked_is_revived_by_anything_they_do() {
    let action = personal("messageReaction");
    let revived = remember(Some(&blocked("ConversationBlockedByUser")), see(&action), NOON).unwrap();
    assert_eq!(revived.state, State::Active);
    // The channel's own words are not the person's doing, and another code needs the bot to be added.
    let roster = blocked("BotNotInConversationRoster");
    assert!(remember(Some(&roster), see(&action), NOON).is_none_or(|it| it.state == roster.state));
    let told = personal("conversationUpdate");
    let by_user = blocked("ConversationBlockedByUser");
    assert!(remember(Some(&by_user), see(&told), NOON).is_none_or(|it| it.state == by_user.state));
}

#[test]
fn whatever_was_blocked_is_revived_by_an_installation_or_a_message() {
    for code in ["BotNotInConversationRoster", "ForbiddenOperationException"] {
        let installed = with(personal("installationUpdate"), "/action", json!("add"));
        for activity in [installed, personal("message")] {
            let revived = remember(Some(&blocked(code)), see(&activity), NOON).unwrap();
            assert_eq!(revived.state, State::Active, "{code}");
        }
    }
}

#[test]
fn a_conversation_that_is_not_found_is_given_up_after_days_and_not_before() {
    let missing = Feedback::NotFound("ConversationNotFound".into());
    let once = apply_feedback(&first(&personal("message")), &missing, at(0)).unwrap();
    assert_eq!(once.state, State::Active);
    assert_eq!(
        apply_feedback(&once, &missing, at(23)),
        None,
        "the same day counts once"
    );
    let twice = apply_feedback(&once, &missing, at(24)).unwrap();
    assert_eq!(twice.state, State::Active);
    let gone = apply_feedback(&twice, &missing, at(48)).unwrap();
    assert!(matches!(gone.state, State::Blocked { .. }));
    let back = remember(Some(&twice), see(&personal("message")), at(25)).unwrap();
    assert_eq!(back.not_found, None, "who was heard of is not missing");
}

#[test]
fn a_sender_does_not_unsay_that_the_bot_was_removed() {
    let removed = with(personal("installationUpdate"), "/action", json!("remove"));
    let removed = remember(Some(&first(&personal("message"))), see(&removed), NOON).unwrap();
    assert_eq!(
        apply_feedback(&removed, &Feedback::Blocked("X".into()), NOON),
        None
    );
}

#[test]
fn where_it_is_reached_leads_from_then_on() {
    let there = "https://smba.trafficmanager.net/amer/";
    let moved = apply_feedback(
        &first(&personal("message")),
        &Feedback::ServiceUrl(there.into()),
        NOON,
    )
    .unwrap();
    assert_eq!(moved.service_urls[0], there);
    assert_eq!(moved.service_urls.len(), 2);
    assert_eq!(
        apply_feedback(&moved, &Feedback::ServiceUrl(there.into()), NOON),
        None
    );
}

#[test]
fn both_names_of_a_person_are_known_once_they_are_told_together() {
    let by_user = Conversation {
        attributes: Attributes {
            account: None,
            ..first(&personal("message")).attributes
        },
        ..first(&personal("message"))
    };
    let user = by_user.attributes.user.clone().unwrap();
    let named = |user: &str, account: &str| Feedback::Identity(user.into(), account.into());
    let both = apply_feedback(&by_user, &named(user.as_str(), "29:told"), NOON).unwrap();
    assert_eq!(both.attributes.user, Some(user.clone()));
    assert_eq!(both.attributes.account, Some("29:told".into()));
    assert_eq!(both.version, by_user.version + 1);
    for other in [
        named(user.as_str(), "29:told"),
        named(user.as_str(), "29:other"),
        named("other", "29:told"),
    ] {
        assert_eq!(apply_feedback(&both, &other, NOON), None, "{other:?}");
    }
    let group = Conversation {
        attributes: Attributes {
            scope: Scope::GroupChat,
            ..by_user.attributes.clone()
        },
        ..by_user
    };
    assert_eq!(
        apply_feedback(&group, &named(user.as_str(), "29:told"), NOON),
        None
    );
}

#[test]
fn only_what_shows_that_the_bot_is_a_member_makes_a_recipient() {
    for (kind, is_stored) in [
        ("message", true),
        ("conversationUpdate", true),
        ("installationUpdate", true),
        ("event", true),
        ("invoke", false),
        ("messageReaction", false),
        ("messageUpdate", false),
        ("messageDelete", false),
        ("typing", false),
        ("novelty", false),
    ] {
        let record = remember(None, see(&personal(kind)), NOON);
        assert_eq!(record.is_some(), is_stored, "{kind}");
    }
    let between = with(
        personal("message"),
        "/conversation/id",
        json!("19:u1_u2@unq.gbl.spaces"),
    );
    let record = first(&between);
    assert_eq!(
        (record.attributes.scope, record.attributes.user),
        (Scope::GroupChat, None)
    );
}

#[test]
fn a_person_who_leaves_is_removed_until_they_write() {
    let record = first(&personal("message"));
    let left = |member: Value| with(personal("conversationUpdate"), "/membersRemoved", json!([member]));
    let entra = json!({"id": "29:other", "aadObjectId": "00000000-0000-0000-0000-00000000000A"});
    for member in [json!({"id": "29:ada"}), entra] {
        let removed = remember(Some(&record), see(&left(member.clone())), NOON).unwrap();
        assert_eq!(removed.state, State::Removed, "{member}");
        assert_eq!(remember(None, see(&left(member)), NOON), None);
        let back = remember(Some(&removed), see(&personal("message")), NOON).unwrap();
        assert_eq!(back.state, State::Active);
    }
    let by_user = Conversation {
        attributes: Attributes {
            account: None,
            user: None,
            ..record.attributes.clone()
        },
        ..record
    };
    let unnamed = remember(Some(&by_user), see(&left(json!({"id": "29:x"}))), NOON).unwrap();
    assert_eq!(unnamed.state, State::Removed);
}

#[test]
fn an_update_of_members_from_another_account_does_not_change_the_person() {
    let record = first(&personal("message"));
    let by_admin = with(
        personal("conversationUpdate"),
        "/from",
        json!({"id": "29:admin", "aadObjectId": "00000000-0000-0000-0000-0000000000ad"}),
    );
    assert_eq!(remember(Some(&record), see(&by_admin), NOON), None);
}

#[test]
fn a_record_stays_storable_whatever_activities_add_to_it() {
    let large = |name: &str| {
        let unknown = json!("x".repeat(60_000));
        with(personal("message"), &format!("/conversation/{name}"), unknown)
    };
    let mut record = first(&large("novel0"));
    for number in 1..8 {
        record = remember(Some(&record), see(&large(&format!("novel{number}"))), NOON).unwrap();
        let bytes = serde_json::to_vec(&record.reference).unwrap().len();
        assert!(bytes <= REFERENCE_BYTES_MAX, "{bytes}");
    }
    assert_eq!(record.reference.user.as_ref().unwrap().name.as_deref(), Some("A"));
}

#[test]
fn the_product_of_a_conversation_is_what_its_activities_name() {
    let copilot = with(
        personal("message"),
        "/entities",
        json!([{"type": "ProductInfo", "id": "COPILOT"}]),
    );
    let record = first(&copilot);
    assert_eq!(record.product, Product::Copilot);
    assert_eq!(remember(Some(&record), see(&personal("message")), NOON), None);
    let shared = add_companions(&record, NOON).unwrap();
    assert!(shared.precedence < Some(Precedence::of(Product::Chat, NOON)));
    assert_eq!(add_companions(&shared, NOON), None);
    let chat = with(
        personal("message"),
        "/entities",
        json!([{"type": "ProductInfo", "id": "TEAMS"}]),
    );
    let moved = remember(Some(&shared), see(&chat), NOON).unwrap();
    assert_eq!(moved.precedence, Some(Precedence::of(Product::Chat, NOON)));
}
