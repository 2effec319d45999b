//! The tables in memory, for tests and simulations. It keeps every promise of the port but survival.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use botframework::activity::Activity;
use jiff::Timestamp;

use super::{
    Accept, Acceptance, CasResult, Close, ConversationFilter, ConversationSummary, Conversations, Error,
    Idempotency, Ledger, ListPage, Notifications, Paces, Revise, Upsert,
};
use crate::audience::{Audience, Recipient};
use crate::conversation::{
    self, Conversation, ConversationKey, Creation, CreationLease, Feedback, Import, Observation, PersonKey,
    PersonRecord, State, TeamEvent,
};
use crate::delivery::{
    self, Asked, Claim, Decision, DeliveryKey, Lease, Outcome, Row, Stage, Standing, Turn,
};
use crate::id::NotificationId;
use crate::notification::{ChunkId, Closing, Content, Copies, Notification, Page};
use crate::operation::{Operation, OperationKey};
use crate::rate_limit::{Bucket, TenantRate};
use crate::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};

/// All three tables. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Store(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    conversations: BTreeMap<ConversationKey, Conversation>,
    notifications: HashMap<NotificationId, Entry>,
    idempotency: HashMap<String, (Idempotency, NotificationId)>,
    deliveries: HashMap<DeliveryKey, Row>,
    people: HashMap<PersonKey, PersonRecord>,
    epochs: HashMap<TeamKey, u64>,
    /// With the epoch that it is of, and until when it is believed.
    told: HashMap<(TeamKey, RosterQuery), (u64, RosterPage, Timestamp)>,
    turns: HashMap<ConversationKey, Turn>,
    paces: HashMap<Bucket, TenantRate>,
    operations: HashMap<OperationKey, Operation>,
}

#[derive(Debug)]
struct Entry {
    head: Notification,
    audience: Audience,
    /// By revision.
    contents: Vec<Content>,
    pages: BTreeMap<(u16, u32), Page>,
    /// The revision each is closed at.
    closed: BTreeMap<ChunkId, u32>,
    buried: BTreeMap<ChunkId, String>,
    /// What pages of rosters were read as.
    drafts: HashMap<(u16, u32), Page>,
    /// The page each was found on first.
    found: HashMap<Recipient, (u16, u32)>,
}

impl Store {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    // No step below leaves the tables half changed, so a lock poisoned by a panicking test is as good as any.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a record what a rule says.
    fn alter(
        &self,
        key: &ConversationKey,
        rule: impl FnOnce(Option<&Conversation>) -> Option<Conversation>,
    ) -> Upsert {
        let mut tables = self.tables();
        let Some(record) = rule(tables.conversations.get(key)) else {
            return Upsert::Unchanged;
        };
        match tables.conversations.insert(key.clone(), record) {
            Some(_) => Upsert::Changed,
            None => Upsert::Created,
        }
    }
}

impl Conversations for Store {
    async fn remember(&self, observation: Observation, now: Timestamp) -> Result<Upsert, Error> {
        let key = observation.key.clone();
        Ok(self.alter(&key, |old| conversation::remember(old, observation, now)))
    }

    async fn import(&self, import: Import, now: Timestamp) -> Result<Upsert, Error> {
        let key = import.key.clone();
        Ok(self.alter(&key, |old| conversation::import(old, import, now)))
    }

    async fn apply_team_change(
        &self,
        key: &ConversationKey,
        event: TeamEvent,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.alter(key, |old| conversation::apply_team_change(old?, event, now));
        Ok(())
    }

    async fn mark_removed(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        if let Some(record) = self.tables().conversations.get_mut(key)
            && (record.state != State::Removed || record.removed_with_team)
        {
            record.state = State::Removed;
            record.removed_with_team = false;
            record.version += 1;
            record.changed_at = now;
        }
        Ok(())
    }

    async fn apply_feedback(
        &self,
        key: &ConversationKey,
        version: u64,
        feedback: &Feedback,
        now: Timestamp,
    ) -> Result<(), Error> {
        if let Some(record) = self.tables().conversations.get_mut(key)
            && record.version == version
            && let Some(new) = conversation::apply_feedback(record, feedback, now)
        {
            *record = new;
        }
        Ok(())
    }

    async fn tag(
        &self,
        key: &ConversationKey,
        add: &[String],
        remove: &[String],
        now: Timestamp,
    ) -> Result<Option<Vec<String>>, Error> {
        let mut tables = self.tables();
        Ok(tables.conversations.get_mut(key).map(|record| {
            if let Some(new) = conversation::tag(record, add, remove, now) {
                *record = new;
            }
            record.attributes.tags.clone()
        }))
    }

    async fn erase(&self, key: &ConversationKey) -> Result<bool, Error> {
        let mut tables = self.tables();
        let known = tables.people.len();
        tables
            .people
            .retain(|_, known| known.conversation.as_ref() != Some(key));
        let led_here = tables.people.len() < known;
        Ok(tables.conversations.remove(key).is_some() || led_here)
    }

    async fn acquire_creation_lease(
        &self,
        person: &PersonKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<CreationLease, Error> {
        let mut tables = self.tables();
        let (introduction, new) = conversation::acquire_creation_lease(tables.people.get(person), now, until);
        if let Some(new) = new {
            tables.people.insert(person.clone(), new);
        }
        Ok(introduction)
    }

    async fn finish_creation(&self, person: &PersonKey, made: &Creation, _: Timestamp) -> Result<(), Error> {
        let mut tables = self.tables();
        let made = match made {
            Creation::Conversation(key) if !tables.conversations.contains_key(key) => &Creation::Nothing,
            Creation::Conversation(_) | Creation::InstallPending(_) | Creation::Nothing => made,
        };
        if let Some(new) = conversation::finish_creation(tables.people.get(person), made) {
            tables.people.insert(person.clone(), new);
        }
        Ok(())
    }

    async fn cached_roster(
        &self,
        team: &TeamKey,
        question: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        let tables = self.tables();
        let generation = tables.epochs.get(team).copied().unwrap_or_default();
        let told = tables.told.get(&(team.clone(), question.clone()));
        let told = told.filter(|(of, _, until)| *of == generation && *until > now);
        let page = told.map(|(_, page, _)| page.clone());
        Ok(CachedRoster { generation, page })
    }

    async fn cache_roster(
        &self,
        team: &TeamKey,
        generation: u64,
        question: &RosterQuery,
        answer: &RosterPage,
        until: Timestamp,
    ) -> Result<(), Error> {
        let told = (generation, answer.clone(), until);
        self.tables().told.insert((team.clone(), question.clone()), told);
        Ok(())
    }

    async fn invalidate_roster(&self, team: &TeamKey) -> Result<(), Error> {
        *self.tables().epochs.entry(team.clone()).or_default() += 1;
        Ok(())
    }

    async fn get_many(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        let tables = self.tables();
        let distinct: BTreeSet<_> = keys.iter().collect();
        Ok(distinct
            .into_iter()
            .filter_map(|key| tables.conversations.get(key))
            .cloned()
            .collect())
    }

    async fn list(
        &self,
        selection: &ConversationFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<ListPage<ConversationSummary>, Error> {
        // The moment only where it is listed by.
        let after: Option<(Option<Timestamp>, ConversationKey)> = cursor
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| corrupt("cursor"))?;
        let tables = self.tables();
        let place = |record: &Conversation| match selection {
            ConversationFilter::Blocked | ConversationFilter::Removed => Some(record.changed_at),
            ConversationFilter::Everyone { .. }
            | ConversationFilter::Tenant(_)
            | ConversationFilter::User(_)
            | ConversationFilter::Account(_)
            | ConversationFilter::Conversation(_)
            | ConversationFilter::Team(_)
            | ConversationFilter::Tag(_) => None,
        };
        let selected = tables
            .conversations
            .values()
            .filter(|record| selects(selection, record))
            .filter(|record| {
                let after = after.as_ref().map(|(moment, key)| (*moment, key));
                after.is_none_or(|after| (place(record), &record.key) > after)
            });
        let listed: Vec<&Conversation> = match selection {
            ConversationFilter::Blocked | ConversationFilter::Removed => {
                let mut selected: Vec<_> = selected.collect();
                selected.sort_by_key(|record| record.changed_at);
                selected.truncate(limit + 1);
                selected
            }
            ConversationFilter::Everyone { .. }
            | ConversationFilter::Tenant(_)
            | ConversationFilter::User(_)
            | ConversationFilter::Account(_)
            | ConversationFilter::Conversation(_)
            | ConversationFilter::Team(_)
            | ConversationFilter::Tag(_) => selected.take(limit + 1).collect(),
        };
        let more = listed.len() > limit;
        let listed = &listed[..listed.len().min(limit)];
        let next = listed
            .last()
            .filter(|_| more)
            .map(|record| serde_json::to_string(&(place(record), &record.key)))
            .transpose()
            .map_err(|_| corrupt("cursor"))?;
        let found = listed
            .iter()
            .map(|record| ConversationSummary {
                key: record.key.clone(),
                attributes: record.attributes.clone(),
                state: record.state.clone(),
                changed_at: record.changed_at,
            })
            .collect();
        Ok(ListPage {
            items: found,
            cursor: next,
        })
    }
}

fn corrupt(what: &str) -> Error {
    Error::Corrupt {
        verb: "list conversations",
        what: what.to_owned(),
    }
}

fn selects(selection: &ConversationFilter, record: &Conversation) -> bool {
    match selection {
        ConversationFilter::Everyone { segment, segments } => {
            let bucket = record.key.conversation.as_str().bytes().fold(0_u32, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u32::from(byte))
            });
            bucket % u32::from((*segments).max(1)) == u32::from(*segment)
        }
        ConversationFilter::Tenant(tenant) => {
            record.attributes.tenant.as_ref() == Some(tenant) && !record.is_thread()
        }
        ConversationFilter::User(id) => record.attributes.user.as_ref() == Some(id),
        ConversationFilter::Account(id) => record.attributes.account.as_ref() == Some(id),
        ConversationFilter::Conversation(id) => record.key.conversation == *id,
        ConversationFilter::Team(team) => record.attributes.team.as_ref() == Some(team),
        ConversationFilter::Tag(name) => record.attributes.tags.contains(name),
        ConversationFilter::Blocked => matches!(record.state, State::Blocked { .. }),
        ConversationFilter::Removed => record.state == State::Removed,
    }
}

impl Notifications for Store {
    async fn accept(&self, acceptance: &Acceptance) -> Result<Accept, Error> {
        let mut tables = self.tables();
        let id = acceptance.notification.id.clone();
        if let Some(idempotency) = &acceptance.idempotency {
            match tables.idempotency.get(&idempotency.key) {
                Some((earlier, _)) if earlier.until <= acceptance.notification.accepted_at => {}
                Some((earlier, id)) if earlier.body == idempotency.body => {
                    return Ok(Accept::Duplicate(id.clone()));
                }
                Some(_) => return Ok(Accept::Conflict),
                None => {}
            }
        }
        if tables.notifications.contains_key(&id) {
            return Ok(Accept::Created);
        }
        if let Some(idempotency) = &acceptance.idempotency {
            tables
                .idempotency
                .insert(idempotency.key.clone(), (idempotency.clone(), id.clone()));
        }
        let entry = Entry {
            head: acceptance.notification.clone(),
            audience: acceptance.audience.clone(),
            contents: vec![Content::Message(Box::new(acceptance.message.clone()))],
            pages: BTreeMap::new(),
            closed: BTreeMap::new(),
            buried: BTreeMap::new(),
            drafts: HashMap::new(),
            found: HashMap::new(),
        };
        tables.notifications.insert(id, entry);
        Ok(Accept::Created)
    }

    async fn roll_back(&self, id: &NotificationId) -> Result<bool, Error> {
        let mut tables = self.tables();
        if tables
            .notifications
            .get(id)
            .is_some_and(|entry| !entry.pages.is_empty() || entry.head.revision > 0)
        {
            return Ok(false);
        }
        tables.notifications.remove(id);
        tables.idempotency.retain(|_, (_, accepted_as)| accepted_as != id);
        Ok(true)
    }

    async fn find(&self, id: &NotificationId) -> Result<Option<Notification>, Error> {
        Ok(self
            .tables()
            .notifications
            .get(id)
            .map(|entry| entry.head.clone()))
    }

    async fn audience(&self, id: &NotificationId) -> Result<Option<Audience>, Error> {
        Ok(self
            .tables()
            .notifications
            .get(id)
            .map(|entry| entry.audience.clone()))
    }

    async fn message(&self, id: &NotificationId, revision: u32) -> Result<Option<Activity>, Error> {
        let tables = self.tables();
        let content = tables
            .notifications
            .get(id)
            .and_then(|entry| entry.contents.get(revision as usize));
        Ok(match content {
            Some(Content::Message(message)) => Some(Activity::clone(message)),
            Some(Content::Nothing) | None => None,
        })
    }

    async fn latest_page(&self, id: &NotificationId, part: u16) -> Result<Option<(u32, Page)>, Error> {
        let tables = self.tables();
        let latest = tables
            .notifications
            .get(id)
            .and_then(|entry| entry.pages.range((part, 0)..=(part, u32::MAX)).last());
        Ok(latest.map(|((_, number), page)| (*number, page.clone())))
    }

    async fn page(&self, id: &NotificationId, part: u16, number: u32) -> Result<Option<Page>, Error> {
        let tables = self.tables();
        let entry = tables.notifications.get(id);
        Ok(entry.and_then(|entry| entry.pages.get(&(part, number)).cloned()))
    }

    async fn put_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
        page: &Page,
    ) -> Result<bool, Error> {
        let mut tables = self.tables();
        let Some(entry) = tables.notifications.get_mut(id) else {
            return Ok(false);
        };
        if entry.pages.contains_key(&(part, number)) {
            return Ok(false);
        }
        entry.pages.insert((part, number), page.clone());
        entry.head.audience += page.recipients();
        entry.head.batched += page.batched();
        entry.head.chunks += page.chunks.len() as u64;
        entry.head.unreachable.add(&page.unreachable);
        entry.head.parts_planned += u16::from(page.next.is_none());
        Ok(true)
    }

    async fn freeze_page(&self, id: &NotificationId, page: (u16, u32), read: &Page) -> Result<Page, Error> {
        let mut tables = self.tables();
        let Some(entry) = tables.notifications.get_mut(id) else {
            return Ok(read.clone());
        };
        Ok(entry.drafts.entry(page).or_insert_with(|| read.clone()).clone())
    }

    async fn claim_recipients(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        found: &[Recipient],
    ) -> Result<Vec<Recipient>, Error> {
        let mut tables = self.tables();
        let Some(entry) = tables.notifications.get_mut(id) else {
            return Ok(Vec::new());
        };
        let repeated = found
            .iter()
            .filter(|recipient| *entry.found.entry((*recipient).clone()).or_insert(page) != page);
        Ok(repeated.cloned().collect())
    }

    async fn close_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        closing: &Closing,
    ) -> Result<Close, Error> {
        let mut tables = self.tables();
        let Some(entry) = tables.notifications.get_mut(id) else {
            return Ok(Close::Closed);
        };
        let standing = entry.closed.get(&chunk).copied();
        if standing.is_some_and(|standing| standing >= revision) {
            return Ok(Close::Closed);
        }
        if entry.head.revision != revision {
            return Ok(Close::StaleRevision);
        }
        entry.closed.insert(chunk, revision);
        let head = &mut entry.head;
        if standing.is_none() {
            head.chunks_closed += 1;
            head.tally.add(&closing.tally);
        }
        head.chunks_current += 1;
        head.copies.current += closing.copies.current;
        head.copies.uneditable += closing.copies.uneditable;
        Ok(Close::Closed)
    }

    async fn closed_chunks(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> Result<Vec<(u16, u32)>, Error> {
        let tables = self.tables();
        let Some(entry) = tables.notifications.get(id) else {
            return Ok(Vec::new());
        };
        let chunk = |index| ChunkId { part, page, index };
        let of_page = entry.closed.range(chunk(0)..=chunk(u16::MAX));
        Ok(of_page
            .map(|(chunk, revision)| (chunk.index, *revision))
            .collect())
    }

    async fn cancel(&self, id: &NotificationId, now: Timestamp) -> Result<Option<Notification>, Error> {
        let mut tables = self.tables();
        Ok(tables.notifications.get_mut(id).map(|entry| {
            entry.head.cancelled_at.get_or_insert(now);
            entry.head.clone()
        }))
    }

    async fn revise(&self, id: &NotificationId, content: &Content, now: Timestamp) -> Result<Revise, Error> {
        let mut tables = self.tables();
        let Some(entry) = tables.notifications.get_mut(id) else {
            return Ok(Revise::NotFound);
        };
        let head = &mut entry.head;
        if head.retracted {
            return Ok(Revise::Retracted);
        }
        head.revision += 1;
        head.revised_at = Some(now);
        head.retracted = *content == Content::Nothing;
        head.chunks_current = 0;
        head.copies = Copies::default();
        entry.contents.push(content.clone());
        Ok(Revise::Revised(Box::new(head.clone())))
    }

    async fn start(&self, id: &NotificationId, now: Timestamp) -> Result<(), Error> {
        if let Some(entry) = self.tables().notifications.get_mut(id)
            && entry.head.cancelled_at.is_none()
        {
            entry.head.released_at.get_or_insert(now);
        }
        Ok(())
    }

    async fn complete(&self, id: &NotificationId, now: Timestamp) -> Result<bool, Error> {
        let mut tables = self.tables();
        let head = tables.notifications.get_mut(id).map(|entry| &mut entry.head);
        Ok(head.is_some_and(|head| {
            head.completed_at
                .replace(head.completed_at.unwrap_or(now))
                .is_none()
        }))
    }

    async fn mark_dead_lettered(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        reason: &str,
    ) -> Result<(), Error> {
        if let Some(entry) = self.tables().notifications.get_mut(id) {
            entry.buried.insert(chunk, reason.to_owned());
        }
        Ok(())
    }

    async fn dead_letters(&self, id: &NotificationId) -> Result<Vec<(ChunkId, String)>, Error> {
        let tables = self.tables();
        let entry = tables.notifications.get(id);
        Ok(entry.map_or(Vec::new(), |entry| {
            entry
                .buried
                .iter()
                .map(|(chunk, reason)| (*chunk, reason.clone()))
                .collect()
        }))
    }
}

impl Ledger for Store {
    async fn claim(&self, asked: Asked<'_>, conversation: &ConversationKey) -> Result<Claim, Error> {
        let mut tables = self.tables();
        loop {
            let turn = tables.turns.get(conversation);
            let standing = Standing {
                row: tables.deliveries.get(asked.delivery),
                turn,
                holder: turn.and_then(|turn| tables.deliveries.get(&turn.holder)),
            };
            match delivery::claim(asked, standing) {
                Decision::Answer(claim) => return Ok(claim),
                Decision::WriteUp(row) => {
                    let holder = turn.map_or_else(|| asked.delivery.clone(), |turn| turn.holder.clone());
                    let stage = row.stage();
                    tables.write(&holder, row, stage);
                }
                Decision::Take(turn, lease) => {
                    tables.turns.insert(conversation.clone(), turn);
                    return Ok(Claim::Taken(lease));
                }
            }
        }
    }

    async fn settle(
        &self,
        delivery: &DeliveryKey,
        lease: &Lease,
        outcome: &Outcome,
    ) -> Result<CasResult, Error> {
        let row = lease.settled(outcome.clone());
        Ok(self.tables().write(delivery, row, lease.stage()))
    }

    async fn release(
        &self,
        delivery: &DeliveryKey,
        lease: &Lease,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> Result<CasResult, Error> {
        let row = lease.released(until, why.to_owned(), doubts);
        Ok(self.tables().write(delivery, row, lease.stage()))
    }

    async fn defer(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        why: &str,
        tries: u32,
    ) -> Result<Option<Outcome>, Error> {
        let row = Row {
            state: delivery::State::Waiting {
                until,
                why: why.to_owned(),
            },
            attempt: tries,
            doubts: 0,
        };
        Ok(self.tables().write_unsettled(delivery, row))
    }

    async fn settle_unclaimed(&self, delivery: &DeliveryKey, outcome: &Outcome) -> Result<Outcome, Error> {
        let row = Row {
            state: delivery::State::Settled(outcome.clone()),
            attempt: 0,
            doubts: 0,
        };
        let mut tables = self.tables();
        Ok(match tables.write_unsettled(delivery, row.clone()) {
            Some(standing) if standing.is_outdated_by(outcome) => {
                tables.deliveries.insert(delivery.clone(), row);
                outcome.clone()
            }
            Some(standing) => standing,
            None => outcome.clone(),
        })
    }

    async fn mark_retryable(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> Result<Option<Outcome>, Error> {
        let mut tables = self.tables();
        let row = tables
            .deliveries
            .entry(delivery.clone())
            .or_insert_with(|| Row::left(until, why.to_owned(), doubts));
        Ok(match &row.state {
            delivery::State::Settled(standing) => Some(standing.clone()),
            delivery::State::Waiting { .. } => None,
        })
    }

    async fn operation(&self, operation: &OperationKey) -> Result<Option<Operation>, Error> {
        Ok(self.tables().operations.get(operation).cloned())
    }

    async fn compare_and_set_batch(
        &self,
        operation: &OperationKey,
        to: &Operation,
    ) -> Result<CasResult, Error> {
        let mut tables = self.tables();
        let standing = tables
            .operations
            .get(operation)
            .map_or(0, |standing| standing.step);
        if standing + 1 != to.step {
            return Ok(CasResult::Conflict);
        }
        tables.operations.insert(operation.clone(), to.clone());
        Ok(CasResult::Committed)
    }

    async fn rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<Row>>, Error> {
        let tables = self.tables();
        Ok(deliveries
            .iter()
            .map(|delivery| tables.deliveries.get(delivery).cloned())
            .collect())
    }
}

impl Tables {
    /// Writes the row of a delivery that was never claimed, unless it has ended: so.
    fn write_unsettled(&mut self, delivery: &DeliveryKey, new: Row) -> Option<Outcome> {
        if let Some(Row {
            state: delivery::State::Settled(standing),
            ..
        }) = self.deliveries.get(delivery)
        {
            return Some(standing.clone());
        }
        self.deliveries.insert(delivery.clone(), new);
        None
    }

    fn write(&mut self, delivery: &DeliveryKey, new: Row, stage: Stage) -> CasResult {
        let standing = self.deliveries.get(delivery);
        if standing == Some(&new) {
            return CasResult::Committed;
        }
        if !delivery::may_write(standing, &new, stage) {
            return CasResult::Conflict;
        }
        self.deliveries.insert(delivery.clone(), new);
        CasResult::Committed
    }
}

impl Paces for Store {
    async fn apply<T: Send>(
        &self,
        bucket: &Bucket,
        rule: impl Fn(&TenantRate) -> (T, Option<TenantRate>) + Send + Sync,
    ) -> Result<T, Error> {
        let mut tables = self.tables();
        let standing = tables.paces.get(bucket).cloned().unwrap_or_default();
        let (answer, new) = rule(&standing);
        if let Some(new) = new {
            tables.paces.insert(bucket.clone(), new);
        }
        Ok(answer)
    }
}
