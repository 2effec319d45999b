//! The pages of a plan, walked in their order: by part, then by number.

use std::collections::HashSet;
use std::str::FromStr;

use herald::audience::Recipient;
use herald::delivery::{DeliveryKey, Row};
use herald::notification::{ChunkId, Notification, Page, PageChunk};
use herald::store::{self, Ledger, Notifications};

/// A recipient's place in a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) part: u16,
    pub(crate) page: u32,
    /// How many recipients of the page come before.
    pub(crate) recipient: usize,
}

impl Place {
    /// The beginning of the page after this place's.
    pub(crate) fn next_page(self) -> Self {
        Self {
            page: self.page.saturating_add(1),
            recipient: 0,
            ..self
        }
    }

    /// The place as text, for a cursor.
    pub(crate) fn text(self) -> String {
        format!("{}.{}.{}", self.part, self.page, self.recipient)
    }
}

/// The text is not a place.
#[derive(Debug)]
pub(crate) struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.splitn(3, '.');
        let mut number = || numbers.next().ok_or(NoPlace);
        Ok(Self {
            part: number()?.parse().map_err(|_| NoPlace)?,
            page: number()?.parse().map_err(|_| NoPlace)?,
            recipient: number()?.parse().map_err(|_| NoPlace)?,
        })
    }
}

/// The page at this place, or the first one after it, with where it is; `None` behind the last one.
pub(crate) async fn at<S: Notifications>(
    store: &S,
    notification: &Notification,
    mut place: Place,
) -> Result<Option<(Place, Page)>, store::Error> {
    while place.part < notification.parts {
        if let Some(page) = store.page(&notification.id, place.part, place.page).await? {
            return Ok(Some((place, page)));
        }
        place = Place {
            part: place.part + 1,
            ..Place::default()
        };
    }
    Ok(None)
}

/// The rows of these recipients, in their order.
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

/// A chunk that is not closed, with the rows of its recipients.
pub(crate) struct Open {
    pub(crate) id: ChunkId,
    pub(crate) chunk: PageChunk,
    pub(crate) rows: Vec<Option<Row>>,
}

/// How far one request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Pages with chunks that are not closed.
    pub(crate) open: usize,
    /// Pages in all.
    pub(crate) walked: usize,
}

/// What a walk found.
pub(crate) struct Walk {
    pub(crate) open: Vec<Open>,
    /// Pages that were walked.
    pub(crate) pages: usize,
    /// Where to go on, if there is more.
    pub(crate) next: Option<Place>,
}

/// The chunks that are not closed, from this place on, within these bounds.
pub(crate) async fn open<S: Notifications, L: Ledger>(
    store: &S,
    ledger: &L,
    notification: &Notification,
    mut place: Place,
    bounds: Bounds,
) -> Result<Walk, store::Error> {
    let mut walk = Walk {
        open: Vec::new(),
        pages: 0,
        next: None,
    };
    let mut pages_open = 0;
    while let Some((here, page)) = at(store, notification, place).await? {
        if pages_open == bounds.open || walk.pages == bounds.walked {
            walk.next = Some(here);
            break;
        }
        let closed = store
            .closed_chunks(&notification.id, here.part, here.page)
            .await?;
        let closed: HashSet<u16> = closed.into_iter().map(|(index, _)| index).collect();
        let chunks: Vec<_> = (0_u16..)
            .zip(page.chunks)
            .filter(|(index, _)| !closed.contains(index))
            .collect();
        let recipients = chunks.iter().flat_map(|(_, chunk)| &chunk.recipients);
        let mut rows = rows(ledger, notification, recipients).await?.into_iter();
        pages_open += usize::from(!chunks.is_empty());
        walk.pages += 1;
        for (index, chunk) in chunks {
            walk.open.push(Open {
                id: ChunkId {
                    part: here.part,
                    page: here.page,
                    index,
                },
                rows: rows.by_ref().take(chunk.recipients.len()).collect(),
                chunk,
            });
        }
        place = here.next_page();
    }
    Ok(walk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let place = Place {
            part: 3,
            page: 70_000,
            recipient: 95,
        };
        assert_eq!(place.text().parse::<Place>().unwrap(), place);
        for text in ["", "1", "1.2", "1.2.x", "70000.1.1", "-1.0.0", "1.2.3.4"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
