//! Scans the pages of a plan in order: by part, then by page number.

use std::collections::HashMap;
use std::str::FromStr;

use herald::audience::Recipient;
use herald::delivery::{DeliveryKey, Row};
use herald::notification::{ChunkId, CountedChunk, Notification, Page, PageChunk};
use herald::store::{self, Ledger, Notifications};

/// A position in a plan: before a recipient of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) part: u16,
    pub(crate) page: u32,
    /// The index of the recipient on the page.
    pub(crate) recipient: usize,
}

impl Position {
    /// The beginning of the next page.
    pub(crate) fn next_page(self) -> Self {
        Self {
            page: self.page.saturating_add(1),
            recipient: 0,
            ..self
        }
    }

    /// The text for a cursor.
    pub(crate) fn text(self) -> String {
        format!("{}.{}.{}", self.part, self.page, self.recipient)
    }
}

/// The text is not a position.
#[derive(Debug)]
pub(crate) struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.splitn(3, '.');
        let mut number = || numbers.next().ok_or(InvalidPosition);
        Ok(Self {
            part: number()?.parse().map_err(|_| InvalidPosition)?,
            page: number()?.parse().map_err(|_| InvalidPosition)?,
            recipient: number()?.parse().map_err(|_| InvalidPosition)?,
        })
    }
}

/// The page at this position or the next one, with its position; `None` after the last page.
pub(crate) async fn at<S: Notifications>(
    store: &S,
    notification: &Notification,
    mut position: Position,
) -> Result<Option<(Position, Page)>, store::Error> {
    while position.part < notification.parts {
        if let Some(page) = store.page(&notification.id, position.part, position.page).await? {
            return Ok(Some((position, page)));
        }
        position = Position {
            part: position.part + 1,
            ..Position::default()
        };
    }
    Ok(None)
}

/// The ledger rows of these recipients, in order.
pub(crate) async fn rows<L: Ledger>(
    ledger: &L,
    notification: &Notification,
    recipients: impl IntoIterator<Item = &Recipient>,
) -> Result<Vec<Option<Row>>, store::Error> {
    let keys: Vec<_> = recipients
        .into_iter()
        .map(|recipient| DeliveryKey::new(&notification.id, recipient))
        .collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    ledger.rows(&keys).await
}

/// A chunk that is not closed, with the ledger rows of its recipients.
pub(crate) struct OpenChunk {
    pub(crate) id: ChunkId,
    pub(crate) chunk: PageChunk,
    pub(crate) rows: Vec<Option<Row>>,
    /// How many of its deliveries have ended and are counted.
    pub(crate) counted: u64,
}

/// How much one request scans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanLimits {
    /// The most pages with open chunks.
    pub(crate) open: usize,
    /// The most pages.
    pub(crate) pages: usize,
}

/// The open chunks that a scan found.
pub(crate) struct PlanScan {
    pub(crate) open: Vec<OpenChunk>,
    /// Pages scanned.
    pub(crate) pages: usize,
    /// The position of the next scan, if there is more.
    pub(crate) next: Option<Position>,
}

/// The open chunks from this position on, within these limits.
pub(crate) async fn open<S: Notifications, L: Ledger>(
    store: &S,
    ledger: &L,
    notification: &Notification,
    mut position: Position,
    limits: ScanLimits,
) -> Result<PlanScan, store::Error> {
    let mut scan = PlanScan {
        open: Vec::new(),
        pages: 0,
        next: None,
    };
    let mut pages_open = 0;
    while let Some((here, page)) = at(store, notification, position).await? {
        if pages_open == limits.open || scan.pages == limits.pages {
            scan.next = Some(here);
            break;
        }
        let counted = store
            .counted_chunks(&notification.id, here.part, here.page)
            .await?;
        let counted: HashMap<u16, CountedChunk> =
            counted.into_iter().map(|chunk| (chunk.index, chunk)).collect();
        let is_closed = |index: &u16| counted.get(index).is_some_and(|chunk| chunk.closed_at.is_some());
        let chunks: Vec<_> = (0_u16..)
            .zip(page.chunks)
            .filter(|(index, _)| !is_closed(index))
            .collect();
        let recipients = chunks.iter().flat_map(|(_, chunk)| &chunk.recipients);
        let mut rows = rows(ledger, notification, recipients).await?.into_iter();
        pages_open += usize::from(!chunks.is_empty());
        scan.pages += 1;
        for (index, chunk) in chunks {
            scan.open.push(OpenChunk {
                id: ChunkId {
                    part: here.part,
                    page: here.page,
                    index,
                },
                counted: counted.get(&index).map_or(0, |chunk| chunk.counts.total()),
                rows: rows.by_ref().take(chunk.recipients.len()).collect(),
                chunk,
            });
        }
        position = here.next_page();
    }
    Ok(scan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_the_round_trip() {
        let position = Position {
            part: 3,
            page: 70_000,
            recipient: 95,
        };
        assert_eq!(position.text().parse::<Position>().unwrap(), position);
        for text in ["", "1", "1.2", "1.2.x", "70000.1.1", "-1.0.0", "1.2.3.4"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }
}
