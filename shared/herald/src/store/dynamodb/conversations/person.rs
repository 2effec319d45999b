//! People: an item for each creation lease, and beside the record of a conversation one for each person who is linked to it, by
//! which [`erase`](crate::store::Conversations::erase) finds them.

use super::super::attribute::{Item, Record, has_token, item, moment, number, text};
use super::super::ledger::prefixed_key;
use super::super::table::failed;
use super::super::{Consistency, Error, Expression, MAX_CAS_ROUNDS, Put, Transaction};
use super::Conversations;
use super::record::key as record_key;
use crate::conversation::{ConversationKey, PersonKey, PersonRecord};
use crate::digest::sha256_hex;
use crate::store::{PersonUpdate, Rule};

/// The sort key of a person, and the prefix of those of their links.
const PERSON: &str = "person";

/// The key of the conversation that a person is linked to.
const LINKED_CONVERSATION: &str = "linkedConversation";

/// The stored record of a person.
struct StoredPerson {
    record: PersonRecord,
    /// Counts the writes, from 1.
    version: u64,
}

impl StoredPerson {
    fn read(verb: &'static str, item: &Item) -> Result<Self, Error> {
        let record = Record { verb, item };
        let conversation = record.optional_text(LINKED_CONVERSATION)?;
        let conversation =
            conversation.map(|name| name.parse().map_err(|_| record.corrupt(LINKED_CONVERSATION)));
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

/// The result of writing a person.
enum LinkResult {
    Stored,
    /// The conversation is not stored; nothing was written.
    NoConversation,
    /// Another writer was first; the stored record.
    Conflict(Option<Item>),
}

impl Conversations {
    /// Applies a rule until its result is stored. The token marks the writes of this call.
    pub(super) async fn apply_to_person(
        &self,
        person: &PersonKey,
        rule: &mut Rule<'_, PersonRecord>,
        token: &str,
    ) -> Result<PersonUpdate, Error> {
        const VERB: &str = "update a person";
        let partition = prefixed_key(PERSON, &person.to_string());
        let mut item = self.table.get(Consistency::Strong, VERB, key(&partition)).await?;
        for _ in 0..MAX_CAS_ROUNDS {
            let stored = item.map(|item| StoredPerson::read(VERB, &item)).transpose()?;
            let Some(new) = rule(stored.as_ref().map(|stored| &stored.record)) else {
                return Ok(PersonUpdate::Stored);
            };
            let result = match &new.conversation {
                None => {
                    self.put_person(VERB, &partition, stored.as_ref(), &new, token)
                        .await?
                }
                Some(conversation) => {
                    let link = self.link_person(VERB, &partition, stored.as_ref(), &new, conversation);
                    link.await?
                }
            };
            match result {
                LinkResult::Stored => return Ok(PersonUpdate::Stored),
                LinkResult::NoConversation => return Ok(PersonUpdate::NoConversation),
                LinkResult::Conflict(stored) => item = stored,
            }
        }
        Err(Error::contention(VERB))
    }

    /// Writes a person without a conversation over the stored version.
    async fn put_person(
        &self,
        verb: &'static str,
        partition: &str,
        stored: Option<&StoredPerson>,
        new: &PersonRecord,
        token: &str,
    ) -> Result<LinkResult, Error> {
        let mut attributes = write(partition, stored, new);
        // No conversation links to the item, so nothing could erase it: it expires.
        attributes.extend(item([
            ("writeToken", text(token)),
            ("expires", self.table.expiry()),
        ]));
        Ok(
            match self.table.put(verb, attributes, version_of(stored)).await? {
                Put::Written(_) => LinkResult::Stored,
                // Our own write, whose answer was lost.
                Put::Refused(Some(stored)) if has_token(verb, &stored, token)? => LinkResult::Stored,
                Put::Refused(stored) => LinkResult::Conflict(stored),
            },
        )
    }

    /// Writes a person with a conversation over the stored version, and the link beside the conversation.
    async fn link_person(
        &self,
        verb: &'static str,
        partition: &str,
        stored: Option<&StoredPerson>,
        new: &PersonRecord,
        conversation: &ConversationKey,
    ) -> Result<LinkResult, Error> {
        let mut link = link_key(conversation, partition);
        link.extend(item([(PERSON, text(partition))]));
        let is_stored = Expression::present("conversation");
        let person = write(partition, stored, new);
        let mut writes = vec![
            self.table.tx_check(verb, record_key(conversation), is_stored)?,
            self.table.tx_put(verb, person, Some(version_of(stored)))?,
            self.table.tx_put(verb, link, None)?,
        ];
        let before = stored.and_then(|stored| stored.record.conversation.as_ref());
        if let Some(before) = before.filter(|before| *before != conversation) {
            writes.push(self.table.tx_delete(verb, link_key(before, partition), None)?);
        }
        Ok(match self.table.transact(verb, writes).await? {
            Transaction::Done => LinkResult::Stored,
            Transaction::Refused(reasons) if reasons.first().is_some_and(failed) => {
                LinkResult::NoConversation
            }
            Transaction::Refused(mut reasons) => {
                let person = reasons.get_mut(1).and_then(|reason| reason.item.take());
                LinkResult::Conflict(person)
            }
        })
    }

    /// Deletes the people linked to a conversation; whether there were any.
    pub(super) async fn remove_people(
        &self,
        verb: &'static str,
        conversation: &ConversationKey,
    ) -> Result<bool, Error> {
        let partition = ("conversation", conversation.conversation.as_str());
        let query = self.table.query(partition, ("place", link_prefix(conversation)));
        let links = self.table.query_all(verb, query).await?;
        for item in &links {
            let person = Record { verb, item }.text(PERSON)?;
            let is_linked = Expression::equal(LINKED_CONVERSATION, text(conversation.to_string()));
            let is_linked = is_linked.or(Expression::absent(LINKED_CONVERSATION));
            let writes = vec![
                self.table.tx_delete(verb, key(person), Some(is_linked))?,
                self.table.tx_delete(verb, link_key(conversation, person), None)?,
            ];
            match self.table.transact(verb, writes).await? {
                // Refused if they are linked elsewhere since; that transaction deleted the link here.
                Transaction::Done | Transaction::Refused(_) => {}
            }
        }
        Ok(!links.is_empty())
    }
}

fn write(partition: &str, stored: Option<&StoredPerson>, new: &PersonRecord) -> Item {
    let PersonRecord {
        conversation,
        until,
        installing_since,
    } = new;
    let mut attributes = key(partition);
    let version = stored.map_or(0, |stored| stored.version) + 1;
    attributes.extend(item([("version", number(version))]));
    if let Some(conversation) = conversation {
        attributes.extend(item([(LINKED_CONVERSATION, text(conversation.to_string()))]));
    }
    let moments = [("until", until), ("installingSince", installing_since)];
    attributes.extend(
        moments
            .into_iter()
            .filter_map(|(name, at)| Some((name.to_owned(), moment((*at)?)))),
    );
    attributes
}

fn version_of(stored: Option<&StoredPerson>) -> Expression {
    match stored {
        None => Expression::absent("conversation"),
        Some(stored) => Expression::equal("version", number(stored.version)),
    }
}

/// The key of a person. The sort key of a record has a bar, and this has none.
fn key(partition: &str) -> Item {
    item([("conversation", text(partition)), ("place", text(PERSON))])
}

/// The key of a link from a conversation to a person. The sort key of a record has one bar, and this has two.
fn link_key(conversation: &ConversationKey, person: &str) -> Item {
    let place = link_prefix(conversation) + &sha256_hex(person.as_bytes());
    item([
        ("conversation", text(conversation.conversation.as_str())),
        ("place", text(place)),
    ])
}

/// The prefix of those sort keys, for one bot.
fn link_prefix(conversation: &ConversationKey) -> String {
    format!("{PERSON}|{}|", sha256_hex(conversation.place().as_bytes()))
}
