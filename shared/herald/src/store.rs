//! The port to the tables: conversations, notifications, the ledger of deliveries, and rate limits.
//!
//! Each trait has a few required methods, which a backend implements: *apply this pure rule to this record, atomically*,
//! and queries. The operations that callers use ([`Conversations::remember`], [`Ledger::settle`], …) are provided
//! methods, written once over the required ones. A rule is a pure function: the backend may call it several times, and
//! stores the last result.
//!
//! [`memory`] and [`dynamodb`] pass the same contract suite (`tests/all/contract`). Every method can be repeated after an
//! error: none leaves a record half written.
//!
//! # Errors
//!
//! Every method returns [`Error::Unavailable`] when the backend does not respond or is busy, [`Error::Refused`] when it will never
//! store what it was given, and [`Error::Corrupt`] when a stored record or a cursor cannot be parsed. The caller must not
//! acknowledge the message or request then, unless it records a refusal in another way.

use crate::conversation::Conversation;

pub mod catalogue;
mod conversations;
pub mod cursor;
pub mod dynamodb;
mod ledger;
pub mod memory;
mod notifications;
mod registry;

pub use conversations::{ConversationFilter, ConversationSummary, Conversations, PersonUpdate, Upsert};
pub use ledger::{CasResult, DatedRow, Ledger, RateLimits, RowGuard, RowWrite};
pub use notifications::{
    Accept, Acceptance, Close, Document, Idempotency, LISTED_FOR, Milestone, Notifications, PageNumber,
    Revise, SetOnce,
};
pub use registry::{Collection, Record, Registry, StoredRecord};

/// How often a write is retried after another writer changed the record. Each round, some writer succeeds.
pub(crate) const MAX_CAS_ROUNDS: u32 = 32;

/// A rule for one record: returns the new record; `None` to write nothing.
pub type Rule<'a, R> = dyn FnMut(Option<&R>) -> Option<R> + Send + 'a;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend could not be reached, or refused. A retry may succeed.
    #[error("cannot {verb}: DynamoDB unavailable")]
    Unavailable {
        /// The operation, in plain words.
        verb: &'static str,
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// DynamoDB refuses the request for what it contains: a value is too long, or an item too large. A retry is refused too.
    #[error("cannot {verb}: DynamoDB refuses the record")]
    Refused {
        /// The operation, in plain words.
        verb: &'static str,
        /// The SDK's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record or a cursor has a shape that this version does not write.
    #[error("cannot {verb}: invalid `{what}`")]
    Corrupt {
        /// The operation, in plain words.
        verb: &'static str,
        /// The invalid attribute. Never its value.
        what: String,
    },
}

impl Error {
    /// Other writers changed the record [`MAX_CAS_ROUNDS`] times in a row.
    pub(crate) fn contention(verb: &'static str) -> Self {
        Self::Unavailable {
            verb,
            source: Box::new(Contention),
        }
    }

    /// A value that cannot be parsed.
    pub(crate) fn corrupt(verb: &'static str, what: &str) -> Self {
        Self::Corrupt {
            verb,
            what: what.to_owned(),
        }
    }
}

/// Other writers changed the record each time.
#[derive(Debug, thiserror::Error)]
#[error("other writers changed the record {MAX_CAS_ROUNDS} times in a row")]
struct Contention;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<T> {
    /// May be empty although more follow.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last page.
    pub cursor: Option<String>,
}

/// A record before and after a rule was applied.
#[derive(Clone, Debug)]
pub struct Update<R> {
    /// The record that was stored.
    pub before: Option<R>,
    /// The record that replaced it; `None` if nothing was written.
    pub after: Option<R>,
}

impl Update<Conversation> {
    /// What was done.
    pub fn upsert(&self) -> Upsert {
        match (&self.before, &self.after) {
            (_, None) => Upsert::Unchanged,
            (Some(_), Some(_)) => Upsert::Changed,
            (None, Some(_)) => Upsert::Created,
        }
    }
}
