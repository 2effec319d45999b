use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::activity::{ActivityType, ChannelAccount};
use crate::auth::{Caller, VerifiedActivity};
use crate::cloud::Cloud;
use crate::connector::{Class, SendReceipt};
use crate::credential::tests::Endpoint;
use crate::http::{Body, ResponseFuture, Transport};
use crate::invoke::InvokeResponse;
use crate::service_url::{Loopback, OtherChannels, TrustRule};

/// A channel in this process: keeps what it is sent, as `METHOD path` and document.
#[derive(Clone, Default)]
struct Channel {
    sent: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Transport for Channel {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        let path = request.uri().path_and_query().unwrap().as_str();
        let line = format!("{} {path}", request.method());
        let document = serde_json::from_slice(request.body()).unwrap_or_default();
        let answer = if path.contains("continuationToken=next") {
            json!({"members": [{"id": "29:bob"}]})
        } else if path.contains("pagedmembers") {
            json!({"members": [{"id": "29:ada"}], "continuationToken": "next"})
        } else if path.ends_with("/v3/conversations") {
            json!({"id": "created", "activityId": "1700000000009"})
        } else {
            json!({"id": "sent"})
        };
        self.sent.lock().unwrap().push((line, document));
        Box::pin(async move { Ok(Response::new(Body::Complete(answer.to_string().into()))) })
    }
}

impl Channel {
    fn app(&self) -> App {
        let rule = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
        let connector = Connector::new(self.clone(), rule, Endpoint::new().credential());
        let runtime = Runtime::new(|| SystemTime::UNIX_EPOCH, || [7; 16]);
        App::new(Authenticator::unauthenticated(Cloud::Public), connector, runtime)
    }

    fn sent(&self) -> Vec<(String, Value)> {
        self.sent.lock().unwrap().clone()
    }

    fn texts(&self) -> Vec<Value> {
        self.sent().iter().map(|(_, sent)| sent["text"].clone()).collect()
    }
}

/// Handles whatever comes in.
#[allow(clippy::unnecessary_wraps, reason = "a trigger may not fit")]
fn anything(_: &Activity) -> Option<()> {
    Some(())
}

/// Sends back what it is given, then a word.
async fn echo(context: Context) -> Result<&'static str, Error> {
    context.send(context.activity().clone()).await?;
    Ok("done")
}

fn incoming(properties: &Value) -> VerifiedActivity {
    let mut document = json!({
        "type": "message", "id": "7", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/in/",
        "timestamp": "2026-01-05T09:00:00Z", "callerId": "urn:x", "locale": "nl-BE", "text": "hi",
        "from": {"id": "29:mina"}, "recipient": {"id": "28:bot"},
        "conversation": {"id": "a:1", "name": null, "tenantId": "t1"}
    });
    for (name, value) in properties.as_object().unwrap() {
        document[name] = value.clone();
    }
    VerifiedActivity::new(Activity::from_value(document).unwrap(), Caller::default())
}

fn reference() -> ConversationReference {
    ConversationReference::from_activity(incoming(&json!({})).activity())
}

fn body(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[tokio::test]
async fn an_answer_goes_back_as_a_reply_with_what_a_bot_sends_and_nothing_else() {
    let channel = Channel::default();
    let app = channel.app().on(anything, echo);
    let answer = app.process(incoming(&json!({}))).await;
    assert_eq!((answer.status(), answer.body().len()), (StatusCode::OK, 0));
    let (line, document) = channel.sent().remove(0);
    assert_eq!(line, "POST /in/v3/conversations/a%3A1/activities/7");
    assert_eq!(
        document,
        json!({
            "type": "message", "text": "hi", "channelId": "msteams", "locale": "nl-BE", "replyToId": "7",
            "from": {"id": "28:bot"}, "recipient": {"id": "29:mina"}, "conversation": {"id": "a:1", "tenantId": "t1"}
        })
    );
    assert_eq!(channel.texts()[1], "done");
}

#[tokio::test]
async fn an_activity_without_an_id_is_answered_in_its_conversation() {
    let channel = Channel::default();
    let app = channel.app().on(anything, echo);
    app.process(incoming(&json!({"id": null}))).await;
    let (line, document) = channel.sent().remove(1);
    assert_eq!(line, "POST /in/v3/conversations/a%3A1/activities");
    assert_eq!(document.get("replyToId"), None);
}

#[tokio::test]
async fn replies_that_are_expected_come_back_in_the_answer_and_later_ones_go_to_the_channel() {
    let channel = Channel::default();
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let app = channel.app().on(anything, move |context: Context| {
        *keep.lock().unwrap() = Some(context.clone());
        echo(context)
    });
    let activity = incoming(&json!({"deliveryMode": "expectReplies"}));
    let answer = app.process(activity.clone()).await;
    assert!(channel.sent().is_empty());
    assert_eq!(answer.status(), 200);
    let replies = body(&answer)["activities"].take();
    assert_eq!(replies.as_array().unwrap().len(), 2);
    assert_eq!(
        (&replies[1]["text"], &replies[1]["replyToId"]),
        (&json!("done"), &json!("7"))
    );
    let context = kept.lock().unwrap().take().unwrap();
    context.send("late").await.unwrap();
    assert_eq!(channel.texts(), ["late"]);
    let none = channel.app().process(activity).await;
    assert_eq!(body(&none), json!({"activities": []}));
}

#[tokio::test]
async fn an_invoke_that_the_bot_does_not_handle_gets_an_answer_that_teams_understands() {
    async fn acknowledge(context: Context) -> Option<InvokeResponse> {
        let verb = context.activity().adaptive_card_invoke()?.action?.verb?;
        context.respond(InvokeResponse::adaptive_error(500, "Early", "not the last word"));
        (verb == "acknowledge").then(|| InvokeResponse::adaptive_message("Thank you"))
    }

    let app = Channel::default().app().on(anything, acknowledge);
    let card = |kind: &str, verb: &str| {
        incoming(&json!({"type": kind, "name": "adaptiveCard/action", "value": {"action": {"verb": verb}}}))
    };
    let answer = app.process(card("invoke", "acknowledge")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        body(&answer),
        json!({"statusCode": 200, "type": "application/vnd.microsoft.activity.message", "value": "Thank you"})
    );
    let unknown = Channel::default().app().process(card("invoke", "other")).await;
    let error = json!({"code": "NotSupported", "message": "The bot does not support this action."});
    assert_eq!(unknown.status(), 200);
    assert_eq!(
        body(&unknown),
        json!({"statusCode": 400, "type": "application/vnd.microsoft.error", "value": error})
    );
    let query = incoming(&json!({"type": "invoke", "name": "composeExtension/query"}));
    assert_eq!(app.process(query).await.status(), 501);
    let no_invoke = app.process(card("event", "acknowledge")).await;
    assert_eq!((no_invoke.status(), no_invoke.body().len()), (StatusCode::OK, 0));
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
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let app = channel.app().layer(move |context: Context, next: Next| {
        assert_eq!(context.activity().name.as_deref(), Some("ContinueConversation"));
        assert!(context.verified().is_none());
        count.fetch_add(1, Ordering::Relaxed);
        next.run(context)
    });
    app.continue_conversation(&reference(), echo).await.unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 1, "the middlewares are asked");
    let (line, document) = channel.sent().remove(1);
    assert_eq!(line, "POST /in/v3/conversations/a%3A1/activities");
    assert_eq!(document.get("replyToId"), None);
    assert_eq!(document["recipient"], json!({"id": "29:mina"}));
}

#[tokio::test]
async fn a_stored_reference_is_spoken_to_without_a_turn() {
    let channel = Channel::default();
    let client = channel.app().at(&reference());
    let sent = client.send("proactive hello").await.unwrap();
    client.update(&sent.activity_id.unwrap(), "edited").await.unwrap();
    client.delete(&"sent".into()).await.unwrap();
    let lines: Vec<_> = channel.sent().into_iter().map(|(line, _)| line).collect();
    assert_eq!(
        lines,
        [
            "POST /in/v3/conversations/a%3A1/activities",
            "PUT /in/v3/conversations/a%3A1/activities/sent",
            "DELETE /in/v3/conversations/a%3A1/activities/sent",
        ]
    );
    assert_eq!(channel.texts()[..2], ["proactive hello", "edited"]);
}

#[tokio::test]
async fn a_raised_event_reaches_the_bots_own_handler() {
    async fn remind(context: Context) -> Result<String, Error> {
        let about: String = context.value()?;
        Ok(format!("Remember {about}."))
    }
    let channel = Channel::default();
    let app = channel
        .app()
        .on(NamedEvent("reminder"), remind)
        .on(anything, echo);
    app.raise_event(&reference(), "reminder", "the milk")
        .await
        .unwrap();
    assert_eq!(channel.texts(), ["Remember the milk."]);
    let wrong = app.raise_event(&reference(), "reminder", 5).await;
    assert!(matches!(wrong, Err(Error::Value(_))));
}

#[tokio::test]
async fn a_trace_reaches_the_emulator_only() {
    async fn trace(context: Context) -> Result<Activity, Error> {
        let trace = Activity {
            kind: Some(ActivityType::Trace),
            ..Activity::default()
        };
        context.send(trace).await?;
        Ok(Activity::default())
    }

    for (of, kinds) in [
        ("msteams", vec!["message"]),
        ("emulator", vec!["trace", "message"]),
    ] {
        let channel = Channel::default();
        let app = channel.app().on(anything, trace);
        app.process(incoming(&json!({"channelId": of}))).await;
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
    let channel = Channel::default();
    let app = channel
        .app()
        .on(anything, async |_: Context| Err::<(), _>("out of words"));
    assert_eq!(app.process(incoming(&json!({}))).await.status(), 500);
    let error = app.raise_event(&reference(), "any", ()).await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), "out of words");

    let app = channel.app().on(anything, echo);
    for service_url in [None, Some("https://evil.example/".to_owned())] {
        let elsewhere = ConversationReference {
            service_url,
            ..reference()
        };
        let error = app.raise_event(&elsewhere, "any", ()).await.unwrap_err();
        assert!(matches!(error, Error::Connector(cause) if cause.class() == Class::Rejected));
    }
    let nowhere = incoming(&json!({"conversation": null}));
    assert_eq!(app.process(nowhere).await.status(), 500);
    assert!(channel.sent().is_empty());
}

#[tokio::test]
async fn a_turn_can_run_on_any_thread_and_its_context_outlives_it() {
    let channel = Channel::default();
    let app = channel.app().on(anything, async |context: Context| {
        tokio::spawn(async move { context.send("from elsewhere").await.map(drop) });
    });
    tokio::spawn(async move { app.process(incoming(&json!({}))).await })
        .await
        .unwrap();
    tokio::task::yield_now().await;
    assert_eq!(channel.texts(), ["from elsewhere"]);
}

#[tokio::test]
async fn the_first_handler_that_is_meant_runs_and_no_other() {
    let channel = Channel::default();
    let app = channel
        .app()
        .command("who am i", async |context: Context| context.from().id.to_string())
        .command("say", async |_: Context, words: String| words)
        .on(MembersAdded, async |_: Context, added: Vec<ChannelAccount>| {
            format!("Welcome, {}", added[0].id)
        })
        .on(ActivityType::Message, async |context: Context| {
            context.text().len().to_string()
        });
    for text in ["Who am I", "say  good morning ", "sayings"] {
        app.process(incoming(&json!({"text": text}))).await;
    }
    let added = json!({"type": "conversationUpdate", "membersAdded": [{"id": "28:bot"}, {"id": "29:ada"}]});
    app.process(incoming(&added)).await;
    let alone = json!({"type": "conversationUpdate", "membersAdded": [{"id": "28:bot"}]});
    assert_eq!(app.process(incoming(&alone)).await.status(), 200);
    assert_eq!(
        channel.texts(),
        ["29:mina", "good morning", "7", "Welcome, 29:ada"]
    );
}

#[tokio::test]
async fn a_middleware_sees_both_directions_and_may_stop_either() {
    struct Strict;
    impl Middleware for Strict {
        async fn on_turn(&self, context: Context, next: Next) -> Result<(), Error> {
            if context.text() == "closed" {
                return Err(Error::Stopped(StatusCode::SERVICE_UNAVAILABLE));
            }
            context.insert("from the middleware");
            next.run(context).await
        }

        async fn on_send(&self, mut outgoing: Outgoing, next: NextSend) -> Result<SendReceipt, Error> {
            if outgoing.activity.text.as_deref() == Some("secret") {
                return Ok(SendReceipt::default());
            }
            assert_eq!(outgoing.reference().channel_id.as_deref(), Some("msteams"));
            outgoing.activity.summary = Some("marked".to_owned());
            next.run(outgoing).await
        }
    }
    async fn say(context: Context) -> Result<&'static str, Error> {
        context.send("secret").await?;
        context.get::<&'static str>()
    }

    let channel = Channel::default();
    let app = channel
        .app()
        .layer(Strict)
        .with(5_u8)
        .on(ActivityType::Message, say);
    app.process(incoming(&json!({}))).await;
    let closed = app.process(incoming(&json!({"text": "closed"}))).await;
    assert_eq!(closed.status(), 503);
    app.at(&reference()).send("proactive").await.unwrap();
    assert_eq!(channel.texts(), ["from the middleware", "proactive"]);
    assert!(channel.sent().iter().all(|(_, sent)| sent["summary"] == "marked"));
    let data = app
        .continue_conversation(&reference(), async |context: Context| {
            assert_eq!(context.get::<u8>()?, 5);
            context.get::<u16>().map(drop)
        })
        .await;
    assert!(matches!(data, Err(Error::NotInContext("u16"))));
}

#[tokio::test]
async fn members_come_as_a_stream_and_new_places_are_spoken_to() {
    let channel = Channel::default();
    let app = channel.app();
    let mut place = reference();
    place.conversation.as_mut().unwrap().id = "19:c@thread.tacv2".into();
    let client = app.at(&place);
    let members: Vec<_> = client.members().try_collect().await.unwrap();
    assert_eq!(members.len(), 2);
    let chat = client.chat_with(&members[1]).await.unwrap();
    chat.send("hello").await.unwrap();
    let thread = client.thread("first").await.unwrap();
    assert_eq!(
        thread.reference().conversation_id().unwrap().as_str(),
        "19:c@thread.tacv2;messageid=1700000000009"
    );
    thread.send("second").await.unwrap();
    let sent = channel.sent();
    assert_eq!(sent[2].1["members"], json!([{"id": "29:bob"}]));
    assert_eq!(sent[3].0, "POST /in/v3/conversations/created/activities");
    assert_eq!(sent[3].1["recipient"], json!({"id": "29:bob"}));
    assert_eq!(sent[4].1["activity"]["text"], "first");
    assert!(
        sent[5]
            .0
            .ends_with("19%3Ac%40thread.tacv2%3Bmessageid%3D1700000000009/activities")
    );

    let parameters = ConversationParameters::one_person(&client_id(), &"28:bot".into(), &"t1".into());
    let created = app
        .create_conversation("msteams", "https://smba.trafficmanager.net/in/", &parameters)
        .await
        .unwrap();
    assert_eq!(created.tenant_id(), Some(&"t1".into()));
}

fn client_id() -> crate::id::UserRef {
    crate::id::EntraObjectId::from("0000000b-0000-4000-8000-00000000000b").into()
}

#[tokio::test(start_paused = true)]
async fn typing_is_shown_until_the_work_is_done() {
    let channel = Channel::default();
    let app = channel.app().on(anything, async |context: Context| {
        let work = tokio::time::sleep(std::time::Duration::from_secs(7));
        context.typing_while(work).await;
        "done"
    });
    app.process(incoming(&json!({}))).await;
    let kinds: Vec<_> = channel
        .sent()
        .iter()
        .map(|(_, sent)| sent["type"].clone())
        .collect();
    assert_eq!(kinds, ["typing", "typing", "typing", "message"]);
}

#[tokio::test]
async fn the_endpoint_refuses_what_is_no_activity() {
    let app = Channel::default().app().on(anything, echo);
    let request = |method, body: &str| {
        let mut request = Request::new(Bytes::from(body.to_owned()));
        *request.method_mut() = method;
        request
    };
    for (method, body, status) in [
        (Method::GET, String::new(), 200),
        (Method::PUT, String::new(), 405),
        (Method::POST, "[]".to_owned(), 400),
        (Method::POST, "x".repeat(ACTIVITY_MAX_BYTES + 1), 413),
        (
            Method::POST,
            json!({"type": "message", "id": "x".repeat(1025)}).to_string(),
            400,
        ),
        (Method::POST, json!({"type": "message"}).to_string(), 400),
    ] {
        let answer = app.handle(request(method, &body)).await;
        assert_eq!(answer.status(), status);
        if status >= 400 {
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            assert_eq!(self::body(&answer)["status"], status);
        }
    }
}
