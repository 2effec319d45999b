//! Imports of conversations from another system.

use botframework::cloud::Cloud;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use herald::conversation::{Export, Import};

use super::super::{at, on_every_backend};
use super::*;

on_every_backend! { conversations:
    an_import_is_read_unchanged_and_found_by_its_attributes,
    importing_twice_writes_nothing,
    concurrent_imports_make_one_record,
    an_import_does_not_reactivate_a_conversation,
    an_import_adds_only_unknown_attributes,
    an_imported_record_is_listed_under_its_tags,
    an_export_imported_elsewhere_is_the_same_record,
}

const EMEA: &str = "https://smba.trafficmanager.net/emea/";
const AMER: &str = "https://smba.trafficmanager.net/amer/";

fn read(document: Value) -> Vec<Import> {
    let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
    Import::read(document.into(), &trust).unwrap()
}

async fn bring<S: Conversations>(store: &S, document: Value, second: i64) -> Vec<Upsert> {
    let mut brought = Vec::new();
    for import in read(document) {
        brought.push(store.import(import, at(second)).await.unwrap());
    }
    brought
}

/// A reference as a classic SDK stores it.
fn reference(name: &str) -> Value {
    json!({
        "activityId": "7", "channelId": "msteams", "serviceUrl": EMEA, "locale": "de-DE",
        "user": {"id": format!("29:{name}"), "aadObjectId": format!("entra-{name}"), "name": "Ada"},
        "bot": {"id": "28:bot", "name": "Bot"},
        "conversation": {"id": format!("a:{name}"), "conversationType": "personal", "tenantId": "tenant-1"},
        "novel": {"kept": null, "price": 1.10},
    })
}

async fn an_import_is_read_unchanged_and_found_by_its_attributes<S: Conversations>(store: S) {
    assert_eq!(bring(&store, reference("ada"), 7).await, [Upsert::Created]);
    let record = recall(&store, "a:ada").await;
    let mut expected = reference("ada");
    expected.as_object_mut().unwrap().remove("activityId");
    assert_eq!(serde_json::to_value(&record.reference).unwrap(), expected);
    assert_eq!((record.state, record.version), (State::Active, 1));
    assert_eq!(record.service_urls, [EMEA]);
    assert_eq!((record.remembered_at, record.changed_at), (at(7), at(7)));
    for selection in [
        ConversationFilter::Tenant("tenant-1".into()),
        ConversationFilter::User("entra-ada".into()),
        ConversationFilter::Account("29:ada".into()),
    ] {
        assert_eq!(ids(&list(&store, &selection, 10).await.0), ["a:ada"]);
    }
}

async fn importing_twice_writes_nothing<S: Conversations>(store: S) {
    bring(&store, reference("ada"), 0).await;
    let before = recall(&store, "a:ada").await;
    assert_eq!(bring(&store, reference("ada"), 9).await, [Upsert::Unchanged]);
    assert_eq!(recall(&store, "a:ada").await, before);
    // Nor does an import after an activity with the same facts.
    hear(&store, &personal("ada"), 10).await;
    let before = recall(&store, "a:ada").await;
    assert_eq!(bring(&store, reference("ada"), 11).await, [Upsert::Unchanged]);
    assert_eq!(recall(&store, "a:ada").await, before);
}

async fn concurrent_imports_make_one_record<S: Conversations>(store: S) {
    let brought = join_all((0..12).map(|number| {
        let mut document = reference("ada");
        document[format!("novel{number}")] = json!(number);
        bring(&store, document, 0)
    }))
    .await;
    let new = brought.iter().flatten().filter(|it| **it == Upsert::Created);
    assert_eq!(new.count(), 1);
    let record = serde_json::to_value(recall(&store, "a:ada").await.reference).unwrap();
    for number in 0..12 {
        assert_eq!(record[format!("novel{number}")], number);
    }
}

async fn an_import_does_not_reactivate_a_conversation<S: Conversations>(store: S) {
    for (name, second) in [("gone", 1), ("blocked", 2)] {
        hear(&store, &personal(name), 0).await;
        if name == "gone" {
            store.mark_removed(&key("a:gone"), at(second)).await.unwrap();
        } else {
            block(&store, "a:blocked", "ConversationBlockedByUser", second).await;
        }
        let before = recall(&store, &format!("a:{name}")).await.state;
        let mut document = reference(name);
        document["novel"] = json!("anything");
        bring(&store, document, 5).await;
        assert_eq!(recall(&store, &format!("a:{name}")).await.state, before, "{name}");
    }
    // An import of a removed conversation does not remove an active one.
    hear(&store, &personal("ada"), 0).await;
    bring(
        &store,
        json!({"reference": reference("ada"), "state": "removed"}),
        5,
    )
    .await;
    assert_eq!(recall(&store, "a:ada").await.state, State::Active);
}

async fn an_import_adds_only_unknown_attributes<S: Conversations>(store: S) {
    let mut heard = personal("ada");
    heard["from"] = json!({"id": "29:ada"});
    heard["serviceUrl"] = json!(AMER);
    hear(&store, &heard, 0).await;
    assert_eq!(bring(&store, reference("ada"), 5).await, [Upsert::Changed]);
    let record = recall(&store, "a:ada").await;
    assert_eq!(record.service_urls, [AMER, EMEA], "what was heard of leads");
    assert_eq!(record.attributes.user, Some("entra-ada".into()));
    let reference = serde_json::to_value(&record.reference).unwrap();
    assert_eq!(
        (&reference["locale"], &reference["serviceUrl"]),
        (&json!("en-GB"), &json!(AMER))
    );
    assert_eq!(reference["novel"], json!({"kept": null, "price": 1.10}));
    assert_eq!(
        (record.remembered_at, record.changed_at, record.version),
        (at(0), at(0), 2)
    );
    // The author of the last message in a channel is not a part of its record.
    hear(&store, &thread("19:channel", "5", "19:team"), 0).await;
    let before = recall(&store, "19:channel").await;
    let mut of_channel = self::reference("eve");
    of_channel["conversation"] = json!({"id": "19:channel", "conversationType": "channel"});
    of_channel.as_object_mut().unwrap().remove("novel");
    of_channel["bot"] = json!({"id": "28:bot"});
    assert_eq!(bring(&store, of_channel, 5).await, [Upsert::Unchanged]);
    assert_eq!(recall(&store, "19:channel").await, before);
}

async fn an_imported_record_is_listed_under_its_tags<S: Conversations>(store: S) {
    let record = |name: &str, tags: &[&str]| json!({"reference": reference(name), "tags": tags});
    bring(&store, record("ada", &["vip", "beta", "vip"]), 0).await;
    assert_eq!(recall(&store, "a:ada").await.attributes.tags, ["beta", "vip"]);
    hear(&store, &personal("eve"), 0).await;
    store
        .tag(&key("a:eve"), &["own".to_owned()], &[], at(1))
        .await
        .unwrap();
    bring(&store, record("eve", &["vip"]), 2).await;
    // The tags of a known record are kept: a caller may have removed the imported ones.
    assert_eq!(recall(&store, "a:eve").await.attributes.tags, ["own"]);
    let vip = ConversationFilter::Tag("vip".into());
    assert_eq!(ids(&list(&store, &vip, 10).await.0), ["a:ada"]);
    assert!(store.erase(&key("a:ada")).await.unwrap());
    assert_eq!(ids(&list(&store, &vip, 10).await.0), [""; 0]);
}

async fn an_export_imported_elsewhere_is_the_same_record<S: Conversations>(store: S) {
    hear(&store, &personal("ada"), 0).await;
    hear(
        &store,
        &with(
            personal("ada"),
            "serviceUrl",
            json!("https://smba.trafficmanager.net/in/"),
        ),
        1,
    )
    .await;
    store
        .tag(&key("a:ada"), &["vip".to_owned()], &[], at(1))
        .await
        .unwrap();
    hear(&store, &thread("19:channel", "5", "19:team"), 0).await;
    hear(&store, &personal("gone"), 0).await;
    store.mark_removed(&key("a:gone"), at(1)).await.unwrap();
    hear(&store, &personal("blocked"), 0).await;
    block(&store, "a:blocked", "MessageWritesBlocked", 1).await;
    // A created conversation: the channel's account id of the person is not known.
    let zoe = herald::conversation::PersonKey {
        channel: "msteams".into(),
        bot: "28:bot".into(),
        tenant: "tenant-1".into(),
        person: botframework::id::UserRef::Entra("entra-zoe".into()),
    };
    store
        .remember(Observation::created(&zoe, "a:zoe".into(), EMEA), at(2))
        .await
        .unwrap();

    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    let exported = |found: Vec<ConversationSummary>, store: S| async move {
        let mut lines = Vec::new();
        for found in found {
            let record = store.get_many(&[found.key]).await.unwrap().remove(0);
            lines.push(serde_json::to_string(&Export::from(&record)).unwrap());
        }
        lines.sort();
        lines
    };
    let (found, _) = list(&store, &everyone, 10).await;
    assert_eq!(found.len(), 6);
    let lines = exported(found.clone(), store.clone()).await;
    for found in found {
        assert!(store.erase(&found.key).await.unwrap());
    }
    assert_eq!(list(&store, &everyone, 10).await.0, []);
    for line in &lines {
        let brought = bring(&store, serde_json::from_str(line).unwrap(), 9).await;
        assert_eq!(brought, [Upsert::Created]);
    }
    let (found, _) = list(&store, &everyone, 10).await;
    assert_eq!(exported(found, store.clone()).await, lines);
    assert_eq!(
        ids(&list(&store, &ConversationFilter::Removed, 10).await.0),
        ["a:gone"]
    );
    assert_eq!(
        ids(&list(&store, &ConversationFilter::Blocked, 10).await.0),
        ["a:blocked"]
    );
    let team = ConversationFilter::Team("19:team".into());
    assert_eq!(list(&store, &team, 10).await.0.len(), 2);
}
