//! `GET /api/notifications/{id}/explain`: why deliveries are open, and when they should end.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt, TryStreamExt, stream};
use herald::backend::Backend;
use herald::batch::{BatchKey, BatchRecord};
use herald::explain::{self, BucketRate, Group, Survey};
use herald::id::NotificationId;
use herald::notification::{ChunkId, SendMode, State};
use herald::rate_limit::{Bucket, TenantRate};
use herald::store::{self, Ledger, Notifications, RateLimits};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::Context;
use crate::plan_pages::{self, OpenChunk, Position, ScanLimits};
use crate::request::{self, Query, not_a_cursor};
use crate::response::{ApiError, json};

/// How much one request scans.
const SCAN_LIMITS: ScanLimits = ScanLimits { open: 50, pages: 300 };

/// How many records are read concurrently.
const CONCURRENT_READS: usize = 16;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    id: &'a NotificationId,
    state: State,
    /// Deliveries in chunks that are not closed.
    open: u64,
    /// These add up to `open` if the scan is complete.
    reasons: Vec<Group>,
    examined: Examined,
    /// The cursor of the next scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revising: Option<Revising>,
    rates: Vec<BucketRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_finish: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Examined {
    deliveries: u64,
    pages: usize,
    /// Whether this scan covers the whole plan.
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

impl<B: Backend> Context<B> {
    /// `GET /api/notifications/{id}/explain`
    pub(crate) async fn explain(&self, id: &str, request: &Request) -> Result<Response<Body>, ApiError> {
        let query = Query::parse(request, &["cursor"])?;
        let from = match query.cursor()? {
            Some(text) => text.parse().map_err(|_| not_a_cursor())?,
            None => Position::default(),
        };
        let notification = self.find(id).await?;
        let scan = plan_pages::open(
            &self.notifications,
            &self.ledger,
            &notification,
            from,
            SCAN_LIMITS,
        )
        .await?;
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
        let batches = self.batches(&notification.id, &scan.open).await?;
        let mut survey = Survey::new(&notification, rates, self.limits.tenant, self.clock.now());
        for open in &scan.open {
            survey.examine(explain::OpenChunk {
                bucket: open.chunk.bucket.as_ref(),
                buried: buried.get(&open.id).map(String::as_str),
                batch: batches.get(&open.id),
                recipients: &open.chunk.recipients,
                rows: &open.rows,
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
                complete: from == Position::default() && scan.next.is_none(),
            },
            next: scan.next.map(|position| request::cursor(position.text())),
            revising: behind.then_some(Revising {
                revision: notification.revision,
                chunks: notification.chunks,
                chunks_current: notification.chunks_current,
            }),
            rates: survey.rates(),
            predicted_finish: survey.finish(),
        };
        Ok(json(StatusCode::OK, &explanation))
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
    async fn batches(
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
