//! `DELETE /api/users/{id}`: everything that is kept of a person goes.

use std::collections::BTreeSet;

use botframework::id::{ChannelAccountId, EntraObjectId};
use herald::conversation::{self, ConversationKey};
use herald::id::normalize_guid;
use herald::store::{self, ConversationFilter, Conversations};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::Context;
use crate::answer::{Refusal, json};
use crate::query::segment;

/// How many conversations are looked at together.
const PAGE: usize = 50;

/// What a caller reads afterwards.
#[derive(Debug, Serialize)]
struct Erased {
    /// How many conversations there were.
    conversations: usize,
}

/// Conversations of a person, and what those call them.
#[derive(Debug, Default)]
struct Found {
    conversations: BTreeSet<ConversationKey>,
    users: BTreeSet<EntraObjectId>,
    accounts: BTreeSet<ChannelAccountId>,
}

impl<S, C: Conversations, L, Q, E> Context<S, C, L, Q, E> {
    /// `DELETE /api/users/{id}`, by the id of Entra or of the channel.
    ///
    /// What is known of somebody whom the bot never met goes by itself, and so does what the channel told of them as a member of
    /// a team, as [`Conversations::erase`] says.
    pub(crate) async fn erase_user(&self, id: &str) -> Result<Response<Body>, Refusal> {
        let Some(id) = segment(id).filter(|id| conversation::is_id(id)) else {
            return Err(Refusal::bad_request(
                "A person is named by one id, percent-encoded.",
            ));
        };
        let mut named = Found::default();
        for selection in [
            ConversationFilter::User(normalize_guid(&id).into()),
            ConversationFilter::Account(id.into()),
        ] {
            self.find(&selection, &mut named).await?;
        }
        // A conversation may know them by another of their names alone. These go first: while one that knows this name is
        // there, the same request finds the others again.
        let mut others = Found::default();
        let users = named.users.iter().cloned().map(ConversationFilter::User);
        let accounts = named.accounts.iter().cloned().map(ConversationFilter::Account);
        for selection in users.chain(accounts) {
            self.find(&selection, &mut others).await?;
        }
        let others = others.conversations.difference(&named.conversations);
        let mut conversations = 0;
        for key in others.chain(&named.conversations) {
            // Once it is gone, indexes may still show it for a moment.
            conversations += usize::from(self.conversations.erase(key).await?);
        }
        tracing::info!(conversations, "a person was erased");
        Ok(json(StatusCode::OK, &Erased { conversations }))
    }

    /// Adds the conversations of a selection to what was found.
    async fn find(&self, selection: &ConversationFilter, found: &mut Found) -> Result<(), store::Error> {
        let mut cursor = None::<String>;
        loop {
            let listing = self
                .conversations
                .list(selection, cursor.as_deref(), PAGE)
                .await?;
            for candidate in listing.items {
                found.users.extend(candidate.attributes.user);
                found.accounts.extend(candidate.attributes.account);
                found.conversations.insert(candidate.key);
            }
            cursor = listing.cursor;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }
}
