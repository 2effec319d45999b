//! Why a notification is not finished: each open delivery under one reason, and when the last of them should be over.
//!
//! Everything here is pure. A [`Survey`] is told of a notification's open chunks one by one, with the ledger's rows and
//! the pace of their bucket, and sums up. Once it was told of all of them, its reasons add up to
//! [`Notification::open`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use crate::audience::Recipient;
use crate::delivery::{INSTALLING, Row, State};
use crate::notification::Notification;
use crate::operation::{Operation, Stage};
use crate::rate_limit::{Bucket, Limit, MAX_LOOKAHEAD, TenantRate};

/// How many deliveries are named for each reason.
pub const EXAMPLES_MAX: usize = 5;

/// How many paces are shown.
pub const PACES_MAX: usize = 20;

/// Why a delivery is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// The notification is held: nothing of it is sent.
    Held,
    /// The notification's time has not come.
    Scheduled,
    /// Its audience is still being read; how many are missing nobody knows yet.
    NotYetPlanned,
    /// It is in the dead-letter queue.
    DeadLetter,
    /// Its tenant is paused.
    TenantPaused,
    /// The channel has it in an operation of its batch API, and tells what became of it when that is over.
    InBatch,
    /// It may have arrived, nobody knows, and it is tried again.
    InDoubt,
    /// It was refused, throttled for example, and is tried again.
    Retrying,
    /// The bot is being installed for its person.
    WaitingForInstall,
    /// It stands in its tenant's line.
    InLine,
    /// Its tenant's next slot is a moment away.
    WaitingForPermit,
    /// It is on the queue, or being sent.
    InFlight,
    /// It is not to be sent any more, and about to be ended.
    Ending,
    /// It has ended, and is counted when the rest of its chunk has.
    Ended,
}

impl Reason {
    /// Whether such a delivery is still to be sent, and goes on by itself.
    fn is_before_a_request(self) -> bool {
        match self {
            Self::TenantPaused
            | Self::InDoubt
            | Self::Retrying
            | Self::WaitingForInstall
            | Self::InLine
            | Self::WaitingForPermit
            | Self::InFlight => true,
            Self::Held
            | Self::Scheduled
            | Self::NotYetPlanned
            | Self::DeadLetter
            | Self::InBatch
            | Self::Ending
            | Self::Ended => false,
        }
    }

    /// The reason in a sentence, which says what to do if there is something.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Held => "Nothing of it is sent unless it is asked for again with its `confirm`.",
            Self::Scheduled => "It is sent from its `deliverAt` on.",
            Self::NotYetPlanned => "The audience is still being read; how many are missing is not known yet.",
            Self::DeadLetter => {
                "It failed too often and is in the dead-letter queue of deliveries: redrive that queue."
            }
            Self::TenantPaused => {
                "Its tenant refuses the bot, as the code says, and is tried again at that time."
            }
            Self::InBatch => {
                "The channel has it in a batch, and tells what became of it when that is over, whenever that is."
            }
            Self::InDoubt => {
                "It may have arrived, which nobody can know, and is tried again as `onUnknown` says."
            }
            Self::Retrying => {
                "The channel, or Graph, could not take it, as the code says, and it is tried again at that time."
            }
            Self::WaitingForInstall => {
                "The bot is being installed for them; their conversation is looked for again at that time."
            }
            Self::InLine => "It stands in its tenant's line, which ends by that time.",
            Self::WaitingForPermit => "It is sent in its tenant's next free slot.",
            Self::InFlight => "It is on the queue, or being sent.",
            Self::Ending => "It is not to be sent any more, and about to be ended.",
            Self::Ended => "It has ended, and is counted when the rest of its chunk has.",
        }
    }
}

/// A chunk of a notification that is not closed.
#[derive(Clone, Copy, Debug)]
pub struct OpenChunk<'a> {
    /// Whose pace its requests are made at.
    pub bucket: Option<&'a Bucket>,
    /// Why it is in the dead-letter queue, if it is.
    pub buried: Option<&'a str>,
    /// How far its operation is, if it goes by batch.
    pub operation: Option<&'a Operation>,
    /// Its recipients.
    pub recipients: &'a [Recipient],
    /// The ledger's rows of them, in their order.
    pub rows: &'a [Option<Row>],
}

/// The open deliveries that share a reason and its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Why they are open.
    pub reason: Reason,
    /// The channel's code, or what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How many; none where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<u64>,
    /// When the last of them goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The reason in a sentence.
    pub detail: &'static str,
    /// Some of them: conversations, or names that lead to none.
    pub examples: Vec<String>,
}

/// The pace of a bucket, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketPace {
    /// Whose.
    pub bucket: Bucket,
    /// The tenant, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it is sent at: the limit, or what a throttled tenant has recovered to.
    pub requests_per_second: f64,
    /// The next free slot.
    pub next_slot: Timestamp,
    /// When everything that stands in line will have been sent, if something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_until: Option<Timestamp>,
    /// Why nothing is sent at all, if that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
}

/// A tenant to which nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paused {
    /// The channel's code.
    pub code: String,
    /// Until when.
    pub until: Timestamp,
}

/// What was seen of a notification's open deliveries.
#[derive(Debug)]
pub struct Survey<'a> {
    notification: &'a Notification,
    limit: Limit,
    now: Timestamp,
    groups: BTreeMap<(Reason, Option<String>), Group>,
    buckets: BTreeMap<Bucket, Seen>,
    examined: u64,
    latest: Option<Timestamp>,
}

/// What was seen of one bucket.
#[derive(Debug)]
struct Seen {
    pace: TenantRate,
    /// Deliveries that are still to be sent.
    open: u64,
    /// Of them, those that stand in its line already.
    in_line: u64,
}

/// One delivery's reason, with what there is to say of it.
struct Verdict {
    reason: Reason,
    code: Option<String>,
    until: Option<Timestamp>,
}

impl From<Reason> for Verdict {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            code: None,
            until: None,
        }
    }
}

impl Verdict {
    fn until(reason: Reason, until: Timestamp) -> Self {
        Self {
            until: Some(until),
            ..reason.into()
        }
    }

    fn coded(reason: Reason, code: &str, until: Timestamp) -> Self {
        Self {
            code: Some(code.to_owned()),
            ..Self::until(reason, until)
        }
    }
}

impl<'a> Survey<'a> {
    /// A survey of this notification. `paces` are those of the buckets in the chunks it will be told of; a bucket that is
    /// not among them has been idle.
    pub fn new(
        notification: &'a Notification,
        paces: HashMap<Bucket, TenantRate>,
        limit: Limit,
        now: Timestamp,
    ) -> Self {
        let mut survey = Self {
            notification,
            limit,
            now,
            groups: BTreeMap::new(),
            buckets: BTreeMap::new(),
            examined: 0,
            latest: None,
        };
        for (bucket, pace) in paces {
            survey.seen(&bucket).pace = pace;
        }
        if notification.parts_planned < notification.parts {
            let verdict = match notification.deliver_at {
                Some(moment) if moment > now => Verdict::until(Reason::Scheduled, moment),
                Some(_) | None => Reason::NotYetPlanned.into(),
            };
            survey.group(verdict);
        }
        survey
    }

    /// Counts the deliveries of one more chunk.
    pub fn examine(&mut self, chunk: OpenChunk<'_>) {
        let pace = chunk.bucket.map(|bucket| self.seen(bucket).pace.clone());
        let none = std::iter::repeat(&None);
        for (recipient, row) in chunk.recipients.iter().zip(chunk.rows.iter().chain(none)) {
            let verdict = verdict(self.notification, &chunk, pace.as_ref(), row.as_ref(), self.now);
            self.examined += 1;
            if verdict.reason.is_before_a_request() {
                self.latest = self.latest.max(verdict.until);
                if let Some(bucket) = chunk.bucket {
                    let seen = self.seen(bucket);
                    seen.open += 1;
                    seen.in_line += u64::from(verdict.reason == Reason::InLine);
                }
            }
            let group = self.group(verdict);
            *group.deliveries.get_or_insert(0) += 1;
            if group.examples.len() < EXAMPLES_MAX {
                group.examples.push(recipient.name().1);
            }
        }
    }

    /// How many deliveries were looked at.
    pub fn examined(&self) -> u64 {
        self.examined
    }

    /// Why they are open, in an order that does not change.
    pub fn groups(&self) -> Vec<Group> {
        self.groups.values().cloned().collect()
    }

    /// The paces of the buckets that were seen: of those that have most left to send, [`PACES_MAX`].
    pub fn paces(&self) -> Vec<BucketPace> {
        let shown = |(bucket, Seen { pace, .. }): (&Bucket, &Seen)| BucketPace {
            bucket: bucket.clone(),
            tenant: bucket.tenant().map(str::to_owned),
            requests_per_second: pace.requests_per_second(self.limit, self.now),
            next_slot: pace.next_slot.max(self.now),
            line_until: Some(pace.queue_end).filter(|line| *line > self.now),
            paused: pace
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
        buckets.into_iter().take(PACES_MAX).map(shown).collect()
    }

    /// When the last delivery should be over, as things stand. Those that were not looked at are taken to be like those that
    /// were. `None` when that depends on somebody (it is held, or dead letters wait to be redriven, or the channel has a
    /// batch), or on an audience that is not read yet.
    pub fn finish(&self) -> Option<Timestamp> {
        let stuck = [
            Reason::Held,
            Reason::NotYetPlanned,
            Reason::DeadLetter,
            Reason::Scheduled,
            Reason::InBatch,
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
            // Those that stand in line are in the pace's own reckoning already; the others come after it. A slowed
            // tenant is behind its line, and takes as long as all of them take at its rate.
            let after_line = scaled(seen.open - seen.in_line);
            let no_line = TenantRate {
                queue_end: Timestamp::default(),
                ..seen.pace.clone()
            };
            let by_line = seen.pace.finish(self.limit, after_line, self.now);
            by_line.max(no_line.finish(self.limit, scaled(seen.open), self.now))
        });
        let finish = of_buckets.chain(self.latest).max().unwrap_or(self.now);
        // From its expiry on nothing is sent, so that nothing is open for long.
        Some(
            finish
                .max(self.now)
                .min(self.notification.expires_at.max(self.now)),
        )
    }

    fn seen(&mut self, bucket: &Bucket) -> &mut Seen {
        self.buckets.entry(bucket.clone()).or_insert_with(|| Seen {
            pace: TenantRate::default(),
            open: 0,
            in_line: 0,
        })
    }

    /// The group of this reason and code, which waits until the last of its deliveries does.
    fn group(&mut self, verdict: Verdict) -> &mut Group {
        let key = (verdict.reason, verdict.code.clone());
        let group = self.groups.entry(key).or_insert_with(|| Group {
            reason: verdict.reason,
            code: verdict.code,
            deliveries: None,
            until: None,
            detail: verdict.reason.sentence(),
            examples: Vec::new(),
        });
        group.until = group.until.max(verdict.until);
        group
    }
}

/// Why one delivery of a chunk that is not closed is open.
fn verdict(
    notification: &Notification,
    chunk: &OpenChunk<'_>,
    pace: Option<&TenantRate>,
    row: Option<&Row>,
    now: Timestamp,
) -> Verdict {
    let waiting = match row.map(|row| (&row.state, row.doubts)) {
        Some((State::Settled(_), _)) => return Reason::Ended.into(),
        Some((State::Waiting { until, why }, doubts)) if *until > now => Some((*until, why.as_str(), doubts)),
        Some((State::Waiting { .. }, _)) => None,
        None => match chunk
            .operation
            .map(|operation| (&operation.stage, operation.doubts))
        {
            Some((Stage::Waiting { until, why }, doubts)) if *until > now => {
                Some((*until, why.as_str(), doubts))
            }
            Some(_) | None => None,
        },
    };
    if let Some(why) = chunk.buried {
        return Verdict {
            code: Some(why.to_owned()),
            ..Reason::DeadLetter.into()
        };
    }
    if notification.is_held() {
        return Reason::Held.into();
    }
    if let Some(moment) = notification.deliver_at.filter(|moment| *moment > now) {
        return Verdict::until(Reason::Scheduled, moment);
    }
    if row.is_none()
        && matches!(
            chunk.operation,
            Some(Operation {
                stage: Stage::Submitted(_),
                ..
            })
        )
    {
        return Reason::InBatch.into();
    }
    if notification.is_stopped() || notification.expires_at <= now {
        return Reason::Ending.into();
    }
    let Some(pace) = pace else {
        return Reason::InFlight.into();
    };
    if let Some(pause) = pace.breaker.as_ref().filter(|pause| pause.until > now) {
        let until = waiting.map_or(pause.until, |(until, ..)| pause.until.max(until));
        return Verdict::coded(Reason::TenantPaused, &pause.code, until);
    }
    match waiting {
        Some((until, INSTALLING, 0)) => Verdict::until(Reason::WaitingForInstall, until),
        Some((until, why, 0)) => Verdict::coded(Reason::Retrying, why, until),
        Some((until, why, _)) => Verdict::coded(Reason::InDoubt, why, until),
        None if pace.queue_end.duration_since(now) > MAX_LOOKAHEAD => {
            Verdict::until(Reason::InLine, pace.queue_end)
        }
        None if pace.next_slot > now => Verdict::until(Reason::WaitingForPermit, pace.next_slot),
        None => Reason::InFlight.into(),
    }
}

#[cfg(test)]
mod tests;
