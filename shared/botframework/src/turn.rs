//! A turn: one activity comes in, the bot answers, and an HTTP answer follows from that.
//!
//! # Example: a bot that repeats what it hears
//! ```
//! use botframework::activity::Activity;
//! use botframework::connector::Connector;
//! use botframework::http::HttpTransport;
//! use botframework::turn::{self, Adapter, Bot, Turn};
//!
//! struct Parrot;
//!
//! impl Bot for Parrot {
//!     async fn on_turn(&self, turn: &mut Turn<'_>) -> Result<(), turn::Error> {
//!         let heard = turn.activity().text.clone().unwrap_or_default();
//!         turn.send_text(format!("You said: {heard}")).await?;
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // For channels on this machine; out in the world a bot has a credential, and `Connector::new` takes it.
//! let adapter = Adapter::new(Connector::unauthenticated(HttpTransport::builder().build()?));
//!
//! // The sender of this one waits for the replies in the HTTP answer, so nothing goes to the Connector.
//! let activity = Activity::from_slice(br#"{"type":"message","text":"hi","deliveryMode":"expectReplies"}"#)?;
//! let answer = adapter.process(&activity, &Parrot).await?;
//! assert_eq!(answer.body.unwrap_or_default()["activities"][0]["text"], "You said: hi");
//! # Ok(())
//! # }
//! ```

use serde_json::{Value, json};

use crate::activity::{Activity, ActivityType, DeliveryMode};
use crate::connector::{self, Connector, SendReceipt};
use crate::http::BoxError;
use crate::id::ActivityId;
use crate::invoke::InvokeResponse;
use crate::reference::ConversationReference;

/// What decides how to answer.
pub trait Bot: Send + Sync {
    /// Answers one activity.
    ///
    /// # Errors
    /// With what went wrong; the endpoint answers 500. Failures of [`Turn::send`] pass through with `?`,
    /// others are wrapped by [`Error::bot`].
    fn on_turn(&self, turn: &mut Turn<'_>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An answer could not be sent.
    #[error("answer could not be sent in the turn")]
    Send(#[from] connector::Error),
    /// The bot itself failed.
    #[error("bot failed in the turn")]
    Bot(#[source] BoxError),
}

impl Error {
    /// A failure of the bot itself.
    pub fn bot(cause: impl Into<BoxError>) -> Self {
        Self::Bot(cause.into())
    }
}

/// The HTTP answer to the request that brought an activity.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnResponse {
    /// The status.
    pub status: u16,
    /// The body, JSON, if there is one.
    pub body: Option<Value>,
}

/// Gives activities to a bot, and brings its answers to the Connector.
#[derive(Clone, Debug)]
pub struct Adapter {
    connector: Connector,
}

/// One activity and the means to answer it.
#[derive(Debug)]
pub struct Turn<'a> {
    connector: &'a Connector,
    activity: &'a Activity,
    reference: ConversationReference,
    replies: Replies,
    invoke_response: Option<InvokeResponse>,
}

/// Where what the bot says goes.
#[derive(Debug)]
enum Replies {
    /// To the Connector, at once.
    Sent,
    /// Into the HTTP answer, when the turn is over.
    Buffered(Vec<Activity>),
}

impl Adapter {
    /// An adapter that answers through `connector`.
    pub const fn new(connector: Connector) -> Self {
        Self { connector }
    }

    /// The connector that answers go through.
    pub const fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Gives an incoming activity to the bot. It must have been authenticated and have its
    /// [essentials](Activity::validate).
    ///
    /// The answer is 200; to an invoke, what the bot responded or 501; to an activity that expects its
    /// replies, 200 with them.
    ///
    /// # Errors
    /// When the bot fails; the endpoint answers 500.
    pub async fn process(&self, activity: &Activity, bot: &impl Bot) -> Result<TurnResponse, Error> {
        let replies = match &activity.delivery_mode {
            Some(DeliveryMode::ExpectReplies) => Replies::Buffered(Vec::new()),
            _ => Replies::Sent,
        };
        let mut turn = Turn {
            connector: &self.connector,
            activity,
            reference: ConversationReference::from_activity(activity),
            replies,
            invoke_response: None,
        };
        bot.on_turn(&mut turn).await?;
        turn.into_response()
    }

    /// Gives the bot a turn of its own in a conversation it knows: what it says there answers nothing. `id`
    /// is a fresh id for the activity that the bot sees, which is never sent.
    ///
    /// # Errors
    /// When the bot fails.
    pub async fn continue_conversation(
        &self,
        reference: &ConversationReference,
        id: ActivityId,
        bot: &impl Bot,
    ) -> Result<(), Error> {
        let activity = reference.continuation_activity(id);
        let mut turn = Turn {
            connector: &self.connector,
            activity: &activity,
            reference: ConversationReference {
                activity_id: None,
                ..reference.clone()
            },
            replies: Replies::Sent,
            invoke_response: None,
        };
        bot.on_turn(&mut turn).await
    }
}

impl Turn<'_> {
    /// The activity that came in.
    pub fn activity(&self) -> &Activity {
        self.activity
    }

    /// The conversation it came from, and the activity to answer there.
    pub fn reference(&self) -> &ConversationReference {
        &self.reference
    }

    /// The connector, for what goes beyond an answer.
    pub fn connector(&self) -> &Connector {
        self.connector
    }

    /// Answers with an activity: addressed to where the incoming one came from, and as its reply when it
    /// has an id.
    ///
    /// An activity without a type is sent as a message. A trace goes to the emulator only; elsewhere it is
    /// dropped.
    ///
    /// # Errors
    /// When the Connector does not take it; see [`connector::Error::class`].
    pub async fn send(&mut self, mut activity: Activity) -> Result<SendReceipt, Error> {
        self.reference.apply_outgoing(&mut activity);
        let kind = activity.kind.get_or_insert(ActivityType::Message);
        if *kind == ActivityType::Trace && activity.parent_channel() != Some("emulator") {
            return Ok(SendReceipt::default());
        }
        if let Replies::Buffered(replies) = &mut self.replies {
            replies.push(activity);
            return Ok(SendReceipt::default());
        }
        let service_url = self.reference.service_url.as_deref().unwrap_or_default();
        let conversation = self.reference.conversation_id().cloned().unwrap_or_default();
        let receipt = match &self.reference.activity_id {
            Some(id) => {
                self.connector
                    .reply_to_activity(service_url, &conversation, id, &activity)
                    .await?
            }
            None => {
                self.connector
                    .send_to_conversation(service_url, &conversation, &activity)
                    .await?
            }
        };
        Ok(receipt)
    }

    /// Answers with a text.
    ///
    /// # Errors
    /// When the Connector does not take it; see [`connector::Error::class`].
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<SendReceipt, Error> {
        self.send(Activity::message(text)).await
    }

    /// Responds to an invoke; the last response counts. To any other activity nobody waits for one, and it
    /// is dropped.
    pub fn respond(&mut self, response: InvokeResponse) {
        self.invoke_response = Some(response);
    }

    fn into_response(self) -> Result<TurnResponse, Error> {
        if let Replies::Buffered(replies) = self.replies {
            let replies = serde_json::to_value(replies).map_err(Error::bot)?;
            return Ok(TurnResponse {
                status: 200,
                body: Some(json!({ "activities": replies })),
            });
        }
        if self.activity.kind == Some(ActivityType::Invoke) {
            let InvokeResponse { status, body } =
                self.invoke_response.unwrap_or(InvokeResponse::NOT_IMPLEMENTED);
            return Ok(TurnResponse { status, body });
        }
        Ok(TurnResponse {
            status: 200,
            body: None,
        })
    }
}

#[cfg(test)]
mod tests;
