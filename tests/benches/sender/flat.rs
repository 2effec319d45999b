//! The memory test: planner and sender over tables that generate their data and store nothing, so that resident memory is
//! theirs.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use botframework::connector::Connector;
use botframework::http::{ResponseFuture, Transport};
use botframework::id::{ChannelAccountId, UserRef};
use bytes::Bytes;
use herald::audience::Recipient;
use herald::batch::{BatchKey, BatchRecord};
use herald::bot_health::BotHealth;
use herald::clock::{Clock, Random};
use herald::conversation::{
    Conversation, ConversationKey, PersonId, PersonKey, PersonRecord, Preferences, State, StateKey,
    TurnClaim, TurnKey,
};
use herald::delivery::{
    self, Claim, ClaimRequest, ClaimState, ConversationLease, Decision, DeliveryKey, OutcomeCounts, Row,
};
use herald::event::memory::Events;
use herald::id::NotificationId;
use herald::notification::request::Request;
use herald::notification::{
    ChunkId, ChunkResult, Content, CountedChunk, MessageRefusal, Notification, NotificationFilter, Page,
    Wave, WaveDecision,
};
use herald::queue::{self, Message, Plan, Queue as _, Task};
use herald::rate_limit::{Bucket, Limit, Limits, TenantRate};
use herald::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};
use herald::store::{
    Accept, Acceptance, CasResult, Close, ConversationFilter, ConversationSummary, Conversations, DatedRow,
    Document, Error as StoreError, Idempotency, Ledger, ListPage, Milestone, Notifications, PageNumber,
    PersonUpdate, RateLimits, RowGuard, RowWrite, Rule, SetOnce, Update,
};
use herald::subject::{SubjectCopy, SubjectCopyKey};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tests::backend::Assembled;
use tests::crowd::{self, Crowd};
use tokio::sync::{Mutex, mpsc};

use crate::case::{Measured, Stopwatch, created, event};

/// Plans and delivers to this many people.
pub(crate) async fn run(people: u64) -> Result<Measured, Box<dyn Error>> {
    let clock = Clock::system();
    let now = clock.now();
    let (notification, request) =
        crowd::notification(&json!({"everyone": true}), now, Random::system().bytes());
    let id = notification.id.clone();
    let tables = Tables(Arc::new(MadeUp {
        crowd: Crowd {
            people,
            tenants: 100,
            service_url: "http://127.0.0.1:1/".to_owned(),
        },
        now,
        head: std::sync::Mutex::new(notification),
        request,
        latest: std::sync::Mutex::default(),
    }));
    let (plans, mut plans_received) = Queue::holding(1_000);
    // As in SQS a slower sender loses nothing, but here the planner waits instead of the queue growing.
    let (deliveries, mut deliveries_received) = Queue::holding(10);
    let planner = planner::Context::<Assembled<Tables, Tables, Tables, Queue, Events>> {
        conversations: tables.clone(),
        notifications: tables.clone(),
        registry: herald::store::memory::Store::new(),
        ledger: tables.clone(),
        plans: plans.clone(),
        deliveries: deliveries.clone(),
        events: Events::new(),
        connector: Connector::unauthenticated(Taker(Arc::default())),
        graph_clients: None,
        limits: Limits::teams(),
        roster_ttl: SignedDuration::ZERO,
        bot: None,
        clock: clock.clone(),
    };
    let sent = Arc::new(AtomicU64::new(0));
    let sender = sender::Context::<Assembled<Tables, Tables, Tables, Queue, Events>> {
        conversations: tables.clone(),
        notifications: tables.clone(),
        registry: herald::store::memory::Store::new(),
        ledger: tables.clone(),
        deliveries,
        events: Events::new(),
        connector: Connector::unauthenticated(Taker(Arc::clone(&sent))),
        graph_clients: None,
        limits: Limits {
            tenant: Limit {
                requests: 1_000_000,
                per: SignedDuration::from_secs(1),
            },
            ..Limits::teams()
        },
        clock: clock.clone(),
        random: Random::system(),
    };
    let first = Plan::whole(id, Task::Plan);
    plans.send(vec![first.message(Duration::ZERO)]).await?;

    let stopwatch = Stopwatch::start()?;
    let planning = async {
        while !tables.head().is_planned() {
            let Some(plan) = plans_received.recv().await else {
                break;
            };
            let deadline = clock.now().checked_add(Duration::from_mins(1))?;
            let response = planner::handle(&planner, event(vec![plan.body]), deadline).await;
            if !response.batch_item_failures.is_empty() {
                return Err("a plan failed".into());
            }
        }
        Ok::<_, Box<dyn Error>>(())
    };
    let sending = async {
        while !tables.head().is_over() {
            let mut bodies = Vec::new();
            let Some(message) = deliveries_received.recv().await else {
                break;
            };
            bodies.push(message.body);
            while bodies.len() < 10
                && let Ok(message) = deliveries_received.try_recv()
            {
                bodies.push(message.body);
            }
            let deadline = clock.now().checked_add(Duration::from_secs(90))?;
            let response = sender::handle(&sender, event(bodies), deadline).await;
            if !response.batch_item_failures.is_empty() {
                return Err("a chunk failed".into());
            }
        }
        Ok::<_, Box<dyn Error>>(())
    };
    tokio::try_join!(planning, sending)?;
    let delivered = tables.head().0.counts.delivered;
    let sent = sent.load(Ordering::Relaxed);
    if delivered != people || sent != people {
        return Err(format!("{delivered} of {people} were delivered, by {sent} requests").into());
    }
    stopwatch.stop(delivered)
}

/// Accepts every request.
struct Taker(Arc<AtomicU64>);

impl Transport for Taker {
    fn send(&self, _: http::Request<Bytes>) -> ResponseFuture<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(created()) })
    }
}

/// A bounded queue: a send waits while it is full.
#[derive(Clone, Debug)]
struct Queue(Arc<Mutex<mpsc::Sender<Message>>>);

impl Queue {
    fn holding(messages: usize) -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(messages);
        (Self(Arc::new(Mutex::new(sender))), receiver)
    }
}

impl queue::Queue for Queue {
    async fn send(&self, messages: Vec<Message>) -> Result<(), queue::Error> {
        let sender = self.0.lock().await.clone();
        for message in messages {
            sender
                .send(message)
                .await
                .map_err(|error| queue::Error::Unavailable { source: error.into() })?;
        }
        Ok(())
    }
}

/// One notification to a crowd that is not stored.
#[derive(Clone)]
struct Tables(Arc<MadeUp>);

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tables")
    }
}

struct MadeUp {
    crowd: Crowd,
    now: Timestamp,
    head: std::sync::Mutex<Notification>,
    request: Request,
    /// The number of each part's last page, and the cursor of the next one.
    latest: std::sync::Mutex<[Option<Latest>; 4]>,
}

/// A page's number, and the cursor of the next one.
type Latest = (u32, Option<String>);

struct Head(Notification);

impl Head {
    fn is_planned(&self) -> bool {
        self.0.parts_planned == self.0.parts
    }

    fn is_over(&self) -> bool {
        self.is_planned() && self.0.chunks_closed == self.0.chunks
    }
}

impl Tables {
    fn latest(&self) -> std::sync::MutexGuard<'_, [Option<Latest>; 4]> {
        let latest = self.0.latest.lock();
        latest.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn head(&self) -> Head {
        Head(self.change(|head| head.clone()))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Notification) -> T) -> T {
        change(
            &mut self
                .0
                .head
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }
}

/// A call that the bench never makes.
fn unused<T>() -> Result<T, StoreError> {
    Err(StoreError::Corrupt {
        verb: "answer",
        what: "not part of this bench".to_owned(),
    })
}

impl Conversations for Tables {
    async fn update_conversation(
        &self,
        _: &ConversationKey,
        _: &mut Rule<'_, Conversation>,
    ) -> Result<Update<Conversation>, StoreError> {
        unused()
    }

    async fn mark_removed(&self, _: &ConversationKey, _: Timestamp) -> Result<(), StoreError> {
        unused()
    }

    async fn erase(&self, _: &ConversationKey) -> Result<bool, StoreError> {
        unused()
    }

    async fn update_person(
        &self,
        _: &PersonKey,
        _: &mut Rule<'_, PersonRecord>,
    ) -> Result<PersonUpdate, StoreError> {
        unused()
    }

    async fn claim_turn(&self, _: &TurnKey, _: Timestamp, _: Timestamp) -> Result<TurnClaim, StoreError> {
        unused()
    }

    async fn finish_turn(&self, _: &TurnKey, _: Timestamp) -> Result<(), StoreError> {
        unused()
    }

    async fn release_turn(&self, _: &TurnKey) -> Result<(), StoreError> {
        unused()
    }

    async fn bot_state(&self, _: &StateKey) -> Result<Option<(String, String)>, StoreError> {
        unused()
    }

    async fn put_bot_state(
        &self,
        _: &StateKey,
        _: Option<String>,
        _: Option<&str>,
    ) -> Result<CasResult, StoreError> {
        unused()
    }

    async fn erase_user_state(&self, _: &ChannelAccountId) -> Result<(), StoreError> {
        unused()
    }

    async fn update_preferences(
        &self,
        _: &PersonId,
        _: &mut Rule<'_, Preferences>,
    ) -> Result<Update<Preferences>, StoreError> {
        unused()
    }

    async fn erase_preferences(&self, _: &UserRef) -> Result<(), StoreError> {
        unused()
    }

    async fn get_many(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, StoreError> {
        let MadeUp { crowd, now, .. } = &*self.0;
        let conversations = keys
            .iter()
            .map(|key| crowd.conversation(Crowd::person(key), *now));
        Ok(conversations.collect())
    }

    /// Each segment has every fourth person of everyone, and the cursor is the next of them.
    async fn list(
        &self,
        filter: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<ConversationSummary>, StoreError> {
        let MadeUp { crowd, now, .. } = &*self.0;
        let ConversationFilter::Everyone { segment, segments } = filter else {
            return Ok(ListPage {
                items: Vec::new(),
                cursor: None,
            });
        };
        let step = u64::from(*segments);
        let first = cursor.and_then(|cursor| cursor.parse().ok());
        let first: u64 = first.unwrap_or_else(|| u64::from(*segment));
        let after = first + limit as u64 * step;
        let people = (first..after.min(crowd.people)).step_by(usize::from(*segments));
        let items = people.map(|person| {
            let (key, attributes) = crowd.candidate(person);
            ConversationSummary {
                key,
                attributes,
                state: State::Active,
                changed_at: *now,
                precedence: None,
                preferences: None,
                zone: None,
            }
        });
        Ok(ListPage {
            items: items.collect(),
            cursor: (after < crowd.people).then(|| after.to_string()),
        })
    }

    async fn cached_roster(
        &self,
        _: &TeamKey,
        _: &RosterQuery,
        _: Timestamp,
    ) -> Result<CachedRoster, StoreError> {
        unused()
    }

    async fn cache_roster(
        &self,
        _: &TeamKey,
        _: u64,
        _: &RosterQuery,
        _: &RosterPage,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        unused()
    }

    async fn invalidate_roster(&self, _: &TeamKey) -> Result<(), StoreError> {
        unused()
    }
}

impl Notifications for Tables {
    async fn accept(&self, _: &Acceptance) -> Result<Accept, StoreError> {
        unused()
    }

    async fn accepted_as(&self, _: &Idempotency, _: Timestamp) -> Result<Option<NotificationId>, StoreError> {
        unused()
    }

    async fn roll_back(&self, _: &NotificationId) -> Result<bool, StoreError> {
        unused()
    }

    async fn find(&self, _: &NotificationId) -> Result<Option<Notification>, StoreError> {
        Ok(Some(self.head().0))
    }

    async fn list_newest(
        &self,
        _: &NotificationFilter,
        _: Option<&NotificationId>,
        _: Timestamp,
        _: usize,
    ) -> Result<ListPage<Notification>, StoreError> {
        unused()
    }

    async fn document(&self, _: &NotificationId, document: Document) -> Result<Option<Vec<u8>>, StoreError> {
        let request = &self.0.request;
        let json = match document {
            Document::Audience => serde_json::to_vec(&request.audience),
            Document::Message { .. } => serde_json::to_vec(&request.message),
            Document::Replacement => return Ok(None),
        };
        Ok(json.ok())
    }

    async fn stored_page(
        &self,
        _: &NotificationId,
        part: u16,
        number: PageNumber,
    ) -> Result<Option<(u32, Page)>, StoreError> {
        let latest = &self.latest()[usize::from(part)];
        let page = latest.as_ref().map(|(number, next)| {
            let page = Page {
                next: next.clone(),
                ..Page::default()
            };
            (*number, page)
        });
        Ok(page.filter(|_| number == PageNumber::Latest))
    }

    async fn put_page(
        &self,
        _: &NotificationId,
        part: u16,
        number: u32,
        page: &Page,
    ) -> Result<bool, StoreError> {
        self.latest()[usize::from(part)] = Some((number, page.next.clone()));
        self.change(|head| {
            head.audience += page.recipients();
            head.chunks += page.chunks.len() as u64;
            head.parts_planned += u16::from(page.next.is_none());
        });
        Ok(true)
    }

    async fn freeze_page(&self, _: &NotificationId, _: (u16, u32), _: &Page) -> Result<Page, StoreError> {
        unused()
    }

    async fn claim_recipients(
        &self,
        _: &NotificationId,
        _: (u16, u32),
        _: &[Recipient],
    ) -> Result<Vec<Recipient>, StoreError> {
        unused()
    }

    async fn close_chunk(
        &self,
        _: &NotificationId,
        _: ChunkId,
        _: u32,
        result: &ChunkResult,
    ) -> Result<Close, StoreError> {
        self.change(|head| {
            head.chunks_closed += 1;
            head.counts.add(&result.counts);
        });
        Ok(Close::Closed)
    }

    async fn count_open_chunk(
        &self,
        _: &NotificationId,
        _: ChunkId,
        _: &OutcomeCounts,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    async fn waves(&self, _: &NotificationId) -> Result<Vec<Wave>, StoreError> {
        Ok(Vec::new())
    }

    async fn decide_wave(
        &self,
        _: &NotificationId,
        _: Timestamp,
        _: WaveDecision,
        _: Timestamp,
    ) -> Result<Option<Wave>, StoreError> {
        Ok(None)
    }

    async fn counted_chunks(
        &self,
        _: &NotificationId,
        _: u16,
        _: u32,
    ) -> Result<Vec<CountedChunk>, StoreError> {
        Ok(Vec::new())
    }

    async fn set_once(
        &self,
        _: &NotificationId,
        milestone: Milestone,
        now: Timestamp,
    ) -> Result<SetOnce, StoreError> {
        Ok(self.change(|head| {
            let set = milestone.set(head, now);
            let head = Box::new(head.clone());
            if set {
                SetOnce::Set(head)
            } else {
                SetOnce::Unchanged(head)
            }
        }))
    }

    async fn compare_and_set_content(&self, _: &Notification, _: &Content) -> Result<CasResult, StoreError> {
        unused()
    }

    async fn refuse_message(&self, _: &NotificationId, _: &MessageRefusal) -> Result<(), StoreError> {
        unused()
    }

    async fn mark_dead_lettered(&self, _: &NotificationId, _: ChunkId, _: &str) -> Result<(), StoreError> {
        unused()
    }

    async fn dead_letters(&self, _: &NotificationId) -> Result<Vec<(ChunkId, String)>, StoreError> {
        unused()
    }
}

/// There is no other worker, and every delivery is new.
impl Ledger for Tables {
    async fn claim(&self, request: ClaimRequest<'_>, _: &ConversationKey) -> Result<Claim, StoreError> {
        let state = ClaimState {
            row: None,
            lease: None,
            holder: None,
        };
        Ok(match delivery::claim(request, state) {
            Decision::Reply(claim) => claim,
            Decision::Acquire(_, lease) => Claim::Acquired(lease),
            Decision::RecordCrash(_) => Claim::LeasedElsewhere { until: request.until },
        })
    }

    async fn put_row(&self, _: &DeliveryKey, _: &Row, _: &RowGuard) -> Result<RowWrite, StoreError> {
        Ok(RowWrite::Written)
    }

    async fn rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<Row>>, StoreError> {
        Ok(vec![None; deliveries.len()])
    }

    async fn subject_copies(&self, _: &[SubjectCopyKey]) -> Result<Vec<Option<SubjectCopy>>, StoreError> {
        unused()
    }

    async fn compare_and_set_subject_copy(
        &self,
        _: &SubjectCopyKey,
        _: &SubjectCopy,
    ) -> Result<CasResult, StoreError> {
        unused()
    }

    async fn leases(
        &self,
        conversations: &[ConversationKey],
    ) -> Result<Vec<Option<ConversationLease>>, StoreError> {
        Ok(vec![None; conversations.len()])
    }

    async fn dated_rows(&self, _: &[DeliveryKey]) -> Result<Vec<Option<DatedRow>>, StoreError> {
        unused()
    }

    async fn batch(&self, _: &BatchKey) -> Result<Option<BatchRecord>, StoreError> {
        Ok(None)
    }

    async fn compare_and_set_batch_record(
        &self,
        _: &BatchKey,
        _: &BatchRecord,
    ) -> Result<CasResult, StoreError> {
        unused()
    }
}

impl RateLimits for Tables {
    async fn update_rate(&self, _: &Bucket, rule: &mut Rule<'_, TenantRate>) -> Result<(), StoreError> {
        rule(None);
        Ok(())
    }

    async fn update_bot_health(&self, rule: &mut Rule<'_, BotHealth>) -> Result<(), StoreError> {
        rule(None);
        Ok(())
    }
}
