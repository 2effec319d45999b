//! The in-memory tables as a worker reaches them: a call may fail, be slow, or kill its worker. The book records each write
//! at the instant at which it happens.

use std::sync::Arc;
use std::time::Duration;

use botframework::id::{ChannelAccountId, UserRef};
use herald::audience::Recipient;
use herald::batch::{BatchKey, BatchRecord};
use herald::bot_health::BotHealth;
use herald::conversation::{
    Conversation, ConversationKey, Creation, CreationLease, Feedback, PersonId, PersonKey, PersonRecord,
    Preferences, StateKey, TurnClaim, TurnKey,
};
use herald::delivery::{Claim, ClaimRequest, ConversationLease, DeliveryKey, OutcomeCounts, Row, State};
use herald::event::{self, Event, Events};
use herald::id::NotificationId;
use herald::notification::{
    ChunkId, ChunkResult, Content, CountedChunk, MessageRefusal, Notification, NotificationFilter, Page,
    Wave, WaveDecision,
};
use herald::rate_limit::{Bucket, TenantRate};
use herald::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};
use herald::store::memory::Store;
use herald::store::{
    Accept, Acceptance, CasResult, Close, Collection, ConversationFilter, ConversationSummary, Conversations,
    DatedRow, Document, Error, Idempotency, Ledger, ListPage, Milestone, Notifications, PageNumber,
    PersonUpdate, RateLimits, Registry, RowGuard, RowWrite, Rule, SetOnce, StoredRecord, Update,
};
use herald::subject::{SubjectCopy, SubjectCopyKey};
use jiff::Timestamp;
use tokio::task::spawn_local;

use super::lambda::Environment;
use super::queues::pause;

/// A worker's timeout for a call to a table.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Lists up to this length are not split into shorter pages.
const FEW: usize = 10;

/// The longest delay of a late write.
const LANDS_WITHIN: Duration = Duration::from_mins(2);

/// All tables, and the event bus.
#[derive(Clone, Debug)]
pub(super) struct Tables(pub(super) Arc<Environment>);

impl Tables {
    fn store(&self) -> &Store {
        &self.0.run.store
    }

    async fn call<T>(
        &self,
        verb: &'static str,
        act: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let away = || Error::Unavailable {
            verb,
            source: "away".into(),
        };
        self.0.call(verb, act, away).await
    }

    /// A call that may change the record of a conversation.
    async fn change<T>(
        &self,
        verb: &'static str,
        key: &ConversationKey,
        act: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let run = &self.0.run;
        let act = async {
            let answer = act.await;
            run.book(|book| book.writable(run, key));
            answer
        };
        self.call(verb, act).await
    }

    /// A call that may change a notification's counters.
    async fn count<T>(
        &self,
        verb: &'static str,
        id: &NotificationId,
        act: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let run = &self.0.run;
        let act = async {
            let answer = act.await;
            run.book(|book| book.counts(run, id));
            answer
        };
        self.call(verb, act).await
    }

    /// A call that writes. A late write times out for its worker and is executed later.
    async fn write_late_or(
        &self,
        verb: &'static str,
        write: impl Future<Output = Result<RowWrite, Error>> + 'static,
    ) -> Result<RowWrite, Error> {
        let run = &self.0.run;
        if !run.strikes(run.troubles.stall) {
            return self.call(verb, write).await;
        }
        let wait = run.chance.wait(TIMEOUT, LANDS_WITHIN);
        run.tell(&self.0, format_args!("has a write land late: {verb}"));
        spawn_local(async move {
            pause(wait).await;
            drop(write.await);
        });
        pause(TIMEOUT).await;
        Err(Error::Unavailable {
            verb,
            source: "no answer in time".into(),
        })
    }

    /// Writes a row and records it in the book.
    async fn write_row(
        &self,
        delivery: &DeliveryKey,
        row: &Row,
        guard: &RowGuard,
    ) -> Result<RowWrite, Error> {
        let run = &self.0.run;
        let before = run.row(delivery);
        let written = self.store().put_row(delivery, row, guard).await;
        let name = delivery.as_str();
        match (guard, &row.state) {
            (RowGuard::Lease(_), state) => {
                let result = written.as_ref().map(|write| CasResult::from(write.clone()));
                match state {
                    State::Settled(outcome) => {
                        run.tell(&self.0, format_args!("settles {name} as {outcome:?}: {result:?}"));
                    }
                    State::Waiting { until, reason } => {
                        let wait = until.duration_since(run.now()).as_secs_f64();
                        let ambiguous_attempts = row.ambiguous_attempts;
                        run.tell(
                            &self.0,
                            format_args!(
                                "releases {name} for {wait:.1} s, {reason}, in doubt {ambiguous_attempts}: {result:?}"
                            ),
                        );
                    }
                }
                run.book(|book| book.written(run, delivery, row.attempt, before.as_ref()));
            }
            (RowGuard::Unsettled | RowGuard::Outcome(_), State::Settled(outcome)) => {
                run.tell(&self.0, format_args!("ends {name} as {outcome:?}: {written:?}"));
                run.book(|book| book.ended(delivery, outcome));
            }
            (RowGuard::Unsettled | RowGuard::Absent | RowGuard::Outcome(_), _) => {}
        }
        written
    }
}

impl Conversations for Tables {
    async fn update_conversation(
        &self,
        key: &ConversationKey,
        rule: &mut Rule<'_, Conversation>,
    ) -> Result<Update<Conversation>, Error> {
        let act = self.store().update_conversation(key, rule);
        self.change("update a conversation", key, act).await
    }

    async fn mark_removed(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        let act = self.store().mark_removed(key, now);
        self.change("mark removed", key, act).await
    }

    async fn apply_feedback(
        &self,
        key: &ConversationKey,
        version: u64,
        feedback: &Feedback,
        now: Timestamp,
    ) -> Result<(), Error> {
        let act = async {
            self.0.run.tell(
                &self.0,
                format_args!("notes of {} {feedback:?}", key.conversation),
            );
            self.store().apply_feedback(key, version, feedback, now).await
        };
        self.change("note", key, act).await
    }

    async fn erase(&self, key: &ConversationKey) -> Result<bool, Error> {
        self.call("erase", self.store().erase(key)).await
    }

    async fn update_person(
        &self,
        person: &PersonKey,
        rule: &mut Rule<'_, PersonRecord>,
    ) -> Result<PersonUpdate, Error> {
        self.call("update a person", self.store().update_person(person, rule))
            .await
    }

    async fn acquire_creation_lease(
        &self,
        person: &PersonKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<CreationLease, Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().acquire_creation_lease(person, now, until).await?;
            run.tell(&self.0, format_args!("asks to meet: {answer:?} {person}"));
            run.book(|book| book.introduces(run, &self.0, person, until, &answer));
            Ok(answer)
        };
        self.call("introduce", act).await
    }

    async fn finish_creation(&self, person: &PersonKey, creation: &Creation) -> Result<(), Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().finish_creation(person, creation).await;
            run.tell(&self.0, format_args!("has met {person}: {creation:?}"));
            run.book(|book| book.introduced(run, &self.0, person, creation));
            answer
        };
        self.call("keep an introduction", act).await
    }

    async fn claim_turn(&self, turn: &TurnKey, now: Timestamp, until: Timestamp) -> Result<TurnClaim, Error> {
        self.call("claim a turn", self.store().claim_turn(turn, now, until))
            .await
    }

    async fn finish_turn(&self, turn: &TurnKey, until: Timestamp) -> Result<(), Error> {
        let finished = self
            .call("finish a turn", self.store().finish_turn(turn, until))
            .await;
        if finished.is_err() {
            self.0.run.book(|book| book.answers.unrecorded += 1);
        }
        finished
    }

    async fn release_turn(&self, turn: &TurnKey) -> Result<(), Error> {
        self.call("release a turn", self.store().release_turn(turn)).await
    }

    async fn get_many(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        self.call("read conversations", self.store().get_many(keys)).await
    }

    async fn list(
        &self,
        filter: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<ConversationSummary>, Error> {
        // A page may be shorter than asked for, so small worlds have many pages too.
        let limit = if limit > FEW {
            limit.min(self.0.run.page)
        } else {
            limit
        };
        self.call("list", self.store().list(filter, cursor, limit)).await
    }

    async fn cached_roster(
        &self,
        team: &TeamKey,
        query: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        let act = self.store().cached_roster(team, query, now);
        self.call("read a cached roster", act).await
    }

    async fn cache_roster(
        &self,
        team: &TeamKey,
        generation: u64,
        query: &RosterQuery,
        page: &RosterPage,
        until: Timestamp,
    ) -> Result<(), Error> {
        let store = self.store();
        let act = store.cache_roster(team, generation, query, page, until);
        self.call("cache a roster", act).await
    }

    async fn invalidate_roster(&self, team: &TeamKey) -> Result<(), Error> {
        let act = self.store().invalidate_roster(team);
        self.call("invalidate a roster", act).await
    }

    async fn bot_state(&self, key: &StateKey) -> Result<Option<(String, String)>, Error> {
        self.call("read a state", self.store().bot_state(key)).await
    }

    async fn put_bot_state(
        &self,
        key: &StateKey,
        json: Option<String>,
        expected: Option<&str>,
    ) -> Result<CasResult, Error> {
        let act = self.store().put_bot_state(key, json, expected);
        self.call("write a state", act).await
    }

    async fn erase_user_state(&self, user: &ChannelAccountId) -> Result<(), Error> {
        self.call("erase states", self.store().erase_user_state(user))
            .await
    }

    async fn update_preferences(
        &self,
        person: &PersonId,
        rule: &mut Rule<'_, Preferences>,
    ) -> Result<Update<Preferences>, Error> {
        let act = self.store().update_preferences(person, rule);
        self.call("update opt-outs", act).await
    }

    async fn erase_preferences(&self, id: &UserRef) -> Result<(), Error> {
        self.call("erase opt-outs", self.store().erase_preferences(id))
            .await
    }
}

impl Notifications for Tables {
    async fn accepted_as(
        &self,
        idempotency: &Idempotency,
        now: Timestamp,
    ) -> Result<Option<NotificationId>, Error> {
        let act = async { self.store().accepted_as(idempotency, now).await };
        self.call("look up an idempotency key", act).await
    }

    async fn accept(&self, acceptance: &Acceptance) -> Result<Accept, Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().accept(acceptance).await;
            if let Ok(Accept::Created) = answer {
                let text = acceptance.message.activity.text.as_deref().unwrap_or_default();
                run.book(|book| book.accepted(run, &acceptance.notification, text));
            }
            answer
        };
        self.call("accept", act).await
    }

    async fn roll_back(&self, id: &NotificationId) -> Result<bool, Error> {
        self.call("roll back", self.store().roll_back(id)).await
    }

    async fn find(&self, id: &NotificationId) -> Result<Option<Notification>, Error> {
        self.call("find", self.store().find(id)).await
    }

    async fn list_newest(
        &self,
        filter: &NotificationFilter,
        before: Option<&NotificationId>,
        now: Timestamp,
        limit: usize,
    ) -> Result<ListPage<Notification>, Error> {
        let act = self.store().list_newest(filter, before, now, limit);
        self.call("list notifications", act).await
    }

    async fn document(&self, id: &NotificationId, document: Document) -> Result<Option<Vec<u8>>, Error> {
        self.call("read a document", self.store().document(id, document))
            .await
    }

    async fn stored_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: PageNumber,
    ) -> Result<Option<(u32, Page)>, Error> {
        self.call("read a page", self.store().stored_page(id, part, number))
            .await
    }

    async fn put_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
        page: &Page,
    ) -> Result<bool, Error> {
        let act = async {
            let (recipients, last) = (page.recipients(), page.next.is_none());
            self.0.run.tell(
                &self.0,
                format_args!("plans page {part}/{number} of {recipients}, the last: {last}"),
            );
            self.store().put_page(id, part, number, page).await
        };
        self.count("plan", id, act).await
    }

    async fn freeze_page(&self, id: &NotificationId, page: (u16, u32), read: &Page) -> Result<Page, Error> {
        self.call("freeze a page", self.store().freeze_page(id, page, read))
            .await
    }

    async fn claim_recipients(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        found: &[Recipient],
    ) -> Result<Vec<Recipient>, Error> {
        let act = self.store().claim_recipients(id, page, found);
        self.call("claim recipients", act).await
    }

    async fn close_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        result: &ChunkResult,
    ) -> Result<Close, Error> {
        let act = async {
            let answer = self.store().close_chunk(id, chunk, revision, result).await;
            let ChunkId { part, page, index } = chunk;
            self.0.run.tell(
                &self.0,
                format_args!("closes {part}/{page}/{index} at {revision}: {answer:?}"),
            );
            answer
        };
        self.count("close", id, act).await
    }

    async fn count_open_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        counts: &OutcomeCounts,
    ) -> Result<(), Error> {
        let act = self.store().count_open_chunk(id, chunk, counts);
        self.count("count an open chunk", id, act).await
    }

    async fn waves(&self, id: &NotificationId) -> Result<Vec<Wave>, Error> {
        self.call("read waves", self.store().waves(id)).await
    }

    async fn decide_wave(
        &self,
        id: &NotificationId,
        due: Timestamp,
        decision: WaveDecision,
        now: Timestamp,
    ) -> Result<Option<Wave>, Error> {
        let act = self.store().decide_wave(id, due, decision, now);
        self.call("decide about a wave", act).await
    }

    async fn counted_chunks(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> Result<Vec<CountedChunk>, Error> {
        let act = self.store().counted_chunks(id, part, page);
        self.call("read counted chunks", act).await
    }

    async fn set_once(
        &self,
        id: &NotificationId,
        milestone: Milestone,
        now: Timestamp,
    ) -> Result<SetOnce, Error> {
        let act = self.store().set_once(id, milestone, now);
        self.count("set a milestone", id, act).await
    }

    async fn refuse_message(&self, id: &NotificationId, refusal: &MessageRefusal) -> Result<(), Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().refuse_message(id, refusal).await;
            run.tell(
                &self.0,
                format_args!("the message of {id} is refused: {refusal:?}"),
            );
            let message = self.store().message(id, refusal.revision).await?;
            let text = message.and_then(|message| message.activity.text);
            run.book(|book| book.message_refused(id, text.as_deref(), run.now()));
            answer
        };
        self.call("refuse a message", act).await
    }

    async fn compare_and_set_content(
        &self,
        revised: &Notification,
        content: &Content,
    ) -> Result<CasResult, Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().compare_and_set_content(revised, content).await;
            if let Ok(CasResult::Committed) = answer {
                let text = match content {
                    Content::Message(message) => message.activity.text.clone(),
                    Content::Nothing => None,
                };
                run.book(|book| book.content_stored(run, revised, text));
            }
            answer
        };
        self.count("revise", &revised.id, act).await
    }

    async fn mark_dead_lettered(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        reason: &str,
    ) -> Result<(), Error> {
        let act = self.store().mark_dead_lettered(id, chunk, reason);
        self.call("mark dead-lettered", act).await
    }

    async fn dead_letters(&self, id: &NotificationId) -> Result<Vec<(ChunkId, String)>, Error> {
        self.call("read dead letters", self.store().dead_letters(id))
            .await
    }
}

impl Ledger for Tables {
    async fn claim(&self, asked: ClaimRequest<'_>, conversation: &ConversationKey) -> Result<Claim, Error> {
        let run = &self.0.run;
        let began = run.now();
        let act = async {
            let claim = self.store().claim(asked, conversation).await?;
            run.tell(
                &self.0,
                format_args!("claims {}: {claim:?}", asked.delivery.as_str()),
            );
            if let Claim::Acquired(lease) = &claim {
                run.book(|book| book.claimed(&self.0, asked, conversation, lease, began));
            }
            Ok(claim)
        };
        self.call("claim", act).await
    }

    async fn put_row(&self, delivery: &DeliveryKey, row: &Row, guard: &RowGuard) -> Result<RowWrite, Error> {
        let verb = match row.state {
            State::Settled(_) => "settle",
            State::Waiting { .. } => "release",
        };
        let (tables, delivery, row) = (self.clone(), delivery.clone(), row.clone());
        let written = guard.clone();
        let write = async move { tables.write_row(&delivery, &row, &written).await };
        match guard {
            RowGuard::Lease(_) => self.write_late_or(verb, write).await,
            RowGuard::Unsettled | RowGuard::Absent | RowGuard::Outcome(_) => {
                self.call("write a row", write).await
            }
        }
    }

    async fn rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<Row>>, Error> {
        self.call("look up", self.store().rows(deliveries)).await
    }

    async fn leases(
        &self,
        conversations: &[ConversationKey],
    ) -> Result<Vec<Option<ConversationLease>>, Error> {
        self.call("read leases", self.store().leases(conversations)).await
    }

    async fn dated_rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<DatedRow>>, Error> {
        self.call("look up", self.store().dated_rows(deliveries)).await
    }

    async fn batch(&self, batch: &BatchKey) -> Result<Option<BatchRecord>, Error> {
        self.call("read a batch", self.store().batch(batch)).await
    }

    async fn compare_and_set_batch_record(
        &self,
        batch: &BatchKey,
        to: &BatchRecord,
    ) -> Result<CasResult, Error> {
        let act = self.store().compare_and_set_batch_record(batch, to);
        self.call("write a batch", act).await
    }

    async fn subject_copies(&self, keys: &[SubjectCopyKey]) -> Result<Vec<Option<SubjectCopy>>, Error> {
        self.call("read copies", self.store().subject_copies(keys)).await
    }

    async fn compare_and_set_subject_copy(
        &self,
        key: &SubjectCopyKey,
        copy: &SubjectCopy,
    ) -> Result<CasResult, Error> {
        let run = &self.0.run;
        let act = async {
            let written = self.store().compare_and_set_subject_copy(key, copy).await;
            run.tell(
                &self.0,
                format_args!("has the copy of {} as {copy:?}: {written:?}", key.as_str()),
            );
            written
        };
        self.call("write a copy", act).await
    }
}

impl RateLimits for Tables {
    async fn update_rate(&self, bucket: &Bucket, rule: &mut Rule<'_, TenantRate>) -> Result<(), Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().update_rate(bucket, rule).await;
            run.tell(
                &self.0,
                format_args!("rate {}: {:?}", bucket.as_str(), run.rate(bucket)),
            );
            answer
        };
        self.call("rate", act).await
    }

    async fn update_bot_health(&self, rule: &mut Rule<'_, BotHealth>) -> Result<(), Error> {
        let run = &self.0.run;
        let act = async {
            let before = run.bot_health();
            let answer = self.store().update_bot_health(rule).await;
            let after = run.bot_health();
            if before != after {
                run.tell(&self.0, format_args!("the bot: {after:?}"));
            }
            answer
        };
        self.call("record the bot", act).await
    }
}

impl Registry for Tables {
    async fn stored_record(&self, collection: Collection, key: &str) -> Result<Option<StoredRecord>, Error> {
        self.call("read a record", self.store().stored_record(collection, key))
            .await
    }

    async fn update_stored_record(
        &self,
        collection: Collection,
        key: &str,
        rule: &mut Rule<'_, StoredRecord>,
    ) -> Result<(), Error> {
        let act = async {
            let answer = self.store().update_stored_record(collection, key, rule).await;
            let after = self.store().stored_record(collection, key).await?;
            let json = after.map(|after| after.json);
            let name = collection.name();
            self.0
                .run
                .tell(&self.0, format_args!("keeps of {name} {key}: {json:?}"));
            answer
        };
        self.call("write a record", act).await
    }

    async fn remove_record(&self, collection: Collection, key: &str) -> Result<bool, Error> {
        let act = async {
            let answer = self.store().remove_record(collection, key).await;
            let name = collection.name();
            self.0
                .run
                .tell(&self.0, format_args!("removes of {name} {key}: {answer:?}"));
            answer
        };
        self.call("remove a record", act).await
    }

    async fn stored_records(
        &self,
        collection: Collection,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<(String, StoredRecord)>, Error> {
        let limit = limit.min(self.0.run.page);
        self.call(
            "list records",
            self.store().stored_records(collection, cursor, limit),
        )
        .await
    }
}

impl Events for Tables {
    async fn publish(&self, events: Vec<Event>) -> Result<(), event::Error> {
        let away = || event::Error::Unavailable {
            source: "away".into(),
        };
        let act = async {
            for event in &events {
                self.0
                    .run
                    .tell(&self.0, format_args!("tells {} {:?}", event.id, event.kind));
            }
            self.0.run.events.publish(events).await
        };
        self.0.call("publish", act, away).await
    }
}
