//! The notifications in memory.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::Store;
use crate::audience::Recipient;
use crate::delivery::OutcomeCounts;
use crate::id::NotificationId;
use crate::notification::{
    ChunkId, ChunkResult, Content, CountedChunk, MessageRefusal, Notification, NotificationFilter, Page,
    Wave, WaveDecision, WaveState,
};
use crate::store::{
    Accept, Acceptance, CasResult, Close, Document, Error, Idempotency, ListPage, Milestone, Notifications,
    PageNumber, SetOnce,
};

#[derive(Debug)]
pub(super) struct Entry {
    head: Notification,
    documents: BTreeMap<Document, Vec<u8>>,
    pages: BTreeMap<(u16, u32), Page>,
    frozen: HashMap<(u16, u32), Page>,
    /// The page that claimed each recipient first, by the recipient's part of a ledger key.
    claimed: HashMap<String, (u16, u32)>,
    /// What is counted of each chunk.
    counted: BTreeMap<ChunkId, CountedChunk>,
    dead_letters: BTreeMap<ChunkId, String>,
    waves: BTreeMap<Timestamp, Wave>,
}

impl Store {
    /// Reads or changes a notification; `None` if there is no such.
    fn with<T>(&self, id: &NotificationId, act: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.tables().notifications.get_mut(id).map(act)
    }
}

impl Notifications for Store {
    async fn accept(&self, acceptance: &Acceptance) -> Result<Accept, Error> {
        let Acceptance {
            notification: head,
            audience,
            message,
            replacement,
            idempotency,
        } = acceptance;
        let mut tables = self.tables();
        if let Some(key) = idempotency
            && let Some((earlier, id)) = tables.idempotency.get(&key.key)
            && earlier.until > head.accepted_at
        {
            return Ok(if earlier.body == key.body {
                Accept::Duplicate(id.clone())
            } else {
                Accept::Conflict
            });
        }
        if tables.notifications.contains_key(&head.id) {
            return Ok(Accept::Created);
        }
        if let Some(plan) = &head.confirms {
            let plan = tables.notifications.get_mut(plan).map(|entry| &mut entry.head);
            match plan {
                Some(plan) if plan.confirmed_as.is_none() && !plan.is_stopped() => {
                    plan.confirmed_as = Some(head.id.clone());
                }
                plan => return Ok(Accept::NotConfirmable(plan.map(|plan| Box::new(plan.clone())))),
            }
        }
        if let Some(key) = idempotency {
            let accepted = (key.clone(), head.id.clone());
            tables.idempotency.insert(key.key.clone(), accepted);
        }
        let documents = [
            (Document::Audience, json(audience)?),
            (Document::Message { revision: 0 }, json(message)?),
        ];
        let replacement = replacement.as_ref().map(json).transpose()?;
        let replacement = replacement.map(|message| (Document::Replacement, message));
        let entry = Entry {
            head: head.clone(),
            documents: documents.into_iter().chain(replacement).collect(),
            pages: BTreeMap::new(),
            frozen: HashMap::new(),
            claimed: HashMap::new(),
            counted: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            waves: BTreeMap::new(),
        };
        tables.notifications.insert(head.id.clone(), entry);
        Ok(Accept::Created)
    }

    async fn accepted_as(
        &self,
        idempotency: &Idempotency,
        now: Timestamp,
    ) -> Result<Option<NotificationId>, Error> {
        let tables = self.tables();
        let earlier = tables.idempotency.get(&idempotency.key);
        let same = earlier.filter(|(of, _)| of.until > now && of.body == idempotency.body);
        Ok(same.map(|(_, id)| id.clone()))
    }

    async fn roll_back(&self, id: &NotificationId) -> Result<bool, Error> {
        let mut tables = self.tables();
        let entry = tables.notifications.get(id);
        if entry.is_some_and(|entry| !entry.pages.is_empty() || entry.head.revision > 0) {
            return Ok(false);
        }
        let removed = tables.notifications.remove(id);
        if let Some(plan) = removed.and_then(|entry| entry.head.confirms)
            && let Some(plan) = tables.notifications.get_mut(&plan)
        {
            plan.head.confirmed_as = None;
        }
        tables.idempotency.retain(|_, (_, accepted_as)| accepted_as != id);
        Ok(true)
    }

    async fn find(&self, id: &NotificationId) -> Result<Option<Notification>, Error> {
        Ok(self.with(id, |entry| entry.head.clone()))
    }

    async fn list_newest(
        &self,
        filter: &NotificationFilter,
        before: Option<&NotificationId>,
        _: Timestamp,
        limit: usize,
    ) -> Result<ListPage<Notification>, Error> {
        let tables = self.tables();
        let heads = tables.notifications.values().map(|entry| &entry.head);
        let mut found: Vec<_> = heads
            .filter(|head| before.is_none_or(|before| head.id < *before) && filter.matches(head))
            .cloned()
            .collect();
        found.sort_by(|one, other| other.id.cmp(&one.id));
        let is_last = found.len() <= limit;
        found.truncate(limit);
        let cursor = found.last().filter(|_| !is_last).map(|head| head.id.to_string());
        Ok(ListPage { items: found, cursor })
    }

    async fn document(&self, id: &NotificationId, document: Document) -> Result<Option<Vec<u8>>, Error> {
        Ok(self
            .with(id, |entry| entry.documents.get(&document).cloned())
            .flatten())
    }

    async fn stored_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: PageNumber,
    ) -> Result<Option<(u32, Page)>, Error> {
        let numbers = match number {
            PageNumber::Latest => (part, 0)..=(part, u32::MAX),
            PageNumber::At(number) => (part, number)..=(part, number),
        };
        let page = self.with(id, |entry| {
            let (key, page) = entry.pages.range(numbers).next_back()?;
            Some((key.1, page.clone()))
        });
        Ok(page.flatten())
    }

    async fn put_page(
        &self,
        id: &NotificationId,
        part: u16,
        number: u32,
        page: &Page,
    ) -> Result<bool, Error> {
        let put = self.with(id, |entry| {
            if entry.pages.contains_key(&(part, number)) {
                return false;
            }
            entry.pages.insert((part, number), page.clone());
            if page.matched {
                entry.head.matched_parts.insert(part);
            }
            entry.head.audience += page.recipients();
            entry.head.batched += page.batched();
            entry.head.newcomers += page.newcomers();
            for (due, recipients) in page.waves() {
                entry.head.in_waves += recipients;
                let wave = entry.waves.entry(due).or_insert(Wave {
                    due,
                    recipients: 0,
                    state: WaveState::Waiting,
                });
                wave.recipients += recipients;
            }
            entry.head.chunks += page.chunks.len() as u64;
            entry.head.unreachable.add(&page.unreachable);
            entry.head.parts_planned += u16::from(page.next.is_none());
            true
        });
        Ok(put.unwrap_or(false))
    }

    async fn waves(&self, id: &NotificationId) -> Result<Vec<Wave>, Error> {
        let waves = self.with(id, |entry| entry.waves.values().copied().collect());
        Ok(waves.unwrap_or_default())
    }

    async fn decide_wave(
        &self,
        id: &NotificationId,
        due: Timestamp,
        decision: WaveDecision,
        _: Timestamp,
    ) -> Result<Option<Wave>, Error> {
        let decided = self.with(id, |entry| {
            let wave = entry.waves.get_mut(&due)?;
            if wave.state == WaveState::Waiting {
                wave.state = decision.state();
            }
            Some(*wave)
        });
        Ok(decided.flatten())
    }

    async fn freeze_page(&self, id: &NotificationId, page: (u16, u32), read: &Page) -> Result<Page, Error> {
        let frozen = self.with(id, |entry| {
            entry.frozen.entry(page).or_insert_with(|| read.clone()).clone()
        });
        Ok(frozen.unwrap_or_else(|| read.clone()))
    }

    async fn claim_recipients(
        &self,
        id: &NotificationId,
        page: (u16, u32),
        found: &[Recipient],
    ) -> Result<Vec<Recipient>, Error> {
        let claimed_before = self.with(id, |entry| {
            let mut claim = |recipient: &&Recipient| {
                let by = entry.claimed.entry(recipient.ledger_key()).or_insert(page);
                *by != page
            };
            found.iter().filter(&mut claim).cloned().collect()
        });
        Ok(claimed_before.unwrap_or_default())
    }

    async fn close_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        revision: u32,
        result: &ChunkResult,
    ) -> Result<Close, Error> {
        let close = self.with(id, |entry| {
            let counted = entry.counted.get(&chunk).copied();
            if counted.is_some_and(|counted| counted.is_closed_at(revision)) {
                return Close::Closed;
            }
            if entry.head.revision != revision {
                return Close::StaleRevision;
            }
            let now = CountedChunk {
                index: chunk.index,
                closed_at: Some(revision),
                counts: OutcomeCounts::default(),
            };
            entry.counted.insert(chunk, now);
            let head = &mut entry.head;
            if counted.is_none_or(|counted| counted.closed_at.is_none()) {
                head.chunks_closed += 1;
                let before = counted.map(|counted| counted.counts).unwrap_or_default();
                head.counts.recount(&before, &result.counts);
            }
            head.chunks_current += 1;
            head.revision_counts.current += result.revision_counts.current;
            head.revision_counts.uneditable += result.revision_counts.uneditable;
            head.revision_counts.superseding += result.revision_counts.superseding;
            Close::Closed
        });
        Ok(close.unwrap_or(Close::Closed))
    }

    async fn count_open_chunk(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        counts: &OutcomeCounts,
    ) -> Result<(), Error> {
        self.with(id, |entry| {
            let counted = entry.counted.entry(chunk).or_insert(CountedChunk {
                index: chunk.index,
                closed_at: None,
                counts: OutcomeCounts::default(),
            });
            if counted.closed_at.is_none() && counts.growth_since(&counted.counts).is_some() {
                entry.head.counts.recount(&counted.counts, counts);
                counted.counts = *counts;
            }
        });
        Ok(())
    }

    async fn counted_chunks(
        &self,
        id: &NotificationId,
        part: u16,
        page: u32,
    ) -> Result<Vec<CountedChunk>, Error> {
        let chunk = |index| ChunkId { part, page, index };
        let counted = self.with(id, |entry| {
            let counted = entry.counted.range(chunk(0)..=chunk(u16::MAX));
            counted.map(|(_, counted)| *counted).collect()
        });
        Ok(counted.unwrap_or_default())
    }

    async fn set_once(
        &self,
        id: &NotificationId,
        milestone: Milestone,
        now: Timestamp,
    ) -> Result<SetOnce, Error> {
        let set = self.with(id, |entry| {
            let set = milestone.set(&mut entry.head, now);
            let head = Box::new(entry.head.clone());
            if set {
                SetOnce::Set(head)
            } else {
                SetOnce::Unchanged(head)
            }
        });
        Ok(set.unwrap_or(SetOnce::NotFound))
    }

    async fn refuse_message(&self, id: &NotificationId, refusal: &MessageRefusal) -> Result<(), Error> {
        self.with(id, |entry| {
            if entry.head.admits_refusal(refusal) {
                entry.head.refused = Some(refusal.clone());
            }
        });
        Ok(())
    }

    async fn compare_and_set_content(
        &self,
        revised: &Notification,
        content: &Content,
    ) -> Result<CasResult, Error> {
        let message = match content {
            Content::Message(message) => Some(json(message)?),
            Content::Nothing => None,
        };
        let set = self.with(&revised.id, |entry| {
            let head = &mut entry.head;
            let is_started = |head: &Notification| head.released_at.is_some();
            if head.revision + 1 != revised.revision
                || head.retracted
                || head.confirmed_as.is_some()
                || is_started(head) != is_started(revised)
            {
                return CasResult::Conflict;
            }
            head.revision = revised.revision;
            head.revised_at = revised.revised_at;
            head.retracted = revised.retracted;
            head.retraction = revised.retraction;
            head.chunks_current = revised.chunks_current;
            head.revision_counts = revised.revision_counts;
            let revision = revised.revision;
            let message = message.map(|message| (Document::Message { revision }, message));
            entry.documents.extend(message);
            CasResult::Committed
        });
        Ok(set.unwrap_or(CasResult::Conflict))
    }

    async fn mark_dead_lettered(
        &self,
        id: &NotificationId,
        chunk: ChunkId,
        reason: &str,
    ) -> Result<(), Error> {
        self.with(id, |entry| entry.dead_letters.insert(chunk, reason.to_owned()));
        Ok(())
    }

    async fn dead_letters(&self, id: &NotificationId) -> Result<Vec<(ChunkId, String)>, Error> {
        let dead = self.with(id, |entry| entry.dead_letters.clone());
        Ok(dead.unwrap_or_default().into_iter().collect())
    }
}

fn json<T: Serialize>(document: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document).map_err(|_| Error::corrupt("store a document", "content"))
}
