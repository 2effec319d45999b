//! Explains why a notification is not complete: one reason for each open delivery, and when the last one should end.
//!
//! Everything here is pure. [`OpenCounts`] examines a notification's open chunks one by one, with the ledger's rows and the
//! rate limit of their bucket. After all chunks its counts add up to [`Notification::open`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::audience::Recipient;
use crate::batch::{BatchRecord, Stage};
use crate::bot_health::Outage;
use crate::conversation::ConversationKey;
use crate::delivery::{ConversationLease, DeliveryKey, INSTALLING, Row, State, WORKER_DIED};
use crate::notification::{Notification, RetractionKind, Wave, WaveState};
use crate::rate_limit::{Bucket, Limit, QueueClass, TenantRate};
use crate::time::later;

/// The most examples of each reason.
pub const EXAMPLES_MAX: usize = 5;

/// How long the queue hides a message after the lease of its worker has expired: the visibility time-out of the queue less the
/// time-out of the function, by which the lease expires: 540 and 90 seconds in `infra/template.yaml`.
const HIDDEN_AFTER_LEASE: SignedDuration = SignedDuration::from_secs(450);

/// The most rate limits that are shown.
pub const MAX_RATES: usize = 20;

/// Why a delivery is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OpenReason {
    /// The notification is held: its chunks are not enqueued.
    Held,
    /// The notification is a plan that is sent as another notification.
    Confirmed,
    /// The notification's `deliverAt` has not come, where the recipient is.
    Scheduled,
    /// The recipient has quiet hours.
    QuietHours,
    /// Its audience is still being read; the number of missing recipients is not known.
    NotYetPlanned,
    /// Its chunk is in the dead-letter queue.
    DeadLetter,
    /// The bot has no token, or the channel refuses it in every tenant.
    BotOutage,
    /// The tenant's requests are paused.
    TenantPaused,
    /// It is in a batch; the channel reports the result when the batch has ended.
    InBatch,
    /// It may have arrived, and is retried.
    RetryingAmbiguous,
    /// It was refused, for example throttled, and is retried.
    Retrying,
    /// The bot is being installed for the person.
    WaitingForInstall,
    /// It waits in the tenant's queue.
    Queued,
    /// It waits for the tenant's next slot.
    WaitingForPermit,
    /// Its chunk is on the queue or being processed.
    InFlight,
    /// It is about to end without a request: cancelled or expired.
    Ending,
    /// It has ended, and is counted when its chunk has ended or waits for more than 5 seconds.
    Ended,
}

impl OpenReason {
    /// Whether such a delivery will make a request without any intervention.
    fn is_before_a_request(self) -> bool {
        match self {
            Self::TenantPaused
            | Self::RetryingAmbiguous
            | Self::Retrying
            | Self::WaitingForInstall
            | Self::Queued
            | Self::WaitingForPermit
            | Self::InFlight => true,
            Self::Held
            | Self::Confirmed
            | Self::Scheduled
            | Self::QuietHours
            | Self::NotYetPlanned
            | Self::DeadLetter
            | Self::BotOutage
            | Self::InBatch
            | Self::Ending
            | Self::Ended => false,
        }
    }

    /// The reason in a sentence, with the remedy if there is one.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Held => "The notification is held. To send it, repeat the request with its `confirm`.",
            Self::Confirmed => {
                "The plan was confirmed: it is sent as the notification that `confirmedAs` of its status names."
            }
            Self::Scheduled => {
                "It is sent at its `deliverAt`, and after quiet hours if that falls into them."
            }
            Self::QuietHours => "Quiet hours hold it until that time, unless it expires before.",
            Self::NotYetPlanned => {
                "The audience is still being read; the number of missing recipients is not known yet."
            }
            Self::DeadLetter => {
                "It failed too often and is in the dead-letter queue of deliveries. Redrive that queue."
            }
            Self::BotOutage => {
                "The bot has no token, or the channel refuses it in every tenant, with this code. Nothing is lost: it is tried again every minute. Repair the bot's credential or registration."
            }
            Self::TenantPaused => {
                "The tenant refuses the bot with this code. Requests to it resume at that time."
            }
            Self::InBatch => {
                "It is in a batch of the channel, which reports the result when the batch is over. The channel names no time."
            }
            Self::RetryingAmbiguous => "It may have arrived. It is retried as `guarantee` says.",
            Self::Retrying => {
                "The channel or Graph refused the request with this code. It is retried at that time."
            }
            Self::WaitingForInstall => {
                "The bot is being installed for the person. The conversation is looked up again at that time."
            }
            Self::Queued => {
                "It waits in the tenant's queue. The requests of its notification that wait there should be made by that time."
            }
            Self::WaitingForPermit => "It is sent in the tenant's next free slot.",
            Self::InFlight => {
                "It is on the queue or being sent. With the code WorkerDied its sender did not come back, and the queue shows it again by that time."
            }
            Self::Ending => {
                "It will not be sent, because its notification expired or was cancelled, or the channel refuses its message, and is about to end."
            }
            Self::Ended => "It has ended, and counts when the rest of its chunk has.",
        }
    }
}

/// An open chunk of a notification.
#[derive(Clone, Copy, Debug)]
pub struct OpenChunk<'a> {
    /// The rate limit of its requests.
    pub bucket: Option<&'a Bucket>,
    /// Why it is in the dead-letter queue, if it is.
    pub buried: Option<&'a str>,
    /// The state of its batch, if it is in batch mode.
    pub batch: Option<&'a BatchRecord>,
    /// In the order of `rows`.
    pub recipients: &'a [Recipient],
    /// Leases of conversations that may be the recipients'.
    pub leases: &'a HashMap<ConversationKey, ConversationLease>,
    /// The recipients' ledger rows, in their order.
    pub rows: &'a [Option<Row>],
    /// How many of its deliveries have ended and are counted: they are not open.
    pub counted: u64,
    /// Its wave.
    pub wave: Option<Wave>,
    /// When the quiet hours of recipients end that have some now.
    pub quiet: &'a HashMap<ConversationKey, Timestamp>,
}

/// Open deliveries with the same reason and code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Why they are open.
    pub reason: OpenReason,
    /// The channel's error code, or the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The number of deliveries; `None` if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<u64>,
    /// When the last of them is retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Since when the reason holds, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The reason in a sentence.
    pub detail: &'static str,
    /// Up to [`EXAMPLES_MAX`] of them: conversation keys, or the ids of recipients without a conversation.
    pub examples: Vec<String>,
}

/// The rate limit of a bucket, for display.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketRate {
    /// The bucket that the rate limit applies to.
    pub bucket: Bucket,
    /// The bucket's tenant, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The current rate: the limit, or the rate to which a throttled tenant has recovered.
    pub requests_per_second: f64,
    /// The next free slot.
    pub next_slot: Timestamp,
    /// When the tenant's queue will be empty; `None` if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_until: Option<Timestamp>,
    /// The pause, if the tenant is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

/// A pause of all requests to a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// The channel's error code.
    pub code: String,
    /// When the pause ends.
    pub until: Timestamp,
}

/// The counts of a notification's open deliveries.
#[derive(Debug)]
pub struct OpenCounts<'a> {
    notification: &'a Notification,
    outage: Option<&'a Outage>,
    class: QueueClass,
    limit: Limit,
    now: Timestamp,
    groups: BTreeMap<(OpenReason, Option<String>), Group>,
    buckets: BTreeMap<Bucket, BucketCounts>,
    examined: u64,
    latest: Option<Timestamp>,
}

/// The counts of one bucket.
#[derive(Debug)]
struct BucketCounts {
    rate: TenantRate,
    /// Deliveries that will make a request.
    open: u64,
}

/// The reason of one delivery, with its details.
struct Diagnosis {
    reason: OpenReason,
    code: Option<String>,
    until: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl From<OpenReason> for Diagnosis {
    fn from(reason: OpenReason) -> Self {
        Self {
            reason,
            code: None,
            until: None,
            since: None,
        }
    }
}

impl Diagnosis {
    fn until(reason: OpenReason, until: Timestamp) -> Self {
        Self {
            until: Some(until),
            ..reason.into()
        }
    }

    fn coded(reason: OpenReason, code: &str, until: Timestamp) -> Self {
        Self {
            code: Some(code.to_owned()),
            ..Self::until(reason, until)
        }
    }
}

impl<'a> OpenCounts<'a> {
    /// A survey of this notification. `rates` are the rate limits of the buckets in its chunks; a bucket without one has
    /// been idle.
    pub fn new(
        notification: &'a Notification,
        rates: HashMap<Bucket, TenantRate>,
        limit: Limit,
        now: Timestamp,
    ) -> Self {
        let mut survey = Self {
            notification,
            outage: None,
            class: notification.queue_class(),
            limit,
            now,
            groups: BTreeMap::new(),
            buckets: BTreeMap::new(),
            examined: 0,
            latest: None,
        };
        for (bucket, rate) in rates {
            survey.seen(&bucket).rate = rate;
        }
        if notification.parts_planned < notification.parts {
            let verdict = match notification.deliver_at {
                Some(moment) if moment > now => Diagnosis::until(OpenReason::Scheduled, moment),
                Some(_) | None => OpenReason::NotYetPlanned.into(),
            };
            survey.group(verdict);
        }
        survey
    }

    /// Explains deliveries by this outage of the bot, if there is one. Call it before [`examine`](Self::examine).
    #[must_use]
    pub fn during(mut self, outage: Option<&'a Outage>) -> Self {
        self.outage = outage;
        self
    }

    /// Counts the deliveries of an open chunk.
    pub fn examine(&mut self, chunk: OpenChunk<'_>) {
        let rate = chunk.bucket.map(|bucket| self.seen(bucket).rate.clone());
        let hidden_until = self.hidden_until(&chunk);
        let queued_until = rate
            .as_ref()
            .and_then(|rate| rate.flow_end(self.class, self.limit, self.now));
        let none = std::iter::repeat(&None);
        // Deliveries that have ended and are counted are not open.
        let mut counted = chunk.counted;
        for (recipient, row) in chunk.recipients.iter().zip(chunk.rows.iter().chain(none)) {
            let verdict = verdict(
                self.notification,
                &chunk,
                rate.as_ref(),
                (recipient, row.as_ref()),
                queued_until,
                self.now,
            );
            let verdict = match hidden_until {
                Some(until) => hide(verdict, until),
                None => verdict,
            };
            let verdict = self.in_outage(verdict, chunk.bucket);
            if verdict.reason == OpenReason::Ended && counted > 0 {
                counted -= 1;
                continue;
            }
            self.examined += 1;
            if verdict.reason.is_before_a_request() {
                if verdict.reason != OpenReason::Queued {
                    self.latest = self.latest.max(verdict.until);
                }
                if let Some(bucket) = chunk.bucket {
                    let seen = self.seen(bucket);
                    seen.open += 1;
                }
            }
            let group = self.group(verdict);
            *group.deliveries.get_or_insert(0) += 1;
            if group.examples.len() < EXAMPLES_MAX {
                group.examples.push(recipient.name().1);
            }
        }
    }

    /// The number of deliveries counted so far.
    pub fn examined(&self) -> u64 {
        self.examined
    }

    /// The groups, in a stable order.
    pub fn groups(&self) -> Vec<Group> {
        self.groups.values().cloned().collect()
    }

    /// The rate limits of up to [`MAX_RATES`] buckets, those with the most open deliveries.
    pub fn rates(&self) -> Vec<BucketRate> {
        let shown = |(bucket, BucketCounts { rate, .. }): (&Bucket, &BucketCounts)| BucketRate {
            bucket: bucket.clone(),
            tenant: bucket.tenant().map(str::to_owned),
            requests_per_second: rate.requests_per_second(self.limit, self.now),
            next_slot: rate.next_slot.max(self.now),
            line_until: rate.queue_end(self.limit, self.now),
            paused: rate
                .breaker
                .as_ref()
                .filter(|pause| pause.until > self.now)
                .map(|pause| Paused {
                    code: pause.code.clone(),
                    until: pause.until,
                }),
        };
        let mut buckets: Vec<_> = self.buckets.iter().collect();
        buckets.sort_by_key(|(_, seen)| Reverse(seen.open));
        buckets.into_iter().take(MAX_RATES).map(shown).collect()
    }

    /// When the last delivery should end, at the present rates. Deliveries that were not examined are taken to be like
    /// the examined ones. `None` when that depends on an intervention (a confirmation, a redrive), on the channel's
    /// batch, or on an audience that is not read yet.
    pub fn finish(&self) -> Option<Timestamp> {
        let stuck = [
            OpenReason::Held,
            OpenReason::Confirmed,
            OpenReason::NotYetPlanned,
            OpenReason::DeadLetter,
            OpenReason::Scheduled,
            OpenReason::QuietHours,
            OpenReason::InBatch,
            OpenReason::BotOutage,
        ];
        if self.groups.keys().any(|(reason, _)| stuck.contains(reason)) || self.examined == 0 {
            return None;
        }
        let open = self.notification.open().max(self.examined);
        let scaled = |count: u64| {
            let scaled = u128::from(count) * u128::from(open) / u128::from(self.examined);
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        let of_buckets = self.buckets.values().map(|seen| {
            seen.rate
                .finish(self.class, self.limit, scaled(seen.open), self.now)
        });
        let finish = of_buckets.chain(self.latest).max().unwrap_or(self.now);
        // Nothing is sent after the expiry or a retraction, so no delivery stays open for long.
        let retraction = self.notification.pending_retraction();
        let deletion = retraction.filter(|retraction| retraction.kind == RetractionKind::Delete);
        let end = deletion
            .map(|retraction| retraction.at)
            .into_iter()
            .chain([self.notification.expires_at])
            .min()?;
        Some(finish.max(self.now).min(end.max(self.now)))
    }

    /// Until when the queue hides the chunk of a worker that died: its lease on a conversation has expired, and the queue shows
    /// the message again a while later.
    fn hidden_until(&self, chunk: &OpenChunk<'_>) -> Option<Timestamp> {
        let rows = chunk
            .rows
            .iter()
            .map(Option::as_ref)
            .chain(std::iter::repeat(None));
        let expired = chunk.recipients.iter().zip(rows).filter_map(|(recipient, row)| {
            let Recipient::Conversation(key) = recipient else {
                return None;
            };
            let lease = chunk.leases.get(key)?;
            let is_own = lease.holder == DeliveryKey::new(&self.notification.id, recipient);
            (is_own && !lease.is_finished(row) && lease.until <= self.now).then_some(lease.until)
        });
        let until = later(expired.max()?, HIDDEN_AFTER_LEASE);
        (until > self.now).then_some(until)
    }

    /// The verdict during an outage: what would make a request waits for the bot.
    fn in_outage(&self, verdict: Diagnosis, bucket: Option<&Bucket>) -> Diagnosis {
        match self.outage {
            Some(outage) if bucket.is_some() && verdict.reason.is_before_a_request() => Diagnosis {
                code: Some(outage.code.clone()),
                since: Some(outage.since),
                ..OpenReason::BotOutage.into()
            },
            Some(_) | None => verdict,
        }
    }

    fn seen(&mut self, bucket: &Bucket) -> &mut BucketCounts {
        self.buckets
            .entry(bucket.clone())
            .or_insert_with(|| BucketCounts {
                rate: TenantRate::default(),
                open: 0,
            })
    }

    /// The group of this reason and code; its `until` is the latest of its deliveries.
    fn group(&mut self, verdict: Diagnosis) -> &mut Group {
        let key = (verdict.reason, verdict.code.clone());
        let group = self.groups.entry(key).or_insert_with(|| Group {
            reason: verdict.reason,
            code: verdict.code,
            deliveries: None,
            until: None,
            since: None,
            detail: verdict.reason.sentence(),
            examples: Vec::new(),
        });
        group.until = group.until.max(verdict.until);
        group.since = group.since.or(verdict.since);
        group
    }
}

/// The verdict on a delivery whose chunk the queue hides until then.
fn hide(verdict: Diagnosis, until: Timestamp) -> Diagnosis {
    match verdict.reason {
        OpenReason::InFlight | OpenReason::WaitingForPermit | OpenReason::Queued => {
            Diagnosis::coded(OpenReason::InFlight, WORKER_DIED, until)
        }
        OpenReason::Held
        | OpenReason::Scheduled
        | OpenReason::QuietHours
        | OpenReason::NotYetPlanned
        | OpenReason::Confirmed
        | OpenReason::DeadLetter
        | OpenReason::BotOutage
        | OpenReason::TenantPaused
        | OpenReason::InBatch
        | OpenReason::RetryingAmbiguous
        | OpenReason::Retrying
        | OpenReason::WaitingForInstall
        | OpenReason::Ending
        | OpenReason::Ended => verdict,
    }
}

/// The reason of one delivery in an open chunk.
fn verdict(
    notification: &Notification,
    chunk: &OpenChunk<'_>,
    rate: Option<&TenantRate>,
    (recipient, row): (&Recipient, Option<&Row>),
    queued_until: Option<Timestamp>,
    now: Timestamp,
) -> Diagnosis {
    let waiting = match row.map(|row| (&row.state, row.ambiguous_attempts)) {
        Some((State::Settled(_), _)) => return OpenReason::Ended.into(),
        Some((State::Waiting { until, reason }, ambiguous_attempts)) if *until > now => {
            Some((*until, reason.as_str(), ambiguous_attempts))
        }
        Some((State::Waiting { .. }, _)) => None,
        None => match chunk.batch.map(|batch| (&batch.stage, batch.ambiguous_attempts)) {
            Some((Stage::Waiting { until, reason }, ambiguous_attempts)) if *until > now => {
                Some((*until, reason.as_str(), ambiguous_attempts))
            }
            Some(_) | None => None,
        },
    };
    if let Some(reason) = chunk.buried {
        return Diagnosis {
            code: Some(reason.to_owned()),
            ..OpenReason::DeadLetter.into()
        };
    }
    if notification.confirmed_as.is_some() {
        return OpenReason::Confirmed.into();
    }
    if notification.is_held() {
        return OpenReason::Held.into();
    }
    if let Some(moment) = notification.deliver_at.filter(|moment| *moment > now) {
        return Diagnosis::until(OpenReason::Scheduled, moment);
    }
    if let Some(held) = held(notification, chunk, recipient, now) {
        return held;
    }
    if row.is_none()
        && matches!(
            chunk.batch,
            Some(BatchRecord {
                stage: Stage::Submitted(_),
                ..
            })
        )
    {
        return OpenReason::InBatch.into();
    }
    let is_refused = chunk
        .bucket
        .is_some_and(|bucket| notification.refusal(bucket.channel()).is_some());
    if notification.is_stopped() || notification.expires_at <= now || is_refused {
        return OpenReason::Ending.into();
    }
    let Some(rate) = rate else {
        return OpenReason::InFlight.into();
    };
    if let Some(pause) = rate.breaker.as_ref().filter(|pause| pause.until > now) {
        let until = waiting.map_or(pause.until, |(until, ..)| pause.until.max(until));
        return Diagnosis::coded(OpenReason::TenantPaused, &pause.code, until);
    }
    match waiting {
        Some((until, INSTALLING, 0)) => Diagnosis::until(OpenReason::WaitingForInstall, until),
        Some((until, reason, 0)) => Diagnosis::coded(OpenReason::Retrying, reason, until),
        Some((until, reason, _)) => Diagnosis::coded(OpenReason::RetryingAmbiguous, reason, until),
        None => match queued_until {
            Some(until) => Diagnosis::until(OpenReason::Queued, until),
            None if rate.next_slot > now => Diagnosis::until(OpenReason::WaitingForPermit, rate.next_slot),
            None => OpenReason::InFlight.into(),
        },
    }
}

/// Why a delivery waits for its moment, if it does.
fn held(
    notification: &Notification,
    chunk: &OpenChunk<'_>,
    recipient: &Recipient,
    now: Timestamp,
) -> Option<Diagnosis> {
    if notification.is_stopped() || notification.expires_at <= now {
        return None;
    }
    match chunk.wave.map(|wave| (wave.state, wave.due)) {
        Some((WaveState::Cancelled, _)) => return Some(OpenReason::Ending.into()),
        Some((WaveState::Waiting | WaveState::Expired, due)) if due > now => {
            let reason = match notification.local_time {
                Some(_) => OpenReason::Scheduled,
                None => OpenReason::QuietHours,
            };
            return Some(Diagnosis::until(reason, due));
        }
        Some((WaveState::Waiting | WaveState::Expired | WaveState::Begun, _)) | None => {}
    }
    let Recipient::Conversation(key) = recipient else {
        return None;
    };
    let until = chunk.quiet.get(key)?;
    Some(Diagnosis::until(OpenReason::QuietHours, *until))
}

#[cfg(test)]
mod tests;
