//! The gate through which every request to a tenant passes: permits, 429s and the circuit breaker, for one invocation.
//!
//! The shared state is the [`TenantRate`] in the store. The gate adds the state that tasks of one invocation share
//! without a read: buckets on hold after a 429, and a pause of the whole bot while its token is rejected.
//!
//! Sender and planner each make one for an invocation:
//!
//! ```text
//! let gate = TenantGate::new(&ledger, &limits, &clock);
//! match gate.acquire(&bucket).await? {
//!     Admission::Granted(_) => …one request…,       a 429: gate.throttle(&bucket, retry_after).await?
//!     Admission::Later(until) => …ask again then…,
//! }
//! ```
//!
//! # Errors
//! Methods fail when the table of rate limits is unavailable; no request may be made then.

#![allow(clippy::missing_errors_doc, reason = "the module says it once")]

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::rate_limit::{
    self, Bucket, Limits, PermitRequest, Permits, QueueClass, QueuePlace, Reservation, TenantRate, Ticket,
};
use crate::store::{Error, RateLimits};
use crate::telemetry::{self, Metric};
use crate::time::later;

/// The gate of one invocation.
#[derive(Debug)]
pub struct TenantGate<'a, P> {
    rates: &'a P,
    limits: &'a Limits,
    clock: &'a Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Permits of these buckets are void until then.
    holds: HashMap<Bucket, Timestamp>,
    /// Buckets with failures that the breaker counts.
    suspects: HashSet<Bucket>,
    /// No request of the bot is made until then.
    bot_paused_until: Option<Timestamp>,
}

/// Whether a request may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The request may be made, at these moments.
    Granted(Permits),
    /// It may not; ask again then.
    Later(Timestamp),
}

impl<'a, P: RateLimits> TenantGate<'a, P> {
    /// A gate without holds.
    pub fn new(rates: &'a P, limits: &'a Limits, clock: &'a Clock) -> Self {
        Self {
            rates,
            limits,
            clock,
            state: Mutex::default(),
        }
    }

    /// Reserves a permit for one request that continues what is under way, and waits for its slot.
    pub async fn acquire(&self, bucket: &Bucket) -> Result<Admission, Error> {
        let admission = self.reserve_for(bucket, 1, None).await?.0;
        self.slept(bucket, admission).await
    }

    /// Reserves a permit for one request in its queue, and waits for its slot. `ticket` is the caller's place there, which may
    /// be set or changed.
    pub async fn acquire_in_turn(
        &self,
        bucket: &Bucket,
        class: QueueClass,
        ticket: &mut Option<Ticket>,
    ) -> Result<Admission, Error> {
        let admission = self.reserve(bucket, class, 1, 1, ticket).await?;
        self.slept(bucket, admission).await
    }

    /// Reserves up to `slots` permits of `total` that the caller will need, without waiting for their slots: the caller sleeps
    /// until each and then checks [`held_until`](Self::held_until).
    pub async fn reserve(
        &self,
        bucket: &Bucket,
        class: QueueClass,
        slots: u32,
        total: u32,
        ticket: &mut Option<Ticket>,
    ) -> Result<Admission, Error> {
        let place = QueuePlace {
            class,
            total,
            ticket: *ticket,
        };
        let (admission, issued) = self.reserve_for(bucket, slots, Some(place)).await?;
        *ticket = issued;
        Ok(admission)
    }

    async fn reserve_for(
        &self,
        bucket: &Bucket,
        slots: u32,
        place: Option<QueuePlace>,
    ) -> Result<(Admission, Option<Ticket>), Error> {
        let shown = place.and_then(|place| place.ticket);
        if let Some(until) = self.held_until(bucket) {
            return Ok((Admission::Later(until), shown));
        }
        let now = self.clock.now();
        let limit = self.limits.of(bucket);
        let request = PermitRequest { slots, place };
        let rule = |rate: &TenantRate| rate_limit::reserve(rate, limit, request, now);
        Ok(match self.rates.apply(bucket, rule).await? {
            Reservation::Permits { permits, ticket } => (Admission::Granted(permits), ticket),
            Reservation::Later { until, ticket, .. } => (Admission::Later(until), ticket),
        })
    }

    /// Waits for the slot of a single request.
    async fn slept(&self, bucket: &Bucket, admission: Admission) -> Result<Admission, Error> {
        let Admission::Granted(permits) = admission else {
            return Ok(admission);
        };
        self.clock.sleep_until(permits.slot(0)).await;
        // The permit is void if the bucket was throttled meanwhile.
        Ok(self.held_until(bucket).map_or(admission, Admission::Later))
    }

    /// Slows the bucket down after a 429, and holds it for its `Retry-After`.
    pub async fn throttle(&self, bucket: &Bucket, retry_after: Option<SignedDuration>) -> Result<(), Error> {
        let (now, limit) = (self.clock.now(), self.limits.of(bucket));
        telemetry::count(Metric::Throttled);
        if let Some(wait) = retry_after {
            self.hold(bucket, later(now, wait));
        }
        let rule = |rate: &TenantRate| ((), Some(rate_limit::throttle(rate, limit, retry_after, now)));
        self.rates.apply(bucket, rule).await
    }

    /// Counts a refusal that may concern the whole tenant. Returns when the circuit breaker closes, if it is open.
    pub async fn record_failure(&self, bucket: &Bucket, code: &str) -> Result<Option<Timestamp>, Error> {
        let rule = |rate: &TenantRate, now| Some(rate_limit::record_failure(rate, code, now));
        self.apply_failure(bucket, code, rule).await
    }

    /// Counts another refusal of the same conversation, if others were refused, too.
    pub async fn repeat_failure(&self, bucket: &Bucket, code: &str) -> Result<Option<Timestamp>, Error> {
        let rule = |rate: &TenantRate, now| rate_limit::repeat_failure(rate, code, now);
        self.apply_failure(bucket, code, rule).await
    }

    async fn apply_failure(
        &self,
        bucket: &Bucket,
        code: &str,
        count: impl Fn(&TenantRate, Timestamp) -> Option<TenantRate> + Send + Sync,
    ) -> Result<Option<Timestamp>, Error> {
        let now = self.clock.now();
        let rule = |rate: &TenantRate| {
            let new = count(rate, now);
            let breaker = new.as_ref().unwrap_or(rate).breaker.clone();
            (breaker, new)
        };
        let breaker = self.rates.apply(bucket, rule).await?;
        self.state().suspects.insert(bucket.clone());
        let until = breaker.map(|breaker| breaker.until).filter(|until| *until > now);
        if let Some(until) = until {
            tracing::error!(
                error_type = "TenantPaused",
                tenant = bucket.tenant(),
                code,
                "circuit breaker open: several conversations of the tenant were refused"
            );
            self.hold(bucket, until);
        }
        Ok(until)
    }

    /// Resets the circuit breaker after a delivery. Writes nothing unless `permits`, or a failure of this invocation, say that
    /// failures were counted.
    pub async fn record_success(&self, bucket: &Bucket, permits: Option<Permits>) -> Result<(), Error> {
        let is_suspect = self.state().suspects.remove(bucket);
        if is_suspect || permits.is_some_and(|permits| permits.is_suspect()) {
            let rule = |rate: &TenantRate| ((), rate_limit::record_success(rate));
            self.rates.apply(bucket, rule).await?;
        }
        Ok(())
    }
}

impl<P> TenantGate<'_, P> {
    /// Makes no request to this bucket before `until`.
    pub fn hold(&self, bucket: &Bucket, until: Timestamp) {
        let mut state = self.state();
        let hold = state.holds.entry(bucket.clone()).or_insert(until);
        *hold = until.max(*hold);
    }

    /// Counts a failure that was recorded elsewhere: the next delivery is reported by [`record_success`](Self::record_success).
    pub fn suspect(&self, bucket: &Bucket) {
        self.state().suspects.insert(bucket.clone());
    }

    /// Until when this bucket is on hold.
    pub fn held_until(&self, bucket: &Bucket) -> Option<Timestamp> {
        let now = self.clock.now();
        self.state()
            .holds
            .get(bucket)
            .copied()
            .filter(|until| *until > now)
    }

    /// Pauses the whole bot, unless it is paused already. Returns the end of the pause. `log` is called once for each pause.
    pub fn pause_bot(&self, until: Timestamp, log: impl FnOnce()) -> Timestamp {
        let now = self.clock.now();
        let mut state = self.state();
        match state.bot_paused_until {
            Some(paused_until) if paused_until > now => paused_until,
            Some(_) | None => {
                log();
                state.bot_paused_until = Some(until);
                until
            }
        }
    }

    /// Until when the whole bot is paused.
    pub fn bot_paused_until(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        self.state().bot_paused_until.filter(|until| *until > now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
