//! The lists: the outcome of each recipient, and the people who blocked or removed the bot.

use herald::conversation::Feedback;
use herald::id::NotificationId;
use herald::store::{Conversations, Notifications};
use lambda_http::http::HeaderValue;
use serde_json::{Value, json};
use tests::channel::{Behaviour, Reply};

use super::hello;
use crate::world::{World, document, get, personal, text};

/// A fully processed notification to these people and to one unknown person.
async fn sent(world: &World, people: &[&str]) -> NotificationId {
    let mut users = vec!["entra-nobody".to_owned()];
    for person in people {
        world.hears(&personal(person, "installationUpdate")).await;
        users.push(format!("entra-{person}"));
    }
    let id = world
        .asks(&json!({"audience": {"users": users}, "message": {"text": "hello"}}))
        .await;
    world.work().await;
    id
}

async fn deliveries(world: &World, id: &NotificationId, query: &str) -> Value {
    let answer = world
        .notify(get(&format!("/api/notifications/{id}/deliveries{query}")))
        .await;
    assert_eq!(answer.status(), 200, "{}", text(&answer));
    document(&answer)
}

fn refuses(status: u16, code: &'static str, message: &'static str) -> Behaviour {
    let reply = Reply {
        status,
        code,
        message,
        retry_after: None,
    };
    Behaviour::Answers([reply].into())
}

#[tokio::test(start_paused = true)]
async fn each_recipient_is_listed_with_its_outcome() {
    let world = World::new();
    world
        .channel
        .when("a:eve", refuses(403, "ConversationBlockedByUser", "blocked"));
    world
        .channel
        .when("a:mal", refuses(400, "BadSyntax", "=cmd(), said \"no\""));
    let id = sent(&world, &["ada", "eve", "mal"]).await;
    let all = deliveries(&world, &id, "").await;
    assert_eq!(all["deliveries"].as_array().unwrap().len(), 4);
    assert_eq!(all["next"], Value::Null);
    let of = |state: &str| {
        let query = format!("?state={state}");
        let (world, id) = (&world, &id);
        async move { deliveries(world, id, &query).await["deliveries"].clone() }
    };
    let delivered = of("delivered").await;
    assert_eq!(delivered[0]["conversation"], "msteams|28:bot|a:ada");
    assert_eq!(
        (&delivered[0]["revision"], &delivered[0]["attempts"]),
        (&json!(0), &json!(1))
    );
    assert!(delivered[0]["activityId"].is_string());
    assert_eq!(of("gone").await[0]["code"], "ConversationBlockedByUser");
    let rejected = of("rejected").await;
    assert_eq!(rejected[0]["code"], "BadSyntax");
    assert!(rejected[0]["detail"].as_str().unwrap().contains("=cmd()"));
    let skipped = of("skipped").await;
    assert_eq!(
        (&skipped[0]["user"], &skipped[0]["reason"]),
        (&json!("entra-nobody"), &json!("noConversation"))
    );
    for state in ["open", "unknown", "expired", "cancelled"] {
        assert_eq!(of(state).await, json!([]), "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_delivery_is_listed_with_time_and_reason() {
    let world = World::new();
    let refuse = Behaviour::Refuse {
        status: 429,
        code: "Throttled",
    };
    world.channel.when("a:ada", refuse);
    world.hears(&personal("ada", "installationUpdate")).await;
    let id = world.asks(&hello()).await;
    world.plan().await;
    let before = deliveries(&world, &id, "?state=open").await;
    assert_eq!(before["deliveries"][0]["attempts"], 0);
    let chunk = world.deliveries.take().unwrap();
    world.send_one(&chunk.body).await;
    let waits = deliveries(&world, &id, "?state=open").await["deliveries"][0].clone();
    assert!(waits["until"].is_string() && waits["why"].is_string(), "{waits}");
}

#[tokio::test(start_paused = true)]
async fn a_paged_list_has_each_recipient_once() {
    let world = World::new();
    let people: Vec<String> = (0..150).map(|number| format!("p{number}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let id = sent(&world, &people).await;
    let (mut seen, mut query) = (Vec::new(), "?limit=7".to_owned());
    loop {
        let page = deliveries(&world, &id, &query).await;
        let found = page["deliveries"].as_array().unwrap();
        assert!(found.len() <= 7);
        seen.extend(found.iter().map(|it| it["conversation"].to_string()));
        match page["next"].as_str() {
            Some(next) => query = format!("?limit=7&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 151);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 151);
}

#[tokio::test(start_paused = true)]
async fn the_same_list_as_csv_is_safe_to_open_and_links_to_its_next_page() {
    let world = World::new();
    world
        .channel
        .when("a:ada", refuses(400, "BadSyntax", "=cmd(), said \"no\""));
    let id = sent(&world, &["ada"]).await;
    let path = format!("/api/notifications/{id}/deliveries");
    let mut accepting = get(&path);
    let accept = HeaderValue::from_static("text/html, Text/CSV;q=0.9");
    accepting.headers_mut().insert("accept", accept);
    let answer = world.notify(accepting).await;
    assert_eq!(
        answer.headers()["content-type"],
        "text/csv; charset=utf-8; header=present"
    );
    assert_eq!(
        answer.headers()["content-disposition"],
        "attachment; filename=\"deliveries.csv\""
    );
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let csv = text(&answer);
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert_eq!(
        lines[0],
        "recipient,kind,entraObjectId,tenant,state,at,code,reason,detail,activityId,revision,supersedes,supersededBy,attempts,ambiguousAttempts,until,why"
    );
    assert!(
        csv.contains("entra-nobody,user,entra-nobody,,skipped,2027-01-15T")
            && csv.contains("Z,,noConversation,"),
        "{csv}"
    );
    assert!(!csv.contains(",=cmd") && csv.contains("said \"\"no\"\""), "{csv}");
    let first = world.notify(get(&format!("{path}?format=csv&limit=1"))).await;
    let link = first.headers()["link"].to_str().unwrap();
    let next = link.split(['<', '>']).nth(1).unwrap();
    let second = world.notify(get(next)).await;
    assert_ne!(text(&first), text(&second));
    assert_eq!(
        second.headers()["content-type"],
        "text/csv; charset=utf-8; header=absent"
    );
    // The pages one after the other are the report.
    assert_eq!(text(&first) + &text(&second), csv);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_query_is_refused() {
    let world = World::new();
    let id = sent(&world, &[]).await;
    for query in [
        "?state=sent",
        "?State=open",
        "?limit=0",
        "?limit=1000",
        "?cursor=x",
        "?cursor=eA",
        "?format=xml",
        "?state=open&state=gone",
    ] {
        let answer = world
            .notify(get(&format!("/api/notifications/{id}/deliveries{query}")))
            .await;
        assert_eq!(answer.status(), 400, "{query}");
    }
    for query in [
        "",
        "?state=active",
        "?account=x",
        "?user=",
        "?tag=",
        "?state=blocked&user=x",
        "?tenant=x&team=x",
        "?state=blocked&cursor=x",
    ] {
        let answer = world.notify(get(&format!("/api/conversations{query}"))).await;
        assert_eq!(answer.status(), 400, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn blocked_and_removed_conversations_are_listed_with_the_code() {
    let world = World::new();
    for person in ["ada", "bob", "eve", "mal"] {
        world.hears(&personal(person, "installationUpdate")).await;
    }
    let key = |person: &str| format!("msteams|28:bot|a:{person}").parse().unwrap();
    for person in ["ada", "eve"] {
        let blocked = Feedback::Blocked("ConversationBlockedByUser".to_owned());
        let version = world.store.get_many(&[key(person)]).await.unwrap()[0].version;
        let now = world.now();
        world
            .store
            .apply_feedback(&key(person), version, &blocked, now)
            .await
            .unwrap();
    }
    world.store.mark_removed(&key("bob"), world.now()).await.unwrap();
    let list = |query: &str| {
        let (world, path) = (&world, format!("/api/conversations?{query}"));
        async move { document(&world.notify(get(&path)).await) }
    };
    let first = list("state=blocked&limit=1").await;
    let ada = &first["conversations"][0];
    assert_eq!(ada["conversation"], "msteams|28:bot|a:ada");
    assert_eq!(
        (&ada["state"], &ada["code"]),
        (&json!("blocked"), &json!("ConversationBlockedByUser"))
    );
    assert_eq!(
        (&ada["user"], &ada["scope"]),
        (&json!("entra-ada"), &json!("personal"))
    );
    assert_eq!(ada["since"], json!(world.now().to_string()));
    let next = format!("state=blocked&limit=1&cursor={}", first["next"].as_str().unwrap());
    let second = list(&next).await;
    assert_eq!(second["conversations"][0]["conversation"], "msteams|28:bot|a:eve");
    assert_eq!(second["next"], Value::Null);
    let removed = list("state=removed").await;
    assert_eq!(removed["conversations"].as_array().unwrap().len(), 1);
    assert_eq!(
        removed["conversations"][0]["conversation"],
        "msteams|28:bot|a:bob"
    );
}

#[tokio::test(start_paused = true)]
async fn a_notification_without_a_plan_lists_no_recipients() {
    let world = World::new();
    let id = world.asks(&hello()).await;
    assert!(world.store.latest_page(&id, 0).await.unwrap().is_none());
    assert_eq!(deliveries(&world, &id, "").await, json!({"deliveries": []}));
}

#[tokio::test(start_paused = true)]
async fn the_report_accounts_for_who_blocked_or_removed_the_bot_if_asked_to() {
    let world = World::new();
    for person in ["ada", "eve", "mal"] {
        world.hears(&personal(person, "installationUpdate")).await;
    }
    world
        .channel
        .when("a:mal", refuses(403, "ConversationBlockedByUser", "blocked"));
    world.asks(&hello()).await;
    world.work().await;
    let mut removal = personal("eve", "installationUpdate");
    removal["action"] = json!("remove");
    world.hears(&removal).await;
    let requests = world.channel.requests();
    let id = world.asks(&hello()).await;
    world.work().await;
    let left_out = deliveries(&world, &id, "").await;
    assert_eq!(left_out["deliveries"].as_array().unwrap().len(), 1);
    let mut asked = hello();
    asked["ifUnreachable"] = json!("report");
    let id = world.asks(&asked).await;
    world.work().await;
    assert_eq!(world.channel.requests(), requests + 2, "only Ada is sent to");
    let status = world.notification(&id).await;
    assert_eq!(
        (status.audience, status.counts.delivered, status.counts.skipped),
        (3, 1, 2)
    );
    let skipped = deliveries(&world, &id, "?state=skipped").await;
    let mut skipped: Vec<(Value, Value)> = skipped["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| (found["entraObjectId"].clone(), found["reason"].clone()))
        .collect();
    skipped.sort_by_key(|(person, _)| person.to_string());
    let expected = [("entra-eve", "removed"), ("entra-mal", "blocked")];
    assert_eq!(
        skipped,
        expected.map(|(person, reason)| (json!(person), json!(reason)))
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_has_entra_id_tenant_and_time_of_each_delivery() {
    let world = World::new();
    let id = sent(&world, &["ada"]).await;
    let listed = deliveries(&world, &id, "?state=delivered").await;
    let delivery = &listed["deliveries"][0];
    assert_eq!(
        (&delivery["entraObjectId"], &delivery["tenant"]),
        (&json!("entra-ada"), &json!("tenant-1"))
    );
    let at: jiff::Timestamp = delivery["at"].as_str().unwrap().parse().unwrap();
    let accepted = world.notification(&id).await.accepted_at;
    assert!(accepted <= at && at <= world.now(), "{accepted} {at}");
}

#[tokio::test(start_paused = true)]
async fn a_csv_report_is_one_download() {
    let world = World::new();
    let people: Vec<String> = (0..230).map(|number| format!("p{number}")).collect();
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    let id = sent(&world, &people).await;
    let path = format!("/api/notifications/{id}/deliveries?format=csv");
    let whole = world.notify(get(&path)).await;
    assert_eq!(text(&whole).lines().count(), 232, "with the names of the columns");
    assert!(whole.headers().get("link").is_none());
    let part = world.notify(get(&format!("{path}&limit=200"))).await;
    assert_eq!(text(&part).lines().count(), 201);
    assert!(part.headers().contains_key("link"));
}

#[tokio::test(start_paused = true)]
async fn the_deliveries_of_a_cancelled_plan_are_cancelled() {
    let world = World::new();
    world.hears(&personal("ada", "installationUpdate")).await;
    let mut dry = hello();
    dry["dryRun"] = json!(true);
    let id = world.asks(&dry).await;
    world.work().await;
    assert_eq!(
        deliveries(&world, &id, "?state=open").await["deliveries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let cancel = crate::world::post(&format!("/api/notifications/{id}/cancel"), "");
    assert_eq!(world.notify(cancel).await.status(), 200);
    let cancelled = deliveries(&world, &id, "?state=cancelled").await;
    assert_eq!(cancelled["deliveries"].as_array().unwrap().len(), 1);
}
