"""Reads infra/template.yaml, expands it as SAM does, and holds it to what cfn-lint does not know.

A fault is a line that begins with the resource, or with the other part, that it is about.
"""

import json
import logging
import os
import re
import tomllib
from pathlib import Path

# The translator asks boto3 for a region, not for an account.
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from cfnlint.api import ManualArgs, lint  # noqa: E402
from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

# The translator warns of its own metrics, which nobody publishes.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "infra" / "template.yaml"
REGIONS = ["us-east-1", "eu-west-1"]

# The routes that anybody may call: the functions authenticate their requests themselves, and the files of the console hold nothing but
# the page.
PUBLIC = {"ANY /api/messages", "POST /api/hooks/{id}/{secret}", "GET /console", "GET /console/{file}"}


def read():
    return yaml_parse(TEMPLATE.read_text())


def expand(template):
    """The CloudFormation template that SAM makes of this one."""
    template = json.loads(json.dumps(template, default=str))
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # `sam package` puts the built code there.
            resource["Properties"]["CodeUri"] = "s3://made-up/code"

    class NoManagedPolicies:
        def load(self):
            return {}

    return transform(template, {}, NoManagedPolicies())


def linted(template):
    """What cfn-lint finds in the expanded template."""
    matches = lint(json.dumps(expand(template), default=str), config=ManualArgs(regions=REGIONS))
    faults = []
    for match in matches:
        path = [str(part) for part in (match.path or [])]
        where = path[1] if len(path) > 1 else "template"
        faults.append(f"{where}: {match.rule.id} {match.message} ({'/'.join(path)})")
    return faults


def own(template):
    """What our own rules find."""
    return [fault for rule in RULES for fault in rule(Stack(template))]


class Stack:
    def __init__(self, template):
        self.template = template
        self.resources = template["Resources"]

    def of(self, kind):
        return {id: it.get("Properties", {}) for id, it in self.resources.items() if it["Type"] == kind}

    def functions(self):
        return self.of("AWS::Serverless::Function")

    def routes(self):
        """Routes by logical id: the key and the logical id of the function."""
        integrations = self.of("AWS::ApiGatewayV2::Integration")
        for id, route in self.of("AWS::ApiGatewayV2::Route").items():
            integration = referred(route["Target"])
            uri = integrations.get(integration, {}).get("IntegrationUri")
            yield id, route, referred(uri)

    def statements(self, role):
        """The statements of a role's own policies and of the stack's managed policies that it has."""
        properties = self.resources.get(role, {}).get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        for managed in plain(properties.get("ManagedPolicyArns", [])):
            documents.append(self.resources[referred(managed)]["Properties"]["PolicyDocument"])
        return [one for document in documents for one in plain(document["Statement"])]


def referred(value):
    """The logical id that a value is about: of Ref, GetAtt, or of a Sub whose last variable names it."""
    if not isinstance(value, dict):
        return None
    if "Ref" in value:
        return value["Ref"]
    if "Fn::GetAtt" in value:
        path = value["Fn::GetAtt"]
        return (path if isinstance(path, list) else path.split("."))[0]
    if "Fn::Sub" in value:
        names = re.findall(r"\$\{([A-Za-z0-9]+)(?:\.[A-Za-z]+)?\}", value["Fn::Sub"])
        return names[-1] if names else None
    return None


def plain(statements):
    """Statements, also those of `!If`."""
    for statement in statements:
        if "Fn::If" in statement:
            yield from plain([it for it in statement["Fn::If"][1:] if it != {"Ref": "AWS::NoValue"}])
        else:
            yield statement


def many(value):
    return value if isinstance(value, list) else [value]


# ---- Rules ---------------------------------------------------------------------------------------------------------


def functions_are_ours(stack):
    """Each function has a role and a log group of its own, and its role may write there."""
    for id, properties in stack.functions().items():
        name = id.removesuffix("Function")
        role, group = f"{name}Role", f"{name}LogGroup"
        if referred(properties.get("Role")) != role:
            yield f"{id}: its role is not {role}"
        if referred(properties.get("LoggingConfig", {}).get("LogGroup")) != group:
            yield f"{id}: its log group is not {group}"
        writable = [
            referred(resource)
            for statement in stack.statements(role)
            if "logs:PutLogEvents" in many(statement["Action"])
            for resource in many(statement["Resource"])
        ]
        if writable != [group]:
            yield f"{role}: may not write to {group}, or to more than it"


def routes_reach_their_functions(stack):
    """The template and cargo-lambda's router send each path to the same function, which API Gateway may invoke."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    router = manifest["workspace"]["metadata"]["lambda"]["watch"]["router"]
    permissions = stack.of("AWS::Lambda::Permission")
    unused, paths = set(permissions), set()
    for id, route, function in stack.routes():
        integration = stack.of("AWS::ApiGatewayV2::Integration").get(referred(route["Target"]), {})
        if (integration.get("IntegrationType"), integration.get("PayloadFormatVersion")) != ("AWS_PROXY", "2.0"):
            yield f"{id}: its integration is no proxy of payload format 2.0"
        method, _, path = route["RouteKey"].partition(" ")
        package = str(stack.functions().get(function, {}).get("CodeUri")).rsplit("/", 1)[-1]
        if path:
            paths.add(path)
            if path not in router:
                yield f"{id}: the router in Cargo.toml has no {path}"
        # What no route takes is answered by the function of the API.
        if router.get(path, "notify") != package:
            yield f"{id}: {route['RouteKey']} goes to {package}, and to {router.get(path, 'notify')} in Cargo.toml"
        verb = "*" if method == "ANY" else method
        end = f"${{Api}}/*/{verb}{re.sub('{[^}]*}', '*', path)}"
        given = [
            it
            for it, permission in permissions.items()
            if permission["SourceArn"].get("Fn::Sub", "").endswith(end) and referred(permission["FunctionName"]) == function
        ]
        unused -= set(given)
        if not given:
            yield f"{id}: nothing permits API Gateway to invoke {function} for {route['RouteKey']}"
        for it in given:
            if stack.resources[it].get("Condition") != stack.resources[id].get("Condition"):
                yield f"{it}: it has another condition than {id}"
    for path in sorted(set(router) - paths):
        yield f"Cargo.toml: the template has no route {path}"
    for id in sorted(unused):
        yield f"{id}: no route needs it"


def routes_are_authorised(stack):
    for id, route, _ in stack.routes():
        kind = route.get("AuthorizationType")
        if route["RouteKey"] in PUBLIC:
            if kind != "NONE":
                yield f"{id}: a channel, a tool or a browser cannot be authorised here"
        elif kind != {"Fn::If": ["CallersHaveTokens", "JWT", {"Fn::If": ["CallersAreAnybody", "NONE", "AWS_IAM"]}]}:
            yield f"{id}: NotificationsAuthorization does not decide who may call it"
        elif referred((route.get("AuthorizerId") or {}).get("Fn::If", [None, None])[1]) != "NotificationsAuthorizer":
            yield f"{id}: it has no authorizer"


def public_routes_are_throttled(stack):
    keys = {route["RouteKey"]: id for id, route, _ in stack.routes()}
    for id, stage in stack.of("AWS::ApiGatewayV2::Stage").items():
        settings = stage.get("RouteSettings", {})
        for key in sorted(PUBLIC - set(settings)):
            yield f"{id}: {key} is public and not throttled"
        for key in settings:
            if key not in keys:
                yield f"{id}: there is no route {key} to throttle"
            # Without this the stage may be made first, and API Gateway refuses settings of a route that is not there.
            elif keys[key] not in many(stack.resources[id].get("DependsOn", [])) and (
                f"${{{keys[key]}}}" not in json.dumps(stage.get("StageVariables", {}))
            ):
                yield f"{id}: it does not depend on {keys[key]}, which it throttles"
        # The path of a hook holds its secret.
        if re.search(r"\$context\.(path|rawPath)\b", json.dumps(stage.get("AccessLogSettings", {}))):
            yield f"{id}: access logs hold paths"
        if "AccessLogSettings" not in stage:
            yield f"{id}: it has no access logs"


def tables_expire_what_the_store_marks(stack):
    store = "".join(path.read_text() for path in (ROOT / "shared/herald/src/store/dynamodb").rglob("*.rs"))
    for id, table in stack.of("AWS::DynamoDB::Table").items():
        name = table.get("TimeToLiveSpecification", {}).get("AttributeName")
        if not re.search(rf'\("{name}", self\.table\.expiry', store):
            yield f"{id}: the store writes no time to live to the attribute {name}"
        if stack.resources[id].get("DeletionPolicy") != "Retain":
            yield f"{id}: it is not retained"


def grants_are_narrow(stack):
    indexes = {
        id: {index["IndexName"] for index in table.get("GlobalSecondaryIndexes", [])}
        for id, table in stack.of("AWS::DynamoDB::Table").items()
    }
    for role in stack.of("AWS::IAM::Role"):
        for statement in stack.statements(role):
            actions = many(statement["Action"])
            for resource in many(statement["Resource"]):
                # An action that supports no resources.
                if resource == "*" and actions != ["sts:GetWebIdentityToken"]:
                    yield f"{role}: {', '.join(actions)} on everything"
                text = resource.get("Fn::Sub", "") if isinstance(resource, dict) else ""
                named = re.fullmatch(r"\$\{(\w+)\.Arn\}/index/(\w+)", text)
                if named and named[2] not in indexes.get(named[1], ()):
                    yield f"{role}: {named[1]} has no index {named[2]}"
            if any("*" in action for action in actions):
                yield f"{role}: a wildcard in {', '.join(actions)}"
            if "iam:PassRole" in actions and referred(statement["Resource"]) != "SchedulerRole":
                yield f"{role}: may pass another role than Scheduler's"


ENCRYPTED = {
    "AWS::DynamoDB::Table": ("SSESpecification", "KMSMasterKeyId"),
    "AWS::SQS::Queue": ("KmsMasterKeyId",),
    "AWS::SNS::Topic": ("KmsMasterKeyId",),
    "AWS::Logs::LogGroup": ("KmsKeyId",),
}


def the_key_encrypts_all(stack):
    """With KmsKeyArn, all that holds data is encrypted by it, and each role may use it."""
    by_key = {"Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
    for kind, path in ENCRYPTED.items():
        for id, properties in stack.of(kind).items():
            value = properties
            for part in path:
                value = value.get(part, {})
            if value != by_key:
                yield f"{id}: KmsKeyArn does not encrypt it"
            # SQS takes one of both.
            if kind == "AWS::SQS::Queue" and properties.get("SqsManagedSseEnabled") != {
                "Fn::If": ["HasKey", {"Ref": "AWS::NoValue"}, True]
            }:
                yield f"{id}: without KmsKeyArn nothing encrypts it, or two keys do"
    for role in stack.of("AWS::IAM::Role"):
        actions = {
            action
            for statement in stack.statements(role)
            if statement["Resource"] == {"Ref": "KmsKeyArn"}
            for action in many(statement["Action"])
        }
        if actions != {"kms:Decrypt", "kms:GenerateDataKey"}:
            yield f"{role}: it may not use the key"


def tables_can_be_named(stack):
    for id in stack.of("AWS::DynamoDB::Table"):
        name = {"Fn::If": [f"Has{id}Name", {"Ref": f"{id}Name"}, {"Ref": "AWS::NoValue"}]}
        if stack.resources[id]["Properties"].get("TableName") != name:
            yield f"{id}: {id}Name does not name it"


def endpoints_are_those_of_the_domain(stack):
    """With DomainName the outputs are its URLs, and the API can be reached by it."""
    for id, domain in stack.of("AWS::ApiGatewayV2::DomainName").items():
        kinds = [(it.get("EndpointType"), it.get("SecurityPolicy")) for it in domain["DomainNameConfigurations"]]
        if kinds != [("REGIONAL", "TLS_1_2")]:
            yield f"{id}: it is no regional endpoint with TLS 1.2"
    for id, mapping in stack.of("AWS::ApiGatewayV2::ApiMapping").items():
        got = [referred(mapping.get(name)) for name in ("ApiId", "Stage", "DomainName")]
        if got != ["Api", "ApiStage", "ApiDomain"]:
            yield f"{id}: it leads to another API"
    for id in ("MessagesEndpoint", "NotificationsEndpoint"):
        branches = stack.template["Outputs"][id]["Value"].get("Fn::If", [])
        if branches[:1] != ["HasDomain"] or "${DomainName}/" not in json.dumps(branches[1]):
            yield f"{id}: it does not name the domain"


def mappings_work(stack):
    for id, mapping in stack.of("AWS::Lambda::EventSourceMapping").items():
        queue, function = referred(mapping["EventSourceArn"]), referred(mapping["FunctionName"])
        properties = stack.functions()[function]
        defaults = stack.template["Globals"]["Function"]
        timeout = properties.get("Timeout", defaults["Timeout"])
        if stack.resources[queue]["Properties"].get("VisibilityTimeout", 30) < 6 * timeout:
            yield f"{queue}: messages are visible again before {function} may be done with them"
        if "ReportBatchItemFailures" not in mapping.get("FunctionResponseTypes", []):
            yield f"{id}: one failed message fails its batch"
        granted = {
            action
            for statement in stack.statements(referred(properties["Role"]))
            if queue in map(referred, many(statement["Resource"]))
            for action in many(statement["Action"])
        }
        missing = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"} - granted
        if missing:
            yield f"{id}: the role of {function} lacks {', '.join(sorted(missing))}"


def queues_take_what_is_sent_to_them(stack):
    """Each rule and subscription is named by the policy of the queue that it sends to."""
    allowed = {}
    for policy in stack.of("AWS::SQS::QueuePolicy").values():
        text = json.dumps(list(plain(policy["PolicyDocument"]["Statement"])))
        for queue in policy["Queues"]:
            allowed[referred(queue)] = text
    sources = [
        (id, rule_target["Arn"])
        for id, rule in stack.of("AWS::Events::Rule").items()
        for rule_target in rule["Targets"]
    ]
    sources += [
        (referred(it["TopicArn"]), it["Endpoint"]) for it in stack.of("AWS::SNS::Subscription").values()
    ]
    sources += [
        (id, target["DeadLetterConfig"]["Arn"])
        for id, rule in stack.of("AWS::Events::Rule").items()
        for target in rule["Targets"]
        if "DeadLetterConfig" in target
    ]
    sources += [
        (referred(it["TopicArn"]), it["RedrivePolicy"]["deadLetterTargetArn"])
        for it in stack.of("AWS::SNS::Subscription").values()
        if "RedrivePolicy" in it
    ]
    for source, queue in sources:
        text = allowed.get(referred(queue), "")
        if f'{{"Ref": "{source}"}}' not in text and f'["{source}", "Arn"]' not in text:
            yield f"{source}: the policy of {referred(queue)} does not let it send"


def what_cannot_be_sent_is_kept(stack):
    """Schedules, rules and topics have dead-letter queues, to which they may send."""
    for id, rule in stack.of("AWS::Events::Rule").items():
        for target in rule["Targets"]:
            # What a clock sends is sent again by itself.
            if "EventPattern" in rule and referred(target.get("DeadLetterConfig", {}).get("Arn")) is None:
                yield f"{id}: what it cannot send is lost"
    for id, subscription in stack.of("AWS::SNS::Subscription").items():
        if referred(subscription.get("RedrivePolicy", {}).get("deadLetterTargetArn")) is None:
            yield f"{id}: what it cannot send is lost"
    sendable = {
        referred(resource)
        for statement in stack.statements("SchedulerRole")
        if "sqs:SendMessage" in many(statement["Action"])
        for resource in many(statement["Resource"])
    }
    of_all = stack.template["Globals"]["Function"]["Environment"]["Variables"]
    for id, properties in stack.functions().items():
        variables = of_all | properties.get("Environment", {}).get("Variables", {})
        for name, queue in variables.items():
            if not re.fullmatch(r"HERALD_[A-Z]+_QUEUE_URL", name):
                continue
            dead_letters = variables.get(name.replace("HERALD_", "HERALD_FAILED_"))
            redrive = stack.resources[referred(queue)]["Properties"]["RedrivePolicy"]["deadLetterTargetArn"]
            if referred(dead_letters) != referred(redrive):
                yield f"{id}: what a schedule cannot send to {referred(queue)} is lost"
            for target in {referred(queue), referred(redrive)} - sendable:
                yield f"SchedulerRole: a schedule may not send to {target}"


def alarms_help(stack):
    """Each alarm says what to do first and where it is explained, and calls when it begins and when it ends."""
    runbook = (ROOT / "infra/RUNBOOK.md").read_text()
    telemetry = (ROOT / "shared/herald/src/telemetry.rs").read_text()
    emitted = set(re.findall(r'Self::\w+ => "(\w+)"', telemetry))
    watched = set()
    for id, alarm in stack.of("AWS::CloudWatch::Alarm").items():
        description = alarm["AlarmDescription"]
        description = description["Fn::Sub"] if isinstance(description, dict) else description
        if "First: `aws " not in description:
            yield f"{id}: it names no first command"
        section = re.search(r"See infra/RUNBOOK\.md#([\w-]+)\.$", description)
        if not section or f'<a id="{section[1]}"></a>' not in runbook:
            yield f"{id}: infra/RUNBOOK.md has no section for it"
        for actions in ("AlarmActions", "OKActions"):
            if "AlarmTopic" not in json.dumps(alarm.get(actions)):
                yield f"{id}: its {actions} notify nobody"
        metrics = [alarm] + [it["MetricStat"]["Metric"] for it in alarm.get("Metrics", []) if "MetricStat" in it]
        for metric in metrics:
            if metric.get("Namespace") == "Herald" and metric["MetricName"] not in emitted:
                yield f"{id}: no function emits {metric['MetricName']}"
            watched |= {(metric.get("MetricName"), referred(it["Value"])) for it in metric.get("Dimensions", [])}
    for id in stack.functions():
        for metric in ("Errors", "Throttles", "Duration"):
            if (metric, id) not in watched:
                yield f"{id}: no alarm watches its {metric}"
    for id, queue in stack.of("AWS::SQS::Queue").items():
        metric = "ApproximateAgeOfOldestMessage" if "RedrivePolicy" in queue else "ApproximateNumberOfMessagesVisible"
        if (metric, id) not in watched:
            yield f"{id}: no alarm watches its {metric}"
    for id, filter in stack.of("AWS::Logs::MetricFilter").items():
        words = (ROOT / "functions/notify/README.md").read_text()
        for word in re.findall(r'\$\.error_type = "(\w+)"', filter["FilterPattern"]):
            if f"`{word}`" not in words:
                yield f"{id}: {word} is no log word"
        # The limit of CloudWatch.
        if len(filter["FilterPattern"]) > 1024:
            yield f"{id}: the pattern is too long"
    for id, dashboard in stack.of("AWS::CloudWatch::Dashboard").items():
        try:
            json.loads(dashboard["DashboardBody"]["Fn::Sub"])
        except ValueError as error:
            yield f"{id}: the body is not JSON: {error}"


def variables_are_read(stack):
    sources = "".join(
        path.read_text() for folder in ("shared", "functions") for path in (ROOT / folder).rglob("*.rs")
    )
    every = [stack.template["Globals"]["Function"], *stack.functions().values()]
    for properties in every:
        for name in properties.get("Environment", {}).get("Variables", {}):
            if f'"{name}"' not in sources:
                yield f"{name}: no function reads this variable"


def parameters_are_explained(stack):
    parameters = stack.template["Parameters"]
    groups = stack.template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    readme = (ROOT / "infra/README.md").read_text()
    body = json.dumps({key: stack.template[key] for key in ("Globals", "Conditions", "Resources", "Rules")}, default=str)
    for name, parameter in parameters.items():
        if not parameter.get("Description"):
            yield f"{name}: it has no description"
        if grouped.count(name) != 1:
            yield f"{name}: it is in {grouped.count(name)} groups"
        if f"`{name}`" not in readme:
            yield f"{name}: infra/README.md does not explain it"
        if f'"Ref": "{name}"' not in body:
            yield f"{name}: nothing uses it"
    for name in set(grouped) - set(parameters):
        yield f"{name}: it is in a group, and no parameter"


RULES = [
    functions_are_ours,
    routes_reach_their_functions,
    routes_are_authorised,
    public_routes_are_throttled,
    tables_expire_what_the_store_marks,
    grants_are_narrow,
    the_key_encrypts_all,
    tables_can_be_named,
    endpoints_are_those_of_the_domain,
    mappings_work,
    queues_take_what_is_sent_to_them,
    what_cannot_be_sent_is_kept,
    alarms_help,
    variables_are_read,
    parameters_are_explained,
]
