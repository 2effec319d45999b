//! The ledger: a row for each delivery, a turn for each conversation.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::attribute::{Item, Record, item, json, moment, number, text};
use super::paces::Seats;
use super::{AsOf, Condition, Error, Outrun, Put, ROUNDS, Table, attribute, fresh_mark, unavailable};
use crate::aws::Sdk;
use crate::conversation::ConversationKey;
use crate::delivery::{
    self, Asked, Claim, Decision, DeliveryKey, Lease, Outcome, Row, Stage, Standing, State, Turn,
};
use crate::digest::sha256_hex;
use crate::operation::{Operation, OperationKey};
use crate::store::CasResult;

/// The longest name that stands in a key as it is. DynamoDB's keys hold 2,048 bytes.
const NAME_BYTES_MAX: usize = 2000;

/// The ledger in DynamoDB, and the paces in the same table.
///
/// A delivery that goes well is one read of two items and two writes: the claim reads the row and the turn and puts the turn,
/// the settling puts the row. Where the turn was another delivery's before, that one's row is one more read.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(super) table: Table,
    pub(super) seats: Arc<Seats>,
}

impl Ledger {
    /// The ledger in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        Self {
            table: Table::new(sdk, table),
            seats: Arc::default(),
        }
    }

    /// The rows of two deliveries, which may be one.
    async fn rows(
        &self,
        verb: &'static str,
        deliveries: [&DeliveryKey; 2],
    ) -> Result<[Option<Row>; 2], Error> {
        let [one, other] = deliveries;
        let keys = if one == other {
            vec![key(one.as_str())]
        } else {
            deliveries.map(|delivery| key(delivery.as_str())).to_vec()
        };
        let found = by_key(verb, self.table.batch_get(AsOf::Now, verb, &keys).await?)?;
        let row = |delivery: &DeliveryKey| {
            let item = found.get(delivery.as_str());
            item.map(|item| read_row(verb, item)).transpose()
        };
        Ok([row(one)?, row(other)?])
    }

    /// Puts a row where [`delivery::may_write`] lets it, and says what stands when it does not.
    async fn write(
        &self,
        verb: &'static str,
        delivery: &DeliveryKey,
        row: &Row,
        condition: Condition,
    ) -> Result<Result<(), Option<Row>>, Error> {
        let attributes = write_row(verb, row)?;
        let mut new = key(delivery.as_str());
        new.extend(attributes.clone());
        new.extend(item([("expires", self.table.expiry())]));
        let Put::Refused(standing) = self.table.put(verb, new, condition).await? else {
            return Ok(Ok(()));
        };
        // The row that we wanted to write: we wrote it before, and the answer was lost.
        let is_ours = |standing: &Item| {
            let mut attributes = attributes.iter();
            attributes.all(|(name, value)| standing.get(name) == Some(value))
        };
        match standing {
            Some(standing) if is_ours(&standing) => Ok(Ok(())),
            Some(standing) => Ok(Err(Some(read_row(verb, &standing)?))),
            None => Ok(Err(None)),
        }
    }

    /// Puts the row of a delivery that was never claimed, unless it has ended: so.
    async fn write_unsettled(
        &self,
        verb: &'static str,
        delivery: &DeliveryKey,
        row: &Row,
    ) -> Result<Option<Outcome>, Error> {
        let mut open = Condition::absent("delivery");
        open.names.extend(attribute::names(["state"]));
        open.values.insert(":waiting".to_owned(), text(WAITING));
        open.expression += " OR #state = :waiting";
        Ok(match self.write(verb, delivery, row, open).await? {
            Err(Some(Row {
                state: State::Settled(standing),
                ..
            })) => Some(standing),
            Ok(()) | Err(_) => None,
        })
    }

    async fn write_for(
        &self,
        verb: &'static str,
        delivery: &DeliveryKey,
        lease: &Lease,
        row: &Row,
    ) -> Result<CasResult, Error> {
        let written = self
            .write(verb, delivery, row, writable(row, lease.stage()))
            .await?;
        Ok(match written {
            Ok(()) => CasResult::Committed,
            Err(_) => CasResult::Conflict,
        })
    }
}

impl crate::store::Ledger for Ledger {
    async fn claim(&self, asked: Asked<'_>, conversation: &ConversationKey) -> Result<Claim, Error> {
        const VERB: &str = "claim a delivery";
        let place = beside("turn", &conversation.to_string());
        let mark = fresh_mark();
        let keys = [key(asked.delivery.as_str()), key(&place)];
        let found = by_key(VERB, self.table.batch_get(AsOf::Now, VERB, &keys).await?)?;
        let row = found.get(asked.delivery.as_str());
        let mut row = row.map(|item| read_row(VERB, item)).transpose()?;
        let mut taken = found
            .get(&place)
            .map(|item| Taken::read(VERB, item))
            .transpose()?;
        let mut holder = None;
        let mut rows = Rows::ReadBeside;
        for _ in 0..ROUNDS {
            let turn = taken.as_ref().map(|taken| &taken.turn);
            let decision = delivery::claim(
                asked,
                Standing {
                    row: row.as_ref(),
                    turn,
                    holder: holder.as_ref(),
                },
            );
            if let Some(turn) = turn {
                match rows.unread(&decision, turn.holder == *asked.delivery) {
                    Unread::Nothing => {}
                    Unread::Holder => {
                        // Rows only go on: what is missed here the write-up finds, which is conditional.
                        let row = key(turn.holder.as_str());
                        let item = self.table.get_as_of(AsOf::Lately, VERB, row).await?;
                        holder = item.map(|item| read_row(VERB, &item)).transpose()?;
                        rows = Rows::ReadAfter;
                        continue;
                    }
                    Unread::Both => {
                        [row, holder] = self.rows(VERB, [asked.delivery, &turn.holder]).await?;
                        rows = Rows::ReadAfter;
                        continue;
                    }
                }
            }
            match decision {
                Decision::Answer(claim) => return Ok(claim),
                Decision::WriteUp(dead) => {
                    let whose = turn.map_or(asked.delivery, |turn| &turn.holder);
                    let condition = writable(&dead, dead.stage());
                    let written = match self.write(VERB, whose, &dead, condition).await? {
                        Ok(()) => Some(dead),
                        Err(standing) => standing,
                    };
                    if whose == asked.delivery {
                        row = written;
                    } else {
                        holder = written;
                    }
                }
                Decision::Take(turn, lease) => {
                    let new = Taken {
                        turn,
                        version: taken.as_ref().map_or(0, |taken| taken.version) + 1,
                    };
                    let condition = match &taken {
                        None => Condition::absent("delivery"),
                        Some(taken) => Condition::equal("version", number(taken.version)),
                    };
                    let mut attributes = new.write();
                    attributes.extend(key(&place));
                    attributes.extend(item([("mark", text(&mark)), ("expires", self.table.expiry())]));
                    let Put::Refused(standing) = self.table.put(VERB, attributes, condition).await? else {
                        return Ok(Claim::Taken(lease));
                    };
                    if let Some(standing) = &standing
                        && attribute::is_marked(VERB, standing, &mark)?
                    {
                        // Our own, whose answer was lost.
                        return Ok(Claim::Taken(lease));
                    }
                    taken = standing.map(|item| Taken::read(VERB, &item)).transpose()?;
                    holder = None;
                    rows = Rows::Outrun;
                }
            }
        }
        Err(unavailable(VERB)(Outrun))
    }

    async fn settle(
        &self,
        delivery: &DeliveryKey,
        lease: &Lease,
        outcome: &Outcome,
    ) -> Result<CasResult, Error> {
        let row = lease.settled(outcome.clone());
        self.write_for("settle a delivery", delivery, lease, &row).await
    }

    async fn release(
        &self,
        delivery: &DeliveryKey,
        lease: &Lease,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> Result<CasResult, Error> {
        let row = lease.released(until, why.to_owned(), doubts);
        self.write_for("release a delivery", delivery, lease, &row).await
    }

    async fn defer(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        why: &str,
        tries: u32,
    ) -> Result<Option<Outcome>, Error> {
        let row = Row {
            state: State::Waiting {
                until,
                why: why.to_owned(),
            },
            attempt: tries,
            doubts: 0,
        };
        self.write_unsettled("put off a delivery", delivery, &row).await
    }

    async fn settle_unclaimed(&self, delivery: &DeliveryKey, outcome: &Outcome) -> Result<Outcome, Error> {
        const VERB: &str = "end a delivery";
        let row = Row {
            state: State::Settled(outcome.clone()),
            attempt: 0,
            doubts: 0,
        };
        let Some(standing) = self.write_unsettled(VERB, delivery, &row).await? else {
            return Ok(outcome.clone());
        };
        if !standing.is_outdated_by(outcome) {
            return Ok(standing);
        }
        let unchanged = Condition::equal("outcome", json(VERB, "outcome", &standing)?);
        // Whoever was faster has written the same, or what is newer still.
        self.write(VERB, delivery, &row, unchanged).await?.ok();
        Ok(outcome.clone())
    }

    async fn mark_retryable(
        &self,
        delivery: &DeliveryKey,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> Result<Option<Outcome>, Error> {
        const VERB: &str = "leave a delivery open";
        let row = Row::left(until, why.to_owned(), doubts);
        let written = self
            .write(VERB, delivery, &row, Condition::absent("delivery"))
            .await?;
        Ok(match written {
            Err(Some(Row {
                state: State::Settled(standing),
                ..
            })) => Some(standing),
            Ok(()) | Err(_) => None,
        })
    }

    async fn operation(&self, operation: &OperationKey) -> Result<Option<Operation>, Error> {
        self.standing(operation).await
    }

    async fn compare_and_set_batch(
        &self,
        operation: &OperationKey,
        to: &Operation,
    ) -> Result<CasResult, Error> {
        self.step(operation, to).await
    }

    async fn rows(&self, deliveries: &[DeliveryKey]) -> Result<Vec<Option<Row>>, Error> {
        const VERB: &str = "look up deliveries";
        let mut distinct: Vec<&str> = deliveries.iter().map(DeliveryKey::as_str).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let keys: Vec<Item> = distinct.into_iter().map(key).collect();
        let found = by_key(VERB, self.table.batch_get(AsOf::Now, VERB, &keys).await?)?;
        deliveries
            .iter()
            .map(|delivery| {
                let item = found.get(delivery.as_str());
                item.map(|item| read_row(VERB, item)).transpose()
            })
            .collect()
    }
}

/// When the rows were read that a claim is decided by.
///
/// The turn is put on the version that was read, so whatever is written by way of a turn between that reading and the
/// put makes the put fail. What was written *before* the turn was read must be in the rows: a row that was read earlier
/// may miss that this very delivery had the turn in between, was sent and is settled.
#[derive(Clone, Copy)]
enum Rows {
    /// With the turn, in one request, which reads its items in any order. The holder's was not read.
    ReadBeside,
    /// After the turn, the holder's too.
    ReadAfter,
    /// Before the turn, which somebody else took just now. The holder's was not read.
    Outrun,
}

/// What has to be read before a decision is believed.
enum Unread {
    Nothing,
    /// The holder's row.
    Holder,
    /// The holder's row, and the asker's anew.
    Both,
}

impl Rows {
    /// What has to be read before this is believed, when the turn is the asker's own or another's.
    ///
    /// The own turn tells by its attempt when the row is too old; then it is held, or the write-up fails and brings the row.
    /// Another's turn that is past its deadline was taken before the asker asked, so its row, read since, is new enough: that
    /// is the usual case, of a turn that was had long ago. Only of a turn within its deadline nobody knows.
    fn unread(self, decision: &Decision, own: bool) -> Unread {
        match (self, decision) {
            (Self::ReadAfter, _) => Unread::Nothing,
            (Self::ReadBeside, Decision::WriteUp(_)) if !own => Unread::Holder,
            (Self::ReadBeside, Decision::Answer(Claim::Busy { .. })) if !own => Unread::Both,
            // Past its deadline and taken just now: the clocks disagree.
            (Self::Outrun, Decision::WriteUp(_)) => Unread::Both,
            // Who took the turn just now has it, more likely than not, so a busy one is believed.
            (
                Self::ReadBeside | Self::Outrun,
                Decision::Answer(_) | Decision::Take(..) | Decision::WriteUp(_),
            ) => Unread::Nothing,
        }
    }
}

/// The rule of [`delivery::may_write`], for DynamoDB to apply.
fn writable(new: &Row, stage: Stage) -> Condition {
    let over = match stage {
        Stage::Sending => WAITING,
        Stage::Revising => SETTLED,
    };
    let mut condition = Condition::absent("delivery");
    condition.names.extend(attribute::names(["state"]));
    condition.values.insert(":over".to_owned(), text(over));
    let late = stage == Stage::Sending && new.arrived();
    condition.expression += if late {
        " OR #state = :over"
    } else {
        condition.names.extend(attribute::names(["attempt"]));
        condition
            .values
            .insert(":attempt".to_owned(), number(new.attempt));
        " OR (#state = :over AND #attempt < :attempt)"
    };
    condition
}

/// A turn as it stands in the table.
struct Taken {
    turn: Turn,
    /// Counts the puts, from 1.
    version: u64,
}

impl Taken {
    fn write(&self) -> Item {
        let Turn {
            holder,
            attempt,
            doubts,
            until,
            next,
        } = &self.turn;
        item([
            ("holder", text(holder.as_str())),
            ("attempt", number(*attempt)),
            ("doubts", number(*doubts)),
            ("until", moment(*until)),
            ("next", moment(*next)),
            ("version", number(self.version)),
        ])
    }

    fn read(verb: &'static str, item: &Item) -> Result<Self, Error> {
        let record = Record { verb, item };
        Ok(Self {
            turn: Turn {
                holder: DeliveryKey::stored(record.text("holder")?.to_owned()),
                attempt: record.number("attempt")?,
                doubts: record.number("doubts")?,
                until: record.moment("until")?,
                next: record.moment("next")?,
            },
            version: record.number("version")?,
        })
    }
}

const WAITING: &str = "waiting";
const SETTLED: &str = "settled";

fn state_word(state: &State) -> &'static str {
    match state {
        State::Waiting { .. } => WAITING,
        State::Settled(_) => SETTLED,
    }
}

pub(super) fn key(name: &str) -> Item {
    item([("delivery", text(name))])
}

/// The key of what is kept beside the rows. A row's begins with the id of a notification.
pub(super) fn beside(kind: &str, name: &str) -> String {
    let key = format!("{kind}|{name}");
    if key.len() <= NAME_BYTES_MAX {
        key
    } else {
        // Names have two bars in them at least, and this has none.
        format!("{kind}|{}", sha256_hex(name.as_bytes()))
    }
}

fn by_key(verb: &'static str, items: Vec<Item>) -> Result<HashMap<String, Item>, Error> {
    items
        .into_iter()
        .map(|item| {
            let key = Record { verb, item: &item }.text("delivery")?.to_owned();
            Ok((key, item))
        })
        .collect()
}

fn write_row(verb: &'static str, row: &Row) -> Result<Item, Error> {
    let Row {
        state,
        attempt,
        doubts,
    } = row;
    let mut attributes = item([
        ("state", text(state_word(state))),
        ("attempt", number(*attempt)),
        ("doubts", number(*doubts)),
    ]);
    match state {
        State::Waiting { until, why } => {
            attributes.extend(item([("until", moment(*until)), ("why", text(why))]));
        }
        State::Settled(outcome) => attributes.extend(item([("outcome", json(verb, "outcome", outcome)?)])),
    }
    Ok(attributes)
}

fn read_row(verb: &'static str, item: &Item) -> Result<Row, Error> {
    let record = Record { verb, item };
    let state = match record.text("state")? {
        WAITING => State::Waiting {
            until: record.moment("until")?,
            why: record.text("why")?.to_owned(),
        },
        SETTLED => State::Settled(record.json("outcome")?),
        _ => return Err(record.corrupt("state")),
    };
    Ok(Row {
        state,
        attempt: record.number("attempt")?,
        doubts: record.number("doubts")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::Recipient;
    use crate::delivery::{SentCopy, SkipReason};
    use crate::id::NotificationId;

    const NOON: Timestamp = Timestamp::UNIX_EPOCH;

    /// What DynamoDB counts and bills: names and values, numbers at most 21 bytes.
    fn bytes(item: &Item) -> usize {
        use aws_sdk_dynamodb::types::AttributeValue;
        item.iter()
            .map(|(name, value)| {
                name.len()
                    + match value {
                        AttributeValue::S(text) => text.len(),
                        AttributeValue::N(_) => 21,
                        _ => unreachable!(),
                    }
            })
            .sum()
    }

    #[test]
    fn a_row_and_a_turn_of_teams_are_one_write_unit_each() {
        // As long as those of real channels, which are the longest.
        let conversation = ConversationKey {
            conversation: format!("19:{}@thread.tacv2;messageid=1700000000000", "x".repeat(60)).into(),
            channel: "msteams".to_owned(),
            bot: format!("28:{}", "0".repeat(36)).into(),
        };
        let id = NotificationId::fresh(NOON, [0; 16]);
        let delivery = DeliveryKey::new(&id, &Recipient::Conversation(conversation.clone()));
        let rest = item([("mark", text(fresh_mark())), ("expires", number(0))]);

        let turn = Turn {
            holder: delivery.clone(),
            attempt: u32::MAX,
            doubts: u32::MAX,
            until: NOON,
            next: NOON,
        };
        let mut turn = Taken { turn, version: 1 }.write();
        turn.extend(key(&beside("turn", &conversation.to_string())));
        turn.extend(rest.clone());
        assert!(bytes(&turn) < 1024, "{}", bytes(&turn));

        let copy = SentCopy {
            activity: Some("1:".repeat(50).as_str().into()),
            shows: u32::MAX,
            tried: u32::MAX,
        };
        let states = [
            State::Settled(Outcome::Delivered(copy)),
            State::Settled(Outcome::Rejected {
                code: "ConversationBlockedByUser".to_owned(),
                detail: Some("x".repeat(300)),
            }),
            State::Settled(Outcome::Skipped {
                reason: SkipReason::NoConversation,
            }),
            State::Waiting {
                until: NOON,
                why: "ServiceUnavailable".to_owned(),
            },
        ];
        for state in states {
            let row = Row {
                state,
                attempt: u32::MAX,
                doubts: u32::MAX,
            };
            let mut row = write_row("test", &row).unwrap();
            row.extend(key(delivery.as_str()));
            row.extend(rest.clone());
            assert!(bytes(&row) < 1024, "{}", bytes(&row));
        }
    }

    #[test]
    fn a_key_beside_the_rows_fits_however_long_its_name() {
        let long = |last| beside("turn", &format!("{}{last}", "x".repeat(9000)));
        assert!(long("1").len() < 2048);
        assert_ne!(long("1"), long("2"));
        assert_ne!(beside("turn", "x|y|z"), beside("pace", "x|y|z"));
    }
}
