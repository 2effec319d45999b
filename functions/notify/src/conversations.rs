//! `/api/conversations`: what is remembered, found by what it is looked up by; its tags; and that it is forgotten.

use herald::conversation::{self, Attributes, Conversation, ConversationKey, State, TAG_BYTES_MAX, TAGS_MAX};
use herald::id::normalize_guid;
use herald::store::{ConversationFilter, ConversationSummary, Conversations, Error};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::Context;
use crate::answer::{Refusal, json, nothing};
use crate::query::{self, Query, not_a_cursor, segment};

/// What a caller reads of one conversation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    conversation: ConversationKey,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// The person of a personal conversation, as Entra names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The same, as the channel names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    state: &'static str,
    /// The channel's code for blocking.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    since: Timestamp,
}

impl Known {
    fn new(conversation: ConversationKey, attributes: Attributes, state: State, since: Timestamp) -> Self {
        let (state, code) = match state {
            State::Active => ("active", None),
            State::Blocked { code } => ("blocked", Some(code)),
            State::Removed => ("removed", None),
        };
        Self {
            conversation,
            scope: attributes.scope.as_str(),
            tenant: attributes.tenant,
            user: attributes.user.map(|user| user.as_str().to_owned()),
            account: attributes.account.map(|account| account.as_str().to_owned()),
            team: attributes.team,
            tags: attributes.tags,
            state,
            code,
            since,
        }
    }
}

impl From<ConversationSummary> for Known {
    fn from(found: ConversationSummary) -> Self {
        Self::new(found.key, found.attributes, found.state, found.changed_at)
    }
}

/// What a caller reads who asks for one alone.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    #[serde(flatten)]
    known: Known,
    /// Where it was heard of, the newest first.
    service_urls: Vec<String>,
    remembered_at: Timestamp,
}

impl From<Conversation> for Whole {
    fn from(found: Conversation) -> Self {
        Self {
            known: Known::new(found.key, found.attributes, found.state, found.changed_at),
            service_urls: found.service_urls,
            remembered_at: found.remembered_at,
        }
    }
}

/// A page of the list.
#[derive(Debug, Serialize)]
struct Listed {
    conversations: Vec<Known>,
    /// Where to go on; there is no more without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The tags of one conversation, after a change.
#[derive(Debug, Serialize)]
struct Tagged {
    conversation: ConversationKey,
    tags: Vec<String>,
}

/// What conversations are listed by.
pub(crate) const LISTED_BY: [&str; 5] = ["state", "tenant", "user", "team", "tag"];

impl<S, C: Conversations, L, Q, E> Context<S, C, L, Q, E> {
    /// `GET /api/conversations`
    pub(crate) async fn conversations(&self, request: &Request) -> Result<Response<Body>, Refusal> {
        let [state, tenant, user, team, tag] = LISTED_BY;
        let query = Query::read(request, &[state, tenant, user, team, tag, "cursor", "limit"])?;
        let selection = selection(&query)?;
        let (cursor, limit) = (query.cursor()?, query.limit()?);
        let listing = self
            .conversations
            .list(&selection, cursor.as_deref(), limit)
            .await;
        let listing = listing.map_err(not_listed)?;
        let listed = Listed {
            conversations: listing.items.into_iter().map(Known::from).collect(),
            next: listing.cursor.map(query::cursor),
        };
        Ok(json(StatusCode::OK, &listed))
    }

    /// `GET /api/conversations/{key}`
    pub(crate) async fn conversation(&self, key: &str) -> Result<Response<Body>, Refusal> {
        let found = self.conversations.get_many(&[named(key)?]).await?.pop();
        let found = found.ok_or_else(unknown)?;
        Ok(json(StatusCode::OK, &Whole::from(found)))
    }

    /// `DELETE /api/conversations/{key}`
    pub(crate) async fn forget(&self, key: &str) -> Result<Response<Body>, Refusal> {
        if self.conversations.erase(&named(key)?).await? {
            Ok(nothing())
        } else {
            Err(unknown())
        }
    }

    /// `PUT /api/conversations/{key}/tags/{tag}`
    pub(crate) async fn tag(&self, key: &str, tag: &str) -> Result<Response<Body>, Refusal> {
        let (conversation, tag) = (named(key)?, tag_named(tag)?);
        let now = self.clock.now();
        let add = std::slice::from_ref(&tag);
        let tags = self.conversations.tag(&conversation, add, &[], now).await?;
        let tags = tags.ok_or_else(unknown)?;
        if !tags.contains(&tag) {
            let detail =
                format!("The conversation carries {TAGS_MAX} tags already: take it from under one first.");
            return Err(Refusal::conflict(detail));
        }
        Ok(json(StatusCode::OK, &Tagged { conversation, tags }))
    }

    /// `DELETE /api/conversations/{key}/tags/{tag}`
    pub(crate) async fn untag(&self, key: &str, tag: &str) -> Result<Response<Body>, Refusal> {
        let (conversation, tag) = (named(key)?, tag_named(tag)?);
        let now = self.clock.now();
        let tags = self.conversations.tag(&conversation, &[], &[tag], now).await?;
        let tags = tags.ok_or_else(unknown)?;
        Ok(json(StatusCode::OK, &Tagged { conversation, tags }))
    }
}

/// Why nothing is listed.
pub(crate) fn not_listed(error: Error) -> Refusal {
    match error {
        // There is nothing in such a call that a caller can have made but the cursor.
        Error::Corrupt { what, .. } if what == "cursor" => not_a_cursor(),
        Error::Corrupt { .. } | Error::Unavailable { .. } => error.into(),
    }
}

/// The one thing that the list is by.
fn selection(query: &Query) -> Result<ConversationFilter, Refusal> {
    let mut given = LISTED_BY
        .into_iter()
        .filter_map(|name| query.get(name).map(|value| (name, value)));
    match (given.next(), given.next()) {
        (Some((name, value)), None) => selected_by(name, value),
        (None | Some(_), _) => {
            let names = LISTED_BY.join("`, `");
            let detail = format!("Conversations are listed by exactly one of `{names}`.");
            Err(Refusal::bad_request(detail))
        }
    }
}

/// What one of [`LISTED_BY`] selects.
pub(crate) fn selected_by(name: &str, value: &str) -> Result<ConversationFilter, Refusal> {
    let text = || {
        let is_id = conversation::is_id(value);
        let bad = || Refusal::bad_request(format!("`{name}` must be an id."));
        is_id.then(|| value.to_owned()).ok_or_else(bad)
    };
    match name {
        "tenant" => text().map(|id| ConversationFilter::Tenant(normalize_guid(&id))),
        "user" => text().map(|id| ConversationFilter::User(normalize_guid(&id).into())),
        "team" => text().map(ConversationFilter::Team),
        "tag" if conversation::is_tag(value) => Ok(ConversationFilter::Tag(value.to_owned())),
        "tag" => Err(not_a_tag()),
        _ => match value {
            "blocked" => Ok(ConversationFilter::Blocked),
            "removed" => Ok(ConversationFilter::Removed),
            _ => {
                let detail = "`state` must be `blocked` (the channel refuses the bot there) or `removed` (the bot was uninstalled or taken out).";
                Err(Refusal::bad_request(detail))
            }
        },
    }
}

fn named(text: &str) -> Result<ConversationKey, Refusal> {
    let key = segment(text).and_then(|text| text.parse().ok());
    key.ok_or_else(|| {
        Refusal::bad_request(
            "A conversation is named as lists name it: channel, bot and conversation with `|` between, percent-encoded.",
        )
    })
}

fn tag_named(text: &str) -> Result<String, Refusal> {
    let tag = segment(text).filter(|tag| conversation::is_tag(tag));
    tag.ok_or_else(not_a_tag)
}

fn not_a_tag() -> Refusal {
    Refusal::bad_request(format!(
        "A tag has 1 to {TAG_BYTES_MAX} bytes, and no control characters."
    ))
}

fn unknown() -> Refusal {
    Refusal::not_found("No such conversation is remembered.")
}
