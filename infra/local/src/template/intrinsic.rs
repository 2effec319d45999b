//! `Ref`, `Fn::GetAtt` and `Fn::Sub` on this machine.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Error;

/// The account, region and stack name of the deployment, and its parameters.
#[derive(Clone, Debug)]
pub struct AwsLocation {
    /// The region that names and endpoints speak of.
    pub region: String,
    /// The twelve digits of the account.
    pub account: String,
    /// The stack's name.
    pub stack: String,
    /// Where SQS listens, without a trailing slash; queue URLs begin with it.
    pub sqs_endpoint: String,
    /// Values for the template's parameters; one that is not here takes its default.
    pub parameters: BTreeMap<String, String>,
}

impl AwsLocation {
    /// The ARN of a thing of `service` here.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.account)
    }

    /// The ARN of a role here.
    pub(crate) fn role_arn(&self, role: &str) -> String {
        format!("arn:aws:iam::{}:role/{role}", self.account)
    }

    /// The URL of a queue here.
    pub(crate) fn queue_url(&self, queue: &str) -> String {
        format!("{}/{}/{queue}", self.sqs_endpoint, self.account)
    }
}

/// Resolves the intrinsic functions in the parts of a template that are asked for, and no others: what this host does
/// not read may use whatever CloudFormation knows.
pub(super) struct Resolver<'a> {
    pub(super) parameters: &'a Map<String, Value>,
    pub(super) resources: &'a Map<String, Value>,
    pub(super) location: &'a AwsLocation,
}

impl Resolver<'_> {
    /// `value` with every intrinsic function in it resolved; `resource` is the one it belongs to, for the error.
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
            _ => Some(target.to_owned()),
        }
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

/// The one intrinsic function that an object is, if it is one.
fn intrinsic(entries: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = entries.iter();
    match (entries.next(), entries.next()) {
        (Some((name, argument)), None) if name == "Ref" || name.starts_with("Fn::") => Some((name, argument)),
        _ => None,
    }
}
