//! Teams' batch API: the real functions over DynamoDB's wire and the channel's own, and the local host's own channel.

use botframework::activity::Activity;
use botframework::connector::{Connector, OperationPhase};
use botframework::http::HttpTransport;
use botframework::id::UserRef;
use herald_local::channel::{Channel as LocalChannel, Conversation, Person, TENANT};
use serde_json::json;
use tests::channel::batch::{BatchScenario, Failure};

use super::{System, settled};
use crate::world::{in_channel, personal};

const PEOPLE: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_reaches_120_people_and_failed_entries_are_sent_individually() {
    let system = System::start().await;
    for number in 0..PEOPLE {
        let person = personal(&format!("p{number}"), "installationUpdate");
        assert_eq!(system.hears(person).await, 200);
    }
    let general = in_channel("19:general@thread.tacv2", "installationUpdate");
    assert_eq!(system.hears(general).await, 200);
    let fails = |member: &str, status, code| {
        let failure = Failure {
            status,
            code,
            told_as: None,
        };
        system.channel.fails(member, failure);
    };
    fails("29:p3", 403, "ConversationBlockedByUser");
    fails("29:p7", 429, "Throttled");
    fails("29:p9", 400, "BadSyntax");
    system.channel.course(BatchScenario {
        page: 1,
        ..BatchScenario::default()
    });
    let body = json!({"audience": {"tenant": "tenant-1"}, "message": {"text": "news"}, "sendMode": "batch"});
    let (status, accepted) = system.post("/api/notifications", body.to_string()).await;
    assert_eq!(status, 202, "{accepted}");
    system.host.drained().await;

    let status = system.status(&accepted).await;
    assert_eq!(
        (&status["state"], &status["sendMode"]),
        (&json!("completed"), &json!("batch")),
        "{status}"
    );
    settled(&status);
    let counts = &status["counts"];
    assert_eq!(
        (&counts["delivered"], &counts["gone"], &counts["rejected"]),
        (&json!(119), &json!(1), &json!(1))
    );
    for number in (0..PEOPLE).filter(|number| ![3, 9].contains(number)) {
        assert_eq!(system.channel.count(&format!("a:p{number}")), 1, "{number}");
    }
    let batches = system.channel.batches();
    let members: usize = batches.iter().map(|batch| batch.members.len()).sum();
    assert_eq!((batches.len(), members), (2, PEOPLE));
    // Two submissions, two polls, at most three pages of failures, one retry, and one channel.
    assert!(system.channel.requests() <= 9, "{}", system.channel.requests());
    let blocked = system.call("GET", "/api/conversations?state=blocked").await.1;
    assert_eq!(blocked["conversations"][0]["user"], "entra-p3", "{blocked}");
    system.host.stop().await;
}

#[tokio::test]
async fn the_local_hosts_channel_accepts_batches() {
    // There is no bot to receive the installation, but everyone exists.
    let channel = LocalChannel::open("http://127.0.0.1:1/", None).await.unwrap();
    let people = ["Ada", "Eve"].map(Person::named);
    for person in &people {
        let told = channel.add_bot(&Conversation::personal(person), person).await;
        assert!(told.is_err());
    }
    let connector = Connector::unauthenticated(HttpTransport::builder().build().unwrap());
    let [ada, eve] = people;
    let list = [
        UserRef::Account(ada.id.into()),
        UserRef::Entra(eve.entra_object_id.into()),
        UserRef::Account("29:nobody".into()),
    ];
    let (url, news) = (&channel.service_url(), Activity::message("news"));
    let receipt = connector
        .send_to_users(url, &TENANT.into(), &list, &news)
        .await
        .unwrap();
    let operation = receipt.operation.unwrap();
    let progress = connector.operation(url, &operation).await.unwrap();
    assert_eq!(
        (progress.phase(), progress.delivered),
        (OperationPhase::Completed, 2)
    );
    let failed = connector.failed_entries(url, &operation, None).await.unwrap();
    assert_eq!((failed.entries.len(), &*failed.entries[0].id), (1, "29:nobody"));
    assert_eq!(failed.continuation_token, None);
    connector.cancel_operation(url, &operation).await.unwrap();
    assert!(connector.operation(url, &"another".into()).await.is_err());
    let posted = channel.posted();
    assert_eq!(
        posted
            .iter()
            .filter(|posted| posted.text() == Some("news"))
            .count(),
        2
    );
}
