//! What becomes of the record.

use botframework::id::{ChannelAccountId, EntraObjectId};
use botframework::reference::ConversationReference;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::sighting::Address;
use super::{Conversation, Facts, Presence, SERVICE_URLS_KEPT, Scope, Sighting, State, TAGS_MAX};

/// How often the channel did not know a conversation.
///
/// Healthy ones are not found now and then, by chance (`protocol D.6`): one is given up only after [`MISSING_MAX`] days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Times, no two of them on one day.
    pub times: u32,
    /// The last time.
    pub last: Timestamp,
}

/// So many times, each on a day of its own, a conversation may be missing before it counts as blocked.
pub const MISSING_MAX: u32 = 3;

/// The least time between two times that count.
const MISSING_APART: SignedDuration = SignedDuration::from_hours(24);

/// What a sender or a planner found out about a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The channel refuses it, with this code.
    Blocked(String),
    /// The channel does not know it.
    Missing(String),
    /// It is reached at this service URL.
    MovedTo(String),
    /// Its person has both of these names: a roster has them beside each other.
    Named(EntraObjectId, ChannelAccountId),
}

/// What the record becomes when a sender found this; `None` when nothing changes.
pub fn note(existing: &Conversation, finding: &Finding, now: Timestamp) -> Option<Conversation> {
    let mut new = existing.clone();
    match finding {
        Finding::Blocked(code) if existing.state == State::Active => {
            new.state = State::Blocked { code: code.clone() };
        }
        Finding::Missing(code) if existing.state == State::Active => {
            let times = match existing.missing {
                Some(missing) if now.duration_since(missing.last) < MISSING_APART => return None,
                Some(missing) => missing.times + 1,
                None => 1,
            };
            new.missing = Some(Missing { times, last: now });
            if times >= MISSING_MAX {
                new.state = State::Blocked { code: code.clone() };
            }
        }
        Finding::Blocked(_) | Finding::Missing(_) => return None,
        Finding::MovedTo(url) => use_first(&mut new.service_urls, url),
        Finding::Named(user, account) if existing.facts.scope == Scope::Personal => {
            let facts = &mut new.facts;
            // Of somebody else, if either is another.
            if facts.user.as_ref().is_none_or(|known| known == user)
                && facts.account.as_ref().is_none_or(|known| known == account)
            {
                (facts.user, facts.account) = (Some(user.clone()), Some(account.clone()));
            }
        }
        Finding::Named(..) => return None,
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
    let tags = &mut new.facts.tags;
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
    /// Whether anything the person does there ends it: Teams tells nobody when a bot is unblocked (`protocol D.6`).
    fn is_ended_by_the_person(&self) -> bool {
        matches!(self, Self::Blocked { code } if ["ConversationBlockedByUser", "MessageWritesBlocked"].contains(&code.as_str()))
    }
}

/// What the record becomes when `sighting` is seen at `now`; `None` when nothing changes and nothing is to be written.
///
/// What the new reference does not mention is kept from the old one: Teams' events differ in what they carry, and a
/// record must not flap between two shapes. In a group or a channel the person who spoke last is no part of the place.
pub fn remember(existing: Option<&Conversation>, sighting: Sighting, now: Timestamp) -> Option<Conversation> {
    let Sighting {
        key,
        presence,
        facts,
        mut reference,
        address,
        scope_named,
        by_person,
    } = sighting;
    // The activity a reference was made from is a moment, not a place.
    reference.activity_id = None;

    let known = existing.map(|old| old.facts.scope).filter(|_| !scope_named);
    let scope = known.unwrap_or(facts.scope);
    if scope != Scope::Personal {
        // Whoever speaks in a group or a channel is no part of the place, and could not be erased from it.
        (reference.user, reference.locale) = (None, None);
    }
    let Some(old) = existing else {
        if presence == Presence::Left {
            return None;
        }
        let service_urls = reference.service_url.iter().cloned().collect();
        return Some(Conversation {
            key,
            reference,
            facts,
            service_urls,
            state: State::Active,
            with_team: false,
            missing: None,
            version: 1,
            remembered_at: now,
            changed_at: now,
        });
    };

    if address == Address::Doubted || presence == Presence::Left {
        reference.service_url.clone_from(&old.reference.service_url);
    }
    let mut service_urls = old.service_urls.clone();
    if let Some(url) = &reference.service_url {
        use_first(&mut service_urls, url);
    }
    let new = Conversation {
        key,
        reference: overlay(&place_of(&old.reference, scope), reference),
        facts: Facts {
            scope,
            tenant: facts.tenant.or_else(|| old.facts.tenant.clone()),
            user: facts
                .user
                .or_else(|| old.facts.user.clone())
                .filter(|_| scope == Scope::Personal),
            account: facts
                .account
                .or_else(|| old.facts.account.clone())
                .filter(|_| scope == Scope::Personal),
            team: facts.team.or_else(|| old.facts.team.clone()),
            // An activity says nothing of tags.
            tags: old.facts.tags.clone(),
        },
        service_urls,
        state: match presence {
            Presence::Arrived => State::Active,
            Presence::Seen if by_person && old.state.is_ended_by_the_person() => State::Active,
            Presence::Seen => old.state.clone(),
            Presence::Left => State::Removed,
        },
        with_team: old.with_team && presence == Presence::Seen,
        missing: old.missing.filter(|_| presence != Presence::Arrived),
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
