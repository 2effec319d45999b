"""Sets of parameters, and what the template says to each before anything is made: patterns, values and rules."""

import re

APP = "00000000-0000-4000-8000-00000000b07a"
TENANT = "11111111-2222-4333-8444-555555555555"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:herald"
OPEN = {"NotificationsAuthorization": "INSECURE_OPEN_TO_EVERYONE"}
DOMAIN = {"DomainName": "herald.example.com"}
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/00000000-0000-4000-8000-000000000001"
JWT = {"NotificationsAuthorization": "JWT"}
ISSUER = {"NotificationsJwtIssuer": "https://issuer.example", "NotificationsJwtAudience": "api"}

# What is set beside MicrosoftAppId, and the parameter or rule that refuses it; `None` if it is taken.
CASES = [
    ({}, None),
    ({"MicrosoftAppId": "my-bot"}, "MicrosoftAppId"),
    ({"MicrosoftAppId": APP.upper()}, None),
    ({"MicrosoftAppType": "SingleTenant"}, "SingleTenantNeedsItsTenant"),
    ({"MicrosoftAppType": "SingleTenant", "MicrosoftAppTenantId": TENANT}, None),
    ({"MicrosoftAppTenantId": "contoso"}, "MicrosoftAppTenantId"),
    ({"MicrosoftAppPassword": "the secret itself"}, "MicrosoftAppPassword"),
    ({"MicrosoftAppPassword": SECRET}, None),
    ({"MicrosoftAppPassword": SECRET, "Certificate": SECRET}, "OneCredential"),
    ({"ChannelService": "https://botframework.azure.us", "Cloud": "UsDod"}, "OneCloud"),
    ({"AllowedTenants": f"{TENANT}, {TENANT}"}, None),
    ({"AllowedTenants": f"{TENANT};{TENANT}"}, "AllowedTenants"),
    ({"AllowedChannels": "msteams,webchat"}, None),
    ({"ServiceUrlHosts": "https://bots.example"}, "ServiceUrlHosts"),
    ({"ServiceUrlHosts": "bots.example, other.example"}, None),
    (JWT, "JwtNeedsIssuerAndAudience"),
    (JWT | ISSUER, None),
    (JWT | {"NotificationsJwtIssuer": "issuer.example", "NotificationsJwtAudience": "api"}, "NotificationsJwtIssuer"),
    ({"NotificationsJwtAudience": "api"}, "IssuerAndAudienceNeedJwt"),
    (OPEN, "OpenToEveryoneNeedsTwoWords"),
    (OPEN | {"OpenToEveryone": "ANYBODY_MAY_SEND_AS_THIS_BOT"}, None),
    ({"Console": "Enabled"}, "ConsoleNeedsTokens"),
    (JWT | ISSUER | {"Console": "Enabled"}, "ConsoleNeedsItsClient"),
    (JWT | ISSUER | {"Console": "Enabled", "ConsoleClientId": APP, "ConsoleScope": "api://herald/.default"}, None),
    (JWT | ISSUER | {"ConsoleClientId": APP}, "ConsoleNeedsItsClient"),
    ({"MessagesPerSecond": "0"}, "MessagesPerSecond"),
    ({"SenderMaximumConcurrency": "1"}, "SenderMaximumConcurrency"),
    ({"TenantLimit": "45"}, "TenantLimit"),
    ({"TeamsAppId": "herald"}, "TeamsAppId"),
    ({"DefaultBusSources": "aws.cloudwatch,aws.codepipeline"}, None),
    ({"EventTopics": "https://sns.example"}, "EventTopics"),
    ({"AlarmTopic": "me@example.com"}, "AlarmTopic"),
    ({"KmsKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-4000-8000-000000000001"}, None),
    ({"KmsKeyArn": "arn:aws:kms:eu-west-1:123456789012:alias/herald"}, "KmsKeyArn"),
    ({"ConversationsTableName": "herald-conversations"}, None),
    ({"DeliveriesTableName": "herald deliveries"}, "DeliveriesTableName"),
    (DOMAIN | {"DomainCertificateArn": CERTIFICATE}, None),
    (DOMAIN | {"DomainCertificateArn": CERTIFICATE, "DefaultEndpoint": "Disabled"}, None),
    (DOMAIN, "DomainNeedsItsCertificate"),
    ({"DomainCertificateArn": CERTIFICATE}, "DomainNeedsItsCertificate"),
    ({"DomainName": "https://herald.example", "DomainCertificateArn": CERTIFICATE}, "DomainName"),
    ({"DefaultEndpoint": "Disabled"}, "OneEndpoint"),
    ({"PermissionsBoundary": "boundary"}, "PermissionsBoundary"),
    ({"PermissionsBoundary": "arn:aws:iam::123456789012:policy/boundary"}, None),
]


def refused(template, given):
    """The parameters and rules that refuse these values, as CloudFormation checks them."""
    values = {name: str(it["Default"]) for name, it in template["Parameters"].items() if "Default" in it} | given
    for name, parameter in template["Parameters"].items():
        is_list = parameter["Type"] == "CommaDelimitedList"
        items = [item.strip() for item in values[name].split(",")] if is_list else [values[name]]
        for value in items:
            pattern = parameter.get("AllowedPattern")
            allowed = parameter.get("AllowedValues")
            if pattern and not re.fullmatch(pattern, value):
                yield name
            elif allowed and value not in map(str, allowed):
                yield name
            elif parameter["Type"] == "Number" and not (
                parameter.get("MinValue", 0) <= float(value) <= parameter.get("MaxValue", float("inf"))
            ):
                yield name
    for name, rule in template["Rules"].items():
        if not holds(rule.get("RuleCondition", {"Fn::And": []}), values):
            continue
        if not all(holds(assertion["Assert"], values) for assertion in rule["Assertions"]):
            yield name


def holds(condition, values):
    (function, arguments), = condition.items()
    match function:
        case "Fn::Equals":
            one, other = (values[it["Ref"]] if isinstance(it, dict) else it for it in arguments)
            return one == other
        case "Fn::Not":
            return not holds(arguments[0], values)
        case "Fn::And":
            return all(holds(it, values) for it in arguments)
        case "Fn::Or":
            return any(holds(it, values) for it in arguments)
    raise ValueError(f"{function} is not evaluated here")


def wrong(template):
    for given, expected in CASES:
        found = list(refused(template, {"MicrosoftAppId": APP} | given))
        if found != ([expected] if expected else []):
            yield f"{given} is refused by {found or 'nothing'}, and not by {expected or 'nothing'}"
