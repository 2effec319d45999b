//! What an activity shows of a conversation.

use botframework::activity::{
    self, Activity, ActivityType, ChannelAccount, ConversationAccount, InstallationAction,
};
use botframework::id::{ChannelAccountId, ConversationId};
use botframework::reference::ConversationReference;

use super::key::is_id;
use super::{Attributes, Conversation, ConversationKey, ImportError, Person, PersonKey, Scope, TeamChange};
use crate::id::normalize_guid;

/// The largest reference that is remembered, in bytes of JSON. Real ones have about one thousand.
pub(super) const REFERENCE_BYTES_MAX: usize = 64 * 1024;

/// What an activity says about the bot's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// Installed, added, or spoken to: the conversation is active from now on.
    Joined,
    /// Something else happened there: a removed conversation stays removed.
    Unchanged,
    /// Uninstalled or taken out.
    Left,
}

/// Whether an activity's service URL may replace the one that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UrlSource {
    Authoritative,
    /// A small share of invokes name a region that does not work for the user (`PROTOCOL.md#a5`).
    Hint,
}

/// One conversation as one activity showed it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The conversation.
    pub key: ConversationKey,
    /// What the activity says about the bot's membership.
    pub membership: Membership,
    /// What it is looked up by.
    pub attributes: Attributes,
    pub(super) reference: ConversationReference,
    pub(super) url_source: UrlSource,
    /// Whether the activity says what kind of place it is, or the attributes only suppose so.
    pub(super) scope_known: bool,
    /// Whether it is something that a person did, not the channel.
    pub(super) by_user: bool,
}

impl Observation {
    /// The conversations an activity shows: one, or two for a thread in a channel (the channel, then the thread).
    ///
    /// None when the activity does not name what a later message needs: channel, conversation, bot and service URL.
    pub fn from_activity(activity: &Activity) -> Vec<Self> {
        let reference = ConversationReference::from_activity(activity);
        if reference.service_url.as_deref().is_none_or(str::is_empty) {
            return Vec::new();
        }
        Self::from_reference(activity, reference).map_or_else(|_| Vec::new(), Self::with_parent_channel)
    }

    /// What an activity shows of the conversation that a reference leads to.
    ///
    /// # Errors
    /// When the reference does not name it, or is too large to be remembered.
    pub(super) fn from_reference(
        activity: &Activity,
        reference: ConversationReference,
    ) -> Result<Self, ImportError> {
        let key = ConversationKey::of(&reference).ok_or(ImportError::NoId)?;
        // A record holds 400 KB. What is larger than any real reference by far would be refused by the table, and the
        // channel would repeat it for ever.
        let bytes = serde_json::to_vec(&reference).map_or(usize::MAX, |document| document.len());
        if bytes > REFERENCE_BYTES_MAX {
            return Err(ImportError::TooLarge);
        }
        let scope = scope(activity, &reference);
        Ok(Self {
            key,
            membership: membership(activity),
            attributes: attributes(activity, &reference, scope.unwrap_or(Scope::Personal)),
            reference,
            url_source: url_source(activity),
            scope_known: scope.is_some(),
            by_user: by_user(activity),
        })
    }

    /// The conversation; and before a thread in a channel, the channel.
    pub(super) fn with_parent_channel(self) -> Vec<Self> {
        if self.key.conversation.thread_root().is_some() {
            vec![self.channel_level(), self]
        } else {
            vec![self]
        }
    }

    /// The conversation that took the place of one that the channel does not know any more.
    pub fn replacement(of: &Conversation, id: ConversationId) -> Self {
        let mut reference = of.reference.clone();
        if let Some(place) = &mut reference.conversation {
            place.id = id.clone();
        }
        Self {
            key: ConversationKey {
                conversation: id,
                ..of.key.clone()
            },
            // One that is known already keeps its state.
            membership: Membership::Unchanged,
            attributes: of.attributes.clone(),
            reference,
            url_source: UrlSource::Authoritative,
            scope_known: true,
            by_user: false,
        }
    }

    /// A channel of the team that `of` is a channel of, or a thread in it: the bot is there, though it has not heard of it.
    pub fn sibling_channel(of: &Conversation, id: ConversationId) -> Self {
        let mut observation = Self::replacement(of, id);
        // What somebody put one channel under says nothing of the others.
        observation.attributes.tags.clear();
        observation.reference.user = None;
        observation.reference.activity_id = None;
        if let Some(place) = &mut observation.reference.conversation {
            place.name = None;
        }
        observation
    }

    /// The channel that an activity tells news of, by the name it has there; `None` when they are of no one channel, or the
    /// activity shows no conversation. Whoever is told in one channel of a team is in the others, too.
    pub fn from_team_change(activity: &Activity, news: &TeamChange) -> Option<Self> {
        let id = news.place.clone()?;
        let mut channel = Self::from_activity(activity).into_iter().next()?;
        channel.key.conversation = id.clone();
        channel.attributes.scope = Scope::Channel;
        channel.scope_known = true;
        (channel.attributes.user, channel.attributes.account) = (None, None);
        channel.reference.user = None;
        if let Some(place) = &mut channel.reference.conversation {
            place.id = id;
            place.name = activity.teams()?.channel?.name;
        }
        Some(channel)
    }

    /// The conversation that was made with a person.
    pub fn created(with: &PersonKey, id: ConversationId, service_url: &str) -> Self {
        let (user, account) = match &with.person {
            Person::User(id) => (Some(id.clone()), None),
            Person::Account(id) => (None, Some(id.clone())),
        };
        let person = ChannelAccount {
            // The channel's own id of a person whom only Entra has named is not known: theirs will do until they write.
            id: account
                .clone()
                .unwrap_or_else(|| user.as_ref().map_or("", |id| id.as_str()).into()),
            entra_object_id: user.clone(),
            ..ChannelAccount::default()
        };
        let reference = ConversationReference {
            user: Some(person),
            bot: Some(ChannelAccount {
                id: with.bot.clone(),
                ..ChannelAccount::default()
            }),
            conversation: Some(ConversationAccount {
                id: id.clone(),
                scope: Some(activity::Scope::Personal),
                tenant_id: Some(with.tenant.clone()),
                ..ConversationAccount::default()
            }),
            channel_id: Some(with.channel.clone()),
            service_url: Some(service_url.to_owned()),
            ..ConversationReference::default()
        };
        Self {
            key: ConversationKey {
                conversation: id,
                channel: with.channel.clone(),
                bot: with.bot.clone(),
            },
            // One that is known already keeps its state.
            membership: Membership::Unchanged,
            attributes: Attributes {
                scope: Scope::Personal,
                tenant: Some(with.tenant.clone()),
                user,
                account,
                team: None,
                tags: Vec::new(),
            },
            reference,
            url_source: UrlSource::Authoritative,
            scope_known: true,
            by_user: false,
        }
    }

    fn channel_level(&self) -> Self {
        Self {
            key: ConversationKey {
                conversation: self.key.conversation.channel(),
                ..self.key.clone()
            },
            reference: self.reference.channel_level(),
            ..self.clone()
        }
    }
}

fn membership(activity: &Activity) -> Membership {
    match &activity.kind {
        _ if activity.is_message() => Membership::Joined,
        Some(ActivityType::InstallationUpdate) => match &activity.action {
            Some(InstallationAction::Add | InstallationAction::AddUpgrade) => Membership::Joined,
            Some(InstallationAction::Remove | InstallationAction::RemoveUpgrade) => Membership::Left,
            Some(InstallationAction::Other(_)) | None => Membership::Unchanged,
        },
        Some(ActivityType::ConversationUpdate) if activity.removes_bot() => Membership::Left,
        Some(ActivityType::ConversationUpdate) if activity.adds_bot() => Membership::Joined,
        _ => Membership::Unchanged,
    }
}

/// Whether a person did this: wrote, reacted, pressed something. What the channel tells of members and installations is not.
fn by_user(activity: &Activity) -> bool {
    matches!(
        &activity.kind,
        Some(
            ActivityType::MessageReaction
                | ActivityType::MessageUpdate
                | ActivityType::MessageDelete
                | ActivityType::Invoke
                | ActivityType::Typing
        )
    )
}

fn url_source(activity: &Activity) -> UrlSource {
    match &activity.kind {
        _ if activity.is_message() => UrlSource::Authoritative,
        Some(ActivityType::ConversationUpdate | ActivityType::InstallationUpdate) => UrlSource::Authoritative,
        _ => UrlSource::Hint,
    }
}

/// What kind of place it is, if the activity says so.
fn scope(activity: &Activity, reference: &ConversationReference) -> Option<Scope> {
    let place = reference.conversation.as_ref()?;
    let in_team = activity.teams().is_some_and(|teams| teams.team.is_some());
    match &place.scope {
        _ if place.id.thread_root().is_some() => Some(Scope::Channel),
        Some(activity::Scope::Personal) => Some(Scope::Personal),
        Some(activity::Scope::GroupChat) => Some(Scope::GroupChat),
        Some(activity::Scope::Channel) => Some(Scope::Channel),
        // Old payloads of Teams name no type, and other channels have none.
        None if in_team => Some(Scope::Channel),
        None => place
            .is_group
            .map(|group| if group { Scope::GroupChat } else { Scope::Personal }),
        // A kind of place that is new: whatever it is, it is not one person's.
        Some(activity::Scope::Other(_)) => Some(Scope::GroupChat),
    }
}

fn attributes(activity: &Activity, reference: &ConversationReference, scope: Scope) -> Attributes {
    let person = reference.user.as_ref().filter(|_| scope == Scope::Personal);
    // Only Teams vouches for Entra's and its own names of people and teams; elsewhere a user may choose what they are called.
    let in_teams = is_named_by_teams(activity.channel_id.as_deref());
    let of_teams = |id: &ChannelAccountId| id.as_str().starts_with("29:");
    Attributes {
        scope,
        tenant: activity
            .tenant_id()
            .filter(|tenant| is_id(tenant))
            .map(normalize_guid),
        user: person
            .and_then(|user| user.entra_object_id.as_ref())
            .filter(|id| in_teams && is_id(id.as_str()))
            .map(|id| normalize_guid(id.as_str()).into()),
        account: person
            .map(|user| user.id.clone())
            .filter(|id| is_id(id.as_str()) && (in_teams || !of_teams(id))),
        team: activity
            .teams()
            .and_then(|teams| teams.team)
            .and_then(|team| team.id)
            .filter(|id| in_teams && is_id(id)),
        tags: Vec::new(),
    }
}

/// Whether people and teams are named by Teams itself in this channel, or in a part of it (`msteams:…`).
pub(super) fn is_named_by_teams(channel: Option<&str>) -> bool {
    channel.and_then(|id| id.split(':').next()) == Some("msteams")
}
