//! `GET /api/notifications/{id}/explain`: why deliveries are open, and when they should end.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt, TryStreamExt, stream};
use herald::audience::Recipient;
use herald::backend::Backend;
use herald::batch::{BatchKey, BatchRecord};
use herald::conversation::ConversationKey;
use herald::delivery::{self, ConversationLease};
use herald::explain::{self, BucketRate, Group, OpenCounts};
use herald::id::NotificationId;
use herald::notification::{ChunkId, Notification, SendMode, State, Wave};
use herald::rate_limit::{Bucket, TenantRate};
use herald::store::{self, Conversations, Ledger, Notifications, RateLimits};
use herald::timing::{self, Defaults, Habits};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::Context;
use crate::plan_pages::{self, OpenChunk, PlanScan, Position, ScanLimits};
use crate::request::{CursorScope, Query, not_a_cursor};
use crate::response::{ApiError, json};

/// How much one request scans.
const SCAN_LIMITS: ScanLimits = ScanLimits { open: 50, pages: 300 };

/// How often the plan is read while it changes.
const MAX_READS: usize = 3;

/// How many leases of a chunk are read: about as many as its worker has requests in flight.
const LEASES_PER_CHUNK: usize = 12;

/// How many records are read concurrently.
const CONCURRENT_READS: usize = 16;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    id: &'a NotificationId,
    state: State,
    /// Deliveries that are not counted.
    open: u64,
    /// These add up to `open` if the scan is complete.
    reasons: Vec<Group>,
    examined: Examined,
    /// The cursor of the next scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revising: Option<Revising>,
    /// When its copies are deleted or replaced, if that is still to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    retract_at: Option<Timestamp>,
    rates: Vec<BucketRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_finish: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Examined {
    deliveries: u64,
    pages: usize,
    /// Whether this scan covers the whole plan, and nothing was planned or counted meanwhile: then the reasons add up to `open`.
    complete: bool,
}

/// Progress of an edit or retraction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Revising {
    revision: u32,
    chunks: u64,
    chunks_current: u64,
}

/// A notification with its open chunks.
struct Reading {
    notification: Notification,
    scan: PlanScan,
    /// Whether the chunks are those of the notification's counters.
    is_consistent: bool,
}

impl<B: Backend> Context<B> {
    /// Reads the open chunks from this position on.
    ///
    /// Pages and chunks are counted on the head in the transactions that write them. So if the head is the same before and after
    /// the scan, the scan is of this head; else it is read again, a few times.
    async fn read_open(&self, id: &str, from: Position) -> Result<Reading, ApiError> {
        let mut notification = self.find(id).await?;
        let mut tries = 0;
        loop {
            let limits = if notification.open() == 0 {
                // A plan that was cancelled has chunks that are never closed.
                ScanLimits { open: 0, pages: 0 }
            } else {
                SCAN_LIMITS
            };
            let mut scan =
                plan_pages::open(&self.notifications, &self.ledger, &notification, from, limits).await?;
            if notification.open() == 0 {
                scan.next = None;
            }
            let after = self.find(id).await?;
            tries += 1;
            let is_consistent = after == notification;
            if is_consistent || tries == MAX_READS || scan.next.is_some() {
                return Ok(Reading {
                    notification: after,
                    scan,
                    is_consistent,
                });
            }
            notification = after;
        }
    }

    /// `GET /api/notifications/{id}/explain`
    pub(crate) async fn explain(&self, id: &str, query: &Query) -> Result<Response<Body>, ApiError> {
        let list = CursorScope::new("explain", &[id]);
        let from = match query.cursor(&list)? {
            Some(text) => text.parse().map_err(|_| not_a_cursor())?,
            None => Position::default(),
        };
        let Reading {
            notification,
            scan,
            is_consistent,
        } = self.read_open(id, from).await?;
        let buried: HashMap<ChunkId, String> = if scan.open.is_empty() {
            HashMap::new()
        } else {
            self.notifications
                .dead_letters(&notification.id)
                .await?
                .into_iter()
                .collect()
        };
        let rates = self
            .rates(scan.open.iter().filter_map(|open| open.chunk.bucket.as_ref()))
            .await?;
        let batches = self.read_batches(&notification.id, &scan.open).await?;
        let leases = self.leases(&scan.open).await?;
        let waves = self.waves(&notification).await?;
        let waves: HashMap<Timestamp, Wave> = waves.into_iter().map(|wave| (wave.due, wave)).collect();
        let quiet = Box::pin(self.quiet(&notification, &scan.open)).await?;
        let (health, now) = (self.ledger.bot_health().await?, self.clock.now());
        let mut survey =
            OpenCounts::new(&notification, rates, self.limits.tenant, now).during(health.current_outage(now));
        for open in &scan.open {
            survey.examine(explain::OpenChunk {
                bucket: open.chunk.bucket.as_ref(),
                buried: buried.get(&open.id).map(String::as_str),
                batch: batches.get(&open.id),
                leases: &leases,
                recipients: &open.chunk.recipients,
                rows: &open.rows,
                counted: open.counted,
                wave: open.chunk.wave.and_then(|due| waves.get(&due).copied()),
                quiet: &quiet,
            });
        }
        let behind = notification.revision > 0 && notification.chunks_current < notification.chunks;
        let explanation = Explanation {
            id: &notification.id,
            state: notification.state(),
            open: notification.open(),
            reasons: survey.groups(),
            examined: Examined {
                deliveries: survey.examined(),
                pages: scan.pages,
                complete: is_consistent && from == Position::default() && scan.next.is_none(),
            },
            next: scan.next.map(|position| list.cursor(&position.text())),
            revising: behind.then_some(Revising {
                revision: notification.revision,
                chunks: notification.chunks,
                chunks_current: notification.chunks_current,
            }),
            retract_at: notification.pending_retraction().map(|retraction| retraction.at),
            rates: survey.rates(),
            predicted_finish: survey.finish(),
        };
        Ok(json(StatusCode::OK, &explanation))
    }

    /// The leases of the first few conversations of each chunk that have no result yet. A worker handles them in their order, so
    /// those that a worker left are among them.
    async fn leases(
        &self,
        open: &[OpenChunk],
    ) -> Result<HashMap<ConversationKey, ConversationLease>, store::Error> {
        let unsettled = |open: &OpenChunk| {
            let rows = open
                .rows
                .iter()
                .map(Option::as_ref)
                .chain(std::iter::repeat(None));
            let each = open.chunk.recipients.iter().zip(rows);
            let open = each
                .filter(|(_, row)| !row.is_some_and(|row| matches!(row.state, delivery::State::Settled(_))));
            let keys = open.filter_map(|(recipient, _)| match recipient {
                Recipient::Conversation(key) => Some(key.clone()),
                Recipient::User(_)
                | Recipient::Account(_)
                | Recipient::UnknownConversation(_)
                | Recipient::Missed(_) => None,
            });
            keys.take(LEASES_PER_CHUNK).collect::<Vec<_>>()
        };
        let keys: Vec<ConversationKey> = open.iter().flat_map(unsettled).collect();
        let leases = self.ledger.leases(&keys).await?;
        Ok(keys
            .into_iter()
            .zip(leases)
            .filter_map(|(key, lease)| Some((key, lease?)))
            .collect())
    }

    /// When the quiet hours end of the recipients without a result that have some now. Only conversations of which the ledger has no
    /// settled row are read.
    async fn quiet(
        &self,
        notification: &Notification,
        open: &[OpenChunk],
    ) -> Result<HashMap<ConversationKey, Timestamp>, ApiError> {
        let now = self.clock.now();
        if notification.mandatory || notification.is_held() || notification.is_stopped() {
            return Ok(HashMap::new());
        }
        let keys: Vec<ConversationKey> = open
            .iter()
            .flat_map(|open| open.chunk.recipients.iter().zip(&open.rows))
            .filter(|(_, row)| {
                !row.as_ref()
                    .is_some_and(|row| matches!(row.state, delivery::State::Settled(_)))
            })
            .filter_map(|(recipient, _)| match recipient {
                Recipient::Conversation(key) => Some(key.clone()),
                Recipient::User(_)
                | Recipient::Account(_)
                | Recipient::UnknownConversation(_)
                | Recipient::Missed(_) => None,
            })
            .collect();
        let defaults = Defaults::of(&self.registry, notification).await?;
        let known = self.conversations.get_many(&keys).await?;
        Ok(known
            .into_iter()
            .filter_map(|known| {
                let until = timing::quiet_until(notification, &defaults, Habits::from(&known), now)?;
                Some((known.key, until))
            })
            .collect())
    }

    async fn rates<'a>(
        &self,
        buckets: impl Iterator<Item = &'a Bucket>,
    ) -> Result<HashMap<Bucket, TenantRate>, store::Error> {
        let buckets: BTreeSet<Bucket> = buckets.cloned().collect();
        let rates = buckets.into_iter().map(|bucket| async move {
            let rate = self.ledger.apply(&bucket, |rate| (rate.clone(), None)).await?;
            Ok((bucket, rate))
        });
        stream::iter(rates)
            .buffer_unordered(CONCURRENT_READS)
            .try_collect()
            .await
    }

    /// The batch operations of these chunks.
    async fn read_batches(
        &self,
        id: &NotificationId,
        open: &[OpenChunk],
    ) -> Result<HashMap<ChunkId, BatchRecord>, store::Error> {
        let by_batch = open.iter().filter(|open| open.chunk.send_mode == SendMode::Batch);
        let by_batch: Vec<ChunkId> = by_batch.map(|open| open.id).collect();
        let batches = by_batch.into_iter().map(|chunk| async move {
            let batch = self.ledger.batch(&BatchKey::new(id, chunk)).await?;
            Ok(batch.map(|batch| (chunk, batch)))
        });
        // A chunk whose batch was never submitted has no record.
        stream::iter(batches)
            .buffer_unordered(CONCURRENT_READS)
            .try_filter_map(async |found| Ok(found))
            .try_collect()
            .await
    }
}
