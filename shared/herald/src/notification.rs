//! A notification: what a caller asked for, how far it has come, and the pages its audience was planned in.
//!
//! The audience is never held whole. It is planned in *parts* (one for a selector, several for `everyone`), each part
//! in *pages* of at most [`PAGE_SIZE`] conversations, each page in *chunks* of one tenant, which the sender takes.
//! A page is written once, before its chunks are enqueued, and counted in the same transaction; a chunk is closed
//! once, when all its deliveries have ended, and counted in the same transaction. So the counts add up at every
//! instant they can be read, whoever dies in between.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::audience::{Audience, Recipient, Selector};
use crate::delivery::{OnUnknown, Tally};
use crate::id::NotificationId;
use request::Request;

pub mod request;
pub mod summary;

/// How many conversations a page holds at most.
///
/// One page is one DynamoDB item, at most 400 KB. A conversation's key has two ids of at most
/// [`ID_BYTES_MAX`](crate::conversation::ID_BYTES_MAX) bytes, each byte at most two in JSON: 4 KB and a few words.
pub const PAGE_SIZE: usize = 96;

/// In how many segments `everyone` is read at once.
pub const EVERYONE_SEGMENTS: u16 = 4;

/// How far a notification has come, from its counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its name.
    pub id: NotificationId,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Who asked for it.
    pub caller: String,
    /// The caller's word for its kind.
    pub category: Option<String>,
    /// What an unknown outcome becomes.
    pub on_unknown: OnUnknown,
    /// Nothing is sent from this moment on.
    pub expires_at: Timestamp,
    /// In how many segments `everyone` is read; kept with the notification, since its pages are numbered by them.
    pub segments: u16,
    /// Parts its audience is planned in.
    pub parts: u16,
    /// Parts whose last page is written.
    pub parts_planned: u16,
    /// Recipients planned so far.
    pub audience: u64,
    /// Chunks planned so far.
    pub chunks: u64,
    /// Chunks whose deliveries have all ended.
    pub chunks_closed: u64,
    /// How the deliveries of the closed chunks ended.
    pub tally: Tally,
}

/// What a notification is at, as the API calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Taken; nothing is planned yet.
    Accepted,
    /// Its audience is being read; deliveries may already be under way.
    Planning,
    /// Its audience is known; deliveries are open.
    Sending,
    /// Every delivery has ended.
    Completed,
}

impl Notification {
    /// A notification at its beginning.
    pub fn begin(id: NotificationId, accepted_at: Timestamp, caller: String, request: &Request) -> Self {
        let parts = parts(&request.audience, EVERYONE_SEGMENTS).len();
        Self {
            id,
            accepted_at,
            caller,
            category: request.category.clone(),
            on_unknown: request.on_unknown,
            expires_at: request.expires_at,
            segments: EVERYONE_SEGMENTS,
            // At most twenty selectors of at most four parts.
            parts: u16::try_from(parts).unwrap_or(u16::MAX),
            parts_planned: 0,
            audience: 0,
            chunks: 0,
            chunks_closed: 0,
            tally: Tally::default(),
        }
    }

    /// What it is at.
    pub fn state(&self) -> State {
        if self.parts_planned < self.parts {
            if self.chunks == 0 {
                State::Accepted
            } else {
                State::Planning
            }
        } else if self.chunks_closed < self.chunks {
            State::Sending
        } else {
            State::Completed
        }
    }

    /// Deliveries that have not ended, or whose chunk has not: always the audience less everything counted.
    pub fn open(&self) -> u64 {
        self.audience.saturating_sub(self.tally.total())
    }
}

/// Where one part of a plan begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The selector, and its place in the audience.
    pub selector: (usize, &'a Selector),
    /// Which of how many segments of the table, for `everyone`; 0 of 1 for the others.
    pub segment: (u16, u16),
}

/// The parts an audience is planned in, `everyone` in so many segments, in an order that never changes.
pub fn parts(audience: &Audience, segments: u16) -> Vec<Part<'_>> {
    let segments = |selector: &Selector| match selector {
        Selector::Everyone => segments,
        Selector::Tenant(_) | Selector::Users { .. } | Selector::Accounts(_) | Selector::Conversations(_) => {
            1
        }
    };
    audience
        .0
        .iter()
        .enumerate()
        .flat_map(|(index, selector)| {
            let count = segments(selector);
            (0..count).map(move |segment| Part {
                selector: (index, selector),
                segment: (segment, count),
            })
        })
        .collect()
}

/// One page of a part, as it was planned once and for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Its recipients, one tenant a chunk.
    pub chunks: Vec<Vec<Recipient>>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<String>,
}

impl Page {
    /// Groups recipients by tenant, in the order the tenants first appear.
    pub fn group(
        recipients: impl IntoIterator<Item = (Option<String>, Recipient)>,
        next: Option<String>,
    ) -> Self {
        let mut chunks: Vec<(Option<String>, Vec<Recipient>)> = Vec::new();
        for (tenant, recipient) in recipients {
            match chunks.iter_mut().find(|(of, _)| *of == tenant) {
                Some((_, chunk)) => chunk.push(recipient),
                None => chunks.push((tenant, vec![recipient])),
            }
        }
        Self {
            chunks: chunks.into_iter().map(|(_, chunk)| chunk).collect(),
            next,
        }
    }

    /// Recipients on this page.
    pub fn recipients(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len() as u64).sum()
    }
}

/// Names one chunk of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The part, from 0.
    pub part: u16,
    /// The page of that part, from 0.
    pub page: u32,
    /// The chunk on that page, from 0.
    pub index: u16,
}
