use super::*;
use crate::template::Template;
use serde_json::Value;

fn location() -> AwsLocation {
    crate::template::tests::location()
}

fn needed(service: &str, operation: &str, document: Value) -> Vec<(&'static str, String)> {
    let start = ["arn:aws:", ":eu-west-1:123456789012:"];
    let needed = of_target(
        &location(),
        service,
        operation,
        &serde_json::from_value(document).unwrap(),
    );
    let short = |arn: String| arn.replace(start[0], "").replace(start[1], " ");
    needed
        .into_iter()
        .map(|(action, arn)| (action, short(arn)))
        .collect()
}

#[test]
fn requests_need_the_actions_of_iam_on_tables_and_indexes() {
    let table = "DynamoDB_20120810";
    assert_eq!(
        needed(table, "Query", json!({"TableName": "T", "IndexName": "i"})),
        [("dynamodb:Query", "dynamodb table/T/index/i".to_owned())]
    );
    assert_eq!(
        needed(table, "BatchGetItem", json!({"RequestItems": {"A": {}, "B": {}}})),
        [
            ("dynamodb:BatchGetItem", "dynamodb table/A".to_owned()),
            ("dynamodb:BatchGetItem", "dynamodb table/B".to_owned())
        ]
    );
    let items = json!([{"Put": {"TableName": "A"}}, {"ConditionCheck": {"TableName": "B"}}]);
    assert_eq!(
        needed(table, "TransactWriteItems", json!({"TransactItems": items})),
        [
            ("dynamodb:PutItem", "dynamodb table/A".to_owned()),
            ("dynamodb:ConditionCheckItem", "dynamodb table/B".to_owned())
        ]
    );
    let statements = json!([{"Statement": "UPDATE \"A\" SET x=?"}, {"Statement": "DROP"}]);
    assert_eq!(
        needed(table, "BatchExecuteStatement", json!({"Statements": statements})),
        [
            ("dynamodb:PartiQLUpdate", "dynamodb table/A".to_owned()),
            ("unknown", "dynamodb table/".to_owned())
        ]
    );
    assert_eq!(
        needed(table, "DeleteTable", json!({"TableName": "A"})),
        [("unknown", "DynamoDB.DeleteTable".to_owned())]
    );
}

#[test]
fn requests_need_the_actions_of_iam_on_queues_and_buses() {
    let sent = json!({"QueueUrl": "http://127.0.0.1:1/123456789012/Work"});
    assert_eq!(
        needed("AmazonSQS", "SendMessageBatch", sent),
        [("sqs:SendMessage", "sqs Work".to_owned())]
    );
    let events = json!({"Entries": [{"EventBusName": "News"}, {}]});
    assert_eq!(
        needed("AWSEvents", "PutEvents", events),
        [
            ("events:PutEvents", "events event-bus/News".to_owned()),
            ("events:PutEvents", "events event-bus/default".to_owned())
        ]
    );
    let schedule = json!({"GroupName": "g", "Target": {"RoleArn": "role"}});
    let schedule = serde_json::from_value(schedule).unwrap();
    let of_schedule = of_path(&location(), &Method::POST, "/schedules/n", &schedule);
    assert!(of_schedule[0].1.ends_with(":schedule/g/n"), "{of_schedule:?}");
    assert_eq!(of_schedule[1], ("iam:PassRole", "role".to_owned()));
}

#[test]
fn a_pattern_matches_by_its_stars_only() {
    assert!(is_like("a/*", "a/"));
    assert!(is_like("a/*/c*", "a/b/c"));
    assert!(is_like("*", ""));
    assert!(!is_like("a/*", "a"));
    assert!(!is_like("a", "ab"));
    assert!(!is_like("*/c", "a/b"));
}

#[test]
fn what_no_grant_allows_is_returned_and_not_recorded() {
    let function = Function {
        id: "F".to_owned(),
        name: "f".to_owned(),
        timeout: std::time::Duration::ZERO,
        memory_mb: 128,
        environment: BTreeMap::new(),
        grants: Some(vec![Grant {
            action: "sqs:SendMessage".to_owned(),
            resource: "arn:x:*".to_owned(),
            leading_keys: Vec::new(),
        }]),
    };
    let permissions = Permissions::new(&[function], &[], &location());
    let did = |resource: &str| permissions.record("f", vec![("sqs:SendMessage", resource.to_owned())], None);
    assert_eq!(did("arn:x:1"), None);
    assert_eq!(did("arn:y:1").unwrap().resource, "arn:y:1");
    assert_eq!(permissions.calls().len(), 1);
    // Who has no role may do everything, and is not recorded.
    assert_eq!(
        permissions.record("other", vec![("unknown", String::new())], None),
        None
    );
}

#[test]
fn a_grant_of_some_partition_keys_allows_requests_about_one_item_with_such_a_key() {
    let location = AwsLocation {
        parameters: BTreeMap::from([("MicrosoftAppId".into(), "made-up".into())]),
        ..location()
    };
    let mut stack = Template::of_repository().unwrap().deploy(&location).unwrap();
    stack.functions.retain(|function| function.name == "notify");
    let permissions = Permissions::new(&stack.functions, &stack.tables, &location);
    let deliveries = stack
        .tables
        .iter()
        .find(|table| table.name.contains("Deliveries"));
    let deliveries = &deliveries.unwrap().name;
    let is_granted = |key: &str| {
        let item = json!({"delivery": {"S": key}, "other": {"N": "1"}});
        let named = json!({"TableName": deliveries, "Item": item});
        let named: Named = serde_json::from_value(named).unwrap();
        let needed = of_dynamodb(&location, "PutItem", &named);
        let key = permissions.leading_key(&named);
        permissions.record("notify", needed, key.as_deref()).is_none()
    };
    assert!(is_granted("rate|msteams|28:bot"));
    assert!(!is_granted("ntf_1"));
}
