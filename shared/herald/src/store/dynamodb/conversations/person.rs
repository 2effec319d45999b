//! What is known of making conversations with people: an item for each of them, and beside the record of a conversation one
//! for each person who leads to it, by which they are found when it is erased.

use super::super::attribute::{Item, Record, item, moment, names, number, text};
use super::super::ledger::beside;
use super::super::{Condition, Error, Put, Transaction, failed, unavailable};
use super::Conversations;
use super::record::key as record_key;
use crate::conversation::{ConversationKey, PersonKey, PersonRecord};
use crate::digest::sha256_hex;

/// The sort key of a person, and the beginning of those of what leads back to them.
const PERSON: &str = "person";

/// The name of the conversation that a person leads to.
const LEADS_TO: &str = "leadsTo";

/// A person as they stand in the table.
pub(super) struct Known {
    pub(super) record: PersonRecord,
    /// Counts the puts, from 1.
    version: u64,
}

impl Known {
    pub(super) fn read(verb: &'static str, item: &Item) -> Result<Self, Error> {
        let record = Record { verb, item };
        let conversation = record.optional_text(LEADS_TO)?;
        let conversation = conversation.map(|name| name.parse().map_err(|_| record.corrupt(LEADS_TO)));
        Ok(Self {
            record: PersonRecord {
                conversation: conversation.transpose()?,
                until: record.optional_moment("until")?,
                installing_since: record.optional_moment("installingSince")?,
            },
            version: record.number("version")?,
        })
    }
}

/// What became of writing down where a person leads.
pub(super) enum Led {
    /// It stands.
    There,
    /// Nothing was written, because the conversation is not remembered.
    Nowhere,
    /// Nothing was written, because of what stands.
    Outrun(Option<Known>),
}

impl Conversations {
    pub(super) async fn known(&self, verb: &'static str, person: &PersonKey) -> Result<Option<Known>, Error> {
        let item = self.0.get(verb, key(&partition(person))).await?;
        item.map(|item| Known::read(verb, &item)).transpose()
    }

    /// Puts a person without a conversation over the one that was read.
    pub(super) async fn put_person(
        &self,
        verb: &'static str,
        person: &PersonKey,
        standing: Option<&Known>,
        new: &PersonRecord,
        mark: &str,
    ) -> Result<Put, Error> {
        let mut attributes = write(person, standing, new);
        // Nothing leads to them, so nobody could erase them: they go by themselves.
        attributes.extend(item([("mark", text(mark)), ("expires", self.0.expiry())]));
        self.0.put(verb, attributes, version_of(standing)).await
    }

    /// Puts a person who leads to a conversation over the one that was read, and what leads back to them.
    pub(super) async fn lead(
        &self,
        verb: &'static str,
        person: &PersonKey,
        standing: Option<&Known>,
        new: &PersonRecord,
        conversation: &ConversationKey,
    ) -> Result<Led, Error> {
        let partition = partition(person);
        let mut way_back = way_back(conversation, &partition);
        way_back.extend(item([(PERSON, text(&partition))]));
        let remembered = Condition::present("conversation");
        let mut writes = vec![
            self.0.checking(verb, record_key(conversation), remembered)?,
            self.0
                .putting(verb, write(person, standing, new), Some(version_of(standing)))?,
            self.0.putting(verb, way_back, None)?,
        ];
        let before = standing.and_then(|standing| standing.record.conversation.as_ref());
        if let Some(before) = before.filter(|before| *before != conversation) {
            writes.push(self.0.deleting(verb, self::way_back(before, &partition), None)?);
        }
        let reasons = match self.0.transact(verb, writes).await? {
            Transaction::Done => return Ok(Led::There),
            Transaction::Refused(reasons) => reasons,
        };
        if reasons.first().is_some_and(failed) {
            return Ok(Led::Nowhere);
        }
        let standing = reasons.get(1).and_then(|reason| reason.item());
        let standing = standing.map(|item| Known::read(verb, item)).transpose()?;
        Ok(Led::Outrun(standing))
    }

    /// Removes those who lead to a conversation; whether there were any.
    pub(super) async fn remove_people(
        &self,
        verb: &'static str,
        conversation: &ConversationKey,
    ) -> Result<bool, Error> {
        let ways_back = self.ways_back(verb, conversation).await?;
        for item in &ways_back {
            let person = Record { verb, item }.text(PERSON)?;
            let there = Condition::equal(LEADS_TO, text(conversation.to_string())).or_without(LEADS_TO);
            let writes = vec![
                self.0.deleting(verb, key(person), Some(there))?,
                self.0.deleting(verb, way_back(conversation, person), None)?,
            ];
            match self.0.transact(verb, writes).await? {
                // Or they lead elsewhere since then, and nothing leads back to them from here.
                Transaction::Done | Transaction::Refused(_) => {}
            }
        }
        Ok(!ways_back.is_empty())
    }

    async fn ways_back(
        &self,
        verb: &'static str,
        conversation: &ConversationKey,
    ) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        let mut start = None;
        loop {
            let query = self
                .0
                .client
                .query()
                .table_name(&self.0.name)
                .key_condition_expression("#conversation = :conversation AND begins_with(#place, :beginning)")
                .set_expression_attribute_names(Some(names(["conversation", "place"])))
                .expression_attribute_values(":conversation", text(conversation.conversation.as_str()))
                .expression_attribute_values(":beginning", text(ways_back(conversation)))
                .consistent_read(true)
                .set_exclusive_start_key(start);
            let answer = query.send().await.map_err(unavailable(verb))?;
            items.extend(answer.items.unwrap_or_default());
            match answer.last_evaluated_key {
                Some(last) => start = Some(last),
                None => return Ok(items),
            }
        }
    }
}

fn write(person: &PersonKey, standing: Option<&Known>, new: &PersonRecord) -> Item {
    let PersonRecord {
        conversation,
        until,
        installing_since,
    } = new;
    let mut attributes = key(&partition(person));
    let version = standing.map_or(0, |standing| standing.version) + 1;
    attributes.extend(item([("version", number(version))]));
    if let Some(conversation) = conversation {
        attributes.extend(item([(LEADS_TO, text(conversation.to_string()))]));
    }
    let moments = [("until", until), ("installingSince", installing_since)];
    attributes.extend(
        moments
            .into_iter()
            .filter_map(|(name, at)| Some((name.to_owned(), moment((*at)?)))),
    );
    attributes
}

fn version_of(standing: Option<&Known>) -> Condition {
    match standing {
        None => Condition::absent("conversation"),
        Some(standing) => Condition::equal("version", number(standing.version)),
    }
}

fn partition(person: &PersonKey) -> String {
    beside(PERSON, &person.to_string())
}

/// The key of a person. A record's sort key has a bar in it, and this has none.
fn key(partition: &str) -> Item {
    item([("conversation", text(partition)), ("place", text(PERSON))])
}

/// The key of what leads back from a conversation to a person. A record's sort key has one bar in it, and this has two.
fn way_back(conversation: &ConversationKey, person: &str) -> Item {
    let place = ways_back(conversation) + &sha256_hex(person.as_bytes());
    item([
        ("conversation", text(conversation.conversation.as_str())),
        ("place", text(place)),
    ])
}

/// The beginning of those sort keys, which holds for one bot only.
fn ways_back(conversation: &ConversationKey) -> String {
    format!("{PERSON}|{}|", sha256_hex(conversation.place().as_bytes()))
}
