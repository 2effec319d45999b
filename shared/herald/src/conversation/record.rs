//! How activities and feedback change the record of a conversation.

use botframework::id::{ChannelAccountId, EntraObjectId};
use botframework::reference::ConversationReference;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::membership::include_person;
use super::observation::{Cause, UrlSource, is_storable};
use super::{
    Attributes, Conversation, Membership, Observation, Precedence, SERVICE_URLS_KEPT, Scope, State, TAGS_MAX,
};

/// On how many days in a row the channel answered that it does not know a conversation.
///
/// Healthy conversations are reported as not found now and then (`PROTOCOL.md#d6`), so one is blocked only after
/// [`NOT_FOUND_DAYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotFoundStreak {
    /// The days, no two within 24 hours.
    pub times: u32,
    /// The latest answer that counted.
    pub last: Timestamp,
}

/// After so many days of not being found, a conversation is blocked.
pub const NOT_FOUND_DAYS: u32 = 3;

/// The least time between two answers that count.
const NOT_FOUND_INTERVAL: SignedDuration = SignedDuration::from_hours(24);

/// What a sender or a planner learned about a conversation from the channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// The channel refuses messages, with this code.
    Blocked(String),
    /// The channel does not know the conversation, with this code.
    NotFound(String),
    /// This service URL works.
    ServiceUrl(String),
    /// Both ids of its person, as a roster lists them together.
    Identity(EntraObjectId, ChannelAccountId),
}

/// Applies feedback to a record; `None` when nothing changes.
pub fn apply_feedback(existing: &Conversation, feedback: &Feedback, now: Timestamp) -> Option<Conversation> {
    let mut new = existing.clone();
    match feedback {
        Feedback::Blocked(code) if existing.state == State::Active => {
            new.state = State::Blocked { code: code.clone() };
        }
        Feedback::NotFound(code) if existing.state == State::Active => {
            let times = match existing.not_found {
                Some(streak) if now.duration_since(streak.last) < NOT_FOUND_INTERVAL => return None,
                Some(streak) => streak.times + 1,
                None => 1,
            };
            new.not_found = Some(NotFoundStreak { times, last: now });
            if times >= NOT_FOUND_DAYS {
                new.state = State::Blocked { code: code.clone() };
            }
        }
        Feedback::Blocked(_) | Feedback::NotFound(_) => return None,
        Feedback::ServiceUrl(url) => use_first(&mut new.service_urls, url),
        Feedback::Identity(user, account) if existing.attributes.scope == Scope::Personal => {
            let attributes = &mut new.attributes;
            // If either id differs, the roster entry is of another person.
            if attributes.user.as_ref().is_none_or(|known| known == user)
                && attributes.account.as_ref().is_none_or(|known| known == account)
            {
                (attributes.user, attributes.account) = (Some(user.clone()), Some(account.clone()));
            }
        }
        Feedback::Identity(..) => return None,
    }
    new.if_changed(existing, now)
}

/// Adds and removes tags; `None` when nothing changes. Tags beyond [`TAGS_MAX`] are not added.
pub fn tag(
    existing: &Conversation,
    add: &[String],
    remove: &[String],
    now: Timestamp,
) -> Option<Conversation> {
    let mut new = existing.clone();
    let tags = &mut new.attributes.tags;
    tags.retain(|tag| !remove.contains(tag));
    for tag in add {
        if !tags.contains(tag) && tags.len() < TAGS_MAX {
            tags.push(tag.clone());
        }
    }
    tags.sort();
    new.if_changed(existing, now)
}

/// Moves a service URL to the front.
fn use_first(urls: &mut Vec<String>, url: &str) {
    if urls.first().is_none_or(|first| first != url) {
        urls.retain(|known| known != url);
        urls.insert(0, url.to_owned());
        urls.truncate(SERVICE_URLS_KEPT);
    }
}

impl State {
    /// Whether the person blocked the bot. Any act of theirs ends that: Teams sends no event when a bot is unblocked
    /// (`PROTOCOL.md#d6`).
    pub(super) fn is_blocked_by_user(&self) -> bool {
        matches!(self, Self::Blocked { code } if ["ConversationBlockedByUser", "MessageWritesBlocked"].contains(&code.as_str()))
    }
}

/// Applies an observation to a record; `None` when nothing changes.
///
/// Properties that the new reference lacks are kept from the old one: Teams' events carry different properties, and a
/// record must not alternate between two shapes. The record of a group or a channel contains no person.
pub fn remember(
    existing: Option<&Conversation>,
    observation: Observation,
    now: Timestamp,
) -> Option<Conversation> {
    let observation = observation.in_scope_of(existing);
    match existing {
        None => first(observation, now),
        Some(old) => changed(old, observation, now),
    }
}

impl Observation {
    /// The observation of the stored conversation: with its scope, if the activity states none, and without a person if that is not
    /// personal. A personal conversation that its person leaves has ended.
    fn in_scope_of(mut self, existing: Option<&Conversation>) -> Self {
        // A proactive message replies to nothing.
        self.reference.activity_id = None;
        if let Some(old) = existing.filter(|_| !self.scope_known) {
            self.attributes.scope = old.attributes.scope;
        }
        if self.attributes.scope != Scope::Personal {
            // A person's data in a group's record could not be erased with the person.
            (self.reference.user, self.reference.locale) = (None, None);
            (self.attributes.user, self.attributes.account) = (None, None);
            return self;
        }
        let known = existing.map_or(&self.attributes, |old| &old.attributes);
        if include_person(&self.people_who_left, known) {
            self.membership = Membership::Left;
        }
        if let Some(old) = existing {
            let other_account = |known: &ChannelAccountId| self.attributes.account.as_ref() != Some(known);
            if self.cause == Cause::Members && old.attributes.account.as_ref().is_some_and(other_account) {
                // An update of members may be from another account than the person's.
                self.reference.user.clone_from(&old.reference.user);
                self.attributes.account.clone_from(&old.attributes.account);
                self.attributes.user.clone_from(&old.attributes.user);
            }
        }
        self
    }
}

/// The record of a conversation that is stored for the first time.
fn first(observation: Observation, now: Timestamp) -> Option<Conversation> {
    match observation.membership {
        Membership::Joined | Membership::Unchanged => {}
        Membership::Unknown | Membership::Left => return None,
    }
    let Observation {
        key,
        reference,
        attributes,
        product,
        zone,
        ..
    } = observation;
    Some(Conversation {
        zone: zone.filter(|_| attributes.scope == Scope::Personal),
        service_urls: reference.service_url.iter().cloned().collect(),
        product: product.unwrap_or_default(),
        ..Conversation::new(key, reference, attributes, now)
    })
}

/// The record with an observation; `None` when nothing changes.
fn changed(old: &Conversation, observation: Observation, now: Timestamp) -> Option<Conversation> {
    let Observation {
        key,
        membership,
        attributes,
        mut reference,
        url_source,
        cause,
        product,
        zone,
        ..
    } = observation;
    if url_source == UrlSource::Hint || membership == Membership::Left {
        reference.service_url.clone_from(&old.reference.service_url);
    }
    let mut service_urls = old.service_urls.clone();
    if let Some(url) = &reference.service_url {
        use_first(&mut service_urls, url);
    }
    let (scope, product) = (attributes.scope, product.unwrap_or(old.product));
    let is_personal = scope == Scope::Personal;
    let says_membership = matches!(membership, Membership::Joined | Membership::Left);
    let known = |user: &Option<EntraObjectId>| user.clone().filter(|_| is_personal);
    let new = Conversation {
        key,
        reference: merge(&without_user(&old.reference, scope), reference),
        attributes: Attributes {
            scope,
            tenant: attributes.tenant.or_else(|| old.attributes.tenant.clone()),
            user: attributes.user.or_else(|| known(&old.attributes.user)),
            account: attributes
                .account
                .or_else(|| old.attributes.account.clone().filter(|_| is_personal)),
            team: attributes.team.or_else(|| old.attributes.team.clone()),
            // Activities carry no tags.
            tags: old.attributes.tags.clone(),
        },
        service_urls,
        state: match membership {
            Membership::Joined => State::Active,
            Membership::Unchanged | Membership::Unknown
                if cause == Cause::Act && old.state.is_blocked_by_user() =>
            {
                State::Active
            }
            Membership::Unchanged | Membership::Unknown => old.state.clone(),
            Membership::Left => State::Removed,
        },
        product,
        precedence: old
            .precedence
            .filter(|_| is_personal)
            .map(|_| Precedence::of(product, old.remembered_at)),
        preferences: old.preferences.clone().filter(|_| scope == old.attributes.scope),
        zone: zone.or_else(|| old.zone.clone()).filter(|_| is_personal),
        removed_with_team: old.removed_with_team && !says_membership,
        left_with_team: old.left_with_team && !says_membership,
        not_found: old.not_found.filter(|_| membership != Membership::Joined),
        version: old.version,
        remembered_at: old.remembered_at,
        changed_at: old.changed_at,
    };
    new.if_changed(old, now)
}

/// The reference without the user and their language, unless the conversation is personal.
fn without_user(reference: &ConversationReference, scope: Scope) -> ConversationReference {
    let mut reference = reference.clone();
    if scope != Scope::Personal {
        (reference.user, reference.locale) = (None, None);
    }
    reference
}

/// `new` with the properties that only `old` has, as far as the record stays small enough: else only those of the schema, else none.
fn merge(old: &ConversationReference, new: ConversationReference) -> ConversationReference {
    let whole = overlay(old, new.clone());
    if is_storable(&whole) {
        return whole;
    }
    let of_schema = overlay(&without_unknown(old.clone()), new.clone());
    if is_storable(&of_schema) { of_schema } else { new }
}

/// The reference without properties that the schema does not have.
fn without_unknown(mut reference: ConversationReference) -> ConversationReference {
    reference.extra.clear();
    for account in [&mut reference.user, &mut reference.bot].into_iter().flatten() {
        account.extra.clear();
    }
    if let Some(conversation) = &mut reference.conversation {
        conversation.extra.clear();
    }
    reference
}

/// `new` with the properties that only `old` has, at every depth.
pub(super) fn overlay(old: &ConversationReference, new: ConversationReference) -> ConversationReference {
    let (Ok(old), Ok(mut json)) = (old.to_lossless(), new.to_lossless()) else {
        return new;
    };
    json.fill(old);
    ConversationReference::from_lossless(json).unwrap_or(new)
}
