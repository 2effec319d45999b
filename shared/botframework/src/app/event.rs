//! What Teams reports beside messages: edits, deletions, reactions, read receipts, meetings, files and feedback.
//!
//! Teams and channels that are created, renamed, archived or deleted are reported by
//! [`Activity::team_update`](crate::activity::Activity::team_update), which is a trigger.

use serde_json::Value;

use super::context::Context;
use super::trigger::{Trigger, event, invoke};
use crate::activity::{Activity, ActivityType, MessageReaction, ReactionType};
use crate::id::ActivityId;
use crate::invoke::InvokeResponse;
use crate::wire::wire_object;

/// The `eventType` of the channel data.
fn event_type(activity: &Activity) -> Option<&str> {
    activity.channel_data.as_ref()?.get("eventType")?.as_str()
}

/// A person edited a message to the bot. Its id is that of the message, its text the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageEdited;

impl Trigger for MessageEdited {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        let activity = context.activity();
        let is_update = activity.kind == Some(ActivityType::MessageUpdate);
        (is_update && event_type(activity) != Some("undeleteMessage")).then_some(())
    }
}

/// A person restored a message that they had deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRestored;

impl Trigger for MessageRestored {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        let activity = context.activity();
        let is_update = activity.kind == Some(ActivityType::MessageUpdate);
        (is_update && event_type(activity) == Some("undeleteMessage")).then_some(())
    }
}

/// A person deleted a message to the bot. Its id is that of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageDeleted;

impl Trigger for MessageDeleted {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        (context.activity().kind == Some(ActivityType::MessageDelete)).then_some(())
    }
}

/// Reactions to one message of the bot.
#[derive(Clone, Debug, PartialEq)]
pub struct Reactions {
    /// The message.
    pub message: ActivityId,
    /// The reactions, in order.
    pub kinds: Vec<ReactionType>,
}

/// The reactions among those that an activity reports.
fn reactions(activity: &Activity, reported: &[MessageReaction]) -> Option<Reactions> {
    if activity.kind != Some(ActivityType::MessageReaction) || reported.is_empty() {
        return None;
    }
    Some(Reactions {
        message: activity.reply_to_id.clone()?,
        kinds: reported
            .iter()
            .filter_map(|reaction| reaction.kind.clone())
            .collect(),
    })
}

/// A person reacted to a message of the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReactionsAdded;

impl Trigger for ReactionsAdded {
    type Input = Reactions;

    fn input(&self, context: &Context) -> Option<Reactions> {
        reactions(context.activity(), &context.activity().reactions_added)
    }
}

/// A person took back a reaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReactionsRemoved;

impl Trigger for ReactionsRemoved {
    type Input = Reactions;

    fn input(&self, context: &Context) -> Option<Reactions> {
        reactions(context.activity(), &context.activity().reactions_removed)
    }
}

/// A person read the conversation up to this message of the bot. In their own chat only; needs the permission
/// `ChatMessageReadReceipt.Read.Chat` and the settings of tenant and person (`PROTOCOL.md#h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessagesRead;

impl Trigger for MessagesRead {
    type Input = ActivityId;

    fn input(&self, context: &Context) -> Option<ActivityId> {
        let value = event(context, "application/vnd.microsoft.readReceipt")?
            .value
            .as_ref()?;
        Some(value.get("lastReadMessageId")?.as_str()?.into())
    }
}

wire_object! {
    /// A meeting that begins or ends.
    MeetingEvent {
        /// Its id.
        "Id" id: Option<String>,
        /// Its title.
        "Title" title: Option<String>,
        /// `Scheduled`, `Recurring`, …
        "MeetingType" kind: Option<String>,
        /// The URL to join it.
        "JoinUrl" join_url: Option<String>,
        /// When it began: ISO 8601 in UTC, unparsed.
        "StartTime" start_time: Option<String>,
        /// When it ended: ISO 8601 in UTC, unparsed.
        "EndTime" end_time: Option<String>,
    }
}

fn meeting(context: &Context, name: &str) -> Option<MeetingEvent> {
    MeetingEvent::from_value(event(context, name)?.value.clone()?).ok()
}

/// The meeting of the chat began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeetingStarted;

impl Trigger for MeetingStarted {
    type Input = MeetingEvent;

    fn input(&self, context: &Context) -> Option<MeetingEvent> {
        meeting(context, "application/vnd.microsoft.meetingStart")
    }
}

/// The meeting of the chat ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeetingEnded;

impl Trigger for MeetingEnded {
    type Input = MeetingEvent;

    fn input(&self, context: &Context) -> Option<MeetingEvent> {
        meeting(context, "application/vnd.microsoft.meetingEnd")
    }
}

wire_object! {
    /// The answer of a person to a card that asks whether the bot may store a file for them.
    FileConsent {
        /// `accept` or `decline`.
        "action" action: Option<String>,
        /// What the bot put into the card.
        "context" context: Option<Value>,
        /// Where to put the file, if the person accepts.
        "uploadInfo" upload_info: Option<UploadInfo>,
    }
}

wire_object! {
    /// The place of a file that a person accepted.
    UploadInfo {
        /// The URL that takes the file by `PUT`. Secret: not for logs.
        "uploadUrl" upload_url: Option<String>,
        /// The URL of the file afterwards.
        "contentUrl" content_url: Option<String>,
        /// The name of the file.
        "name" name: Option<String>,
        /// Its id.
        "uniqueId" unique_id: Option<String>,
        /// The type, by the name's end.
        "fileType" file_type: Option<String>,
    }
}

/// A person answered a card that asks whether the bot may store a file for them. What the handler says is sent to the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileAnswered;

impl Trigger for FileAnswered {
    type Input = FileConsent;

    fn input(&self, context: &Context) -> Option<FileConsent> {
        FileConsent::from_value(invoke(context, "fileConsent/invoke")?.value.clone()?).ok()
    }

    fn default_response(&self) -> Option<InvokeResponse> {
        Some(InvokeResponse::DONE)
    }
}

/// The thumb of a person on a message of the bot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageFeedback {
    /// The message.
    pub message: Option<ActivityId>,
    /// `like` or `dislike`.
    pub reaction: String,
    /// What they wrote. Personal data: not for logs.
    pub text: Option<String>,
}

/// A person gave feedback on a message that has feedback buttons: [`Activity::with_feedback_buttons`]. What the handler says is sent
/// to the conversation.
///
/// [`Activity::with_feedback_buttons`]: crate::activity::Activity::with_feedback_buttons
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedbackGiven;

impl Trigger for FeedbackGiven {
    type Input = MessageFeedback;

    fn input(&self, context: &Context) -> Option<MessageFeedback> {
        let activity = invoke(context, "message/submitAction")?;
        let value = activity.value.as_ref()?;
        if value.get("actionName")?.as_str() != Some("feedback") {
            return None;
        }
        let given = value.get("actionValue")?;
        // The text is JSON in a string.
        let written = given.get("feedback").and_then(Value::as_str).unwrap_or_default();
        let written: Value = serde_json::from_str(written).unwrap_or_default();
        let text = written.get("feedbackText").and_then(Value::as_str);
        Some(MessageFeedback {
            message: activity.reply_to_id.clone(),
            reaction: given.get("reaction")?.as_str()?.to_owned(),
            text: text.filter(|text| !text.is_empty()).map(str::to_owned),
        })
    }

    fn default_response(&self) -> Option<InvokeResponse> {
        Some(InvokeResponse::DONE)
    }
}
