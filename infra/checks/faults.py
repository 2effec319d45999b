"""Faults that are seeded into the template. Each has to be caught, by cfn-lint or by a rule of our own, where it is.

A fault is its name, a change of the template, and the beginning of what has to be reported.
"""

import copy


def put(path, value):
    """Sets what is at this path of the template; `None` removes it."""

    def change(template):
        at = template
        *parents, last = path
        for part in parents:
            at = at[part]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return change


def of(resource, *path_and_value):
    *path, value = path_and_value
    return put(["Resources", resource, "Properties", *path], value)


def statement(role, action):
    """The first statement of a role's own policy that allows this action."""

    def find(template):
        statements = template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        return next(it for it in statements if action in it["Action"])

    return find


def granted(role, action, key, value):
    def change(template):
        statement(role, action)(template)[key] = value

    return change


def another_route(template):
    """A route that API Gateway may not invoke, and that no part of the repository knows."""
    route = copy.deepcopy(template["Resources"]["ListHooksRoute"])
    route["Properties"]["RouteKey"] = "GET /api/surprise"
    template["Resources"]["SurpriseRoute"] = route


def alias(template):
    """GET /api/notify by everybody's tables: the parameter is forgotten in one of the two resources."""
    del template["Resources"]["NotifyEveryonePermission"]["Condition"]


# Caught by our own rules, one at a time.
OWN = [
    ("a route without a permission", put(["Resources", "NotificationStatusPermission"], None), "NotificationStatusRoute: nothing permits"),
    (
        "a permission for another function",
        of("MessagesPermission", "FunctionName", {"Ref": "NotifyFunction"}),
        "MessagesRoute: nothing permits",
    ),
    (
        "a route with another function's integration",
        of("MessagesRoute", "Target", {"Fn::Sub": "integrations/${NotifyIntegration}"}),
        "MessagesRoute: ANY /api/messages goes to notify",
    ),
    (
        "a misspelt integration type",
        of("NotifyIntegration", "IntegrationType", "AWS_PROXXY"),
        "EraseUserRoute: its integration is no proxy",
    ),
    ("a route that only the template has", another_route, "SurpriseRoute: the router in Cargo.toml"),
    ("a route that only Cargo.toml has", put(["Resources", "EraseUserRoute"], None), "Cargo.toml: the template has no route"),
    ("a permission that no route needs", put(["Resources", "EraseUserRoute"], None), "EraseUserPermission: no route"),
    ("a permission without its route's condition", alias, "NotifyEveryonePermission: it has another condition"),
    ("a route that is open by mistake", of("EraseUserRoute", "AuthorizationType", "NONE"), "EraseUserRoute: "),
    ("a route without its authorizer", of("EraseUserRoute", "AuthorizerId", None), "EraseUserRoute: it has no authorizer"),
    (
        "a throttle on a route that is not there",
        of("ApiStage", "RouteSettings", "POST /api/messages", {"ThrottlingRateLimit": 1}),
        "ApiStage: there is no route POST /api/messages",
    ),
    (
        "a public route without a throttle",
        of("ApiStage", "RouteSettings", "ANY /api/messages", None),
        "ApiStage: ANY /api/messages is public",
    ),
    (
        "a stage that may be made before the routes of the console",
        put(["Resources", "ApiStage", "Properties", "StageVariables"], {}),
        "ApiStage: it does not depend on ConsoleRoute",
    ),
    (
        "a stage that may be made before its routes",
        put(["Resources", "ApiStage", "DependsOn"], ["MessagesRoute"]),
        "ApiStage: it does not depend on ReceiveHookRoute",
    ),
    (
        "an access log with the secrets of hooks",
        of("ApiStage", "AccessLogSettings", "Format", '{"path":"$context.path"}'),
        "ApiStage: access logs hold paths",
    ),
    (
        "a misspelt TTL attribute",
        of("DeliveriesTable", "TimeToLiveSpecification", "AttributeName", "expire"),
        "DeliveriesTable: the store writes no time to live",
    ),
    (
        "a table that goes with the stack",
        put(["Resources", "ConversationsTable", "DeletionPolicy"], "Delete"),
        "ConversationsTable: it is not retained",
    ),
    (
        "a grant on everything",
        granted("SenderRole", "dynamodb:ConditionCheckItem", "Resource", "*"),
        "SenderRole: dynamodb:GetItem",
    ),
    ("a wildcard action", granted("SenderRole", "sqs:SendMessage", "Action", ["sqs:*"]), "SenderRole: a wildcard"),
    (
        "a grant on an index that is not there",
        granted("MessagesRole", "dynamodb:Query", "Resource", {"Fn::Sub": "${ConversationsTable.Arn}/index/byUser"}),
        "MessagesRole: ConversationsTable has no index byUser",
    ),
    (
        "a queue that its function may not read",
        granted("PlannerRole", "sqs:ReceiveMessage", "Action", ["sqs:ReceiveMessage"]),
        "PlannerMapping: the role of PlannerFunction lacks sqs:DeleteMessage",
    ),
    ("a queue that the key does not encrypt", of("PlansQueue", "KmsMasterKeyId", None), "PlansQueue: KmsKeyArn does not"),
    ("a queue with two keys", of("PlansQueue", "SqsManagedSseEnabled", True), "PlansQueue: without KmsKeyArn"),
    ("a log that the key does not encrypt", of("AccessLogGroup", "KmsKeyId", None), "AccessLogGroup: KmsKeyArn does not"),
    (
        "a table with a key of its own",
        of("DeliveriesTable", "SSESpecification", "KMSMasterKeyId", "alias/other"),
        "DeliveriesTable: KmsKeyArn does not",
    ),
    ("a role without the key", of("SchedulerRole", "ManagedPolicyArns", []), "SchedulerRole: it may not use the key"),
    ("a table without its name", of("NotificationsTable", "TableName", {"Ref": "ConversationsTableName"}), "NotificationsTable: "),
    ("a domain of another API", of("ApiDomainMapping", "ApiId", {"Ref": "OtherApi"}), "ApiDomainMapping: it leads to another"),
    (
        "a misspelt type of an endpoint",
        of("ApiDomain", "DomainNameConfigurations", 0, "EndpointType", "REGION"),
        "ApiDomain: it is no regional endpoint",
    ),
    (
        "an endpoint without the domain",
        put(["Outputs", "MessagesEndpoint", "Value"], {"Fn::Sub": "${Api.ApiEndpoint}/api/messages"}),
        "MessagesEndpoint: it does not name the domain",
    ),
    ("a visibility time-out that is too short", of("PlansQueue", "VisibilityTimeout", 60), "PlansQueue: messages are visible"),
    ("a batch that fails as a whole", of("SenderMapping", "FunctionResponseTypes", None), "SenderMapping: one failed message"),
    (
        "another role's log group",
        of("SenderFunction", "LoggingConfig", "LogGroup", {"Ref": "PlannerLogGroup"}),
        "SenderFunction: its log group",
    ),
    (
        "a rule that its queue refuses",
        of("EventsQueuePolicy", "PolicyDocument", "Statement", 0, "Condition", {"ArnEquals": {"aws:SourceArn": "arn:aws:events:x"}}),
        "UpstreamEventsRule: the policy of EventsQueue",
    ),
    (
        "a topic that its queue refuses",
        of("EventsQueuePolicy", "PolicyDocument", "Statement", 1, "Condition", {"ArnEquals": {"aws:SourceArn": "arn:aws:sns:x"}}),
        "EventsTopic: the policy of EventsQueue",
    ),
    (
        "a rule whose dead letters are refused",
        of("EventsDeadLetterQueuePolicy", "PolicyDocument", "Statement", 0, "Condition", {"ArnEquals": {"aws:SourceArn": "arn:aws:events:x"}}),
        "UpstreamEventsRule: the policy of EventsDeadLetterQueue",
    ),
    (
        "a rule without dead letters",
        put(["Resources", "DefaultBusRule", "Properties", "Targets", 0, "DeadLetterConfig"], None),
        "DefaultBusRule: what it cannot send is lost",
    ),
    ("a topic without dead letters", of("EventsSubscription", "RedrivePolicy", None), "EventsSubscription: what it cannot send"),
    (
        "a schedule without dead letters",
        put(["Globals", "Function", "Environment", "Variables", "HERALD_FAILED_PLANS_QUEUE_URL"], None),
        "NotifyFunction: what a schedule cannot send to PlansQueue",
    ),
    (
        "a schedule with the dead letters of another queue",
        put(["Globals", "Function", "Environment", "Variables", "HERALD_FAILED_PLANS_QUEUE_URL"], {"Ref": "DeliveriesDeadLetterQueue"}),
        "NotifyFunction: what a schedule cannot send to PlansQueue",
    ),
    (
        "a schedule whose dead letters are refused",
        put(["Resources", "SchedulerRole", "Properties", "Policies", 0, "PolicyDocument", "Statement", 1, "Resource"], {"Fn::GetAtt": ["PlansDeadLetterQueue", "Arn"]}),
        "SchedulerRole: a schedule may not send to",
    ),
    ("an alarm that does not say when it ends", of("SenderErrorsAlarm", "OKActions", None), "SenderErrorsAlarm: its OKActions"),
    (
        "an alarm without a section in the runbook",
        of("SenderErrorsAlarm", "AlarmDescription", "First: `aws x`. See infra/RUNBOOK.md#nowhere."),
        "SenderErrorsAlarm: infra/RUNBOOK.md has no section",
    ),
    (
        "an alarm on a metric that nothing emits",
        of("EventsRefusedAlarm", "MetricName", "EventsRefused"),
        "EventsRefusedAlarm: no function emits",
    ),
    (
        "a dead-letter queue that nobody watches",
        put(["Resources", "PlansGivenUpAlarm"], None),
        "PlansDeadLetterQueue: no alarm watches",
    ),
    ("a dashboard that is not JSON", of("Dashboard", "DashboardBody", {"Fn::Sub": "{"}), "Dashboard: the body is not JSON"),
    (
        "a variable that nothing reads",
        put(["Globals", "Function", "Environment", "Variables", "HERALD_TOPIC"], "x"),
        "HERALD_TOPIC: no function reads",
    ),
    ("a parameter that nothing explains", put(["Parameters", "Extra"], {"Type": "String"}), "Extra: it has no description"),
]

# Caught by cfn-lint in the expanded template: all are seeded at once, each in a resource of its own.
LINT = [
    ("an architecture that does not exist", of("EventsFunction", "Architectures", ["arm65"]), "EventsFunction"),
    ("a runtime that does not exist", of("PlannerFunction", "Runtime", "provided.al2024"), "PlannerFunction"),
    ("a time-out above Lambda's", of("SenderFunction", "Timeout", 901), "SenderFunction"),
    ("memory below Lambda's", of("MessagesFunction", "MemorySize", 64), "MessagesFunction"),
    ("a misspelt property of a function", of("NotifyFunction", "LoggingConfig", "LogGroups", "x"), "NotifyFunction"),
    (
        "a misspelt action",
        granted("SenderRole", "dynamodb:PartiQLInsert", "Action", ["dynamodb:GetItems"]),
        "SenderRole",
    ),
    ("a role that nobody can assume", of("NotifyRole", "AssumeRolePolicyDocument", None), "NotifyRole"),
    ("a key that no attribute defines", of("DeliveriesTable", "AttributeDefinitions", 0, "AttributeName", "x"), "DeliveriesTable"),
    ("a misspelt billing mode", of("NotificationsTable", "BillingMode", "PAY_PER_REQUESTS"), "NotificationsTable"),
    ("a retention above that of SQS", of("PlansQueue", "MessageRetentionPeriod", 1209601), "PlansQueue"),
    ("a misspelt property of a queue", of("EventsQueue", "VisibilityTimeOut", 30), "EventsQueue"),
    ("a mapping to a function that is not there", of("PlannerMapping", "FunctionName", {"Ref": "Planer"}), "PlannerMapping"),
    ("an attribute that is not there", of("EventsMapping", "EventSourceArn", {"Fn::GetAtt": ["EventsQueue", "ARN"]}), "EventsMapping"),
    ("a variable of a text that is not there", of("NotificationStatusRoute", "Target", {"Fn::Sub": "integrations/${Notify}"}), "NotificationStatusRoute"),
    ("a condition that is not there", put(["Resources", "EventsTopic", "Condition"], "Sometimes"), "EventsTopic"),
    ("a misspelt comparison", of("ApiErrorsAlarm", "ComparisonOperator", "GreaterThan"), "ApiErrorsAlarm"),
    ("a retention that CloudWatch does not know", of("SenderLogGroup", "RetentionInDays", 31), "SenderLogGroup"),
    ("an authorizer without an issuer of tokens", of("NotificationsAuthorizer", "AuthorizerType", None), "NotificationsAuthorizer"),
    ("a default that its parameter refuses", put(["Parameters", "SendMode", "Default"], "both"), "SendMode"),
    ("an output of a resource that is not there", put(["Outputs", "EventBus", "Value"], {"Ref": "Bus"}), "EventBus"),
    ("a rule that asserts nothing", put(["Rules", "OneCloud", "Assertions"], None), "OneCloud"),
]
