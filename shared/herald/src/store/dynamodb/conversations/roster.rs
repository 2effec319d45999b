//! Cached rosters: the team's generation, and one item for each cached answer beside it.

use jiff::Timestamp;

use super::super::attribute::{Item, Record, item, json, moment, number, text};
use super::super::ledger::prefixed_key;
use super::super::{Consistency, Error, Expression};
use super::Conversations;
use crate::digest::sha256_hex;
use crate::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};

pub(super) const CACHE: &str = "cache a roster";

/// The counter of generations, and the sort key of its item.
const GENERATION: &str = "generation";

impl Conversations {
    pub(super) async fn read_roster(
        &self,
        team: &TeamKey,
        query: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        const VERB: &str = "read a cached roster";
        let keys = [key(team, GENERATION), key(team, &sort_key(query))];
        let (mut generation, mut cached) = (0, None);
        for item in self.table.batch_get(Consistency::Strong, VERB, &keys).await? {
            let record = Record {
                verb: VERB,
                item: &item,
            };
            let number = record.number::<u64>(GENERATION)?;
            match record.optional_moment("until")? {
                None => generation = number,
                Some(until) if until > now => cached = Some((number, record.json::<RosterPage>("answer")?)),
                Some(_) => {}
            }
        }
        let page = cached.filter(|(of, _)| *of == generation).map(|(_, page)| page);
        Ok(CachedRoster { generation, page })
    }

    pub(super) async fn next_generation(&self, team: &TeamKey) -> Result<(), Error> {
        // It expires long after the last answer cached in it.
        let update = Expression::new(
            "SET #expires = :expires ADD #generation :one",
            [GENERATION, "expires"],
            [("expires", self.table.expiry()), ("one", number(1))],
        );
        let verb = "invalidate a roster";
        self.table
            .update(verb, key(team, GENERATION), update, None)
            .await
            .map(drop)
    }
}

pub(super) fn write(
    team: &TeamKey,
    generation: u64,
    query: &RosterQuery,
    page: &RosterPage,
    until: Timestamp,
) -> Result<Item, Error> {
    let mut attributes = key(team, &sort_key(query));
    attributes.extend(item([
        (GENERATION, number(generation)),
        ("answer", json(CACHE, "answer", page)?),
        ("until", moment(until)),
        ("expires", number(until.as_second())),
    ]));
    Ok(attributes)
}

/// The sort key of a record has a bar, and these have none.
fn key(team: &TeamKey, place: &str) -> Item {
    let partition = prefixed_key("team", &team.to_string());
    item([("conversation", text(partition)), ("place", text(place))])
}

/// A digest: continuation tokens may be longer than a key.
fn sort_key(query: &RosterQuery) -> String {
    format!("roster#{}", sha256_hex(query.to_string().as_bytes()))
}
