//! `GET /api/notifications/{id}/explain`: why a notification is not finished.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt, TryStreamExt, stream};
use herald::explain::{BucketPace, Group, OpenChunk, Survey};
use herald::id::NotificationId;
use herald::notification::{ChunkId, SendMode, State};
use herald::operation::{Operation, OperationKey};
use herald::rate_limit::{Bucket, TenantRate};
use herald::store::{self, Ledger, Notifications, Paces};
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::Context;
use crate::answer::{Refusal, json};
use crate::pages::{self, Bounds, Open, Place};
use crate::query::{self, Query, not_a_cursor};

/// How far one request looks.
const LOOKED_AT: Bounds = Bounds {
    open: 50,
    walked: 300,
};

/// How many paces are read at once.
const LOOK_UPS: usize = 16;

/// What a caller reads.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    id: &'a NotificationId,
    state: State,
    /// Deliveries that are open, or whose chunk is.
    open: u64,
    /// Why; these add up to `open` once all are examined.
    reasons: Vec<Group>,
    examined: Examined,
    /// Where to go on, if not all could be examined.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revising: Option<Revising>,
    paces: Vec<BucketPace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_finish: Option<Timestamp>,
}

/// What of it was looked at.
#[derive(Debug, Serialize)]
struct Examined {
    deliveries: u64,
    pages: usize,
    /// Whether that is all there is.
    complete: bool,
}

/// How far a change of the message has come.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Revising {
    revision: u32,
    chunks: u64,
    chunks_current: u64,
}

impl<S: Notifications, C, L: Ledger + Paces, Q, E> Context<S, C, L, Q, E> {
    /// `GET /api/notifications/{id}/explain`
    pub(crate) async fn explain(&self, id: &str, request: &Request) -> Result<Response<Body>, Refusal> {
        let query = Query::read(request, &["cursor"])?;
        let from = match query.cursor()? {
            Some(text) => text.parse().map_err(|_| not_a_cursor())?,
            None => Place::default(),
        };
        let notification = self.known(id).await?;
        let walk = pages::open(&self.store, &self.ledger, &notification, from, LOOKED_AT).await?;
        let buried: HashMap<ChunkId, String> = if walk.open.is_empty() {
            HashMap::new()
        } else {
            self.store
                .dead_letters(&notification.id)
                .await?
                .into_iter()
                .collect()
        };
        let paces = self
            .paces(walk.open.iter().filter_map(|open| open.chunk.bucket.as_ref()))
            .await?;
        let operations = self.operations(&notification.id, &walk.open).await?;
        let mut survey = Survey::new(&notification, paces, self.limits.tenant, self.clock.now());
        for open in &walk.open {
            survey.examine(OpenChunk {
                bucket: open.chunk.bucket.as_ref(),
                buried: buried.get(&open.id).map(String::as_str),
                operation: operations.get(&open.id),
                recipients: &open.chunk.recipients,
                rows: &open.rows,
            });
        }
        let behind = notification.revision > 0 && notification.chunks_current < notification.chunks;
        let answer = Explanation {
            id: &notification.id,
            state: notification.state(),
            open: notification.open(),
            reasons: survey.groups(),
            examined: Examined {
                deliveries: survey.examined(),
                pages: walk.pages,
                complete: from == Place::default() && walk.next.is_none(),
            },
            next: walk.next.map(|place| query::cursor(place.text())),
            revising: behind.then_some(Revising {
                revision: notification.revision,
                chunks: notification.chunks,
                chunks_current: notification.chunks_current,
            }),
            paces: survey.paces(),
            predicted_finish: survey.finish(),
        };
        Ok(json(StatusCode::OK, &answer))
    }

    /// The paces of these buckets.
    async fn paces<'a>(
        &self,
        buckets: impl Iterator<Item = &'a Bucket>,
    ) -> Result<HashMap<Bucket, TenantRate>, store::Error> {
        let buckets: BTreeSet<Bucket> = buckets.cloned().collect();
        let paces = buckets.into_iter().map(|bucket| async move {
            let pace = self.ledger.apply(&bucket, |pace| (pace.clone(), None)).await?;
            Ok((bucket, pace))
        });
        stream::iter(paces).buffer_unordered(LOOK_UPS).try_collect().await
    }

    /// The operations of those of these chunks that go by batch.
    async fn operations(
        &self,
        id: &NotificationId,
        open: &[Open],
    ) -> Result<HashMap<ChunkId, Operation>, store::Error> {
        let by_batch = open.iter().filter(|open| open.chunk.send_mode == SendMode::Batch);
        let by_batch: Vec<ChunkId> = by_batch.map(|open| open.id).collect();
        let operations = by_batch.into_iter().map(|chunk| async move {
            let operation = self.ledger.operation(&OperationKey::new(id, chunk)).await?;
            Ok(operation.map(|operation| (chunk, operation)))
        });
        // Those of which nobody has begun one are none.
        stream::iter(operations)
            .buffer_unordered(LOOK_UPS)
            .try_filter_map(async |found| Ok(found))
            .try_collect()
            .await
    }
}
