//! What Microsoft Teams puts into an activity and answers about its rosters, teams and channels.

use serde_json::{Number, Value};

use crate::activity::{Activity, Role};
use crate::id::{ChannelAccountId, EntraObjectId};
use crate::wire::wire_object;

wire_object! {
    /// The `channelData` of an activity of Teams. `team` and `channel` are absent in personal scope.
    TeamsChannelData {
        /// The tenant the conversation belongs to.
        "tenant" tenant: Option<TenantInfo>,
        /// What happened, such as `channelCreated`, `teamRenamed`, `editMessage`, `softDeleteMessage`.
        "eventType" event_type: Option<String>,
        /// The team.
        "team" team: Option<TeamInfo>,
        /// The channel.
        "channel" channel: Option<ChannelInfo>,
        /// What the installer chose.
        "settings" settings: Option<ChannelDataSettings>,
        /// Where in Teams it came from.
        "source" source: Option<SourceInfo>,
        /// The meeting.
        "meeting" meeting: Option<MeetingInfo>,
        /// Whether the message is to raise an alert.
        "notification" notification: Option<NotificationInfo>,
        /// For whom the bot speaks.
        "onBehalfOf" on_behalf_of: Vec<OnBehalfOf>,
        /// The team's id in older payloads.
        "teamsTeamId" teams_team_id: Option<String>,
        /// The channel's id in older payloads.
        "teamsChannelId" teams_channel_id: Option<String>,
    }
}

wire_object! {
    /// A tenant.
    TenantInfo {
        /// Its id, a GUID.
        "id" id: Option<String>,
    }
}

wire_object! {
    /// A team, as an activity or the Connector describes it.
    TeamInfo {
        /// The team's id, which is also the id of its General channel.
        "id" id: Option<String>,
        /// Its name.
        "name" name: Option<String>,
        /// The id of its group in Microsoft Entra.
        "aadGroupId" entra_group_id: Option<String>,
        /// `standard`, `sharedChannel`, `privateChannel`; `type` on the wire.
        "type" kind: Option<String>,
        /// Its tenant.
        "tenantId" tenant_id: Option<String>,
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
        "id" id: Option<String>,
        /// Its name.
        "name" name: Option<String>,
        /// `standard`, `private` or `shared`; `type` on the wire.
        "type" kind: Option<String>,
    }
}

wire_object! {
    /// What the person who installed the app into a team chose.
    ChannelDataSettings {
        /// The channel they chose.
        "selectedChannel" selected_channel: Option<ChannelInfo>,
    }
}

wire_object! {
    /// Where in Teams an activity came from.
    SourceInfo {
        /// Its name, such as `message` or `compose`.
        "name" name: Option<String>,
    }
}

wire_object! {
    /// A meeting.
    MeetingInfo {
        /// Its id.
        "id" id: Option<String>,
    }
}

wire_object! {
    /// Whether and how a message shows up in the activity feed. The activity's `summary` is the text there.
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
    /// Someone for whom the bot speaks.
    OnBehalfOf {
        /// Their number in the list.
        "itemid" item_id: Option<Number>,
        /// `person`.
        "mentionType" mention_type: Option<String>,
        /// Their Teams id.
        "mri" mri: Option<ChannelAccountId>,
        /// The name to show.
        "displayName" display_name: Option<String>,
    }
}

wire_object! {
    /// A member of a conversation, as a roster lists them. Other channels fill `id` and `name` only.
    TeamsChannelAccount {
        /// The channel's id of the account; empty when there is none.
        "id" id: ChannelAccountId,
        /// The name to show.
        "name" name: Option<String>,
        /// The id in Microsoft Entra; see [`TeamsChannelAccount::entra_object_id`].
        "aadObjectId" aad_object_id: Option<EntraObjectId>,
        /// The same id under the name most rosters use.
        "objectId" object_id: Option<EntraObjectId>,
        /// Given name.
        "givenName" given_name: Option<String>,
        /// Surname.
        "surname" surname: Option<String>,
        /// E-mail address.
        "email" email: Option<String>,
        /// The name they sign in with.
        "userPrincipalName" user_principal_name: Option<String>,
        /// Their tenant.
        "tenantId" tenant_id: Option<String>,
        /// `user`, `guest`, `anonymous`, …
        "userRole" user_role: Option<String>,
        /// What the account is.
        "role" role: Option<Role>,
    }
}

impl TeamsChannelAccount {
    /// The id in Microsoft Entra, under whichever of its two names the roster gave it.
    pub fn entra_object_id(&self) -> Option<&EntraObjectId> {
        self.aad_object_id.as_ref().or(self.object_id.as_ref())
    }
}

impl Activity {
    /// Asks Teams to raise an alert in the activity feed for this message, keeping other channel data.
    ///
    /// Channel data that is no object is replaced, because Teams has no other shape.
    pub fn raise_alert(&mut self) {
        let mut data = self.teams().unwrap_or_default();
        data.notification.get_or_insert_default().alert = Some(true);
        self.channel_data = serde_json::to_value(data).ok().filter(Value::is_object);
    }
}
