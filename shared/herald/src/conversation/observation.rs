//! What an activity says about conversations and about a team.

use botframework::activity::{self, Activity, ActivityType, ChannelAccount, ConversationAccount};
use botframework::id::{ChannelAccountId, ConversationId, TeamId, UserRef};
use botframework::reference::ConversationReference;
use botframework::teams::is_teams;

use super::key::is_id;
use super::membership::{self, Membership};
use super::{Attributes, Conversation, ConversationKey, PersonKey, Product, Scope, TeamChange, TeamKey};
use crate::id::normalize_guid;
use crate::schedule::Zone;

/// The largest reference that is stored, in bytes of JSON. Real ones have about one thousand; a DynamoDB item holds 400 KB.
pub(super) const REFERENCE_BYTES_MAX: usize = 64 * 1024;

/// Whether an activity's service URL may replace the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UrlSource {
    Authoritative,
    /// A small share of invokes names a region that does not work for the user (`PROTOCOL.md#a5`).
    Hint,
}

/// What one activity says about one conversation.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The key of the observed conversation.
    pub key: ConversationKey,
    /// Whether the bot joined or left.
    pub membership: Membership,
    /// The values of the indexes.
    pub attributes: Attributes,
    pub(super) reference: ConversationReference,
    pub(super) url_source: UrlSource,
    /// Whether the activity states the scope. If not, `attributes` hold a guess.
    pub(super) scope_known: bool,
    pub(super) cause: Cause,
    /// The members other than the bot that left.
    pub(super) people_who_left: Vec<ChannelAccount>,
    /// The product that the activity names.
    pub(super) product: Option<Product>,
    /// The zone of the sender that the activity names.
    pub(super) zone: Option<Zone>,
    /// Whether a bot that joined or left is in the whole team, or was.
    of_whole_team: bool,
}

/// What one activity says: about its conversations, and about a team.
#[derive(Clone, Debug)]
pub struct Observations {
    /// The conversations; see [`Observation::from_activity`].
    pub conversations: Vec<Observation>,
    /// The change of a team, of its channels or of its members.
    pub team_change: Option<TeamChange>,
}

/// Why a reference cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum Unstorable {
    /// Channel, bot or conversation is missing, or is no id.
    #[error("conversation.id, channelId or bot.id is no id: too long together, or with control characters")]
    InvalidId,
    /// The reference is larger than any real one.
    #[error("the reference is larger than {REFERENCE_BYTES_MAX} bytes")]
    TooLarge,
}

impl Observations {
    /// Everything an activity says about conversations and teams.
    pub fn from_activity(activity: &Activity) -> Self {
        Self {
            conversations: Observation::from_activity(activity),
            team_change: TeamChange::from_activity(activity),
        }
    }

    /// The channel that a channel event is about, which may be another than the activity's conversation. A bot that gets the
    /// event in one channel of a team is in the others, too.
    pub fn changed_channel(&self) -> Option<Observation> {
        let change = self.team_change.as_ref()?;
        let id = change.channel.clone()?;
        let mut channel = self.conversations.first()?.clone();
        channel.key.conversation = id.clone();
        channel.attributes.scope = Scope::Channel;
        channel.scope_known = true;
        (channel.attributes.user, channel.attributes.account) = (None, None);
        channel.reference.user = None;
        if let Some(conversation) = &mut channel.reference.conversation {
            conversation.id = id;
            conversation.name.clone_from(&change.channel_name);
        }
        Some(channel)
    }
}

impl Observation {
    /// The conversations of an activity: one, or two for a thread in a channel (the channel, then the thread).
    ///
    /// None if the activity lacks what a later message needs: channel, conversation, bot and service URL.
    pub fn from_activity(activity: &Activity) -> Vec<Self> {
        let reference = ConversationReference::from_activity(activity);
        if reference.service_url.as_deref().is_none_or(str::is_empty) {
            return Vec::new();
        }
        Self::from_reference(activity, reference).map_or_else(|_| Vec::new(), Self::with_parent_channel)
    }

    /// The conversation of a reference, with what an activity says about it.
    pub(super) fn from_reference(
        activity: &Activity,
        mut reference: ConversationReference,
    ) -> Result<Self, Unstorable> {
        let tenant = activity.tenant_id();
        reference.conversation = reference.conversation.map(|it| it.in_tenant(tenant));
        let key = ConversationKey::of(&reference).ok_or(Unstorable::InvalidId)?;
        // DynamoDB would refuse a larger one, and the channel would repeat the activity for ever.
        if !is_storable(&reference) {
            return Err(Unstorable::TooLarge);
        }
        let scope = scope(activity, &reference);
        Ok(Self {
            membership: Membership::of_bot(activity),
            people_who_left: membership::people_who_left(activity),
            of_whole_team: !activity.is_message()
                && membership::is_of_whole_team(activity, &key.conversation),
            key,
            attributes: attributes(activity, &reference, scope.unwrap_or(Scope::Personal)),
            reference,
            url_source: url_source(activity),
            scope_known: scope.is_some(),
            cause: cause(activity),
            product: Product::of(activity),
            zone: zone(activity),
        })
    }

    /// The conversation; before a thread in a channel, the channel.
    pub(super) fn with_parent_channel(self) -> Vec<Self> {
        if self.key.conversation.thread_root().is_some() {
            vec![self.channel_level(), self]
        } else {
            vec![self]
        }
    }

    /// The team that the bot joined or left as a whole, if it did.
    pub fn changed_team(&self) -> Option<TeamKey> {
        let team = self.attributes.team.clone().filter(|_| self.of_whole_team)?;
        Some(TeamKey {
            channel: self.key.channel.clone(),
            bot: self.key.bot.clone(),
            team,
        })
    }

    /// The conversation that replaces one which the channel no longer knows.
    pub fn replacement(of: &Conversation, id: ConversationId) -> Self {
        let mut reference = of.reference.clone();
        if let Some(conversation) = &mut reference.conversation {
            conversation.id = id.clone();
        }
        Self {
            key: ConversationKey {
                conversation: id,
                ..of.key.clone()
            },
            // A known conversation keeps its state.
            membership: Membership::Unchanged,
            attributes: of.attributes.clone(),
            reference,
            url_source: UrlSource::Authoritative,
            scope_known: true,
            cause: Cause::Other,
            people_who_left: Vec::new(),
            product: None,
            zone: of.zone.clone(),
            of_whole_team: false,
        }
    }

    /// Another channel of the team of `of`, which is a channel or a thread: the bot is in all channels of a team.
    pub fn sibling_channel(of: &Conversation, id: ConversationId) -> Self {
        let mut observation = Self::replacement(of, id);
        // The tags of one channel say nothing about the others.
        observation.attributes.tags.clear();
        observation.reference.user = None;
        observation.reference.activity_id = None;
        if let Some(conversation) = &mut observation.reference.conversation {
            conversation.name = None;
        }
        observation
    }

    /// The conversation that was created with a person.
    pub fn created(with: &PersonKey, id: ConversationId, service_url: &str) -> Self {
        let (user, account) = match &with.person {
            UserRef::Entra(id) => (Some(id.clone()), None),
            UserRef::Account(id) => (None, Some(id.clone())),
        };
        let person = ChannelAccount {
            // The channel's id of a person known by Entra id is unknown until they write; the Entra id stands in.
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
                tenant_id: Some(with.tenant.as_str().into()),
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
            // A known conversation keeps its state.
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
            cause: Cause::Other,
            people_who_left: Vec::new(),
            product: None,
            zone: None,
            of_whole_team: false,
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

/// What caused an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A person did something: a reaction, an edit, a button.
    Act,
    /// Members changed. The sender of such an activity may be another account than the person's.
    Members,
    /// Anything else: a message, an installation.
    Other,
}

fn cause(activity: &Activity) -> Cause {
    match &activity.kind {
        Some(
            ActivityType::MessageReaction
            | ActivityType::MessageUpdate
            | ActivityType::MessageDelete
            | ActivityType::Invoke
            | ActivityType::Typing,
        ) => Cause::Act,
        Some(ActivityType::ConversationUpdate) => Cause::Members,
        _ => Cause::Other,
    }
}

/// The zone of the person. An update of members may be from another account than the person's.
fn zone(activity: &Activity) -> Option<Zone> {
    match cause(activity) {
        Cause::Members => None,
        Cause::Act | Cause::Other => Zone::of_sender(activity),
    }
}

fn url_source(activity: &Activity) -> UrlSource {
    match &activity.kind {
        _ if activity.is_message() => UrlSource::Authoritative,
        Some(ActivityType::ConversationUpdate | ActivityType::InstallationUpdate) => UrlSource::Authoritative,
        _ => UrlSource::Hint,
    }
}

/// Whether a reference is small enough to be stored.
pub(super) fn is_storable(reference: &ConversationReference) -> bool {
    serde_json::to_vec(reference).is_ok_and(|document| document.len() <= REFERENCE_BYTES_MAX)
}

/// The scope, if the activity states it.
fn scope(activity: &Activity, reference: &ConversationReference) -> Option<Scope> {
    let conversation = reference.conversation.as_ref()?;
    match &conversation.scope {
        _ if conversation.id.thread_root().is_some() => Some(Scope::Channel),
        _ if membership::is_chat_of_two_people(activity, reference) => Some(Scope::GroupChat),
        Some(activity::Scope::Personal) => Some(Scope::Personal),
        Some(activity::Scope::GroupChat) => Some(Scope::GroupChat),
        Some(activity::Scope::Channel) => Some(Scope::Channel),
        // Old payloads of Teams state no scope, nor do other channels.
        None if activity.has_team() => Some(Scope::Channel),
        None => conversation
            .is_group
            .map(|group| if group { Scope::GroupChat } else { Scope::Personal }),
        // A scope that is new: at least it is not personal.
        Some(_) => Some(Scope::GroupChat),
    }
}

fn attributes(activity: &Activity, reference: &ConversationReference, scope: Scope) -> Attributes {
    let person = reference.user.as_ref().filter(|_| scope == Scope::Personal);
    // Only Teams vouches for Entra ids and for its own ids of people and teams; on other channels users may choose them.
    let in_teams = is_teams(activity.channel_id.as_deref());
    let of_teams = |id: &ChannelAccountId| id.as_str().starts_with("29:");
    Attributes {
        scope,
        tenant: activity
            .tenant_id()
            .filter(|tenant| is_id(tenant.as_str()))
            .map(|tenant| normalize_guid(tenant.as_str())),
        user: person
            .and_then(|user| user.entra_object_id.as_ref())
            .filter(|id| in_teams && is_id(id.as_str()))
            .map(|id| normalize_guid(id.as_str()).into()),
        account: person
            .map(|user| user.id.clone())
            .filter(|id| is_id(id.as_str()) && (in_teams || !of_teams(id))),
        team: activity
            .team_id()
            .filter(|id| in_teams && is_id(id.as_str()))
            .map(TeamId::into_string),
        tags: Vec::new(),
    }
}
