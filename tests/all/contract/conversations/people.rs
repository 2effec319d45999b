//! The creation lease, and the links from people to conversations.

use botframework::id::UserRef;
use herald::conversation::{Creation, CreationLease, PersonKey};

use super::super::{at, on_every_backend};
use super::*;

on_every_backend! { conversations:
    one_worker_at_a_time_holds_the_creation_lease_until_it_expires,
    of_twenty_concurrent_workers_one_gets_the_creation_lease,
    a_created_conversation_is_found_by_every_later_worker,
    a_failed_creation_leaves_the_lease_to_the_next_worker,
    a_pending_installation_is_known_to_the_next_worker,
    a_created_conversation_is_not_unlinked_by_a_late_failure,
    a_person_is_linked_only_to_a_known_conversation,
    a_person_is_linked_to_the_latest_conversation,
    erasing_a_conversation_erases_only_its_own_links,
    an_erased_person_can_be_created_again,
    concurrent_creation_and_erasure_leave_no_dangling_link,
    links_of_people_are_not_listed_as_conversations,
    hostile_ids_of_people_do_not_collide,
}

const YOURS: CreationLease = CreationLease::Acquired {
    installing_since: None,
};

fn person(id: &str) -> PersonKey {
    PersonKey {
        channel: "msteams".into(),
        bot: "28:bot".into(),
        tenant: "tenant-1".into(),
        person: UserRef::Entra(id.into()),
    }
}

/// Asks for the creation lease at this second, for a minute.
async fn introduce<S: Conversations>(store: &S, person: &PersonKey, second: i64) -> CreationLease {
    let asked = store
        .acquire_creation_lease(person, at(second), at(second + 60))
        .await;
    asked.unwrap()
}

async fn introduced<S: Conversations>(store: &S, person: &PersonKey, made: &Creation) {
    store.finish_creation(person, made).await.unwrap();
}

/// Creates a conversation with a person and stores it.
async fn make<S: Conversations>(store: &S, person: &PersonKey, conversation: &str) {
    let url = "https://smba.trafficmanager.net/emea/";
    let observation = Observation::created(person, conversation.into(), url);
    store.remember(observation, at(1)).await.unwrap();
    introduced(store, person, &Creation::Conversation(key(conversation))).await;
}

async fn one_worker_at_a_time_holds_the_creation_lease_until_it_expires<S: Conversations>(store: S) {
    let ada = person("ada");
    assert_eq!(introduce(&store, &ada, 0).await, YOURS);
    for second in [0, 59] {
        let busy = CreationLease::HeldElsewhere { until: at(60) };
        assert_eq!(introduce(&store, &ada, second).await, busy);
    }
    assert_eq!(introduce(&store, &ada, 60).await, YOURS);
    let busy = CreationLease::HeldElsewhere { until: at(120) };
    assert_eq!(introduce(&store, &ada, 61).await, busy);
    assert_eq!(introduce(&store, &person("eve"), 61).await, YOURS);
}

async fn of_twenty_concurrent_workers_one_gets_the_creation_lease<S: Conversations>(store: S) {
    let ada = person("ada");
    for second in [0, 60] {
        let asked = join_all((0..20).map(|_| introduce(&store, &ada, second))).await;
        assert_eq!(asked.iter().filter(|asked| **asked == YOURS).count(), 1);
    }
}

async fn a_created_conversation_is_found_by_every_later_worker<S: Conversations>(store: S) {
    let ada = person("ada");
    introduce(&store, &ada, 0).await;
    for _ in 0..2 {
        make(&store, &ada, "a:ada").await;
        let known = CreationLease::Exists(key("a:ada"));
        assert_eq!(introduce(&store, &ada, 2).await, known);
    }
    let record = recall(&store, "a:ada").await;
    assert_eq!(record.version, 1);
    assert_eq!(record.attributes.user, Some("ada".into()));
}

async fn a_failed_creation_leaves_the_lease_to_the_next_worker<S: Conversations>(store: S) {
    let ada = person("ada");
    introduced(&store, &ada, &Creation::Nothing).await;
    for second in 0..3 {
        assert_eq!(introduce(&store, &ada, second).await, YOURS);
        introduced(&store, &ada, &Creation::Nothing).await;
        introduced(&store, &ada, &Creation::Nothing).await;
    }
}

async fn a_pending_installation_is_known_to_the_next_worker<S: Conversations>(store: S) {
    let ada = person("ada");
    introduce(&store, &ada, 0).await;
    introduced(&store, &ada, &Creation::InstallPending(at(1))).await;
    for second in [2, 60] {
        let waits = CreationLease::InstallPending { since: at(1) };
        assert_eq!(introduce(&store, &ada, second).await, waits);
    }
    for second in [61, 121] {
        // After the lease of a dead worker expires, the next holder learns that an installation is pending.
        let next = introduce(&store, &ada, second).await;
        let installing_since = Some(at(1));
        assert_eq!(next, CreationLease::Acquired { installing_since });
    }
    make(&store, &ada, "a:ada").await;
    let known = CreationLease::Exists(key("a:ada"));
    assert_eq!(introduce(&store, &ada, 200).await, known);
}

async fn a_created_conversation_is_not_unlinked_by_a_late_failure<S: Conversations>(store: S) {
    let ada = person("ada");
    introduce(&store, &ada, 0).await;
    make(&store, &ada, "a:ada").await;
    for late in [Creation::Nothing, Creation::InstallPending(at(1))] {
        introduced(&store, &ada, &late).await;
        let known = CreationLease::Exists(key("a:ada"));
        assert_eq!(introduce(&store, &ada, 2).await, known);
    }
}

async fn a_person_is_linked_only_to_a_known_conversation<S: Conversations>(store: S) {
    let ada = person("ada");
    introduce(&store, &ada, 0).await;
    introduced(&store, &ada, &Creation::Conversation(key("a:ada"))).await;
    assert_eq!(introduce(&store, &ada, 1).await, YOURS, "the lease is free again");
    make(&store, &ada, "a:ada").await;
    introduced(&store, &ada, &Creation::Conversation(key("a:never"))).await;
    let known = CreationLease::Exists(key("a:ada"));
    assert_eq!(introduce(&store, &ada, 2).await, known);
}

async fn a_person_is_linked_to_the_latest_conversation<S: Conversations>(store: S) {
    let ada = person("ada");
    make(&store, &ada, "a:old").await;
    make(&store, &ada, "a:new").await;
    let known = CreationLease::Exists(key("a:new"));
    assert_eq!(introduce(&store, &ada, 2).await, known);
    assert!(store.erase(&key("a:old")).await.unwrap());
    assert_eq!(introduce(&store, &ada, 2).await, known);
    assert!(store.erase(&key("a:new")).await.unwrap());
    assert_eq!(introduce(&store, &ada, 2).await, YOURS);
}

async fn erasing_a_conversation_erases_only_its_own_links<S: Conversations>(store: S) {
    // One person by three ids, of which the record has one; and a bot whose id starts like the other's.
    let other_bot = |id: &str| PersonKey {
        bot: "28:bot2".into(),
        ..person(id)
    };
    let elsewhere = PersonKey {
        tenant: "tenant-2".into(),
        ..person("ada")
    };
    let account = PersonKey {
        person: UserRef::Account("29:ada".into()),
        ..person("ada")
    };
    let names = [person("ada"), person("ADA"), elsewhere, account];
    for name in &names {
        make(&store, name, "a:ada").await;
    }
    make(&store, &person("eve"), "a:eve").await;
    let url = "https://smba.trafficmanager.net/emea/";
    let observation = Observation::created(&other_bot("ada"), "a:ada".into(), url);
    let other_key = observation.key.clone();
    store.remember(observation, at(1)).await.unwrap();
    introduced(
        &store,
        &other_bot("ada"),
        &Creation::Conversation(other_key.clone()),
    )
    .await;

    assert!(store.erase(&key("a:ada")).await.unwrap());
    for name in &names {
        assert_eq!(introduce(&store, name, 2).await, YOURS);
    }
    let eve = CreationLease::Exists(key("a:eve"));
    assert_eq!(introduce(&store, &person("eve"), 2).await, eve);
    let known = CreationLease::Exists(other_key);
    assert_eq!(introduce(&store, &other_bot("ada"), 2).await, known);
    assert!(!store.erase(&key("a:ada")).await.unwrap());
}

async fn an_erased_person_can_be_created_again<S: Conversations>(store: S) {
    let ada = person("ada");
    for _ in 0..2 {
        assert_eq!(introduce(&store, &ada, 0).await, YOURS);
        make(&store, &ada, "a:ada").await;
        assert!(store.erase(&key("a:ada")).await.unwrap());
    }
}

async fn concurrent_creation_and_erasure_leave_no_dangling_link<S: Conversations>(store: S) {
    let ada = key("a:ada");
    for round in 0..10 {
        let names: Vec<PersonKey> = (0..10)
            .map(|number| person(&format!("{round}-{number}")))
            .collect();
        hear(&store, &personal("ada"), 0).await;
        let made = Creation::Conversation(ada.clone());
        let making = join_all(names.iter().map(|name| introduced(&store, name, &made)));
        let (_, erased) = futures_util::future::join(making, store.erase(&ada)).await;
        assert!(erased.unwrap());
        for name in &names {
            assert_eq!(introduce(&store, name, 2).await, YOURS);
        }
    }
}

async fn links_of_people_are_not_listed_as_conversations<S: Conversations>(store: S) {
    for number in 0..20 {
        let person = person(&format!("p{number}"));
        introduce(&store, &person, 0).await;
        if number % 2 == 0 {
            make(&store, &person, &format!("a:p{number}")).await;
        }
    }
    for segments in [1, 3] {
        let mut found = Vec::new();
        for segment in 0..segments {
            let everyone = ConversationFilter::Everyone { segment, segments };
            found.extend(list(&store, &everyone, 3).await.0);
        }
        assert_eq!(found.len(), 10);
    }
    for selection in [
        ConversationFilter::Conversation("a:p0".into()),
        ConversationFilter::User("p0".into()),
    ] {
        assert_eq!(list(&store, &selection, 3).await.0.len(), 1, "{selection:?}");
    }
    let user = ConversationFilter::User("p1".into());
    assert_eq!(list(&store, &user, 3).await.0, []);
}

async fn hostile_ids_of_people_do_not_collide<S: Conversations>(store: S) {
    let longest = [1, 2].map(|last| format!("{}{last}", "ü".repeat(2000)));
    let hostile = [
        "a|b",
        "a%7Cb",
        "u|user|u",
        "",
        "#\"\\ \u{1F980}",
        &longest[0],
        &longest[1],
    ];
    let mut people = Vec::new();
    for id in hostile {
        people.push(person(id));
        people.push(PersonKey {
            person: UserRef::Account(id.into()),
            ..person("")
        });
        people.push(PersonKey {
            tenant: id.into(),
            ..person("u")
        });
    }
    for (number, person) in people.iter().enumerate() {
        assert_eq!(introduce(&store, person, 0).await, YOURS, "{person:?}");
        let id = format!("tag|{number}");
        let mut message = personal("x");
        message["conversation"]["id"] = json!(id);
        hear(&store, &message, 0).await;
        introduced(&store, person, &Creation::Conversation(key(&id))).await;
    }
    for (number, person) in people.iter().enumerate() {
        let id = format!("tag|{number}");
        let known = CreationLease::Exists(key(&id));
        assert_eq!(introduce(&store, person, 1).await, known, "{person:?}");
        assert!(store.erase(&key(&id)).await.unwrap());
    }
    for person in &people {
        assert_eq!(introduce(&store, person, 1).await, YOURS, "{person:?}");
    }
}
