//! What happens to teams and their channels (`PROTOCOL.md#a7`), and what becomes of the conversations in them.

use botframework::activity::{Activity, ActivityType};
use botframework::id::{ChannelAccountId, ConversationId};
use jiff::Timestamp;

use super::observation::is_named_by_teams;
use super::{Conversation, State, is_id};

/// Why the channels of a team that was archived are blocked: our own word, since nobody may write there until it is not any
/// more, and the event says so before any refusal.
pub const TEAM_ARCHIVED: &str = "TeamArchived";

/// Something that happened to a team, or to a channel of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TeamEvent {
    /// There is a new channel.
    ChannelCreated,
    /// A channel is called something else.
    ChannelRenamed,
    /// A channel was deleted.
    ChannelDeleted,
    /// A deleted channel is back.
    ChannelRestored,
    /// The team is called something else.
    TeamRenamed,
    /// Nobody can write in the team's channels.
    TeamArchived,
    /// They can again.
    TeamUnarchived,
    /// The team was deleted, and may be restored.
    TeamDeleted,
    /// The team was deleted for good.
    TeamHardDeleted,
    /// A deleted team is back, with the channels it had.
    TeamRestored,
}

impl TeamEvent {
    fn read(word: &str) -> Option<Self> {
        Some(match word {
            "channelCreated" => Self::ChannelCreated,
            "channelRenamed" => Self::ChannelRenamed,
            "channelDeleted" => Self::ChannelDeleted,
            "channelRestored" => Self::ChannelRestored,
            "teamRenamed" => Self::TeamRenamed,
            "teamArchived" => Self::TeamArchived,
            "teamUnarchived" => Self::TeamUnarchived,
            "teamDeleted" => Self::TeamDeleted,
            "teamHardDeleted" => Self::TeamHardDeleted,
            "teamRestored" => Self::TeamRestored,
            _ => return None,
        })
    }
}

/// What an activity tells of a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamChange {
    /// What happened.
    pub event: TeamEvent,
    /// The channel, as activities name it.
    pub channel: String,
    /// The bot that is told.
    pub bot: ChannelAccountId,
    /// The team.
    pub team: String,
    /// The one channel of it that this is about. The activity's own conversation may be another.
    pub place: Option<ConversationId>,
}

impl TeamChange {
    /// What an activity tells of a team; `None` of any other activity, and of one that does not name what it is about.
    pub fn of(activity: &Activity) -> Option<Self> {
        if activity.kind != Some(ActivityType::ConversationUpdate)
            || !is_named_by_teams(activity.channel_id.as_deref())
        {
            return None;
        }
        let told = activity.teams()?;
        let event = TeamEvent::read(told.event_type.as_deref()?)?;
        let place = match event {
            TeamEvent::ChannelCreated
            | TeamEvent::ChannelRenamed
            | TeamEvent::ChannelDeleted
            | TeamEvent::ChannelRestored => Some(told.channel?.id.filter(|id| is_id(id))?.into()),
            TeamEvent::TeamRenamed
            | TeamEvent::TeamArchived
            | TeamEvent::TeamUnarchived
            | TeamEvent::TeamDeleted
            | TeamEvent::TeamHardDeleted
            | TeamEvent::TeamRestored => None,
        };
        Some(Self {
            event,
            channel: activity.channel_id.clone()?,
            bot: activity.recipient.as_ref()?.id.clone(),
            team: told.team?.id.filter(|id| is_id(id))?,
            place,
        })
    }

    /// Whether this is about a conversation of the team: about each, or about one channel with its threads.
    pub fn concerns(&self, conversation: &ConversationId) -> bool {
        self.place
            .as_ref()
            .is_none_or(|place| *place == conversation.channel())
    }

    /// Whether this is the end of a conversation of the team, which then is not to be remembered for being named.
    pub fn ends(&self, conversation: &ConversationId) -> bool {
        match self.event {
            TeamEvent::ChannelDeleted | TeamEvent::TeamDeleted | TeamEvent::TeamHardDeleted => {
                self.concerns(conversation)
            }
            TeamEvent::ChannelCreated
            | TeamEvent::ChannelRenamed
            | TeamEvent::ChannelRestored
            | TeamEvent::TeamRenamed
            | TeamEvent::TeamArchived
            | TeamEvent::TeamUnarchived
            | TeamEvent::TeamRestored => false,
        }
    }
}

/// What the record of a conversation becomes that this concerns; `None` when nothing changes.
///
/// A team that is back brings back the channels that went with it, and those alone: one that was deleted on its own, or that
/// the bot was taken out of, stays away. So what goes with its team is marked, until anything else is heard of it.
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
        | TeamEvent::TeamRenamed => return None,
    };
    let new = Conversation {
        state,
        removed_with_team,
        ..existing.clone()
    };
    (new != *existing).then(|| Conversation {
        version: existing.version + 1,
        changed_at: now,
        ..new
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Observation, remember};
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

    fn news(activity: Value) -> Option<TeamChange> {
        TeamChange::of(&Activity::from_value(activity).unwrap())
    }

    fn known() -> Conversation {
        let told = Activity::from_value(activity("channelCreated")).unwrap();
        let channel = Observation::from_team_change(&told, &TeamChange::of(&told).unwrap()).unwrap();
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
    fn what_happened_is_read_with_what_it_is_about() {
        for (word, event, of_channel) in [
            ("channelCreated", TeamEvent::ChannelCreated, true),
            ("channelRenamed", TeamEvent::ChannelRenamed, true),
            ("channelDeleted", TeamEvent::ChannelDeleted, true),
            ("channelRestored", TeamEvent::ChannelRestored, true),
            ("teamRenamed", TeamEvent::TeamRenamed, false),
            ("teamArchived", TeamEvent::TeamArchived, false),
            ("teamUnarchived", TeamEvent::TeamUnarchived, false),
            ("teamDeleted", TeamEvent::TeamDeleted, false),
            ("teamHardDeleted", TeamEvent::TeamHardDeleted, false),
            ("teamRestored", TeamEvent::TeamRestored, false),
        ] {
            let told = news(activity(word)).unwrap();
            assert_eq!((told.event, told.team.as_str()), (event, TEAM));
            assert_eq!(told.place, of_channel.then(|| CHANNEL.into()), "{word}");
            let thread = format!("{CHANNEL};messageid=5");
            assert!(told.concerns(&CHANNEL.into()) && told.concerns(&thread.as_str().into()));
            assert_eq!(told.concerns(&TEAM.into()), !of_channel, "{word}");
        }
    }

    #[test]
    fn what_is_told_elsewhere_or_names_nothing_is_no_news() {
        let with = |path: &str, value| {
            let mut activity = activity("channelDeleted");
            *activity.pointer_mut(path).unwrap() = value;
            news(activity)
        };
        assert!(with("/type", json!("conversationUpdate")).is_some());
        assert_eq!(with("/type", json!("message")), None);
        assert_eq!(
            with("/channelId", json!("slack")),
            None,
            "a user's own channel data"
        );
        assert_eq!(with("/channelData", json!("channelDeleted")), None);
        assert_eq!(with("/channelData/eventType", json!("teamMemberAdded")), None);
        assert_eq!(with("/channelData/team", json!({})), None);
        assert_eq!(with("/channelData/team/id", json!("19:\n")), None);
        assert_eq!(with("/channelData/channel", json!(null)), None);
    }

    #[test]
    fn a_conversation_follows_what_happens_to_its_team() {
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
    fn what_the_channel_refuses_for_another_reason_is_not_revived_with_the_team() {
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
    fn what_was_removed_with_its_team_and_is_heard_of_is_there_for_its_own_sake() {
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
