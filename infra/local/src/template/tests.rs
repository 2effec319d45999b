use serde_json::json;

use super::*;

pub(crate) fn location() -> AwsLocation {
    AwsLocation {
        region: "eu-west-1".into(),
        account: "123456789012".into(),
        stack: "herald".into(),
        sqs_endpoint: "http://127.0.0.1:9324".into(),
        parameters: BTreeMap::from([("App".into(), "an app".into())]),
    }
}

pub(crate) fn deployed(text: &str) -> Result<Stack, Error> {
    Template::parse(text).unwrap().deploy(&location())
}

#[test]
#[allow(clippy::too_many_lines, reason = "a list of all routes")]
fn the_real_template_is_what_runs() {
    let template = Template::of_repository().unwrap();
    let mut location = location();
    location.parameters.insert("MicrosoftAppId".into(), "app".into());
    for name in ["NotifyTrigger", "Console"] {
        location.parameters.insert(name.into(), "Enabled".into());
    }
    let stack = template.deploy(&location).unwrap();

    let names: Vec<_> = stack
        .functions
        .iter()
        .map(|function| function.name.as_str())
        .collect();
    assert_eq!(names, ["events", "messages", "notify", "planner", "sender"]);
    let messages = &stack.functions[1];
    assert_eq!(
        messages.environment["HERALD_CONVERSATIONS_TABLE"],
        "ConversationsTable"
    );
    assert_eq!(
        messages.environment["HERALD_PLANS_QUEUE_URL"],
        "http://127.0.0.1:9324/123456789012/PlansQueue"
    );
    assert_eq!(messages.environment["MicrosoftAppId"], "app");
    assert_eq!(stack.buses, [messages.environment["HERALD_EVENT_BUS"].as_str()]);
    assert_eq!(
        stack.schedule_groups,
        [messages.environment["HERALD_SCHEDULE_GROUP"].as_str()]
    );
    let role = &messages.environment["HERALD_SCHEDULER_ROLE_ARN"];
    let role = stack.roles.iter().find(|known| known.arn == *role).unwrap();
    assert_eq!(role.services, ["scheduler.amazonaws.com"]);

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
            ("$default", "notify"),
            ("ANY /api/messages", "messages"),
            ("GET /api/notifications", "notify"),
            ("POST /api/notifications", "notify"),
            ("POST /api/notifications/preview", "notify"),
            ("GET /api/notifications/{id}", "notify"),
            ("POST /api/notifications/{id}/cancel", "notify"),
            ("POST /api/notifications/{id}/waves/{instant}/cancel", "notify"),
            ("GET /api/tenants/{id}/preferences", "notify"),
            ("PUT /api/tenants/{id}/preferences", "notify"),
            ("DELETE /api/tenants/{id}/preferences", "notify"),
            ("PUT /api/notifications/{id}/message", "notify"),
            ("DELETE /api/notifications/{id}/message", "notify"),
            ("GET /api/notifications/{id}/explain", "notify"),
            ("GET /api/notifications/{id}/plan", "notify"),
            ("GET /api/notifications/{id}/deliveries", "notify"),
            ("GET /api/conversations", "notify"),
            ("POST /api/conversations/import", "notify"),
            ("POST /api/conversations/export", "notify"),
            ("GET /api/conversations/{key}", "notify"),
            ("DELETE /api/conversations/{key}", "notify"),
            ("PUT /api/conversations/{key}/tags/{tag}", "notify"),
            ("DELETE /api/conversations/{key}/tags/{tag}", "notify"),
            ("DELETE /api/users/{id}", "notify"),
            ("GET /api/conversations/{key}/preferences", "notify"),
            ("PUT /api/conversations/{key}/preferences", "notify"),
            ("GET /api/people/{id}/preferences", "notify"),
            ("PUT /api/people/{id}/preferences", "notify"),
            ("GET /api/categories", "notify"),
            ("GET /api/categories/{name}", "notify"),
            ("PUT /api/categories/{name}", "notify"),
            ("DELETE /api/categories/{name}", "notify"),
            ("GET /api/templates", "notify"),
            ("GET /api/templates/{name}", "notify"),
            ("PUT /api/templates/{name}", "notify"),
            ("DELETE /api/templates/{name}", "notify"),
            ("DELETE /api/rates/{bucket}", "notify"),
            ("GET /api/hooks", "notify"),
            ("POST /api/hooks", "notify"),
            ("GET /api/hooks/{id}", "notify"),
            ("DELETE /api/hooks/{id}", "notify"),
            ("PUT /api/hooks/{id}/secret", "notify"),
            ("POST /api/hooks/{id}/{secret}", "notify"),
            ("GET /api/routes", "notify"),
            ("GET /api/routes/{name}", "notify"),
            ("PUT /api/routes/{name}", "notify"),
            ("DELETE /api/routes/{name}", "notify"),
            ("POST /api/routes/{name}/test", "notify"),
            ("GET /api/schedules", "notify"),
            ("GET /api/schedules/{name}", "notify"),
            ("PUT /api/schedules/{name}", "notify"),
            ("DELETE /api/schedules/{name}", "notify"),
            ("POST /api/schedules/{name}/pause", "notify"),
            ("POST /api/schedules/{name}/resume", "notify"),
            ("POST /api/schedules/{name}/skip", "notify"),
            ("GET /api/events/failed", "notify"),
            ("POST /api/events/failed/redrive", "notify"),
            ("GET /api/notify", "notify"),
            ("GET /console", "notify"),
            ("GET /console/{file}", "notify"),
        ])
    );
}

#[test]
fn by_default_nothing_broadcasts_by_get_no_page_is_public_and_each_queue_has_its_limit() {
    let mut location = location();
    location.parameters.insert("MicrosoftAppId".into(), "app".into());
    let stack = Template::of_repository().unwrap().deploy(&location).unwrap();
    let off_by_default = |key: &str| key == "GET /api/notify" || key.contains("/console");
    assert!(!stack.routes.iter().any(|route| off_by_default(&route.key)));
    let limits = stack.mappings.iter().map(|mapping| mapping.max_concurrency);
    assert_eq!(limits.collect::<Vec<_>>(), [Some(20); 3]);
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

#[test]
fn a_rule_whose_pattern_or_target_nothing_here_can_serve_is_named() {
    let rule = |pattern: &str, queue: &str| {
        let error = deployed(&format!(
            "
Resources:
  Q: {{Type: AWS::SQS::Queue}}
  R:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {pattern}
      Targets: [{{Id: q, Arn: 'arn:aws:sqs:x:1:{queue}'}}]
"
        ));
        error.unwrap_err().to_string()
    };
    assert!(rule("{source: [{prefx: a}]}", "Q").starts_with("R: EventPattern/source/0/prefx is no operator"));
    assert!(rule("{source: [a]}", "P").ends_with("there is no queue P"));
}

#[test]
fn a_rule_has_a_pattern_or_a_rate() {
    let rule = |properties: &str| {
        deployed(&format!(
            "Resources:
  Q: {{Type: AWS::SQS::Queue}}
  R: {{Type: AWS::Events::Rule, Properties: {{Targets: [{{Id: q, Arn: !GetAtt Q.Arn}}], {properties}}}}}
"
        ))
    };
    for (expression, minutes) in [
        ("rate(15 minutes)", 15),
        ("rate(1 hour)", 60),
        ("rate(2 days)", 2880),
    ] {
        let stack = rule(&format!("ScheduleExpression: {expression}")).unwrap();
        assert_eq!(stack.scheduled_rules[0].every, Duration::from_mins(minutes));
    }
    for (properties, wrong) in [
        (
            "ScheduleExpression: rate(0 minutes)",
            "is not supported by the local host",
        ),
        (
            "ScheduleExpression: cron(0 9 * * ? *)",
            "is not supported by the local host",
        ),
        ("State: ENABLED", "has an EventPattern"),
        (
            "EventPattern: {source: [a]}, ScheduleExpression: rate(1 hour)",
            "has an EventPattern",
        ),
    ] {
        let error = rule(properties).unwrap_err().to_string();
        assert!(error.contains(wrong), "{error}");
    }
}

#[test]
fn a_resource_exists_as_its_condition_says() {
    let template = "
Parameters:
  Sources: {Type: CommaDelimitedList, Default: ''}
  Mode: {Type: String, Default: a}
Conditions:
  HasSources: !Not [!Equals [!Join ['', !Ref Sources], '']]
  IsA: !Equals [!Ref Mode, a]
  Both: !And [!Condition HasSources, !Condition IsA]
Resources:
  Q: {Type: AWS::SQS::Queue}
  R:
    Type: AWS::Events::Rule
    Condition: Both
    Properties:
      EventPattern: {source: !Ref Sources}
      Targets: [{Id: q, Arn: !GetAtt Q.Arn}]
";
    assert!(deployed(template).unwrap().rules.is_empty());
    let mut location = location();
    location
        .parameters
        .insert("Sources".into(), "aws.ec2, shop".into());
    let stack = Template::parse(template).unwrap().deploy(&location).unwrap();
    let rule = &stack.rules[0];
    assert_eq!(rule.bus, "default");
    assert_eq!(rule.arn, "arn:aws:events:eu-west-1:123456789012:rule/R");
    for source in ["aws.ec2", "shop"] {
        assert!(rule.pattern.matches(&json!({ "source": source })));
    }
    location.parameters.insert("Mode".into(), "b".into());
    assert!(
        Template::parse(template)
            .unwrap()
            .deploy(&location)
            .unwrap()
            .rules
            .is_empty()
    );
}

// ---- What only AWS enforces, and neither this host nor a linter sees ---------------------------------------------------

/// The statements of the real template's policy at this location, and those that allow this action.
fn allowing(template: &Template, id: &str, document: &str, action: &str) -> Vec<Value> {
    let statements = template.resources[id]
        .pointer(&format!("/Properties/{document}/Statement"))
        .unwrap()
        .as_array()
        .unwrap();
    let is_meant = |statement: &&Value| {
        let actions = &statement["Action"];
        actions == action
            || actions
                .as_array()
                .is_some_and(|actions| actions.iter().any(|it| it == action))
    };
    statements.iter().filter(is_meant).cloned().collect()
}

#[test]
fn scheduler_may_send_to_every_queue_of_a_function_and_to_no_other() {
    let template = Template::of_repository().unwrap();
    let sending = allowing(
        &template,
        "SchedulerRole",
        "Policies/0/PolicyDocument",
        "sqs:SendMessage",
    );
    let mut location = location();
    location.parameters.insert("MicrosoftAppId".into(), "app".into());
    let fed = template.deploy(&location).unwrap().mappings;
    let mut fed: Vec<_> = fed
        .iter()
        .map(|mapping| json!({"Fn::GetAtt": [mapping.queue, "Arn"]}))
        .collect();
    fed.sort_by_key(Value::to_string);
    let mut allowed = sending[0]["Resource"].as_array().unwrap().clone();
    allowed.sort_by_key(Value::to_string);
    assert_eq!(allowed, fed);
    let assuming = allowing(
        &template,
        "SchedulerRole",
        "AssumeRolePolicyDocument",
        "sts:AssumeRole",
    );
    assert_eq!(
        assuming[0]["Condition"]["StringEquals"]["aws:SourceArn"],
        json!({"Fn::GetAtt": ["ScheduleGroup", "Arn"]})
    );
}

#[test]
fn whoever_puts_messages_off_may_make_schedules_and_pass_their_role_to_scheduler_alone() {
    let template = Template::of_repository().unwrap();
    let document = "PolicyDocument";
    let creating = allowing(&template, "SchedulesPolicy", document, "scheduler:CreateSchedule");
    let resource = creating[0]["Resource"]["Fn::Sub"].as_str().unwrap();
    assert!(resource.ends_with(":schedule/${ScheduleGroup}/*"), "{resource}");
    let passing = allowing(&template, "SchedulesPolicy", document, "iam:PassRole");
    assert_eq!(
        passing[0]["Resource"],
        json!({"Fn::GetAtt": ["SchedulerRole", "Arn"]})
    );
    assert_eq!(
        passing[0]["Condition"]["StringEquals"],
        json!({"iam:PassedToService": "scheduler.amazonaws.com"})
    );
    let publishing = allowing(&template, "EventsPolicy", document, "events:PutEvents");
    assert_eq!(
        publishing[0]["Resource"],
        json!({"Fn::GetAtt": ["EventBus", "Arn"]})
    );
    for (role, speaks) in [
        ("NotifyRole", [true, true]),
        ("PlannerRole", [true, true]),
        ("SenderRole", [true, true]),
        ("EventsRole", [true, false]),
        ("MessagesRole", [true, false]),
    ] {
        let policies = template.resources[role].pointer("/Properties/ManagedPolicyArns");
        let policies = policies.unwrap().as_array().unwrap();
        for (policy, speaks) in ["SchedulesPolicy", "EventsPolicy"].into_iter().zip(speaks) {
            assert_eq!(
                policies.contains(&json!({"Ref": policy})),
                speaks,
                "{role} {policy}"
            );
        }
    }
}

#[test]
fn an_alarm_watches_every_dead_letter_queue() {
    let template = Template::of_repository().unwrap();
    let mut location = location();
    location.parameters.insert("MicrosoftAppId".into(), "app".into());
    let watched: Vec<_> = template
        .resources
        .values()
        .filter(|resource| resource["Type"] == "AWS::CloudWatch::Alarm")
        .filter_map(|alarm| {
            alarm
                .pointer("/Properties/Dimensions/0/Value/Fn::GetAtt/0")?
                .as_str()
        })
        .collect();
    for queue in template.deploy(&location).unwrap().queues {
        if let Some(redrive) = queue.redrive {
            assert!(watched.contains(&redrive.target.as_str()), "{}", redrive.target);
        }
    }
}
