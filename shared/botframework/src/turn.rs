//! A turn: one authenticated activity comes in, the bot replies, and the HTTP response follows from that.
//!
//! The order is fixed by types: [`Activity::from_slice`] parses, [`Authenticator::authenticate`] validates and
//! authenticates, and [`Adapter::process`] takes only the [`VerifiedActivity`] which that returns.
//!
//! [`Authenticator::authenticate`]: crate::auth::Authenticator::authenticate
//!
//! # Example: a bot that echoes
//! ```
//! use std::time::SystemTime;
//!
//! use botframework::activity::Activity;
//! use botframework::auth::Authenticator;
//! use botframework::cloud::Cloud;
//! use botframework::connector::Connector;
//! use botframework::http::HttpTransport;
//! use botframework::turn::{self, Adapter, Bot, Turn};
//! use http::HeaderMap;
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
//! // For channels on this machine. A deployed bot has a policy and a credential: `Authenticator::new`, `Connector::new`.
//! let authenticator = Authenticator::unauthenticated(Cloud::Public);
//! let adapter = Adapter::new(Connector::unauthenticated(HttpTransport::builder().build()?));
//!
//! // `expectReplies`: the replies go into the HTTP response, not to the Connector.
//! let body = br#"{"type":"message","text":"hi","deliveryMode":"expectReplies","channelId":"emulator",
//!     "serviceUrl":"http://localhost:3978/","from":{"id":"ada"},"conversation":{"id":"c1"}}"#;
//! let activity = Activity::from_slice(body)?;
//! let activity = authenticator.authenticate(&HeaderMap::new(), activity, SystemTime::now()).await?;
//! let response = adapter.process(&activity, &Parrot).await?;
//! assert_eq!(response.body.unwrap_or_default()["activities"][0]["text"], "You said: hi");
//! # Ok(())
//! # }
//! ```

use serde_json::{Value, json};

use crate::activity::{Activity, ActivityType, DeliveryMode};
use crate::auth::VerifiedActivity;
use crate::connector::{self, Connector, SendReceipt};
use crate::http::BoxError;
use crate::id::ActivityId;
use crate::invoke::InvokeResponse;
use crate::reference::ConversationReference;

/// The most characters of an invoke's name that are logged.
const LOGGED_NAME_MAX: usize = 64;

/// The bot's own code.
pub trait Bot: Send + Sync {
    /// Handles one activity.
    ///
    /// # Errors
    /// The endpoint answers 500. Failures of [`Turn::send`] pass through with `?`; others are wrapped by
    /// [`Error::bot`].
    fn on_turn(&self, turn: &mut Turn<'_>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A reply could not be sent.
    #[error("reply could not be sent")]
    Send(#[from] connector::Error),
    /// The bot itself failed.
    #[error("bot failed in the turn")]
    Bot(#[source] BoxError),
}

impl Error {
    /// Wraps a failure of the bot itself.
    pub fn bot(cause: impl Into<BoxError>) -> Self {
        Self::Bot(cause.into())
    }
}

/// The HTTP response to the request that brought an activity.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnResponse {
    /// The status of the HTTP response.
    pub status: u16,
    /// JSON body, if there is one.
    pub body: Option<Value>,
}

/// Runs turns: gives activities to a bot, and sends its replies through the Connector.
#[derive(Clone, Debug)]
pub struct Adapter {
    connector: Connector,
}

/// One activity and the means to reply to it.
#[derive(Debug)]
pub struct Turn<'a> {
    connector: &'a Connector,
    activity: &'a Activity,
    reference: ConversationReference,
    replies: Replies,
    invoke_response: Option<InvokeResponse>,
}

/// The destination of replies.
#[derive(Debug)]
enum Replies {
    /// To the Connector, at once.
    Sent,
    /// Into the HTTP response, at the end of the turn.
    Buffered(Vec<Activity>),
}

impl Adapter {
    /// Creates an adapter that replies through `connector`.
    pub const fn new(connector: Connector) -> Self {
        Self { connector }
    }

    /// The connector that replies go through.
    pub const fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Runs the bot's turn for an incoming activity.
    ///
    /// The response is 200; to an invoke, what the bot responded or [`InvokeResponse::unhandled`]; to an activity with `expectReplies`, 200 with
    /// the replies.
    ///
    /// # Errors
    /// When the bot fails; the endpoint answers 500.
    pub async fn process(&self, incoming: &VerifiedActivity, bot: &impl Bot) -> Result<TurnResponse, Error> {
        let activity = incoming.activity();
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

    /// Runs a turn that no incoming activity began, in a known conversation. What the bot sends replies to nothing. `id` is
    /// a fresh id for the event activity that the bot sees; it is never sent.
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
    /// The authenticated incoming activity.
    pub fn activity(&self) -> &Activity {
        self.activity
    }

    /// The conversation it came from, and the activity that replies refer to.
    pub fn reference(&self) -> &ConversationReference {
        &self.reference
    }

    /// The connector, for requests other than replies.
    pub fn connector(&self) -> &Connector {
        self.connector
    }

    /// Sends an activity to the conversation of the incoming one, as a reply if that has an id.
    ///
    /// An activity without a type is sent as a message. A trace goes to the emulator only; elsewhere it is dropped.
    ///
    /// # Errors
    /// When the Connector rejects it; see [`connector::Error::class`].
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

    /// Sends a text message; see [`send`](Self::send).
    ///
    /// # Errors
    /// When the Connector rejects it; see [`connector::Error::class`].
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<SendReceipt, Error> {
        self.send(Activity::message(text)).await
    }

    /// Sets the response to an invoke; the last one counts. Ignored for other activities.
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
            let InvokeResponse { status, body } = self.invoke_response.unwrap_or_else(|| {
                let name = self.activity.name.as_deref();
                let invoke: String = name.unwrap_or_default().chars().take(LOGGED_NAME_MAX).collect();
                tracing::warn!(
                    error_type = "InvokeUnhandled",
                    invoke,
                    "the bot did not respond to an invoke"
                );
                InvokeResponse::unhandled(name)
            });
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
