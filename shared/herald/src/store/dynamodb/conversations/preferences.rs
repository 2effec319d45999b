//! What people opted out of: an item for each id of a person, in the partition of the id.

use botframework::id::UserRef;

use super::super::attribute::{Item, Record, has_token, item, json, text};
use super::super::{Consistency, Error, Expression, MAX_CAS_ROUNDS, Put, new_write_token};
use super::Conversations;
use super::record::{PREFERENCES, preferences};
use crate::conversation::{PersonId, Preferences};
use crate::digest::sha256_hex;
use crate::store::{Rule, Update};

/// The token of the write, which is the version.
const VERSION: &str = "writeToken";

impl Conversations {
    /// Applies a rule until its result is stored.
    pub(super) async fn apply_to_preferences(
        &self,
        person: &PersonId,
        rule: &mut Rule<'_, Preferences>,
    ) -> Result<Update<Preferences>, Error> {
        const VERB: &str = "update what a person opted out of";
        let token = new_write_token();
        let mut stored = self.table.get(Consistency::Strong, VERB, key(person)).await?;
        for _ in 0..MAX_CAS_ROUNDS {
            let (before, version) = match &stored {
                None => (None, Expression::absent("conversation")),
                Some(item) => {
                    let record = Record { verb: VERB, item };
                    let version = Expression::equal(VERSION, text(record.text(VERSION)?));
                    (preferences(record)?, version)
                }
            };
            let Some(new) = rule(before.as_ref()) else {
                return Ok(Update { before, after: None });
            };
            let mut attributes = key(person);
            attributes.extend(item([
                (PREFERENCES, json(VERB, PREFERENCES, &new)?),
                (VERSION, text(&token)),
            ]));
            match self.table.put(VERB, attributes, version).await? {
                Put::Refused(Some(item)) if !has_token(VERB, &item, &token)? => stored = Some(item),
                Put::Refused(None) => stored = None,
                // Written, or our own write, whose answer was lost.
                Put::Written(_) | Put::Refused(Some(_)) => {
                    let after = Some(new);
                    return Ok(Update { before, after });
                }
            }
        }
        Err(Error::contention(VERB))
    }

    /// Removes the items of an id.
    pub(super) async fn remove_preferences(&self, id: &UserRef) -> Result<(), Error> {
        self.remove_states(&partition(id), format!("{PREFERENCES}|"))
            .await
    }
}

/// Names the id without saying whose it is.
fn partition(id: &UserRef) -> String {
    let kind = match id {
        UserRef::Entra(_) => "user",
        UserRef::Account(_) => "account",
    };
    format!("{PREFERENCES}|{kind}|{}", sha256_hex(id.as_str().as_bytes()))
}

fn key(person: &PersonId) -> Item {
    // A digest: channel and tenant may be as long as ids are.
    let tenant = person.tenant.as_deref().unwrap_or_default();
    let place = sha256_hex(format!("{}:{}{tenant}", person.channel.len(), person.channel).as_bytes());
    item([
        ("conversation", text(partition(&person.id))),
        ("place", text(format!("{PREFERENCES}|{place}"))),
    ])
}
