//! The real binaries with authentication on, under the local host and its own channel.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use herald::clock::Clock;
use herald_local::channel::{CHANNEL_ID, Channel, Conversation, Person};
use herald_local::client::Client;
use herald_local::issuer::Issuer;
use herald_local::{Host, Options, front};
use serde_json::{Value, json};

use super::attempt::said;

const APP: &str = "0000000a-0000-4000-8000-00000000b07a";

fn built() -> Options {
    static BUILT: OnceLock<Options> = OnceLock::new();
    BUILT.get_or_init(|| Options::built().unwrap()).clone()
}

async fn options() -> Options {
    tokio::task::spawn_blocking(built).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_accepted_with_the_channels_token_and_denied_without() {
    let (issuer, mut options) = (Issuer::open(CHANNEL_ID).await.unwrap(), options().await);
    options.authenticate(APP, &issuer);
    let listener = front::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let host = Host::start(listener, &options).await.unwrap();
    let endpoint = format!("{}/api/messages", host.url());
    let signer = Issuer::open(CHANNEL_ID).await.unwrap();
    let channel = Channel::open(&endpoint, Some((issuer, APP.to_owned())))
        .await
        .unwrap();
    let (ada, client, now) = (Person::named("Ada"), Client::default(), Clock::system().now());
    let chat = Conversation::personal(&ada);

    let activity = channel.message(&chat, &ada, "Good morning!");
    let valid = signer.token(APP, &channel.service_url(), now).unwrap();
    let spoilt = valid.replace('.', "..");
    let for_another_bot = signer
        .token(
            "0000000c-0000-4000-8000-000000000001",
            &channel.service_url(),
            now,
        )
        .unwrap();
    let of_yesterday = signer
        .token(
            APP,
            &channel.service_url(),
            now - jiff::SignedDuration::from_hours(24),
        )
        .unwrap();
    let elsewhere = signer.token(APP, "http://127.0.0.1:1/", now).unwrap();
    let other_channel = {
        let mut activity = activity.clone();
        activity["channelId"] = json!("slack");
        activity
    };
    for (token, activity, status) in [
        ("", &activity, 401),
        (&spoilt, &activity, 401),
        (&for_another_bot, &activity, 401),
        (&of_yesterday, &activity, 401),
        (&elsewhere, &activity, 403),
        (&valid, &other_channel, 403),
    ] {
        let answer = client.post_as(token, &endpoint, activity).await.unwrap();
        assert_eq!(
            (
                answer.status.as_u16(),
                String::from_utf8_lossy(&answer.body).into_owned()
            ),
            (status, said(status)),
            "{token}"
        );
    }
    let answer = client.post(&endpoint, &activity).await.unwrap();
    assert_eq!(
        (
            answer.status.as_u16(),
            String::from_utf8_lossy(&answer.body).into_owned()
        ),
        (401, said(401)),
        "no header at all"
    );
    assert!(channel.posted().is_empty(), "no reply was sent");

    assert_eq!(channel.add_bot(&chat, &ada).await.unwrap().status.as_u16(), 200);
    assert_eq!(
        channel
            .say(&chat, &ada, "Good morning!")
            .await
            .unwrap()
            .status
            .as_u16(),
        200
    );
    let audience = json!({"audience": {"everyone": true}, "message": {"text": "news"}});
    let asked = client
        .post(&format!("{}/api/notifications", host.url()), &audience)
        .await
        .unwrap();
    assert_eq!(asked.status.as_u16(), 202);
    host.drained().await;
    let said: Vec<_> = channel
        .posted()
        .iter()
        .map(|it| it.text().unwrap_or_default().to_owned())
        .collect();
    assert!(said[0].starts_with("Hello!"));
    assert_eq!(said[1..], ["You said: Good morning!", "news"]);
    host.stop().await;
}

/// The output of a function that refuses to start with these variables added to those of a deployment.
fn refusal(function: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(built().binaries.join(function))
        .env_clear()
        .envs([
            // Nothing listens there: a function that does start fails at once, with another error.
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9"),
            ("AWS_LAMBDA_FUNCTION_NAME", "test"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "test"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "test"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("HERALD_CONVERSATIONS_TABLE", "conversations"),
            ("HERALD_NOTIFICATIONS_TABLE", "notifications"),
            ("HERALD_DELIVERIES_TABLE", "deliveries"),
            ("HERALD_DELIVERIES_QUEUE_URL", "http://127.0.0.1:9/deliveries"),
            ("HERALD_PLANS_QUEUE_URL", "http://127.0.0.1:9/plans"),
            ("HERALD_EVENTS_QUEUE_URL", "http://127.0.0.1:9/events"),
        ])
        .envs(variables.iter().copied())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{function} {variables:?}");
    // The metric of the cold start comes first.
    let text = String::from_utf8(output.stdout).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["error_type"], "CannotRun");
    line["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn functions_refuse_to_start_in_aws_without_authentication() {
    tokio::task::spawn_blocking(|| {
        let in_aws = ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
        let app = ("MicrosoftAppId", APP);
        for function in ["messages", "sender"] {
            assert!(refusal(function, &[]).starts_with("MicrosoftAppId is not set"));
            assert!(refusal(function, &[in_aws]).starts_with("MicrosoftAppId is not set"));
            for (name, value) in [
                ("HERALD_UNAUTHENTICATED", "loopback-only"),
                ("HERALD_LOOPBACK_SERVICE_URLS", "trusted"),
            ] {
                let said = refusal(function, &[app, in_aws, (name, value)]);
                assert_eq!(
                    said,
                    format!("{name} is for development and must not be set in AWS")
                );
            }
            assert!(
                refusal(function, &[("HERALD_UNAUTHENTICATED", "true")])
                    .starts_with("HERALD_UNAUTHENTICATED")
            );
        }
        let stand_in = ("HERALD_OPENID_METADATA_URL", "http://127.0.0.1:9/openid");
        let said = refusal("messages", &[app, in_aws, stand_in]);
        assert!(said.starts_with("HERALD_OPENID_METADATA_URL"), "{said}");
        let stranger = ("HERALD_OPENID_METADATA_URL", "https://evil.example/openid");
        assert!(refusal("messages", &[app, stranger]).starts_with("HERALD_OPENID_METADATA_URL"));
    })
    .await
    .unwrap();
}
