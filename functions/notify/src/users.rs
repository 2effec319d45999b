//! `DELETE /api/users/{id}`: erases everything that is stored about a person.

use std::collections::BTreeSet;

use botframework::id::{ChannelAccountId, EntraObjectId, UserRef};
use herald::backend::Backend;
use herald::conversation::{self, ConversationKey};
use herald::id::normalize_guid;
use herald::store::{self, ConversationFilter, Conversations};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::Context;
use crate::response::{ApiError, json};
use herald::audit::AuditAction;

/// How many conversations are read at once.
const PAGE: usize = 50;

#[derive(Debug, Serialize)]
struct Erased {
    /// How many were erased.
    conversations: usize,
}

/// Conversations of a person, and the ids of the person in them.
#[derive(Debug, Default)]
struct Found {
    conversations: BTreeSet<ConversationKey>,
    users: BTreeSet<EntraObjectId>,
    accounts: BTreeSet<ChannelAccountId>,
}

impl<B: Backend> Context<B> {
    /// `DELETE /api/users/{id}`, by Entra object id or channel id.
    ///
    /// Records of people without a conversation, and cached rosters, expire by themselves; see [`Conversations::erase`].
    pub(crate) async fn erase_user(&self, id: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let Some(id) = Some(id.to_owned()).filter(|id| conversation::is_id(id)) else {
            return Err(ApiError::bad_request(
                "A person is named by one id, percent-encoded.",
            ));
        };
        let account = ChannelAccountId::from(id.as_str());
        let user = EntraObjectId::from(normalize_guid(&id));
        let mut named = Found::default();
        for selection in [
            ConversationFilter::User(user.clone()),
            ConversationFilter::Account(account.clone()),
        ] {
            self.collect(&selection, &mut named).await?;
        }
        // A conversation may hold only another id of the person. Those are erased first: as long as a conversation with the
        // given id exists, a repetition of the request finds the others again.
        let mut others = Found::default();
        let users = named.users.iter().cloned().map(ConversationFilter::User);
        let accounts = named.accounts.iter().cloned().map(ConversationFilter::Account);
        for selection in users.chain(accounts) {
            self.collect(&selection, &mut others).await?;
        }
        // The bot's state and the opt-outs first: by the conversations, a repetition of the request finds them again.
        for account in named.accounts.iter().chain(&others.accounts).chain([&account]) {
            self.conversations.erase_user_state(account).await?;
            let id = UserRef::Account(account.clone());
            self.conversations.erase_preferences(&id).await?;
        }
        for user in named.users.iter().chain(&others.users).chain([&user]) {
            let id = UserRef::Entra(user.clone());
            self.conversations.erase_preferences(&id).await?;
        }
        let others = others.conversations.difference(&named.conversations);
        let mut conversations = 0;
        let mut erased = Ok(());
        for key in others.chain(&named.conversations) {
            // Indexes may still show an erased conversation for a moment.
            match self.conversations.erase(key).await {
                Ok(was_stored) => conversations += usize::from(was_stored),
                Err(error) => {
                    erased = Err(error);
                    break;
                }
            }
        }
        AuditAction::EraseUser.of_conversations(caller, conversations);
        erased?;
        Ok(json(StatusCode::OK, &Erased { conversations }))
    }

    /// Adds all conversations of a filter to `found`.
    async fn collect(&self, filter: &ConversationFilter, found: &mut Found) -> Result<(), store::Error> {
        let mut cursor = None::<String>;
        loop {
            let listing = self.conversations.list(filter, cursor.as_deref(), PAGE).await?;
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
