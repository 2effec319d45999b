//! Requests to DynamoDB: their number for each operation, and the handling of failures of the wire.

use botframework::activity::Activity;
use botframework::id::UserRef;
use herald::audience::{Audience, Recipient, Target};
use herald::conversation::{ConversationKey, Observation, PersonKey};
use herald::delivery::{
    AttemptLease, Claim, ClaimRequest, DeliveryKey, Guarantee, Outcome, OutcomeCounts, SentMessage,
};
use herald::id::NotificationId;
use herald::notification::{
    ChunkId, ChunkResult, Content, IfNoConversation, IfUnreachable, Notification, Page, PageChunk,
    RevisionCounts, SendMode, StartPolicy, UnreachableCounts,
};
use herald::rate_limit::{self, Bucket, ConversationRate, Limits, PermitRequest, Reservation, TenantRate};
use herald::store::{Acceptance, Error, Idempotency, Ledger, RateLimits, dynamodb};
use serde_json::json;
use tests::database::Database;
use tests::wire::Wire;

use super::at;

mod away;
mod groups;
mod lost;
mod requests;
mod scripted;
mod teams;

async fn wired() -> (Wire, Database) {
    let database = Database::start().await;
    (Wire::to(database.address()).await, database)
}

fn observation() -> Observation {
    let activity = json!({
        "type": "message", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/emea/",
        "from": {"id": "29:ada"}, "recipient": {"id": "28:bot"}, "conversation": {"id": "a:ada"}});
    Observation::from_activity(&Activity::from_slice(activity.to_string().as_bytes()).unwrap()).remove(0)
}

fn key() -> ConversationKey {
    observation().key
}

fn person() -> PersonKey {
    PersonKey {
        channel: "msteams".into(),
        bot: "28:bot".into(),
        tenant: "t".into(),
        person: UserRef::Account("29:ada".into()),
    }
}

/// A member on a roster.
fn member() -> Recipient {
    Recipient::User("user".into())
}

fn tags(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn id() -> NotificationId {
    NotificationId::fresh(at(0), [1; 16])
}

/// The delivery of the notification with this number to one conversation.
fn delivery(number: u8) -> DeliveryKey {
    DeliveryKey::new(
        &NotificationId::fresh(at(0), [number; 16]),
        &Recipient::Conversation(key()),
    )
}

/// Claims at this second, for a minute.
async fn claim(ledger: &dynamodb::Ledger, number: u8, now: i64) -> Claim {
    try_claim(ledger, number, now).await.unwrap()
}

async fn try_claim(ledger: &dynamodb::Ledger, number: u8, now: i64) -> Result<Claim, Error> {
    let delivery = delivery(number);
    let request = ClaimRequest {
        delivery: &delivery,
        revision: 0,
        now: at(now),
        until: at(now + 60),
        spacing: ConversationRate::within(&Limits::teams().conversation),
    };
    ledger.claim(request, &key()).await
}

fn acceptance(idempotency: Option<Idempotency>) -> Acceptance {
    let notification = Notification {
        id: id(),
        accepted_at: at(0),
        caller: "iam:invented".into(),
        schedule: None,
        category: None,
        guarantee: Guarantee::AtLeastOnce,
        way_out: None,
        if_no_conversation: IfNoConversation::Skip,
        mandatory: false,
        subject: None,
        if_unreachable: IfUnreachable::LeaveOut,
        send_mode: SendMode::Individual,
        priority: None,
        deliver_at: None,
        local_time: None,
        has_defaults: false,
        has_rows: false,
        expires_at: at(3_600),
        events: Vec::new(),
        retraction: None,
        start: StartPolicy::Immediate,
        message_bytes: 34,
        segments: 1,
        parts: 1,
        parts_planned: 0,
        matched_parts: std::collections::BTreeSet::new(),
        audience: 0,
        batched: 0,
        in_waves: 0,
        newcomers: 0,
        unreachable: UnreachableCounts::default(),
        chunks: 0,
        chunks_closed: 0,
        counts: OutcomeCounts::default(),
        revision: 0,
        revised_at: None,
        retracted: false,
        chunks_current: 0,
        revision_counts: RevisionCounts::default(),
        refused: None,
        released_at: None,
        cancelled_at: None,
        completed_at: None,
        confirms: None,
        confirmed_as: None,
    };
    let audience = Audience(vec![Target::Everyone.into()]);
    Acceptance {
        notification,
        audience,
        message: Activity::message("hello").into(),
        replacement: None,
        idempotency,
    }
}

fn page() -> Page {
    let chunk = PageChunk {
        fields: Vec::new(),
        bucket: None,
        send_mode: SendMode::Individual,
        wave: None,
        recipients: vec![Recipient::User("user".into())],
    };
    Page {
        chunks: vec![chunk],
        unreachable: UnreachableCounts::default(),
        matched: false,
        next: None,
    }
}

const CHUNK: ChunkId = ChunkId {
    part: 0,
    page: 0,
    index: 0,
};

const DELIVERED: Outcome = Outcome::Delivered(SentMessage {
    activity: None,
    revision: 0,
    attempted_revision: 0,
    supersedes: None,
});

fn result() -> ChunkResult {
    let mut result = ChunkResult::default();
    result.count(&DELIVERED, 0);
    result
}

fn content() -> Content {
    Content::Message(Box::new(Activity::message("new").into()))
}

fn lease(claim: Claim) -> AttemptLease {
    match claim {
        Claim::Acquired(lease) => lease,
        other => panic!("not acquired: {other:?}"),
    }
}

fn first_lease() -> AttemptLease {
    AttemptLease {
        attempt: 1,
        ambiguous_attempts: 0,
        sent: None,
        edits: None,
    }
}

fn bucket() -> Bucket {
    Bucket::of(&key(), Some("t"))
}

async fn reserve(ledger: &dynamodb::Ledger, now: i64) -> Result<Reservation, Error> {
    let wish = PermitRequest {
        slots: 1,
        place: None,
    };
    let limit = Limits::teams().tenant;
    ledger
        .apply(&bucket(), |rate| rate_limit::reserve(rate, limit, wish, at(now)))
        .await
}

async fn read_rate(ledger: &dynamodb::Ledger) -> TenantRate {
    ledger
        .apply(&bucket(), |rate| (rate.clone(), None))
        .await
        .unwrap()
}
