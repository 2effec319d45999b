//! What people opted out of: the record of the person, and its copies with their conversations.
//!
//! The record is the truth. It is stored under each id of the person, and survives their conversations. Each conversation has a copy,
//! so that a delivery reads nothing more than it did before. A change is written to the record first, then to the conversations; a
//! conversation that is stored for the first time, or whose person gets another id, reads the record before that and after it.
//! Of two copies the later one counts, so all of this may be repeated, and in any order.

use std::collections::BTreeSet;

use botframework::id::UserRef;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use crate::conversation::{
    self, Conversation, ConversationKey, Feedback, PersonId, PersonKey, PreferenceChange, Preferences, Scope,
    latest_preferences,
};
use crate::store::{ConversationFilter, Conversations, Error};

/// How many conversations are listed at once.
const PAGE: usize = 100;

/// What a person opted out of, by any of their ids. A strong read.
///
/// # Errors
/// When the store is unavailable.
pub async fn find<C: Conversations>(store: &C, person: &PersonId) -> Result<Option<Preferences>, Error> {
    let known = Known::by(store, person).await?;
    latest(store, known.ids.iter()).await
}

/// What a person opted out of who has no conversation with the bot, by the id that is known. A strong read.
///
/// # Errors
/// When the store is unavailable.
pub async fn of_person<C: Conversations>(
    store: &C,
    person: &PersonKey,
) -> Result<Option<Preferences>, Error> {
    let person = PersonId {
        channel: person.channel.clone(),
        tenant: Some(person.tenant.clone()).filter(|tenant| !tenant.is_empty()),
        id: person.person.clone(),
    };
    store.preferences(&person).await
}

/// Changes what a person opted out of: the record, then the copies of all their conversations. Returns what counts then; `None` if
/// nothing was ever said.
///
/// A conversation of the person that was stored less than about a second ago may be missed, because the indexes lag behind. `said_in` is
/// the conversation in which the person said it, which is not missed.
///
/// # Errors
/// When the store is unavailable. The change may be stored in part then; its repetition completes it.
pub async fn change<C: Conversations>(
    store: &C,
    person: &PersonId,
    said_in: Option<&ConversationKey>,
    change: &PreferenceChange,
    now: Timestamp,
) -> Result<Option<Preferences>, Error> {
    let mut known = Known::by(store, person).await?;
    if let Some(key) = said_in
        && let Some(record) = read(store, key).await?
    {
        known.ids.extend(PersonId::of(&record));
        known.conversations.insert(record.key);
    }
    // All who change it begin with the same id, of those that are known: the Entra id sorts first.
    let mut ids = known.ids.iter();
    let Some(first) = ids.next() else { return Ok(None) };
    let copies = latest(store, ids.clone()).await?;
    let mut result = None;
    let mut rule = |stored: Option<&Preferences>| {
        let base = latest_preferences(stored.into_iter().chain(&copies).cloned());
        result = change.apply(base.as_ref(), now).or(base);
        result.clone().filter(|new| stored != Some(new))
    };
    store.update_preferences(first, &mut rule).await?;
    let Some(preferences) = &result else {
        return Ok(None);
    };
    for id in ids {
        let mut rule = |stored: Option<&Preferences>| {
            let is_later = stored.is_none_or(|stored| stored.changed_at < preferences.changed_at);
            is_later.then(|| preferences.clone())
        };
        store.update_preferences(id, &mut rule).await?;
    }
    for key in &known.conversations {
        copy(store, key, preferences).await?;
    }
    Ok(result)
}

/// Changes what a person opted out of by what was said in a conversation; of a group chat or channel, its own choices. What is said in a
/// thread counts for the thread and its channel. Without a change, nothing is written. Returns what counts then, of a thread for its
/// channel; `None` if the conversation is not stored.
///
/// # Errors
/// When the store is unavailable. The change may be stored in part then; its repetition completes it.
pub async fn in_conversation<C: Conversations>(
    store: &C,
    said_in: &ConversationKey,
    change: Option<&PreferenceChange>,
    now: Timestamp,
) -> Result<Option<Preferences>, Error> {
    let Some(record) = read(store, said_in).await? else {
        return Ok(None);
    };
    if let Some(person) = PersonId::of(&record).first() {
        let counts = match change {
            Some(change) => self::change(store, person, Some(said_in), change, now).await?,
            None => find(store, person).await?,
        };
        return Ok(Some(counts.unwrap_or_default()));
    }
    let channel = ConversationKey {
        conversation: said_in.conversation.channel(),
        ..said_in.clone()
    };
    let mut counts = Preferences::default();
    for key in BTreeSet::from([said_in, &channel]) {
        let mut rule = |old: Option<&Conversation>| conversation::change_preferences(old?, change?, now);
        let update = store.update_conversation(key, &mut rule).await?;
        let preferences = update
            .after
            .or(update.before)
            .and_then(|record| record.preferences);
        if *key == channel {
            counts = preferences.unwrap_or_default();
        }
    }
    Ok(Some(counts))
}

/// Reads what the person of a conversation opted out of. `None` if it is not personal.
pub(crate) async fn of_conversation<C: Conversations>(
    store: &C,
    conversation: &Conversation,
) -> Result<Option<Preferences>, Error> {
    latest(store, PersonId::of(conversation).iter()).await
}

/// Copies what the person of a conversation opted out of to it.
async fn refresh<C: Conversations>(store: &C, key: &ConversationKey) -> Result<(), Error> {
    let Some(record) = read(store, key).await? else {
        return Ok(());
    };
    match of_conversation(store, &record).await? {
        Some(preferences) => copy(store, key, &preferences).await,
        None => Ok(()),
    }
}

/// Stores another id of the person of a conversation, together with what is stored under that id. Only this version of the record is
/// changed.
///
/// # Errors
/// When the store is unavailable. Then neither the id nor the copy is stored, or both are.
pub async fn name_person<C: Conversations>(
    store: &C,
    known: &Conversation,
    feedback: &Feedback,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(named) = conversation::apply_feedback(known, feedback, now) else {
        return Ok(());
    };
    let preferences = of_conversation(store, &named).await?;
    let mut rule = |old: Option<&Conversation>| {
        let old = old.filter(|old| old.version == known.version)?;
        let named = conversation::apply_feedback(old, feedback, now)?;
        Some(with_copy(named, preferences.as_ref()))
    };
    store.update_conversation(&known.key, &mut rule).await?;
    refresh(store, &known.key).await
}

/// The conversation with a copy, unless it has a later one.
pub(crate) fn with_copy(conversation: Conversation, preferences: Option<&Preferences>) -> Conversation {
    match preferences.and_then(|preferences| conversation::set_preferences(&conversation, preferences)) {
        Some(copy) => Conversation {
            preferences: copy.preferences,
            ..conversation
        },
        None => conversation,
    }
}

/// Copies them to a conversation, unless it has later ones.
pub(crate) async fn copy<C: Conversations>(
    store: &C,
    key: &ConversationKey,
    preferences: &Preferences,
) -> Result<(), Error> {
    let mut rule = |old: Option<&Conversation>| conversation::set_preferences(old?, preferences);
    store.update_conversation(key, &mut rule).await.map(drop)
}

/// The latest record under these ids.
async fn latest<C: Conversations>(
    store: &C,
    ids: impl Iterator<Item = &PersonId>,
) -> Result<Option<Preferences>, Error> {
    let copies = try_join_all(ids.map(|id| store.preferences(id))).await?;
    Ok(latest_preferences(copies.into_iter().flatten()))
}

/// A strong read.
async fn read<C: Conversations>(store: &C, key: &ConversationKey) -> Result<Option<Conversation>, Error> {
    Ok(store.update_conversation(key, &mut |_| None).await?.before)
}

/// The ids and personal conversations of a person, of every bot.
#[derive(Default)]
struct Known {
    ids: BTreeSet<PersonId>,
    conversations: BTreeSet<ConversationKey>,
}

impl Known {
    /// Everything that is known by an id, and by the other ids that this leads to.
    async fn by<C: Conversations>(store: &C, person: &PersonId) -> Result<Self, Error> {
        let mut known = Self::default();
        known.ids.insert(person.clone());
        known.collect(store, person).await?;
        let others: Vec<PersonId> = known.ids.iter().filter(|id| *id != person).cloned().collect();
        for other in others {
            known.collect(store, &other).await?;
        }
        Ok(known)
    }

    async fn collect<C: Conversations>(&mut self, store: &C, person: &PersonId) -> Result<(), Error> {
        let filter = match &person.id {
            UserRef::Entra(id) => ConversationFilter::User(id.clone()),
            UserRef::Account(id) => ConversationFilter::Account(id.clone()),
        };
        let mut cursor = None::<String>;
        loop {
            let page = store.list(&filter, cursor.as_deref(), PAGE).await?;
            for found in page.items {
                let attributes = found.attributes;
                let is_theirs = attributes.scope == Scope::Personal
                    && found.key.channel == person.channel
                    && attributes.tenant == person.tenant;
                if is_theirs {
                    let user = attributes.user.map(UserRef::Entra);
                    let account = attributes.account.map(UserRef::Account);
                    let ids = user.into_iter().chain(account);
                    self.ids.extend(ids.map(|id| PersonId { id, ..person.clone() }));
                    self.conversations.insert(found.key);
                }
            }
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
