//! What a deployment is made of, as one type parameter: the tables, the queues and the event bus.

use std::fmt::Debug;

use crate::event::{self, Events, eventbridge};
use crate::queue::{self, DeadLetterQueue, Queue, sqs};
use crate::store::{Conversations, Ledger, Notifications, RateLimits, Registry, dynamodb, memory};

/// The implementations of the ports that belong together.
pub trait Backend: Debug + Send + Sync + 'static {
    /// Where conversations are stored.
    type Conversations: Conversations + Debug;
    /// Where notifications and their plans are stored.
    type Notifications: Notifications + Debug;
    /// Where deliveries and rate limits are stored.
    type Ledger: Ledger + RateLimits + Debug;
    /// Where small records are stored.
    type Registry: Registry + Debug;
    /// The queues between the functions.
    type Queue: Queue + Debug;
    /// Dead-letter queues that can be redriven.
    type DeadLetters: DeadLetterQueue + Debug;
    /// Where events of notifications are published.
    type Events: Events + Debug;
}

/// The deployed backend: DynamoDB, SQS, EventBridge.
#[derive(Clone, Copy, Debug)]
pub struct Aws;

impl Backend for Aws {
    type Conversations = dynamodb::Conversations;
    type Notifications = dynamodb::Notifications;
    type Ledger = dynamodb::Ledger;
    type Registry = dynamodb::Registry;
    type Queue = sqs::Queue;
    type DeadLetters = sqs::DeadLetters;
    type Events = eventbridge::Bus;
}

/// Everything in memory, for tests and benches.
#[derive(Clone, Copy, Debug)]
pub struct Memory;

impl Backend for Memory {
    type Conversations = memory::Store;
    type Notifications = memory::Store;
    type Ledger = memory::Store;
    type Registry = memory::Store;
    type Queue = queue::memory::Queue;
    type DeadLetters = queue::memory::Queue;
    type Events = event::memory::Events;
}
