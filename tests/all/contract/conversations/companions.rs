//! Several conversations of one person, and turns that run once.

use herald::companions;
use herald::conversation::{Precedence, Product, TurnClaim, TurnKey};

use super::super::{at, on_every_backend};
use super::*;

on_every_backend! { conversations:
    companions_get_their_preference_whichever_is_stored_first,
    a_person_with_one_conversation_has_no_precedence,
    an_import_finds_companions,
    companions_of_another_bot_or_tenant_do_not_count,
    of_many_claims_of_a_turn_one_is_acquired,
    a_turn_is_claimed_again_after_a_failure_or_a_death,
}

fn in_copilot(name: &str) -> Value {
    let mut message = personal(name);
    message["conversation"]["id"] = json!(format!("a:{name}-copilot"));
    message["entities"] = json!([{"type": "ProductInfo", "id": "COPILOT"}]);
    message
}

async fn see<S: Conversations>(store: &S, activity: &Value, second: i64) {
    for observation in observations(activity) {
        companions::remember(store, observation, at(second))
            .await
            .unwrap();
    }
}

/// The precedence in the record and in the lists, which must agree.
async fn precedence<S: Conversations>(store: &S, id: &str) -> Option<Precedence> {
    let record = recall(store, id).await;
    let user = ConversationFilter::User("entra-ada".into());
    let everyone = ConversationFilter::Everyone {
        segment: 0,
        segments: 1,
    };
    for filter in [user, everyone, ConversationFilter::Tenant("tenant-1".to_owned())] {
        let listed = list(store, &filter, 10).await.0.into_iter();
        let mut listed = listed.filter(|known| known.key == record.key);
        assert_eq!(listed.next().unwrap().precedence, record.precedence, "{filter:?}");
    }
    record.precedence
}

async fn companions_get_their_preference_whichever_is_stored_first<S: Conversations>(store: S) {
    see(&store, &in_copilot("ada"), 0).await;
    see(&store, &personal("ada"), 60).await;
    let (chat, copilot) = (
        precedence(&store, "a:ada").await,
        precedence(&store, "a:ada-copilot").await,
    );
    assert_eq!(chat, Some(Precedence::of(Product::Chat, at(60))));
    assert_eq!(copilot, Some(Precedence::of(Product::Copilot, at(0))));
    let version = recall(&store, "a:ada").await.version;
    see(&store, &personal("ada"), 120).await;
    assert_eq!(recall(&store, "a:ada").await.version, version, "nothing changes");
    let user = ConversationFilter::User("entra-ada".into());
    let known = list(&store, &user, 10).await.0;
    let preferred = companions::preferred(&known).unwrap();
    assert_eq!(preferred.key, key("a:ada"));
}

async fn a_person_with_one_conversation_has_no_precedence<S: Conversations>(store: S) {
    see(&store, &personal("ada"), 0).await;
    see(&store, &personal("eve"), 0).await;
    assert_eq!(precedence(&store, "a:ada").await, None);
}

async fn an_import_finds_companions<S: Conversations>(store: S) {
    let reference = |id: &str| {
        json!({
            "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/emea/", "bot": {"id": "28:bot"},
            "user": {"id": "29:ada", "aadObjectId": "entra-ada"},
            "conversation": {"id": id, "conversationType": "personal", "tenantId": "tenant-1"},
        })
    };
    let rule = botframework::service_url::TrustRule::new(
        botframework::cloud::Cloud::Public,
        botframework::service_url::OtherChannels::Refused,
        botframework::service_url::Loopback::Refused,
    );
    for (id, upsert) in [
        ("a:ada", Upsert::Created),
        ("a:ada-again", Upsert::Created),
        ("a:ada-again", Upsert::Unchanged),
    ] {
        let import = herald::conversation::Import::read(reference(id).into(), &rule)
            .unwrap()
            .remove(0);
        assert_eq!(companions::import(&store, import, at(0)).await.unwrap(), upsert);
    }
    assert!(precedence(&store, "a:ada").await.is_some());
    assert!(precedence(&store, "a:ada-again").await.is_some());
}

async fn companions_of_another_bot_or_tenant_do_not_count<S: Conversations>(store: S) {
    see(&store, &personal("ada"), 0).await;
    let mut other_tenant = in_copilot("ada");
    other_tenant["conversation"]["tenantId"] = json!("tenant-2");
    let mut other_bot = in_copilot("ada");
    other_bot["recipient"]["id"] = json!("28:other");
    for other in [other_tenant, other_bot] {
        see(&store, &other, 1).await;
        assert_eq!(recall(&store, "a:ada").await.precedence, None);
    }
}

fn turn(person: &str) -> TurnKey {
    let mut added = personal(person);
    added["type"] = json!("installationUpdate");
    added["action"] = json!("add");
    TurnKey::of_welcome(&Activity::from_value(added).unwrap()).unwrap()
}

async fn of_many_claims_of_a_turn_one_is_acquired<S: Conversations>(store: S) {
    let turn = turn("ada");
    let claims = (0..20).map(|_| store.claim_turn(&turn, at(0), at(20)));
    let claims = join_all(claims).await.into_iter().map(Result::unwrap);
    let (acquired, others): (Vec<_>, Vec<_>) = claims.partition(|claim| *claim == TurnClaim::Claimed);
    assert_eq!(acquired.len(), 1);
    assert!(
        others
            .iter()
            .all(|claim| *claim == TurnClaim::Running { until: at(20) })
    );
}

async fn a_turn_is_claimed_again_after_a_failure_or_a_death<S: Conversations>(store: S) {
    let turn = turn("ada");
    let claim = async |second| {
        store
            .claim_turn(&turn, at(second), at(second + 20))
            .await
            .unwrap()
    };
    assert_eq!(claim(0).await, TurnClaim::Claimed);
    assert_eq!(claim(19).await, TurnClaim::Running { until: at(20) });
    assert_eq!(claim(20).await, TurnClaim::Claimed, "its worker died");
    store.release_turn(&turn).await.unwrap();
    assert_eq!(claim(21).await, TurnClaim::Claimed, "it failed");
    store.finish_turn(&turn, at(100)).await.unwrap();
    assert_eq!(claim(99).await, TurnClaim::Done);
    assert_eq!(claim(100).await, TurnClaim::Claimed);
    assert_eq!(
        list(
            &store,
            &ConversationFilter::Everyone {
                segment: 0,
                segments: 1
            },
            10
        )
        .await
        .0,
        []
    );
}
