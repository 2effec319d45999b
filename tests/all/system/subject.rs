//! Subjects on the real binaries, with the roles that the template gives them.

use serde_json::{Value, json};

use super::System;
use crate::world::personal;

async fn ask(system: &System, audience: Value, text: &str) -> Value {
    let body = json!({"audience": audience, "message": {"text": text}, "subject": "build-7"});
    let (status, accepted) = system.post("/api/notifications", body.to_string()).await;
    assert_eq!(status, 202, "{accepted}");
    system.host.drained().await;
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_notification_edits_the_copies_of_its_subject() {
    let system = System::start().await;
    for person in ["ada", "eve"] {
        assert_eq!(system.hears(personal(person, "installationUpdate")).await, 200);
    }
    let red = ask(&system, json!({"users": ["entra-ada"]}), "red").await;
    let green = ask(&system, json!({"everyone": true}), "green").await;
    let done = |chat: &str| -> Vec<String> {
        let here = system.channel.received().into_iter();
        let here = here.filter(|it| it.conversation == chat);
        let here = here.map(|it| {
            format!(
                "{} {}",
                it.method,
                it.activity["text"].as_str().unwrap_or_default()
            )
        });
        here.filter(|done| done.ends_with("red") || done.ends_with("green"))
            .collect()
    };
    assert_eq!(done("a:ada"), ["POST red", "PUT green"]);
    assert_eq!(done("a:eve"), ["POST green"]);
    let status = system.status(&green).await;
    assert_eq!(
        (&status["superseding"], &status["counts"]["delivered"]),
        (&json!(1), &json!(2))
    );
    let path = format!("{}/deliveries", red["statusUrl"].as_str().unwrap());
    let listed = system.http.get(format!("{}{path}", system.host.url()));
    let listed: Value = serde_json::from_str(&listed.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(listed["deliveries"][0]["supersededBy"], green["id"], "{listed}");
    system.host.stop().await;
}
