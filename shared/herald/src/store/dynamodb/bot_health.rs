//! The record of the bot's standing, in the ledger's table.

use super::attribute::{Item, Record, has_token, item, json, number, text};
use super::ledger::{Ledger, key};
use super::{Consistency, Error, Expression, MAX_CAS_ROUNDS, Put, backoff, new_write_token};
use crate::bot_health::BotHealth;
use crate::store::Rule;

const VERB: &str = "update the bot's record";

/// The key of the one item. A row's key begins with the id of a notification.
const KEY: &str = "bot|health";

impl Ledger {
    pub(super) async fn write_bot_health(&self, rule: &mut Rule<'_, BotHealth>) -> Result<(), Error> {
        let token = new_write_token();
        let mut stored = self.table.get(Consistency::Strong, VERB, key(KEY)).await?;
        for tries in 1..=MAX_CAS_ROUNDS {
            let (health, version) = read(stored.as_ref())?;
            let Some(new) = rule(health.as_ref()) else {
                return Ok(());
            };
            let condition = match version {
                0 => Expression::absent("delivery"),
                version => Expression::equal("version", number(version)),
            };
            let mut attributes = key(KEY);
            attributes.extend(item([
                ("health", json(VERB, "health", &new)?),
                ("version", number(version + 1)),
                ("writeToken", text(&token)),
                ("expires", self.table.expiry()),
            ]));
            match self.table.put(VERB, attributes, condition).await? {
                Put::Written(_) => return Ok(()),
                // Our own write, whose answer was lost.
                Put::Refused(Some(item)) if has_token(VERB, &item, &token)? => return Ok(()),
                Put::Refused(item) => stored = item,
            }
            backoff(tries).await;
        }
        Err(Error::contention(VERB))
    }
}

/// The record and its version; 0 if there is none. A record that cannot be read is as good as none: it is written anew.
fn read(item: Option<&Item>) -> Result<(Option<BotHealth>, u64), Error> {
    let Some(item) = item else {
        return Ok((None, 0));
    };
    let record = Record { verb: VERB, item };
    let health = record.json("health").inspect_err(|error| {
        tracing::error!(error_type = "BotRecordUnreadable", %error, "the bot's record is written anew");
    });
    Ok((health.ok(), record.number("version")?))
}
