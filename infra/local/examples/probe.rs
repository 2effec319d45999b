//! A function for tests of the host: a word in the event selects its behaviour.

use std::{collections::BTreeMap, env, process};

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(|event: LambdaEvent<Value>| handle(event.payload))).await
}

/// The word is the body of an HTTP request, the body of each message of a batch, or else the event.
async fn handle(event: Value) -> Result<Value, Error> {
    if let Some(records) = event.get("Records").and_then(Value::as_array) {
        let mut failures = Vec::new();
        for record in records {
            let word = record.get("body").and_then(Value::as_str).unwrap_or_default();
            if obey(word, &event).await.is_err() {
                failures.push(json!({ "itemIdentifier": record.get("messageId") }));
            }
        }
        return Ok(json!({ "batchItemFailures": failures }));
    }
    match event.get("requestContext") {
        Some(_) => {
            let word = event.get("body").and_then(Value::as_str).unwrap_or_default();
            let answer = obey(word, &event).await?;
            Ok(json!({ "statusCode": 200, "body": answer.to_string() }))
        }
        None => obey(event.as_str().unwrap_or_default(), &event).await,
    }
}

async fn obey(word: &str, event: &Value) -> Result<Value, Error> {
    match word {
        "echo" => Ok(event.clone()),
        "environment" => Ok(json!(env::vars().collect::<BTreeMap<String, String>>())),
        "process" => Ok(process::id().into()),
        "hang" => std::future::pending().await,
        "exit" => process::exit(3),
        other => Err(format!("it was told to {other:?}").into()),
    }
}
