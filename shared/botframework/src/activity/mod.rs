//! The activity: the one document that channels and bots exchange, lossless.
//!
//! Parsing and writing an activity gives an equal JSON document: unknown properties at any depth stay,
//! `null`s stay, numbers keep every digit they were written with (only the spelling of an exponent is made
//! uniform: `1E400` becomes `1e+400`), timestamps are strings as they came. A property whose JSON its typed
//! field cannot hold is kept in `extra`; only the fields that nothing works without refuse a wrong type
//! ([`Error::WrongType`]).
//!
//! Two limits come from the JSON parser: nesting deeper than 128 levels is refused, and an object that
//! begins with a property called `$serde_json::private::Number` or `…::RawValue` is refused or read as what
//! that property holds.
//!
//! # Example: an unknown property survives
//! ```
//! use botframework::activity::{Activity, ActivityType};
//!
//! let body = br#"{"type":"message","text":"hi","colour":{"hue":1.10},"conversation":{"id":"c1","shape":null}}"#;
//! let activity = Activity::from_slice(body)?;
//! assert_eq!(activity.kind, Some(ActivityType::Message));
//! assert_eq!(activity.extra["colour"]["hue"].to_string(), "1.10");
//! assert!(activity.conversation.as_ref().is_some_and(|place| place.extra["shape"].is_null()));
//! # Ok::<(), botframework::activity::Error>(())
//! ```

mod account;
mod attachment;
mod entity;
mod vocabulary;

use serde_json::{Number, Value};

pub use account::{ChannelAccount, ConversationAccount};
pub use attachment::{Attachment, CardAction, SuggestedActions};
pub use entity::{ClientInfo, Entity, Mention, SemanticAction, StreamInfo};
pub use vocabulary::{
    ActivityType, AttachmentLayout, DeliveryMode, EndOfConversationCode, Importance, InputHint,
    InstallationAction, ReactionType, Role, Scope, SemanticActionState, TextFormat,
};

use crate::id::ActivityId;
use crate::reference::ConversationReference;
use crate::teams::TeamsChannelData;
use crate::wire::wire_object;

/// Why a document is no activity.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("activity is not valid JSON")]
    Syntax(#[from] serde_json::Error),
    /// The JSON is not an object.
    #[error("expected a JSON object")]
    NotAnObject,
    /// A property that cannot be done without has another type.
    #[error("{path}: expected {expected}, found {found}")]
    WrongType {
        /// Where, as names joined by dots.
        path: &'static str,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A property that this type of activity cannot be without is missing or empty.
    #[error("{path}: missing")]
    Missing {
        /// Where, as names joined by dots.
        path: &'static str,
    },
}

wire_object! {
    /// One activity. Every field is optional here; [`Activity::validate`] is the check at an
    /// endpoint.
    Activity {
        /// What kind of activity this is; `type` on the wire.
        "type" kind: Option<ActivityType>,
        /// The id the channel gave it. A bot never sends one.
        "id" id: Option<ActivityId>,
        /// When the channel recorded it: ISO 8601 in UTC, as it came. A bot never sends one.
        "timestamp" timestamp: Option<String>,
        /// The sender's time with its offset: ISO 8601, as it came.
        "localTimestamp" local_timestamp: Option<String>,
        /// The sender's time zone, an IANA name.
        "localTimezone" local_timezone: Option<String>,
        /// Where answers go. Not to be believed before [`crate::service_url::TrustRule::check`].
        "serviceUrl" service_url: Option<String>,
        /// The channel: `msteams`, `slack`, `directline`, `emulator`, …
        "channelId" channel_id: Option<String>,
        /// Who sent it.
        "from" from: Option<ChannelAccount>,
        /// Who it is for; of an incoming activity, the bot.
        "recipient" recipient: Option<ChannelAccount>,
        /// Where it is said.
        "conversation" conversation: Option<ConversationAccount>,
        /// The activity of the same conversation that this one answers or changes.
        "replyToId" reply_to_id: Option<ActivityId>,
        /// What only this channel knows; see [`Activity::teams`].
        "channelData" channel_data: Option<Value>,
        /// Metadata such as mentions.
        "entities" entities: Vec<Entity>,
        /// Who called, set after authentication. Never to be believed from the wire.
        "callerId" caller_id: Option<String>,
        /// The language of the activity, BCP 47.
        "locale" locale: Option<String>,
        /// The text; may be empty.
        "text" text: Option<String>,
        /// How the text is to be read.
        "textFormat" text_format: Option<TextFormat>,
        /// What is to be spoken, as text or SSML; empty means silence.
        "speak" speak: Option<String>,
        /// Whether the bot waits for an answer.
        "inputHint" input_hint: Option<InputHint>,
        /// Cards and files, in their order.
        "attachments" attachments: Vec<Attachment>,
        /// How several attachments are laid out.
        "attachmentLayout" attachment_layout: Option<AttachmentLayout>,
        /// What is shown where the activity itself is not; in Teams, the text of the toast.
        "summary" summary: Option<String>,
        /// Buttons offered once; in Teams in 1:1 chats only.
        "suggestedActions" suggested_actions: Option<SuggestedActions>,
        /// The payload of an event, invoke, command, trace or submitted card: any JSON.
        "value" value: Option<Value>,
        /// The name of the schema of `value`.
        "valueType" value_type: Option<String>,
        /// What happened or is asked, of an event, invoke or command.
        "name" name: Option<String>,
        /// The label of a trace.
        "label" label: Option<String>,
        /// Another conversation this activity is about.
        "relatesTo" relates_to: Option<Box<ConversationReference>>,
        /// Why a conversation ended.
        "code" code: Option<EndOfConversationCode>,
        /// When the activity stops being of use: ISO 8601 in UTC, as it came.
        "expiration" expiration: Option<String>,
        /// How much the message matters.
        "importance" importance: Option<Importance>,
        /// How answers are delivered.
        "deliveryMode" delivery_mode: Option<DeliveryMode>,
        /// Words that speech recognition should listen for.
        "listenFor" listen_for: Vec<String>,
        /// The parts of the text that a suggestion is about.
        "textHighlights" text_highlights: Vec<TextHighlight>,
        /// The programmatic action that goes with the activity.
        "semanticAction" semantic_action: Option<SemanticAction>,
        /// Who came into the conversation.
        "membersAdded" members_added: Vec<ChannelAccount>,
        /// Who left the conversation.
        "membersRemoved" members_removed: Vec<ChannelAccount>,
        /// Reactions put on the message `replyToId`.
        "reactionsAdded" reactions_added: Vec<MessageReaction>,
        /// Reactions taken from the message `replyToId`.
        "reactionsRemoved" reactions_removed: Vec<MessageReaction>,
        /// The conversation's new name.
        "topicName" topic_name: Option<String>,
        /// Deprecated: whether earlier history was disclosed.
        "historyDisclosed" history_disclosed: Option<bool>,
        /// What was done, of an installation or contact relation update.
        "action" action: Option<InstallationAction>,
        /// Internal to another SDK; a bot never sends one.
        "requestId" request_id: Option<String>,
    }
    refuses ["type", "id", "channelId", "serviceUrl", "conversation.id", "from.id", "recipient.id"]
}

wire_object! {
    /// Part of the text of the message that a suggestion is about.
    TextHighlight {
        /// The words.
        "text" text: Option<String>,
        /// Which of their occurrences, from 1.
        "occurrence" occurrence: Option<Number>,
    }
}

wire_object! {
    /// One reaction to a message.
    MessageReaction {
        /// Which; `type` on the wire.
        "type" kind: Option<ReactionType>,
    }
}

impl Activity {
    /// Reads an activity from the body of a request.
    ///
    /// # Errors
    /// When the body is no JSON object, or a property that cannot be done without has another type.
    pub fn from_slice(body: &[u8]) -> Result<Self, Error> {
        Self::from_value(serde_json::from_slice(body)?)
    }

    /// A message that says `text`.
    pub fn message(text: impl Into<String>) -> Self {
        Self {
            kind: Some(ActivityType::Message),
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// Whether this is a message. Other SDKs also take `message/…` in any case for one, and so do we.
    pub fn is_message(&self) -> bool {
        match &self.kind {
            Some(ActivityType::Message) => true,
            Some(ActivityType::Other(name)) => name
                .as_bytes()
                .get(..8)
                .is_some_and(|it| it.eq_ignore_ascii_case(b"message/")),
            _ => false,
        }
    }

    /// Checks that everything is there which an endpoint must not do without: type, conversation, channel,
    /// sender, and the name of what is named (event, invoke, command).
    ///
    /// # Errors
    /// With the path of the first one missing; an endpoint answers 400.
    pub fn validate(&self) -> Result<(), Error> {
        let named = matches!(
            self.kind,
            Some(
                ActivityType::Event
                    | ActivityType::Invoke
                    | ActivityType::Command
                    | ActivityType::CommandResult
            )
        );
        let essentials = [
            (
                "type",
                self.kind.as_ref().is_some_and(|kind| !kind.as_str().is_empty()),
            ),
            (
                "conversation.id",
                self.conversation
                    .as_ref()
                    .is_some_and(|place| !place.id.is_empty()),
            ),
            (
                "channelId",
                self.channel_id.as_ref().is_some_and(|id| !id.is_empty()),
            ),
            (
                "from.id",
                self.from.as_ref().is_some_and(|account| !account.id.is_empty()),
            ),
            (
                "name",
                !named || self.name.as_ref().is_some_and(|name| !name.is_empty()),
            ),
        ];
        match essentials.into_iter().find(|(_, present)| !present) {
            Some((path, _)) => Err(Error::Missing { path }),
            None => Ok(()),
        }
    }

    /// The channel without a sub-channel: `agents` for `agents:email`.
    pub fn parent_channel(&self) -> Option<&str> {
        self.channel_id.as_deref().and_then(|id| id.split(':').next())
    }

    /// The tenant the conversation belongs to, which older Teams payloads name in `channelData` only.
    pub fn tenant_id(&self) -> Option<&str> {
        let named = self
            .conversation
            .as_ref()
            .and_then(|place| place.tenant_id.as_deref());
        let in_channel_data = || {
            let teams = self.parent_channel() == Some("msteams");
            self.channel_data
                .as_ref()
                .filter(|_| teams)?
                .get("tenant")?
                .get("id")?
                .as_str()
        };
        named
            .filter(|id| !id.is_empty())
            .or_else(in_channel_data)
            .filter(|id| !id.is_empty())
    }

    /// The channel data as Teams shapes it, or nothing when it is no object.
    pub fn teams(&self) -> Option<TeamsChannelData> {
        self.channel_data
            .clone()
            .and_then(|data| TeamsChannelData::from_value(data).ok())
    }

    /// Whether the bot itself is among the members that came.
    pub fn adds_bot(&self) -> bool {
        self.concerns_bot(&self.members_added)
    }

    /// Whether the bot itself is among the members that left.
    pub fn removes_bot(&self) -> bool {
        self.concerns_bot(&self.members_removed)
    }

    /// What was said to the bot: the text without the mentions of the bot itself, trimmed.
    ///
    /// In groups and channels Teams delivers only what mentions the bot, and the mention stands in the text
    /// (`<at>Bot</at> help`).
    pub fn text_to_bot(&self) -> String {
        let mut text = self.text.clone().unwrap_or_default();
        let bot = self.recipient.as_ref().map(|bot| &bot.id);
        for mention in self.entities.iter().filter_map(Entity::as_mention) {
            let of_bot = mention.mentioned.as_ref().map(|account| &account.id) == bot;
            if let Some(words) = mention.text.filter(|words| of_bot && !words.is_empty()) {
                text = text.replace(&words, "");
            }
        }
        text.trim().to_owned()
    }

    fn concerns_bot(&self, members: &[ChannelAccount]) -> bool {
        let bot = self
            .recipient
            .as_ref()
            .map(|bot| &bot.id)
            .filter(|id| !id.is_empty());
        bot.is_some_and(|bot| members.iter().any(|member| member.id == *bot))
    }

    /// Takes out what a bot must not send: id, timestamp, service URL, caller, the other SDK's request id,
    /// and `null`s.
    pub(crate) fn strip_unsendable(&mut self) {
        self.id = None;
        self.timestamp = None;
        self.service_url = None;
        self.caller_id = None;
        self.request_id = None;
        self.extra.retain(|name, value| {
            !value.is_null()
                && !matches!(
                    name.as_str(),
                    "id" | "timestamp" | "serviceUrl" | "callerId" | "requestId"
                )
        });
    }
}

#[cfg(test)]
mod tests;
