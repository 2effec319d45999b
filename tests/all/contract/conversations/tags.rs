//! Tags, and erasure.

use super::super::{at, on_every_backend};
use super::*;

on_every_backend! { conversations:
    a_tagged_conversation_is_listed_with_its_tags,
    tagging_again_or_with_nothing_writes_nothing,
    a_tag_beyond_the_limit_is_not_added,
    concurrent_tags_are_all_stored,
    activities_do_not_change_tags,
    a_tag_is_listed_page_by_page_in_every_state,
    tags_are_distinct_and_unknown_conversations_are_not_tagged,
    a_replacement_has_the_tags_and_another_channel_does_not,
    links_and_tags_are_not_listed_among_everyone,
    an_erased_conversation_is_in_no_listing,
    a_conversation_that_returns_after_erasure_is_new,
    erasing_twice_changes_nothing,
    concurrent_erasure_and_tagging_leave_no_partial_record,
    hostile_tags_and_ids_are_stored_unchanged,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

async fn tag<S: Conversations>(
    store: &S,
    conversation: &str,
    add: &[&str],
    remove: &[&str],
) -> Option<Vec<String>> {
    store
        .tag(&key(conversation), &words(add), &words(remove), at(1))
        .await
        .unwrap()
}

async fn tagged<S: Conversations>(store: &S, name: &str) -> Vec<ConversationSummary> {
    list(store, &ConversationFilter::Tag(name.into()), 10).await.0
}

async fn a_tagged_conversation_is_listed_with_its_tags<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    hear(&store, &thread("19:channel", "5", "19:team"), 0).await;
    let tags = tag(&store, "a:ada", &["vip", "beta"], &["never"]).await;
    assert_eq!(tags, Some(words(&["beta", "vip"])), "sorted");
    tag(&store, "19:channel;messageid=5", &["vip"], &[]).await;
    assert_eq!(
        ids(&tagged(&store, "vip").await),
        ["19:channel;messageid=5", "a:ada"]
    );
    let record = recall(&store, "a:ada").await;
    assert_eq!(
        (record.version, record.changed_at),
        (2, at(0)),
        "a tag is no change of state"
    );
    assert_eq!(record.attributes.tags, words(&["beta", "vip"]));
    // Every kind of listing shows the tags, whatever the state.
    store.mark_removed(&key("a:ada"), at(2)).await.unwrap();
    for selection in [
        ConversationFilter::Everyone {
            segment: 0,
            segments: 1,
        },
        ConversationFilter::Tenant("tenant-1".into()),
        ConversationFilter::User("entra-ada".into()),
        ConversationFilter::Account("29:ada".into()),
        ConversationFilter::Conversation("a:ada".into()),
        ConversationFilter::Tag("beta".into()),
        ConversationFilter::Removed,
    ] {
        let (found, _) = list(&store, &selection, 10).await;
        let ada = found.iter().find(|found| found.key == key("a:ada")).unwrap();
        assert_eq!(ada.attributes.tags, words(&["beta", "vip"]), "{selection:?}");
        assert_eq!((&ada.state, ada.changed_at), (&State::Removed, at(2)));
    }
    let (team, _) = list(&store, &ConversationFilter::Team("19:team".into()), 10).await;
    let tags: Vec<_> = team.iter().map(|found| found.attributes.tags.len()).collect();
    assert_eq!(tags.iter().sum::<usize>(), 1);
    let left = tag(&store, "a:ada", &[], &["vip"]).await;
    assert_eq!(left, Some(words(&["beta"])));
    assert_eq!(ids(&tagged(&store, "vip").await), ["19:channel;messageid=5"]);
    assert_eq!(ids(&tagged(&store, "beta").await), ["a:ada"]);
}

async fn tagging_again_or_with_nothing_writes_nothing<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    assert_eq!(tag(&store, "a:ada", &[], &["vip"]).await, Some(Vec::new()));
    assert_eq!(recall(&store, "a:ada").await.version, 1);
    tag(&store, "a:ada", &["vip"], &[]).await;
    let before = recall(&store, "a:ada").await;
    tag(&store, "a:ada", &["vip", "vip"], &["other"]).await;
    tag(&store, "a:ada", &["vip"], &["vip"]).await;
    assert_eq!(recall(&store, "a:ada").await, before);
    assert_eq!(ids(&tagged(&store, "vip").await), ["a:ada"]);
}

async fn a_tag_beyond_the_limit_is_not_added<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let names: Vec<String> = (10..10 + TAGS_MAX + 3).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let kept = tag(&store, "a:ada", &names, &[]).await.unwrap();
    assert_eq!(kept, words(&names[..TAGS_MAX]));
    assert_eq!(tagged(&store, names[TAGS_MAX]).await, []);
    // As many are removed as added.
    let others: Vec<String> = names.iter().map(|name| format!("x{name}")).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let kept = tag(&store, "a:ada", &others, &names).await.unwrap();
    assert_eq!(kept, words(&others[..TAGS_MAX]));
    assert_eq!(tagged(&store, names[0]).await, []);
    assert_eq!(ids(&tagged(&store, others[0]).await), ["a:ada"]);
}

async fn concurrent_tags_are_all_stored<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let names: Vec<String> = (10..10 + TAGS_MAX).map(|number| number.to_string()).collect();
    let tagging = names.iter().map(|name| {
        let store = &store;
        async move { tag(store, "a:ada", &[name], &[]).await }
    });
    let message = with(personal("ada"), "locale", json!("fr-FR"));
    let hearing = hear(&store, &message, 3);
    futures_util::future::join(join_all(tagging), hearing).await;
    let record = recall(&store, "a:ada").await;
    assert_eq!(record.attributes.tags, names);
    assert_eq!(record.reference.locale.as_deref(), Some("fr-FR"));
    for name in &names {
        assert_eq!(ids(&tagged(&store, name).await), ["a:ada"]);
    }
}

async fn activities_do_not_change_tags<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    tag(&store, "a:ada", &["vip"], &[]).await;
    store.mark_removed(&key("a:ada"), at(2)).await.unwrap();
    assert_eq!(tagged(&store, "vip").await[0].state, State::Removed);
    hear(&store, &personal("ada"), 3).await;
    block(&store, "a:ada", "ConversationBlockedByUser", 4).await;
    let found = tagged(&store, "vip").await;
    assert!(matches!(found[0].state, State::Blocked { .. }));
    assert_eq!(recall(&store, "a:ada").await.attributes.tags, words(&["vip"]));
}

async fn a_tag_is_listed_page_by_page_in_every_state<S: Conversations>(store: S) {
    let mut expected = BTreeSet::new();
    for number in 0..25 {
        let name = format!("p{number}");
        hear(&store, &personal(&name), 0).await;
        let id = format!("a:{name}");
        tag(&store, &id, &["vip"], &[]).await;
        match number % 5 {
            0 => {
                store.erase(&key(&id)).await.unwrap();
            }
            1 => {
                tag(&store, &id, &[], &["vip"]).await;
            }
            2 => {
                store.mark_removed(&key(&id), at(2)).await.unwrap();
                expected.insert(id);
            }
            _ => {
                expected.insert(id);
            }
        }
    }
    for limit in [4, 100] {
        let (found, pages) = list(&store, &ConversationFilter::Tag("vip".into()), limit).await;
        assert_eq!(
            ids(&found),
            expected.iter().map(String::as_str).collect::<Vec<_>>()
        );
        assert_eq!(pages > 1, limit == 4);
    }
    for cursor in ["", "[\"a\"]"] {
        let listed = store
            .list(&ConversationFilter::Tag("vip".into()), Some(cursor), 10)
            .await;
        assert!(matches!(listed, Err(Error::Corrupt { .. })), "{cursor}");
    }
}

async fn tags_are_distinct_and_unknown_conversations_are_not_tagged<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    tag(&store, "a:ada", &["vip"], &[]).await;
    for other in ["vi", "vip ", "VIP", "vip|", ""] {
        assert_eq!(tagged(&store, other).await, []);
    }
    assert_eq!(tag(&store, "a:eve", &["vip"], &[]).await, None);
    assert!(store.get_many(&[key("a:eve")]).await.unwrap().is_empty());
    assert_eq!(ids(&tagged(&store, "vip").await), ["a:ada"]);
}

async fn a_replacement_has_the_tags_and_another_channel_does_not<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    tag(&store, "a:ada", &["vip"], &[]).await;
    let successor = Observation::replacement(&recall(&store, "a:ada").await, "a:new".into());
    store.remember(successor, at(2)).await.unwrap();
    assert_eq!(ids(&tagged(&store, "vip").await), ["a:ada", "a:new"]);
    let tags = tag(&store, "a:new", &[], &["vip"]).await;
    assert_eq!(tags, Some(Vec::new()));
    assert_eq!(ids(&tagged(&store, "vip").await), ["a:ada"]);
    hear(&store, &thread("19:general", "5", "19:general"), 0).await;
    tag(&store, "19:general", &["news"], &[]).await;
    let beside = Observation::sibling_channel(&recall(&store, "19:general").await, "19:random".into());
    store.remember(beside, at(2)).await.unwrap();
    assert_eq!(ids(&tagged(&store, "news").await), ["19:general"]);
}

async fn links_and_tags_are_not_listed_among_everyone<S: Conversations>(store: S) {
    let mut expected = Vec::new();
    for number in 10..40 {
        let name = format!("p{number}");
        hear(&store, &personal(&name), 0).await;
        let id = format!("a:{name}");
        tag(&store, &id, &["a", "b", "c"], &[]).await;
        expected.push(id);
    }
    for segments in [1, 3] {
        let mut found = Vec::new();
        for segment in 0..segments {
            let everyone = ConversationFilter::Everyone { segment, segments };
            found.extend(list(&store, &everyone, 7).await.0);
        }
        assert_eq!(ids(&found), expected);
    }
}

async fn an_erased_conversation_is_in_no_listing<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    let other_bot = with(personal("ada"), "recipient", json!({"id": "28:bot2"}));
    hear(&store, &other_bot, 0).await;
    tag(&store, "a:ada", &["vip", "beta"], &[]).await;
    store.mark_removed(&key("a:ada"), at(2)).await.unwrap();
    assert!(store.erase(&key("a:ada")).await.unwrap());
    assert!(store.get_many(&[key("a:ada")]).await.unwrap().is_empty());
    for selection in [
        ConversationFilter::Tag("vip".into()),
        ConversationFilter::Tag("beta".into()),
        ConversationFilter::Removed,
    ] {
        assert_eq!(list(&store, &selection, 10).await.0, [], "{selection:?}");
    }
    for selection in [
        ConversationFilter::Everyone {
            segment: 0,
            segments: 1,
        },
        ConversationFilter::Tenant("tenant-1".into()),
        ConversationFilter::User("entra-ada".into()),
        ConversationFilter::Account("29:ada".into()),
        ConversationFilter::Conversation("a:ada".into()),
    ] {
        let (found, _) = list(&store, &selection, 10).await;
        let bots: Vec<_> = found.iter().map(|found| found.key.bot.as_str()).collect();
        assert_eq!(bots, ["28:bot2"], "another bot's stays: {selection:?}");
    }
}

async fn a_conversation_that_returns_after_erasure_is_new<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    tag(&store, "a:ada", &["vip"], &[]).await;
    store.erase(&key("a:ada")).await.unwrap();
    assert_eq!(hear(&store, &personal("ada"), 5).await, [Upsert::Created]);
    let record = recall(&store, "a:ada").await;
    assert_eq!((record.version, record.remembered_at), (1, at(5)));
    assert_eq!(record.attributes.tags, Vec::<String>::new());
    assert_eq!(tagged(&store, "vip").await, []);
}

async fn erasing_twice_changes_nothing<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    assert!(!store.erase(&key("a:eve")).await.unwrap());
    assert!(store.erase(&key("a:ada")).await.unwrap());
    assert!(!store.erase(&key("a:ada")).await.unwrap());
    hear(&store, &personal("ada"), 0).await;
    let ada = key("a:ada");
    let erased = join_all((0..20).map(|_| store.erase(&ada))).await;
    assert!(erased.into_iter().any(Result::unwrap));
    assert!(store.get_many(&[ada]).await.unwrap().is_empty());
}

async fn concurrent_erasure_and_tagging_leave_no_partial_record<S: Conversations>(store: S) {
    for number in 0..20 {
        let name = format!("p{number}");
        let id = format!("a:{name}");
        hear(&store, &personal(&name), 0).await;
        let tagging = join_all(["x", "y", "z"].map(|word| {
            let (store, id) = (&store, &id);
            async move { tag(store, id, &[word], &[]).await }
        }));
        let key = key(&id);
        let (_, erased) = futures_util::future::join(tagging, store.erase(&key)).await;
        assert!(erased.unwrap());
        // A tag that came after the erasure was not added, and a new record has no old tags.
        hear(&store, &personal(&name), 1).await;
        assert_eq!(recall(&store, &id).await.attributes.tags, Vec::<String>::new());
    }
    for word in ["x", "y", "z"] {
        assert_eq!(tagged(&store, word).await, []);
    }
}

/// Checks the raw table, which also has items that no listing shows.
#[tokio::test]
async fn concurrent_erasure_and_tagging_leave_no_item_in_the_table() {
    let database = tests::database::Database::start().await;
    let store = database.conversations();
    for number in 0..30 {
        let name = format!("p{number}");
        let (id, key) = (format!("a:{name}"), key(&format!("a:{name}")));
        hear(&store, &personal(&name), 0).await;
        let (_, erased) =
            futures_util::future::join(tag(&store, &id, &["x", "y"], &[]), Box::pin(store.erase(&key))).await;
        assert!(erased.unwrap());
        assert_eq!(database.items_of_conversations(), 0);
    }
}

async fn hostile_tags_and_ids_are_stored_unchanged<S: Conversations>(store: S) {
    let longest = "ü".repeat(ID_BYTES_MAX / 2);
    let other = format!("{}y", &longest[..ID_BYTES_MAX - 2]);
    let hostile = [
        // It starts like the key of a link.
        "tag|vip",
        "tag|tag|vip",
        "person|msteams|28:bot|t|user|u",
        "a|b|c",
        "#head\"\\ \u{1F980}",
        // Too long for a sort key together with the bot.
        longest.as_str(),
        other.as_str(),
    ];
    for id in hostile {
        let mut message = personal("x");
        message["conversation"]["id"] = json!(id);
        hear(&store, &message, 0).await;
        assert_eq!(
            tag(&store, id, &["vip", "#\"|%\\ \u{1F980}"], &[])
                .await
                .unwrap()
                .len(),
            2
        );
    }
    let mut expected = hostile.to_vec();
    expected.sort_unstable();
    for name in ["vip", "#\"|%\\ \u{1F980}"] {
        assert_eq!(
            ids(&list(&store, &ConversationFilter::Tag(name.into()), 2).await.0),
            expected
        );
    }
    assert_eq!(tagged(&store, "tag|vip").await, []);
    for id in hostile {
        assert_eq!(
            ids(&list(&store, &ConversationFilter::Conversation(id.into()), 2)
                .await
                .0),
            [id]
        );
        assert!(store.erase(&key(id)).await.unwrap(), "{id}");
    }
    assert_eq!(tagged(&store, "vip").await, []);
    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    assert_eq!(list(&store, &everyone, 2).await.0, []);
}
