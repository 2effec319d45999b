//! Herald's engine: proactive messages for Bot Framework and Microsoft Teams bots.
//!
//! This page is the map. `DESIGN.md` beside this crate has the rules in full, the proofs and the decisions.
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
//! | turn | who may write in a conversation now; a claim takes it | [`delivery::Turn`] |
//! | claim, settle | take a delivery before its attempt; write what became of it | [`delivery::claim`], [`store::Ledger`] |
//! | unknown | the outcome nobody can know: the request may have been carried out | [`delivery::Outcome::Unknown`] |
//! | permit | the right to make one request to a tenant at a moment | [`rate_limit::Permits`] |
//! | bucket | whose requests are counted together: a bot in a tenant, at the channel or at Graph | [`rate_limit::Bucket`] |
//! | customer | a tenant in which the bot's app can be installed for people | [`graph::Customers`] |
//! | transport | by which of the channel's two ways a notification goes | [`notification::SendMode`] |
//! | operation | one request of the batch API, for all of a chunk | [`operation`] |
//! | epoch | what the channel told of a team counts until the team changes | [`roster_cache`] |
//! | revision | a content of a notification: the first, each edit, a retraction | [`notification::Notification::revision`] |
//!
//! # The way of a message
//!
//! ```text
//! channel ──POST /api/messages──▶ messages ──remember / forget──▶ [conversations]
//!                                    └──answers in the turn──▶ Connector
//! caller ──POST /api/notifications──▶ notify ──accept──▶ [notifications] ──▶ (plans)
//!                                  (plans) ──▶ planner ──pages the audience──▶ (deliveries)
//!                                              (deliveries) ──▶ sender ──permit, claim, send, settle──▶ Connector
//!                                                                 └──▶ EventBridge: what happened
//! ```
//!
//! A person without a conversation gets one on the way, if the notification says so: the sender creates it, or installs the
//! bot for them through Graph. Teams then sends an event to *messages*, which stores the conversation, and the sender's next
//! look-up finds it. No function calls another.
//!
//! An edit, a retraction or a cancellation goes the same way once more: the planner *sweeps* the written pages, and the sender
//! brings the deliveries of each chunk to what the notification is by then.
//!
//! # A delivery's life
//!
//! ```text
//! (no row) ──claim──▶ leased ──settle──▶ delivered | rejected | gone | unknown | skipped | expired | cancelled
//!                       └──release──▶ waiting ──claim──▶ leased …
//! (no row) ──defer, while there is no conversation──▶ waiting
//! delivered ──claim, at a newer revision──▶ leased ──settle──▶ delivered
//! ```
//!
//! # The promises, and where each is kept
//!
//! | promise | kept by |
//! |---|---|
//! | nothing that was accepted is forgotten | [`store::Notifications::accept`] is one transaction; a page of the plan is written before its chunks are enqueued ([`store::Notifications::put_page`]) |
//! | of any number of workers one sends, and each conversation has one request under way | [`delivery::claim`], run as one conditional write by [`store::Ledger::claim`] |
//! | what may have been sent is never taken for unsent | [`delivery::claim`] on a turn past its deadline, [`delivery::next`] |
//! | nobody gets a notification twice for being in its audience twice | [`audience::SelectorMatcher`], and the ledger's key ([`delivery::DeliveryKey`]) |
//! | no tenant and no conversation gets more requests than the channel allows | [`rate_limit::reserve`], [`rate_limit::ConversationRate`], applied in one write by [`store::Paces::apply`] |
//! | of a chunk that goes by batch there is one operation, and one more only by the policy for what nobody knows | [`operation::next`], each step written over the one before by [`store::Ledger::compare_and_set_batch`] |
//! | a 429 holds its own tenant only, a refused conversation is not tried again | [`rate_limit::throttle`], [`conversation::apply_feedback`], by the table of [`retry`] |
//! | one of all workers makes a conversation with a person, or has the bot installed for them | [`store::Conversations::acquire_creation_lease`] |
//! | an edit or a retraction never loses to the send it follows | [`store::Notifications::close_chunk`] refuses a chunk that was handled at an earlier revision |
//! | delivered + rejected + gone + unknown + skipped + expired + cancelled + open = the audience | [`store::Notifications::put_page`] and [`store::Notifications::close_chunk`] count in the transaction that writes |
//! | the end of a notification is found, once | [`completion::check`] |
//! | a conversation is remembered whole, and nothing is written when nothing changed | [`conversation::remember`] |
//! | what was kept elsewhere adds to what is known, and brings nobody back | [`conversation::import()`] |
//! | whoever was found on a roster is on one page of the plan | [`store::Notifications::freeze_page`], [`store::Notifications::claim_recipients`] |
//!
//! The simulation (`tests/all/simulation`) proves all of it: the real handlers, a channel that behaves as the real one does,
//! and faults at every step. The arguments stand in `DESIGN.md#freshness`, `DESIGN.md#permits` and `DESIGN.md#frozen-pages`.
//!
//! Pure modules take the time and random numbers as arguments; [`clock`] provides both. AWS is known to [`store::dynamodb`],
//! [`queue::sqs`], [`event::eventbridge`], [`credential`] and [`aws`] only; Microsoft Graph to [`graph`].

pub mod acceptance;
pub mod audience;
pub mod aws;
pub mod backend;
pub mod backoff;
pub mod clock;
pub mod completion;
pub mod config;
pub mod conversation;
pub mod cost;
pub mod credential;
pub mod delivery;
pub mod digest;
pub mod event;
pub mod explain;
pub mod graph;
pub mod id;
pub mod inbound;
pub mod notification;
pub mod operation;
pub mod problem;
pub mod queue;
pub mod rate_limit;
pub mod retry;
pub mod roster_cache;
pub mod service_urls;
pub mod store;
pub mod telemetry;
pub mod tenant_gate;
pub mod time;

/// A table, a queue or the event bus did not do what was asked. The message in hand goes back to its queue, and is handled again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A queue.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The event bus.
    #[error(transparent)]
    Event(#[from] event::Error),
}
