//! A notification: the request, its progress, and the pages of its plan.
//!
//! The audience is never held whole in memory. It is planned in *parts* (one for a selector, several for `everyone`), each part
//! in *pages* of at most [`PAGE_SIZE`] recipients, each page in *chunks* of one tenant, which the sender processes.
//! A page is stored once, before its chunks are enqueued, and counted in the same transaction. A chunk is closed once, when all
//! its deliveries have ended, and counted in the same transaction. So the counts always add up, also after a crash.

use std::collections::{BTreeSet, HashMap, HashSet};

use botframework::id::ConversationId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audience::{Audience, Fields, Recipient, Selector, Target};
use crate::conversation::Preferences;
use crate::delivery::{Guarantee, Outcome, OutcomeCounts, SkipReason};
use crate::id::NotificationId;
use crate::rate_limit::Bucket;
use crate::template::MessageSource;
use request::{LocalTime, Request};
use way_out::WayOut;

mod filter;
mod inspection;
mod priority;
mod rendering;
pub mod request;
mod retraction;
mod send_mode;
pub mod size;
pub mod summary;
mod warnings;
mod wave;
pub mod way_out;

pub use filter::NotificationFilter;
pub use inspection::inspect;
pub use priority::{NORMAL_AUDIENCE_MAX, Priority};
pub use retraction::{RetractionKind, ScheduledRetraction};
pub use send_mode::{SendMode, SendPath};
pub use warnings::plan_warnings;
pub use wave::{Wave, WaveDecision, WaveState};

/// The most recipients on a page.
///
/// One page is one DynamoDB item, at most 400 KB. A conversation's key has two ids of at most
/// [`ID_BYTES_MAX`](crate::conversation::ID_BYTES_MAX) bytes, each byte at most two in JSON: 4 KB and a few words.
pub const PAGE_SIZE: usize = 96;

/// How many segments of the table `everyone` reads concurrently.
pub const EVERYONE_SEGMENTS: u16 = 4;

/// A notification and its counters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Notification {
    /// The id that the API returns.
    pub id: NotificationId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The authenticated caller that created it.
    pub caller: String,
    /// The schedule of which it is an occurrence.
    pub schedule: Option<String>,
    /// What kind of notification it is: people opt out of a category.
    pub category: Option<String>,
    /// Whether it goes also to those who opted out.
    pub mandatory: bool,
    /// What is added to its message about how to opt out.
    pub way_out: Option<WayOut>,
    /// What it is about: it edits what its caller sent of the same subject before.
    pub subject: Option<String>,
    /// Whether an ambiguous request is repeated.
    pub guarantee: Guarantee,
    /// What the sender does for a person without a conversation.
    pub if_no_conversation: IfNoConversation,
    /// Whether the planner makes recipients of conversations that are not reachable.
    pub if_unreachable: IfUnreachable,
    /// The send mode of recipients that support it.
    pub send_mode: SendMode,
    /// Its share of a tenant's rate limit; by the size of its audience if `None`.
    pub priority: Option<Priority>,
    /// The notification is not planned before this time.
    pub deliver_at: Option<Timestamp>,
    /// The local time at which each recipient gets it.
    pub local_time: Option<LocalTime>,
    /// Whether a tenant has preferences, or its category quiet hours, since it was accepted: only then are they read.
    pub has_defaults: bool,
    /// Whether its recipients bring data of their own: its messages differ.
    pub has_rows: bool,
    /// The notification is not sent from this time on.
    pub expires_at: Timestamp,
    /// The outcomes for which an event is published for each delivery.
    pub events: Vec<DeliveryEvent>,
    /// What becomes of its copies at a later time, if its request says so.
    pub retraction: Option<ScheduledRetraction>,
    /// When its deliveries start.
    pub start: StartPolicy,
    /// The size of its message, in bytes of JSON.
    pub message_bytes: u64,
    /// How many segments `everyone` is read in. Stored, because parts are numbered by them.
    pub segments: u16,
    /// The number of parts.
    pub parts: u16,
    /// Parts whose last page is stored.
    pub parts_planned: u16,
    /// Parts that matched something by now, whether it is sent to or not.
    pub matched_parts: BTreeSet<u16>,
    /// Recipients planned so far.
    pub audience: u64,
    /// Recipients in batch mode, of the audience.
    pub batched: u64,
    /// Recipients in [waves](Wave), of the audience.
    pub in_waves: u64,
    /// People in the audience without a conversation, who get one: it is created, or the bot is installed first.
    pub newcomers: u64,
    /// Conversations that were not reachable when they were planned.
    pub unreachable: UnreachableCounts,
    /// Chunks planned so far.
    pub chunks: u64,
    /// Chunks whose deliveries have all ended.
    pub chunks_closed: u64,
    /// The outcomes of the deliveries that are counted: those of closed chunks, and of open ones that wait for long.
    pub counts: OutcomeCounts,
    /// The number of the current content; 0 is the first.
    pub revision: u32,
    /// When the current content was stored, if it is not the first.
    pub revised_at: Option<Timestamp>,
    /// Whether it was retracted: its copies are deleted.
    pub retracted: bool,
    /// Chunks that are closed at the current revision.
    pub chunks_current: u64,
    /// The copies in those chunks.
    pub revision_counts: RevisionCounts,
    /// Set when a channel refuses its message for all recipients.
    pub refused: Option<MessageRefusal>,
    /// When it was started, if it was held.
    pub released_at: Option<Timestamp>,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// When it was completed.
    pub completed_at: Option<Timestamp>,
    /// The plan that its request confirmed.
    pub confirms: Option<NotificationId>,
    /// The notification that confirmed this plan. A plan is confirmed once.
    pub confirmed_as: Option<NotificationId>,
}

/// A channel refuses the message of a revision for all recipients. Its other deliveries on that channel end without a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRefusal {
    /// The channel.
    pub channel: String,
    /// The channel's code.
    pub code: String,
    /// The revision that has the message. An edit is a new message.
    pub revision: u32,
}

/// What the sender does for a person without a stored conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IfNoConversation {
    /// The person is skipped, with a reason.
    #[default]
    Skip,
    /// A conversation is created. The bot must be installed for the person.
    Create,
    /// The bot is installed for the person first.
    Install,
}

/// What becomes of conversations that are blocked or removed, or opted out, and that an audience matches without naming them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IfUnreachable {
    /// They are counted, and are no recipients.
    #[default]
    LeaveOut,
    /// They are recipients, whose deliveries are skipped with the reason.
    Report,
}

/// When the deliveries of a notification start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StartPolicy {
    /// As soon as the first page is planned.
    #[serde(rename = "immediate")]
    Immediate,
    /// When the whole audience is counted, if it is small enough.
    #[serde(rename = "afterCount")]
    AfterCount {
        /// The largest audience that is sent to.
        at_most: u64,
    },
    /// Never: the audience is only planned and counted.
    #[serde(rename = "dryRun")]
    DryRun,
}

/// An outcome for which the caller can request an event for each delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryEvent {
    /// The channel refused the conversation.
    Gone,
    /// The channel refused the message.
    Rejected,
    /// The request may have been carried out.
    Unknown,
}

/// Conversations that nothing was to be sent to when they were planned, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnreachableCounts {
    /// Named in the audience, and not stored.
    pub no_conversation: u64,
    /// The bot was removed.
    pub removed: u64,
    /// The channel refuses the bot.
    pub blocked: u64,
    /// The person, group chat or channel opted out.
    #[serde(default)]
    pub opted_out: u64,
    /// Groups, tenants and managers whose people the directory does not return.
    #[serde(default)]
    pub directory: u64,
}

impl UnreachableCounts {
    /// Counts a conversation under its reason.
    pub fn count(&mut self, reason: SkipReason) {
        if let Some(counter) = self.counter(reason) {
            *counter += 1;
        }
    }

    /// Takes a recipient back that was counted.
    fn discount(&mut self, recipient: &Recipient) {
        let reason = match recipient {
            Recipient::Missed(miss) => miss.reason.into(),
            Recipient::Conversation(_)
            | Recipient::User(_)
            | Recipient::Account(_)
            | Recipient::UnknownConversation(_) => SkipReason::NoConversation,
        };
        if let Some(counter) = self.counter(reason) {
            *counter = counter.saturating_sub(1);
        }
    }

    fn counter(&mut self, reason: SkipReason) -> Option<&mut u64> {
        Some(match reason {
            SkipReason::NoConversation
            | SkipReason::NotInstalled
            | SkipReason::InstallForbidden
            | SkipReason::AppNotInCatalog
            | SkipReason::NoSuchPerson
            | SkipReason::AccountDisabled
            | SkipReason::Guest
            | SkipReason::NotInTenant
            | SkipReason::TenantUnknown => &mut self.no_conversation,
            SkipReason::NoSuchGroup | SkipReason::DirectoryForbidden => &mut self.directory,
            // The sender finds it, and no planner.
            SkipReason::Superseded => return None,
            SkipReason::Removed => &mut self.removed,
            SkipReason::Blocked => &mut self.blocked,
            SkipReason::OptedOut => &mut self.opted_out,
        })
    }

    /// Adds the counts of another page.
    pub fn add(&mut self, other: &Self) {
        self.no_conversation += other.no_conversation;
        self.removed += other.removed;
        self.blocked += other.blocked;
        self.opted_out += other.opted_out;
        self.directory += other.directory;
    }
}

/// Delivered copies, by the content they show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionCounts {
    /// Copies with the current content; deleted copies after a retraction.
    pub current: u64,
    /// Copies with an earlier content: the copy has no id, the channel refused the change, or a later notification of the
    /// subject has taken it over.
    pub uneditable: u64,
    /// Of both, copies that were those of earlier notifications of the subject.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub superseding: u64,
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What is counted of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedChunk {
    /// Its index on its page.
    pub index: u16,
    /// The revision at which it is closed; `None` while it is open.
    pub closed_at: Option<u32>,
    /// The outcomes that are counted while it is open.
    pub counts: OutcomeCounts,
}

impl CountedChunk {
    /// Whether it is closed at this revision or a later one.
    pub fn is_closed_at(&self, revision: u32) -> bool {
        self.closed_at.is_some_and(|closed_at| closed_at >= revision)
    }
}

/// The counts of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkResult {
    /// The outcomes of its deliveries.
    pub counts: OutcomeCounts,
    /// Its delivered copies.
    pub revision_counts: RevisionCounts,
}

impl ChunkResult {
    /// Counts a delivery of a chunk that is processed at this revision.
    pub fn count(&mut self, outcome: &Outcome, revision: u32) {
        self.counts.count(outcome);
        if let Outcome::Delivered(sent) = outcome {
            if sent.revision >= revision {
                self.revision_counts.current += 1;
            } else {
                self.revision_counts.uneditable += 1;
            }
            if sent.supersedes.is_some() {
                self.revision_counts.superseding += 1;
            }
        }
    }
}

/// The content of a revision.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The copies show this message.
    Message(Box<MessageSource>),
    /// The copies are deleted.
    Nothing,
}

/// The state of a notification, in the API's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Stored; no page is planned.
    Accepted,
    /// The audience is being read; deliveries may have started.
    Planning,
    /// The audience is counted, and nothing is sent: it is a dry run, or too large without a confirmation.
    Held,
    /// It was held, and is sent as another notification, which confirmed it.
    Confirmed,
    /// The audience is planned; deliveries are open.
    Sending,
    /// Cancelled; open deliveries are being ended.
    Cancelling,
    /// Cancelled, and every delivery has ended.
    Cancelled,
    /// Every delivery has ended.
    Completed,
}

impl Notification {
    /// A notification that is accepted now.
    pub fn begin(
        id: NotificationId,
        accepted_at: Timestamp,
        caller: String,
        request: &Request,
        start: StartPolicy,
    ) -> Self {
        let parts = parts(&request.audience, EVERYONE_SEGMENTS).len();
        Self {
            id,
            accepted_at,
            caller,
            schedule: None,
            category: request.category.clone(),
            mandatory: request.mandatory,
            way_out: None,
            subject: request.subject.clone(),
            guarantee: request.guarantee,
            if_no_conversation: request.if_no_conversation,
            if_unreachable: request.if_unreachable,
            send_mode: request.send_mode.unwrap_or_default(),
            priority: request.priority,
            deliver_at: request.deliver_at,
            local_time: request.local_time.clone(),
            has_defaults: false,
            has_rows: request.audience.has_rows(),
            expires_at: request.expires_at,
            events: request.events.clone(),
            retraction: ScheduledRetraction::of(request),
            start,
            message_bytes: request.message_bytes,
            segments: EVERYONE_SEGMENTS,
            // At most twenty selectors of at most four parts.
            parts: u16::try_from(parts).unwrap_or(u16::MAX),
            parts_planned: 0,
            matched_parts: BTreeSet::new(),
            audience: 0,
            batched: 0,
            in_waves: 0,
            newcomers: 0,
            unreachable: UnreachableCounts::default(),
            chunks: 0,
            chunks_closed: 0,
            counts: OutcomeCounts::default(),
            revision: 0,
            revised_at: None,
            retracted: false,
            chunks_current: 0,
            revision_counts: RevisionCounts::default(),
            refused: None,
            released_at: None,
            cancelled_at: None,
            completed_at: None,
            confirms: request.confirm.clone(),
            confirmed_as: None,
        }
    }

    /// The notification with new content. The counters of the revision restart at zero.
    #[must_use]
    pub fn revised(&self, content: &Content, now: Timestamp) -> Self {
        Self {
            revision: self.revision.saturating_add(1),
            revised_at: Some(now),
            retracted: *content == Content::Nothing,
            chunks_current: 0,
            revision_counts: RevisionCounts::default(),
            ..self.clone()
        }
    }

    /// Its state, from its counters.
    pub fn state(&self) -> State {
        let cancelled = self.cancelled_at.is_some();
        if self.parts_planned < self.parts {
            if cancelled {
                State::Cancelling
            } else if self.chunks == 0 {
                State::Accepted
            } else {
                State::Planning
            }
        } else if self.confirmed_as.is_some() {
            State::Confirmed
        } else if self.is_held() {
            if self.is_stopped() {
                State::Cancelled
            } else if self.awaits_confirmation() {
                State::Held
            } else {
                // Counted, and about to be started.
                State::Planning
            }
        } else if self.chunks_closed < self.chunks {
            if cancelled {
                State::Cancelling
            } else {
                State::Sending
            }
        } else if cancelled {
            State::Cancelled
        } else {
            State::Completed
        }
    }

    /// Whether its chunks must not be enqueued.
    pub fn is_held(&self) -> bool {
        match self.start {
            StartPolicy::Immediate => false,
            StartPolicy::AfterCount { .. } | StartPolicy::DryRun => self.released_at.is_none(),
        }
    }

    /// The largest audience that it is sent to without a further confirmation, if its audience is counted first.
    pub fn held_above(&self) -> Option<u64> {
        match self.start {
            StartPolicy::AfterCount { at_most } => Some(at_most),
            StartPolicy::Immediate | StartPolicy::DryRun => None,
        }
    }

    /// Whether it is planned, and nothing is sent unless a request confirms it.
    pub fn awaits_confirmation(&self) -> bool {
        let must_be_confirmed = match self.start {
            StartPolicy::Immediate => false,
            StartPolicy::AfterCount { at_most } => self.audience > at_most,
            StartPolicy::DryRun => true,
        };
        let is_counted = self.parts_planned >= self.parts;
        is_counted && must_be_confirmed && self.is_held() && self.confirmed_as.is_none()
    }

    /// Whether it may be sent to who opted out of this.
    pub fn is_wanted(&self, preferences: Option<&Preferences>) -> bool {
        self.mandatory || preferences.is_none_or(|choices| choices.permit(self.category.as_deref()))
    }

    /// Whether no further message may be sent: it was cancelled or retracted.
    pub fn is_stopped(&self) -> bool {
        self.cancelled_at.is_some() || self.retracted
    }

    /// The refusal of its present message by this channel.
    pub fn refusal(&self, channel: &str) -> Option<&MessageRefusal> {
        self.refused
            .as_ref()
            .filter(|refusal| refusal.revision == self.revision && refusal.channel == channel)
    }

    /// Whether a refusal may be stored: it is of the present message, which has none.
    pub fn admits_refusal(&self, refusal: &MessageRefusal) -> bool {
        refusal.revision == self.revision
            && self
                .refused
                .as_ref()
                .is_none_or(|stored| stored.revision < refusal.revision)
    }

    /// The outcomes of the deliveries that are counted. If it was cancelled or retracted while it was held, its whole audience is cancelled.
    pub fn ended(&self) -> OutcomeCounts {
        let mut ended = self.counts;
        if self.state() == State::Cancelled && self.is_held() {
            ended.cancelled = self.audience;
        }
        ended
    }

    /// Deliveries that are not counted: the audience less everything counted.
    pub fn open(&self) -> u64 {
        self.audience.saturating_sub(self.ended().total())
    }
}

/// A part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The selector, and its index in the audience.
    pub selector: (usize, &'a Selector),
    /// The segment of the table, and the number of segments; 0 of 1 unless the selector is `everyone`.
    pub segment: (u16, u16),
}

/// The parts of an audience, with `everyone` in this many segments. Their order never changes.
pub fn parts(audience: &Audience, segments: u16) -> Vec<Part<'_>> {
    let segments = |selector: &Selector| match selector.target {
        Target::Everyone => segments,
        Target::Tenant(_)
        | Target::Users { .. }
        | Target::Accounts(_)
        | Target::Rows { .. }
        | Target::Conversations(_)
        | Target::Team { .. }
        | Target::Channel { .. }
        | Target::GroupChat(_)
        | Target::GroupChatMembers { .. }
        | Target::Tag(_)
        | Target::Directory(_) => 1,
    };
    audience
        .0
        .iter()
        .enumerate()
        .flat_map(|(index, selector)| {
            let count = segments(selector);
            (0..count).map(move |segment| Part {
                selector: (index, selector),
                segment: (segment, count),
            })
        })
        .collect()
}

/// A page of a part. It is stored once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its recipients, grouped by send path.
    pub chunks: Vec<PageChunk>,
    /// Conversations on it that are not reachable.
    #[serde(default)]
    pub unreachable: UnreachableCounts,
    /// Whether its selector matched anything here, be it unreachable, or a recipient of another selector or page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub matched: bool,
    /// The cursor of the next page; `None` on the last page.
    pub next: Option<String>,
}

/// Recipients of one page with the same bucket, send mode and wave.
///
/// DynamoDB bills a page by its size. All conversations of a bucket belong to one bot on one channel, so its JSON form holds
/// their ids only, before the other recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct PageChunk {
    /// Their rate limit; `None` for ids without a conversation.
    pub bucket: Option<Bucket>,
    /// The send mode of its requests.
    pub send_mode: SendMode,
    /// When they are due; `None` at once.
    pub wave: Option<Timestamp>,
    /// The recipients, each on one page only.
    pub recipients: Vec<Recipient>,
    /// The fields of their rows, in the same order; none if they have none.
    pub fields: Vec<Fields>,
}

/// The JSON form of a chunk.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket: Option<Bucket>,
    #[serde(default, rename = "sendMode", skip_serializing_if = "SendMode::is_individual")]
    send_mode: SendMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wave: Option<Timestamp>,
    /// Conversations of the bucket's bot and channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    conversations: Vec<ConversationId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Recipient>,
    /// Of conversations and others, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Fields>,
}

impl From<PageChunk> for Written {
    fn from(chunk: PageChunk) -> Self {
        let PageChunk {
            bucket,
            send_mode,
            wave,
            recipients,
            fields,
        } = chunk;
        let (mut conversations, mut others) = (Vec::new(), Vec::new());
        let (mut of_conversations, mut of_others) = (Vec::new(), Vec::new());
        let mut fields = fields.into_iter();
        for recipient in recipients {
            let own = fields.next();
            match recipient {
                Recipient::Conversation(key)
                    if bucket.as_ref().is_some_and(|bucket| bucket.contains(&key)) =>
                {
                    conversations.push(key.conversation);
                    of_conversations.extend(own);
                }
                other => {
                    others.push(other);
                    of_others.extend(own);
                }
            }
        }
        of_conversations.append(&mut of_others);
        Self {
            bucket,
            send_mode,
            wave,
            conversations,
            others,
            fields: of_conversations,
        }
    }
}

impl From<Written> for PageChunk {
    fn from(written: Written) -> Self {
        let Written {
            bucket,
            send_mode,
            wave,
            conversations,
            others,
            fields,
        } = written;
        let known = conversations.into_iter().filter_map(|id| {
            let key = bucket.as_ref()?.conversation(id)?;
            Some(Recipient::Conversation(key))
        });
        let recipients = known.chain(others).collect();
        Self {
            bucket,
            send_mode,
            wave,
            recipients,
            fields,
        }
    }
}

impl Page {
    /// Groups recipients by send path, in the order of first appearance.
    pub fn group<L: Into<SendPath>>(
        recipients: impl IntoIterator<Item = (Option<L>, Recipient)>,
        next: Option<String>,
    ) -> Self {
        let mut chunks: Vec<PageChunk> = Vec::new();
        for (lane, recipient) in recipients {
            let lane: Option<SendPath> = lane.map(Into::into);
            let send_mode = lane
                .as_ref()
                .map_or_else(SendMode::default, |lane| lane.send_mode);
            let wave = lane.as_ref().and_then(|lane| lane.wave);
            let bucket = lane.map(|lane| lane.bucket);
            let mut standing = chunks.iter_mut();
            let is_same = |chunk: &PageChunk| {
                (&chunk.bucket, chunk.send_mode, chunk.wave) == (&bucket, send_mode, wave)
            };
            match standing.find(|chunk| is_same(chunk)) {
                Some(chunk) => chunk.recipients.push(recipient),
                None => chunks.push(PageChunk {
                    bucket,
                    send_mode,
                    wave,
                    recipients: vec![recipient],
                    fields: Vec::new(),
                }),
            }
        }
        Self {
            matched: !chunks.is_empty(),
            chunks,
            unreachable: UnreachableCounts::default(),
            next,
        }
    }

    /// The page with the fields of these recipients, if there are any.
    #[must_use]
    pub fn with_fields(mut self, mut fields: HashMap<Recipient, Fields>) -> Self {
        if fields.is_empty() {
            return self;
        }
        for chunk in &mut self.chunks {
            let recipients = chunk.recipients.iter();
            chunk.fields = recipients
                .map(|recipient| fields.remove(recipient).unwrap_or_default())
                .collect();
        }
        self
    }

    /// The page without these recipients.
    #[must_use]
    pub fn without(mut self, others: &HashSet<Recipient>) -> Self {
        for chunk in &mut self.chunks {
            let mut is_kept = chunk
                .recipients
                .iter()
                .map(|recipient| !others.contains(recipient));
            chunk.fields.retain(|_| is_kept.next().unwrap_or_default());
            let without_bucket = chunk.bucket.is_none();
            chunk.recipients.retain(|recipient| {
                let is_kept = !others.contains(recipient);
                // Recipients without a bucket were counted as unreachable.
                if !is_kept && without_bucket {
                    self.unreachable.discount(recipient);
                }
                is_kept
            });
        }
        self.chunks.retain(|chunk| !chunk.recipients.is_empty());
        self
    }

    /// The number of people without a conversation who can get one.
    pub fn newcomers(&self) -> u64 {
        let chunks = self.chunks.iter().filter(|chunk| chunk.bucket.is_some());
        let recipients = chunks.flat_map(|chunk| &chunk.recipients);
        let is_newcomer = |it: &&Recipient| matches!(it, Recipient::User(_) | Recipient::Account(_));
        recipients.filter(is_newcomer).count() as u64
    }

    /// The number of recipients.
    pub fn recipients(&self) -> u64 {
        self.chunks
            .iter()
            .map(|chunk| chunk.recipients.len() as u64)
            .sum()
    }
}

/// Identifies a chunk of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The part, from 0.
    pub part: u16,
    /// The page of that part, from 0.
    pub page: u32,
    /// The chunk on that page, from 0.
    pub index: u16,
}
