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
//! | notification | one accepted request: content, audience, policy | [`notification`] |
//! | audience | the recipients, as the request names them | [`audience`] |
//! | recipient | one conversation of the audience, or a person or id without one | [`audience::Recipient`] |
//! | delivery | one notification to one recipient; has exactly one record, the ledger's row | [`delivery`] |
//! | attempt | one HTTP request to the Connector for a delivery | [`delivery::AttemptOutcome`] |
//! | lease | the right of one delivery to write in a conversation; a claim acquires it | [`delivery::ConversationLease`] |
//! | claim, settle | lease a delivery before its attempt; store its outcome | [`delivery::claim`], [`store::Ledger`] |
//! | unknown | the outcome of a request that may have been carried out, when its response is lost | [`delivery::Outcome::Unknown`] |
//! | permit | the right to make one request to a tenant at a moment | [`rate_limit::Permits`] |
//! | bucket | the scope of a rate limit: a bot in a tenant, at the channel or at Graph | [`rate_limit::Bucket`] |
//! | tenant graph | a tenant in which the bot's app can be installed for people | [`graph_clients::TenantGraph`] |
//! | send mode | one request for each recipient, or the channel's batch API | [`notification::SendMode`] |
//! | outage | the bot has no token, or the channel refuses it in every tenant | [`bot_health::Outage`] |
//! | batch | one request of the batch API, for all recipients of a chunk | [`batch`] |
//! | generation | the version of a team's cached rosters; a change of the team starts a new one | [`roster_cache`] |
//! | route | a rule from an event of another system to a notification | [`route`] |
//! | schedule | a notification that recurs; each of its occurrences is a notification of its own | [`recurring`] |
//! | job | work that the bot does after the answer of a turn, on the events queue | [`job`] |
//! | wave | the recipients of a notification that are due at the same later moment | [`notification::Wave`] |
//! | quiet hours | a time of each day in which messages are held | [`schedule::QuietHours`], [`timing`] |
//! | template | a message with expressions, which is rendered for each recipient | [`template`] |
//! | hook | an address that takes what tools post to incoming webhooks | [`hook`] |
//! | revision | a content of a notification: the first, each edit, a retraction | [`notification::Notification::revision`] |
//!
//! # The path of a message
//!
//! ```text
//! channel ──POST /api/messages──▶ messages ──remember / forget──▶ [conversations]
//!                                    └──answers in the turn──▶ Connector
//! caller ──POST /api/notifications──▶ notify ──accept──▶ [notifications] ──▶ (plans)
//! upstream ──EventBridge, SNS, SQS──▶ (events) ──▶ events ──accept──▶ …
//!                                  (plans) ──▶ planner ──pages the audience──▶ (deliveries)
//!                                              (deliveries) ──▶ sender ──permit, claim, send, settle──▶ Connector
//!                                                                 └──▶ EventBridge: events
//! ```
//!
//! If the notification allows it, the sender creates a conversation for a person without one, or installs the bot for
//! them through Graph. Teams then sends an event to *messages*, which stores the conversation, and the sender's next
//! look-up finds it. No function calls another.
//!
//! An edit, a retraction or a cancellation takes the same path again: the planner *sweeps* the stored pages, and the
//! sender updates the deliveries of each chunk to the notification's current revision.
//!
//! # The states of a delivery
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
//! | of any number of workers one sends, and each conversation has at most one request under way | [`delivery::claim`], run as one conditional write by [`store::Ledger::claim`] |
//! | a message that may have been sent never counts as unsent | [`delivery::claim`] on an expired lease, [`delivery::disposition`] |
//! | a recipient that several selectors name gets a notification once | [`audience::SelectorMatcher`], and the ledger's key ([`delivery::DeliveryKey`]) |
//! | no tenant and no conversation gets more requests than the channel allows | [`rate_limit::reserve`], [`rate_limit::ConversationRate`], applied in one write by [`store::RateLimits::apply`] |
//! | a chunk in batch mode has one batch; an ambiguous one is repeated only if the policy allows | [`batch::next`], each step a compare-and-set on the step before ([`store::Ledger::compare_and_set_batch_record`]) |
//! | a 429 throttles its own tenant only, and a conversation that refused the bot is not tried again | [`rate_limit::throttle`], [`conversation::apply_feedback`], by the table of [`retry`] |
//! | one of all workers creates the conversation with a person, or installs the bot for them | [`store::Conversations::acquire_creation_lease`] |
//! | an occurrence of a schedule is one notification, or is skipped or missed by a record that says so | [`recurring`], [`occurrence`] |
//! | an edit or a retraction never loses to the send that it follows | [`store::Notifications::close_chunk`] refuses a chunk that was processed at an earlier revision |
//! | delivered + rejected + gone + unknown + skipped + expired + cancelled + open = the audience | [`store::Notifications::put_page`] and [`store::Notifications::close_chunk`] count in the transaction that writes |
//! | the completion of a notification is found, once | [`completion::check`] |
//! | a conversation is stored whole, and an observation that changes nothing writes nothing | [`conversation::remember`] |
//! | an import fills gaps, and restores no removed conversation | [`conversation::import()`] |
//! | nothing is sent to who opted out of it, unless it is mandatory | [`preferences`], [`notification::Notification::is_wanted`], asked by the planner and once more before the request |
//! | a conversation shows a subject in one message, that of the newest notification, and an older one never overwrites it | [`subject::step`], each change a compare-and-set on the change before ([`store::Ledger::compare_and_set_subject_copy`]) |
//! | a wave is begun or cancelled, once, and nothing is sent before its time | [`store::Notifications::decide_wave`] |
//! | nothing is sent in quiet hours, unless it is mandatory | [`timing`], asked by the planner and once more before the request |
//! | a person found on a roster is on one page of the plan | [`store::Notifications::freeze_page`], [`store::Notifications::claim_recipients`] |
//!
//! The simulation (`tests/simulation`) proves all of it: the real handlers, a model of the channel, and faults at
//! every step. The arguments are in `DESIGN.md#freshness`, `DESIGN.md#permits` and `DESIGN.md#frozen-pages`.
//!
//! Pure modules take the time and random numbers as arguments; [`clock`] provides both. Only [`store::dynamodb`],
//! [`queue::sqs`], [`event::eventbridge`], [`credential`] and [`aws`] use AWS; only [`graph_clients`] asks Microsoft Graph.

pub mod acceptance;
pub mod audience;
pub mod audit;
pub mod aws;
pub mod backend;
pub mod backoff;
pub mod batch;
pub mod bot_health;
pub mod bot_monitor;
pub mod bot_state;
pub mod caller;
pub mod category;
pub mod clock;
pub mod companions;
pub mod completion;
pub mod config;
pub mod conversation;
pub mod cost;
pub mod credential;
pub mod delivery;
pub mod digest;
pub mod event;
pub mod event_pattern;
pub mod explain;
pub mod graph_clients;
pub mod hook;
pub mod http_api;
pub mod id;
pub mod inbound;
pub mod job;
pub mod json_body;
pub mod language;
pub mod notification;
pub mod occurrence;
pub mod preferences;
pub mod problem;
pub mod queue;
pub mod rate_limit;
pub mod recurring;
pub mod retry;
pub mod roster_cache;
pub mod route;
pub mod schedule;
pub mod service_urls;
pub mod store;
pub mod subject;
pub mod telemetry;
pub mod template;
pub mod tenant_gate;
pub mod tenant_preferences;
pub mod time;
pub mod timing;
pub mod upstream;
pub mod warning;

/// DynamoDB, SQS or EventBridge failed. The message in hand returns to its queue and is handled again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// DynamoDB is unavailable, or a record is corrupt.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// SQS is unavailable, or refused a message.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// EventBridge is unavailable, or refused an event.
    #[error(transparent)]
    Event(#[from] event::Error),
}
