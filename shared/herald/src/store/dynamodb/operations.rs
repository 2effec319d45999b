//! The operations, in the ledger's table.

use super::attribute::{Item, Record, is_marked, item, json, number, text};
use super::ledger::{Ledger, beside, key};
use super::{Condition, Error, Put, fresh_mark};
use crate::operation::{Operation, OperationKey};
use crate::store::Written;

impl Ledger {
    pub(super) async fn standing(&self, operation: &OperationKey) -> Result<Option<Operation>, Error> {
        const VERB: &str = "read an operation";
        let item = self.table.get(VERB, place(operation)).await?;
        item.map(|item| {
            read(Record {
                verb: VERB,
                item: &item,
            })
        })
        .transpose()
    }

    /// Puts a step where the one before it stands.
    pub(super) async fn step(&self, operation: &OperationKey, to: &Operation) -> Result<Written, Error> {
        const VERB: &str = "advance an operation";
        let mark = fresh_mark();
        let condition = match to.step {
            0 | 1 => Condition::absent("delivery"),
            step => Condition::equal("step", number(step - 1)),
        };
        let mut attributes = write(VERB, to)?;
        attributes.extend(place(operation));
        attributes.extend(item([("mark", text(&mark)), ("expires", self.table.expiry())]));
        Ok(match self.table.put(VERB, attributes, condition).await? {
            Put::Written => Written::Stands,
            // Our own, whose answer was lost.
            Put::Refused(Some(standing)) if is_marked(VERB, &standing, &mark)? => Written::Stands,
            Put::Refused(_) => Written::Lost,
        })
    }
}

fn place(operation: &OperationKey) -> Item {
    key(&beside("operation", operation.as_str()))
}

fn write(verb: &'static str, operation: &Operation) -> Result<Item, Error> {
    let Operation {
        step,
        doubts,
        stage,
        aside,
    } = operation;
    let mut attributes = item([
        ("step", number(*step)),
        ("doubts", number(*doubts)),
        ("stage", json(verb, "stage", stage)?),
    ]);
    if !aside.is_empty() {
        attributes.extend(item([("aside", json(verb, "aside", aside)?)]));
    }
    Ok(attributes)
}

fn read(record: Record<'_>) -> Result<Operation, Error> {
    Ok(Operation {
        step: record.number("step")?,
        doubts: record.number("doubts")?,
        stage: record.json("stage")?,
        aside: match record.optional_text("aside")? {
            Some(_) => record.json("aside")?,
            None => Vec::new(),
        },
    })
}
