//! Turns: an item for each activity that the bot was asked to answer, and for each welcome. They expire.

use jiff::Timestamp;

use super::super::attribute::{Item, Record, has_token, item, moment, number, text};
use super::super::{Error, Expression, Put, new_write_token};
use super::Conversations;
use crate::conversation::{TurnClaim, TurnKey, TurnRecord};

/// The prefix of their partitions, and their sort key.
const TURN: &str = "turn";

/// Only on turns that are done.
const DONE: &str = "done";

/// The end of a lease, or of a record.
const UNTIL: &str = "until";

impl Conversations {
    /// Claims a turn, unless it is done or its lease has not expired.
    pub(super) async fn put_claim(
        &self,
        turn: &TurnKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<TurnClaim, Error> {
        const VERB: &str = "claim a turn";
        let token = new_write_token();
        let mut claim = write(turn, TurnRecord::Running { until });
        claim.extend(item([("writeToken", text(token.clone()))]));
        let is_over = Expression::new("#until <= :now", [UNTIL], [("now", moment(now))]);
        let is_free = Expression::absent("conversation").or(is_over);
        Ok(match self.table.put(VERB, claim, is_free).await? {
            Put::Written(_) => TurnClaim::Claimed,
            // Our own write, whose answer was lost.
            Put::Refused(Some(stored)) if has_token(VERB, &stored, &token)? => TurnClaim::Claimed,
            Put::Refused(stored) => {
                let stored = stored.map(|item| read(VERB, &item)).transpose()?;
                TurnClaim::of(stored, now)
            }
        })
    }

    /// Writes the state of a claimed turn.
    pub(super) async fn put_turn(
        &self,
        verb: &'static str,
        turn: &TurnKey,
        record: TurnRecord,
    ) -> Result<(), Error> {
        self.table.overwrite(verb, write(turn, record)).await
    }
}

fn write(turn: &TurnKey, record: TurnRecord) -> Item {
    let (TurnRecord::Running { until } | TurnRecord::Done { until }) = record;
    let mut attributes = item([
        ("conversation", text(format!("{TURN}|{}", turn.as_str()))),
        ("place", text(TURN)),
        (UNTIL, moment(until)),
        ("expires", number(until.as_second())),
    ]);
    match record {
        TurnRecord::Running { .. } => {}
        TurnRecord::Done { .. } => attributes.extend(item([(DONE, number(1))])),
    }
    attributes
}

fn read(verb: &'static str, item: &Item) -> Result<TurnRecord, Error> {
    let record = Record { verb, item };
    let until = record.moment(UNTIL)?;
    Ok(match record.optional_number::<u8>(DONE)? {
        None => TurnRecord::Running { until },
        Some(_) => TurnRecord::Done { until },
    })
}
