//! The contract of `store::Conversations`.

use std::collections::{BTreeMap, BTreeSet};

use botframework::activity::Activity;
use botframework::lossless::LosslessJson;
use futures_util::future::join_all;
use herald::conversation::{
    Attributes, Conversation, ConversationKey, Feedback, ID_BYTES_MAX, NotFoundStreak, Observation, Scope,
    State, TAGS_MAX,
};
use herald::store::{ConversationFilter, ConversationSummary, Conversations, Error, Upsert};
use serde_json::{Value, json};

use super::{at, on_every_backend};

mod companions;
mod imports;
mod opt_outs;
mod people;
mod rosters;
mod states;
mod tags;
mod teams;

on_every_backend! { conversations:
    a_stored_conversation_is_read_unchanged,
    storing_twice_writes_nothing,
    concurrent_observations_lose_nothing,
    one_of_many_first_observations_creates_the_record,
    a_new_service_url_comes_first_and_the_old_one_is_the_fallback,
    an_invoke_does_not_move_the_service_url,
    removed_stays_removed_until_installed_or_spoken_to,
    mark_removed_changes_only_known_conversations,
    get_many_returns_each_conversation_once,
    get_many_reads_more_than_a_hundred_conversations,
    everyone_is_listed_once_over_all_segments,
    a_tenant_is_listed_page_by_page_without_its_threads,
    a_person_is_found_by_either_of_their_ids,
    a_conversation_id_is_found_with_every_bot,
    a_team_is_listed_with_its_threads,
    a_listing_shows_current_attributes_and_state,
    a_filter_without_matches_lists_nothing,
    a_cursor_that_is_not_ours_is_an_error,
    feedback_of_a_sender_is_stored,
    feedback_about_an_older_version_is_ignored,
    of_twenty_feedbacks_about_one_version_one_is_stored,
    a_conversation_that_is_missing_on_three_days_is_blocked,
    a_replacement_is_stored_beside_the_replaced_conversation,
    blocked_conversations_are_listed_by_the_time_of_the_block,
    removed_conversations_are_listed_whatever_the_cause,
    hostile_ids_are_stored_unchanged,
}

fn observations(activity: &Value) -> Vec<Observation> {
    Observation::from_activity(&Activity::from_slice(activity.to_string().as_bytes()).unwrap())
}

async fn hear<S: Conversations>(store: &S, activity: &Value, second: i64) -> Vec<Upsert> {
    let mut heard = Vec::new();
    for observation in observations(activity) {
        heard.push(store.remember(observation, at(second)).await.unwrap());
    }
    heard
}

/// A message from a person in their own conversation with the bot.
fn personal(name: &str) -> Value {
    json!({
        "type": "message", "id": "1", "channelId": "msteams", "locale": "en-GB",
        "serviceUrl": "https://smba.trafficmanager.net/emea/",
        "from": {"id": format!("29:{name}"), "aadObjectId": format!("entra-{name}"), "name": "Ada"},
        "recipient": {"id": "28:bot"},
        "conversation": {"id": format!("a:{name}"), "conversationType": "personal", "tenantId": "tenant-1"},
    })
}

/// A message in a thread of a channel.
fn thread(channel: &str, root: &str, team: &str) -> Value {
    let mut message = personal("ada");
    message["conversation"] = json!({
        "id": format!("{channel};messageid={root}"), "conversationType": "channel", "isGroup": true,
        "tenantId": "tenant-1"});
    message["channelData"] = json!({"team": {"id": team}});
    message
}

fn with(mut activity: Value, name: &str, value: Value) -> Value {
    activity[name] = value;
    activity
}

fn key(conversation: &str) -> ConversationKey {
    ConversationKey {
        conversation: conversation.into(),
        channel: "msteams".into(),
        bot: "28:bot".into(),
    }
}

async fn recall<S: Conversations>(store: &S, conversation: &str) -> Conversation {
    store.get_many(&[key(conversation)]).await.unwrap().pop().unwrap()
}

/// All items of a listing, and its number of pages.
async fn list<S: Conversations>(
    store: &S,
    selection: &ConversationFilter,
    limit: usize,
) -> (Vec<ConversationSummary>, usize) {
    let (mut found, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let listing = store.list(selection, cursor.as_deref(), limit).await.unwrap();
        assert!(
            listing.items.len() <= limit,
            "a page holds at most what was asked for"
        );
        found.extend(listing.items);
        pages += 1;
        match listing.cursor {
            Some(next) => cursor = Some(next),
            None => return (found, pages),
        }
    }
}

fn ids(candidates: &[ConversationSummary]) -> Vec<&str> {
    let mut ids: Vec<&str> = candidates
        .iter()
        .map(|found| found.key.conversation.as_str())
        .collect();
    ids.sort_unstable();
    ids
}

async fn a_stored_conversation_is_read_unchanged<S: Conversations>(store: S) {
    let novel = r#""novel":{"kept":null,"price":1.10,"big":123456789012345678901}"#;
    let begin = r#""conversation":{"#;
    let text = personal("ada")
        .to_string()
        .replacen(begin, &format!("{begin}{novel},"), 1);
    let message = LosslessJson::from_slice(text.as_bytes()).unwrap();
    let activity = Activity::from_slice(text.as_bytes()).unwrap();
    for observation in Observation::from_activity(&activity) {
        assert_eq!(store.remember(observation, at(7)).await.unwrap(), Upsert::Created);
    }
    let record = recall(&store, "a:ada").await;
    assert_eq!(record.key, key("a:ada"));
    let reference = record.reference.to_lossless().unwrap();
    assert!(serde_json::to_string(&reference).unwrap().contains("1.10"));
    for (stored, heard) in [
        ("conversation", "conversation"),
        ("user", "from"),
        ("bot", "recipient"),
    ] {
        assert_eq!(reference.get(stored), message.get(heard));
    }
    assert_eq!(record.service_urls, ["https://smba.trafficmanager.net/emea/"]);
    assert_eq!((record.state, record.version), (State::Active, 1));
    assert_eq!((record.remembered_at, record.changed_at), (at(7), at(7)));
    let attributes = Attributes {
        scope: Scope::Personal,
        tenant: Some("tenant-1".into()),
        user: Some("entra-ada".into()),
        account: Some("29:ada".into()),
        team: None,
        tags: Vec::new(),
    };
    assert_eq!(record.attributes, attributes);
}

async fn storing_twice_writes_nothing<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let before = recall(&store, "a:ada").await;
    assert_eq!(
        hear(&store, &with(personal("ada"), "id", json!("2")), 9).await,
        [Upsert::Unchanged]
    );
    assert_eq!(recall(&store, "a:ada").await, before);
}

async fn concurrent_observations_lose_nothing<S: Conversations>(store: S) {
    let mut messages = Vec::new();
    for number in 0..20 {
        let mut message = personal("ada");
        message["conversation"][format!("novel{number}")] = json!(number);
        messages.push(message);
    }
    join_all(messages.iter().map(|message| hear(&store, message, 0))).await;
    let record = recall(&store, "a:ada").await;
    assert_eq!(record.version, 20);
    let reference = serde_json::to_value(&record.reference).unwrap();
    for number in 0..20 {
        assert_eq!(reference["conversation"][format!("novel{number}")], number);
    }
}

async fn one_of_many_first_observations_creates_the_record<S: Conversations>(store: S) {
    let message = personal("ada");
    let heard = join_all((0..20).map(|_| hear(&store, &message, 0))).await;
    let new = heard
        .iter()
        .flatten()
        .filter(|remembered| **remembered == Upsert::Created)
        .count();
    let unchanged = heard
        .iter()
        .flatten()
        .filter(|remembered| **remembered == Upsert::Unchanged)
        .count();
    assert_eq!((new, unchanged), (1, 19));
}

async fn a_new_service_url_comes_first_and_the_old_one_is_the_fallback<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let moved = with(
        personal("ada"),
        "serviceUrl",
        json!("https://smba.trafficmanager.net/amer/"),
    );
    assert_eq!(hear(&store, &moved, 5).await, [Upsert::Changed]);
    let record = recall(&store, "a:ada").await;
    let urls = [
        "https://smba.trafficmanager.net/amer/",
        "https://smba.trafficmanager.net/emea/",
    ];
    assert_eq!(record.service_urls, urls);
    assert_eq!(
        (record.version, record.remembered_at, record.changed_at),
        (2, at(0), at(0)),
        "its state has not changed"
    );
}

async fn an_invoke_does_not_move_the_service_url<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let mut invoke = with(
        personal("ada"),
        "serviceUrl",
        json!("https://smba.trafficmanager.net/jp/"),
    );
    invoke["type"] = json!("invoke");
    assert_eq!(hear(&store, &invoke, 5).await, [Upsert::Unchanged]);
    assert_eq!(
        recall(&store, "a:ada").await.service_urls,
        ["https://smba.trafficmanager.net/emea/"]
    );
}

async fn removed_stays_removed_until_installed_or_spoken_to<S: Conversations>(store: S) {
    let installation = |action: &str| {
        with(
            with(personal("ada"), "type", json!("installationUpdate")),
            "action",
            json!(action),
        )
    };
    let reaction = with(personal("ada"), "type", json!("messageReaction"));
    for return_ in [installation("add"), personal("ada")] {
        hear(&store, &personal("ada"), 0).await;
        hear(&store, &installation("remove"), 1).await;
        assert_eq!(recall(&store, "a:ada").await.state, State::Removed);
        assert_eq!(hear(&store, &reaction, 2).await, [Upsert::Unchanged]);
        assert_eq!(recall(&store, "a:ada").await.state, State::Removed);
        hear(&store, &return_, 3).await;
        assert_eq!(recall(&store, "a:ada").await.state, State::Active);
    }
}

async fn mark_removed_changes_only_known_conversations<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    store.mark_removed(&key("a:ada"), at(5)).await.unwrap();
    let removed = recall(&store, "a:ada").await;
    assert_eq!(
        (&removed.state, removed.version, removed.changed_at),
        (&State::Removed, 2, at(5))
    );
    store.mark_removed(&key("a:ada"), at(9)).await.unwrap();
    assert_eq!(recall(&store, "a:ada").await, removed);
    store.mark_removed(&key("a:eve"), at(9)).await.unwrap();
    assert!(store.get_many(&[key("a:eve")]).await.unwrap().is_empty());
    hear(&store, &personal("ada"), 10).await;
    assert_eq!(recall(&store, "a:ada").await.version, 3);
}

async fn get_many_returns_each_conversation_once<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let mut other_bot = key("a:ada");
    other_bot.bot = "28:other".into();
    let keys = [key("a:ada"), key("a:ada"), key("a:nobody"), other_bot];
    let found = store.get_many(&keys).await.unwrap();
    assert_eq!(
        found.iter().map(|found| &found.key).collect::<Vec<_>>(),
        [&keys[0]]
    );
    assert!(store.get_many(&[]).await.unwrap().is_empty());
}

async fn get_many_reads_more_than_a_hundred_conversations<S: Conversations>(store: S) {
    let names: Vec<String> = (0..205).map(|number| format!("p{number}")).collect();
    for name in &names {
        hear(&store, &personal(name), 0).await;
    }
    let keys: Vec<_> = names.iter().map(|name| key(&format!("a:{name}"))).collect();
    let found = store.get_many(&keys).await.unwrap();
    assert_eq!(found.len(), keys.len());
    let found: BTreeSet<_> = found.into_iter().map(|found| found.key).collect();
    assert_eq!(found, keys.into_iter().collect());
}

async fn everyone_is_listed_once_over_all_segments<S: Conversations>(store: S) {
    let names: Vec<String> = (0..101).map(|number| format!("p{number}")).collect();
    for name in &names {
        hear(&store, &personal(name), 0).await;
    }
    for segments in [1, 4] {
        let mut found = Vec::new();
        let mut longest = 0;
        for segment in 0..segments {
            let (part, pages) = list(&store, &ConversationFilter::Everyone { segment, segments }, 10).await;
            found.extend(part);
            longest = longest.max(pages);
        }
        let mut expected: Vec<String> = names.iter().map(|name| format!("a:{name}")).collect();
        expected.sort_unstable();
        assert_eq!(ids(&found), expected);
        assert!(longest > 1, "the listing has several pages");
    }
}

async fn a_tenant_is_listed_page_by_page_without_its_threads<S: Conversations>(store: S) {
    let mut expected = BTreeSet::new();
    for number in 0..25 {
        let mut message = personal(&format!("p{number}"));
        if number % 5 == 0 {
            message["conversation"]["tenantId"] = json!("tenant-2");
        } else {
            expected.insert(format!("a:p{number}"));
        }
        hear(&store, &message, 0).await;
    }
    hear(&store, &thread("19:channel", "5", "19:team"), 0).await;
    expected.insert("19:channel".to_owned());
    let mut slack = personal("slack");
    slack["conversation"].as_object_mut().unwrap().remove("tenantId");
    hear(&store, &slack, 0).await;

    let (found, pages) = list(&store, &ConversationFilter::Tenant("tenant-1".into()), 4).await;
    assert_eq!(
        ids(&found),
        expected.iter().map(String::as_str).collect::<Vec<_>>()
    );
    assert!(pages > 1);
    assert_eq!(
        list(&store, &ConversationFilter::Tenant("tenant-2".into()), 100)
            .await
            .0
            .len(),
        5
    );
}

async fn a_person_is_found_by_either_of_their_ids<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    hear(
        &store,
        &with(personal("ada"), "recipient", json!({"id": "28:other"})),
        0,
    )
    .await;
    hear(&store, &personal("eve"), 0).await;
    // The author of a message in a group or thread is not linked to it.
    hear(&store, &thread("19:channel", "5", "19:team"), 0).await;
    let mut group = personal("ada");
    group["conversation"] = json!({"id": "19:group", "conversationType": "groupChat", "isGroup": true});
    hear(&store, &group, 0).await;
    for selection in [
        ConversationFilter::User("entra-ada".into()),
        ConversationFilter::Account("29:ada".into()),
    ] {
        let (found, _) = list(&store, &selection, 10).await;
        assert_eq!(ids(&found), ["a:ada", "a:ada"]);
        let bots: BTreeSet<_> = found.iter().map(|found| found.key.bot.as_str()).collect();
        assert_eq!(bots, BTreeSet::from(["28:bot", "28:other"]));
        assert_eq!(list(&store, &selection, 1).await.0.len(), 2, "page by page too");
    }
}

async fn a_conversation_id_is_found_with_every_bot<S: Conversations>(store: S) {
    for bot in ["28:bot", "28:other", "28:third"] {
        hear(&store, &with(personal("ada"), "recipient", json!({"id": bot})), 0).await;
    }
    hear(&store, &thread("19:channel", "5", "19:team"), 0).await;
    let of = |id: &str| ConversationFilter::Conversation(id.into());
    assert_eq!(ids(&list(&store, &of("a:ada"), 2).await.0), ["a:ada"; 3]);
    assert_eq!(
        ids(&list(&store, &of("19:channel;messageid=5"), 2).await.0),
        ["19:channel;messageid=5"]
    );
    assert_eq!(ids(&list(&store, &of("19:channel"), 2).await.0), ["19:channel"]);
}

async fn a_team_is_listed_with_its_threads<S: Conversations>(store: S) {
    hear(&store, &thread("19:general", "5", "19:general"), 0).await;
    hear(&store, &thread("19:general", "6", "19:general"), 0).await;
    hear(&store, &thread("19:random", "7", "19:general"), 0).await;
    hear(&store, &thread("19:elsewhere", "8", "19:elsewhere"), 0).await;
    let (found, _) = list(&store, &ConversationFilter::Team("19:general".into()), 2).await;
    let expected = [
        "19:general",
        "19:general;messageid=5",
        "19:general;messageid=6",
        "19:random",
        "19:random;messageid=7",
    ];
    assert_eq!(ids(&found), expected);
}

async fn a_listing_shows_current_attributes_and_state<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    hear(&store, &thread("19:channel", "5", "19:team"), 0).await;
    let mut slack = with(personal("slack"), "channelId", json!("slack"));
    slack["from"] = json!({"id": "U1:T1"});
    slack["conversation"] = json!({"id": "B1:T1:D1"});
    hear(&store, &slack, 0).await;
    store
        .mark_removed(&key("19:channel;messageid=5"), at(1))
        .await
        .unwrap();
    block(&store, "19:channel", "BotNotInConversationRoster", 2).await;

    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    let (listed, _) = list(&store, &everyone, 10).await;
    let keys: Vec<_> = listed.iter().map(|found| found.key.clone()).collect();
    let recalled: BTreeMap<_, _> = store
        .get_many(&keys)
        .await
        .unwrap()
        .into_iter()
        .map(|record| (record.key.clone(), record))
        .collect();
    assert_eq!((listed.len(), recalled.len()), (4, 4));
    let selections = [
        everyone,
        ConversationFilter::Tenant("tenant-1".into()),
        ConversationFilter::Team("19:team".into()),
        ConversationFilter::User("entra-ada".into()),
        ConversationFilter::Account("29:ada".into()),
        ConversationFilter::Account("U1:T1".into()),
        ConversationFilter::Conversation("19:channel;messageid=5".into()),
        ConversationFilter::Blocked,
        ConversationFilter::Removed,
    ];
    for selection in selections {
        let (found, _) = list(&store, &selection, 10).await;
        assert!(!found.is_empty(), "{selection:?}");
        for found in found {
            let record = &recalled[&found.key];
            assert_eq!(
                (&found.attributes, &found.state, found.changed_at),
                (&record.attributes, &record.state, record.changed_at),
                "{selection:?}"
            );
        }
    }
    let thread = &recalled[&key("19:channel;messageid=5")];
    assert_eq!(
        (thread.attributes.scope, thread.attributes.tenant.as_deref()),
        (Scope::Channel, Some("tenant-1"))
    );
}

async fn a_filter_without_matches_lists_nothing<S: Conversations>(store: S) {
    for selection in [
        ConversationFilter::Everyone {
            segment: 3,
            segments: 4,
        },
        ConversationFilter::Tenant("t".into()),
        ConversationFilter::User("u".into()),
        ConversationFilter::Account("a".into()),
        ConversationFilter::Conversation("c".into()),
        ConversationFilter::Team("t".into()),
        ConversationFilter::Tag("t".into()),
        ConversationFilter::Blocked,
        ConversationFilter::Removed,
    ] {
        assert_eq!(list(&store, &selection, 10).await.0, []);
    }
}

async fn a_cursor_that_is_not_ours_is_an_error<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    for cursor in ["", "7", "{}", "[\"a\"]"] {
        let listed = store
            .list(&ConversationFilter::Tenant("tenant-1".into()), Some(cursor), 10)
            .await;
        assert!(matches!(listed, Err(Error::Corrupt { .. })), "{cursor}");
        let listed = store.list(&ConversationFilter::Blocked, Some(cursor), 10).await;
        assert!(matches!(listed, Err(Error::Corrupt { .. })), "{cursor}");
    }
    hear(&store, &personal("eve"), 0).await;
    let tenant = |id: &str| ConversationFilter::Tenant(id.into());
    let cursor = store
        .list(&tenant("tenant-1"), None, 1)
        .await
        .unwrap()
        .cursor
        .unwrap();
    let long = json!(["x".repeat(2049), "msteams|28:bot", "tenant-1", "personal"]).to_string();
    for (filter, cursor) in [
        (tenant("tenant-2"), &cursor),
        (ConversationFilter::Removed, &cursor),
        (ConversationFilter::User("entra-ada".into()), &cursor),
        (tenant("tenant-1"), &long),
    ] {
        let listed = store.list(&filter, Some(cursor), 1).await;
        assert!(matches!(listed, Err(Error::Corrupt { .. })), "{filter:?}");
    }
}

/// Applies a sender's feedback to the current record.
async fn note<S: Conversations>(store: &S, conversation: &str, feedback: &Feedback, second: i64) {
    let version = recall(store, conversation).await.version;
    store
        .apply_feedback(&key(conversation), version, feedback, at(second))
        .await
        .unwrap();
}

async fn block<S: Conversations>(store: &S, conversation: &str, code: &str, second: i64) {
    note(store, conversation, &Feedback::Blocked(code.into()), second).await;
}

async fn feedback_of_a_sender_is_stored<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let amer = "https://smba.trafficmanager.net/amer/";
    note(&store, "a:ada", &Feedback::ServiceUrl(amer.into()), 1).await;
    let moved = recall(&store, "a:ada").await;
    assert_eq!(
        moved.service_urls,
        [amer, "https://smba.trafficmanager.net/emea/"]
    );
    assert_eq!((moved.version, moved.changed_at), (2, at(0)));
    let code = "ConversationBlockedByUser";
    block(&store, "a:ada", code, 2).await;
    let blocked = recall(&store, "a:ada").await;
    let expected = Conversation {
        state: State::Blocked { code: code.into() },
        version: 3,
        changed_at: at(2),
        ..moved
    };
    assert_eq!(blocked, expected, "every other field is unchanged");
    // The same feedback again changes nothing, so nothing is written.
    block(&store, "a:ada", code, 3).await;
    note(&store, "a:ada", &Feedback::ServiceUrl(amer.into()), 3).await;
    assert_eq!(recall(&store, "a:ada").await, blocked);
    // The person writes again.
    hear(&store, &personal("ada"), 4).await;
    assert_eq!(recall(&store, "a:ada").await.state, State::Active);
    let feedback = Feedback::Blocked(code.into());
    store
        .apply_feedback(&key("a:eve"), 1, &feedback, at(5))
        .await
        .unwrap();
    assert!(store.get_many(&[key("a:eve")]).await.unwrap().is_empty());
}

async fn feedback_about_an_older_version_is_ignored<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let moved = with(
        personal("ada"),
        "serviceUrl",
        json!("https://smba.trafficmanager.net/amer/"),
    );
    hear(&store, &moved, 1).await;
    let before = recall(&store, "a:ada").await;
    assert_eq!(before.version, 2);
    for version in [1, 3] {
        let feedback = Feedback::Blocked("ConversationBlockedByUser".into());
        store
            .apply_feedback(&key("a:ada"), version, &feedback, at(2))
            .await
            .unwrap();
        assert_eq!(recall(&store, "a:ada").await, before);
    }
}

async fn of_twenty_feedbacks_about_one_version_one_is_stored<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let ada = key("a:ada");
    let feedback: Vec<Feedback> = (0..20)
        .map(|number| Feedback::ServiceUrl(format!("https://smba.trafficmanager.net/r{number}/")))
        .collect();
    let noted = join_all(
        feedback
            .iter()
            .map(|feedback| store.apply_feedback(&ada, 1, feedback, at(1))),
    )
    .await;
    assert!(noted.iter().all(Result::is_ok));
    let record = recall(&store, "a:ada").await;
    assert_eq!((record.version, record.service_urls.len()), (2, 2));
}

async fn a_conversation_that_is_missing_on_three_days_is_blocked<S: Conversations>(store: S) {
    const DAY: i64 = 24 * 3600;
    let missing = Feedback::NotFound("ConversationNotFound".into());
    hear(&store, &personal("ada"), 0).await;
    for (times, second) in [(1, 0), (1, DAY - 1), (2, DAY), (2, 2 * DAY - 1)] {
        note(&store, "a:ada", &missing, second).await;
        let record = recall(&store, "a:ada").await;
        assert_eq!(record.state, State::Active);
        let last = at(second / DAY * DAY);
        assert_eq!(record.not_found, Some(NotFoundStreak { times, last }));
    }
    note(&store, "a:ada", &missing, 2 * DAY).await;
    let expected = State::Blocked {
        code: "ConversationNotFound".into(),
    };
    assert_eq!(recall(&store, "a:ada").await.state, expected);
    hear(&store, &personal("ada"), 3 * DAY).await;
    let record = recall(&store, "a:ada").await;
    assert_eq!((record.state, record.not_found), (State::Active, None));
}

async fn a_replacement_is_stored_beside_the_replaced_conversation<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let old = recall(&store, "a:ada").await;
    let successor = Observation::replacement(&old, "a:new".into());
    assert_eq!(store.remember(successor, at(1)).await.unwrap(), Upsert::Created);
    let new = recall(&store, "a:new").await;
    assert_eq!(
        (&new.attributes, &new.service_urls),
        (&old.attributes, &old.service_urls)
    );
    assert_eq!(recall(&store, "a:ada").await, old);
}

async fn blocked_conversations_are_listed_by_the_time_of_the_block<S: Conversations>(store: S) {
    let mut expected = Vec::new();
    for number in 0..25 {
        let name = format!("p{number}");
        hear(&store, &personal(&name), 0).await;
        // In another order than that of their names, and with several codes.
        let second = 1 + i64::from(number * 7 % 25);
        if number % 5 != 0 {
            let code = ["ConversationBlockedByUser", "BotDisabledByAdmin"][usize::from(number % 2 == 0)];
            block(&store, &format!("a:{name}"), code, second).await;
            expected.push((at(second), format!("a:{name}")));
        }
    }
    expected.sort();
    // One of them writes again.
    hear(&store, &personal("p1"), 100).await;
    expected.retain(|(_, id)| id != "a:p1");
    for limit in [4, 100] {
        let (found, pages) = list(&store, &ConversationFilter::Blocked, limit).await;
        let found: Vec<_> = found
            .into_iter()
            .inspect(|found| assert!(matches!(found.state, State::Blocked { .. })))
            .map(|found| (found.changed_at, found.key.conversation.to_string()))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(pages > 1, limit == 4);
    }
    assert_eq!(list(&store, &ConversationFilter::Removed, 10).await.0, []);
}

async fn removed_conversations_are_listed_whatever_the_cause<S: Conversations>(store: S) {
    for name in ["forgotten", "uninstalled", "blocked-and-removed", "present"] {
        hear(&store, &personal(name), 0).await;
    }
    store.mark_removed(&key("a:forgotten"), at(9)).await.unwrap();
    let uninstall = with(
        with(personal("uninstalled"), "type", json!("installationUpdate")),
        "action",
        json!("remove"),
    );
    hear(&store, &uninstall, 5).await;
    block(&store, "a:blocked-and-removed", "ConversationBlockedByUser", 6).await;
    store
        .mark_removed(&key("a:blocked-and-removed"), at(7))
        .await
        .unwrap();
    let (found, _) = list(&store, &ConversationFilter::Removed, 2).await;
    let found: Vec<_> = found
        .iter()
        .map(|found| (found.key.conversation.as_str(), found.changed_at))
        .collect();
    let expected = [
        ("a:uninstalled", at(5)),
        ("a:blocked-and-removed", at(7)),
        ("a:forgotten", at(9)),
    ];
    assert_eq!(found, expected, "the earliest first");
    assert_eq!(list(&store, &ConversationFilter::Blocked, 10).await.0, []);
}

async fn hostile_ids_are_stored_unchanged<S: Conversations>(store: S) {
    let longest = "ü".repeat(ID_BYTES_MAX / 2);
    let longest_place = "28:".to_owned() + &"x".repeat(ID_BYTES_MAX - "msteams|28:".len());
    let hostile = [
        "a|b|c",
        "%7C%25|",
        "#head",
        "a#b\"c\\d{}[],",
        "日本語 \u{1F980}",
        longest.as_str(),
    ];
    for id in hostile {
        let mut message = personal("x");
        message["conversation"]["id"] = json!(id);
        message["conversation"]["tenantId"] = json!(id);
        message["from"] = json!({"id": id, "aadObjectId": id});
        hear(&store, &message, 0).await;
        let (found, _) = list(&store, &ConversationFilter::Conversation(id.into()), 10).await;
        assert_eq!(
            found.iter().map(|found| &found.key).collect::<Vec<_>>(),
            [&key(id)]
        );
        for selection in [
            ConversationFilter::Tenant(id.into()),
            ConversationFilter::User(id.into()),
            ConversationFilter::Account(id.into()),
        ] {
            assert_eq!(list(&store, &selection, 1).await.0, found, "{selection:?}");
        }
        assert_eq!(recall(&store, id).await.attributes, found[0].attributes);
    }
    for bot in hostile[..5].iter().copied().chain([longest_place.as_str()]) {
        hear(&store, &with(personal("ada"), "recipient", json!({"id": bot})), 0).await;
        let key = ConversationKey {
            bot: bot.into(),
            ..key("a:ada")
        };
        assert_eq!(
            store.get_many(std::slice::from_ref(&key)).await.unwrap()[0].key,
            key
        );
    }
    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    assert_eq!(list(&store, &everyone, 2).await.0.len(), hostile.len() + 6);
}
