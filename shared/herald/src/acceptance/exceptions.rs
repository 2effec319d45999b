//! Warns of excluded ids that match nothing: a misspelt id would exclude no one.

use futures_util::{StreamExt, stream};

use crate::audience::Audience;
use crate::conversation::{ConversationName, is_id};
use crate::store::{ConversationFilter, Conversations, Error};
use crate::warning::{Warning, WarningCode};

/// How many excluded ids of a request are looked up.
const LOOKED_UP_MAX: usize = 100;

/// How many are looked up at once.
const CONCURRENT_READS: usize = 16;

/// The most warnings of one request.
const WARNINGS_MAX: usize = 20;

/// A warning for each excluded id that no stored conversation has. Ids that cannot be looked up are left out.
pub(super) async fn unmatched<C: Conversations>(conversations: &C, audience: &Audience) -> Vec<Warning> {
    let several = audience.0.len() > 1;
    let excluded = audience.0.iter().enumerate().flat_map(|(index, selector)| {
        let selector_at = if several {
            format!("/{index}")
        } else {
            String::new()
        };
        let excepted = selector.except.iter().enumerate();
        excepted.map(move |(place, id)| (format!("#/audience{selector_at}/except/{place}"), id.as_str()))
    });
    let look_ups = excluded.take(LOOKED_UP_MAX).map(|(pointer, id)| async move {
        let is_unknown = matches!(is_stored(conversations, id).await, Ok(false));
        is_unknown.then_some(pointer)
    });
    let look_ups: Vec<_> = look_ups.collect();
    let unknown: Vec<Option<String>> = stream::iter(look_ups).buffered(CONCURRENT_READS).collect().await;
    let warning = |pointer| {
        let detail = "is the id of no conversation, person or account that is remembered. It excludes one that becomes known until the audience is read.";
        Warning::at(pointer, WarningCode::NothingExcluded, detail)
    };
    unknown
        .into_iter()
        .flatten()
        .take(WARNINGS_MAX)
        .map(warning)
        .collect()
}

/// Whether a conversation with this name, or of this person, is stored.
async fn is_stored<C: Conversations>(conversations: &C, id: &str) -> Result<bool, Error> {
    let name = ConversationName::from(id);
    if let Some(key) = name.key() {
        return Ok(!conversations.get_many(&[key]).await?.is_empty());
    }
    if !is_id(id) {
        return Ok(false);
    }
    for filter in [
        ConversationFilter::Conversation(name.id()),
        ConversationFilter::User(id.into()),
        ConversationFilter::Account(id.into()),
    ] {
        if !conversations.list(&filter, None, 1).await?.items.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}
