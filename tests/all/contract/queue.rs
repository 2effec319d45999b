//! What SQS is sent, and what becomes of what it refuses.

use std::time::Duration;

use herald::queue::sqs::Queue;
use herald::queue::{Error, Message, Queue as _};
use serde_json::{Value, json};
use tests::database::sdk;
use tests::script::Script;

const URL: &str = "http://queue.invalid/000000000000/deliveries";

fn messages(count: usize) -> Vec<Message> {
    (0..count)
        .map(|number| Message {
            body: format!("body {number}"),
            delay: Duration::ZERO,
        })
        .collect()
}

/// An answer that takes all messages but those of these ids.
fn refusing(ids: &[&str]) -> (u16, Value) {
    let refused = |id: &&str| json!({"Id": id, "SenderFault": false, "Code": "InternalError"});
    let refused: Vec<Value> = ids.iter().map(refused).collect();
    (200, json!({"Successful": [], "Failed": refused}))
}

fn bodies(request: &Value) -> Vec<&str> {
    request["Entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["MessageBody"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn messages_are_sent_ten_at_a_time_and_each_once() {
    let script = Script::of(vec![refusing(&[]); 3]).await;
    Queue::new(&sdk(script.address()), URL)
        .send(messages(25))
        .await
        .unwrap();
    let requests = script.requests();
    assert_eq!(requests.len(), 3);
    assert!(
        requests
            .iter()
            .all(|request| request["QueueUrl"] == URL && bodies(request).len() <= 10)
    );
    let mut sent: Vec<&str> = requests.iter().flat_map(bodies).collect();
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent.len(), 25);
}

#[tokio::test]
async fn nothing_to_send_is_no_request() {
    let script = Script::of([]).await;
    Queue::new(&sdk(script.address()), URL)
        .send(Vec::new())
        .await
        .unwrap();
    assert!(script.requests().is_empty());
}

#[tokio::test]
async fn a_delay_goes_with_its_message() {
    let script = Script::of([refusing(&[])]).await;
    let delayed = Message {
        body: "later".to_owned(),
        delay: Duration::from_millis(2_500),
    };
    Queue::new(&sdk(script.address()), URL)
        .send(vec![delayed])
        .await
        .unwrap();
    assert_eq!(script.requests()[0]["Entries"][0]["DelaySeconds"], 3);
}

#[tokio::test]
async fn what_was_refused_is_sent_once_more() {
    let script = Script::of([refusing(&["1", "2"]), refusing(&[])]).await;
    Queue::new(&sdk(script.address()), URL)
        .send(messages(4))
        .await
        .unwrap();
    assert_eq!(bodies(&script.requests()[1]), ["body 1", "body 2"]);
}

#[tokio::test]
async fn what_is_refused_twice_is_an_error_that_says_how_much_and_why() {
    let script = Script::of([refusing(&["1", "2"]), refusing(&["2"])]).await;
    let error = Queue::new(&sdk(script.address()), URL)
        .send(messages(4))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Refused { refused: 1, sent: 4, code } if code == "InternalError"),
        "{error}"
    );
    assert_eq!(script.requests().len(), 2);
}

#[tokio::test]
async fn a_queue_that_is_away_is_an_error() {
    let script = Script::of([]).await;
    let error = Queue::new(&sdk(script.address()), URL)
        .send(messages(1))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }));
    assert_eq!(script.requests().len(), 3, "the SDK tried again");
}
