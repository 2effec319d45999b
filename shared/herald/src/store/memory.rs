//! The tables in memory, for tests and simulations. It keeps every promise of the port but survival.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use botframework::activity::Activity;
use jiff::Timestamp;

use super::{
    Acceptance, Accepted, Candidate, Conversations, Error, Idempotency, Ledger, Listing, Notifications,
    Remembered, Selection, Written,
};
use crate::audience::Audience;
use crate::conversation::{self, Conversation, ConversationKey, Sighting, State};
use crate::delivery::{self, Claim, DeliveryKey, Lease, Outcome, Row, Tally};
use crate::id::NotificationId;
use crate::notification::{ChunkId, Notification, Page};

/// All three tables. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Store(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    conversations: BTreeMap<ConversationKey, Conversation>,
    notifications: HashMap<NotificationId, Entry>,
    idempotency: HashMap<String, (Idempotency, NotificationId)>,
    deliveries: HashMap<DeliveryKey, Row>,
}

#[derive(Debug)]
struct Entry {
    head: Notification,
    audience: Audience,
    message: Activity,
    pages: BTreeMap<(u16, u32), Page>,
    closed: BTreeMap<ChunkId, Tally>,
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
}

impl Conversations for Store {
    async fn remember(&self, sighting: Sighting, now: Timestamp) -> Result<Remembered, Error> {
        let mut tables = self.tables();
        let existing = tables.conversations.get(&sighting.key);
        let known = existing.is_some();
        let Some(record) = conversation::remember(existing, sighting, now) else {
            return Ok(Remembered::Unchanged);
        };
        tables.conversations.insert(record.key.clone(), record);
        Ok(if known {
            Remembered::Changed
        } else {
            Remembered::New
        })
    }

    async fn forget(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        if let Some(record) = self.tables().conversations.get_mut(key)
            && record.state != State::Removed
        {
            record.state = State::Removed;
            record.version += 1;
            record.changed_at = now;
        }
        Ok(())
    }

    async fn recall(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
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
        selection: &Selection,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Listing<Candidate>, Error> {
        let after = cursor
            .map(str::parse::<ConversationKey>)
            .transpose()
            .map_err(|_| Error::Corrupt {
                verb: "list conversations",
                what: "cursor".to_owned(),
            })?;
        let tables = self.tables();
        let mut found: Vec<Candidate> = tables
            .conversations
            .values()
            .filter(|record| after.as_ref().is_none_or(|after| record.key > *after))
            .filter(|record| selects(selection, record))
            .take(limit + 1)
            .map(|record| Candidate {
                key: record.key.clone(),
                facts: record.facts.clone(),
                state: record.state.clone(),
            })
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found
            .last()
            .filter(|_| more)
            .map(|candidate| candidate.key.to_string());
        Ok(Listing { found, next })
    }
}

fn selects(selection: &Selection, record: &Conversation) -> bool {
    match selection {
        Selection::Everyone { segment, segments } => {
            let bucket = record.key.conversation.as_str().bytes().fold(0_u32, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(u32::from(byte))
            });
            bucket % u32::from((*segments).max(1)) == u32::from(*segment)
        }
        Selection::Tenant(tenant) => record.facts.tenant.as_ref() == Some(tenant) && !record.is_thread(),
        Selection::User(id) => record.facts.user.as_ref() == Some(id),
        Selection::Account(id) => record.facts.account.as_ref() == Some(id),
        Selection::Conversation(id) => record.key.conversation == *id,
        Selection::Team(team) => record.facts.team.as_ref() == Some(team),
    }
}

impl Notifications for Store {
    async fn accept(&self, acceptance: &Acceptance) -> Result<Accepted, Error> {
        let mut tables = self.tables();
        let id = acceptance.notification.id.clone();
        if let Some(idempotency) = &acceptance.idempotency {
            match tables.idempotency.get(&idempotency.key) {
                Some((earlier, _)) if earlier.until <= acceptance.notification.accepted_at => {}
                Some((earlier, id)) if earlier.body == idempotency.body => {
                    return Ok(Accepted::Repeated(id.clone()));
                }
                Some(_) => return Ok(Accepted::Conflict),
                None => {}
            }
        }
        if tables.notifications.contains_key(&id) {
            return Ok(Accepted::New);
        }
        if let Some(idempotency) = &acceptance.idempotency {
            tables
                .idempotency
                .insert(idempotency.key.clone(), (idempotency.clone(), id.clone()));
        }
        let entry = Entry {
            head: acceptance.notification.clone(),
            audience: acceptance.audience.clone(),
            message: acceptance.message.clone(),
            pages: BTreeMap::new(),
            closed: BTreeMap::new(),
        };
        tables.notifications.insert(id, entry);
        Ok(Accepted::New)
    }

    async fn withdraw(&self, id: &NotificationId) -> Result<bool, Error> {
        let mut tables = self.tables();
        if tables
            .notifications
            .get(id)
            .is_some_and(|entry| !entry.pages.is_empty())
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

    async fn message(&self, id: &NotificationId) -> Result<Option<Activity>, Error> {
        Ok(self
            .tables()
            .notifications
            .get(id)
            .map(|entry| entry.message.clone()))
    }

    async fn latest_page(&self, id: &NotificationId, part: u16) -> Result<Option<(u32, Page)>, Error> {
        let tables = self.tables();
        let latest = tables
            .notifications
            .get(id)
            .and_then(|entry| entry.pages.range((part, 0)..=(part, u32::MAX)).last());
        Ok(latest.map(|((_, number), page)| (*number, page.clone())))
    }

    async fn plan(&self, id: &NotificationId, part: u16, number: u32, page: &Page) -> Result<bool, Error> {
        let mut tables = self.tables();
        let Some(entry) = tables.notifications.get_mut(id) else {
            return Ok(false);
        };
        if entry.pages.contains_key(&(part, number)) {
            return Ok(false);
        }
        entry.pages.insert((part, number), page.clone());
        entry.head.audience += page.recipients();
        entry.head.chunks += page.chunks.len() as u64;
        entry.head.parts_planned += u16::from(page.next.is_none());
        Ok(true)
    }

    async fn close(&self, id: &NotificationId, chunk: ChunkId, tally: &Tally) -> Result<(), Error> {
        let mut tables = self.tables();
        if let Some(entry) = tables.notifications.get_mut(id)
            && entry.closed.insert(chunk, *tally).is_none()
        {
            entry.head.chunks_closed += 1;
            entry.head.tally.add(tally);
        }
        Ok(())
    }
}

impl Ledger for Store {
    async fn claim(&self, delivery: &DeliveryKey, now: Timestamp, until: Timestamp) -> Result<Claim, Error> {
        let mut tables = self.tables();
        let (claim, row) = delivery::claim(tables.deliveries.get(delivery), now, until);
        if let Some(row) = row {
            tables.deliveries.insert(delivery.clone(), row);
        }
        Ok(claim)
    }

    async fn settle(
        &self,
        delivery: &DeliveryKey,
        lease: Lease,
        outcome: &Outcome,
    ) -> Result<Written, Error> {
        Ok(self.write(
            delivery,
            lease,
            delivery::State::Settled(outcome.clone()),
            lease.doubts,
        ))
    }

    async fn release(
        &self,
        delivery: &DeliveryKey,
        lease: Lease,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> Result<Written, Error> {
        Ok(self.write(
            delivery,
            lease,
            delivery::State::Waiting {
                until,
                why: why.to_owned(),
            },
            doubts,
        ))
    }

    async fn look_up(&self, delivery: &DeliveryKey) -> Result<Option<Row>, Error> {
        Ok(self.tables().deliveries.get(delivery).cloned())
    }
}

impl Store {
    fn write(&self, delivery: &DeliveryKey, lease: Lease, state: delivery::State, doubts: u32) -> Written {
        let mut tables = self.tables();
        let new = Row {
            state,
            attempt: lease.attempt,
            doubts,
        };
        match tables.deliveries.get_mut(delivery) {
            Some(row)
                if row.attempt == lease.attempt && matches!(row.state, delivery::State::Claimed { .. }) =>
            {
                *row = new;
                Written::Stands
            }
            Some(row) if *row == new => Written::Stands,
            _ => Written::Lost,
        }
    }
}
