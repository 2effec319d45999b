//! `GET /api/conversations`: who blocked, muted or uninstalled the bot.

use herald::conversation::{ConversationKey, State};
use herald::store::{Candidate, Conversations, Error, Selection};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::Context;
use crate::answer::{Refusal, json};
use crate::query::{self, Query, not_a_cursor};

/// What a caller reads of one conversation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Troubled {
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
    state: &'static str,
    /// The channel's code for blocking.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    since: Timestamp,
}

impl From<Candidate> for Troubled {
    fn from(candidate: Candidate) -> Self {
        let (state, code) = match candidate.state {
            State::Active => ("active", None),
            State::Blocked { code } => ("blocked", Some(code)),
            State::Removed => ("removed", None),
        };
        let facts = candidate.facts;
        Self {
            conversation: candidate.key,
            scope: facts.scope.as_str(),
            tenant: facts.tenant,
            user: facts.user.map(|user| user.as_str().to_owned()),
            account: facts.account.map(|account| account.as_str().to_owned()),
            team: facts.team,
            state,
            code,
            since: candidate.changed_at,
        }
    }
}

/// A page of the list.
#[derive(Debug, Serialize)]
struct Listed {
    conversations: Vec<Troubled>,
    /// Where to go on; there is no more without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<S, C: Conversations, L, Q, E> Context<S, C, L, Q, E> {
    /// `GET /api/conversations`
    pub(crate) async fn conversations(&self, request: &Request) -> Result<Response<Body>, Refusal> {
        let query = Query::read(request, &["state", "cursor", "limit"])?;
        let selection = match query.get("state") {
            Some("blocked") => Selection::Blocked,
            Some("removed") => Selection::Removed,
            Some(_) | None => {
                let detail = "`state` must be `blocked` (the channel refuses the bot there) or `removed` (the bot was uninstalled or taken out).";
                return Err(Refusal::bad_request(detail));
            }
        };
        let (cursor, limit) = (query.cursor()?, query.limit()?);
        let listing = self
            .conversations
            .list(&selection, cursor.as_deref(), limit)
            .await;
        let listing = listing.map_err(|error| match error {
            // There is nothing in this call that a caller can have made but the cursor.
            Error::Corrupt { what, .. } if what == "cursor" => not_a_cursor(),
            Error::Corrupt { .. } | Error::Unavailable { .. } => error.into(),
        })?;
        let listed = Listed {
            conversations: listing.found.into_iter().map(Troubled::from).collect(),
            next: listing.next.map(query::cursor),
        };
        Ok(json(StatusCode::OK, &listed))
    }
}
