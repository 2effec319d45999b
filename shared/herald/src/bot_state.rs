//! The state that a bot keeps of people and conversations, in the table of conversations: `botframework`'s [`Storage`].
//!
//! It never expires: like a conversation, it cannot be asked for again. The state of a conversation is erased with the conversation,
//! that of a person with the person ([`Conversations::erase_user_state`]).

use botframework::app::{StateWrite, Storage, StoredState};
use botframework::http::BoxError;
use serde_json::Value;

use crate::conversation::StateKey;
use crate::store::{CasResult, Conversations};

/// A text is not a key of [`Storage`].
#[derive(Debug, thiserror::Error)]
#[error("not the key of a state")]
struct InvalidStateKey;

/// The states in a table of conversations.
#[derive(Clone, Debug)]
pub struct StateStorage<C>(pub C);

impl<C: Conversations> Storage for StateStorage<C> {
    async fn read(&self, key: &str) -> Result<Option<StoredState>, BoxError> {
        let key = StateKey::parse(key).ok_or(InvalidStateKey)?;
        let Some((json, version)) = self.0.bot_state(&key).await? else {
            return Ok(None);
        };
        let value = serde_json::from_str(&json)?;
        Ok(Some(StoredState { value, version }))
    }

    async fn write(
        &self,
        key: &str,
        state: Option<Value>,
        expected: Option<&str>,
    ) -> Result<StateWrite, BoxError> {
        let key = StateKey::parse(key).ok_or(InvalidStateKey)?;
        let json = state.map(|state| state.to_string());
        Ok(match self.0.put_bot_state(&key, json, expected).await? {
            CasResult::Committed => StateWrite::Committed,
            CasResult::Conflict => StateWrite::Conflict,
        })
    }
}
