//! The bot's states: an item each, in the partition of its owner. The version is the token of the write.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;

use super::super::attribute::{Item, Record, has_token, item, text};
use super::super::{Consistency, Error, Expression, Put, new_write_token, request_error};
use super::Conversations;
use crate::conversation::StateKey;
use crate::store::CasResult;

/// The token of the write, which is the version.
const VERSION: &str = "writeToken";

impl Conversations {
    /// The state as JSON, with its version.
    pub(super) async fn read_state(&self, key: &StateKey) -> Result<Option<(String, String)>, Error> {
        const VERB: &str = "read a state of the bot";
        let item = self.table.get(Consistency::Strong, VERB, self::key(key)).await?;
        let read = |item: Item| {
            let record = Record {
                verb: VERB,
                item: &item,
            };
            Ok((
                record.text("stateJson")?.to_owned(),
                record.text(VERSION)?.to_owned(),
            ))
        };
        item.map(read).transpose()
    }

    /// Writes a state over the expected version.
    pub(super) async fn write_state(
        &self,
        key: &StateKey,
        json: String,
        expected: Option<&str>,
    ) -> Result<CasResult, Error> {
        const VERB: &str = "write a state of the bot";
        let token = new_write_token();
        let mut attributes = self::key(key);
        attributes.extend(item([("stateJson", text(json)), (VERSION, text(&token))]));
        Ok(
            match self.table.put(VERB, attributes, is_expected(expected)).await? {
                Put::Written(_) => CasResult::Committed,
                // Our own write, whose answer was lost.
                Put::Refused(Some(stored)) if has_token(VERB, &stored, &token)? => CasResult::Committed,
                Put::Refused(_) => CasResult::Conflict,
            },
        )
    }

    /// Removes a state of the expected version. If the answer of a removal is lost, its repetition is a conflict with nothing.
    pub(super) async fn remove_state(&self, key: Item, expected: Option<&str>) -> Result<CasResult, Error> {
        let condition = is_expected(expected);
        let delete = self
            .table
            .client
            .delete_item()
            .table_name(&self.table.name)
            .set_key(Some(key))
            .set_expression_attribute_values(condition.values())
            .condition_expression(condition.text)
            .set_expression_attribute_names(Some(condition.names));
        match delete.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(CasResult::Committed),
            Err(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(CasResult::Conflict),
            Err(error) => Err(request_error("remove a state of the bot")(error)),
        }
    }

    /// Removes all states of an owner whose sort keys have this prefix.
    pub(super) async fn remove_states(&self, partition: &str, prefix: String) -> Result<(), Error> {
        const VERB: &str = "erase states of the bot";
        let query = self.table.query(("conversation", partition), ("place", prefix));
        let query = query.projection_expression("#conversation, #place");
        for key in self.table.query_all(VERB, query).await? {
            let delete = self.table.client.delete_item().table_name(&self.table.name);
            let delete = delete.set_key(Some(key)).send().await;
            delete.map(drop).map_err(request_error(VERB))?;
        }
        Ok(())
    }
}

fn is_expected(version: Option<&str>) -> Expression {
    version.map_or_else(
        || Expression::absent("conversation"),
        |version| Expression::equal(VERSION, text(version)),
    )
}

pub(super) fn key(key: &StateKey) -> Item {
    item([
        ("conversation", text(key.owner.partition())),
        ("place", text(key.sort_key())),
    ])
}
