//! The record of a conversation, as an item.

use botframework::id::{ChannelAccountId, EntraObjectId};

use super::super::Error;
use super::super::attribute::{Item, Record, item, json, moment, number, text, texts};
use crate::conversation::{
    Attributes, Conversation, ConversationKey, NotFoundStreak, Precedence, Preferences, Product, Scope, State,
};
use crate::schedule::Zone;
use crate::store::ConversationSummary;

/// The attributes of a summary. Every index projects them.
pub(super) const SUMMARY: [&str; 13] = [
    "conversation",
    "place",
    "state",
    "changedAt",
    "tenant",
    "scope",
    "entraObjectId",
    "channelUserId",
    "team",
    TAGS,
    PRECEDENCE,
    PREFERENCES,
    ZONE,
];

/// Only records have it.
pub(super) const REFERENCE: &str = "reference";

/// Only on records with tags.
const TAGS: &str = "tags";

/// Only on records whose person has other conversations.
const PRECEDENCE: &str = "precedence";

/// Only on records whose person names a time zone by their activities.
const ZONE: &str = "zone";

/// Only on records of people, group chats and channels with preferences: JSON.
pub(super) const PREFERENCES: &str = "preferences";

/// Only on records of conversations in Copilot.
const PRODUCT: &str = "product";
const COPILOT: &str = "copilot";

/// Only on records that were removed with their team.
pub(super) const REMOVED_WITH_TEAM: &str = "removedWithTeam";

/// Only on records that the bot left with their team.
pub(super) const LEFT_WITH_TEAM: &str = "leftWithTeam";

/// The primary key of a conversation's record.
pub(super) fn key(key: &ConversationKey) -> Item {
    item([
        ("conversation", text(key.conversation.as_str())),
        ("place", text(key.place())),
    ])
}

pub(super) fn write(verb: &'static str, record: &Conversation) -> Result<Item, Error> {
    let Conversation {
        key,
        reference,
        attributes,
        service_urls,
        state,
        product,
        precedence,
        preferences,
        zone,
        removed_with_team,
        left_with_team,
        not_found,
        version,
        remembered_at,
        changed_at,
    } = record;
    let Attributes {
        scope,
        tenant,
        user,
        account,
        team,
        tags,
    } = attributes;
    let mut new = self::key(key);
    new.extend(item([
        ("state", text(state_word(state))),
        (REFERENCE, json(verb, REFERENCE, reference)?),
        ("serviceUrls", texts(service_urls)),
        ("version", number(*version)),
        ("rememberedAt", moment(*remembered_at)),
        ("changedAt", moment(*changed_at)),
    ]));
    if let Some(NotFoundStreak { times, last }) = not_found {
        new.extend(item([("missing", number(*times)), ("missingAt", moment(*last))]));
    }
    let known = [
        (UNREACHABLE, unreachable(state)),
        ("scope", (!record.is_thread()).then_some(scope.as_str())),
        ("tenant", tenant.as_deref()),
        ("entraObjectId", user.as_ref().map(EntraObjectId::as_str)),
        ("channelUserId", account.as_ref().map(ChannelAccountId::as_str)),
        ("team", team.as_deref()),
    ];
    new.extend(
        known
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), text(value?)))),
    );
    if let Some(precedence) = precedence {
        new.extend(item([(PRECEDENCE, number(precedence.as_number()))]));
    }
    if let Some(preferences) = preferences {
        new.extend(item([(PREFERENCES, json(verb, PREFERENCES, preferences)?)]));
    }
    if let Some(zone) = zone {
        new.extend(item([(ZONE, text(zone.as_str()))]));
    }
    match product {
        Product::Chat => {}
        Product::Copilot => new.extend(item([(PRODUCT, text(COPILOT))])),
    }
    if *removed_with_team {
        new.extend(item([(REMOVED_WITH_TEAM, number(1))]));
    }
    if *left_with_team {
        new.extend(item([(LEFT_WITH_TEAM, number(1))]));
    }
    if !tags.is_empty() {
        new.extend(item([(TAGS, texts(tags))]));
    }
    Ok(new)
}

pub(super) fn conversation(verb: &'static str, item: &Item) -> Result<Conversation, Error> {
    let record = Record { verb, item };
    let service_urls = record.optional_texts("serviceUrls")?;
    Ok(Conversation {
        key: read_key(record)?,
        reference: record.json(REFERENCE)?,
        attributes: attributes(record)?,
        service_urls: service_urls.ok_or_else(|| record.corrupt("serviceUrls"))?,
        state: state(record)?,
        product: product(record)?,
        precedence: precedence(record)?,
        preferences: preferences(record)?,
        zone: zone(record)?,
        removed_with_team: record.optional_number::<u8>(REMOVED_WITH_TEAM)?.is_some(),
        left_with_team: record.optional_number::<u8>(LEFT_WITH_TEAM)?.is_some(),
        not_found: not_found(record)?,
        version: record.number("version")?,
        remembered_at: record.moment("rememberedAt")?,
        changed_at: record.moment("changedAt")?,
    })
}

/// The summary of a record.
pub(super) fn summary(verb: &'static str, item: &Item) -> Result<ConversationSummary, Error> {
    let record = Record { verb, item };
    Ok(ConversationSummary {
        key: read_key(record)?,
        attributes: attributes(record)?,
        state: state(record)?,
        changed_at: record.moment("changedAt")?,
        precedence: precedence(record)?,
        preferences: preferences(record)?,
        zone: zone(record)?,
    })
}

fn precedence(record: Record<'_>) -> Result<Option<Precedence>, Error> {
    let number = record.optional_number(PRECEDENCE)?;
    Ok(number.map(Precedence::from_number))
}

pub(super) fn preferences(record: Record<'_>) -> Result<Option<Preferences>, Error> {
    let stored = record.optional_text(PREFERENCES)?;
    stored.map(|_| record.json(PREFERENCES)).transpose()
}

/// A stored name that the database does not have any more counts as none.
fn zone(record: Record<'_>) -> Result<Option<Zone>, Error> {
    Ok(record.optional_text(ZONE)?.and_then(Zone::named))
}

fn product(record: Record<'_>) -> Result<Product, Error> {
    match record.optional_text(PRODUCT)? {
        None => Ok(Product::Chat),
        Some(COPILOT) => Ok(Product::Copilot),
        Some(_) => Err(record.corrupt(PRODUCT)),
    }
}

pub(super) fn tags(record: Record<'_>) -> Result<Vec<String>, Error> {
    Ok(record.optional_texts(TAGS)?.unwrap_or_default())
}

fn not_found(record: Record<'_>) -> Result<Option<NotFoundStreak>, Error> {
    let Some(times) = record.optional_number("missing")? else {
        return Ok(None);
    };
    let last = record.moment("missingAt")?;
    Ok(Some(NotFoundStreak { times, last }))
}

pub(super) fn read_key(record: Record<'_>) -> Result<ConversationKey, Error> {
    ConversationKey::from_place(record.text("conversation")?.into(), record.text("place")?)
        .map_err(|_| record.corrupt("place"))
}

fn attributes(record: Record<'_>) -> Result<Attributes, Error> {
    Ok(Attributes {
        scope: match record.optional_text("scope")? {
            None => Scope::Channel,
            Some(word) => word.parse().map_err(|_| record.corrupt("scope"))?,
        },
        tenant: record.optional_text("tenant")?.map(str::to_owned),
        user: record.optional_text("entraObjectId")?.map(Into::into),
        account: record.optional_text("channelUserId")?.map(Into::into),
        team: record.optional_text("team")?.map(str::to_owned),
        tags: tags(record)?,
    })
}

/// Only on records that may not be written to: a sparse index.
pub(super) const UNREACHABLE: &str = "unreachable";
pub(super) const BLOCKED: &str = "blocked";
pub(super) const REMOVED: &str = "removed";

fn unreachable(state: &State) -> Option<&'static str> {
    match state {
        State::Active => None,
        State::Blocked { .. } => Some(BLOCKED),
        State::Removed => Some(REMOVED),
    }
}

/// One attribute, so that the indexes project all of it: `active`, `removed`, or `blocked:` and the channel's code.
fn state_word(state: &State) -> String {
    match state {
        State::Active => "active".to_owned(),
        State::Blocked { code } => format!("{BLOCKED}:{code}"),
        State::Removed => REMOVED.to_owned(),
    }
}

fn state(record: Record<'_>) -> Result<State, Error> {
    match record.text("state")? {
        "active" => Ok(State::Active),
        REMOVED => Ok(State::Removed),
        word => match word.strip_prefix(BLOCKED).and_then(|rest| rest.strip_prefix(':')) {
            Some(code) => Ok(State::Blocked {
                code: code.to_owned(),
            }),
            None => Err(record.corrupt("state")),
        },
    }
}
