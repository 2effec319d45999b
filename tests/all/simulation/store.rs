//! The tables as a worker reaches them: the real ones in memory, behind calls that may fail, be slow, or be the last that
//! their caller makes. What is written is told to the book at the instant at which it is written.

use std::sync::Arc;
use std::time::Duration;

use botframework::activity::Activity;
use herald::audience::{Audience, Recipient};
use herald::conversation::{
    Conversation, ConversationKey, Creation, CreationLease, Feedback, Import, Observation, PersonKey,
    TeamEvent,
};
use herald::delivery::{Asked, Claim, DeliveryKey, Lease, Outcome, Row};
use herald::event::{self, Event, Events};
use herald::id::NotificationId;
use herald::notification::{ChunkId, Closing, Content, Notification, Page};
use herald::operation::{Operation, OperationKey};
use herald::rate_limit::{Bucket, TenantRate};
use herald::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};
use herald::store::memory::Store;
use herald::store::{
    Accept, Acceptance, CasResult, Close, ConversationFilter, ConversationSummary, Conversations, Error,
    Ledger, ListPage, Notifications, Paces, Revise, Upsert,
};
use jiff::Timestamp;
use tokio::task::spawn_local;

use super::lambda::Environment;
use super::queues::pause;

/// How long a worker waits for an answer of a table.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// So many conversations are listed at once.
const FEW: usize = 10;

/// The longest that a write is on its way.
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
}

impl Tables {
    /// Writes what became of a delivery.
    async fn write(
        &self,
        delivery: &DeliveryKey,
        lease: &Lease,
        what: &str,
        write: impl Future<Output = Result<CasResult, Error>>,
    ) -> Result<CasResult, Error> {
        let run = &self.0.run;
        let before = run.row(delivery);
        let written = write.await;
        run.tell(&self.0, format_args!("{what}: {written:?}"));
        run.book(|book| book.written(run, delivery, lease, before.as_ref()));
        written
    }

    /// A call that writes; or the write is on its way for so long that its worker gives it up, and it lands all the same.
    async fn write_late_or(
        &self,
        verb: &'static str,
        write: impl Future<Output = Result<CasResult, Error>> + 'static,
    ) -> Result<CasResult, Error> {
        let run = &self.0.run;
        if !run.strikes(run.troubles.stall) {
            return self.call(verb, write).await;
        }
        let wait = run.chance.wait(GIVEN_UP, LANDS_WITHIN);
        run.tell(&self.0, format_args!("has a write land late: {verb}"));
        spawn_local(async move {
            pause(wait).await;
            drop(write.await);
        });
        pause(GIVEN_UP).await;
        Err(Error::Unavailable {
            verb,
            source: "no answer in time".into(),
        })
    }
}

impl Conversations for Tables {
    async fn remember(&self, observation: Observation, now: Timestamp) -> Result<Upsert, Error> {
        let (run, key) = (&self.0.run, observation.key.clone());
        let act = async {
            let answer = self.store().remember(observation, now).await;
            run.book(|book| book.writable(run, &key));
            answer
        };
        self.call("remember", act).await
    }

    async fn import(&self, import: Import, now: Timestamp) -> Result<Upsert, Error> {
        self.call("import", self.store().import(import, now)).await
    }

    async fn apply_team_change(
        &self,
        key: &ConversationKey,
        event: TeamEvent,
        now: Timestamp,
    ) -> Result<(), Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().apply_team_change(key, event, now).await;
            run.book(|book| book.writable(run, key));
            answer
        };
        self.call("follow", act).await
    }

    async fn mark_removed(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().mark_removed(key, now).await;
            run.book(|book| book.writable(run, key));
            answer
        };
        self.call("forget", act).await
    }

    async fn apply_feedback(
        &self,
        key: &ConversationKey,
        version: u64,
        feedback: &Feedback,
        now: Timestamp,
    ) -> Result<(), Error> {
        let run = &self.0.run;
        let act = async {
            run.tell(
                &self.0,
                format_args!("notes of {} {feedback:?}", key.conversation),
            );
            let answer = self.store().apply_feedback(key, version, feedback, now).await;
            run.book(|book| book.writable(run, key));
            answer
        };
        self.call("note", act).await
    }

    async fn tag(
        &self,
        key: &ConversationKey,
        add: &[String],
        remove: &[String],
        now: Timestamp,
    ) -> Result<Option<Vec<String>>, Error> {
        self.call("tag", self.store().tag(key, add, remove, now)).await
    }

    async fn erase(&self, key: &ConversationKey) -> Result<bool, Error> {
        self.call("erase", self.store().erase(key)).await
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

    async fn finish_creation(
        &self,
        person: &PersonKey,
        made: &Creation,
        now: Timestamp,
    ) -> Result<(), Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().finish_creation(person, made, now).await;
            run.tell(&self.0, format_args!("has met {person}: {made:?}"));
            run.book(|book| book.introduced(run, &self.0, person, made));
            answer
        };
        self.call("keep an introduction", act).await
    }

    async fn cached_roster(
        &self,
        team: &TeamKey,
        question: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        self.call(
            "look up what was told",
            self.store().cached_roster(team, question, now),
        )
        .await
    }

    async fn cache_roster(
        &self,
        team: &TeamKey,
        generation: u64,
        question: &RosterQuery,
        answer: &RosterPage,
        until: Timestamp,
    ) -> Result<(), Error> {
        let tell = self
            .store()
            .cache_roster(team, generation, question, answer, until);
        self.call("keep what was told", tell).await
    }

    async fn invalidate_roster(&self, team: &TeamKey) -> Result<(), Error> {
        self.call("outdate a team", self.store().invalidate_roster(team))
            .await
    }

    async fn get_many(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        self.call("recall", self.store().get_many(keys)).await
    }

    async fn list(
        &self,
        selection: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<ConversationSummary>, Error> {
        // A listing may be shorter than asked for; so small worlds have many pages too. Whoever asks for a few gets them.
        let limit = if limit > FEW {
            limit.min(self.0.run.page)
        } else {
            limit
        };
        self.call("list", self.store().list(selection, cursor, limit))
            .await
    }
}

impl Notifications for Tables {
    async fn accept(&self, acceptance: &Acceptance) -> Result<Accept, Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().accept(acceptance).await;
            if let Ok(Accept::Created) = answer {
                let text = acceptance.message.text.as_deref().unwrap_or_default();
                run.book(|book| book.accepted(&acceptance.notification.id, text));
            }
            answer
        };
        self.call("accept", act).await
    }

    async fn roll_back(&self, id: &NotificationId) -> Result<bool, Error> {
        self.call("withdraw", self.store().roll_back(id)).await
    }

    async fn find(&self, id: &NotificationId) -> Result<Option<Notification>, Error> {
        self.call("find", self.store().find(id)).await
    }

    async fn audience(&self, id: &NotificationId) -> Result<Option<Audience>, Error> {
        self.call("read the audience", self.store().audience(id)).await
    }

    async fn message(&self, id: &NotificationId, revision: u32) -> Result<Option<Activity>, Error> {
        self.call("read the message", self.store().message(id, revision))
            .await
    }

    async fn latest_page(&self, id: &NotificationId, part: u16) -> Result<Option<(u32, Page)>, Error> {
        self.call("read the latest page", self.store().latest_page(id, part))
            .await
    }

    async fn page(&self, id: &NotificationId, part: u16, number: u32) -> Result<Option<Page>, Error> {
        self.call("read a page", self.store().page(id, part, number))
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
        self.call("draft", self.store().freeze_page(id, page, read)).await
    }

    async fn claim_recipients(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        found: &[Recipient],
    ) -> Result<Vec<Recipient>, Error> {
        self.call(
            "keep who was found",
            self.store().claim_recipients(id, page, found),
        )
        .await
    }

    async fn close_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        closing: &Closing,
    ) -> Result<Close, Error> {
        let act = async {
            let answer = self.store().close_chunk(id, chunk, revision, closing).await;
            let ChunkId { part, page, index } = chunk;
            self.0.run.tell(
                &self.0,
                format_args!("closes {part}/{page}/{index} at {revision}: {answer:?}"),
            );
            answer
        };
        self.count("close", id, act).await
    }

    async fn closed_chunks(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> Result<Vec<(u16, u32)>, Error> {
        self.call("read what is closed", self.store().closed_chunks(id, part, page))
            .await
    }

    async fn cancel(&self, id: &NotificationId, now: Timestamp) -> Result<Option<Notification>, Error> {
        self.count("cancel", id, self.store().cancel(id, now)).await
    }

    async fn revise(&self, id: &NotificationId, content: &Content, now: Timestamp) -> Result<Revise, Error> {
        self.count("revise", id, self.store().revise(id, content, now))
            .await
    }

    async fn start(&self, id: &NotificationId, now: Timestamp) -> Result<(), Error> {
        self.count("let go", id, Notifications::start(self.store(), id, now))
            .await
    }

    async fn complete(&self, id: &NotificationId, now: Timestamp) -> Result<bool, Error> {
        self.count("complete", id, self.store().complete(id, now)).await
    }

    async fn mark_dead_lettered(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        reason: &str,
    ) -> Result<(), Error> {
        self.call("bury", self.store().mark_dead_lettered(id, chunk, reason))
            .await
    }

    async fn dead_letters(&self, id: &NotificationId) -> Result<Vec<(ChunkId, String)>, Error> {
        self.call("read what is buried", self.store().dead_letters(id))
            .await
    }
}

impl Ledger for Tables {
    async fn claim(&self, asked: Asked<'_>, conversation: &ConversationKey) -> Result<Claim, Error> {
        let run = &self.0.run;
        let began = run.now();
        let act = async {
            let claim = self.store().claim(asked, conversation).await?;
            run.tell(
                &self.0,
                format_args!("claims {}: {claim:?}", asked.delivery.as_str()),
            );
            if let Claim::Taken(lease) = &claim {
                run.book(|book| book.claimed(&self.0, asked, conversation, lease, began));
            }
            Ok(claim)
        };
        self.call("claim", act).await
    }

    async fn settle(
        &self,
        delivery: &DeliveryKey,
        lease: &Lease,
        outcome: &Outcome,
    ) -> Result<CasResult, Error> {
        let write = {
            let (tables, delivery, lease, outcome) =
                (self.clone(), delivery.clone(), lease.clone(), outcome.clone());
            async move {
                let store = tables.store();
                let what = format!("settles {} as {outcome:?}", delivery.as_str());
                let write = store.settle(&delivery, &lease, &outcome);
                tables.write(&delivery, &lease, &what, write).await
            }
        };
        self.write_late_or("settle", write).await
    }

    async fn release(
        &self,
        delivery: &DeliveryKey,
        lease: &Lease,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> Result<CasResult, Error> {
        let write = {
            let (tables, delivery, lease, why) =
                (self.clone(), delivery.clone(), lease.clone(), why.to_owned());
            async move {
                let store = tables.store();
                let wait = until.duration_since(tables.0.run.now()).as_secs_f64();
                let name = delivery.as_str();
                let what = format!("releases {name} for {wait:.1} s, {why}, in doubt {doubts}");
                let write = Ledger::release(store, &delivery, &lease, until, &why, doubts);
                tables.write(&delivery, &lease, &what, write).await
            }
        };
        self.write_late_or("release", write).await
    }

    async fn defer(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        why: &str,
        tries: u32,
    ) -> Result<Option<Outcome>, Error> {
        self.call("put off", self.store().defer(delivery, until, why, tries))
            .await
    }

    async fn settle_unclaimed(&self, delivery: &DeliveryKey, outcome: &Outcome) -> Result<Outcome, Error> {
        let run = &self.0.run;
        let act = async {
            let standing = self.store().settle_unclaimed(delivery, outcome).await;
            let name = delivery.as_str();
            run.tell(
                &self.0,
                format_args!("ends {name} as {outcome:?}, it stands as {standing:?}"),
            );
            run.book(|book| book.ended(delivery, outcome));
            standing
        };
        self.call("end", act).await
    }

    async fn mark_retryable(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> Result<Option<Outcome>, Error> {
        self.call("leave", self.store().mark_retryable(delivery, until, why, doubts))
            .await
    }

    async fn operation(&self, operation: &OperationKey) -> Result<Option<Operation>, Error> {
        self.call("read an operation", self.store().operation(operation))
            .await
    }

    async fn compare_and_set_batch(
        &self,
        operation: &OperationKey,
        to: &Operation,
    ) -> Result<CasResult, Error> {
        self.call(
            "advance an operation",
            self.store().compare_and_set_batch(operation, to),
        )
        .await
    }

    async fn rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<Row>>, Error> {
        self.call("look up", self.store().rows(deliveries)).await
    }
}

impl Paces for Tables {
    async fn apply<T: Send>(
        &self,
        bucket: &Bucket,
        rule: impl Fn(&TenantRate) -> (T, Option<TenantRate>) + Send + Sync,
    ) -> Result<T, Error> {
        let run = &self.0.run;
        let act = async {
            let answer = self.store().apply(bucket, rule).await;
            run.tell(
                &self.0,
                format_args!("paces {}: {:?}", bucket.as_str(), run.pace(bucket)),
            );
            answer
        };
        self.call("pace", act).await
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
