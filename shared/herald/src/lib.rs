//! Herald's engine: proactive messages for Bot Framework and Microsoft Teams bots.
//!
//! # The words
//!
//! *Activity, conversation, conversation reference, channel account, service URL, Connector, tenant, scope* and *turn*
//! mean what Bot Framework means. Ours:
//!
//! | word | meaning | where |
//! |---|---|---|
//! | notification | what a caller asked for, once: content, audience, policy | [`notification`] |
//! | audience | who it is for, as the caller said it | [`audience`] |
//! | recipient | one conversation that the audience came to | [`audience::Recipient`] |
//! | delivery | one notification to one recipient; has exactly one record, the ledger's row | [`delivery`] |
//! | attempt | one HTTP request to the Connector for a delivery | [`delivery::Attempt`] |
//! | claim, settle | take a delivery before its attempt; write what became of it | [`delivery::claim`], [`store::Ledger`] |
//! | unknown | the outcome nobody can know: the request may have been carried out | [`delivery::Outcome::Unknown`] |
//!
//! # The way of a message
//!
//! ```text
//! channel ──POST /api/messages──▶ messages ──remember / forget──▶ [conversations]
//!                                    └──answers in the turn──▶ Connector
//! caller ──POST /api/notifications──▶ notify ──accept──▶ [notifications] ──▶ (plans)
//!                                  (plans) ──▶ planner ──pages the audience──▶ (deliveries)
//!                                              (deliveries) ──▶ sender ──claim, send, settle──▶ Connector
//! ```
//!
//! # A delivery's life
//!
//! ```text
//! (no row) ──claim──▶ claimed ──settle──▶ delivered | rejected | gone | unknown | skipped | expired | cancelled
//!                       └──release──▶ waiting ──claim──▶ claimed …
//! ```
//!
//! # The promises, and where each is kept
//!
//! | promise | kept by |
//! |---|---|
//! | nothing that was accepted is forgotten | [`store::Notifications::accept`] is one transaction; a page of the plan is written before its chunks are enqueued ([`store::Notifications::plan`]) |
//! | of any number of workers one sends | [`delivery::claim`], run as one conditional write by [`store::Ledger::claim`] |
//! | what may have been sent is never taken for unsent | [`delivery::claim`] on a claim past its deadline, [`delivery::next`] |
//! | nobody gets a notification twice for being in its audience twice | [`audience::Matcher`], and the ledger's key ([`delivery::DeliveryKey`]) |
//! | delivered + rejected + gone + unknown + skipped + expired + cancelled + open = the audience | [`store::Notifications::plan`] and [`store::Notifications::close`] count in the transaction that writes |
//! | a conversation is remembered whole, and nothing is written when nothing changed | [`conversation::remember`] |
//!
//! Pure modules take the time and chance as arguments; [`clock`] is the rim. AWS is known to [`store::dynamodb`],
//! [`queue::sqs`], [`credential`] and [`aws`] only.

pub mod audience;
pub mod aws;
pub mod clock;
pub mod config;
pub mod conversation;
pub mod credential;
pub mod delivery;
pub mod id;
pub mod notification;
pub mod pace;
pub mod problem;
pub mod queue;
pub mod retry;
pub mod store;
pub mod telemetry;

/// A table or a queue did not do what was asked. The message in hand goes back to its queue, and is handled again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A queue.
    #[error(transparent)]
    Queue(#[from] queue::Error),
}
