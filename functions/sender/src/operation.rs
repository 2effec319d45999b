//! A chunk that goes by the channel's batch API: one request for all of it, and later what became of each.
//!
//! ```text
//! look ── nothing begun ── whom ── permit ── begin ── submit ──────────────────── goes back, with a delay
//!   ├──── submitted ── stopped? cancel ── permit ── ask ── goes on? ──────────────────────┘
//!   │                                                └─ over ── whom it did not reach ── a row for each
//!   └──── refused whole, or over ── whoever is left, one by one
//! ```
//!
//! What is decided here stands in [`herald::operation`]; what becomes of somebody whom an operation did not reach, in the same
//! table as of a request to them alone. Nothing is written of a delivery before its operation is over, but that it was not to be
//! in it.

use std::sync::Arc;

use botframework::connector::{self, BatchReceipt, Class, Person};
use futures_util::future::join_all;
use herald::Error;
use herald::audience::Recipient;
use herald::delivery::{Next, Outcome};
use herald::event::Events;
use herald::id::NotificationId;
use herald::notification::SendMode;
use herald::operation::{self, Operation, OperationKey, Stage, Step, Submitted};
use herald::queue::Queue;
use herald::rate_limit::{self, PermitRequest, Permits, Reservation, TenantRate};
use herald::retry::{Reaction, reaction};
use herald::store::{self, CasResult, Conversations, Ledger, Notifications, Paces};
use jiff::{SignedDuration, Timestamp};

use crate::attempt::{Learned, code};
use crate::delivery::stopped;
use crate::later;
use crate::view::Seen;
use crate::work::{Open, Work, conversation_key};

mod answer;
mod list;

use list::Name;

/// When to look again at an operation that another worker has just changed.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// What to do with the chunk.
enum Onward {
    /// It goes back until then.
    Back(Timestamp),
    /// Whoever is left goes the ordinary way.
    OneByOne,
}

/// What is submitted.
struct Batch {
    names: Vec<Name>,
    service_url: String,
    tenant: String,
    aside: Vec<Recipient>,
}

/// What an operation that is over comes to for one delivery.
enum Verdict {
    /// It ended so.
    Ends(Outcome),
    /// It is asked for again then, in the ordinary way.
    Waits {
        until: Timestamp,
        why: String,
        doubts: u32,
    },
    /// Nothing is known of it: the ordinary way.
    OneByOne,
}

impl<C, N, L, Q, E> Work<'_, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Queue,
    E: Events,
{
    /// Carries the chunk's operation on. Until when the chunk has to wait for it; `None` when it is over, and whoever is left
    /// open goes the ordinary way.
    pub(crate) async fn operate(&mut self) -> Result<Option<Timestamp>, Error> {
        Ok(match self.carry_on().await? {
            Onward::Back(until) => Some(until),
            Onward::OneByOne => {
                self.chunk.send_mode = SendMode::Individual;
                None
            }
        })
    }

    async fn carry_on(&mut self) -> Result<Onward, Error> {
        let now = self.context.clock.now();
        if self.invocation.is_late(now) {
            return Ok(Onward::Back(now));
        }
        let Some(seen) = self.view.newest().await? else {
            return Ok(Onward::OneByOne);
        };
        let key = OperationKey::new(&self.chunk.notification, self.chunk.chunk);
        let standing = self.context.ledger.operation(&key).await?;
        match (
            operation::next(standing.as_ref(), seen.head.guarantee, now),
            standing,
        ) {
            (Step::Wait(until), _) => Ok(Onward::Back(until)),
            (Step::Submit, standing) => self.submit(&key, standing.as_ref(), &seen).await,
            (Step::Ask(submitted), Some(standing)) => self.ask(&key, standing, submitted, &seen).await,
            (Step::GiveUp, Some(standing)) => self.give_up(&key, &standing).await,
            (Step::OneByOne | Step::Ask(_) | Step::GiveUp, _) => Ok(Onward::OneByOne),
        }
    }

    /// Submits the chunk as one operation.
    async fn submit(
        &mut self,
        key: &OperationKey,
        standing: Option<&Operation>,
        seen: &Arc<Seen>,
    ) -> Result<Onward, Error> {
        let now = self.context.clock.now();
        let deadline = self.invocation.deadline;
        let begun = Operation::begin(standing, deadline, Vec::new());
        if stopped(&seen.head, now).is_some() {
            // What may have been sent is never said not to have been.
            return if begun.doubts > 0 {
                self.give_up(key, &begun).await
            } else {
                self.pass_over(key, standing).await
            };
        }
        let Batch {
            names,
            service_url,
            tenant,
            aside,
        } = match self.prepare(key, standing, &begun).await? {
            Ok(batch) => batch,
            Err(onward) => return Ok(onward),
        };
        let Some(message) = &seen.message else {
            return self.pass_over(key, standing).await;
        };
        let begun = Operation { aside, ..begun };
        self.chunk.begun = true;
        if self.context.ledger.compare_and_set_batch(key, &begun).await? == CasResult::Conflict {
            return Ok(self.look_again());
        }
        let people: Vec<Person<'_>> = names.iter().map(Name::person).collect();
        let answer = self
            .context
            .connector
            .send_to_users(&service_url, &tenant, &people, message.as_ref())
            .await;
        match answer {
            Ok(BatchReceipt { operation: Some(id) }) => {
                tracing::info!(notification = %seen.head.id, members = people.len(), "batch submitted");
                let now = self.context.clock.now();
                let submitted = Submitted {
                    id,
                    service_url,
                    at: now,
                    cancelled: false,
                };
                let again = submitted.asked_again(None, now);
                let taken = begun.at(Stage::Submitted(submitted));
                Ok(
                    match self.context.ledger.compare_and_set_batch(key, &taken).await? {
                        CasResult::Committed => Onward::Back(again),
                        // We overran our deadline, and somebody took over.
                        CasResult::Conflict => self.look_again(),
                    },
                )
            }
            Ok(BatchReceipt { operation: None }) => self.lose(key, &begun).await,
            Err(error) => {
                tell(&error, &seen.head.id, "a batch was not taken");
                match (error.class(), reaction(error.reason())) {
                    // Whoever is written to alone tells what it is about.
                    (_, Reaction::Readdress) | (Class::Rejected | Class::Gone, _) => {
                        self.refused_whole(key, &begun, Some(&begun), &code(&error)).await
                    }
                    (Class::NotSent | Class::Ambiguous, _) => self.not_taken(key, &begun, error, seen).await,
                }
            }
        }
    }

    /// Finds out whom the batch is for, ends those who are not to be in it, and takes a permit; or what is to be done instead.
    async fn prepare(
        &mut self,
        key: &OperationKey,
        standing: Option<&Operation>,
        begun: &Operation,
    ) -> Result<Result<Batch, Onward>, Error> {
        if let Some(until) = self.invocation.paused_until(self.context.clock.now()) {
            return Ok(Err(Onward::Back(until)));
        }
        if self.chunk.begun {
            self.look_up().await?;
        }
        let list = {
            let _room = self.invocation.room(self.open.len()).await;
            self.list().await?
        };
        self.skip(&list.skipped, begun).await?;
        let Some(open) = self.open.first() else {
            return Ok(Err(Onward::OneByOne));
        };
        let bucket = self.chunk.bucket.as_ref();
        let tenant = bucket.and_then(|bucket| bucket.tenant()).map(str::to_owned);
        let (Some(service_url), Some(tenant), true) = (
            self.service_url(&list).await?,
            tenant,
            // None is in it, or hardly anybody.
            list.names.len() >= list.aside.len().max(1),
        ) else {
            return Ok(Err(self.refused_whole(key, begun, standing, "NoBatch").await?));
        };
        if let Some(until) = self.delivery(&open.recipient).speechless_at(&service_url).await {
            return Ok(Err(Onward::Back(until)));
        }
        if let Err(until) = self.permit().await? {
            return Ok(Err(Onward::Back(until)));
        }
        let now = self.context.clock.now();
        if self.ends(now).await? {
            return Ok(Err(Onward::Back(now)));
        }
        Ok(Ok(Batch {
            names: list.names,
            service_url,
            tenant,
            aside: list.aside,
        }))
    }

    /// The request was not carried out, or may have been.
    async fn not_taken(
        &mut self,
        key: &OperationKey,
        begun: &Operation,
        error: connector::Error,
        seen: &Seen,
    ) -> Result<Onward, Error> {
        let Some(open) = self.open.first() else {
            return Ok(Onward::OneByOne);
        };
        let hand = self.delivery(&open.recipient);
        let mut learned = Vec::new();
        let next = hand
            .follows(Err(error), &begun.lease(), seen, &mut learned)
            .await?;
        for learned in learned {
            if let Learned::Throttled(asked) = learned {
                hand.throttled(asked).await?;
            }
        }
        let (until, why, doubts) = match next {
            Next::Wait { until, why, doubts } => (until, why, doubts),
            Next::Settle(Outcome::Unknown) => return self.lose(key, begun).await,
            // Its time is over before it could be tried again.
            Next::Settle(_) => (seen.head.expires_at, "Expires".to_owned(), begun.doubts),
        };
        let waiting = Operation {
            doubts,
            ..begun.at(Stage::Waiting { until, why })
        };
        Ok(
            match self.context.ledger.compare_and_set_batch(key, &waiting).await? {
                CasResult::Committed => Onward::Back(until),
                CasResult::Conflict => self.look_again(),
            },
        )
    }

    /// The channel may have taken it, and nobody can ask what became of it.
    async fn lose(&mut self, key: &OperationKey, begun: &Operation) -> Result<Onward, Error> {
        let lost = begun.at(Stage::Lost);
        match self.context.ledger.compare_and_set_batch(key, &lost).await? {
            CasResult::Committed => self.give_up(key, &lost).await,
            CasResult::Conflict => Ok(self.look_again()),
        }
    }

    /// Nothing is submitted any more, and nothing was: the ordinary way ends each as it has to.
    async fn pass_over(&mut self, key: &OperationKey, standing: Option<&Operation>) -> Result<Onward, Error> {
        let over = Operation::over(standing);
        Ok(
            match self.context.ledger.compare_and_set_batch(key, &over).await? {
                CasResult::Committed => Onward::OneByOne,
                CasResult::Conflict => self.look_again(),
            },
        )
    }

    /// The channel takes no batch of these people, or of any: they go the ordinary way, with the doubts there are.
    async fn refused_whole(
        &mut self,
        key: &OperationKey,
        begun: &Operation,
        standing: Option<&Operation>,
        why: &str,
    ) -> Result<Onward, Error> {
        if begun.doubts == 0 {
            return self.pass_over(key, standing).await;
        }
        let waits = |_: &Open| Verdict::Waits {
            until: self.context.clock.now(),
            why: why.to_owned(),
            doubts: begun.doubts,
        };
        let verdicts = self.open.iter().map(waits).collect();
        self.conclude(verdicts).await?;
        self.pass_over(key, standing).await
    }

    /// Nobody can know what became of those who are in it.
    async fn give_up(&mut self, key: &OperationKey, operation: &Operation) -> Result<Onward, Error> {
        tracing::warn!(error_type = "BatchUnknown", notification = %self.chunk.notification, "nobody can know what became of a batch");
        let verdict = |open: &Open| {
            if operation.aside.contains(&open.recipient) {
                self.stood_aside(operation)
            } else {
                Verdict::Ends(Outcome::Unknown)
            }
        };
        let verdicts = self.open.iter().map(verdict).collect();
        self.conclude(verdicts).await?;
        self.leave(key, operation).await
    }

    /// What becomes of somebody who was not in it: the ordinary way. If there were others before it, they may have been in those.
    fn stood_aside(&self, operation: &Operation) -> Verdict {
        match operation.doubts {
            0 => Verdict::OneByOne,
            doubts => Verdict::Waits {
                until: self.context.clock.now(),
                why: "BatchInDoubt".to_owned(),
                doubts,
            },
        }
    }

    /// Writes what became of each that is open, in their order. Those that go on stay open.
    async fn conclude(&mut self, verdicts: Vec<Verdict>) -> Result<(), Error> {
        self.chunk.begun = true;
        let _room = self.invocation.room(self.open.len()).await;
        let writes = self.open.iter().zip(verdicts).map(|(open, verdict)| {
            let key = self.key(&open.recipient);
            let ledger = &self.context.ledger;
            let is_name = conversation_key(&open.recipient).is_none();
            async move {
                Ok::<_, store::Error>(match verdict {
                    Verdict::Ends(outcome) => Ok(ledger.settle_unclaimed(&key, &outcome).await?),
                    // A name has no row of its own to keep a doubt in: its delivery's is its conversation's.
                    Verdict::Waits { doubts: 0, until, .. } if is_name => Err(Some(until)),
                    Verdict::Waits { .. } if is_name => {
                        Ok(ledger.settle_unclaimed(&key, &Outcome::Unknown).await?)
                    }
                    Verdict::Waits { until, why, doubts } => ledger
                        .mark_retryable(&key, until, &why, doubts)
                        .await?
                        .ok_or(Some(until)),
                    Verdict::OneByOne => Err(None),
                })
            }
        });
        let written = join_all(writes)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let mut ended = Vec::new();
        for (open, written) in std::mem::take(&mut self.open).into_iter().zip(written) {
            match written {
                Ok(outcome) => ended.push((open.recipient, outcome)),
                Err(until) => self.open.push(Open {
                    from: until.map_or(open.from, |until| until.max(open.from)),
                    ..open
                }),
            }
        }
        self.count(&ended).await
    }

    /// Another worker was faster.
    fn look_again(&self) -> Onward {
        Onward::Back(later(self.context.clock.now(), LOOK_AGAIN))
    }

    /// The operation is over. That is written down if somebody is left who goes the ordinary way.
    async fn leave(&self, key: &OperationKey, operation: &Operation) -> Result<Onward, Error> {
        if !self.open.is_empty() {
            // Who is faster has written the same, or that it was cancelled, and then it is found to be over once more.
            self.context
                .ledger
                .compare_and_set_batch(key, &operation.at(Stage::Over))
                .await?;
        }
        Ok(Onward::OneByOne)
    }

    /// Takes a permit for one request and waits for its slot; or until when there is none.
    async fn permit(&mut self) -> Result<Result<Permits, Timestamp>, Error> {
        let now = self.context.clock.now();
        let Some(bucket) = self.chunk.bucket.clone() else {
            return Ok(Err(now));
        };
        if let Some(until) = self.invocation.held_until(&bucket, now) {
            return Ok(Err(until));
        }
        let wish = PermitRequest {
            slots: 1,
            total: 1,
            ticket: self.chunk.ticket,
        };
        let limit = self.context.limits.tenant;
        let rule = |pace: &TenantRate| rate_limit::reserve(pace, limit, wish, now);
        let permits = match self.context.ledger.apply(&bucket, rule).await? {
            Reservation::Permits(permits) => permits,
            Reservation::Later { until, ticket, .. } => {
                self.chunk.ticket = ticket;
                return Ok(Err(until));
            }
        };
        // Its turn has come: what follows need not stand in line again.
        self.chunk.ticket.get_or_insert(now);
        self.context.wait_until(permits.slot(0)).await;
        let now = self.context.clock.now();
        Ok(match self.invocation.held_until(&bucket, now) {
            Some(until) => Err(until),
            None if self.invocation.is_late(now) => Err(now),
            None => Ok(permits),
        })
    }
}

fn tell(error: &connector::Error, notification: &NotificationId, what: &'static str) {
    tracing::warn!(
        error_type = "BatchFailed",
        reason = ?error.reason(),
        code = error.code(),
        status = error.status(),
        notification = %notification,
        correlation = error.correlation(),
        "{what}"
    );
}
