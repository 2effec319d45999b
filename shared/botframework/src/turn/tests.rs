use std::error::Error as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::auth::Caller;
use crate::cloud::Cloud;
use crate::connector::Class;
use crate::credential::tests::Endpoint;
use crate::http::{Body, ResponseFuture, Transport};
use crate::service_url::{Loopback, OtherChannels, TrustRule};

/// A channel in this process: keeps what it is sent, as `METHOD path` and document.
#[derive(Clone, Default)]
struct Channel {
    sent: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Transport for Channel {
    fn send(&self, request: http::Request<Bytes>) -> ResponseFuture<'_> {
        let line = format!("{} {}", request.method(), request.uri().path());
        let document = serde_json::from_slice(request.body()).unwrap();
        self.sent.lock().unwrap().push((line, document));
        Box::pin(async {
            Ok(http::Response::new(Body::Complete(Bytes::from_static(
                b"{\"id\":\"sent\"}",
            ))))
        })
    }
}

impl Channel {
    fn adapter(&self) -> Adapter {
        let rule = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
        Adapter::new(Connector::new(self.clone(), rule, Endpoint::new().credential()))
    }

    fn sent(&self) -> Vec<(String, Value)> {
        self.sent.lock().unwrap().clone()
    }
}

/// Sends back what it is given, then a word.
struct Echo;

impl Bot for Echo {
    async fn on_turn(&self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let echo = turn.activity().clone();
        turn.send(echo).await?;
        turn.send_text("done").await?;
        Ok(())
    }
}

/// Says nothing.
struct Silent;

impl Bot for Silent {
    async fn on_turn(&self, _turn: &mut Turn<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn incoming(properties: &Value) -> VerifiedActivity {
    let mut document = json!({
        "type": "message", "id": "7", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/in/",
        "timestamp": "2026-01-05T09:00:00Z", "callerId": "urn:x", "locale": "nl-BE", "text": "hi",
        "from": {"id": "29:mina"}, "recipient": {"id": "28:bot"}, "conversation": {"id": "a:1", "name": null}
    });
    for (name, value) in properties.as_object().unwrap() {
        document[name] = value.clone();
    }
    VerifiedActivity::new(Activity::from_value(document).unwrap(), Caller::default())
}

#[tokio::test]
async fn an_answer_goes_back_as_a_reply_with_what_a_bot_sends_and_nothing_else() {
    let channel = Channel::default();
    let answer = channel
        .adapter()
        .process(&incoming(&json!({})), &Echo)
        .await
        .unwrap();
    assert_eq!(
        answer,
        TurnResponse {
            status: 200,
            body: None
        }
    );
    let (line, document) = channel.sent().remove(0);
    assert_eq!(line, "POST /in/v3/conversations/a%3A1/activities/7");
    assert_eq!(
        document,
        json!({
            "type": "message", "text": "hi", "channelId": "msteams", "locale": "nl-BE", "replyToId": "7",
            "from": {"id": "28:bot"}, "recipient": {"id": "29:mina"}, "conversation": {"id": "a:1"}
        })
    );
    assert_eq!(channel.sent()[1].1["text"], "done");
}

#[tokio::test]
async fn an_activity_without_an_id_is_answered_in_its_conversation() {
    let channel = Channel::default();
    channel
        .adapter()
        .process(&incoming(&json!({"id": null})), &Echo)
        .await
        .unwrap();
    let (line, document) = channel.sent().remove(1);
    assert_eq!(line, "POST /in/v3/conversations/a%3A1/activities");
    assert_eq!(document.get("replyToId"), None);
}

#[tokio::test]
async fn replies_that_are_expected_come_back_in_the_answer() {
    let channel = Channel::default();
    let activity = incoming(&json!({"deliveryMode": "expectReplies"}));
    let answer = channel.adapter().process(&activity, &Echo).await.unwrap();
    assert!(channel.sent().is_empty());
    assert_eq!(answer.status, 200);
    let replies = answer.body.unwrap()["activities"].take();
    assert_eq!(replies.as_array().unwrap().len(), 2);
    assert_eq!(
        (&replies[1]["text"], &replies[1]["replyToId"]),
        (&json!("done"), &json!("7"))
    );
    let none = channel.adapter().process(&activity, &Silent).await.unwrap();
    assert_eq!(none.body, Some(json!({"activities": []})));
}

#[tokio::test]
async fn an_invoke_that_the_bot_does_not_handle_gets_an_answer_that_teams_understands() {
    struct Acknowledge;
    impl Bot for Acknowledge {
        async fn on_turn(&self, turn: &mut Turn<'_>) -> Result<(), Error> {
            let verb = turn
                .activity()
                .adaptive_card_invoke()
                .and_then(|invoke| invoke.action?.verb);
            if verb.as_deref() == Some("acknowledge") {
                turn.respond(InvokeResponse::adaptive_error(500, "Early", "not the last word"));
                turn.respond(InvokeResponse::adaptive_message("Thank you"));
            }
            Ok(())
        }
    }

    let adapter = Channel::default().adapter();
    let card = |kind: &str, verb: &str| {
        incoming(&json!({"type": kind, "name": "adaptiveCard/action", "value": {"action": {"verb": verb}}}))
    };
    let answer = adapter
        .process(&card("invoke", "acknowledge"), &Acknowledge)
        .await
        .unwrap();
    let message = json!({"statusCode": 200, "type": "application/vnd.microsoft.activity.message", "value": "Thank you"});
    assert_eq!(
        answer,
        TurnResponse {
            status: 200,
            body: Some(message)
        }
    );
    let unknown = adapter
        .process(&card("invoke", "other"), &Acknowledge)
        .await
        .unwrap();
    let error = json!({"code": "NotSupported", "message": "The bot does not support this action."});
    assert_eq!(
        unknown,
        TurnResponse {
            status: 200,
            body: Some(json!({"statusCode": 400, "type": "application/vnd.microsoft.error", "value": error})),
        }
    );
    let query = incoming(&json!({"type": "invoke", "name": "composeExtension/query"}));
    let query = adapter.process(&query, &Acknowledge).await.unwrap();
    assert_eq!((query.status, query.body), (501, None));
    let no_invoke = adapter
        .process(&card("event", "acknowledge"), &Acknowledge)
        .await
        .unwrap();
    assert_eq!(
        no_invoke,
        TurnResponse {
            status: 200,
            body: None
        }
    );
}

#[test]
fn an_adaptive_card_is_answered_in_its_own_shape() {
    let refused = InvokeResponse::adaptive_error(412, "NotYet", "Wait");
    assert_eq!(
        refused.status, 200,
        "Teams repeats an action that gets another one"
    );
    assert_eq!(
        refused.body.unwrap(),
        json!({"statusCode": 412, "type": "application/vnd.microsoft.error.preconditionFailed",
               "value": {"code": "NotYet", "message": "Wait"}})
    );
    let card = InvokeResponse::adaptive_card(json!({"type": "AdaptiveCard"}))
        .body
        .unwrap();
    assert_eq!(card["type"], "application/vnd.microsoft.card.adaptive");
}

#[tokio::test]
async fn a_bot_that_continues_a_conversation_answers_nothing() {
    let channel = Channel::default();
    let reference = ConversationReference::from_activity(incoming(&json!({})).activity());
    channel
        .adapter()
        .continue_conversation(&reference, "fresh".into(), &Echo)
        .await
        .unwrap();
    let (line, document) = channel.sent().remove(1);
    assert_eq!(line, "POST /in/v3/conversations/a%3A1/activities");
    assert_eq!(document.get("replyToId"), None);
    assert_eq!(document["recipient"], json!({"id": "29:mina"}));
}

#[tokio::test]
async fn a_trace_reaches_the_emulator_only() {
    struct Tracer;
    impl Bot for Tracer {
        async fn on_turn(&self, turn: &mut Turn<'_>) -> Result<(), Error> {
            turn.send(Activity {
                kind: Some(ActivityType::Trace),
                ..Activity::default()
            })
            .await?;
            turn.send(Activity::default()).await?;
            Ok(())
        }
    }

    for (of, kinds) in [
        ("msteams", vec!["message"]),
        ("emulator", vec!["trace", "message"]),
    ] {
        let channel = Channel::default();
        channel
            .adapter()
            .process(&incoming(&json!({"channelId": of})), &Tracer)
            .await
            .unwrap();
        let sent: Vec<_> = channel
            .sent()
            .into_iter()
            .map(|(_, document)| document["type"].clone())
            .collect();
        assert_eq!(sent, kinds);
    }
}

#[tokio::test]
async fn failures_of_the_bot_and_of_the_connector_come_out_with_their_cause() {
    struct Failing;
    impl Bot for Failing {
        async fn on_turn(&self, _turn: &mut Turn<'_>) -> Result<(), Error> {
            Err(Error::bot("out of words"))
        }
    }

    let channel = Channel::default();
    let error = channel
        .adapter()
        .process(&incoming(&json!({})), &Failing)
        .await
        .unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "out of words");

    for service_url in [json!(null), json!("https://evil.example/")] {
        let error = channel
            .adapter()
            .process(&incoming(&json!({"serviceUrl": service_url})), &Echo)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Send(cause) if cause.class() == Class::Rejected));
    }
    let nowhere = incoming(&json!({"conversation": null}));
    assert!(channel.adapter().process(&nowhere, &Echo).await.is_err());
    assert!(channel.sent().is_empty());
}

#[tokio::test]
async fn a_turn_can_run_on_any_thread() {
    let adapter = Channel::default().adapter();
    let activity = incoming(&json!({}));
    tokio::spawn(async move { adapter.process(&activity, &Echo).await.map(drop) })
        .await
        .unwrap()
        .unwrap();
}
