//! The conversation reference: everything needed to speak in a conversation again later.

use serde_json::Value;

use crate::activity::{Activity, ActivityType, ChannelAccount, ConversationAccount};
use crate::id::ActivityId;
use crate::wire::{Held, wire_object};

wire_object! {
    /// Where a conversation is and who is in it. Stored and restored whole: unknown properties are kept.
    ///
    /// Read on its own, a reference whose bot is called `agent` (as another SDK stores it) is taken, and written back with `bot`.
    ConversationReference {
        /// The activity that the reference points at; to send without answering it, see [`ConversationReference::address`].
        "activityId" activity_id: Option<ActivityId>,
        /// The user.
        "user" user: Option<ChannelAccount>,
        /// The bot.
        "bot" bot: Option<ChannelAccount>,
        /// The conversation.
        "conversation" conversation: Option<ConversationAccount>,
        /// The channel.
        "channelId" channel_id: Option<String>,
        /// Where to send. Not to be believed before [`crate::service_url::TrustRule::check`].
        "serviceUrl" service_url: Option<String>,
        /// The language of the conversation, BCP 47.
        "locale" locale: Option<String>,
    }
    refuses ["activityId", "channelId", "serviceUrl", "conversation.id", "user.id", "bot.id", "agent.id"]
    then ConversationReference::adopt_agent
}

impl ConversationReference {
    /// The reference to the conversation an incoming activity is in, and to that activity.
    ///
    /// The activity itself is left out for a `conversationUpdate` of Direct Line and Web Chat, which cannot be answered.
    pub fn from_activity(activity: &Activity) -> Self {
        let answerable = activity.kind != Some(ActivityType::ConversationUpdate)
            || !activity.channel_id.as_deref().is_some_and(|channel| {
                channel.eq_ignore_ascii_case("directline") || channel.eq_ignore_ascii_case("webchat")
            });
        Self {
            activity_id: activity.id.clone().filter(|_| answerable),
            user: activity.from.clone(),
            bot: activity.recipient.clone(),
            conversation: activity.conversation.clone(),
            channel_id: activity.channel_id.clone(),
            service_url: activity.service_url.clone(),
            locale: activity.locale.clone(),
            ..Self::default()
        }
    }

    /// Addresses an activity that the bot sends of its own accord: to the conversation, in answer to nothing.
    ///
    /// Sets sender, recipient, conversation, channel and, when the activity has none, the locale. Takes out what a bot must not
    /// send (id, timestamp, service URL, caller) and `null` members, which some channels refuse.
    pub fn address(&self, activity: &mut Activity) {
        activity.strip_channel_fields();
        activity.from = self.bot.as_ref().map(ChannelAccount::to_sent);
        activity.recipient = self.user.as_ref().map(ChannelAccount::to_sent);
        activity.conversation = self.conversation.as_ref().map(ConversationAccount::to_sent);
        activity.channel_id.clone_from(&self.channel_id);
        if activity.locale.is_none() {
            activity.locale.clone_from(&self.locale);
        }
        activity.reply_to_id = None;
    }

    /// Addresses an activity as [`address`](Self::address) does, in answer to the one this reference points at. When it
    /// points at none, the activity keeps the `replyToId` it has.
    pub fn apply_outgoing(&self, activity: &mut Activity) {
        let own = activity.reply_to_id.take();
        self.address(activity);
        activity.reply_to_id = self.activity_id.clone().or(own);
    }

    /// Makes an activity look as if it had come in through this conversation.
    pub fn apply_incoming(&self, activity: &mut Activity) {
        activity.channel_id.clone_from(&self.channel_id);
        activity.service_url.clone_from(&self.service_url);
        activity.conversation.clone_from(&self.conversation);
        activity.from.clone_from(&self.user);
        activity.recipient.clone_from(&self.bot);
        if activity.locale.is_none() {
            activity.locale.clone_from(&self.locale);
        }
        if self.activity_id.is_some() {
            activity.id.clone_from(&self.activity_id);
        }
    }

    /// The activity that a bot is given when it is its own turn to speak. It is never sent.
    pub fn continuation_activity(&self, id: ActivityId) -> Activity {
        Activity {
            kind: Some(ActivityType::Event),
            name: Some("ContinueConversation".to_owned()),
            id: Some(id),
            channel_id: self.channel_id.clone(),
            service_url: self.service_url.clone(),
            locale: self.locale.clone(),
            conversation: self.conversation.clone(),
            from: self.user.clone(),
            recipient: self.bot.clone(),
            relates_to: Some(Box::new(self.clone())),
            ..Activity::default()
        }
    }

    /// The reference to what was just sent here, which is what changing or deleting it needs.
    #[must_use]
    pub fn reply_reference(&self, sent: ActivityId) -> Self {
        Self {
            activity_id: Some(sent),
            ..self.clone()
        }
    }

    /// The reference to the channel that this thread is in; of anything but a thread, the same again.
    ///
    /// A channel's reference does not point at an activity of one of its threads.
    #[must_use]
    pub fn channel_level(&self) -> Self {
        let mut level = self.clone();
        if let Some(conversation) = level
            .conversation
            .as_mut()
            .filter(|place| place.id.thread_root().is_some())
        {
            conversation.id = conversation.id.channel();
            level.activity_id = None;
        }
        level
    }

    fn adopt_agent(mut self) -> Self {
        if self.bot.is_none() && self.extra.get("agent").is_some_and(Value::is_object) {
            self.bot = self.extra.remove("agent").and_then(ChannelAccount::hold);
        }
        self
    }
}
