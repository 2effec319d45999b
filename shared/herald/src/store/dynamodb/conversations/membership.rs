//! What leads from a tag to the conversations that carry it: an item for each, beside the records.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::TransactWriteItem;

use super::super::attribute::{Item, Record, item, number, text};
use super::super::{AsOf, Condition, Error, Put, Transaction};
use super::Conversations;
use super::record::{self, key, tags, write};
use crate::conversation::{Conversation, ConversationKey, ID_BYTES_MAX};
use crate::digest::sha256_hex;

/// The name of the conversation that carries the tag. Nothing but memberships has this attribute.
pub(super) const MEMBER: &str = "member";

/// The partition of a tag's memberships. A channel may name a conversation so, too; what is listed of either is told
/// apart by its attributes.
pub(super) fn partition(tag: &str) -> String {
    format!("tag|{tag}")
}

impl Conversations {
    /// Puts a record in the place of the one that stands, if that is of this version still, and what leads to it from its
    /// tags: all, or nothing. When nothing, the record that stands.
    pub(super) async fn replace(
        &self,
        verb: &'static str,
        standing: Option<&Conversation>,
        new: &Conversation,
    ) -> Result<Put, Error> {
        let condition = match standing {
            None => Condition::absent("conversation"),
            Some(standing) => Condition::equal("version", number(standing.version)),
        };
        let old_tags = standing.map_or(&[][..], |standing| &standing.attributes.tags);
        let record = write(verb, new)?;
        if *old_tags == new.attributes.tags {
            return self.0.put(verb, record, condition).await;
        }
        let mut writes = vec![self.0.putting(verb, record, Some(condition))?];
        for joined in new.attributes.tags.iter().filter(|tag| !old_tags.contains(tag)) {
            let mut membership = membership_key(joined, &new.key);
            membership.extend(item([(MEMBER, text(new.key.to_string()))]));
            writes.push(self.0.putting(verb, membership, None)?);
        }
        for left in old_tags.iter().filter(|tag| !new.attributes.tags.contains(tag)) {
            writes.push(self.leaving(verb, left, &new.key)?);
        }
        Ok(match self.0.transact(verb, writes).await? {
            Transaction::Done => Put::Written,
            // Only the record has a condition.
            Transaction::Refused(reasons) => {
                Put::Refused(reasons.into_iter().next().and_then(|reason| reason.item))
            }
        })
    }

    /// The write that takes a conversation from under a tag.
    pub(super) fn leaving(
        &self,
        verb: &'static str,
        tag: &str,
        conversation: &ConversationKey,
    ) -> Result<TransactWriteItem, Error> {
        self.0.deleting(verb, membership_key(tag, conversation), None)
    }

    /// The records that memberships lead to, in their order; without those that do not carry the tag any more, of which a
    /// query may tell a moment longer.
    pub(super) async fn carrying(
        &self,
        verb: &'static str,
        tag: &String,
        memberships: &[Item],
    ) -> Result<Vec<Item>, Error> {
        let names: Vec<&str> = memberships
            .iter()
            .map(|item| Record { verb, item }.text(MEMBER))
            .collect::<Result<_, _>>()?;
        let keys: Vec<ConversationKey> = memberships
            .iter()
            .zip(&names)
            .map(|(item, name)| name.parse().map_err(|_| Record { verb, item }.corrupt(MEMBER)))
            .collect::<Result<_, _>>()?;
        let keys: Vec<Item> = keys.iter().map(key).collect();
        let mut found = HashMap::new();
        for item in self.0.batch_get(AsOf::Now, verb, &keys).await? {
            let record = Record { verb, item: &item };
            if tags(record)?.contains(tag) {
                found.insert(record::read_key(record)?.to_string(), item);
            }
        }
        Ok(names.into_iter().filter_map(|name| found.remove(name)).collect())
    }
}

fn membership_key(tag: &str, conversation: &ConversationKey) -> Item {
    let name = conversation.to_string();
    // A sort key holds as much as an id. A record's has one bar in it, a name two at least, and a digest none.
    let name = if name.len() <= ID_BYTES_MAX {
        name
    } else {
        sha256_hex(name.as_bytes())
    };
    item([("conversation", text(partition(tag))), ("place", text(name))])
}
