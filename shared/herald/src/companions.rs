//! Finds the personal conversations of one person: see [`conversation::Rank`].
//!
//! A person has more than one conversation rarely, so nothing of this is on the way of an activity that changes nothing. When a
//! personal conversation is stored or changes, the index of its person is asked for others, and each of them gets its
//! precedence. A plan then asks for the companions of a conversation with a precedence, and of no other.
//!
//! A personal conversation that is stored for the first time also gets a copy of what its person opted out of: see
//! [`preferences`].

use botframework::id::UserRef;
use jiff::Timestamp;

use crate::conversation::{
    self, Conversation, ConversationKey, Import, Observation, PersonId, PersonKey, Rank, Scope, State,
};
use crate::preferences;
use crate::rate_limit::Bucket;
use crate::store::{ConversationFilter, ConversationSummary, Conversations, Error, Update, Upsert};

/// How many conversations are listed at once.
const PAGE: usize = 100;

/// The most conversations of one person that are looked at: a page that opens a Web Chat again and again under one user id.
const COMPANIONS_MAX: usize = 1000;

/// Applies an observation, by [`conversation::remember`]. If its person has other conversations, all of them get their precedence. A
/// new one gets what its person opted out of.
///
/// # Errors
/// When the store is unavailable. Then the observation is not stored, and can be applied again.
pub async fn remember<C: Conversations>(
    store: &C,
    observation: Observation,
    now: Timestamp,
) -> Result<Update<Conversation>, Error> {
    let key = observation.key.clone();
    let rule = |old: Option<&Conversation>| conversation::remember(old, observation.clone(), now);
    update(store, &key, &rule, now).await
}

/// Merges a record from elsewhere, by [`conversation::import()`]. If its person has other conversations, all of them get their
/// precedence. A new one gets what its person opted out of.
///
/// # Errors
/// When the store is unavailable. Then the record is not imported, and can be imported again.
pub async fn import<C: Conversations>(store: &C, import: Import, now: Timestamp) -> Result<Upsert, Error> {
    let key = import.key.clone();
    let rule = |old: Option<&Conversation>| {
        conversation::import(old, import.clone(), now).filter(|_| import.fits(old))
    };
    let update = update(store, &key, &rule, now).await?;
    Ok(match (&update.before, &update.after) {
        (before @ Some(_), None) if !import.fits(before.as_ref()) => Upsert::TooLarge,
        _ => update.upsert(),
    })
}

type PureRule<'a> = dyn Fn(Option<&Conversation>) -> Option<Conversation> + Sync + 'a;

async fn update<C: Conversations>(
    store: &C,
    key: &ConversationKey,
    rule: &PureRule<'_>,
    now: Timestamp,
) -> Result<Update<Conversation>, Error> {
    let mut unwritten = None;
    let mut first = |old: Option<&Conversation>| {
        let new = rule(old)?;
        let names_person = PersonId::of(&new) != old.map(PersonId::of).unwrap_or_default();
        if names_person || new.may_have_companions() {
            unwritten = Some((new, names_person));
            return None;
        }
        Some(new)
    };
    let update = store.update_conversation(key, &mut first).await?;
    let Some((unwritten, names_person)) = unwritten else {
        return Ok(update);
    };
    // Boxed: most activities change nothing, and would carry the size of these futures.
    if names_person {
        Box::pin(update_with_opt_outs(store, &unwritten, rule, now)).await
    } else {
        Box::pin(update_with_companions(store, &unwritten, rule, now)).await
    }
}

/// The conversation has a copy from its first moment. What is changed in between does not find the conversation yet, so the record is
/// read again.
async fn update_with_opt_outs<C: Conversations>(
    store: &C,
    unwritten: &Conversation,
    rule: &PureRule<'_>,
    now: Timestamp,
) -> Result<Update<Conversation>, Error> {
    let before = preferences::of_conversation(store, unwritten).await?;
    let with_opt_outs =
        |old: Option<&Conversation>| Some(preferences::with_copy(rule(old)?, before.as_ref()));
    let update = update_with_companions(store, unwritten, &with_opt_outs, now).await?;
    let after = preferences::of_conversation(store, unwritten).await?;
    if let Some(after) = after.filter(|after| before.as_ref() != Some(after)) {
        preferences::copy(store, &unwritten.key, &after).await?;
    }
    Ok(update)
}

/// The companions get their precedence first: if this is cut short, the activity is repeated, and finds them again.
async fn update_with_companions<C: Conversations>(
    store: &C,
    unwritten: &Conversation,
    rule: &PureRule<'_>,
    now: Timestamp,
) -> Result<Update<Conversation>, Error> {
    let may_have_companions = unwritten.may_have_companions();
    let has_companions = may_have_companions && mark_others(store, unwritten, now).await?;
    let mut second = |old: Option<&Conversation>| {
        let new = rule(old)?;
        Some(if has_companions && new.may_have_companions() {
            new.with_companions()
        } else {
            new
        })
    };
    let update = store.update_conversation(&unwritten.key, &mut second).await?;
    let is_new = update.before.is_none() && update.after.is_some();
    // Another conversation of the person may have been stored at the same time.
    if is_new && may_have_companions && !has_companions && mark_others(store, unwritten, now).await? {
        mark(store, &unwritten.key, now).await?;
    }
    Ok(update)
}

/// Gives the companions of a conversation their precedence; whether there are any.
async fn mark_others<C: Conversations>(
    store: &C,
    record: &Conversation,
    now: Timestamp,
) -> Result<bool, Error> {
    let attributes = &record.attributes;
    let bucket = Bucket::of(&record.key, attributes.tenant.as_deref());
    let user = attributes.user.clone().map(UserRef::Entra);
    let account = attributes.account.clone().map(UserRef::Account);
    let mut has_companions = false;
    for person in user.into_iter().chain(account) {
        for other in of_person(store, &person, &bucket).await? {
            if other.key == record.key || other.state == State::Removed {
                continue;
            }
            has_companions = true;
            if other.precedence.is_none() {
                mark(store, &other.key, now).await?;
            }
        }
    }
    Ok(has_companions)
}

async fn mark<C: Conversations>(store: &C, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
    let mut rule = |old: Option<&Conversation>| conversation::add_companions(old?, now);
    store.update_conversation(key, &mut rule).await.map(drop)
}

/// The personal conversations of a person with one bot in one tenant, in any state.
///
/// # Errors
/// When the store is unavailable.
pub async fn of_person<C: Conversations>(
    store: &C,
    person: &UserRef,
    bucket: &Bucket,
) -> Result<Vec<ConversationSummary>, Error> {
    let filter = match person {
        UserRef::Entra(id) => ConversationFilter::User(id.clone()),
        UserRef::Account(id) => ConversationFilter::Account(id.clone()),
    };
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.list(&filter, cursor.as_deref(), PAGE).await?;
        found.extend(page.items.into_iter().filter(|known| {
            known.attributes.scope == Scope::Personal
                && Bucket::of(&known.key, known.attributes.tenant.as_deref()) == *bucket
        }));
        cursor = page.cursor;
        if cursor.is_none() || found.len() >= COMPANIONS_MAX {
            return Ok(found);
        }
    }
}

/// The conversation that gets a notification, of the known ones of a person.
///
/// # Errors
/// When the store is unavailable.
pub async fn preferred_of<C: Conversations>(
    store: &C,
    person: &PersonKey,
) -> Result<Option<ConversationKey>, Error> {
    let place = ConversationKey {
        conversation: "".into(),
        channel: person.channel.clone(),
        bot: person.bot.clone(),
    };
    let bucket = Bucket::of(&place, Some(&person.tenant));
    let known = of_person(store, &person.person, &bucket).await?;
    Ok(preferred(&known).map(|known| known.key.clone()))
}

/// The conversation that gets a notification, of these companions.
pub fn preferred<'a>(
    companions: impl IntoIterator<Item = &'a ConversationSummary>,
) -> Option<&'a ConversationSummary> {
    companions
        .into_iter()
        .max_by_key(|it| (Rank::of(&it.state, it.precedence), std::cmp::Reverse(&it.key)))
}
