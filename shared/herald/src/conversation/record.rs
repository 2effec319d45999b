//! What becomes of the record.

use botframework::id::{ChannelAccountId, EntraObjectId};
use botframework::reference::ConversationReference;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::observation::UrlSource;
use super::{Attributes, Conversation, Membership, Observation, SERVICE_URLS_KEPT, Scope, State, TAGS_MAX};

/// How often the channel did not know a conversation.
///
/// Healthy ones are not found now and then, by chance (`PROTOCOL.md#d6`): one is given up only after [`NOT_FOUND_DAYS`] days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotFoundStreak {
    /// Times, no two of them on one day.
    pub times: u32,
    /// The last time.
    pub last: Timestamp,
}

/// So many times, each on a day of its own, a conversation may be missing before it counts as blocked.
pub const NOT_FOUND_DAYS: u32 = 3;

/// The least time between two times that count.
const NOT_FOUND_INTERVAL: SignedDuration = SignedDuration::from_hours(24);

/// What a sender or a planner found out about a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// The channel refuses it, with this code.
    Blocked(String),
    /// The channel does not know it.
    NotFound(String),
    /// It is reached at this service URL.
    ServiceUrl(String),
    /// Its person has both of these names: a roster has them beside each other.
    Identity(EntraObjectId, ChannelAccountId),
}

/// What the record becomes when a sender found this; `None` when nothing changes.
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
            // Of somebody else, if either is another.
            if attributes.user.as_ref().is_none_or(|known| known == user)
                && attributes.account.as_ref().is_none_or(|known| known == account)
            {
                (attributes.user, attributes.account) = (Some(user.clone()), Some(account.clone()));
            }
        }
        Feedback::Identity(..) => return None,
    }
    (new != *existing).then(|| Conversation {
        version: existing.version + 1,
        changed_at: now,
        ..new
    })
}

/// What the record becomes with these tags more and those less; `None` when nothing changes.
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
    (new != *existing).then(|| Conversation {
        version: existing.version + 1,
        changed_at: now,
        ..new
    })
}

/// Puts a service URL before all others.
fn use_first(urls: &mut Vec<String>, url: &str) {
    if urls.first().is_none_or(|first| first != url) {
        urls.retain(|known| known != url);
        urls.insert(0, url.to_owned());
        urls.truncate(SERVICE_URLS_KEPT);
    }
}

impl State {
    /// Whether anything the person does there ends it: Teams tells nobody when a bot is unblocked (`PROTOCOL.md#d6`).
    fn is_ended_by_the_person(&self) -> bool {
        matches!(self, Self::Blocked { code } if ["ConversationBlockedByUser", "MessageWritesBlocked"].contains(&code.as_str()))
    }
}

/// What the record becomes when `observation` is seen at `now`; `None` when nothing changes and nothing is to be written.
///
/// What the new reference does not mention is kept from the old one: Teams' events differ in what they carry, and a
/// record must not flap between two shapes. In a group or a channel the person who spoke last is no part of the place.
pub fn remember(
    existing: Option<&Conversation>,
    observation: Observation,
    now: Timestamp,
) -> Option<Conversation> {
    let Observation {
        key,
        membership,
        attributes,
        mut reference,
        url_source,
        scope_known,
        by_user,
    } = observation;
    // The activity a reference was made from is a moment, not a place.
    reference.activity_id = None;

    let known = existing.map(|old| old.attributes.scope).filter(|_| !scope_known);
    let scope = known.unwrap_or(attributes.scope);
    if scope != Scope::Personal {
        // Whoever speaks in a group or a channel is no part of the place, and could not be erased from it.
        (reference.user, reference.locale) = (None, None);
    }
    let Some(old) = existing else {
        if membership == Membership::Left {
            return None;
        }
        let service_urls = reference.service_url.iter().cloned().collect();
        return Some(Conversation {
            key,
            reference,
            attributes,
            service_urls,
            state: State::Active,
            removed_with_team: false,
            not_found: None,
            version: 1,
            remembered_at: now,
            changed_at: now,
        });
    };

    if url_source == UrlSource::Hint || membership == Membership::Left {
        reference.service_url.clone_from(&old.reference.service_url);
    }
    let mut service_urls = old.service_urls.clone();
    if let Some(url) = &reference.service_url {
        use_first(&mut service_urls, url);
    }
    let new = Conversation {
        key,
        reference: overlay(&place_of(&old.reference, scope), reference),
        attributes: Attributes {
            scope,
            tenant: attributes.tenant.or_else(|| old.attributes.tenant.clone()),
            user: attributes
                .user
                .or_else(|| old.attributes.user.clone())
                .filter(|_| scope == Scope::Personal),
            account: attributes
                .account
                .or_else(|| old.attributes.account.clone())
                .filter(|_| scope == Scope::Personal),
            team: attributes.team.or_else(|| old.attributes.team.clone()),
            // An activity says nothing of tags.
            tags: old.attributes.tags.clone(),
        },
        service_urls,
        state: match membership {
            Membership::Joined => State::Active,
            Membership::Unchanged if by_user && old.state.is_ended_by_the_person() => State::Active,
            Membership::Unchanged => old.state.clone(),
            Membership::Left => State::Removed,
        },
        removed_with_team: old.removed_with_team && membership == Membership::Unchanged,
        not_found: old.not_found.filter(|_| membership != Membership::Joined),
        version: old.version,
        remembered_at: old.remembered_at,
        changed_at: old.changed_at,
    };
    (new != *old).then(|| Conversation {
        version: old.version + 1,
        changed_at: now,
        ..new
    })
}

/// The reference without whoever spoke there, unless it is one person's.
fn place_of(reference: &ConversationReference, scope: Scope) -> ConversationReference {
    let mut place = reference.clone();
    if scope != Scope::Personal {
        (place.user, place.locale) = (None, None);
    }
    place
}

/// `new`, with what only `old` mentions filled in, at every depth of objects.
pub(super) fn overlay(old: &ConversationReference, new: ConversationReference) -> ConversationReference {
    fn fill(old: Value, new: &mut Value) {
        if let (Value::Object(old), Value::Object(new)) = (old, new) {
            for (name, value) in old {
                match new.get_mut(&name) {
                    Some(present) => fill(value, present),
                    None => {
                        new.insert(name, value);
                    }
                }
            }
        }
    }
    let (Ok(old), Ok(mut document)) = (serde_json::to_value(old), serde_json::to_value(&new)) else {
        return new;
    };
    fill(old, &mut document);
    serde_json::from_value(document).unwrap_or(new)
}
