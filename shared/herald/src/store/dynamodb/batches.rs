//! Batches, in the ledger's table.

use aws_sdk_dynamodb::types::AttributeValue;

use super::attribute::{Item, Record, has_token, item, json, moment, number, text};
use super::ledger::{Ledger, key, prefixed_key};
use super::{Consistency, Error, Expression, Put, new_write_token};
use crate::batch::{BatchKey, BatchRecord, Stage, Submitted};
use crate::store::CasResult;

const WAITING: &str = "waiting";
const SUBMITTING: &str = "submitting";
const SUBMITTED: &str = "submitted";
const LOST: &str = "lost";
const OVER: &str = "over";

impl Ledger {
    pub(super) async fn read_batch(&self, batch: &BatchKey) -> Result<Option<BatchRecord>, Error> {
        const VERB: &str = "read a batch";
        let item = self.table.get(Consistency::Strong, VERB, place(batch)).await?;
        item.map(|item| {
            read(Record {
                verb: VERB,
                item: &item,
            })
        })
        .transpose()
    }

    pub(super) async fn write_batch(&self, batch: &BatchKey, to: &BatchRecord) -> Result<CasResult, Error> {
        const VERB: &str = "write a batch";
        let token = new_write_token();
        let condition = match to.step {
            0 | 1 => Expression::absent("delivery"),
            step => Expression::equal("step", number(step - 1)),
        };
        let mut attributes = write(VERB, to)?;
        attributes.extend(place(batch));
        attributes.extend(item([
            ("writeToken", text(&token)),
            ("expires", self.table.expiry()),
        ]));
        Ok(match self.table.put(VERB, attributes, condition).await? {
            Put::Written(_) => CasResult::Committed,
            // Our own write, whose answer was lost.
            Put::Refused(Some(stored)) if has_token(VERB, &stored, &token)? => CasResult::Committed,
            Put::Refused(_) => CasResult::Conflict,
        })
    }
}

fn place(batch: &BatchKey) -> Item {
    key(&prefixed_key("batch", batch.as_str()))
}

fn write(verb: &'static str, batch: &BatchRecord) -> Result<Item, Error> {
    let BatchRecord {
        step,
        ambiguous_attempts,
        stage,
        excluded,
    } = batch;
    let mut attributes = item([
        ("step", number(*step)),
        ("ambiguousAttempts", number(*ambiguous_attempts)),
    ]);
    attributes.extend(match stage {
        Stage::Waiting { until, reason } => item([
            ("stage", text(WAITING)),
            ("until", moment(*until)),
            ("reason", text(reason)),
        ]),
        Stage::Submitting { until } => item([("stage", text(SUBMITTING)), ("until", moment(*until))]),
        Stage::Submitted(Submitted {
            id,
            service_url,
            at,
            cancelled,
        }) => item([
            ("stage", text(SUBMITTED)),
            ("id", text(id.as_str())),
            ("serviceUrl", text(service_url)),
            ("at", moment(*at)),
            ("cancelled", AttributeValue::Bool(*cancelled)),
        ]),
        Stage::IdLost => item([("stage", text(LOST))]),
        Stage::Done => item([("stage", text(OVER))]),
    });
    if !excluded.is_empty() {
        attributes.extend(item([("excluded", json(verb, "excluded", excluded)?)]));
    }
    Ok(attributes)
}

fn read(record: Record<'_>) -> Result<BatchRecord, Error> {
    Ok(BatchRecord {
        step: record.number("step")?,
        ambiguous_attempts: record.number("ambiguousAttempts")?,
        stage: match record.text("stage")? {
            WAITING => Stage::Waiting {
                until: record.moment("until")?,
                reason: record.text("reason")?.to_owned(),
            },
            SUBMITTING => Stage::Submitting {
                until: record.moment("until")?,
            },
            SUBMITTED => Stage::Submitted(Submitted {
                id: record.text("id")?.into(),
                service_url: record.text("serviceUrl")?.to_owned(),
                at: record.moment("at")?,
                cancelled: record.item.get("cancelled") == Some(&AttributeValue::Bool(true)),
            }),
            LOST => Stage::IdLost,
            OVER => Stage::Done,
            _ => return Err(record.corrupt("stage")),
        },
        excluded: match record.optional_text("excluded")? {
            Some(_) => record.json("excluded")?,
            None => Vec::new(),
        },
    })
}
