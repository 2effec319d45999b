//! The port to the tables: four traits whose methods say what is meant. Paces are kept beside the ledger.
//!
//! [`memory`] and [`dynamodb`] both pass the contract suite in `tests/`; what the suite asserts is what these docs
//! promise. Every method may be called again after an error: none leaves half of its work behind.

use std::future::Future;

use botframework::activity::Activity;
use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId};
use jiff::Timestamp;

use crate::audience::{Audience, Recipient};
use crate::conversation::{
    Attributes, Conversation, ConversationKey, Creation, CreationLease, Feedback, Import, Observation,
    PersonKey, State, TeamEvent,
};
use crate::delivery::{Asked, Claim, DeliveryKey, Lease, Outcome, Row};
use crate::id::NotificationId;
use crate::notification::{ChunkId, Closing, Content, Notification, Page};
use crate::operation::{Operation, OperationKey};
use crate::rate_limit::{Bucket, TenantRate};
use crate::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};

pub mod dynamodb;
pub mod memory;

/// The table did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table could not be reached or refused; the same call may succeed in a moment.
    #[error("cannot {verb}: the table is away")]
    Unavailable {
        /// What was asked.
        verb: &'static str,
        /// What the SDK said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record is not in the shape this version writes.
    #[error("cannot {verb}: the record is not one of ours ({what})")]
    Corrupt {
        /// What was asked.
        verb: &'static str,
        /// The attribute that is wrong. Never its value.
        what: String,
    },
}

/// A part of a long answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<T> {
    /// What was found; may be empty although there is more.
    pub items: Vec<T>,
    /// Where to go on; `None` at the end.
    pub cursor: Option<String>,
}

/// What [`Conversations::remember`] or [`Conversations::import`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsert {
    /// First seen now.
    Created,
    /// Known, and changed.
    Changed,
    /// Known as it is; nothing was written.
    Unchanged,
}

/// Which conversations to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConversationFilter {
    /// One of so many segments of the whole table. A scan: the only one.
    Everyone {
        /// Which segment, from 0.
        segment: u16,
        /// Of how many.
        segments: u16,
    },
    /// The conversations of an Entra tenant, threads excepted.
    Tenant(String),
    /// The personal conversations of a person.
    User(EntraObjectId),
    /// The personal conversations of a channel account.
    Account(ChannelAccountId),
    /// A conversation id, whichever bot and channel it belongs to.
    Conversation(ConversationId),
    /// The channels of a team, threads included.
    Team(String),
    /// Those that carry a tag.
    Tag(String),
    /// Those that the channel refuses, whatever the code. Those that were blocked longest ago come first.
    Blocked,
    /// Those that the bot was taken out of, the earliest first.
    Removed,
}

/// A conversation as a listing shows it: enough to decide whether it is meant, without its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationSummary {
    /// Its name.
    pub key: ConversationKey,
    /// What it is looked up by.
    pub attributes: Attributes,
    /// Whether it may be written to, at a recent moment: listings may lag behind writes by a second or so.
    pub state: State,
    /// When the record last changed.
    pub changed_at: Timestamp,
}

/// Remembers conversations.
pub trait Conversations: Clone + Send + Sync + 'static {
    /// Makes the record what [`crate::conversation::remember`] says, writing nothing when nothing changes. Observations
    /// that race are applied one after the other.
    ///
    /// # Errors
    /// When the table is away: the activity must not be acknowledged.
    fn remember(
        &self,
        observation: Observation,
        now: Timestamp,
    ) -> impl Future<Output = Result<Upsert, Error>> + Send;

    /// Makes the record what [`crate::conversation::import()`] says, as [`remember`](Self::remember) does: what was kept
    /// elsewhere.
    ///
    /// # Errors
    /// When the table is away.
    fn import(&self, import: Import, now: Timestamp) -> impl Future<Output = Result<Upsert, Error>> + Send;

    /// Makes the record what [`crate::conversation::apply_team_change`] says, if there is one.
    ///
    /// # Errors
    /// When the table is away.
    fn apply_team_change(
        &self,
        key: &ConversationKey,
        event: TeamEvent,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Marks a conversation removed, if it is remembered and is not so already; for its own sake, whatever becomes of its team.
    ///
    /// # Errors
    /// When the table is away.
    fn mark_removed(
        &self,
        key: &ConversationKey,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Makes the record what [`crate::conversation::apply_feedback`] says, if it is still of this version: what an activity has said
    /// since is newer than what a sender found.
    ///
    /// # Errors
    /// When the table is away.
    fn apply_feedback(
        &self,
        key: &ConversationKey,
        version: u64,
        feedback: &Feedback,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Puts a conversation under tags and takes it from under others; its tags then, sorted. `None` when it is not remembered.
    /// A conversation carries [`TAGS_MAX`](crate::conversation::TAGS_MAX) tags at most; those beyond are not added.
    ///
    /// # Errors
    /// When the table is away.
    fn tag(
        &self,
        key: &ConversationKey,
        add: &[String],
        remove: &[String],
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Vec<String>>, Error>> + Send;

    /// Removes everything that is kept of a conversation, and of the people who led to it; `false` when nothing was.
    ///
    /// To erase a person is to erase all of [`ConversationFilter::User`] and [`ConversationFilter::Account`]. What is known of somebody whom no
    /// conversation was made with goes by itself, thirty days after it was of use, as everything does that is kept of a
    /// notification; and what the channel told of them as a member of a team, when that is not believed any more.
    ///
    /// # Errors
    /// When the table is away.
    fn erase(&self, key: &ConversationKey) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Asks to make a conversation with a person by the rule of [`crate::conversation::acquire_creation_lease`]; of any number who ask at
    /// once, one may.
    ///
    /// # Errors
    /// When the table is away.
    fn acquire_creation_lease(
        &self,
        person: &PersonKey,
        now: Timestamp,
        until: Timestamp,
    ) -> impl Future<Output = Result<CreationLease, Error>> + Send;

    /// Writes what came of it, by the rule of [`crate::conversation::finish_creation`]. A person leads only to a conversation that is
    /// remembered, so it is to be remembered first: of one that is not, this is written as [`Creation::Nothing`].
    ///
    /// # Errors
    /// When the table is away: nobody else may try before the asker's time is over.
    fn finish_creation(
        &self,
        person: &PersonKey,
        made: &Creation,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// What the channel told of a team in its present epoch, if that may still be believed at `now`.
    ///
    /// # Errors
    /// When the table is away.
    fn cached_roster(
        &self,
        team: &TeamKey,
        question: &RosterQuery,
        now: Timestamp,
    ) -> impl Future<Output = Result<CachedRoster, Error>> + Send;

    /// Keeps what the channel told, to be believed until then. It is of the epoch that [`cached_roster`](Self::cached_roster) showed before the
    /// channel was asked: of a team that has changed since, nobody believes it.
    ///
    /// # Errors
    /// When the table is away.
    fn cache_roster(
        &self,
        team: &TeamKey,
        generation: u64,
        question: &RosterQuery,
        answer: &RosterPage,
        until: Timestamp,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Begins a new epoch of a team: it has changed.
    ///
    /// # Errors
    /// When the table is away.
    fn invalidate_roster(&self, team: &TeamKey) -> impl Future<Output = Result<(), Error>> + Send;

    /// The conversations of these keys that are remembered, each once and in any order.
    ///
    /// # Errors
    /// When the table is away.
    fn get_many(
        &self,
        keys: &[ConversationKey],
    ) -> impl Future<Output = Result<Vec<Conversation>, Error>> + Send;

    /// Lists up to `limit` conversations from `cursor` on, in any state. A conversation appears once in a selection
    /// that is listed to its end.
    ///
    /// # Errors
    /// When the table is away, or the cursor is not one of ours.
    fn list(
        &self,
        selection: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<ListPage<ConversationSummary>, Error>> + Send;
}

/// What [`Notifications::accept`] stores in one step.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The notification as it starts.
    pub notification: Notification,
    /// Who it is for.
    pub audience: Audience,
    /// What is sent.
    pub message: Activity,
    /// The caller's key for this request, if there is one.
    pub idempotency: Option<Idempotency>,
}

/// A caller's promise that requests with this key are one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// A digest of the key.
    pub key: String,
    /// A digest of the body.
    pub body: String,
    /// When the key may be used anew.
    pub until: Timestamp,
}

/// What became of an [`Acceptance`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accept {
    /// It stands.
    Created,
    /// The same request was accepted before as this notification.
    Duplicate(NotificationId),
    /// The key was used for another body.
    Conflict,
}

/// Keeps notifications and their plans.
pub trait Notifications: Clone + Send + Sync + 'static {
    /// Stores a notification whole, or nothing of it. One that is there already stays as it is.
    ///
    /// # Errors
    /// When the table is away.
    fn accept(&self, acceptance: &Acceptance) -> impl Future<Output = Result<Accept, Error>> + Send;

    /// Takes back a notification, unless something of it is planned already or its content was revised; `false` then.
    ///
    /// # Errors
    /// When the table is away.
    fn roll_back(&self, id: &NotificationId) -> impl Future<Output = Result<bool, Error>> + Send;

    /// The notification with its counters, as of all that was written before.
    ///
    /// # Errors
    /// When the table is away.
    fn find(&self, id: &NotificationId) -> impl Future<Output = Result<Option<Notification>, Error>> + Send;

    /// Who the notification is for.
    ///
    /// # Errors
    /// When the table is away.
    fn audience(&self, id: &NotificationId) -> impl Future<Output = Result<Option<Audience>, Error>> + Send;

    /// What the notification sends at this revision; `None` when there is no such revision, or it is a retraction.
    ///
    /// # Errors
    /// When the table is away.
    fn message(
        &self,
        id: &NotificationId,
        revision: u32,
    ) -> impl Future<Output = Result<Option<Activity>, Error>> + Send;

    /// The last page that was planned of a part, with its number from 0.
    ///
    /// # Errors
    /// When the table is away.
    fn latest_page(
        &self,
        id: &NotificationId,
        part: u16,
    ) -> impl Future<Output = Result<Option<(u32, Page)>, Error>> + Send;

    /// One page that was planned.
    ///
    /// # Errors
    /// When the table is away.
    fn page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
    ) -> impl Future<Output = Result<Option<Page>, Error>> + Send;

    /// Writes page `number` of a part and counts it, in one step; `false` when that page was planned before, or the
    /// notification was withdrawn. What stands is never changed.
    ///
    /// # Errors
    /// When the table is away.
    fn put_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
        page: &Page,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Writes down what a page was read as from what may be another the next time it is read, and returns what stands: of
    /// all who read that page, the first is believed. So a page that is read again, by one who follows or who races, finds
    /// the same people; whoever was written down as found there is on it.
    ///
    /// # Errors
    /// When the table is away.
    fn freeze_page(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        read: &Page,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// Writes down who was found on a roster, and on which page of the plan, and returns those who had been found on another
    /// one before: rosters repeat people, and a person may be on several. The page must be drafted with all of them.
    ///
    /// # Errors
    /// When the table is away.
    fn claim_recipients(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        found: &[Recipient],
    ) -> impl Future<Output = Result<Vec<Recipient>, Error>> + Send;

    /// Closes a chunk at a revision and counts it, in one step. How its deliveries ended is counted the first time; what
    /// its copies show, the first time for each revision.
    ///
    /// # Errors
    /// When the table is away.
    fn close_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        closing: &Closing,
    ) -> impl Future<Output = Result<Close, Error>> + Send;

    /// The chunks of a page that are closed, by their index on it, each with the revision it is closed at.
    ///
    /// # Errors
    /// When the table is away.
    fn closed_chunks(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> impl Future<Output = Result<Vec<(u16, u32)>, Error>> + Send;

    /// Cancels a notification for good; the notification as it is then. One that was cancelled before stays so since then.
    ///
    /// # Errors
    /// When the table is away.
    fn cancel(
        &self,
        id: &NotificationId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Notification>, Error>> + Send;

    /// Gives the notification another content; the notification as it is then, at its new revision. One that was
    /// retracted stays so, and `Revise::Retracted` says it.
    ///
    /// # Errors
    /// When the table is away.
    fn revise(
        &self,
        id: &NotificationId,
        content: &Content,
        now: Timestamp,
    ) -> impl Future<Output = Result<Revise, Error>> + Send;

    /// Lets a notification go that was held until its audience was counted, unless it was cancelled: then it is complete as
    /// it is.
    ///
    /// # Errors
    /// When the table is away.
    fn start(&self, id: &NotificationId, now: Timestamp) -> impl Future<Output = Result<(), Error>> + Send;

    /// Writes down that the notification is complete; `false` when that stands already.
    ///
    /// # Errors
    /// When the table is away.
    fn complete(
        &self,
        id: &NotificationId,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// Writes down that a chunk is in the dead-letter queue, and why.
    ///
    /// # Errors
    /// When the table is away.
    fn mark_dead_lettered(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        reason: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The chunks that were buried, and why. Those that were redriven and closed since are among them.
    ///
    /// # Errors
    /// When the table is away.
    fn dead_letters(
        &self,
        id: &NotificationId,
    ) -> impl Future<Output = Result<Vec<(ChunkId, String)>, Error>> + Send;
}

/// What became of closing a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// It is closed at this revision, now or before.
    Closed,
    /// The notification has another revision by now: the chunk has to be handled at that one.
    StaleRevision,
}

/// What became of a new content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revise {
    /// The notification has it.
    Revised(Box<Notification>),
    /// It was retracted before, for good.
    Retracted,
    /// There is no such notification.
    NotFound,
}

/// What a settling or releasing worker finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CasResult {
    /// It stands.
    Committed,
    /// The lease had been taken over; what the taker writes counts.
    Conflict,
}

/// Keeps the ledger: one row a delivery, one turn a conversation, one operation a chunk that goes by batch.
pub trait Ledger: Clone + Send + Sync + 'static {
    /// Asks for a delivery to this conversation by the rule of [`crate::delivery::claim`]; of any number who ask at once, for
    /// this delivery or another one to the same conversation, one gets it.
    ///
    /// # Errors
    /// When the table is away: nothing may be sent.
    fn claim(
        &self,
        asked: Asked<'_>,
        conversation: &ConversationKey,
    ) -> impl Future<Output = Result<Claim, Error>> + Send;

    /// Writes how the delivery ended. To write the same again changes nothing and stands.
    ///
    /// # Errors
    /// When the table is away: the turn stays taken until its deadline.
    fn settle(
        &self,
        delivery: &DeliveryKey,
        lease: &Lease,
        outcome: &Outcome,
    ) -> impl Future<Output = Result<CasResult, Error>> + Send;

    /// Gives the delivery back, to be asked for again from `until` on. To write the same again changes nothing and
    /// stands.
    ///
    /// # Errors
    /// When the table is away: the turn stays taken until its deadline.
    fn release(
        &self,
        delivery: &DeliveryKey,
        lease: &Lease,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> impl Future<Output = Result<CasResult, Error>> + Send;

    /// Puts off a delivery that leads to no conversation yet, and so was never claimed: nobody need look before `until`. `tries`
    /// is how often somebody tried to make one. Of a delivery that has ended nothing is written: how it ended.
    ///
    /// # Errors
    /// When the table is away.
    fn defer(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        why: &str,
        tries: u32,
    ) -> impl Future<Output = Result<Option<Outcome>, Error>> + Send;

    /// Ends a delivery that leads to no conversation and was never claimed, put off or not; how it ended, now or before. Of one
    /// that led to a conversation it is told here what became of its copy there, after each revision.
    ///
    /// # Errors
    /// When the table is away.
    fn settle_unclaimed(
        &self,
        delivery: &DeliveryKey,
        outcome: &Outcome,
    ) -> impl Future<Output = Result<Outcome, Error>> + Send;

    /// Writes down that a delivery that was never claimed is to be asked for from `until` on, after so many doubts; how it had
    /// ended, if it had. One that waits already goes on as it was.
    ///
    /// # Errors
    /// When the table is away.
    fn mark_retryable(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> impl Future<Output = Result<Option<Outcome>, Error>> + Send;

    /// How far the operation of a chunk is, as of all that was written before; `None` when nobody has begun one.
    ///
    /// # Errors
    /// When the table is away.
    fn operation(
        &self,
        operation: &OperationKey,
    ) -> impl Future<Output = Result<Option<Operation>, Error>> + Send;

    /// Writes the next step of an operation over the one before, or [`CasResult::Conflict`] when another one stands there. Of any
    /// number who take the same step at once, one does.
    ///
    /// # Errors
    /// When the table is away: nothing may be submitted.
    fn compare_and_set_batch(
        &self,
        operation: &OperationKey,
        to: &Operation,
    ) -> impl Future<Output = Result<CasResult, Error>> + Send;

    /// The rows of these deliveries, in their order; `None` for those about which nothing is written yet.
    ///
    /// # Errors
    /// When the table is away.
    fn rows(
        &self,
        deliveries: &[DeliveryKey],
    ) -> impl Future<Output = Result<Vec<Option<Row>>, Error>> + Send;
}

/// Keeps the pace of each bucket.
pub trait Paces: Clone + Send + Sync + 'static {
    /// Applies a rule of [`crate::rate_limit`] to what is known of a bucket, in one step, and returns its answer. The rule may be
    /// asked several times; the pace it returned last with its answer is what stands. Without a pace nothing is written.
    ///
    /// # Errors
    /// When the table is away.
    fn apply<T: Send>(
        &self,
        bucket: &Bucket,
        rule: impl Fn(&TenantRate) -> (T, Option<TenantRate>) + Send + Sync,
    ) -> impl Future<Output = Result<T, Error>> + Send;
}
