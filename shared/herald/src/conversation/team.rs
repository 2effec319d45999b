//! Changes of teams and their channels (`PROTOCOL.md#a7`), and what they do to the conversations of the team.

use std::fmt;

use botframework::activity::Activity;
use botframework::id::{ChannelAccountId, ConversationId};
pub use botframework::teams::TeamEvent;
use jiff::Timestamp;

use super::{Conversation, ConversationKey, State, is_id};

/// The code of channels that are blocked because their team is archived. It is Herald's own: the event comes before any
/// refusal of the channel.
pub const TEAM_ARCHIVED: &str = "TeamArchived";

/// Names one team of one bot on one channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamKey {
    /// The channel, as activities name it.
    pub channel: String,
    /// The bot's account in that channel.
    pub bot: ChannelAccountId,
    /// The team's id, which is the id of its General channel.
    pub team: String,
}

impl fmt::Display for TeamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The team is last and unescaped: the first two bars are the separators, whatever it holds.
        let name = ConversationKey {
            conversation: self.team.as_str().into(),
            channel: self.channel.clone(),
            bot: self.bot.clone(),
        };
        name.fmt(f)
    }
}

/// A change of a team, of one of its channels or of its members, as one activity reports it to one bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamChange {
    /// The kind of the change.
    pub event: TeamEvent,
    /// The team that changed.
    pub team: TeamKey,
    /// The channel of a channel event. It may be another than the activity's conversation.
    pub channel: Option<ConversationId>,
    pub(super) channel_name: Option<String>,
}

impl TeamChange {
    /// The change that an activity reports; `None` if there is none, or an id in it is invalid.
    pub fn from_activity(activity: &Activity) -> Option<Self> {
        let update = activity.team_update()?;
        let (channel, channel_name) = match update.channel {
            Some(channel) => (Some(channel.id.filter(|id| is_id(id.as_str()))?), channel.name),
            None => (None, None),
        };
        Some(Self {
            event: update.event,
            team: TeamKey {
                channel: activity.channel_id.clone()?,
                bot: activity.recipient.as_ref()?.id.clone(),
                team: Some(update.team.into_string()).filter(|id| is_id(id))?,
            },
            channel,
            channel_name,
        })
    }

    /// Whether a conversation of the team is affected: each, or one channel with its threads.
    pub fn affects(&self, conversation: &ConversationId) -> bool {
        self.channel
            .as_ref()
            .is_none_or(|channel| *channel == conversation.channel())
    }

    /// Whether a conversation of the team ends. The activity that says so names it, and must not store it again.
    pub fn ends(&self, conversation: &ConversationId) -> bool {
        match self.event {
            TeamEvent::ChannelDeleted | TeamEvent::TeamDeleted | TeamEvent::TeamHardDeleted => {
                self.affects(conversation)
            }
            TeamEvent::ChannelCreated
            | TeamEvent::ChannelRenamed
            | TeamEvent::ChannelRestored
            | TeamEvent::TeamRenamed
            | TeamEvent::TeamArchived
            | TeamEvent::TeamUnarchived
            | TeamEvent::TeamRestored
            | TeamEvent::MembersAdded
            | TeamEvent::MembersRemoved
            | _ => false,
        }
    }
}

/// Applies a team event to the record of an affected conversation; `None` when nothing changes.
///
/// A restored team restores the channels that were removed with it, and no others: not a channel that was deleted by itself,
/// nor one that the bot was removed from. So `removed_with_team` is set until another activity arrives from the channel.
pub fn apply_team_change(existing: &Conversation, event: TeamEvent, now: Timestamp) -> Option<Conversation> {
    let archived = State::Blocked {
        code: TEAM_ARCHIVED.to_owned(),
    };
    let (state, removed_with_team) = match event {
        TeamEvent::ChannelDeleted | TeamEvent::TeamHardDeleted => (State::Removed, false),
        TeamEvent::TeamDeleted if existing.state != State::Removed => (State::Removed, true),
        TeamEvent::TeamRestored if existing.removed_with_team => (State::Active, false),
        TeamEvent::ChannelRestored if existing.state == State::Removed => (State::Active, false),
        TeamEvent::TeamArchived if existing.state == State::Active => (archived, false),
        TeamEvent::TeamUnarchived if existing.state == archived => (State::Active, false),
        TeamEvent::TeamDeleted
        | TeamEvent::TeamRestored
        | TeamEvent::ChannelRestored
        | TeamEvent::TeamArchived
        | TeamEvent::TeamUnarchived
        | TeamEvent::ChannelCreated
        | TeamEvent::ChannelRenamed
        | TeamEvent::TeamRenamed
        | TeamEvent::MembersAdded
        | TeamEvent::MembersRemoved
        | _ => return None,
    };
    let new = Conversation {
        state,
        removed_with_team,
        left_with_team: false,
        ..existing.clone()
    };
    new.if_changed(existing, now)
}

/// The bot left the team of a conversation; `None` when it was not in the conversation.
pub fn leave_with_team(existing: &Conversation, now: Timestamp) -> Option<Conversation> {
    if existing.state == State::Removed && !existing.removed_with_team {
        return None;
    }
    let new = Conversation {
        state: State::Removed,
        removed_with_team: false,
        left_with_team: true,
        ..existing.clone()
    };
    new.if_changed(existing, now)
}

/// The bot is in the team again; `None` unless it left the conversation with the team.
pub fn return_with_team(existing: &Conversation, now: Timestamp) -> Option<Conversation> {
    let new = Conversation {
        state: State::Active,
        left_with_team: false,
        ..existing.clone()
    };
    new.if_changed(existing, now).filter(|_| existing.left_with_team)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Observation, Observations, remember};
    use super::*;

    const TEAM: &str = "19:team@thread.tacv2";
    const CHANNEL: &str = "19:channel@thread.tacv2";

    fn activity(event: &str) -> Value {
        json!({
            "type": "conversationUpdate", "id": "1", "channelId": "msteams",
            "serviceUrl": "https://smba.trafficmanager.net/emea/",
            "from": {"id": "29:ada"}, "recipient": {"id": "28:bot"},
            "conversation": {"id": TEAM, "conversationType": "channel", "isGroup": true, "tenantId": "tenant-1"},
            "channelData": {"eventType": event, "team": {"id": TEAM, "name": "Builders"},
                            "channel": {"id": CHANNEL, "name": "Builds"}, "tenant": {"id": "tenant-1"}},
        })
    }

    fn change(activity: Value) -> Option<TeamChange> {
        TeamChange::from_activity(&Activity::from_value(activity).unwrap())
    }

    fn known() -> Conversation {
        let created = Activity::from_value(activity("channelCreated")).unwrap();
        let channel = Observations::from_activity(&created).changed_channel().unwrap();
        remember(None, channel, Timestamp::UNIX_EPOCH).unwrap()
    }

    /// The state after these events, one after the other: its code if it is blocked.
    fn after(events: &[TeamEvent]) -> String {
        let mut record = known();
        for event in events {
            if let Some(new) = apply_team_change(&record, *event, Timestamp::UNIX_EPOCH) {
                assert_eq!(new.version, record.version + 1);
                record = new;
            }
            assert_eq!(
                apply_team_change(&record, *event, Timestamp::UNIX_EPOCH),
                None,
                "{event:?} twice"
            );
        }
        match record.state {
            State::Active => "active".to_owned(),
            State::Blocked { code } => code,
            State::Removed => "removed".to_owned(),
        }
    }

    #[test]
    fn a_channel_event_affects_the_channel_with_its_threads_and_a_team_event_every_channel() {
        for (event_type, of_channel) in [
            ("channelDeleted", true),
            ("channelRestored", true),
            ("teamArchived", false),
            ("teamDeleted", false),
        ] {
            let change = change(activity(event_type)).unwrap();
            assert_eq!(change.team.team, TEAM);
            assert_eq!(change.channel, of_channel.then(|| CHANNEL.into()), "{event_type}");
            let thread = format!("{CHANNEL};messageid=5");
            assert!(change.affects(&CHANNEL.into()) && change.affects(&thread.as_str().into()));
            assert_eq!(change.affects(&TEAM.into()), !of_channel, "{event_type}");
        }
    }

    #[test]
    fn a_change_needs_valid_ids_and_a_bot() {
        let with = |path: &str, value| {
            let mut activity = activity("channelDeleted");
            *activity.pointer_mut(path).unwrap() = value;
            change(activity)
        };
        assert!(with("/channelData/team/name", json!("any")).is_some());
        for invalid in ["", "19:\n"] {
            assert_eq!(with("/channelData/team/id", json!(invalid)), None);
            assert_eq!(with("/channelData/channel/id", json!(invalid)), None);
        }
        assert_eq!(with("/recipient", json!(null)), None);
    }

    #[test]
    fn changed_members_are_a_change_of_the_team() {
        let mut joined = activity("");
        joined["membersAdded"] = json!([{"id": "29:ada"}]);
        let team = TeamKey {
            channel: "msteams".to_owned(),
            bot: "28:bot".into(),
            team: TEAM.to_owned(),
        };
        let change = change(joined).unwrap();
        assert_eq!((change.event, change.team), (TeamEvent::MembersAdded, team));
    }

    #[test]
    fn no_two_teams_share_a_name() {
        let key = |channel: &str, bot: &str, team: &str| {
            let (channel, bot, team) = (channel.to_owned(), bot.into(), team.to_owned());
            TeamKey { channel, bot, team }.to_string()
        };
        assert_ne!(key("a|b", "c", "d"), key("a", "b|c", "d"));
        assert_ne!(key("a", "b", "c|d"), key("a", "b|c", "d"));
    }

    #[test]
    fn a_conversation_follows_the_changes_of_its_team() {
        use TeamEvent::{
            ChannelCreated, ChannelDeleted, ChannelRenamed, ChannelRestored, TeamArchived, TeamDeleted,
            TeamHardDeleted, TeamRenamed, TeamRestored, TeamUnarchived,
        };
        for (events, expected) in [
            (&[ChannelCreated, ChannelRenamed, TeamRenamed][..], "active"),
            (&[ChannelDeleted], "removed"),
            (&[ChannelDeleted, ChannelRestored], "active"),
            (&[TeamArchived], TEAM_ARCHIVED),
            (&[TeamArchived, TeamUnarchived], "active"),
            (&[TeamDeleted], "removed"),
            (&[TeamDeleted, TeamRestored], "active"),
            (&[TeamArchived, TeamDeleted, TeamRestored], "active"),
            (&[ChannelDeleted, TeamDeleted, TeamRestored], "removed"),
            (&[ChannelDeleted, TeamArchived, TeamUnarchived], "removed"),
            (&[TeamDeleted, ChannelDeleted, TeamRestored], "removed"),
            (&[TeamDeleted, TeamHardDeleted, TeamRestored], "removed"),
            (&[TeamHardDeleted, TeamRestored], "removed"),
            (&[TeamDeleted, TeamUnarchived], "removed"),
        ] {
            assert_eq!(after(events), expected, "{events:?}");
        }
    }

    #[test]
    fn a_team_event_does_not_unblock_a_conversation_blocked_for_another_reason() {
        let refused = Conversation {
            state: State::Blocked {
                code: "BotNotInConversationRoster".to_owned(),
            },
            ..known()
        };
        for event in [
            TeamEvent::TeamArchived,
            TeamEvent::TeamUnarchived,
            TeamEvent::TeamRestored,
        ] {
            assert_eq!(apply_team_change(&refused, event, Timestamp::UNIX_EPOCH), None);
        }
    }

    #[test]
    fn an_activity_after_the_removal_of_the_team_decides_alone() {
        let away = apply_team_change(&known(), TeamEvent::TeamDeleted, Timestamp::UNIX_EPOCH).unwrap();
        let mut told = activity("");
        told["conversation"]["id"] = json!(CHANNEL);
        told["membersRemoved"] = json!([{"id": "28:bot"}]);
        let left = Observation::from_activity(&Activity::from_value(told).unwrap()).remove(0);
        let left = remember(Some(&away), left, Timestamp::UNIX_EPOCH).unwrap();
        assert!(!left.removed_with_team);
        assert_eq!(
            apply_team_change(&left, TeamEvent::TeamRestored, Timestamp::UNIX_EPOCH),
            None
        );
    }
}
