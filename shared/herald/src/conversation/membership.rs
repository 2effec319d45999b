//! What an activity says about who is in a conversation: the bot, and in a personal conversation the person.

use botframework::activity::{Activity, ActivityType, ChannelAccount, InstallationAction};
use botframework::id::ConversationId;
use botframework::reference::ConversationReference;
use botframework::teams::is_teams;

use super::Attributes;

/// What an activity says about the bot's membership of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// The bot was installed, added, or written to: the conversation becomes active.
    Joined,
    /// The bot is a member: the conversation is stored; a removed one stays removed.
    Unchanged,
    /// Nothing. A person invokes a message extension in chats that the bot is not in: a conversation that is not stored yet is
    /// not stored.
    Unknown,
    /// The bot was uninstalled or removed.
    Left,
}

impl Membership {
    /// What an activity says about the bot.
    pub(super) fn of_bot(activity: &Activity) -> Self {
        match &activity.kind {
            _ if activity.is_message() => Self::Joined,
            Some(ActivityType::InstallationUpdate) => match &activity.action {
                Some(InstallationAction::Add | InstallationAction::AddUpgrade) => Self::Joined,
                Some(InstallationAction::Remove | InstallationAction::RemoveUpgrade) => Self::Left,
                Some(_) | None => Self::Unchanged,
            },
            Some(ActivityType::ConversationUpdate) if activity.removes_bot() => Self::Left,
            Some(ActivityType::ConversationUpdate) if activity.adds_bot() => Self::Joined,
            // Only members get these.
            Some(ActivityType::ConversationUpdate | ActivityType::Event) => Self::Unchanged,
            _ => Self::Unknown,
        }
    }
}

/// The members other than the bot that left a conversation.
pub(super) fn people_who_left(activity: &Activity) -> Vec<ChannelAccount> {
    if activity.kind != Some(ActivityType::ConversationUpdate) || activity.removes_bot() {
        return Vec::new();
    }
    activity.members_removed.clone()
}

/// Whether one of these accounts is the person of a personal conversation. An account that the record cannot tell apart is the
/// person: there is no other member beside the bot.
pub(super) fn include_person(accounts: &[ChannelAccount], known: &Attributes) -> bool {
    accounts.iter().any(|account| {
        let user = account.entra_object_id.as_ref();
        match (&known.account, &known.user) {
            (Some(id), _) if *id == account.id => true,
            (_, Some(id)) if user.is_some() => {
                user.is_some_and(|user| user.as_str().eq_ignore_ascii_case(id.as_str()))
            }
            (Some(_), _) => false,
            (None, _) => true,
        }
    })
}

/// Whether a bot that [joined](Membership::Joined) or [left](Membership::Left) a conversation has joined or left the whole team.
///
/// A bot may be added to one shared channel only, or removed from it. Teams reports that with the id of the team that hosts the channel.
pub(super) fn is_of_whole_team(activity: &Activity, conversation: &ConversationId) -> bool {
    let data = activity.channel_data.as_ref();
    let word = |path: &str| data.and_then(|data| data.pointer(path)?.as_str());
    match word("/eventType") {
        Some("channelMemberAdded" | "channelMemberRemoved") => false,
        Some("teamMemberAdded" | "teamMemberRemoved") => true,
        _ if activity
            .team_id()
            .is_some_and(|team| team.as_str() == conversation.channel().as_str()) =>
        {
            true
        }
        // The app is installed in a team, and the event comes from the channel that its installer chose.
        _ => {
            activity.kind == Some(ActivityType::InstallationUpdate)
                && !matches!(word("/channel/type"), Some("shared" | "private"))
        }
    }
}

/// Whether Teams' id is of a chat between two people. A person invokes a message extension there; the bot is no member, although
/// the activity calls the conversation personal.
pub(super) fn is_chat_of_two_people(activity: &Activity, reference: &ConversationReference) -> bool {
    let id = reference.conversation_id().map(ConversationId::as_str);
    let members = id.and_then(|id| id.strip_prefix("19:")?.strip_suffix("@unq.gbl.spaces"));
    let bot = reference.bot.as_ref().map_or("", |bot| bot.id.as_str());
    let bot = bot.strip_prefix("28:").unwrap_or(bot);
    is_teams(activity.channel_id.as_deref())
        && members.is_some_and(|members| !members.split('_').any(|member| member.eq_ignore_ascii_case(bot)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn activity(properties: &Value) -> Activity {
        let mut document = json!({
            "type": "conversationUpdate", "channelId": "msteams", "recipient": {"id": "28:bot"},
            "channelData": {"team": {"id": "19:team@thread.tacv2"}},
        });
        document
            .as_object_mut()
            .unwrap()
            .extend(properties.as_object().unwrap().clone());
        Activity::from_value(document).unwrap()
    }

    #[test]
    fn only_the_team_itself_loses_the_bot_with_all_channels() {
        let team = json!({"id": "19:team@thread.tacv2"});
        let shared = json!({"id": "19:shared-x@thread.tacv2", "type": "shared"});
        let standard = json!({"id": "19:chan-a@thread.tacv2", "type": "standard"});
        for (kind, conversation, data, whole) in [
            (
                "conversationUpdate",
                "19:shared-x@thread.tacv2",
                json!({"eventType": "channelMemberRemoved", "team": team}),
                false,
            ),
            (
                "conversationUpdate",
                "19:team@thread.tacv2",
                json!({"eventType": "channelMemberRemoved", "team": team}),
                false,
            ),
            (
                "conversationUpdate",
                "19:shared-x@thread.tacv2",
                json!({"team": team, "channel": shared}),
                false,
            ),
            (
                "conversationUpdate",
                "19:team@thread.tacv2",
                json!({"eventType": "teamMemberRemoved", "team": team}),
                true,
            ),
            (
                "conversationUpdate",
                "19:team@thread.tacv2",
                json!({"team": team}),
                true,
            ),
            (
                "installationUpdate",
                "19:team@thread.tacv2",
                json!({"team": team}),
                true,
            ),
            (
                "installationUpdate",
                "19:chan-a@thread.tacv2",
                json!({"team": team, "channel": standard}),
                true,
            ),
            (
                "installationUpdate",
                "19:chan-a@thread.tacv2",
                json!({"team": team}),
                true,
            ),
            (
                "installationUpdate",
                "19:shared-x@thread.tacv2",
                json!({"team": team, "channel": shared}),
                false,
            ),
        ] {
            let left = activity(&json!({"type": kind, "channelData": data}));
            assert_eq!(
                is_of_whole_team(&left, &conversation.into()),
                whole,
                "{kind} in {conversation}: {data}"
            );
        }
    }

    #[test]
    fn a_chat_with_the_bot_is_no_chat_of_two_people() {
        let is_of_two = |id: &str, channel: &str| {
            let activity = activity(&json!({"channelId": channel, "conversation": {"id": id}}));
            is_chat_of_two_people(&activity, &ConversationReference::from_activity(&activity))
        };
        assert!(is_of_two("19:u1_u2@unq.gbl.spaces", "msteams"));
        assert!(!is_of_two("19:u1_BOT@unq.gbl.spaces", "msteams"));
        assert!(!is_of_two("19:u1_u2@unq.gbl.spaces", "slack"));
        assert!(!is_of_two("a:anna", "msteams"));
    }
}
