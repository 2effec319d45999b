//! Answers whose text is shown while it is made.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep_until};

use super::client::ConversationClient;
use super::error::Error;
use super::reply::IntoActivity;
use crate::activity::{Activity, ActivityType, Entity, Scope};
use crate::connector::SendReceipt;
use crate::id::ActivityId;
use crate::teams::is_teams;

/// The time between two updates. Teams takes one request a second for a streamed message.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// An answer whose text is shown while it is made, as of a language model. From [`Context::stream`](super::Context::stream).
///
/// Teams streams in a person's own chat only, one answer at a time, for two minutes at most. Elsewhere nothing is shown before
/// [`finish`](Self::finish), which sends the whole text.
///
/// # Example: the parts of an answer
/// ```
/// use botframework::app::{Context, Error};
///
/// async fn answer(context: Context) -> Result<(), Error> {
///     let mut stream = context.stream();
///     stream.inform("I am looking it up.").await?;
///     for part in ["The answer ", "is ", "42."] {
///         stream.push(part).await?;
///     }
///     stream.finish().await?;
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct AnswerStream {
    /// Sends the updates; `None` where nothing is streamed.
    updates: Option<ConversationClient>,
    client: ConversationClient,
    text: String,
    /// The channel's id of the stream, from the answer to the first update.
    id: Option<ActivityId>,
    sequence: u64,
    /// When the next update may be sent.
    next: Instant,
}

impl AnswerStream {
    pub(super) fn new(client: &ConversationClient) -> Self {
        let reference = client.reference();
        let scope = reference.conversation.as_ref().and_then(|it| it.scope.as_ref());
        let streams = is_teams(reference.channel_id.as_deref()) && scope == Some(&Scope::Personal);
        Self {
            updates: client.unreplied().filter(|_| streams),
            client: client.clone(),
            text: String::new(),
            id: None,
            sequence: 0,
            next: Instant::now(),
        }
    }

    /// Shows what the bot is doing, until the text begins: up to 1,000 characters.
    ///
    /// # Errors
    /// As of [`push`](Self::push).
    pub async fn inform(&mut self, doing: &str) -> Result<(), Error> {
        if !self.text.is_empty() {
            return Ok(());
        }
        sleep_until(self.next).await;
        self.update("informative", doing.to_owned()).await
    }

    /// Adds to the text. It is shown with the next update, of which there is one a second; this does not wait for it.
    ///
    /// # Errors
    /// When the Connector or a middleware refuses an update: 403 when the person has stopped the answer. Then end it without
    /// [`finish`](Self::finish).
    pub async fn push(&mut self, part: &str) -> Result<(), Error> {
        self.text.push_str(part);
        if Instant::now() < self.next || self.text.is_empty() {
            return Ok(());
        }
        self.update("streaming", self.text.clone()).await
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Ends the answer: the text becomes a message.
    ///
    /// # Errors
    /// When the Connector or a middleware refuses it. A stream that Teams has given up after two minutes is refused.
    pub async fn finish(self) -> Result<SendReceipt, Error> {
        let text = self.text.clone();
        self.finish_with(text).await
    }

    /// Ends the answer with a message that may have more than the text, such as cards or feedback buttons. Its text should begin
    /// with what was shown; without one it has the text of the stream.
    ///
    /// # Errors
    /// As of [`finish`](Self::finish).
    pub async fn finish_with(self, what: impl IntoActivity) -> Result<SendReceipt, Error> {
        let mut message = what.into_activity()?;
        if message.text.is_none() && !self.text.is_empty() {
            message.text = Some(self.text);
        }
        let (Some(updates), Some(id)) = (self.updates, self.id) else {
            return self.client.send(message).await;
        };
        let info = json!({"streamId": id, "streamType": "final"});
        message.entities.push(stream_info(info));
        sleep_until(self.next).await;
        updates.send(message).await
    }

    async fn update(&mut self, kind: &str, text: String) -> Result<(), Error> {
        let Some(updates) = &self.updates else {
            return Ok(());
        };
        self.sequence += 1;
        let mut info = json!({"streamType": kind, "streamSequence": self.sequence});
        if let Some(id) = &self.id {
            info["streamId"] = json!(id);
        }
        let update = Activity {
            kind: Some(ActivityType::Typing),
            text: Some(text),
            entities: vec![stream_info(info)],
            ..Activity::default()
        };
        let receipt = updates.send(update).await?;
        self.next = Instant::now() + UPDATE_INTERVAL;
        if self.id.is_none() {
            self.id = receipt.activity_id;
            if self.id.is_none() {
                // Without its id the stream cannot go on.
                self.updates = None;
            }
        }
        Ok(())
    }
}

fn stream_info(properties: Value) -> Entity {
    let extra = match properties {
        Value::Object(extra) => extra,
        _ => Map::new(),
    };
    Entity {
        kind: Some("streaminfo".to_owned()),
        extra,
        ..Entity::default()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::app::Context;
    use crate::testing::TestApp;

    async fn answer(context: Context) -> Result<(), Error> {
        let mut stream = context.stream();
        stream.inform("Looking it up.").await?;
        for part in ["The ", "answer ", "is ", "42."] {
            tokio::time::sleep(Duration::from_millis(600)).await;
            stream.push(part).await?;
        }
        stream.finish().await?;
        Ok(())
    }

    fn test() -> TestApp {
        TestApp::new(|app| app.on(ActivityType::Message, answer))
    }

    #[tokio::test(start_paused = true)]
    async fn the_text_is_shown_once_a_second_and_ends_as_a_message() {
        let turn = test().say("what?").await;
        let shown: Vec<_> = turn
            .requests()
            .iter()
            .map(|request| {
                let info = &request.body["entities"][0];
                assert_eq!(info["type"], "streaminfo");
                assert!(
                    !request.path.contains("/activities/"),
                    "an update replies to nothing"
                );
                (
                    request.body["type"].as_str().unwrap_or_default(),
                    info["streamType"].as_str().unwrap_or_default(),
                    info["streamSequence"].as_u64(),
                    info["streamId"].is_string(),
                    request.body["text"].as_str().unwrap_or_default(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("typing", "informative", Some(1), false, "Looking it up."),
                ("typing", "streaming", Some(2), true, "The answer "),
                ("typing", "streaming", Some(3), true, "The answer is 42."),
                ("message", "final", None, true, "The answer is 42."),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_streamed_the_whole_text_is_sent_at_the_end() {
        let channel = test().in_channel("19:general@thread.tacv2");
        let turn = channel.say("what?").await;
        turn.expect_text("The answer is 42.");
        assert_eq!(turn.requests().len(), 1);
        assert!(turn.sent()[0].get("entities").is_none());
    }

    #[tokio::test]
    async fn a_private_message_is_seen_by_its_recipient_only() {
        let test = TestApp::new(|app| {
            app.command("secret", async |context: Context| {
                context.send_privately("Psst.").await
            })
        });
        let turn = test.in_group("19:group@thread.v2").say("secret").await;
        let request = &turn.requests()[0];
        assert!(
            request.path.ends_with("/activities?isTargetedActivity=true"),
            "{}",
            request.path
        );
        assert_eq!(request.body["recipient"]["id"], "29:ada");
        assert!(request.body.get("replyToId").is_none());
    }
}
