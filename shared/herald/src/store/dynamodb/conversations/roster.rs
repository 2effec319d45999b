//! What the channel told of a team: the team's epoch, and an item for each question that was answered, beside it.

use jiff::Timestamp;

use super::super::attribute::{Item, Record, item, json, moment, names, number, text};
use super::super::ledger::beside;
use super::super::{AsOf, Error, unavailable};
use super::Conversations;
use crate::digest::sha256_hex;
use crate::roster_cache::{CachedRoster, RosterPage, RosterQuery, TeamKey};

/// The counter, and the sort key of the item that it is in.
const EPOCH: &str = "epoch";

impl Conversations {
    pub(super) async fn what_was_told(
        &self,
        verb: &'static str,
        team: &TeamKey,
        question: &RosterQuery,
        now: Timestamp,
    ) -> Result<CachedRoster, Error> {
        let keys = [key(team, EPOCH), key(team, &name(question))];
        let (mut generation, mut told) = (0, None);
        for item in self.0.batch_get(AsOf::Now, verb, &keys).await? {
            let record = Record { verb, item: &item };
            let number = record.number::<u64>(EPOCH)?;
            match record.optional_moment("until")? {
                None => generation = number,
                Some(until) if until > now => told = Some((number, record.json::<RosterPage>("answer")?)),
                Some(_) => {}
            }
        }
        let page = told.filter(|(of, _)| *of == generation).map(|(_, answer)| answer);
        Ok(CachedRoster { generation, page })
    }

    pub(super) async fn keep_told(
        &self,
        verb: &'static str,
        team: &TeamKey,
        generation: u64,
        question: &RosterQuery,
        answer: &RosterPage,
        until: Timestamp,
    ) -> Result<(), Error> {
        let mut attributes = key(team, &name(question));
        attributes.extend(item([
            (EPOCH, number(generation)),
            ("answer", json(verb, "answer", answer)?),
            ("until", moment(until)),
            // It is of no use to anybody from then on.
            ("expires", number(until.as_second())),
        ]));
        let put = self.0.client.put_item().table_name(&self.0.name);
        let put = put.set_item(Some(attributes)).send().await;
        put.map(drop).map_err(unavailable(verb))
    }

    pub(super) async fn next_epoch(&self, verb: &'static str, team: &TeamKey) -> Result<(), Error> {
        let update = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(key(team, EPOCH)))
            .update_expression("SET #expires = :expires ADD #epoch :one")
            .set_expression_attribute_names(Some(names([EPOCH, "expires"])))
            // Long after the last answer of it is.
            .expression_attribute_values(":expires", self.0.expiry())
            .expression_attribute_values(":one", number(1));
        update.send().await.map(drop).map_err(unavailable(verb))
    }
}

/// A record's sort key has a bar in it, and these have none.
fn key(team: &TeamKey, place: &str) -> Item {
    let partition = beside("team", &team.to_string());
    item([("conversation", text(partition)), ("place", text(place))])
}

/// Tokens may be longer than a key.
fn name(question: &RosterQuery) -> String {
    format!("told#{}", sha256_hex(question.to_string().as_bytes()))
}
