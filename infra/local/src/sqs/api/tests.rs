use super::*;
use crate::{event::Events, template::Template};

const QUEUE: &str = "http://127.0.0.1:1/000000000000/Work";

fn service() -> Service {
    let template = "
Resources:
  Work:
    Type: AWS::SQS::Queue
    Properties: {VisibilityTimeout: 60, RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 1}}
  Dead: {Type: AWS::SQS::Queue}
";
    let location = AwsLocation {
        region: "us-east-1".into(),
        account: "000000000000".into(),
        stack: "herald".into(),
        sqs_endpoint: "http://127.0.0.1:1".into(),
        parameters: BTreeMap::new(),
    };
    let stack = Template::parse(template).unwrap().deploy(&location).unwrap();
    let queues = stack
        .queues
        .iter()
        .cloned()
        .map(|queue| (queue.name.clone(), queue))
        .collect();
    Service {
        broker: Broker::new(&stack, Events::default()),
        queues,
        location,
    }
}

async fn done(service: &Service, operation: &str, mut request: Value) -> Value {
    request["QueueUrl"] = QUEUE.into();
    service
        .perform(operation, request.to_string().as_bytes())
        .await
        .unwrap()
}

async fn refused(service: &Service, operation: &str, mut request: Value) -> String {
    request["QueueUrl"] = QUEUE.into();
    let outcome = service.perform(operation, request.to_string().as_bytes()).await;
    query_code(outcome.unwrap_err().code)
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_in_and_comes_out_with_its_attributes_and_digests() {
    let service = service();
    let attribute = json!({ "DataType": "Number", "StringValue": "1493147359900" });
    let request = json!({
        "MessageBody": "derp",
        "MessageAttributes": { "timestamp": attribute },
        "MessageGroupId": "tenant",
    });
    let sent = done(&service, "SendMessage", request).await;
    assert_eq!(sent["MD5OfMessageBody"], "58fd9edd83341c29f1aebba81c31e257");
    assert_eq!(sent["MD5OfMessageAttributes"], "235c5c510d26fb653d073faed50ae77c");

    let received = done(&service, "ReceiveMessage", json!({ "MaxNumberOfMessages": 10 })).await;
    let message = &received["Messages"][0];
    assert_eq!(message["MessageId"], sent["MessageId"]);
    assert_eq!(message["Body"], "derp");
    assert_eq!(message["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(message["MessageAttributes"]["timestamp"], attribute);
    assert_eq!(message["Attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(message["Attributes"]["MessageGroupId"], "tenant");

    done(
        &service,
        "DeleteMessage",
        json!({ "ReceiptHandle": message["ReceiptHandle"] }),
    )
    .await;
    let attributes = done(
        &service,
        "GetQueueAttributes",
        json!({ "AttributeNames": ["All"] }),
    )
    .await;
    assert_eq!(
        attributes["Attributes"]["ApproximateNumberOfMessagesNotVisible"],
        "0"
    );
    assert_eq!(attributes["Attributes"]["VisibilityTimeout"], "60");
}

#[tokio::test(start_paused = true)]
async fn a_receive_waits_for_a_message_as_long_as_it_says() {
    let service = service();
    let start = Instant::now();
    assert_eq!(
        done(&service, "ReceiveMessage", json!({ "WaitTimeSeconds": 5 })).await,
        json!({})
    );
    assert_eq!(start.elapsed(), Duration::from_secs(5));

    done(
        &service,
        "SendMessage",
        json!({ "MessageBody": "late", "DelaySeconds": 3 }),
    )
    .await;
    let received = done(&service, "ReceiveMessage", json!({ "WaitTimeSeconds": 20 })).await;
    assert_eq!(received["Messages"][0]["Body"], "late");
    assert_eq!(start.elapsed(), Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn a_changed_visibility_brings_a_message_back_and_then_it_is_given_up() {
    let service = service();
    done(&service, "SendMessage", json!({ "MessageBody": "a" })).await;
    let received = done(&service, "ReceiveMessage", json!({})).await;
    let receipt = &received["Messages"][0]["ReceiptHandle"];
    let request = json!({ "ReceiptHandle": receipt, "VisibilityTimeout": 0 });
    done(&service, "ChangeMessageVisibility", request).await;
    assert_eq!(
        done(&service, "ReceiveMessage", json!({})).await,
        json!({}),
        "it was received once, the most allowed"
    );
    assert_eq!(service.broker.counts("Dead").unwrap().visible, 1);
}

#[tokio::test]
async fn a_batch_answers_for_each_of_its_entries() {
    let service = service();
    let entries = json!([
        { "Id": "good", "MessageBody": "derp" },
        { "Id": "bad", "MessageBody": "derp", "DelaySeconds": 901 },
    ]);
    let answer = done(&service, "SendMessageBatch", json!({ "Entries": entries })).await;
    assert_eq!(answer["Successful"][0]["Id"], "good");
    assert_eq!(
        answer["Successful"][0]["MD5OfMessageBody"],
        "58fd9edd83341c29f1aebba81c31e257"
    );
    assert_eq!(answer["Failed"][0]["Id"], "bad");
    assert_eq!(answer["Failed"][0]["Code"], "InvalidParameterValue");
}

#[tokio::test]
async fn what_is_too_much_is_refused_by_its_own_code() {
    let service = service();
    let entry = |id: usize, size: usize| json!({ "Id": id.to_string(), "MessageBody": "x".repeat(size) });
    let batch = |entries: Vec<Value>| json!({ "Entries": entries });

    let eleven = batch((0..11).map(|id| entry(id, 1)).collect());
    assert_eq!(
        refused(&service, "SendMessageBatch", eleven).await,
        "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"
    );
    let twice = batch(vec![entry(1, 1), entry(1, 1)]);
    assert_eq!(
        refused(&service, "SendMessageBatch", twice).await,
        "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"
    );
    assert_eq!(
        refused(&service, "SendMessageBatch", batch(vec![])).await,
        "AWS.SimpleQueueService.EmptyBatchRequest"
    );
    let heavy = batch(vec![entry(1, MESSAGE_BYTES / 2), entry(2, MESSAGE_BYTES / 2 + 1)]);
    assert_eq!(
        refused(&service, "SendMessageBatch", heavy).await,
        "AWS.SimpleQueueService.BatchRequestTooLong"
    );
    let long = json!({ "MessageBody": "x".repeat(MESSAGE_BYTES + 1) });
    assert_eq!(
        refused(&service, "SendMessage", long).await,
        "InvalidParameterValue"
    );
    assert!(service.broker.receive("Work", 10, None).unwrap().is_empty());
}

#[tokio::test]
async fn what_does_not_exist_is_refused_by_its_own_code() {
    let service = service();
    let unknown = json!({ "QueueUrl": "http://127.0.0.1:1/000000000000/Play", "MessageBody": "a" });
    let fault = service
        .perform("SendMessage", unknown.to_string().as_bytes())
        .await
        .unwrap_err();
    assert_eq!(query_code(fault.code), "AWS.SimpleQueueService.NonExistentQueue");
    assert_eq!(
        refused(&service, "DeleteMessage", json!({ "ReceiptHandle": "?" })).await,
        "ReceiptHandleIsInvalid"
    );
    assert_eq!(
        refused(&service, "PurgeQueue", json!({})).await,
        "AWS.SimpleQueueService.UnsupportedOperation"
    );
}
