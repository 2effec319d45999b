//! The properties of each resource type that this host runs.
//!
//! Each property is either supported (a field) or known to have no effect on one machine (the lists). Any other property
//! is an error, so the host ignores nothing silently.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

/// The binary and limits of a function.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FunctionProperties {
    pub(super) code_uri: String,
    pub(super) timeout: u64,
    pub(super) memory_size: u32,
    #[serde(default)]
    pub(super) environment: EnvironmentProperties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EnvironmentProperties {
    #[serde(default)]
    pub(super) variables: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueueProperties {
    /// In seconds, 30 by default.
    pub(super) visibility_timeout: Option<u64>,
    /// In seconds.
    #[serde(default)]
    pub(super) delay_seconds: u64,
    pub(super) redrive_policy: Option<RedrivePolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RedrivePolicy {
    pub(super) dead_letter_target_arn: String,
    pub(super) max_receive_count: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MappingProperties {
    pub(super) event_source_arn: String,
    pub(super) function_name: String,
    pub(super) batch_size: Option<usize>,
    /// In seconds.
    #[serde(default)]
    pub(super) maximum_batching_window_in_seconds: u64,
    #[serde(default)]
    pub(super) function_response_types: Vec<ResponseType>,
    pub(super) scaling_config: Option<ScalingConfig>,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
pub(super) enum ResponseType {
    ReportBatchItemFailures,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ScalingConfig {
    #[serde(deserialize_with = "number")]
    pub(super) maximum_concurrency: usize,
}

/// A number, also as text: a parameter is text, whatever its type.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum NumberOrText {
        Number(usize),
        Text(String),
    }
    match NumberOrText::deserialize(deserializer)? {
        NumberOrText::Number(number) => Ok(number),
        NumberOrText::Text(text) => text.parse().map_err(D::Error::custom),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TableProperties {
    pub(super) time_to_live_specification: Option<TimeToLive>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct TimeToLive {
    pub(super) attribute_name: String,
    pub(super) enabled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RouteProperties {
    pub(super) route_key: String,
    pub(super) target: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IntegrationProperties {
    pub(super) integration_type: String,
    pub(super) integration_uri: String,
    pub(super) payload_format_version: String,
    /// In milliseconds. The default of 30,000 is the longest of an HTTP API.
    pub(super) timeout_in_millis: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RuleProperties {
    /// By name or ARN; absent for the account's default bus.
    pub(super) event_bus_name: Option<String>,
    pub(super) event_pattern: Option<Value>,
    pub(super) schedule_expression: Option<String>,
    #[serde(default)]
    pub(super) state: RuleState,
    pub(super) targets: Vec<TargetProperties>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum RuleState {
    #[default]
    Enabled,
    Disabled,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct TargetProperties {
    #[serde(rename = "Id")]
    pub(super) _id: String,
    pub(super) arn: String,
    pub(super) input: Option<String>,
    pub(super) input_transformer: Option<InputTransformer>,
    /// Without effect here: a queue of this host takes every event.
    #[serde(rename = "DeadLetterConfig")]
    _dead_letter_config: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct InputTransformer {
    pub(super) input_template: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SubscriptionProperties {
    pub(super) protocol: String,
    pub(super) topic_arn: String,
    pub(super) endpoint: String,
    #[serde(default)]
    pub(super) raw_message_delivery: bool,
}

/// The properties of a resource type: supported ones, and those without effect on one machine.
pub(super) struct Known {
    pub(super) used: &'static [&'static str],
    pub(super) without_effect: &'static [&'static str],
}

/// Packaging, permissions and telemetry of functions have no effect here.
pub(super) const FUNCTION: Known = Known {
    used: &["CodeUri", "Timeout", "MemorySize", "Environment"],
    without_effect: &[
        "Architectures",
        "Description",
        "FunctionName",
        "Handler",
        "LoggingConfig",
        "ReservedConcurrentExecutions",
        "Role",
        "Runtime",
        "Tags",
        "Tracing",
    ],
};

/// Queues are in memory and short-lived, so retention has no effect.
pub(super) const QUEUE: Known = Known {
    used: &["VisibilityTimeout", "DelaySeconds", "RedrivePolicy"],
    without_effect: &[
        "KmsMasterKeyId",
        "MessageRetentionPeriod",
        "RedriveAllowPolicy",
        "SqsManagedSseEnabled",
        "Tags",
    ],
};

pub(super) const MAPPING: Known = Known {
    used: &[
        "EventSourceArn",
        "FunctionName",
        "BatchSize",
        "MaximumBatchingWindowInSeconds",
        "FunctionResponseTypes",
        "ScalingConfig",
    ],
    without_effect: &["MetricsConfig", "Tags"],
};

pub(super) const TABLE: Known = Known {
    used: &[
        "AttributeDefinitions",
        "KeySchema",
        "GlobalSecondaryIndexes",
        "BillingMode",
        "TimeToLiveSpecification",
    ],
    without_effect: &[
        "DeletionProtectionEnabled",
        "PointInTimeRecoverySpecification",
        "SSESpecification",
        "TableClass",
        "TableName",
        "Tags",
    ],
};

/// IAM authorizes callers in AWS; here all clients on this machine are authorized.
pub(super) const ROUTE: Known = Known {
    used: &["RouteKey", "Target"],
    without_effect: &["ApiId", "AuthorizationType", "AuthorizerId", "OperationName"],
};

pub(super) const INTEGRATION: Known = Known {
    used: &[
        "IntegrationType",
        "IntegrationUri",
        "PayloadFormatVersion",
        "TimeoutInMillis",
    ],
    without_effect: &["ApiId", "Description"],
};

/// IAM authorizes publishers in AWS; here all clients on this machine are authorized.
pub(super) const EVENT_BUS: Known = Known {
    used: &[],
    without_effect: &["Description", "Name", "Policy", "Tags"],
};

pub(super) const RULE: Known = Known {
    used: &[
        "EventBusName",
        "EventPattern",
        "ScheduleExpression",
        "State",
        "Targets",
    ],
    without_effect: &["Description", "Name", "Tags"],
};

/// A policy of a topic has no effect: all clients on this machine are authorized.
pub(super) const TOPIC: Known = Known {
    used: &[],
    without_effect: &[
        "DisplayName",
        "TopicName",
        "KmsMasterKeyId",
        "Tags",
        "TracingConfig",
    ],
};

pub(super) const SUBSCRIPTION: Known = Known {
    used: &["Protocol", "TopicArn", "Endpoint", "RawMessageDelivery"],
    without_effect: &["Region", "RedrivePolicy"],
};

pub(super) const SCHEDULE_GROUP: Known = Known {
    used: &[],
    without_effect: &["Name", "Tags"],
};

/// Resource types without effect on one machine: permissions, logs, alarms, and the API's own resource and stage.
pub(super) fn has_no_effect_here(kind: &str) -> bool {
    matches!(
        kind,
        "AWS::ApiGatewayV2::Api"
            | "AWS::ApiGatewayV2::ApiMapping"
            | "AWS::ApiGatewayV2::Authorizer"
            | "AWS::ApiGatewayV2::DomainName"
            | "AWS::ApiGatewayV2::Stage"
            | "AWS::CloudWatch::Alarm"
            | "AWS::CloudWatch::Dashboard"
            | "AWS::IAM::ManagedPolicy"
            | "AWS::Lambda::Permission"
            | "AWS::Logs::LogGroup"
            | "AWS::Logs::MetricFilter"
            | "AWS::SNS::TopicPolicy"
            | "AWS::SQS::QueuePolicy"
    )
}

impl Known {
    /// The first property that is neither supported nor without effect.
    pub(super) fn stranger<'a>(&self, properties: &'a Value) -> Option<&'a str> {
        let properties = properties.as_object()?;
        let known = |name: &str| self.used.contains(&name) || self.without_effect.contains(&name);
        properties.keys().map(String::as_str).find(|name| !known(name))
    }
}
