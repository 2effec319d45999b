//! The activity: the JSON document that channels and bots exchange, without loss.
//!
//! Parsing and serialising an activity yields an equal JSON document: unknown properties at any depth stay, `null`s stay,
//! numbers are written as they came ([`crate::lossless`]), timestamps stay strings. A property whose JSON does not fit its
//! typed field is kept in `extra`; only the required fields refuse a wrong type ([`Error::WrongType`]).
//!
//! Two limits come from the JSON parser: nesting deeper than 128 levels is refused, and an object whose first property
//! is `$serde_json::private::RawValue` is refused or read as that property's value.
//!
//! # Example: an unknown property survives
//! ```
//! use botframework::activity::{Activity, ActivityType};
//!
//! let body = br#"{"type":"message","text":"hi","colour":{"hue":1.10},"conversation":{"id":"c1","shape":null}}"#;
//! let activity = Activity::from_slice(body)?;
//! assert_eq!(activity.kind, Some(ActivityType::Message));
//! assert_eq!(activity.extra["colour"]["hue"], 1.1);
//! assert!(serde_json::to_string(&activity)?.contains(r#"{"hue":1.10}"#));
//! assert!(activity.conversation.as_ref().is_some_and(|place| place.extra["shape"].is_null()));
//! # Ok::<(), botframework::activity::Error>(())
//! ```

mod account;
mod attachment;
mod entity;
mod mention_text;
mod vocabulary;

use serde_json::{Number, Value};

pub use account::{ChannelAccount, ConversationAccount};
pub use attachment::{Attachment, CardAction, SuggestedActions};
pub use entity::{Entity, Mention, SemanticAction};
pub use vocabulary::{
    ActivityType, AttachmentLayout, DeliveryMode, EndOfConversationCode, Importance, InputHint,
    InstallationAction, ReactionType, Role, Scope, SemanticActionState, TextFormat,
};

use crate::id::{ActivityId, ChannelAccountId, TenantId};
use crate::lossless::LosslessJson;
use crate::wire::wire_object;

pub use crate::wire::Error;

wire_object! {
    /// One activity. Every field is optional; [`Activity::validate`] checks the required ones.
    Activity {
        /// The type; `type` on the wire.
        "type" kind: Option<ActivityType>,
        /// The channel's id of it. A bot never sends one.
        "id" id: Option<ActivityId>,
        /// When the channel recorded it: ISO 8601 in UTC, unparsed. A bot never sends one.
        "timestamp" timestamp: Option<String>,
        /// The sender's time with its offset: ISO 8601, unparsed.
        "localTimestamp" local_timestamp: Option<String>,
        /// The sender's time zone, an IANA name.
        "localTimezone" local_timezone: Option<String>,
        /// The base URL for replies. Untrusted before [`crate::service_url::TrustRule::check`].
        "serviceUrl" service_url: Option<String>,
        /// The channel: `msteams`, `slack`, `directline`, `emulator`, …
        "channelId" channel_id: Option<String>,
        /// The sender's account.
        "from" from: Option<ChannelAccount>,
        /// The recipient; of an incoming activity, the bot.
        "recipient" recipient: Option<ChannelAccount>,
        /// The conversation that the activity belongs to.
        "conversation" conversation: Option<ConversationAccount>,
        /// The activity of the same conversation that this one replies to or changes.
        "replyToId" reply_to_id: Option<ActivityId>,
        /// Channel-specific data; of Teams, see [`crate::teams::TeamsChannelData`].
        "channelData" channel_data: Option<Value>,
        /// Metadata such as mentions.
        "entities" entities: Vec<Entity>,
        /// The authenticated caller; see [`crate::auth::VerifiedActivity`]. Untrusted on the wire.
        "callerId" caller_id: Option<String>,
        /// The language of the activity, BCP 47.
        "locale" locale: Option<String>,
        /// The text; may be empty.
        "text" text: Option<String>,
        /// The format of the text.
        "textFormat" text_format: Option<TextFormat>,
        /// Speech as text or SSML; empty means silence.
        "speak" speak: Option<String>,
        /// Whether the bot waits for input.
        "inputHint" input_hint: Option<InputHint>,
        /// Cards and files, in order.
        "attachments" attachments: Vec<Attachment>,
        /// Layout of several attachments.
        "attachmentLayout" attachment_layout: Option<AttachmentLayout>,
        /// Fallback text; in Teams, the text of the toast.
        "summary" summary: Option<String>,
        /// Buttons shown once; in Teams in 1:1 chats only.
        "suggestedActions" suggested_actions: Option<SuggestedActions>,
        /// The payload of an event, invoke, command, trace or submitted card: any JSON.
        "value" value: Option<Value>,
        /// The name of the schema of `value`.
        "valueType" value_type: Option<String>,
        /// The name of an event, invoke or command.
        "name" name: Option<String>,
        /// The label of a trace.
        "label" label: Option<String>,
        /// Another conversation this activity is about: a
        /// [`ConversationReference`](crate::reference::ConversationReference) as JSON.
        "relatesTo" relates_to: Option<Value>,
        /// Why a conversation ended.
        "code" code: Option<EndOfConversationCode>,
        /// When the activity expires: ISO 8601 in UTC, unparsed.
        "expiration" expiration: Option<String>,
        /// The importance; absent means normal.
        "importance" importance: Option<Importance>,
        /// How replies are delivered.
        "deliveryMode" delivery_mode: Option<DeliveryMode>,
        /// Words for speech recognition.
        "listenFor" listen_for: Vec<String>,
        /// The parts of the text that a suggestion is about.
        "textHighlights" text_highlights: Vec<TextHighlight>,
        /// The programmatic action that goes with the activity.
        "semanticAction" semantic_action: Option<SemanticAction>,
        /// Members added to the conversation.
        "membersAdded" members_added: Vec<ChannelAccount>,
        /// Members removed from the conversation.
        "membersRemoved" members_removed: Vec<ChannelAccount>,
        /// Reactions added to the message `replyToId`.
        "reactionsAdded" reactions_added: Vec<MessageReaction>,
        /// Reactions removed from the message `replyToId`.
        "reactionsRemoved" reactions_removed: Vec<MessageReaction>,
        /// The conversation's new name.
        "topicName" topic_name: Option<String>,
        /// Deprecated: whether earlier history was disclosed.
        "historyDisclosed" history_disclosed: Option<bool>,
        /// The action of an installation or contact relation update.
        "action" action: Option<InstallationAction>,
        /// Internal to another SDK; a bot never sends one.
        "requestId" request_id: Option<String>,
    }
    refuses ["type", "id", "channelId", "serviceUrl", "conversation.id", "from.id", "recipient.id"]
}

wire_object! {
    /// Part of the text of the message that a suggestion is about.
    TextHighlight {
        /// The words, as in the text of that message.
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
    /// Parses the body of a request. Lone surrogates in it are read as U+FFFD: see [`crate::json::from_slice`].
    ///
    /// # Errors
    /// When the body is not a JSON object, or a required property has another type; an endpoint answers 400.
    pub fn from_slice(body: &[u8]) -> Result<Self, Error> {
        Self::from_lossless(LosslessJson::from_slice(body)?)
    }

    /// A message with this text and nothing else.
    pub fn message(text: impl Into<String>) -> Self {
        Self {
            kind: Some(ActivityType::Message),
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// The activity with a mention of an account at the end of its text. One without a name is mentioned by its id.
    #[must_use]
    pub fn and_mention(mut self, account: &ChannelAccount) -> Self {
        let name = account.name.as_deref().unwrap_or(account.id.as_str());
        let mention = mention_text::of(name);
        self.text.get_or_insert_default().push_str(&mention);
        let entity = Mention {
            mentioned: Some(account.clone()),
            text: Some(mention),
            ..Mention::default()
        };
        self.entities.push(entity.into_entity());
        self
    }

    /// The activity with one more attachment. Teams splits a message with text and a card in two, and names none of them.
    #[must_use]
    pub fn and_attachment(mut self, attachment: Attachment) -> Self {
        self.attachments.push(attachment);
        self
    }

    /// Whether this is a message. As in other SDKs, `message/…` in any case is one, too.
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

    /// Checks the required fields: type, conversation, channel, sender, and of an event, invoke or command the name.
    ///
    /// # Errors
    /// [`Error::Missing`] with the path of the first one; an endpoint answers 400.
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
        let required = [
            (
                "type",
                self.kind.as_ref().is_some_and(|kind| !kind.as_str().is_empty()),
            ),
            (
                "conversation.id",
                self.conversation
                    .as_ref()
                    .is_some_and(|conversation| !conversation.id.is_empty()),
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
        match required.into_iter().find(|(_, present)| !present) {
            Some((path, _)) => Err(Error::Missing { path }),
            None => Ok(()),
        }
    }

    /// The channel without a sub-channel: `agents` for `agents:email`.
    pub fn parent_channel(&self) -> Option<&str> {
        self.channel_id.as_deref().and_then(|id| id.split(':').next())
    }

    /// The tenant of the conversation; older Teams payloads name it in `channelData` only.
    pub fn tenant_id(&self) -> Option<TenantId> {
        let conversation = self.conversation.as_ref();
        let named = conversation.and_then(|conversation| conversation.tenant_id.clone());
        let in_channel_data = || {
            let data = self.channel_data.as_ref();
            let teams = self.parent_channel() == Some("msteams");
            let id = data.filter(|_| teams)?.pointer("/tenant/id")?.as_str()?;
            Some(TenantId::from(id))
        };
        named
            .filter(|id| !id.is_empty())
            .or_else(in_channel_data)
            .filter(|id| !id.is_empty())
    }

    /// Whether the bot itself is among the added members.
    pub fn adds_bot(&self) -> bool {
        self.has_bot(&self.members_added)
    }

    /// Whether the bot itself is among the removed members.
    pub fn removes_bot(&self) -> bool {
        self.has_bot(&self.members_removed)
    }

    /// The text without mentions of the bot itself, trimmed.
    ///
    /// In groups and channels Teams delivers only messages that mention the bot, and the mention is part of the text
    /// (`<at>Bot</at> help`). The mention's entity may lack that part, or hold it unescaped; then it is found by the bot's name.
    pub fn text_to_bot(&self) -> String {
        let mut text = self.text.clone().unwrap_or_default();
        let mentions: Vec<Mention> = self.entities.iter().filter_map(Entity::as_mention).collect();
        let (of_bot, of_others): (Vec<_>, Vec<_>) =
            mentions.into_iter().partition(|mention| self.is_of_bot(mention));
        let mut names: Vec<String> = self.recipient.iter().filter_map(|bot| bot.name.clone()).collect();
        let mut is_complete = true;
        for mention in &of_bot {
            let part = mention.text.as_deref().filter(|part| !part.is_empty());
            names.extend(mention.mentioned.iter().filter_map(|bot| bot.name.clone()));
            names.extend(part.and_then(mention_text::name_of));
            match part.filter(|part| text.contains(part)) {
                Some(part) => text = text.replace(part, ""),
                None => is_complete = false,
            }
        }
        if !is_complete {
            // Without any name, the mentions are the bot's if no entity is about another account.
            let is_only = names.iter().all(|name| name.trim().is_empty()) && of_others.is_empty();
            text = mention_text::without_mentions(&text, |name| {
                is_only || names.iter().any(|of_bot| of_bot.trim() == name)
            });
        }
        text.replace("&nbsp;", " ").trim().to_owned()
    }

    fn is_of_bot(&self, mention: &Mention) -> bool {
        let mentioned = mention.mentioned.as_ref().map(|account| &account.id);
        mentioned.is_some() && mentioned == self.bot_id()
    }

    fn has_bot(&self, members: &[ChannelAccount]) -> bool {
        self.bot_id()
            .is_some_and(|bot| members.iter().any(|member| member.id == *bot))
    }

    /// The bot's account id, if the activity names its recipient.
    fn bot_id(&self) -> Option<&ChannelAccountId> {
        let bot = self.recipient.as_ref().map(|bot| &bot.id);
        bot.filter(|id| !id.is_empty())
    }

    /// Removes what a bot must not send: id, timestamp, service URL, caller, another SDK's request id, and `null`s.
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
