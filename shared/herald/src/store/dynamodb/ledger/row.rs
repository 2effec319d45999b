//! Rows as items, and the conditions under which they replace each other.

use super::super::attribute::{Item, Record, item, json, moment, number, text};
use super::super::{Error, Expression};
use crate::delivery::{Purpose, Row, State};
use crate::store::RowGuard;

const WAITING: &str = "waiting";
const SETTLED: &str = "settled";

/// [`RowGuard::permits`], for DynamoDB to evaluate.
pub(super) fn condition(verb: &'static str, new: &Row, guard: &RowGuard) -> Result<Expression, Error> {
    let absent = Expression::absent("delivery");
    Ok(match guard {
        RowGuard::Absent => absent,
        RowGuard::Unsettled => absent.or(Expression::new(
            "#state = :waiting",
            ["state"],
            [("waiting", text(WAITING))],
        )),
        RowGuard::Outcome(outcome) => Expression::equal("outcome", json(verb, "outcome", outcome)?),
        RowGuard::Lease(Purpose::Send) if new.arrived() => absent.or(over(WAITING)),
        RowGuard::Lease(Purpose::Send) => absent.or(over_earlier(WAITING, new)),
        RowGuard::Lease(Purpose::Update) => absent.or(over_earlier(SETTLED, new)),
    })
}

fn over(state: &str) -> Expression {
    Expression::new("#state = :over", ["state"], [("over", text(state))])
}

fn over_earlier(state: &str, new: &Row) -> Expression {
    Expression::new(
        "(#state = :over AND #attempt < :attempt)",
        ["state", "attempt"],
        [("over", text(state)), ("attempt", number(new.attempt))],
    )
}

pub(super) fn write_row(verb: &'static str, row: &Row) -> Result<Item, Error> {
    let Row {
        state,
        attempt,
        ambiguous_attempts,
    } = row;
    let word = match state {
        State::Waiting { .. } => WAITING,
        State::Settled(_) => SETTLED,
    };
    let mut attributes = item([
        ("state", text(word)),
        ("attempt", number(*attempt)),
        ("ambiguousAttempts", number(*ambiguous_attempts)),
    ]);
    attributes.extend(match state {
        State::Waiting { until, reason } => item([("until", moment(*until)), ("reason", text(reason))]),
        State::Settled(outcome) => item([("outcome", json(verb, "outcome", outcome)?)]),
    });
    Ok(attributes)
}

pub(super) fn read_row(verb: &'static str, item: &Item) -> Result<Row, Error> {
    let record = Record { verb, item };
    let state = match record.text("state")? {
        WAITING => State::Waiting {
            until: record.moment("until")?,
            reason: record.text("reason")?.to_owned(),
        },
        SETTLED => State::Settled(record.json("outcome")?),
        _ => return Err(record.corrupt("state")),
    };
    Ok(Row {
        state,
        attempt: record.number("attempt")?,
        ambiguous_attempts: record.number("ambiguousAttempts")?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use jiff::Timestamp;

    use super::*;
    use crate::audience::Recipient;
    use crate::conversation::ConversationKey;
    use crate::delivery::{DeliveryKey, Outcome, SentMessage, SkipReason};
    use crate::id::NotificationId;

    /// What DynamoDB counts and bills: names and values, numbers at most 21 bytes.
    pub(in crate::store::dynamodb) fn billed_bytes(item: &Item) -> usize {
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
    fn a_row_of_teams_is_one_write_unit() {
        let now = Timestamp::UNIX_EPOCH;
        // As long as those of real channels, which are the longest.
        let conversation = ConversationKey {
            conversation: format!("19:{}@thread.tacv2;messageid=1700000000000", "x".repeat(60)).into(),
            channel: "msteams".to_owned(),
            bot: format!("28:{}", "0".repeat(36)).into(),
        };
        let id = NotificationId::fresh(now, [0; 16]);
        let delivery = DeliveryKey::new(&id, &Recipient::Conversation(conversation));
        let sent = SentMessage {
            activity: Some("1:".repeat(50).as_str().into()),
            revision: u32::MAX,
            attempted_revision: u32::MAX,
            supersedes: None,
        };
        let states = [
            State::Settled(Outcome::Delivered(sent)),
            State::Settled(Outcome::Rejected {
                code: "ConversationBlockedByUser".to_owned(),
                detail: Some("x".repeat(300)),
            }),
            State::Settled(Outcome::Skipped {
                reason: SkipReason::NoConversation,
            }),
            State::Waiting {
                until: now,
                reason: "ServiceUnavailable".to_owned(),
            },
        ];
        for state in states {
            let row = Row {
                state,
                attempt: u32::MAX,
                ambiguous_attempts: u32::MAX,
            };
            let mut row = write_row("test", &row).unwrap();
            row.extend(super::super::key(delivery.as_str()));
            row.extend(item([("expires", number(0))]));
            assert!(billed_bytes(&row) < 1024, "{}", billed_bytes(&row));
        }
    }
}
