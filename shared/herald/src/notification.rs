//! A notification: what a caller asked for, how far it has come, and the pages its audience was planned in.
//!
//! The audience is never held whole. It is planned in *parts* (one for a selector, several for `everyone`), each part
//! in *pages* of at most [`PAGE_SIZE`] conversations, each page in *chunks* of one tenant, which the sender takes.
//! A page is written once, before its chunks are enqueued, and counted in the same transaction; a chunk is closed
//! once, when all its deliveries have ended, and counted in the same transaction. So the counts add up at every
//! instant they can be read, whoever dies in between.

use std::collections::HashSet;

use botframework::activity::Activity;
use botframework::id::ConversationId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audience::{Audience, Recipient, Selector, Target};
use crate::delivery::{Guarantee, Outcome, SkipReason, Tally};
use crate::id::NotificationId;
use crate::rate_limit::Bucket;
use request::Request;

pub mod request;
mod send_mode;
pub mod size;
pub mod summary;

pub use send_mode::{SendMode, SendPath};

/// How many conversations a page holds at most.
///
/// One page is one DynamoDB item, at most 400 KB. A conversation's key has two ids of at most
/// [`ID_BYTES_MAX`](crate::conversation::ID_BYTES_MAX) bytes, each byte at most two in JSON: 4 KB and a few words.
pub const PAGE_SIZE: usize = 96;

/// In how many segments `everyone` is read at once.
pub const EVERYONE_SEGMENTS: u16 = 4;

/// How far a notification has come, from its counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its name.
    pub id: NotificationId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Who asked for it.
    pub caller: String,
    /// The caller's word for its kind.
    pub category: Option<String>,
    /// What an unknown outcome becomes.
    pub guarantee: Guarantee,
    /// What becomes of a person without a conversation.
    pub if_no_conversation: IfNoConversation,
    /// By which way it goes to whom that way leads.
    pub send_mode: SendMode,
    /// Nothing is planned or sent before this moment.
    pub deliver_at: Option<Timestamp>,
    /// Nothing is sent from this moment on.
    pub expires_at: Timestamp,
    /// Which of its deliveries' ends are told one by one.
    pub events: Vec<DeliveryEvent>,
    /// When its deliveries begin.
    pub start: StartPolicy,
    /// The size of its message, in bytes of JSON.
    pub message_bytes: u64,
    /// In how many segments `everyone` is read; kept with the notification, since its pages are numbered by them.
    pub segments: u16,
    /// Parts its audience is planned in.
    pub parts: u16,
    /// Parts whose last page is written.
    pub parts_planned: u16,
    /// Recipients planned so far.
    pub audience: u64,
    /// Of them, those that go by the channel's batch API.
    pub batched: u64,
    /// Of them and beside them, those that were seen not to be reachable while planning.
    pub unreachable: Unreachable,
    /// Chunks planned so far.
    pub chunks: u64,
    /// Chunks whose deliveries have all ended.
    pub chunks_closed: u64,
    /// How the deliveries of the closed chunks ended.
    pub tally: Tally,
    /// Counts its contents: 0 is the first.
    pub revision: u32,
    /// When it got its present content, if that is not the first.
    pub revised_at: Option<Timestamp>,
    /// Whether its present content is none: its copies are deleted.
    pub retracted: bool,
    /// Chunks that are closed at the present revision.
    pub chunks_current: u64,
    /// What the copies in those chunks show.
    pub copies: Copies,
    /// When it was let go, if it had been held.
    pub released_at: Option<Timestamp>,
    /// When it was cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// When it was complete.
    pub completed_at: Option<Timestamp>,
}

/// What becomes of a person of whom no conversation is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IfNoConversation {
    /// They are skipped, and it says why.
    #[default]
    Skip,
    /// A conversation is created. That needs the bot to be installed for them.
    Create,
    /// The bot is installed for them, and writes to them then.
    Install,
}

/// When the deliveries of a notification begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StartPolicy {
    /// As soon as the first page is planned.
    #[serde(rename = "atOnce")]
    Immediate,
    /// When the whole audience is counted, and is no larger than this.
    #[serde(rename = "counted")]
    AfterCount {
        /// The largest audience that goes ahead.
        at_most: u64,
    },
    /// Never: it is a plan, to be looked at.
    #[serde(rename = "never")]
    DryRun,
}

/// A delivery's end that is told on the event bus, if the caller asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryEvent {
    /// The conversation was refused.
    Gone,
    /// The message was refused.
    Rejected,
    /// Nobody can know.
    Unknown,
}

/// Conversations that a planner found it could not reach, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unreachable {
    /// Named, and not known.
    pub no_conversation: u64,
    /// The bot was taken out.
    pub removed: u64,
    /// The channel refuses.
    pub blocked: u64,
}

impl Unreachable {
    /// Counts one more.
    pub fn count(&mut self, reason: SkipReason) {
        *match reason {
            SkipReason::NoConversation
            | SkipReason::NotInstalled
            | SkipReason::InstallForbidden
            | SkipReason::AppNotInCatalog
            | SkipReason::NoSuchPerson => &mut self.no_conversation,
            SkipReason::Removed => &mut self.removed,
            SkipReason::Blocked => &mut self.blocked,
        } += 1;
    }

    /// Adds another count to this one.
    pub fn add(&mut self, other: &Self) {
        self.no_conversation += other.no_conversation;
        self.removed += other.removed;
        self.blocked += other.blocked;
    }
}

/// What delivered copies show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// The present content; or nothing, as it should be, after a retraction.
    pub current: u64,
    /// An earlier one: the copy has no id, or the channel refused the change.
    pub uneditable: u64,
}

/// How the deliveries of a chunk ended, and what their copies show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// How they ended.
    pub tally: Tally,
    /// What their copies show.
    pub copies: Copies,
}

impl Closing {
    /// Counts one more, of a chunk that is handled at this revision.
    pub fn count(&mut self, outcome: &Outcome, revision: u32) {
        self.tally.count(outcome);
        if let Outcome::Delivered(copy) = outcome {
            if copy.shows >= revision {
                self.copies.current += 1;
            } else {
                self.copies.uneditable += 1;
            }
        }
    }
}

/// What a notification is to show from now on.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// This message.
    Message(Box<Activity>),
    /// Nothing.
    Nothing,
}

/// What a notification is at, as the API calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Taken; nothing is planned yet.
    Accepted,
    /// Its audience is being read; deliveries may already be under way.
    Planning,
    /// Its audience is counted, and nothing is sent: it is a plan, or too large to go ahead without one.
    Held,
    /// Its audience is known; deliveries are open.
    Sending,
    /// It was cancelled; deliveries are still being ended.
    Cancelling,
    /// It was cancelled, and every delivery has ended.
    Cancelled,
    /// Every delivery has ended.
    Completed,
}

impl Notification {
    /// A notification at its beginning.
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
            category: request.category.clone(),
            guarantee: request.guarantee,
            if_no_conversation: request.if_no_conversation,
            send_mode: request.send_mode.unwrap_or_default(),
            deliver_at: request.deliver_at,
            expires_at: request.expires_at,
            events: request.events.clone(),
            start,
            message_bytes: request.message_bytes,
            segments: EVERYONE_SEGMENTS,
            // At most twenty selectors of at most four parts.
            parts: u16::try_from(parts).unwrap_or(u16::MAX),
            parts_planned: 0,
            audience: 0,
            batched: 0,
            unreachable: Unreachable::default(),
            chunks: 0,
            chunks_closed: 0,
            tally: Tally::default(),
            revision: 0,
            revised_at: None,
            retracted: false,
            chunks_current: 0,
            copies: Copies::default(),
            released_at: None,
            cancelled_at: None,
            completed_at: None,
        }
    }

    /// The notification with new content: what is counted of a revision starts again.
    #[must_use]
    pub fn revised(&self, content: &Content, now: Timestamp) -> Self {
        Self {
            revision: self.revision.saturating_add(1),
            revised_at: Some(now),
            retracted: *content == Content::Nothing,
            chunks_current: 0,
            copies: Copies::default(),
            ..self.clone()
        }
    }

    /// What it is at.
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
        } else if self.is_held() {
            if cancelled { State::Cancelled } else { State::Held }
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

    /// Whether nothing of it may be enqueued.
    pub fn is_held(&self) -> bool {
        match self.start {
            StartPolicy::Immediate => false,
            StartPolicy::AfterCount { .. } | StartPolicy::DryRun => self.released_at.is_none(),
        }
    }

    /// Whether no message is to be sent any more: it was cancelled, or retracted.
    pub fn is_stopped(&self) -> bool {
        self.cancelled_at.is_some() || self.retracted
    }

    /// How its deliveries ended, as far as their chunks have. Of one that was cancelled while it was held, nothing was ever
    /// on its way: all of it is cancelled.
    pub fn ended(&self) -> Tally {
        let mut ended = self.tally;
        if self.state() == State::Cancelled && self.is_held() {
            ended.cancelled = self.audience;
        }
        ended
    }

    /// Deliveries that have not ended, or whose chunk has not: always the audience less everything counted.
    pub fn open(&self) -> u64 {
        self.audience.saturating_sub(self.ended().total())
    }
}

/// Where one part of a plan begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The selector, and its place in the audience.
    pub selector: (usize, &'a Selector),
    /// Which of how many segments of the table, for `everyone`; 0 of 1 for the others.
    pub segment: (u16, u16),
}

/// The parts an audience is planned in, `everyone` in so many segments, in an order that never changes.
pub fn parts(audience: &Audience, segments: u16) -> Vec<Part<'_>> {
    let segments = |selector: &Selector| match selector.target {
        Target::Everyone => segments,
        Target::Tenant(_)
        | Target::Users { .. }
        | Target::Accounts(_)
        | Target::Conversations(_)
        | Target::Team { .. }
        | Target::Channel { .. }
        | Target::GroupChat(_)
        | Target::GroupChatMembers { .. }
        | Target::Tag(_) => 1,
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

/// One page of a part, as it was planned once and for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its recipients, one lane a chunk.
    pub chunks: Vec<PageChunk>,
    /// Conversations it found and could not reach.
    #[serde(default)]
    pub unreachable: Unreachable,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<String>,
}

/// Recipients of one page whose requests are made at one pace, and by one way.
///
/// A page costs by its size, and all conversations of a bucket are of one bot on one channel: as JSON they go by their ids
/// alone, before the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct PageChunk {
    /// Whose pace; `None` for names that lead to no conversation.
    pub bucket: Option<Bucket>,
    /// By which way they go.
    pub send_mode: SendMode,
    /// The recipients.
    pub recipients: Vec<Recipient>,
}

/// A chunk as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket: Option<Bucket>,
    #[serde(
        default,
        rename = "transport",
        skip_serializing_if = "SendMode::is_individual"
    )]
    send_mode: SendMode,
    /// Those of the bucket's own bot and channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    conversations: Vec<ConversationId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Recipient>,
}

impl From<PageChunk> for Written {
    fn from(chunk: PageChunk) -> Self {
        let PageChunk {
            bucket,
            send_mode,
            recipients,
        } = chunk;
        let (mut conversations, mut others) = (Vec::new(), Vec::new());
        for recipient in recipients {
            match recipient {
                Recipient::Conversation(key)
                    if bucket.as_ref().is_some_and(|bucket| bucket.contains(&key)) =>
                {
                    conversations.push(key.conversation);
                }
                other => others.push(other),
            }
        }
        Self {
            bucket,
            send_mode,
            conversations,
            others,
        }
    }
}

impl From<Written> for PageChunk {
    fn from(written: Written) -> Self {
        let Written {
            bucket,
            send_mode,
            conversations,
            others,
        } = written;
        let known = conversations.into_iter().filter_map(|id| {
            let key = bucket.as_ref()?.conversation(id)?;
            Some(Recipient::Conversation(key))
        });
        let recipients = known.chain(others).collect();
        Self {
            bucket,
            send_mode,
            recipients,
        }
    }
}

impl Page {
    /// Groups recipients by lane, in the order the lanes first appear.
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
            let bucket = lane.map(|lane| lane.bucket);
            let mut standing = chunks.iter_mut();
            match standing.find(|chunk| chunk.bucket == bucket && chunk.send_mode == send_mode) {
                Some(chunk) => chunk.recipients.push(recipient),
                None => chunks.push(PageChunk {
                    bucket,
                    send_mode,
                    recipients: vec![recipient],
                }),
            }
        }
        Self {
            chunks,
            unreachable: Unreachable::default(),
            next,
        }
    }

    /// The page without these.
    #[must_use]
    pub fn without(mut self, others: &HashSet<Recipient>) -> Self {
        for chunk in &mut self.chunks {
            let before = chunk.recipients.len();
            chunk.recipients.retain(|recipient| !others.contains(recipient));
            if chunk.bucket.is_none() {
                // Nothing is known of them, so they were counted for that.
                let fewer = (before - chunk.recipients.len()) as u64;
                self.unreachable.no_conversation = self.unreachable.no_conversation.saturating_sub(fewer);
            }
        }
        self.chunks.retain(|chunk| !chunk.recipients.is_empty());
        self
    }

    /// Recipients on this page.
    pub fn recipients(&self) -> u64 {
        self.chunks
            .iter()
            .map(|chunk| chunk.recipients.len() as u64)
            .sum()
    }
}

/// Names one chunk of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The part, from 0.
    pub part: u16,
    /// The page of that part, from 0.
    pub page: u32,
    /// The chunk on that page, from 0.
    pub index: u16,
}
