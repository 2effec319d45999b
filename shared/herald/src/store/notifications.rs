//! The port to the table of notifications: heads with counters, documents, and the pages of their plans.

use std::future::Future;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;

use super::{CasResult, Error, ListPage, MAX_CAS_ROUNDS};
use crate::audience::{Audience, Recipient};
use crate::delivery::OutcomeCounts;
use crate::id::NotificationId;
use crate::notification::{
    ChunkId, ChunkResult, Content, CountedChunk, MessageRefusal, Notification, NotificationFilter, Page,
    Wave, WaveDecision,
};
use crate::template::MessageSource;

/// How long a notification is listed after its acceptance: until the latest `deliverAt`, `expiresAt` and expiry of its items.
pub const LISTED_FOR: SignedDuration = SignedDuration::from_hours((365 + 14 + 30) * 24);

/// The input of [`Notifications::accept`].
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The head, with its counters at zero.
    pub notification: Notification,
    /// The audience, stored as a document.
    pub audience: Audience,
    /// The first message, stored as a document.
    pub message: MessageSource,
    /// The message after a scheduled retraction, stored as a document.
    pub replacement: Option<Box<MessageSource>>,
    /// The caller's idempotency key, if the request has one.
    pub idempotency: Option<Idempotency>,
}

/// An idempotency key: requests with the same key and body are one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// A digest of the key.
    pub key: String,
    /// A digest of the body.
    pub body: String,
    /// When the key expires.
    pub until: Timestamp,
}

/// The result of [`Notifications::accept`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accept {
    /// The notification is stored.
    Created,
    /// The same request was accepted before, as this notification.
    Duplicate(NotificationId),
    /// The plan that the request confirms cannot be confirmed: another request did, or it was cancelled. The plan as stored;
    /// `None` if it is not stored.
    NotConfirmable(Option<Box<Notification>>),
    /// The idempotency key was used with another body.
    Conflict,
}

/// The result of [`Notifications::close_chunk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The chunk is closed at this revision, now or before.
    Closed,
    /// The notification has a newer revision: the chunk must be processed at that one.
    StaleRevision,
}

/// The result of [`Notifications::revise`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revise {
    /// The notification has the new content.
    Revised(Box<Notification>),
    /// It has the new content since an earlier call.
    Unchanged(Box<Notification>),
    /// It was retracted before, which is final.
    Retracted,
    /// It is a plan that is sent as this notification.
    Confirmed(NotificationId),
    /// There is no such notification.
    NotFound,
}

/// A JSON document of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Document {
    /// The audience, which never changes.
    Audience,
    /// The message of a revision; a retraction has none.
    Message {
        /// The number of the revision.
        revision: u32,
    },
    /// The message that a scheduled retraction gives the copies; most notifications have none.
    Replacement,
}

/// Which page of a part to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageNumber {
    /// The last one that is stored.
    Latest,
    /// The page with this number, from 0.
    At(u32),
}

/// A moment of a notification that is set once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The cancellation: [`Notification::cancelled_at`]; not of a plan that is confirmed.
    Cancelled,
    /// [`Notification::released_at`]; not after a cancellation or a retraction.
    Started,
    /// The completion: [`Notification::completed_at`].
    Completed,
}

/// The result of [`Notifications::set_once`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOnce {
    /// The moment is set; the notification then.
    Set(Box<Notification>),
    /// It was set before, or must not be set; the notification as stored.
    Unchanged(Box<Notification>),
    /// There is no such notification.
    NotFound,
}

/// Stores notifications and their plans.
pub trait Notifications: Clone + Send + Sync + 'static {
    /// Stores a notification with its audience and message, or nothing of it. An id that is stored already keeps its record.
    ///
    /// If it confirms a plan ([`Notification::confirms`]), the same transaction sets [`Notification::confirmed_as`] of the
    /// plan. Of any number of concurrent requests that confirm a plan one is stored.
    fn accept(&self, acceptance: &Acceptance) -> impl Future<Output = Result<Accept, Error>> + Send;

    /// The notification that was accepted with this idempotency key and body, unless the key has expired at `now`. A strong read.
    fn accepted_as(
        &self,
        idempotency: &Idempotency,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<NotificationId>, Error>> + Send;

    /// Deletes a notification, unless a page of it is planned or it was revised; `false` then. The plan that it confirmed can
    /// be confirmed again.
    fn roll_back(&self, id: &NotificationId) -> impl Future<Output = Result<bool, Error>> + Send;

    /// The notification with its counters. A strong read.
    fn find(&self, id: &NotificationId) -> impl Future<Output = Result<Option<Notification>, Error>> + Send;

    /// Notifications that match the filter and have an id before `before`, the newest first; those of the last
    /// [`LISTED_FOR`] if `before` is `None`. The cursor is the id to go on before. A page may have fewer than `limit` although
    /// more follow, and the newest notification may be missing for about a second.
    fn list_newest(
        &self,
        filter: &NotificationFilter,
        before: Option<&NotificationId>,
        now: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<ListPage<Notification>, Error>> + Send;

    /// The JSON of a document.
    fn document(
        &self,
        id: &NotificationId,
        document: Document,
    ) -> impl Future<Output = Result<Option<Vec<u8>>, Error>> + Send;

    /// A page of a part, with its number.
    fn stored_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: PageNumber,
    ) -> impl Future<Output = Result<Option<(u32, Page)>, Error>> + Send;

    /// Stores a page and counts it and its waves, in one transaction; `false` if that page is stored already, or the notification is not. A
    /// stored page never changes.
    fn put_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
        page: &Page,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// The waves of a notification, by their time. A strong read.
    fn waves(&self, id: &NotificationId) -> impl Future<Output = Result<Vec<Wave>, Error>> + Send;

    /// Decides about a wave, unless that is decided; the wave then, `None` if there is none at this time. The first decision counts.
    fn decide_wave(
        &self,
        id: &NotificationId,
        due: Timestamp,
        decision: WaveDecision,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Wave>, Error>> + Send;

    /// Stores the first version of a page that is not reproducible (a roster) and returns the stored one. The first writer wins,
    /// so retries and racing planners see the same page.
    fn freeze_page(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        read: &Page,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// Claims recipients for a page, and returns those that another page claimed before: rosters repeat people, and a person may
    /// be on several. The page must be frozen with all of them.
    fn claim_recipients(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        found: &[Recipient],
    ) -> impl Future<Output = Result<Vec<Recipient>, Error>> + Send;

    /// Closes a chunk at a revision and counts it, in one transaction. Outcomes are counted at the first close only, less those that
    /// were counted before; copies at the first close of each revision.
    fn close_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        result: &ChunkResult,
    ) -> impl Future<Output = Result<Close, Error>> + Send;

    /// Counts what has ended of a chunk that goes on later. Nothing is written if the chunk is closed, or as much is counted already.
    fn count_open_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        counts: &OutcomeCounts,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The chunks of a page of which something is counted, by index.
    fn counted_chunks(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> impl Future<Output = Result<Vec<CountedChunk>, Error>> + Send;

    /// Sets a moment, by the rule of [`Milestone::set`]. Of any number of concurrent callers one gets [`SetOnce::Set`].
    fn set_once(
        &self,
        id: &NotificationId,
        milestone: Milestone,
        now: Timestamp,
    ) -> impl Future<Output = Result<SetOnce, Error>> + Send;

    /// Stores that a channel refuses the message, if [`Notification::admits_refusal`]. The first refusal counts.
    fn refuse_message(
        &self,
        id: &NotificationId,
        refusal: &MessageRefusal,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stores the content of `revised`, if the stored notification is at the revision before, and neither retracted nor a plan
    /// that is confirmed; and if it was started or not, as `revised` was.
    fn compare_and_set_content(
        &self,
        revised: &Notification,
        content: &Content,
    ) -> impl Future<Output = Result<CasResult, Error>> + Send;

    /// Records that a chunk is in the dead-letter queue, and why.
    fn mark_dead_lettered(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        reason: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The chunks that were dead-lettered, and why; also those that were redriven and closed since.
    fn dead_letters(
        &self,
        id: &NotificationId,
    ) -> impl Future<Output = Result<Vec<(ChunkId, String)>, Error>> + Send;

    /// The audience of a notification.
    fn audience(&self, id: &NotificationId) -> impl Future<Output = Result<Option<Audience>, Error>> + Send {
        async move { parse("read an audience", self.document(id, Document::Audience).await?) }
    }

    /// The message of a revision; `None` when there is no such revision, or it is a retraction.
    fn message(
        &self,
        id: &NotificationId,
        revision: u32,
    ) -> impl Future<Output = Result<Option<MessageSource>, Error>> + Send {
        async move {
            let json = self.document(id, Document::Message { revision }).await?;
            parse("read a message", json)
        }
    }

    /// The message that a scheduled retraction gives the copies, if there is one.
    fn replacement(
        &self,
        id: &NotificationId,
    ) -> impl Future<Output = Result<Option<MessageSource>, Error>> + Send {
        async move {
            let json = self.document(id, Document::Replacement).await?;
            parse("read a replacement", json)
        }
    }

    /// The last stored page of a part, with its number.
    fn latest_page(
        &self,
        id: &NotificationId,
        part: u16,
    ) -> impl Future<Output = Result<Option<(u32, Page)>, Error>> + Send {
        self.stored_page(id, part, PageNumber::Latest)
    }

    /// One page of a part.
    fn page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
    ) -> impl Future<Output = Result<Option<Page>, Error>> + Send {
        async move {
            let stored = self.stored_page(id, part, PageNumber::At(number)).await?;
            Ok(stored.map(|(_, page)| page))
        }
    }

    /// Cancels a notification; the notification then. The first cancellation counts.
    fn cancel(
        &self,
        id: &NotificationId,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Notification>, Error>> + Send {
        async move {
            Ok(match self.set_once(id, Milestone::Cancelled, now).await? {
                SetOnce::Set(head) | SetOnce::Unchanged(head) => Some(*head),
                SetOnce::NotFound => None,
            })
        }
    }

    /// Starts a notification that was held until its audience was counted, unless it is stopped; `false` if it was started before
    /// or is stopped.
    fn start(&self, id: &NotificationId, now: Timestamp) -> impl Future<Output = Result<bool, Error>> + Send {
        async move {
            let set = self.set_once(id, Milestone::Started, now).await?;
            Ok(matches!(set, SetOnce::Set(_)))
        }
    }

    /// Records that a notification is complete; `false` if that is recorded already.
    fn complete(
        &self,
        id: &NotificationId,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, Error>> + Send {
        async move {
            let set = self.set_once(id, Milestone::Completed, now).await?;
            Ok(matches!(set, SetOnce::Set(_)))
        }
    }

    /// Gives a notification new content, by [`Notification::revised`]; the notification then. A retraction is final.
    fn revise(
        &self,
        id: &NotificationId,
        content: &Content,
        now: Timestamp,
    ) -> impl Future<Output = Result<Revise, Error>> + Send {
        async move {
            let rule = |head: &Notification| Some((head.revised(content, now), content.clone()));
            revise_by(self, id, rule).await
        }
    }

    /// Makes the retraction that the request asks for, by [`Notification::retracted_as_scheduled`]; once.
    fn retract_as_scheduled(
        &self,
        id: &NotificationId,
        replacement: Option<&MessageSource>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Revise, Error>> + Send {
        async move {
            let rule = |head: &Notification| head.retracted_as_scheduled(replacement, now);
            revise_by(self, id, rule).await
        }
    }
}

/// Gives a notification the content that the rule finds for it; the rule leaves it unchanged by `None`.
async fn revise_by<N: Notifications>(
    store: &N,
    id: &NotificationId,
    rule: impl Fn(&Notification) -> Option<(Notification, Content)> + Send + Sync,
) -> Result<Revise, Error> {
    for _ in 0..MAX_CAS_ROUNDS {
        let Some(head) = store.find(id).await? else {
            return Ok(Revise::NotFound);
        };
        if head.retracted {
            return Ok(Revise::Retracted);
        }
        if let Some(sent_as) = head.confirmed_as {
            return Ok(Revise::Confirmed(sent_as));
        }
        let Some((revised, content)) = rule(&head) else {
            return Ok(Revise::Unchanged(Box::new(head)));
        };
        match store.compare_and_set_content(&revised, &content).await? {
            CasResult::Committed => {
                // Read again: the caller acts on the counters, and chunks may have been closed meanwhile.
                let head = store.find(id).await?;
                return Ok(head.map_or(Revise::NotFound, |head| Revise::Revised(Box::new(head))));
            }
            CasResult::Conflict => {}
        }
    }
    Err(Error::contention("revise a notification"))
}

impl Milestone {
    /// Sets the moment, unless it is set; whether it was set now.
    pub fn set(self, head: &mut Notification, now: Timestamp) -> bool {
        let moment = match self {
            Self::Cancelled if head.confirmed_as.is_some() => return false,
            Self::Cancelled => &mut head.cancelled_at,
            Self::Started if head.is_stopped() => return false,
            Self::Started => &mut head.released_at,
            Self::Completed => &mut head.completed_at,
        };
        let set = moment.is_none();
        moment.get_or_insert(now);
        set
    }
}

fn parse<T: DeserializeOwned>(verb: &'static str, json: Option<Vec<u8>>) -> Result<Option<T>, Error> {
    json.map(|json| serde_json::from_slice(&json).map_err(|_| Error::corrupt(verb, "content")))
        .transpose()
}
