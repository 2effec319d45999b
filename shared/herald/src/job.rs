//! Work that a bot does after the answer of a turn. On Lambda nothing runs after an answer, so the turn puts a job on the events
//! queue, the function *events* does it, and the result is a notification to the conversation.

use std::time::Duration;

use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conversation::ConversationKey;
use crate::problem::Problem;
use crate::queue::{FORMAT, Message};

/// How long a job may take. The function ends after 30 seconds.
pub const JOB_TIMEOUT: Duration = Duration::from_secs(25);

/// The member of a message by which it is a job.
const MEMBER: &str = "heraldJob";

/// A job of a bot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Job {
    /// Its id, by which its result is one notification although the queue may deliver it twice.
    pub id: String,
    /// What is to be done, in the bot's own words.
    pub name: String,
    /// What it is to be done with.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// The conversation that the result goes to.
    pub conversation: ConversationKey,
}

impl Job {
    /// Its value in the type that the turn gave.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.value)
    }

    /// The caller of the notification that is its result.
    pub fn caller(&self) -> String {
        caller(&self.conversation)
    }

    /// The message that carries it, in the group of its conversation.
    pub fn message(&self) -> Message {
        let message = Message::json(&serde_json::json!({ MEMBER: self }), Duration::ZERO);
        message.in_group(self.conversation.to_string())
    }

    /// The job in a message; `None` if it holds something else.
    pub(crate) fn in_message(body: &Value) -> Option<Result<Self, Problem>> {
        let job = body.get(MEMBER)?;
        let bad = |detail| Problem::new(StatusCode::BAD_REQUEST, detail);
        if body["format"]
            .as_u64()
            .is_some_and(|format| format > u64::from(FORMAT))
        {
            let detail = format!("`{MEMBER}` is a job of a newer release, whose functions do it.");
            return Some(Err(bad(detail)));
        }
        let job = Self::deserialize(job);
        Some(job.map_err(|error| bad(format!("`{MEMBER}` is not a job of this version: {error}"))))
    }
}

/// How the names of bots as callers begin. No other caller's does.
const BOT: &str = "bot:";

/// The caller of notifications that the bot of a conversation asks for: `bot:` and its account.
pub fn caller(conversation: &ConversationKey) -> String {
    format!("{BOT}{}", conversation.bot)
}

/// Whether a caller is a bot.
pub fn is_bot(caller: &str) -> bool {
    caller.starts_with(BOT)
}
