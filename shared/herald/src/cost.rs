//! Estimates the AWS cost of a notification from counted requests and capacity at list prices.
//!
//! The usage of a delivery, a chunk and a page is derived in comments. Sizes assume Teams' real ids: a row and a lease below 1 KB,
//! a page of 96 recipients about 15 KB. Logs, traces and data transfer are not included, because they depend on the account.

use serde::Serialize;

use crate::notification::{Notification, PAGE_SIZE};

/// When the prices were looked up.
pub const PRICES_AS_OF: &str = "2026-11";

/// List prices of `us-east-1` in US dollars: on demand, without the free tier.
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    /// DynamoDB, one write unit: an item up to 1 KB.
    pub write_unit: f64,
    /// DynamoDB, one read unit: 4 KB read strongly, or twice that otherwise.
    pub read_unit: f64,
    /// SQS, one request of up to 64 KB.
    pub queue_request: f64,
    /// Lambda on arm64, one GB for a second.
    pub gigabyte_second: f64,
    /// Lambda, one invocation.
    pub invocation: f64,
    /// EventBridge, one event of our own.
    pub event: f64,
    /// EventBridge Scheduler, one schedule's invocation.
    pub schedule: f64,
}

/// The prices of [`PRICES_AS_OF`].
pub const PRICES: Prices = Prices {
    write_unit: 0.625e-6,
    read_unit: 0.125e-6,
    queue_request: 0.40e-6,
    gigabyte_second: 0.000_013_333_4,
    invocation: 0.20e-6,
    event: 1.00e-6,
    schedule: 1.00e-6,
};

/// The usage that AWS bills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// DynamoDB write units.
    pub write_units: f64,
    /// DynamoDB read units.
    pub read_units: f64,
    /// SQS requests.
    pub queue_requests: f64,
    /// Lambda GB-seconds.
    pub gigabyte_seconds: f64,
    /// Lambda invocations.
    pub invocations: f64,
    /// EventBridge events.
    pub events: f64,
    /// Scheduler invocations.
    pub schedules: f64,
}

/// For each delivery in a conversation, without retries.
const DELIVERY: Usage = Usage {
    // The claim and the settle.
    write_units: 2.0,
    // Row and lease before the claim: one unit each, also if the row is absent. The conversation: one unit. The planner's read of
    // the conversation: at most a quarter.
    read_units: 3.25,
    queue_requests: 0.0,
    // A sender of 256 MB that waits for the slots of one tenant at 45 a second.
    gigabyte_seconds: 0.25 / 45.0,
    invocations: 0.0,
    events: 0.0,
    schedules: 0.0,
};

/// For each delivery of a notification with a subject, beside [`DELIVERY`]: the copy of the subject is read and written.
const SUBJECT_COPY: Usage = Usage {
    write_units: 1.0,
    read_units: 1.0,
    queue_requests: 0.0,
    gigabyte_seconds: 0.0,
    invocations: 0.0,
    events: 0.0,
    schedules: 0.0,
};

/// For each chunk of up to 96 recipients.
const CHUNK: Usage = Usage {
    // A transaction, billed double, to close it: its mark and the notification of about 2 KB. Four reservations of permits.
    write_units: 2.0 * (1.0 + 2.0) + 4.0,
    // The notification once a second while it is sent; the tenant's rate with each reservation.
    read_units: 8.0,
    // Sent, received and deleted; twice, since it waits in the tenant's queue once.
    queue_requests: 6.0,
    gigabyte_seconds: 0.0,
    // Twice, for the same reason.
    invocations: 2.0,
    events: 0.0,
    schedules: 0.0,
};

/// For each delivery in batch mode.
const DELIVERY_BY_BATCH: Usage = Usage {
    // The row, when the batch is complete.
    write_units: 1.0,
    // The conversation, and the planner's read of it.
    read_units: 1.25,
    queue_requests: 0.0,
    gigabyte_seconds: 0.0,
    invocations: 0.0,
    events: 0.0,
    schedules: 0.0,
};

/// For each chunk in batch mode. It assumes five polls; Teams documents no duration.
const CHUNK_BY_BATCH: Usage = Usage {
    // Closing it, as above; its batch, twice; a reservation for each of six requests.
    write_units: 2.0 * (1.0 + 2.0) + 2.0 + 6.0,
    // Notification, batch, tenant's rate and closed chunks, each time.
    read_units: 6.0 * 4.0,
    // Sent, received and deleted, each time.
    queue_requests: 6.0 * 3.0,
    // A sender of 256 MB for half a second each time.
    gigabyte_seconds: 0.25 * 0.5 * 6.0,
    invocations: 6.0,
    events: 0.0,
    schedules: 0.0,
};

/// For each page of the plan.
const PAGE: Usage = Usage {
    // A transaction, billed double: the page of about 15 KB and the notification of about 2 KB.
    write_units: 2.0 * (15.0 + 2.0),
    // The notification, the page before, and claimed recipients.
    read_units: 6.0,
    queue_requests: 0.5,
    // A planner of 256 MB for a tenth of a second.
    gigabyte_seconds: 0.025,
    invocations: 0.1,
    events: 0.0,
    schedules: 0.0,
};

/// For each notification: its acceptance, its plan and two events.
const NOTIFICATION: Usage = Usage {
    write_units: 20.0,
    read_units: 20.0,
    queue_requests: 20.0,
    gigabyte_seconds: 0.5,
    invocations: 8.0,
    events: 2.0,
    // For `deliverAt`.
    schedules: 1.0,
};

impl Usage {
    /// The usage of sending the planned part of a notification. The chunks in batch mode are not counted separately, so as many
    /// as possible are assumed, which is the higher cost.
    pub fn of_sending(notification: &Notification) -> Self {
        let Notification {
            audience,
            batched,
            chunks,
            subject,
            ..
        } = notification;
        let of_subject = if subject.is_some() { *audience } else { 0 };
        let one_by_one = audience.saturating_sub(*batched);
        let chunks_by_batch = match batched {
            0 => 0,
            _ => chunks.saturating_sub(one_by_one.div_ceil(PAGE_SIZE as u64)),
        };
        [
            (DELIVERY, one_by_one),
            (SUBJECT_COPY, of_subject),
            (CHUNK, chunks.saturating_sub(chunks_by_batch)),
            (DELIVERY_BY_BATCH, *batched),
            (CHUNK_BY_BATCH, chunks_by_batch),
            (PAGE, audience.div_ceil(PAGE_SIZE as u64)),
            (NOTIFICATION, 1),
        ]
        .into_iter()
        .fold(Self::default(), |sum, (usage, times)| {
            sum.plus(usage, f64_of(times))
        })
    }

    /// The cost at these prices, in US dollars.
    pub fn dollars(&self, prices: &Prices) -> f64 {
        self.write_units * prices.write_unit
            + self.read_units * prices.read_unit
            + self.queue_requests * prices.queue_request
            + self.gigabyte_seconds * prices.gigabyte_second
            + self.invocations * prices.invocation
            + self.events * prices.event
            + self.schedules * prices.schedule
    }

    /// This and so many times the other.
    #[must_use]
    pub fn plus(self, usage: Self, times: f64) -> Self {
        let sum = |mine: f64, theirs: f64| theirs.mul_add(times, mine);
        Self {
            write_units: sum(self.write_units, usage.write_units),
            read_units: sum(self.read_units, usage.read_units),
            queue_requests: sum(self.queue_requests, usage.queue_requests),
            gigabyte_seconds: sum(self.gigabyte_seconds, usage.gigabyte_seconds),
            invocations: sum(self.invocations, usage.invocations),
            events: sum(self.events, usage.events),
            schedules: sum(self.schedules, usage.schedules),
        }
    }
}

/// An `f64` counts exactly to 2^53.
#[allow(clippy::cast_precision_loss)]
fn f64_of(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::id::NotificationId;
    use crate::notification::StartPolicy;
    use crate::notification::request::Request;

    fn usage(audience: u64, batched: u64, chunks: u64) -> Usage {
        let body = serde_json::json!({"audience": {"everyone": true}, "message": {"text": "hello"}});
        let request = Request::parse(&body.into(), Timestamp::UNIX_EPOCH).unwrap();
        let id = NotificationId::fresh(Timestamp::UNIX_EPOCH, [0; 16]);
        let nobody = "nobody".to_owned();
        let notification =
            Notification::begin(id, Timestamp::UNIX_EPOCH, nobody, &request, StartPolicy::DryRun);
        Usage::of_sending(&Notification {
            audience,
            batched,
            chunks,
            ..notification
        })
    }

    #[test]
    fn a_subject_costs_three_quarters_of_a_dollar_for_a_million() {
        let million = Usage::default().plus(SUBJECT_COPY, 1e6).dollars(&PRICES);
        assert!((million - 0.75).abs() < 1e-9, "{million}");
    }

    fn dollars(deliveries: u64, chunks: u64) -> f64 {
        usage(deliveries, 0, chunks).dollars(&PRICES)
    }

    #[test]
    fn a_million_in_one_tenant_costs_less_than_two_dollars_and_a_half() {
        let million = dollars(1_000_000, 10_417);
        assert!((1.25..2.5).contains(&million), "{million}");
    }

    #[test]
    fn what_is_small_costs_next_to_nothing_and_more_costs_more() {
        assert!(dollars(1, 1) < 0.001);
        assert!(dollars(2000, 21) > dollars(1000, 11));
        assert!(
            dollars(1000, 1000) > dollars(1000, 11),
            "a thousand tenants are a thousand chunks"
        );
    }

    #[test]
    fn by_batch_a_million_costs_less_and_small_lists_cost_more() {
        let batch = |chunks| usage(1_000_000, 1_000_000, chunks).dollars(&PRICES);
        assert!(batch(10_417) < dollars(1_000_000, 10_417));
        assert!(batch(200_000) > dollars(1_000_000, 10_417));
        // Half of them go the ordinary way, in chunks that are full.
        let half = usage(192, 96, 2);
        let expected = [DELIVERY, DELIVERY_BY_BATCH].map(|usage| 96.0 * usage.write_units);
        let chunks = CHUNK.write_units + CHUNK_BY_BATCH.write_units + 2.0 * PAGE.write_units;
        let expected = expected.iter().sum::<f64>() + chunks + NOTIFICATION.write_units;
        assert!((half.write_units - expected).abs() < 1e-9);
    }

    #[test]
    fn usage_adds_up_by_kind() {
        let (one, none) = (usage(1, 0, 1), usage(0, 0, 0));
        assert_eq!(none, NOTIFICATION);
        let more = DELIVERY.write_units + CHUNK.write_units + PAGE.write_units;
        assert!((one.write_units - none.write_units - more).abs() < 1e-9);
    }
}
