use super::*;

fn place() -> Place {
    Place {
        region: "eu-west-1".into(),
        account: "123456789012".into(),
        stack: "herald".into(),
        sqs_endpoint: "http://127.0.0.1:9324".into(),
        parameters: BTreeMap::from([("App".into(), "an app".into())]),
    }
}

fn deployed(text: &str) -> Result<Stack, Error> {
    Template::parse(text).unwrap().deploy(&place())
}

#[test]
fn the_real_template_is_what_runs() {
    let template = Template::of_repository().unwrap();
    let mut place = place();
    place.parameters.insert("MicrosoftAppId".into(), "app".into());
    let stack = template.deploy(&place).unwrap();

    let names: Vec<_> = stack
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .collect();
    assert_eq!(names, ["messages", "notify", "planner", "sender"]);
    let messages = &stack.functions[0];
    assert_eq!(
        messages.environment["HERALD_CONVERSATIONS_TABLE"],
        "ConversationsTable"
    );
    assert_eq!(
        messages.environment["HERALD_PLANS_QUEUE_URL"],
        "http://127.0.0.1:9324/123456789012/PlansQueue"
    );
    assert_eq!(messages.environment["MicrosoftAppId"], "app");

    for mapping in &stack.mappings {
        let queue = stack
            .queues
            .iter()
            .find(|queue| queue.name == mapping.queue)
            .unwrap();
        let function = stack
            .functions
            .iter()
            .find(|function| function.name == mapping.function)
            .unwrap();
        assert!(
            queue.visibility >= function.timeout * 6,
            "{} is visible again too early",
            queue.name
        );
        let dead = &queue.redrive.as_ref().unwrap().target;
        assert!(
            stack.queues.iter().any(|queue| queue.name == *dead),
            "{dead} does not exist"
        );
    }
    let routes: BTreeMap<_, _> = stack
        .routes
        .iter()
        .map(|route| (route.key.as_str(), route.function.as_str()))
        .collect();
    assert_eq!(
        routes,
        BTreeMap::from([
            ("ANY /api/messages", "messages"),
            ("POST /api/notifications", "notify"),
            ("GET /api/notifications/{id}", "notify"),
            ("GET /api/notify", "notify"),
        ])
    );
}

#[test]
fn globals_are_merged_into_each_function() {
    let stack = deployed(
        "
Globals: {Function: {Timeout: 10, MemorySize: 128, Environment: {Variables: {A: '1', B: '1'}}}}
Parameters: {App: {Type: String}}
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: ../functions/f/
      Timeout: 60
      Environment: {Variables: {B: !Sub '${App} in ${AWS::Region}, ${!App}'}}
",
    );
    let function = &stack.unwrap().functions[0];
    assert_eq!(function.name, "f");
    assert_eq!((function.timeout.as_secs(), function.memory_mb), (60, 128));
    assert_eq!(function.environment["A"], "1");
    assert_eq!(function.environment["B"], "an app in eu-west-1, ${App}");
}

#[test]
fn a_resource_that_nothing_here_runs_is_named() {
    let error = deployed("Resources: {Nightly: {Type: AWS::Scheduler::Schedule}}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Nightly: AWS::Scheduler::Schedule is not supported by the local host"
    );
}

#[test]
fn a_property_that_nothing_here_heeds_is_named() {
    let error =
        deployed("Resources: {Q: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Q: the property FifoQueue is not supported by the local host"
    );
}

#[test]
fn what_has_no_effect_here_may_use_any_function() {
    let stack = deployed("Resources: {R: {Type: AWS::IAM::Role, Properties: {X: !If [a, b, c]}}}").unwrap();
    assert!(stack.functions.is_empty());
}

#[test]
fn a_mapping_to_a_function_that_is_not_there_is_named() {
    let error = deployed(
        "
Resources:
  Q: {Type: AWS::SQS::Queue}
  M: {Type: AWS::Lambda::EventSourceMapping, Properties: {EventSourceArn: !GetAtt Q.Arn, FunctionName: F}}
",
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "M: there is no function F");
}
