//! What a notification will cost at AWS, by counted requests and capacity at list price.
//!
//! [`Prices`] stand in one place, with their date; how often each is paid for a delivery, a chunk and a page stands beside
//! them with the reason. Message sizes are those of Teams' real ids: a row and a turn below 1 KB, a page of 96 recipients
//! about 15 KB. Logs, traces and data transfer, which depend on settings of the account, are not in it.

use serde::Serialize;

use crate::notification::{Notification, PAGE_SIZE};

/// When the prices were looked up.
pub const PRICES_AS_OF: &str = "2026-11";

/// US dollars, by what is paid for: list prices of `us-east-1`, on demand, without the free tier.
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

/// The prices.
pub const PRICES: Prices = Prices {
    write_unit: 0.625e-6,
    read_unit: 0.125e-6,
    queue_request: 0.40e-6,
    gigabyte_second: 0.000_013_333_4,
    invocation: 0.20e-6,
    event: 1.00e-6,
    schedule: 1.00e-6,
};

/// What is used, of each thing that is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// DynamoDB's write units.
    pub write_units: f64,
    /// DynamoDB's read units.
    pub read_units: f64,
    /// SQS' requests.
    pub queue_requests: f64,
    /// Lambda's GB-seconds.
    pub gigabyte_seconds: f64,
    /// Lambda's invocations.
    pub invocations: f64,
    /// EventBridge's events.
    pub events: f64,
    /// Scheduler's schedules.
    pub schedules: f64,
}

/// For each delivery that goes well.
const DELIVERY: Usage = Usage {
    // The turn is taken, the row is settled.
    write_units: 2.0,
    // Row and turn are read together before the claim, an absent row for as much as a present one: one unit each. The
    // conversation is read with its chunk, another one. The planner reads it in an index or the table: a quarter at most.
    read_units: 3.25,
    queue_requests: 0.0,
    // A sender of 256 MB that does nothing but wait for the slots of one tenant at 45 a second.
    gigabyte_seconds: 0.25 / 45.0,
    invocations: 0.0,
    events: 0.0,
    schedules: 0.0,
};

/// For each chunk.
const CHUNK: Usage = Usage {
    // Closing it is a transaction, which counts double: its mark, and the head of about 2 KB. Four reservations of slots.
    write_units: 2.0 * (1.0 + 2.0) + 4.0,
    // The head once a second while it is sent; the pace with each reservation.
    read_units: 8.0,
    // Sent, received and deleted, alone; and once more, when it has stood in line.
    queue_requests: 6.0,
    gigabyte_seconds: 0.0,
    // Twice for the same reason.
    invocations: 2.0,
    events: 0.0,
    schedules: 0.0,
};

/// For each delivery that goes by batch.
const DELIVERY_BY_BATCH: Usage = Usage {
    // The row, once the operation is over.
    write_units: 1.0,
    // The conversation, before it; and the planner's part.
    read_units: 1.25,
    queue_requests: 0.0,
    gigabyte_seconds: 0.0,
    invocations: 0.0,
    events: 0.0,
    schedules: 0.0,
};

/// For each chunk that goes by batch, and is asked for five times: how long Teams takes is not known.
const CHUNK_BY_BATCH: Usage = Usage {
    // Closing it, as above; its operation, twice; a reservation for each of six requests.
    write_units: 2.0 * (1.0 + 2.0) + 2.0 + 6.0,
    // Head, operation, pace and the chunks that are closed, each time.
    read_units: 6.0 * 4.0,
    // Sent, received and deleted, alone, each time.
    queue_requests: 6.0 * 3.0,
    // A sender of 256 MB for half a second each time, most of which it waits.
    gigabyte_seconds: 0.25 * 0.5 * 6.0,
    invocations: 6.0,
    events: 0.0,
    schedules: 0.0,
};

/// For each page of the plan.
const PAGE: Usage = Usage {
    // A transaction, which counts double: the page of about 15 KB, and the head of about 2 KB.
    write_units: 2.0 * (15.0 + 2.0),
    // The head, the page before, and what tells chunks from each other.
    read_units: 6.0,
    queue_requests: 0.5,
    // A planner of 256 MB needs a tenth of a second for a page.
    gigabyte_seconds: 0.025,
    invocations: 0.1,
    events: 0.0,
    schedules: 0.0,
};

/// Once: it is accepted, planned, told of when it is accepted and when it is complete.
const NOTIFICATION: Usage = Usage {
    write_units: 20.0,
    read_units: 20.0,
    queue_requests: 20.0,
    gigabyte_seconds: 0.5,
    invocations: 8.0,
    events: 2.0,
    // If it was asked for in advance.
    schedules: 1.0,
};

impl Usage {
    /// What is used to send this notification, as far as it is planned. Of chunks that cannot be told apart any more, as many
    /// as can be go by batch, which is the dearer way for a chunk.
    pub fn to_send(notification: &Notification) -> Self {
        let Notification {
            audience,
            batched,
            chunks,
            ..
        } = notification;
        let one_by_one = audience.saturating_sub(*batched);
        let chunks_by_batch = match batched {
            0 => 0,
            _ => chunks.saturating_sub(one_by_one.div_ceil(PAGE_SIZE as u64)),
        };
        [
            (DELIVERY, one_by_one),
            (CHUNK, chunks.saturating_sub(chunks_by_batch)),
            (DELIVERY_BY_BATCH, *batched),
            (CHUNK_BY_BATCH, chunks_by_batch),
            (PAGE, audience.div_ceil(PAGE_SIZE as u64)),
            (NOTIFICATION, 1),
        ]
        .into_iter()
        .fold(Self::default(), |sum, (usage, times)| sum.plus(usage, times))
    }

    /// In US dollars.
    pub fn dollars(&self, prices: &Prices) -> f64 {
        self.write_units * prices.write_unit
            + self.read_units * prices.read_unit
            + self.queue_requests * prices.queue_request
            + self.gigabyte_seconds * prices.gigabyte_second
            + self.invocations * prices.invocation
            + self.events * prices.event
            + self.schedules * prices.schedule
    }

    fn plus(self, usage: Self, times: u64) -> Self {
        // No audience comes near what a double counts exactly.
        #[allow(clippy::cast_precision_loss)]
        let times = times as f64;
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::id::NotificationId;
    use crate::notification::StartPolicy;
    use crate::notification::request::Request;

    fn usage(audience: u64, batched: u64, chunks: u64) -> Usage {
        let body = serde_json::json!({"audience": {"everyone": true}, "message": {"text": "hello"}});
        let request = Request::parse(&body, Timestamp::UNIX_EPOCH).unwrap();
        let id = NotificationId::fresh(Timestamp::UNIX_EPOCH, [0; 16]);
        let nobody = "nobody".to_owned();
        let notification =
            Notification::begin(id, Timestamp::UNIX_EPOCH, nobody, &request, StartPolicy::DryRun);
        Usage::to_send(&Notification {
            audience,
            batched,
            chunks,
            ..notification
        })
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
