//! Microsoft Teams: its channel data, its team events, and the shapes of its rosters, teams and channels.

use serde_json::{Map, Number, Value};

use crate::activity::{Activity, ActivityType, Role};
use crate::id::{ChannelAccountId, ConversationId, EntraGroupId, EntraObjectId, TeamId, TenantId, UserRef};
use crate::lossless::LosslessJson;
use crate::wire::wire_object;

wire_object! {
    /// The `channelData` of an activity of Teams. `team` and `channel` are absent in personal scope.
    TeamsChannelData {
        /// The tenant the conversation belongs to.
        "tenant" tenant: Option<TenantInfo>,
        /// The event, such as `channelCreated`, `editMessage`, `softDeleteMessage`; see [`Activity::team_update`].
        "eventType" event_type: Option<String>,
        /// The team that the activity belongs to or reports.
        "team" team: Option<TeamInfo>,
        /// The channel that the activity belongs to or reports.
        "channel" channel: Option<ChannelInfo>,
        /// The choices of the installer.
        "settings" settings: Option<ChannelDataSettings>,
        /// The part of Teams it came from.
        "source" source: Option<SourceInfo>,
        /// The meeting, in its chat.
        "meeting" meeting: Option<MeetingInfo>,
        /// Whether the message is to raise an alert.
        "notification" notification: Option<NotificationInfo>,
        /// The users on whose behalf the bot sends.
        "onBehalfOf" on_behalf_of: Vec<OnBehalfOf>,
        /// The team's id in older payloads.
        "teamsTeamId" teams_team_id: Option<TeamId>,
        /// The channel's id in older payloads.
        "teamsChannelId" teams_channel_id: Option<ConversationId>,
    }
}

wire_object! {
    /// The Entra tenant of an activity.
    TenantInfo {
        /// Its id, a GUID.
        "id" id: Option<TenantId>,
    }
}

wire_object! {
    /// A team, as an activity or the Connector describes it.
    TeamInfo {
        /// The team's id, which is also the id of its General channel.
        "id" id: Option<TeamId>,
        /// The team's display name.
        "name" name: Option<String>,
        /// The id of its group in Microsoft Entra.
        "aadGroupId" entra_group_id: Option<EntraGroupId>,
        /// `standard`, `sharedChannel`, `privateChannel`; `type` on the wire.
        "type" kind: Option<String>,
        /// The id of the team's Entra tenant.
        "tenantId" tenant_id: Option<TenantId>,
        /// How many channels it has.
        "channelCount" channel_count: Option<Number>,
        /// How many members it has.
        "memberCount" member_count: Option<Number>,
    }
}

wire_object! {
    /// A channel of a team. The General channel has the team's id, and no name in the Connector's answers.
    ChannelInfo {
        /// The channel's id, which is also its conversation id.
        "id" id: Option<ConversationId>,
        /// The display name; the General channel has none.
        "name" name: Option<String>,
        /// `standard`, `private` or `shared`; `type` on the wire.
        "type" kind: Option<String>,
    }
}

wire_object! {
    /// The choices of the person who installed the app into a team.
    ChannelDataSettings {
        /// The selected channel.
        "selectedChannel" selected_channel: Option<ChannelInfo>,
    }
}

wire_object! {
    /// The part of Teams that an activity came from.
    SourceInfo {
        /// Its name, such as `message` or `compose`.
        "name" name: Option<String>,
    }
}

wire_object! {
    /// The meeting that a chat belongs to.
    MeetingInfo {
        /// The meeting's id.
        "id" id: Option<String>,
    }
}

wire_object! {
    /// Alerts in the activity feed. The activity's `summary` is their text.
    NotificationInfo {
        /// Raise an alert in the feed.
        "alert" alert: Option<bool>,
        /// Show it inside the meeting.
        "alertInMeeting" alert_in_meeting: Option<bool>,
        /// The page to show inside the meeting.
        "externalResourceUrl" external_resource_url: Option<String>,
    }
}

wire_object! {
    /// A user on whose behalf the bot sends.
    OnBehalfOf {
        /// The position in the list, from 0.
        "itemid" item_id: Option<Number>,
        /// The kind of mention: `person`.
        "mentionType" mention_type: Option<String>,
        /// The user's Teams id, `29:…`.
        "mri" mri: Option<ChannelAccountId>,
        /// The display name.
        "displayName" display_name: Option<String>,
    }
}

wire_object! {
    /// A member of a conversation, as a roster lists them. Other channels fill `id` and `name` only.
    TeamsChannelAccount {
        /// The channel's id of the account; empty when there is none.
        "id" id: ChannelAccountId,
        /// The display name.
        "name" name: Option<String>,
        /// The id in Microsoft Entra; see [`TeamsChannelAccount::entra_object_id`].
        "aadObjectId" aad_object_id: Option<EntraObjectId>,
        /// The same id under the name that most rosters use.
        "objectId" object_id: Option<EntraObjectId>,
        /// The given name.
        "givenName" given_name: Option<String>,
        /// The surname.
        "surname" surname: Option<String>,
        /// The e-mail address. Personal data: not for logs.
        "email" email: Option<String>,
        /// The user principal name.
        "userPrincipalName" user_principal_name: Option<String>,
        /// The tenant of the account.
        "tenantId" tenant_id: Option<TenantId>,
        /// `user`, `guest`, `anonymous`, …
        "userRole" user_role: Option<String>,
        /// The kind of account.
        "role" role: Option<Role>,
    }
}

impl TeamsChannelAccount {
    /// The id in Microsoft Entra, under either name.
    pub fn entra_object_id(&self) -> Option<&EntraObjectId> {
        self.aad_object_id.as_ref().or(self.object_id.as_ref())
    }
}

impl From<&TeamsChannelAccount> for UserRef {
    fn from(member: &TeamsChannelAccount) -> Self {
        Self::Account(member.id.clone())
    }
}

/// What happened to a team, to one of its channels, or to its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TeamEvent {
    /// A channel was created.
    ChannelCreated,
    /// A channel was renamed.
    ChannelRenamed,
    /// A channel was deleted.
    ChannelDeleted,
    /// A deleted channel was restored.
    ChannelRestored,
    /// The team was renamed.
    TeamRenamed,
    /// The team was archived: its channels are read-only.
    TeamArchived,
    /// The team is no longer archived.
    TeamUnarchived,
    /// The team was deleted, and may be restored.
    TeamDeleted,
    /// The team was deleted for good.
    TeamHardDeleted,
    /// A deleted team was restored, with the channels it had.
    TeamRestored,
    /// [`Activity::members_added`] joined the team.
    MembersAdded,
    /// [`Activity::members_removed`] left the team.
    MembersRemoved,
}

/// One event of a team, as one `conversationUpdate` reports it.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamUpdate {
    /// The kind of the event.
    pub event: TeamEvent,
    /// The id of the team that it is about.
    pub team: TeamId,
    /// The channel of a channel event. It has an id, and may be another than the activity's conversation.
    pub channel: Option<ChannelInfo>,
}

impl TeamEvent {
    fn from_event_type(event_type: &str) -> Option<Self> {
        Some(match event_type {
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

    /// Whether the event is about one channel of the team.
    pub const fn is_of_channel(self) -> bool {
        match self {
            Self::ChannelCreated | Self::ChannelRenamed | Self::ChannelDeleted | Self::ChannelRestored => {
                true
            }
            Self::TeamRenamed
            | Self::TeamArchived
            | Self::TeamUnarchived
            | Self::TeamDeleted
            | Self::TeamHardDeleted
            | Self::TeamRestored
            | Self::MembersAdded
            | Self::MembersRemoved => false,
        }
    }
}

/// Whether a channel id is Teams' own or that of a sub-channel (`msteams:…`). Only there does Teams vouch for the ids of
/// people and teams; on other channels a user may choose them.
pub fn is_teams(channel_id: Option<&str>) -> bool {
    channel_id.and_then(|id| id.split(':').next()) == Some("msteams")
}

impl Activity {
    /// The channel data as Teams shapes it; `None` if it is not an object. Copies the channel data.
    pub fn teams(&self) -> Option<TeamsChannelData> {
        let value = self.channel_data.clone()?;
        let data = LosslessJson::of(value, self.numbers.member("channelData"));
        TeamsChannelData::from_lossless(data).ok()
    }

    /// Whether the channel data names a team, whatever the channel.
    pub fn has_team(&self) -> bool {
        let team = self.channel_data.as_ref().and_then(|data| data.get("team"));
        team.is_some_and(Value::is_object)
    }

    /// The id of the team in the channel data, whatever the channel.
    pub fn team_id(&self) -> Option<TeamId> {
        let id = self.channel_data.as_ref()?.pointer("/team/id")?.as_str()?;
        Some(id).filter(|id| !id.is_empty()).map(TeamId::from)
    }

    /// The event of a team that this `conversationUpdate` of Teams reports. `None` for an event that does not name its team
    /// or its channel, and for other activities.
    pub fn team_update(&self) -> Option<TeamUpdate> {
        if self.kind != Some(ActivityType::ConversationUpdate) || !is_teams(self.channel_id.as_deref()) {
            return None;
        }
        let data = self.channel_data.as_ref()?;
        let team = self.team_id()?;
        let event_type = data.get("eventType").and_then(Value::as_str).unwrap_or_default();
        let named = TeamEvent::from_event_type(event_type).and_then(|event| {
            if !event.is_of_channel() {
                return Some((event, None));
            }
            let channel = ChannelInfo::from_value(data.get("channel")?.clone()).ok()?;
            channel.id.is_some().then_some((event, Some(channel)))
        });
        let of_members = || match (self.members_added.as_slice(), self.members_removed.as_slice()) {
            ([_, ..], _) => Some((TeamEvent::MembersAdded, None)),
            ([], [_, ..]) => Some((TeamEvent::MembersRemoved, None)),
            ([], []) => None,
        };
        let (event, channel) = named.or_else(of_members)?;
        Some(TeamUpdate { event, team, channel })
    }

    /// The message with a thumb up and a thumb down below it: [`FeedbackGiven`](crate::app::FeedbackGiven).
    #[must_use]
    pub fn with_feedback_buttons(mut self) -> Self {
        let data = self.channel_data.get_or_insert_with(|| Value::Object(Map::new()));
        if let Some(data) = data.as_object_mut() {
            data.insert("feedbackLoopEnabled".to_owned(), true.into());
        }
        self
    }

    /// Asks Teams to raise an alert in the activity feed for this message. Other channel data stays, unless it is not an
    /// object: Teams has no other shape.
    pub fn raise_alert(&mut self) {
        let mut data = self.teams().unwrap_or_default();
        data.notification.get_or_insert_default().alert = Some(true);
        if let Ok(LosslessJson { value, numbers }) = data.to_lossless() {
            self.channel_data = Some(value);
            self.numbers.put_member("channelData", numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn update(properties: &Value) -> Option<TeamUpdate> {
        let mut document = json!({
            "type": "conversationUpdate", "channelId": "msteams",
            "channelData": {"team": {"id": "19:team"}, "channel": {"id": "19:channel", "name": "Builds"}},
        });
        for (path, value) in properties.as_object().unwrap() {
            match path.split_once('.') {
                Some((owner, name)) => document[owner][name] = value.clone(),
                None => document[path] = value.clone(),
            }
        }
        Activity::from_value(document).unwrap().team_update()
    }

    #[test]
    fn a_team_event_names_its_team_and_a_channel_event_its_channel() {
        for (event_type, event, of_channel) in [
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
            let found = update(&json!({"channelData.eventType": event_type})).unwrap();
            assert_eq!((found.event, found.team.as_str()), (event, "19:team"));
            let channel = found.channel.and_then(|channel| channel.id);
            assert_eq!(
                channel.as_ref().map(ConversationId::as_str),
                of_channel.then_some("19:channel"),
                "{event_type}"
            );
        }
    }

    #[test]
    fn changed_members_of_a_team_are_an_event() {
        for (property, event) in [
            ("membersAdded", TeamEvent::MembersAdded),
            ("membersRemoved", TeamEvent::MembersRemoved),
        ] {
            let found = update(&json!({ property: [{"id": "29:ada"}] })).unwrap();
            assert_eq!((found.event, found.channel), (event, None));
        }
        assert_eq!(update(&json!({})), None);
    }

    #[test]
    fn an_event_elsewhere_or_without_its_team_or_channel_is_none() {
        let deleted = |path: &str, value: Value| {
            update(&json!({"channelData.eventType": "channelDeleted", path: value}))
        };
        assert!(deleted("type", json!("conversationUpdate")).is_some());
        assert_eq!(deleted("type", json!("message")), None);
        assert_eq!(deleted("channelId", json!("slack")), None);
        assert_eq!(update(&json!({"channelData": "channelDeleted"})), None);
        assert_eq!(deleted("channelData.eventType", json!("editMessage")), None);
        assert_eq!(deleted("channelData.team", json!({})), None);
        assert_eq!(deleted("channelData.channel", json!(null)), None);
    }
}
