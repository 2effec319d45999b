//! The claim on a turn, so that an activity which the channel sends twice is answered once.

use botframework::activity::{Activity, ActivityType, DeliveryMode, InstallationAction};
use botframework::auth::VerifiedActivity;
use botframework::id::{ActivityId, TeamId};
use jiff::Timestamp;
use serde_json::Value;

use crate::digest::sha256_hex;

/// Properties that may differ between copies of one activity.
const VOLATILE: [&str; 6] = [
    "timestamp",
    "localTimestamp",
    "localTimezone",
    "serviceUrl",
    "callerId",
    "locale",
];

/// Names a turn: a digest, which says nothing about the conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TurnKey(String);

impl TurnKey {
    /// The turn of an activity. `None` if a copy of it must be answered again: the response to the request is the answer, or the
    /// activity has no id.
    ///
    /// Beside the id, the content counts: an edit has the id of its message, and some emulators number nothing.
    pub fn of_activity(activity: &VerifiedActivity) -> Option<Self> {
        let sender = activity.caller().app_id.as_deref().unwrap_or_default();
        let activity = activity.activity();
        let is_answered_in_response = activity.kind == Some(ActivityType::Invoke)
            || activity.delivery_mode == Some(DeliveryMode::ExpectReplies);
        if is_answered_in_response || activity.id.as_ref().is_none_or(ActivityId::is_empty) {
            return None;
        }
        let mut content = serde_json::to_value(activity).ok()?;
        if let Some(content) = content.as_object_mut() {
            content.retain(|name, _| !VOLATILE.contains(&name.as_str()));
        }
        Some(Self::digest(&["turn", sender, &content.to_string()]))
    }

    /// The welcome to the place that the bot was added to, if the activity says that it was. One installation leads to several
    /// activities, in any order: `installationUpdate` and `conversationUpdate`. In a team they may come from two channels.
    pub fn of_welcome(activity: &Activity) -> Option<Self> {
        let is_added = match &activity.kind {
            Some(ActivityType::InstallationUpdate) => activity.action == Some(InstallationAction::Add),
            Some(ActivityType::ConversationUpdate) => activity.adds_bot(),
            _ => false,
        };
        is_added.then(|| Self::welcome_in(activity)).flatten()
    }

    /// The welcome that is forgotten when the bot is removed, so that its return is welcomed.
    pub fn of_ended_welcome(activity: &Activity) -> Option<Self> {
        let is_removed = match &activity.kind {
            Some(ActivityType::InstallationUpdate) => activity.action == Some(InstallationAction::Remove),
            Some(ActivityType::ConversationUpdate) => activity.removes_bot(),
            _ => false,
        };
        is_removed.then(|| Self::welcome_in(activity)).flatten()
    }

    fn welcome_in(activity: &Activity) -> Option<Self> {
        let conversation = activity.conversation.as_ref()?.id.channel();
        let event = activity
            .channel_data
            .as_ref()
            .and_then(|data| data.get("eventType"));
        let of_channel = matches!(
            event.and_then(Value::as_str),
            Some("channelMemberAdded" | "channelMemberRemoved")
        );
        let team = activity.team_id().filter(|_| !of_channel);
        let place = team.as_ref().map_or(conversation.as_str(), TeamId::as_str);
        let bot = activity.recipient.as_ref().map_or("", |bot| bot.id.as_str());
        let channel = activity.channel_id.as_deref()?;
        Some(Self::digest(&["welcome", channel, bot, place]))
    }

    fn digest(parts: &[&str]) -> Self {
        let name: Vec<String> = parts
            .iter()
            .map(|part| format!("{}:{part}", part.len()))
            .collect();
        Self(sha256_hex(name.concat().as_bytes()))
    }

    /// The stored key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The stored state of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnRecord {
    /// A worker runs it until this moment.
    Running {
        /// When its lease expires.
        until: Timestamp,
    },
    /// It is done; copies are not answered until this moment.
    Done {
        /// When the record expires.
        until: Timestamp,
    },
}

/// The answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnClaim {
    /// The caller runs the turn.
    Claimed,
    /// Another worker runs it.
    Running {
        /// When its lease expires.
        until: Timestamp,
    },
    /// It is done.
    Done,
}

impl TurnClaim {
    /// The answer to a claim at `now`.
    pub fn of(record: Option<TurnRecord>, now: Timestamp) -> Self {
        match record {
            Some(TurnRecord::Running { until }) if until > now => Self::Running { until },
            Some(TurnRecord::Done { until }) if until > now => Self::Done,
            Some(TurnRecord::Running { .. } | TurnRecord::Done { .. }) | None => Self::Claimed,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn welcome(properties: &Value) -> Option<TurnKey> {
        let mut document = json!({
            "channelId": "msteams", "recipient": {"id": "28:bot"},
            "conversation": {"id": "19:chan-a@thread.tacv2"}, "channelData": {"team": {"id": "19:team1@thread.tacv2"}},
        });
        document
            .as_object_mut()
            .unwrap()
            .extend(properties.as_object().unwrap().clone());
        TurnKey::of_welcome(&Activity::from_value(document).unwrap())
    }

    #[test]
    fn all_activities_about_one_installation_lead_to_one_welcome() {
        let installed = json!({"type": "installationUpdate", "action": "add"});
        let added = json!({"type": "conversationUpdate", "membersAdded": [{"id": "28:bot"}],
            "conversation": {"id": "19:team1@thread.tacv2"}});
        let first = welcome(&installed).unwrap();
        assert_eq!(Some(first.clone()), welcome(&added));
        let shared = json!({"type": "conversationUpdate", "membersAdded": [{"id": "28:bot"}],
            "channelData": {"eventType": "channelMemberAdded", "team": {"id": "19:team1@thread.tacv2"}}});
        assert_ne!(Some(first), welcome(&shared), "a shared channel is another place");
        for other in [
            json!({"type": "message"}),
            json!({"type": "installationUpdate", "action": "add-upgrade"}),
            json!({"type": "installationUpdate", "action": "remove"}),
            json!({"type": "conversationUpdate", "membersAdded": [{"id": "29:ada"}]}),
        ] {
            assert_eq!(welcome(&other), None);
        }
    }

    #[test]
    fn a_turn_is_claimed_again_when_its_worker_died() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let running = Some(TurnRecord::Running { until: at(20) });
        assert_eq!(TurnClaim::of(None, at(0)), TurnClaim::Claimed);
        assert_eq!(
            TurnClaim::of(running, at(19)),
            TurnClaim::Running { until: at(20) }
        );
        assert_eq!(TurnClaim::of(running, at(20)), TurnClaim::Claimed);
        let done = Some(TurnRecord::Done { until: at(60) });
        assert_eq!(TurnClaim::of(done, at(59)), TurnClaim::Done);
        assert_eq!(TurnClaim::of(done, at(60)), TurnClaim::Claimed);
    }
}
