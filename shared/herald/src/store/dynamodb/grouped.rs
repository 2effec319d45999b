//! Reads and conditional writes of single items, which go in groups: `BatchGetItem` and `BatchExecuteStatement`.
//!
//! A statement of a batch is written or refused by itself, on its own condition, and is billed like a `PutItem`. One that is
//! refused, throttled or not understood is made again as a `PutItem`, which says why, and returns the item that is stored.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest};

use super::attribute::Item;
use super::group::Grouping;
use super::table::READ_BATCH;
use super::{Consistency, Error, Expression, Put, Table, request_error, unavailable};

/// Most statements of one `BatchExecuteStatement`.
const STATEMENTS: usize = 25;

/// Reads of one table, of one consistency.
#[derive(Clone, Debug)]
pub(super) struct GroupedReads(Grouping<Item, Result<Option<Item>, SharedError>>);

impl GroupedReads {
    /// Reads of items with these key attributes.
    pub(super) fn new(table: Table, consistency: Consistency, key: &'static [&'static str]) -> Self {
        Self(Grouping::new(READ_BATCH, move |keys| {
            let table = table.clone();
            async move { read(&table, consistency, key, &keys).await }
        }))
    }

    /// The item with this key.
    pub(super) async fn get(&self, verb: &'static str, key: Item) -> Result<Option<Item>, Error> {
        match self.0.ask(key).await {
            Some(Ok(item)) => Ok(item),
            Some(Err(error)) => Err(error.of(verb)),
            None => Err(unavailable(verb)(NoAnswer)),
        }
    }
}

async fn read(
    table: &Table,
    consistency: Consistency,
    key: &[&str],
    keys: &[Item],
) -> Vec<Result<Option<Item>, SharedError>> {
    // DynamoDB refuses a request that names a key twice.
    let mut seen = HashSet::new();
    let distinct = keys.iter().filter(|asked| seen.insert(name(asked, key)));
    let distinct: Vec<Item> = distinct.cloned().collect();
    match table.batch_get(consistency, "read items", &distinct).await {
        Ok(found) => {
            let found: HashMap<_, &Item> = found.iter().map(|item| (name(item, key), item)).collect();
            let of = |asked| found.get(&name(asked, key)).map(|item| (*item).clone());
            keys.iter().map(|asked| Ok(of(asked))).collect()
        }
        Err(error) => {
            let error = SharedError(Arc::new(error));
            keys.iter().map(|_| Err(error.clone())).collect()
        }
    }
}

/// The values of an item's key attributes, which are strings.
fn name<'i>(item: &'i Item, key: &[&str]) -> Vec<Option<&'i String>> {
    let values = key.iter().map(|attribute| item.get(*attribute));
    values
        .map(|value| value.and_then(|value| value.as_s().ok()))
        .collect()
}

/// The stored item that a write replaces.
#[derive(Clone, Debug)]
pub(super) enum Replaces {
    /// None.
    Nothing,
    /// One whose attribute of this name has this value. It has no other attributes than the new item.
    Equal(&'static str, AttributeValue),
}

/// Conditional writes of one table.
#[derive(Clone, Debug)]
pub(super) struct GroupedPuts {
    table: Table,
    grouping: Grouping<(Item, Replaces), Statement>,
}

/// What became of a write in a group.
#[derive(Clone)]
enum Statement {
    Written,
    /// It was alone, or was not written: it has to be made by itself.
    Alone,
    Failed(SharedError),
}

impl GroupedPuts {
    /// Writes of items with this key attribute.
    pub(super) fn new(table: Table, key: &'static str) -> Self {
        let grouped = table.clone();
        Self {
            table,
            grouping: Grouping::new(STATEMENTS, move |puts| {
                let table = grouped.clone();
                async move { write(&table, key, puts).await }
            }),
        }
    }

    /// Writes an item whole if it replaces what it should. `condition` says the same, or permits more.
    pub(super) async fn put(
        &self,
        verb: &'static str,
        item: Item,
        replaces: Replaces,
        condition: Expression,
    ) -> Result<Put, Error> {
        match self.grouping.ask((item.clone(), replaces)).await {
            Some(Statement::Written) => Ok(Put::Written(None)),
            Some(Statement::Failed(error)) => Err(error.of(verb)),
            Some(Statement::Alone) | None => self.table.put(verb, item, condition).await,
        }
    }
}

async fn write(table: &Table, key: &str, puts: Vec<(Item, Replaces)>) -> Vec<Statement> {
    let mut became = vec![Statement::Alone; puts.len()];
    // DynamoDB refuses a batch with two statements about one item.
    let mut seen = HashSet::new();
    let mut places = Vec::with_capacity(puts.len());
    let mut statements = Vec::with_capacity(puts.len());
    for (place, (item, replaces)) in puts.into_iter().enumerate() {
        let name = item.get(key).and_then(|name| name.as_s().ok()).cloned();
        if seen.insert(name)
            && let Ok(statement) = statement(&table.name, key, item, replaces)
        {
            places.push(place);
            statements.push(statement);
        }
    }
    if statements.len() < 2 {
        return became;
    }
    let batch = table.client.batch_execute_statement();
    match batch.set_statements(Some(statements)).send().await {
        Ok(answer) => {
            let responses = answer.responses.unwrap_or_default();
            for (place, response) in places.into_iter().zip(responses) {
                if response.error.is_none() {
                    became[place] = Statement::Written;
                }
            }
        }
        // Each says by itself what DynamoDB refuses.
        Err(error) if error.code() == Some("ValidationException") => {}
        Err(error) => {
            let failed = SharedError(Arc::new(request_error("write items")(error)));
            for place in places {
                became[place] = Statement::Failed(failed.clone());
            }
        }
    }
    became
}

/// A write as a statement of `PartiQL`, which is never an upsert: `INSERT` needs that there is no item, and `UPDATE` that there is
/// one.
fn statement(
    table: &str,
    key: &str,
    mut item: Item,
    replaces: Replaces,
) -> Result<BatchStatementRequest, aws_sdk_dynamodb::error::BuildError> {
    let mut parameters = Vec::with_capacity(item.len() + 1);
    let text = match replaces {
        Replaces::Nothing => {
            let mut names = Vec::with_capacity(item.len());
            for (name, value) in item {
                names.push(format!("'{name}': ?"));
                parameters.push(value);
            }
            format!("INSERT INTO \"{table}\" VALUE {{{}}}", names.join(", "))
        }
        Replaces::Equal(attribute, value) => {
            let id = item.remove(key);
            let mut sets = Vec::with_capacity(item.len());
            for (name, value) in item {
                sets.push(format!("SET \"{name}\" = ?"));
                parameters.push(value);
            }
            parameters.extend(id);
            parameters.push(value);
            let sets = sets.join(" ");
            format!("UPDATE \"{table}\" {sets} WHERE \"{key}\" = ? AND \"{attribute}\" = ?")
        }
    };
    BatchStatementRequest::builder()
        .statement(text)
        .set_parameters(Some(parameters))
        .build()
}

/// The error of a request that several tasks wait for.
#[derive(Clone, Debug)]
struct SharedError(Arc<Error>);

impl SharedError {
    /// The error of one of them.
    fn of(self, verb: &'static str) -> Error {
        match *self.0 {
            Error::Refused { .. } => Error::Refused {
                verb,
                source: self.into(),
            },
            Error::Unavailable { .. } | Error::Corrupt { .. } => unavailable(verb)(self),
        }
    }
}

impl std::fmt::Display for SharedError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for SharedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// The task that made the request of a group has ended.
#[derive(Debug, thiserror::Error)]
#[error("the request of a group gave no answer")]
struct NoAnswer;

#[cfg(test)]
mod tests {
    use super::super::attribute::{item, number, text};
    use super::*;

    #[test]
    fn a_write_over_nothing_is_an_insert_and_one_over_a_version_an_update() {
        let new = || item([("delivery", text("lease|x"))]);
        let insert = statement("Deliveries", "delivery", new(), Replaces::Nothing).unwrap();
        assert_eq!(
            insert.statement(),
            "INSERT INTO \"Deliveries\" VALUE {'delivery': ?}"
        );
        assert_eq!(insert.parameters(), [text("lease|x")]);
        let mut newer = new();
        newer.insert("version".to_owned(), number(8));
        let over = Replaces::Equal("version", number(7));
        let update = statement("Deliveries", "delivery", newer, over).unwrap();
        assert_eq!(
            update.statement(),
            "UPDATE \"Deliveries\" SET \"version\" = ? WHERE \"delivery\" = ? AND \"version\" = ?"
        );
        assert_eq!(update.parameters(), [number(8), text("lease|x"), number(7)]);
    }
}
