//! A bot and its channel in one process, for the tests of bots: no network, no token, no registration. Feature `testing`.
//!
//! A [`TestApp`] speaks to the bot as people do, through the same endpoint as Teams, and each [`TestTurn`] says what the bot did.
//! What does not hold panics with what the bot said instead.
//!
//! # Example: the test of an echo
//! ```
//! use botframework::activity::ActivityType::Message;
//! use botframework::app::{App, Context};
//! use botframework::testing::TestApp;
//!
//! fn bot(app: App) -> App {
//!     app.on(Message, async |context: Context| format!("You said: {}", context.text()))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let test = TestApp::new(bot);
//! test.say("hi").await.expect_text("You said: hi");
//! test.in_channel("19:general@thread.tacv2").say("hi").await.expect_text("You said: hi");
//! # }
//! ```

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};

use crate::activity::{Activity, ActivityType, ChannelAccount};
use crate::app::App;
use crate::auth::Authenticator;
use crate::cloud::Cloud;
use crate::credential::Runtime;
use crate::reference::ConversationReference;

mod channel;

use channel::{SERVICE_URL, TENANT, sent, texts};
pub use channel::{SentRequest, TestChannel};

/// The account of the bot.
const BOT: &str = "28:0000000a-0000-4000-8000-00000000b07a";

/// The moment of all tests: in January 2027.
const NOW: Duration = Duration::from_hours(500_000);

/// A bot under test, and who speaks to it. Clones speak to the same bot.
#[derive(Clone, Debug)]
pub struct TestApp {
    app: App,
    channel: TestChannel,
    person: String,
    place: Value,
    channel_data: Value,
}

/// What a bot did in a turn.
#[derive(Clone, Debug)]
pub struct TestTurn {
    response: Response<Bytes>,
    requests: Vec<SentRequest>,
}

impl TestApp {
    /// A bot that `bot` makes of an app, and Ada, who speaks to it in a chat of her own.
    pub fn new(bot: impl FnOnce(App) -> App) -> Self {
        let channel = TestChannel::default();
        let numbers = channel.clone();
        let runtime = Runtime::new(
            || SystemTime::UNIX_EPOCH + NOW,
            move || u128::from(numbers.next_number()).to_be_bytes(),
        );
        let authenticator = Authenticator::unauthenticated(Cloud::Public);
        let app = App::new(authenticator, channel.connector(), runtime);
        Self::of(bot(app), channel)
    }

    /// A bot whose connector is over this channel.
    pub fn of(app: App, channel: TestChannel) -> Self {
        let place = json!({"id": "a:ada", "conversationType": "personal", "tenantId": TENANT});
        Self {
            app,
            channel,
            person: "ada".to_owned(),
            place,
            channel_data: json!({"tenant": {"id": TENANT}}),
        }
    }

    /// The bot, for proactive messages.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The channel, for what it was sent and for what it is to refuse.
    pub fn channel(&self) -> &TestChannel {
        &self.channel
    }

    /// The same place with another person, by a word such as `bob`. Their own chat, if this is a person's.
    #[must_use]
    pub fn person(&self, name: &str) -> Self {
        let mut other = self.clone();
        name.clone_into(&mut other.person);
        if other.place["conversationType"] == "personal" {
            other.place["id"] = json!(format!("a:{name}"));
        }
        other
    }

    /// The same person in a channel of a team, or in a thread (`;messageid=…`).
    #[must_use]
    pub fn in_channel(&self, id: &str) -> Self {
        let channel = id.split(';').next().unwrap_or_default();
        Self {
            place: json!({"id": id, "conversationType": "channel", "isGroup": true, "tenantId": TENANT}),
            channel_data: json!({"tenant": {"id": TENANT}, "channel": {"id": channel},
                "team": {"id": "19:team@thread.tacv2", "name": "Team"}}),
            ..self.clone()
        }
    }

    /// The same person in a group chat.
    #[must_use]
    pub fn in_group(&self, id: &str) -> Self {
        Self {
            place: json!({"id": id, "conversationType": "groupChat", "isGroup": true, "tenantId": TENANT}),
            channel_data: json!({"tenant": {"id": TENANT}}),
            ..self.clone()
        }
    }

    /// The person's account: `29:ada`, Ada, an Entra object id.
    pub fn account(&self) -> ChannelAccount {
        let name: String = self
            .person
            .char_indices()
            .map(|(index, letter)| match index {
                0 => letter.to_ascii_uppercase(),
                _ => letter,
            })
            .collect();
        ChannelAccount {
            name: Some(name),
            entra_object_id: Some(format!("entra-{}", self.person).as_str().into()),
            ..ChannelAccount::new(format!("29:{}", self.person))
        }
    }

    /// The reference of the conversation, as a bot stores it.
    pub fn reference(&self) -> ConversationReference {
        ConversationReference {
            activity_id: None,
            ..ConversationReference::from_activity(&self.activity(&ActivityType::Message, &json!({})))
        }
    }

    /// An activity of the person, with the properties of an object beside the usual ones.
    ///
    /// # Panics
    /// When the properties are no activity.
    pub fn activity(&self, kind: &ActivityType, properties: &Value) -> Activity {
        let mut document = json!({
            "type": kind, "id": self.channel.next_number().to_string(), "timestamp": "2027-01-15T08:00:00Z",
            "channelId": "msteams", "serviceUrl": SERVICE_URL, "locale": "en-GB",
            "from": self.account(), "recipient": {"id": BOT, "name": "Bot"},
            "conversation": self.place, "channelData": self.channel_data,
        });
        for (name, value) in properties.as_object().into_iter().flatten() {
            document[name] = value.clone();
        }
        let read = Activity::from_value(document);
        assert!(read.is_ok(), "not an activity: {read:?}");
        read.unwrap_or_default()
    }

    /// Brings an activity to the bot's endpoint.
    ///
    /// # Panics
    /// When it cannot be serialised.
    pub async fn receive(&self, activity: &Activity) -> TestTurn {
        let body = serde_json::to_vec(activity);
        assert!(body.is_ok(), "not an activity: {body:?}");
        let mut request = Request::new(Bytes::from(body.unwrap_or_default()));
        *request.method_mut() = Method::POST;
        let before = self.channel.requests().len();
        let response = self.app.handle(request).await;
        let requests = self.channel.requests().split_off(before);
        TestTurn { response, requests }
    }

    /// The person says something. Outside their own chat they mention the bot.
    pub async fn say(&self, text: &str) -> TestTurn {
        let said = if self.place["isGroup"] == true {
            let mentioned = json!({"id": BOT, "name": "Bot"});
            json!({"text": format!("<at>Bot</at> {text}"), "entities": [
                {"type": "mention", "text": "<at>Bot</at>", "mentioned": mentioned}]})
        } else {
            json!({"text": text})
        };
        self.receive(&self.activity(&ActivityType::Message, &said)).await
    }

    /// The person submits a card by `Action.Submit`: a message with a value and without a text.
    pub async fn submit(&self, value: Value) -> TestTurn {
        let submitted = self.activity(&ActivityType::Message, &json!({ "value": value }));
        self.receive(&submitted).await
    }

    /// The person taps a button of a card, `Action.Execute` with this verb and data.
    pub async fn click(&self, verb: &str, data: Value) -> TestTurn {
        let action = json!({"type": "Action.Execute", "verb": verb, "data": data});
        let value = json!({"action": action, "trigger": "manual"});
        self.invoke("adaptiveCard/action", value).await
    }

    /// The client invokes the bot.
    pub async fn invoke(&self, name: &str, value: Value) -> TestTurn {
        let invoke = json!({"name": name, "value": value, "replyToId": "1"});
        self.receive(&self.activity(&ActivityType::Invoke, &invoke)).await
    }

    /// The channel reports an event.
    pub async fn event(&self, name: &str, value: Value) -> TestTurn {
        let event = json!({"name": name, "value": value});
        self.receive(&self.activity(&ActivityType::Event, &event)).await
    }

    /// The bot was added to the conversation.
    pub async fn add_bot(&self) -> TestTurn {
        self.add(json!({"id": BOT})).await
    }

    /// A person was added to the conversation, by a word such as `bob`.
    pub async fn add_person(&self, name: &str) -> TestTurn {
        self.add(json!(self.person(name).account())).await
    }

    async fn add(&self, member: Value) -> TestTurn {
        let added = json!({"membersAdded": [member]});
        self.receive(&self.activity(&ActivityType::ConversationUpdate, &added))
            .await
    }
}

impl TestTurn {
    /// The HTTP status that the endpoint answered.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The JSON of the HTTP response: what an invoke is answered; `null` if there is none.
    pub fn response(&self) -> Value {
        serde_json::from_slice(self.response.body()).unwrap_or_default()
    }

    /// All requests of the turn to the channel, in order.
    pub fn requests(&self) -> &[SentRequest] {
        &self.requests
    }

    /// The activities that the bot sent, in order, without typing indicators.
    pub fn sent(&self) -> Vec<&Value> {
        sent(&self.requests)
    }

    /// The texts that the bot sent, in order.
    pub fn texts(&self) -> Vec<&str> {
        texts(&self.requests)
    }

    /// The content of the first card that the bot sent, or answered to a button.
    ///
    /// # Panics
    /// When there is none.
    pub fn expect_card(&self) -> Value {
        let sent = self
            .sent()
            .into_iter()
            .filter_map(|sent| sent["attachments"].as_array());
        let mut cards = sent.flatten().map(|attachment| attachment["content"].clone());
        let response = self.response();
        let answered = Some(response["value"].clone()).filter(Value::is_object);
        let card = cards.next().or(answered);
        assert!(card.is_some(), "the bot sent no card: {self:#?}");
        card.unwrap_or_default()
    }

    /// The bot said this and nothing else.
    ///
    /// # Panics
    /// When it said something else.
    pub fn expect_text(&self, text: &str) -> &Self {
        self.expect_texts(&[text])
    }

    /// The bot said these things in this order, and nothing else.
    ///
    /// # Panics
    /// When it said something else.
    pub fn expect_texts(&self, texts: &[&str]) -> &Self {
        assert_eq!(self.texts(), texts, "status {}", self.status());
        self
    }

    /// One of the bot's messages contains this.
    ///
    /// # Panics
    /// When none does.
    pub fn expect_mention_of(&self, part: &str) -> &Self {
        let texts = self.texts();
        assert!(
            texts.iter().any(|text| text.contains(part)),
            "{part:?} is not in {texts:?}"
        );
        self
    }

    /// The bot said nothing.
    ///
    /// # Panics
    /// When it sent something.
    pub fn expect_silence(&self) -> &Self {
        assert!(self.sent().is_empty(), "{:?}", self.sent());
        self
    }

    /// The endpoint answered with this status.
    ///
    /// # Panics
    /// When it answered with another.
    pub fn expect_status(&self, status: u16) -> &Self {
        assert_eq!(self.status(), status, "{}", self.response());
        self
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::app::{AdaptiveCard, Context, Error};

    #[tokio::test]
    async fn a_turn_says_what_the_bot_did() {
        async fn card(context: Context) -> Result<AdaptiveCard<Value>, Error> {
            context.send("first").await?;
            Ok(AdaptiveCard(json!({"type": "AdaptiveCard", "body": []})))
        }
        let test = TestApp::new(|app| app.command("card", card));
        let turn = test.say("card").await;
        turn.expect_texts(&["first"])
            .expect_mention_of("irs")
            .expect_status(200);
        assert_eq!(turn.expect_card()["type"], "AdaptiveCard");
        test.say("nothing").await.expect_silence();
        test.channel()
            .refuse_next(StatusCode::FORBIDDEN, "MessageWritesBlocked");
        test.say("card").await.expect_status(500);
        assert_eq!(test.invoke("novel/invoke", json!(null)).await.status(), 501);
    }

    #[tokio::test]
    async fn people_speak_in_their_chat_in_groups_and_in_channels() {
        let test = TestApp::new(|app| {
            app.on(ActivityType::Message, async |context: Context| {
                let place = context.activity().conversation.clone().unwrap_or_default();
                format!("{} in {}: {}", context.from().id, place.id, context.text())
            })
        });
        test.say("hi").await.expect_text("29:ada in a:ada: hi");
        let bob = test.person("bob");
        bob.say("hi").await.expect_text("29:bob in a:bob: hi");
        bob.in_group("19:g")
            .say("hi")
            .await
            .expect_text("29:bob in 19:g: hi");
        let in_channel = test.in_channel("19:c;messageid=5");
        in_channel
            .say("hi")
            .await
            .expect_text("29:ada in 19:c;messageid=5: hi");
        test.app().at(&bob.reference()).send("proactive").await.unwrap();
        assert_eq!(test.channel().texts().last().unwrap(), "proactive");
    }
}
