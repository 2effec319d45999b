//! Tag items: one for each tag of a conversation, beside the records.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::TransactWriteItem;

use super::super::attribute::{Item, Record, item, number, text};
use super::super::{Consistency, Error, Expression, Put, Transaction};
use super::Conversations;
use super::record::{self, key, tags, write};
use crate::conversation::{Conversation, ConversationKey, ID_BYTES_MAX};
use crate::digest::sha256_hex;

/// The key of the conversation with the tag. Only tag items have this attribute.
pub(super) const MEMBER: &str = "member";

/// The partition of a tag's items. A channel may use such a conversation id, too; a list filters by the attributes.
pub(super) fn partition(tag: &str) -> String {
    format!("tag|{tag}")
}

impl Conversations {
    /// Replaces a record of a known version, and its tag items, in one write.
    pub(super) async fn replace(
        &self,
        verb: &'static str,
        stored: Option<&Conversation>,
        new: &Conversation,
    ) -> Result<Put, Error> {
        let condition = match stored {
            None => Expression::absent("conversation"),
            Some(stored) => Expression::equal("version", number(stored.version)),
        };
        let old_tags = stored.map_or(&[][..], |stored| &stored.attributes.tags);
        let record = write(verb, new)?;
        if *old_tags == new.attributes.tags {
            return self.table.put(verb, record, condition).await;
        }
        let mut writes = vec![self.table.tx_put(verb, record, Some(condition))?];
        for added in new.attributes.tags.iter().filter(|tag| !old_tags.contains(tag)) {
            let mut membership = membership_key(added, &new.key);
            membership.extend(item([(MEMBER, text(new.key.to_string()))]));
            writes.push(self.table.tx_put(verb, membership, None)?);
        }
        for removed in old_tags.iter().filter(|tag| !new.attributes.tags.contains(tag)) {
            writes.push(self.remove_tag_link(verb, removed, &new.key)?);
        }
        Ok(match self.table.transact(verb, writes).await? {
            Transaction::Done => Put::Written(None),
            // Only the record has a condition.
            Transaction::Refused(reasons) => {
                Put::Refused(reasons.into_iter().next().and_then(|reason| reason.item))
            }
        })
    }

    /// Part of a transaction: deletes a tag item.
    pub(super) fn remove_tag_link(
        &self,
        verb: &'static str,
        tag: &str,
        conversation: &ConversationKey,
    ) -> Result<TransactWriteItem, Error> {
        self.table
            .tx_delete(verb, membership_key(tag, conversation), None)
    }

    /// The records of tag items, in their order, without those that lost the tag since: the query may lag behind.
    pub(super) async fn with_tag(
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
        for item in self.table.batch_get(Consistency::Strong, verb, &keys).await? {
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
    // A sort key holds as much as an id. The forms never collide: a record's key has one bar, this one at least two, a digest none.
    let name = if name.len() <= ID_BYTES_MAX {
        name
    } else {
        sha256_hex(name.as_bytes())
    };
    item([("conversation", text(partition(tag))), ("place", text(name))])
}
