//! The keys of a notification's items.

use jiff::Timestamp;

use super::super::Error;
use super::super::attribute::{Item, Record, item, text};
use crate::audience::Recipient;
use crate::digest::sha256_hex;
use crate::id::NotificationId;
use crate::notification::ChunkId;
use crate::store::Document;

pub(super) const HEAD: &str = "head";
pub(super) const PAGE: &str = "page";
const FOUND: &str = "recipient";
pub(super) const CLOSED: &str = "closed";
pub(super) const DEAD_LETTER: &str = "deadLetter";
pub(super) const WAVE: &str = "wave";

/// The prefix of a document's pieces.
pub(super) fn document(document: Document) -> String {
    match document {
        Document::Audience => "audience".to_owned(),
        Document::Message { revision } => format!("message#{revision:05}"),
        Document::Replacement => "replacement".to_owned(),
    }
}

pub(super) fn page(part: u16, number: u32) -> String {
    format!("{PAGE}#{part:05}#{number:010}")
}

/// The sort key of a frozen page.
pub(super) fn draft(part: u16, number: u32) -> String {
    format!("frozen#{part:05}#{number:010}")
}

/// The sort key of a claimed recipient: a digest, because ids may be too long for a key.
pub(super) fn found(recipient: &Recipient) -> String {
    format!("{FOUND}#{}", sha256_hex(recipient.ledger_key().as_bytes()))
}

pub(super) fn of_chunk(what: &str, chunk: ChunkId) -> String {
    let ChunkId { part, page, index } = chunk;
    format!("{what}#{part:05}#{page:010}#{index:05}")
}

/// The sort key of a wave: its moment, in milliseconds.
pub(super) fn wave(due: Timestamp) -> String {
    format!("{WAVE}#{:015}", due.as_millisecond())
}

/// The chunk of a sort key.
pub(super) fn chunk(record: Record<'_>) -> Result<ChunkId, Error> {
    let corrupt = || record.corrupt("part");
    let mut numbers = record.text("part")?.split('#').skip(1);
    let mut next = || numbers.next().ok_or_else(corrupt);
    Ok(ChunkId {
        part: next()?.parse().map_err(|_| corrupt())?,
        page: next()?.parse().map_err(|_| corrupt())?,
        index: next()?.parse().map_err(|_| corrupt())?,
    })
}

pub(super) fn key(id: &NotificationId, part: &str) -> Item {
    item([("notification", text(id.as_str())), ("part", text(part))])
}

pub(super) fn idempotency_key(digest: &str) -> Item {
    item([
        ("notification", text(format!("idempotency#{digest}"))),
        ("part", text(HEAD)),
    ])
}
