//! `Ref`, `Fn::GetAtt` and `Fn::Sub` on this machine.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Error;

/// The account, region, stack name and parameters of the deployment.
#[derive(Clone, Debug)]
pub struct AwsLocation {
    /// The region in ARNs and endpoints.
    pub region: String,
    /// The account id, twelve digits.
    pub account: String,
    /// The stack's name.
    pub stack: String,
    /// The URL of SQS, without a trailing slash; queue URLs begin with it.
    pub sqs_endpoint: String,
    /// Values of parameters; the others have their defaults.
    pub parameters: BTreeMap<String, String>,
}

impl AwsLocation {
    /// The ARN of a resource of `service`.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }

    /// The ARN of a role.
    pub(crate) fn role_arn(&self, role: &str) -> String {
        format!("arn:aws:iam::{}:role/{role}", self.account)
    }

    /// The URL of a queue.
    pub(crate) fn queue_url(&self, queue: &str) -> String {
        format!("{}/{}/{queue}", self.sqs_endpoint, self.account)
    }
}

/// Resolves intrinsic functions in the parts of a template that this host reads. Other parts may use any intrinsic
/// function.
pub(super) struct Resolver<'a> {
    pub(super) parameters: &'a Map<String, Value>,
    pub(super) conditions: &'a Map<String, Value>,
    pub(super) resources: &'a Map<String, Value>,
    pub(super) location: &'a AwsLocation,
}

impl Resolver<'_> {
    /// `value` with all intrinsic functions resolved. `resource` is named in errors.
    pub(super) fn resolve(&self, resource: &str, value: &Value) -> Result<Value, Error> {
        match value {
            Value::Array(items) => items
                .iter()
                .map(|item| self.resolve(resource, item))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            Value::Object(entries) => match intrinsic(entries) {
                Some((name, argument)) => self.apply(resource, name, argument),
                None => entries
                    .iter()
                    .map(|(key, entry)| Ok((key.clone(), self.resolve(resource, entry)?)))
                    .collect::<Result<Map<_, _>, Error>>()
                    .map(Value::Object),
            },
            plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => Ok(plain.clone()),
        }
    }

    fn apply(&self, resource: &str, name: &str, argument: &Value) -> Result<Value, Error> {
        let unsupported = || Error::unsupported(resource, format!("{name} {argument}"));
        match (name, argument) {
            ("Ref", Value::String(target)) if self.is_list(target) => {
                self.list(target).ok_or_else(unsupported)
            }
            ("Ref", Value::String(target)) => self.reference(target).map(Value::from).ok_or_else(unsupported),
            ("Fn::GetAtt", Value::Array(path)) => match path.as_slice() {
                [Value::String(target), Value::String(attribute)] => self
                    .attribute(target, attribute)
                    .map(Value::from)
                    .ok_or_else(unsupported),
                _ => Err(unsupported()),
            },
            ("Fn::Sub", Value::String(text)) => {
                self.substitute(text).map(Value::from).ok_or_else(unsupported)
            }
            _ => Err(unsupported()),
        }
    }

    fn reference(&self, target: &str) -> Option<String> {
        match target {
            "AWS::Region" => return Some(self.location.region.clone()),
            "AWS::AccountId" => return Some(self.location.account.clone()),
            "AWS::StackName" => return Some(self.location.stack.clone()),
            "AWS::Partition" => return Some("aws".into()),
            "AWS::URLSuffix" => return Some("amazonaws.com".into()),
            _ => {}
        }
        if let Some(parameter) = self.parameters.get(target) {
            return match (self.location.parameters.get(target), parameter.get("Default")) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(Value::String(text))) => Some(text.clone()),
                (None, Some(other)) => Some(other.to_string()),
                (None, None) => None,
            };
        }
        match self.kind(target)? {
            "AWS::SQS::Queue" => Some(self.location.queue_url(target)),
            "AWS::SNS::Topic" => Some(self.location.arn("sns", target)),
            _ => Some(target.to_owned()),
        }
    }

    fn is_list(&self, parameter: &str) -> bool {
        let kind = self
            .parameters
            .get(parameter)
            .and_then(|parameter| parameter.get("Type"));
        kind.and_then(Value::as_str) == Some("CommaDelimitedList")
    }

    /// The values of a parameter that is a list. An empty one is a list of an empty text, as in CloudFormation.
    fn list(&self, parameter: &str) -> Option<Value> {
        let text = self.reference(parameter)?;
        Some(text.split(',').map(|value| Value::from(value.trim())).collect())
    }

    fn attribute(&self, target: &str, attribute: &str) -> Option<String> {
        match (self.kind(target)?, attribute) {
            ("AWS::SQS::Queue", "Arn") => Some(self.location.arn("sqs", target)),
            ("AWS::SQS::Queue", "QueueName") => Some(target.to_owned()),
            ("AWS::DynamoDB::Table", "Arn") => {
                Some(self.location.arn("dynamodb", &format!("table/{target}")))
            }
            ("AWS::Serverless::Function", "Arn") => {
                Some(self.location.arn("lambda", &format!("function:{target}")))
            }
            ("AWS::Events::EventBus", "Arn") => {
                Some(self.location.arn("events", &format!("event-bus/{target}")))
            }
            ("AWS::Logs::LogGroup", "Arn") => Some(self.location.arn("logs", &format!("log-group:{target}"))),
            ("AWS::IAM::Role", "Arn") => Some(self.location.role_arn(target)),
            _ => None,
        }
    }

    fn substitute(&self, text: &str) -> Option<String> {
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, remainder) = after.split_once('}')?;
            whole.push_str(before);
            match (name.strip_prefix('!'), name.split_once('.')) {
                (Some(literal), _) => whole.extend(["${", literal, "}"]),
                (None, Some((target, attribute))) => whole.push_str(&self.attribute(target, attribute)?),
                (None, None) => whole.push_str(&self.reference(name)?),
            }
            rest = remainder;
        }
        whole.push_str(rest);
        Some(whole)
    }

    fn kind(&self, target: &str) -> Option<&str> {
        self.resources.get(target)?.get("Type")?.as_str()
    }
}

/// The name and argument of an object that is an intrinsic function.
fn intrinsic(entries: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = entries.iter();
    match (entries.next(), entries.next()) {
        (Some((name, argument)), None) if name == "Ref" || name.starts_with("Fn::") => Some((name, argument)),
        _ => None,
    }
}
