//! Preferences of people: what they opted out of, time zone, quiet hours.

use botframework::id::UserRef;
use herald::conversation::{Choice, PersonId, PreferenceChange, Preferences, change_preferences};
use herald::schedule::{QuietChoice, Zone};
use herald::{companions, preferences};

use super::super::{at, on_every_backend};
use super::*;

on_every_backend! { conversations:
    a_choice_reaches_all_conversations_of_the_person_and_those_that_come_later,
    a_choice_that_was_made_before_the_bot_knew_the_person_counts_from_the_first_moment,
    a_choice_under_one_id_counts_under_the_other_once_that_is_known,
    the_conversation_in_which_it_was_said_is_not_missed,
    a_choice_survives_uninstalling_and_the_erasure_of_a_conversation,
    a_choice_is_erased_with_the_person,
    of_many_concurrent_choices_none_is_lost,
    the_same_person_in_another_tenant_is_not_concerned,
    an_older_copy_does_not_replace_a_later_one,
    a_group_chat_has_its_own_choices,
    zone_and_quiet_hours_are_stored_with_the_choices,
    the_zone_of_a_person_is_learned_and_a_repetition_writes_nothing,
}

fn person(id: UserRef) -> PersonId {
    PersonId {
        channel: "msteams".into(),
        tenant: Some("tenant-1".into()),
        id,
    }
}

fn entra(id: &str) -> PersonId {
    person(UserRef::Entra(id.into()))
}

fn account(id: &str) -> PersonId {
    person(UserRef::Account(id.into()))
}

async fn see<S: Conversations>(store: &S, activity: &Value, second: i64) {
    for observation in observations(activity) {
        companions::remember(store, observation, at(second))
            .await
            .unwrap();
    }
}

fn another_chat(name: &str) -> Value {
    let mut message = personal(name);
    message["conversation"]["id"] = json!(format!("a:{name}-again"));
    message
}

fn no_to(category: &str) -> PreferenceChange {
    PreferenceChange::Category(category.to_owned(), Choice::OptedOut)
}

async fn choose<S: Conversations>(store: &S, person: &PersonId, change: &PreferenceChange) -> Preferences {
    let chosen = preferences::change(store, person, None, change, at(60)).await;
    chosen.unwrap().unwrap()
}

/// Whether news is wanted in a conversation, by its record and by the lists, which must agree.
async fn wants_news<S: Conversations>(store: &S, id: &str) -> bool {
    let record = recall(store, id).await;
    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    for filter in [everyone, ConversationFilter::Tenant("tenant-1".to_owned())] {
        let listed = list(store, &filter, 10).await.0.into_iter();
        let mut listed = listed.filter(|known| known.key == record.key);
        assert_eq!(
            listed.next().unwrap().preferences,
            record.preferences,
            "{filter:?}"
        );
    }
    record.preferences.is_none_or(|it| it.permit(Some("news")))
}

async fn a_choice_reaches_all_conversations_of_the_person_and_those_that_come_later<S: Conversations>(
    store: S,
) {
    for activity in [personal("ada"), another_chat("ada"), personal("eve")] {
        see(&store, &activity, 0).await;
    }
    let chosen = choose(&store, &account("29:ada"), &no_to("news")).await;
    let mut third = personal("ada");
    third["conversation"]["id"] = json!("a:ada-third");
    see(&store, &third, 120).await;
    for id in ["a:ada", "a:ada-again", "a:ada-third"] {
        assert!(!wants_news(&store, id).await, "{id}");
        assert_eq!(
            recall(&store, id).await.preferences.as_ref(),
            Some(&chosen),
            "{id}"
        );
    }
    assert!(wants_news(&store, "a:eve").await);
    assert_eq!(recall(&store, "a:eve").await.preferences, None);
    // A repetition writes nothing.
    let version = recall(&store, "a:ada").await.version;
    assert_eq!(choose(&store, &entra("entra-ada"), &no_to("news")).await, chosen);
    assert_eq!(recall(&store, "a:ada").await.version, version);
    choose(
        &store,
        &entra("entra-ada"),
        &PreferenceChange::All(Choice::OptedIn),
    )
    .await;
    for id in ["a:ada", "a:ada-again", "a:ada-third"] {
        assert!(wants_news(&store, id).await, "{id}");
    }
}

async fn a_choice_that_was_made_before_the_bot_knew_the_person_counts_from_the_first_moment<
    S: Conversations,
>(
    store: S,
) {
    choose(&store, &entra("entra-ada"), &no_to("news")).await;
    see(&store, &personal("ada"), 120).await;
    let record = recall(&store, "a:ada").await;
    assert_eq!(record.version, 1, "it is in the first write");
    assert!(!wants_news(&store, "a:ada").await);
    let found = preferences::find(&store, &account("29:ada")).await.unwrap();
    assert_eq!(found, record.preferences, "it is found by the other id, too");
}

async fn a_choice_under_one_id_counts_under_the_other_once_that_is_known<S: Conversations>(store: S) {
    let mut nameless = personal("ada");
    nameless["from"].as_object_mut().unwrap().remove("aadObjectId");
    see(&store, &nameless, 0).await;
    choose(&store, &entra("entra-ada"), &no_to("news")).await;
    assert!(
        wants_news(&store, "a:ada").await,
        "nothing says that it is the same person"
    );
    see(&store, &personal("ada"), 120).await;
    assert!(!wants_news(&store, "a:ada").await);
    // And the same when a roster says so.
    let mut nameless = personal("eve");
    nameless["from"].as_object_mut().unwrap().remove("aadObjectId");
    see(&store, &nameless, 0).await;
    choose(&store, &entra("entra-eve"), &no_to("news")).await;
    let known = recall(&store, "a:eve").await;
    let identity = Feedback::Identity("entra-eve".into(), "29:eve".into());
    preferences::name_person(&store, &known, &identity, at(1))
        .await
        .unwrap();
    let named = recall(&store, "a:eve").await;
    assert_eq!(named.version, known.version + 1, "both in one write");
    assert!(!wants_news(&store, "a:eve").await);
}

async fn the_conversation_in_which_it_was_said_is_not_missed<S: Conversations>(store: S) {
    see(&store, &personal("ada"), 0).await;
    // An account id under which no conversation is indexed.
    let stranger = account("29:stranger");
    preferences::change(&store, &stranger, Some(&key("a:ada")), &no_to("news"), at(1))
        .await
        .unwrap();
    assert!(!wants_news(&store, "a:ada").await);
}

async fn a_choice_survives_uninstalling_and_the_erasure_of_a_conversation<S: Conversations>(store: S) {
    see(&store, &personal("ada"), 0).await;
    choose(&store, &account("29:ada"), &no_to("news")).await;
    store.mark_removed(&key("a:ada"), at(61)).await.unwrap();
    see(&store, &personal("ada"), 62).await;
    assert!(!wants_news(&store, "a:ada").await);
    assert!(store.erase(&key("a:ada")).await.unwrap());
    see(&store, &personal("ada"), 63).await;
    assert!(!wants_news(&store, "a:ada").await);
}

async fn a_choice_is_erased_with_the_person<S: Conversations>(store: S) {
    see(&store, &personal("ada"), 0).await;
    let mut elsewhere = entra("entra-ada");
    elsewhere.tenant = Some("tenant-2".into());
    for person in [&account("29:ada"), &elsewhere, &entra("entra-eve")] {
        choose(&store, person, &no_to("news")).await;
    }
    store.erase(&key("a:ada")).await.unwrap();
    for _ in 0..2 {
        let ids = [
            UserRef::Account("29:ada".into()),
            UserRef::Entra("entra-ada".into()),
        ];
        for id in ids {
            store.erase_preferences(&id).await.unwrap();
        }
    }
    for person in [&account("29:ada"), &entra("entra-ada"), &elsewhere] {
        assert_eq!(store.preferences(person).await.unwrap(), None, "{person:?}");
    }
    assert!(store.preferences(&entra("entra-eve")).await.unwrap().is_some());
    see(&store, &personal("ada"), 120).await;
    assert!(wants_news(&store, "a:ada").await);
    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    let found = list(&store, &everyone, 10).await.0;
    assert_eq!(ids(&found), ["a:ada"], "records of choices are no conversations");
}

async fn of_many_concurrent_choices_none_is_lost<S: Conversations>(store: S) {
    see(&store, &personal("ada"), 0).await;
    let names: Vec<String> = (0..12).map(|number| format!("category {number}")).collect();
    let (store, people) = (&store, [account("29:ada"), entra("entra-ada")]);
    let changes = names
        .iter()
        .zip(people.iter().cycle())
        .map(|(name, person)| async move { choose(store, person, &no_to(name)).await });
    join_all(changes).await;
    let chosen = preferences::find(store, &people[0]).await.unwrap();
    let record = recall(store, "a:ada").await;
    assert_eq!(record.preferences, chosen);
    for person in people {
        assert_eq!(store.preferences(&person).await.unwrap(), chosen, "{person:?}");
    }
    let refused = |name: &&String| !chosen.as_ref().unwrap().permit(Some(name));
    assert_eq!(names.iter().filter(refused).count(), names.len());
}

async fn the_same_person_in_another_tenant_is_not_concerned<S: Conversations>(store: S) {
    see(&store, &personal("ada"), 0).await;
    let mut elsewhere = another_chat("ada");
    elsewhere["conversation"]["tenantId"] = json!("tenant-2");
    see(&store, &elsewhere, 0).await;
    choose(&store, &entra("entra-ada"), &no_to("news")).await;
    assert!(!wants_news(&store, "a:ada").await);
    assert_eq!(recall(&store, "a:ada-again").await.preferences, None);
}

async fn an_older_copy_does_not_replace_a_later_one<S: Conversations>(store: S) {
    see(&store, &personal("ada"), 0).await;
    let first = choose(&store, &account("29:ada"), &no_to("news")).await;
    let second = choose(
        &store,
        &account("29:ada"),
        &PreferenceChange::All(Choice::OptedIn),
    )
    .await;
    assert!(
        second.changed_at > first.changed_at,
        "within one millisecond, too"
    );
    let mut rule = |old: Option<&Conversation>| herald::conversation::set_preferences(old?, &first);
    store.update_conversation(&key("a:ada"), &mut rule).await.unwrap();
    assert_eq!(recall(&store, "a:ada").await.preferences, Some(second));
}

async fn a_group_chat_has_its_own_choices<S: Conversations>(store: S) {
    let mut group = personal("ada");
    group["conversation"] = json!({"id": "19:g@thread.v2", "conversationType": "groupChat", "isGroup": true, "tenantId": "tenant-1"});
    see(&store, &group, 0).await;
    choose(
        &store,
        &account("29:ada"),
        &PreferenceChange::All(Choice::OptedOut),
    )
    .await;
    assert_eq!(recall(&store, "19:g@thread.v2").await.preferences, None);
    let mut rule = |old: Option<&Conversation>| change_preferences(old?, &no_to("news"), at(1));
    store
        .update_conversation(&key("19:g@thread.v2"), &mut rule)
        .await
        .unwrap();
    assert!(!wants_news(&store, "19:g@thread.v2").await);
    // Later activities keep them.
    group["locale"] = json!("de-DE");
    group["serviceUrl"] = json!("https://smba.trafficmanager.net/amer/");
    see(&store, &group, 2).await;
    assert!(!wants_news(&store, "19:g@thread.v2").await);
}

async fn zone_and_quiet_hours_are_stored_with_the_choices<S: Conversations>(store: S) {
    see(&store, &personal("ada"), 0).await;
    let new = Preferences {
        zone: Zone::named("Europe/Berlin"),
        quiet_hours: Some(QuietChoice::Never),
        ..Preferences::default()
    };
    let stored = choose(
        &store,
        &entra("entra-ada"),
        &PreferenceChange::Replace(new.clone()),
    )
    .await;
    assert_eq!((&stored.zone, stored.quiet_hours), (&new.zone, new.quiet_hours));
    assert_eq!(recall(&store, "a:ada").await.preferences.as_ref(), Some(&stored));
    // By a word in the chat.
    let after = choose(&store, &account("29:ada"), &no_to("news")).await;
    assert_eq!((after.zone, after.quiet_hours), (new.zone, new.quiet_hours));
    assert!(!wants_news(&store, "a:ada").await);
}

async fn the_zone_of_a_person_is_learned_and_a_repetition_writes_nothing<S: Conversations>(store: S) {
    let zone = async || {
        let record = recall(&store, "a:ada").await;
        let listed = list(&store, &ConversationFilter::Tenant("tenant-1".to_owned()), 10)
            .await
            .0;
        let listed = listed.into_iter().find(|known| known.key == record.key).unwrap();
        assert_eq!(listed.zone, record.zone, "in the record and in lists");
        (record.zone.map(|zone| zone.to_string()), record.version)
    };
    see(&store, &personal("ada"), 0).await;
    assert_eq!(zone().await.0, None);
    let mut message = personal("ada");
    message["localTimezone"] = json!("Europe/Berlin");
    see(&store, &message, 1).await;
    let (learned, version) = zone().await;
    assert_eq!(learned.as_deref(), Some("Europe/Berlin"));
    // Again, and without a zone, and with one that is none.
    see(&store, &message, 2).await;
    see(&store, &personal("ada"), 3).await;
    message["localTimezone"] = json!("W. Europe Standard Time");
    see(&store, &message, 4).await;
    assert_eq!(zone().await, (learned, version));
    message["entities"] = json!([{"type": "clientInfo", "timezone": "asia/tokyo"}]);
    see(&store, &message, 5).await;
    assert_eq!(zone().await.0.as_deref(), Some("Asia/Tokyo"));
    // That of one member is not that of a group chat.
    let mut group = personal("eve");
    group["conversation"] = json!({"id": "19:g@thread.v2", "conversationType": "groupChat", "isGroup": true, "tenantId": "tenant-1"});
    group["localTimezone"] = json!("Europe/Berlin");
    see(&store, &group, 6).await;
    assert_eq!(recall(&store, "19:g@thread.v2").await.zone, None);
}
