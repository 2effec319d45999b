//! The cache of rosters.

use herald::roster_cache::{CachedRoster, Member, RosterPage, RosterQuery, TeamKey};

use super::super::{at, on_every_backend};
use super::*;

on_every_backend! { conversations:
    a_cached_roster_is_used_until_its_ttl,
    a_change_of_a_team_invalidates_its_cached_rosters,
    a_roster_queried_before_a_change_is_not_used_after_it,
    each_team_and_each_query_has_its_own_cached_roster,
    a_thousand_channels_and_hostile_tokens_are_cached,
    a_cached_roster_is_not_listed_as_a_conversation,
}

fn team(name: &str) -> TeamKey {
    TeamKey {
        channel: "msteams".to_owned(),
        bot: "28:bot".into(),
        team: name.to_owned(),
    }
}

fn members(names: &[&str], next: Option<&str>) -> RosterPage {
    let member = |name: &&str| Member {
        tenant: None,
        id: format!("29:{name}").as_str().into(),
        user: Some(format!("entra-{name}").as_str().into()),
        role: Some("user".to_owned()),
    };
    RosterPage::Members {
        page: names.iter().map(member).collect(),
        next: next.map(str::to_owned),
    }
}

fn page(after: Option<&str>) -> RosterQuery {
    RosterQuery::Members {
        after: after.map(str::to_owned),
    }
}

async fn told<S: Conversations>(store: &S, name: &str, question: &RosterQuery, second: i64) -> CachedRoster {
    store
        .cached_roster(&team(name), question, at(second))
        .await
        .unwrap()
}

async fn a_cached_roster_is_used_until_its_ttl<S: Conversations>(store: S) {
    let question = page(None);
    let nothing = CachedRoster {
        generation: 0,
        page: None,
    };
    assert_eq!(told(&store, "19:t", &question, 0).await, nothing);
    let answer = members(&["ada", "eve"], Some("next"));
    store
        .cache_roster(&team("19:t"), 0, &question, &answer, at(60))
        .await
        .unwrap();
    assert_eq!(told(&store, "19:t", &question, 59).await.page, Some(answer));
    assert_eq!(told(&store, "19:t", &question, 60).await, nothing);
    // The latest roster wins.
    let later = members(&["ada"], None);
    store
        .cache_roster(&team("19:t"), 0, &question, &later, at(99))
        .await
        .unwrap();
    assert_eq!(told(&store, "19:t", &question, 60).await.page, Some(later));
}

async fn a_change_of_a_team_invalidates_its_cached_rosters<S: Conversations>(store: S) {
    let question = RosterQuery::Channels;
    let answer = RosterPage::Channels(vec!["19:t".into(), "19:c".into()]);
    store
        .cache_roster(&team("19:t"), 0, &question, &answer, at(60))
        .await
        .unwrap();
    store.invalidate_roster(&team("19:other")).await.unwrap();
    assert_eq!(
        told(&store, "19:t", &question, 1).await.page,
        Some(answer.clone())
    );
    store.invalidate_roster(&team("19:t")).await.unwrap();
    let CachedRoster {
        generation,
        page: none,
    } = told(&store, "19:t", &question, 1).await;
    assert_eq!((generation, none), (1, None));
    store
        .cache_roster(&team("19:t"), generation, &question, &answer, at(60))
        .await
        .unwrap();
    assert_eq!(told(&store, "19:t", &question, 1).await.page, Some(answer));
}

async fn a_roster_queried_before_a_change_is_not_used_after_it<S: Conversations>(store: S) {
    let question = page(None);
    let before = told(&store, "19:t", &question, 0).await.generation;
    join_all((0..5).map(|_| async { store.invalidate_roster(&team("19:t")).await.unwrap() })).await;
    let old = members(&["gone"], None);
    store
        .cache_roster(&team("19:t"), before, &question, &old, at(60))
        .await
        .unwrap();
    let after = told(&store, "19:t", &question, 0).await;
    assert_eq!((after.generation, after.page), (5, None));
}

async fn each_team_and_each_query_has_its_own_cached_roster<S: Conversations>(store: S) {
    let other_bot = TeamKey {
        bot: "28:other".into(),
        ..team("19:t")
    };
    let teams = [team("19:t"), team("19:u"), other_bot];
    let questions = [
        RosterQuery::Channels,
        page(None),
        page(Some("")),
        page(Some("a")),
        page(Some("b")),
    ];
    for (number, team) in teams.iter().enumerate() {
        for question in &questions {
            let answer = members(&[&format!("{number}{question}")], None);
            store
                .cache_roster(team, 0, question, &answer, at(60))
                .await
                .unwrap();
        }
    }
    for (number, team) in teams.iter().enumerate() {
        for question in &questions {
            let answer = members(&[&format!("{number}{question}")], None);
            assert_eq!(
                store.cached_roster(team, question, at(0)).await.unwrap().page,
                Some(answer)
            );
        }
    }
}

async fn a_thousand_channels_and_hostile_tokens_are_cached<S: Conversations>(store: S) {
    let channels = (0..1_000).map(|number| {
        format!("19:{}{number}@thread.tacv2", "x".repeat(60))
            .as_str()
            .into()
    });
    let answer = RosterPage::Channels(channels.collect());
    let hostile = team(&format!("19:{}|#%\"\u{1F980}", "ü".repeat(ID_BYTES_MAX / 2 - 20)));
    for question in [RosterQuery::Channels, page(Some(&"|#\"\u{1F980}".repeat(2_000)))] {
        store
            .cache_roster(&hostile, 0, &question, &answer, at(60))
            .await
            .unwrap();
        let told = store.cached_roster(&hostile, &question, at(0)).await.unwrap();
        assert_eq!(told.page.as_ref(), Some(&answer));
    }
    store.invalidate_roster(&hostile).await.unwrap();
    assert_eq!(
        store
            .cached_roster(&hostile, &RosterQuery::Channels, at(0))
            .await
            .unwrap()
            .generation,
        1
    );
}

async fn a_cached_roster_is_not_listed_as_a_conversation<S: Conversations>(store: S) {
    store.invalidate_roster(&team("19:t")).await.unwrap();
    let answer = members(&["ada"], None);
    store
        .cache_roster(&team("19:t"), 1, &page(None), &answer, at(60))
        .await
        .unwrap();
    for selection in [
        ConversationFilter::Everyone {
            segment: 0,
            segments: 1,
        },
        ConversationFilter::User("entra-ada".into()),
        ConversationFilter::Account("29:ada".into()),
        ConversationFilter::Team("19:t".into()),
        ConversationFilter::Conversation("team|msteams|28:bot|19:t".into()),
    ] {
        assert_eq!(list(&store, &selection, 10).await.0, [], "{selection:?}");
    }
}

/// Items that an erasure does not delete have a TTL.
#[tokio::test]
async fn an_erased_person_remains_only_in_cached_rosters_with_a_ttl() {
    let database = tests::database::Database::start().await;
    let store = database.conversations();
    for name in ["ada", "eve"] {
        hear(&store, &personal(name), 0).await;
        let tags = ["vip".to_owned(), "beta".to_owned()];
        store
            .tag(&key(&format!("a:{name}")), &tags, &[], at(1))
            .await
            .unwrap();
    }
    let both = members(&["ada", "eve"], Some("next"));
    let until = at(3_600);
    store
        .cache_roster(&team("19:t"), 0, &page(None), &both, until)
        .await
        .unwrap();
    store.invalidate_roster(&team("19:t")).await.unwrap();
    assert_eq!(database.expiries_of_conversations_naming("ada").len(), 4);
    assert!(store.erase(&key("a:ada")).await.unwrap());
    let told = [Some(until.as_second())];
    assert_eq!(database.expiries_of_conversations_naming("ada"), told);
    assert_eq!(database.expiries_of_conversations_naming("eve").len(), 4);
}
