//! The ledger: one row a delivery.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::Timestamp;

use super::attribute::{Item, Record, item, json, moment, names, number, text};
use super::{Error, Outrun, ROUNDS, Table, expiry, unavailable};
use crate::aws::Sdk;
use crate::delivery::{self, Claim, DeliveryKey, Lease, Outcome, Row, State};
use crate::store::Written;

/// The ledger in DynamoDB.
///
/// A delivery that goes well is two writes and no read: the claim puts a row where none is, the settling updates it.
#[derive(Clone, Debug)]
pub struct Ledger(Table);

impl Ledger {
    /// The ledger in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        Self(Table::new(sdk, table))
    }

    /// Writes how a claimed delivery goes on.
    async fn write(&self, verb: &'static str, delivery: &DeliveryKey, row: &Row) -> Result<Written, Error> {
        let attributes = write(verb, row)?;
        let (set, remove): (Vec<&str>, Vec<&str>) = WRITTEN
            .into_iter()
            .partition(|name| attributes.contains_key(*name));
        let set = set
            .iter()
            .map(|name| format!("#{name} = :{name}"))
            .collect::<Vec<_>>()
            .join(", ");
        let remove = remove
            .iter()
            .map(|name| format!("#{name}"))
            .collect::<Vec<_>>()
            .join(", ");
        let values = attributes
            .iter()
            .map(|(name, value)| (format!(":{name}"), value.clone()))
            .collect();
        let update = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(key(delivery)))
            .update_expression(format!("SET {set} REMOVE {remove}"))
            .condition_expression("#attempt = :attempt AND #state = :claimed")
            .set_expression_attribute_names(Some(names(WRITTEN.into_iter().chain(["attempt"]))))
            .set_expression_attribute_values(Some(values))
            .expression_attribute_values(":claimed", text(CLAIMED))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(Written::Stands),
            Err(UpdateItemError::ConditionalCheckFailedException(failure)) => {
                // Only the holder of the lease writes a row of its attempt; so if the row is this one, we wrote it before.
                let stands = failure.item().is_some_and(|standing| {
                    attributes
                        .iter()
                        .all(|(name, value)| standing.get(name) == Some(value))
                });
                Ok(if stands { Written::Stands } else { Written::Lost })
            }
            Err(error) => Err(unavailable(verb)(error)),
        }
    }
}

impl crate::store::Ledger for Ledger {
    async fn claim(&self, delivery: &DeliveryKey, now: Timestamp, until: Timestamp) -> Result<Claim, Error> {
        const VERB: &str = "claim a delivery";
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let mut standing: Option<Row> = None;
        for _ in 0..ROUNDS {
            let (claim, row) = delivery::claim(standing.as_ref(), now, until);
            let Some(row) = row else { return Ok(claim) };
            let mut attributes = write(VERB, &row)?;
            attributes.extend(key(delivery));
            attributes.extend(item([("mark", text(&mark)), ("expires", number(expiry(now)))]));
            let put = self
                .0
                .client
                .put_item()
                .table_name(&self.0.name)
                .set_item(Some(attributes))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let put = match &standing {
                None => put
                    .condition_expression("attribute_not_exists(#delivery)")
                    .set_expression_attribute_names(Some(names(["delivery"]))),
                Some(standing) => put
                    .condition_expression("#attempt = :attempt AND #state = :state")
                    .set_expression_attribute_names(Some(names(["attempt", "state"])))
                    .expression_attribute_values(":attempt", number(standing.attempt))
                    .expression_attribute_values(":state", text(state_word(&standing.state))),
            };
            match put.send().await.map_err(SdkError::into_service_error) {
                Ok(_) => return Ok(claim),
                Err(PutItemError::ConditionalCheckFailedException(failure)) => {
                    let Some(item) = failure.item() else {
                        standing = None;
                        continue;
                    };
                    if (Record { verb: VERB, item }).optional_text("mark")? == Some(&mark) {
                        // Our own claim, whose answer was lost.
                        return Ok(claim);
                    }
                    standing = Some(read(VERB, item)?);
                }
                Err(error) => return Err(unavailable(VERB)(error)),
            }
        }
        Err(unavailable(VERB)(Outrun))
    }

    async fn settle(
        &self,
        delivery: &DeliveryKey,
        lease: Lease,
        outcome: &Outcome,
    ) -> Result<Written, Error> {
        let Lease { attempt, doubts } = lease;
        let row = Row {
            state: State::Settled(outcome.clone()),
            attempt,
            doubts,
        };
        self.write("settle a delivery", delivery, &row).await
    }

    async fn release(
        &self,
        delivery: &DeliveryKey,
        lease: Lease,
        until: Timestamp,
        why: &str,
        doubts: u32,
    ) -> Result<Written, Error> {
        let row = Row {
            state: State::Waiting {
                until,
                why: why.to_owned(),
            },
            attempt: lease.attempt,
            doubts,
        };
        self.write("release a delivery", delivery, &row).await
    }

    async fn look_up(&self, delivery: &DeliveryKey) -> Result<Option<Row>, Error> {
        const VERB: &str = "look up a delivery";
        let item = self.0.get(VERB, key(delivery)).await?;
        item.map(|item| read(VERB, &item)).transpose()
    }
}

/// What settling and releasing write or take away. The mark goes with the claim it was for.
const WRITTEN: [&str; 6] = ["state", "doubts", "until", "why", "outcome", "mark"];

const CLAIMED: &str = "claimed";
const WAITING: &str = "waiting";
const SETTLED: &str = "settled";

fn state_word(state: &State) -> &'static str {
    match state {
        State::Claimed { .. } => CLAIMED,
        State::Waiting { .. } => WAITING,
        State::Settled(_) => SETTLED,
    }
}

fn key(delivery: &DeliveryKey) -> Item {
    item([("delivery", text(delivery.as_str()))])
}

fn write(verb: &'static str, row: &Row) -> Result<Item, Error> {
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
        State::Claimed { until } => attributes.extend(item([("until", moment(*until))])),
        State::Waiting { until, why } => {
            attributes.extend(item([("until", moment(*until)), ("why", text(why))]));
        }
        State::Settled(outcome) => attributes.extend(item([("outcome", json(verb, "outcome", outcome)?)])),
    }
    Ok(attributes)
}

fn read(verb: &'static str, item: &Item) -> Result<Row, Error> {
    let record = Record { verb, item };
    let state = match record.text("state")? {
        CLAIMED => State::Claimed {
            until: record.moment("until")?,
        },
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
