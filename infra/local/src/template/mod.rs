//! Reads `infra/template.yaml`: functions, tables, queues, mappings, routes, event buses and schedule groups.
//!
//! The template is run as it is written. A resource or property that this host neither supports nor knows to have no
//! effect on one machine is an error that names the resource.

mod condition;
mod document;
mod intrinsic;
mod permissions;
mod reader;
mod resource;
mod variables;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use herald::event_pattern::EventPattern;
use serde_json::{Map, Value};

pub use intrinsic::AwsLocation;
use intrinsic::Resolver;
pub(crate) use reader::DEFAULT_BUS;
use reader::Reader;
pub use variables::VariableSource;

/// Why a template cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the template {path}")]
    Read {
        /// The path.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The text is not YAML that CloudFormation accepts.
    #[error("the template is not readable: {0}")]
    Yaml(String),
    /// A resource uses an unsupported feature.
    #[error("{resource}: {what} is not supported by the local host")]
    Unsupported {
        /// The logical id.
        resource: String,
        /// The property, type or intrinsic function.
        what: String,
    },
    /// A resource's properties are missing or have the wrong type.
    #[error("{resource}: {what}")]
    Invalid {
        /// The logical id.
        resource: String,
        /// The problem.
        what: String,
    },
}

impl Error {
    fn unsupported(resource: &str, what: impl Into<String>) -> Error {
        Error::Unsupported {
            resource: resource.to_owned(),
            what: what.into(),
        }
    }

    fn invalid(resource: &str, what: impl Into<String>) -> Error {
        Error::Invalid {
            resource: resource.to_owned(),
            what: what.into(),
        }
    }
}

/// A template with unresolved intrinsic functions.
#[derive(Clone, Debug)]
pub struct Template {
    parameters: Map<String, Value>,
    function_defaults: Map<String, Value>,
    conditions: Map<String, Value>,
    resources: Map<String, Value>,
}

/// The resources that run, resolved for one [`AwsLocation`].
#[derive(Clone, Debug)]
pub struct Stack {
    /// The functions, in alphabetical order of their logical ids.
    pub functions: Vec<Function>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The queues, with the dead-letter queues.
    pub queues: Vec<Queue>,
    /// The event source mappings.
    pub mappings: Vec<Mapping>,
    /// The routes of the HTTP API.
    pub routes: Vec<Route>,
    /// The names of the event buses, which are their logical ids. The account's default bus is none of them.
    pub buses: Vec<String>,
    /// The rules on event buses.
    pub rules: Vec<EventRule>,
    /// The rules that send at a fixed rate.
    pub scheduled_rules: Vec<ScheduledRule>,
    /// The SNS topics.
    pub topics: Vec<Topic>,
    /// The subscriptions of queues to topics.
    pub subscriptions: Vec<Subscription>,
    /// The names of the schedule groups, which are their logical ids.
    pub schedule_groups: Vec<String>,
    /// The IAM roles.
    pub roles: Vec<Role>,
}

/// A Lambda function.
#[derive(Clone, Debug)]
pub struct Function {
    /// The logical id, which other resources refer to.
    pub id: String,
    /// The name of the binary and of the function.
    pub name: String,
    /// The time-out of one invocation.
    pub timeout: Duration,
    /// The memory in MB. The function sees it; it is not enforced.
    pub memory_mb: u32,
    /// The variables of the template.
    pub environment: BTreeMap<String, String>,
    /// What its role grants; nothing is refused to a function without a role of the template.
    pub grants: Option<Vec<Grant>>,
}

/// An action on a resource that a role may carry out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The action by IAM's name, such as `dynamodb:GetItem`.
    pub action: String,
    /// The resource's ARN, with `*` for any text.
    pub resource: String,
    /// Patterns of the partition keys that it is limited to; none if it is not limited.
    pub leading_keys: Vec<String>,
}

/// An IAM role, as a service may assume it. What it grants to a function is in [`Function::grants`].
#[derive(Clone, Debug)]
pub struct Role {
    /// The role's ARN.
    pub arn: String,
    /// The services that may assume it.
    pub services: Vec<String>,
}

/// A DynamoDB table.
#[derive(Clone, Debug)]
pub struct Table {
    /// The logical id, which is also the table's name.
    pub name: String,
    /// The body of a `CreateTable` request: CloudFormation's properties have the API's names.
    pub create: Value,
    /// The TTL attribute.
    pub time_to_live: Option<String>,
}

/// An SQS standard queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The logical id, which is also the queue's name.
    pub name: String,
    /// The queue's ARN.
    pub arn: String,
    /// The visibility time-out.
    pub visibility: Duration,
    /// The default delay of messages.
    pub delay: Duration,
    /// The redrive policy.
    pub redrive: Option<Redrive>,
}

/// The redrive policy of a queue.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// The dead-letter queue.
    pub target: String,
    /// The receives after which a message is moved there.
    pub max_receives: u32,
}

/// A rule on an event bus, with its targets.
#[derive(Clone, Debug)]
pub struct EventRule {
    /// The rule's ARN.
    pub arn: String,
    /// The bus: a logical id, or `default`.
    pub bus: String,
    /// Which events it takes.
    pub pattern: EventPattern,
    /// The queues that it sends them to.
    pub targets: Vec<RuleTarget>,
}

/// A rule that sends to its targets at a fixed rate.
#[derive(Clone, Debug)]
pub struct ScheduledRule {
    /// The rule's ARN.
    pub arn: String,
    /// The time between two events.
    pub every: Duration,
    /// The queues that it sends to.
    pub targets: Vec<RuleTarget>,
}

/// A queue that a rule sends events to.
#[derive(Clone, Debug)]
pub struct RuleTarget {
    /// The queue.
    pub queue: String,
    /// What is sent: `Input`, or `InputTemplate` with `EventBridge`'s variables; the event itself if `None`.
    pub template: Option<String>,
}

/// An SNS topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// The topic's ARN.
    pub arn: String,
}

/// A subscription of a queue to a topic.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The logical id.
    pub id: String,
    /// The topic's ARN.
    pub topic: String,
    /// The queue.
    pub queue: String,
    /// Whether messages are sent without an envelope.
    pub delivery: TopicDelivery,
}

/// What a subscription sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicDelivery {
    /// The message in SNS's envelope.
    Envelope,
    /// The message itself.
    Raw,
}

/// An event source mapping from a queue to a function.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The logical id.
    pub id: String,
    /// The source queue.
    pub queue: String,
    /// The target function.
    pub function: String,
    /// The most messages of one invocation.
    pub batch_size: usize,
    /// The longest wait for a full batch.
    pub window: Duration,
    /// How the function's response reports failed messages.
    pub failures: BatchFailures,
    /// The most concurrent invocations.
    pub max_concurrency: Option<usize>,
}

/// How a function's response reports failed messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFailures {
    /// A response is a success; an error fails the whole batch.
    Whole,
    /// The response lists failed messages (`ReportBatchItemFailures`).
    Reported,
}

/// A route of the HTTP API.
#[derive(Clone, Debug)]
pub struct Route {
    /// The route key, such as `GET /api/notifications/{id}`.
    pub key: String,
    /// The target function.
    pub function: String,
    /// The time-out of the integration.
    pub timeout: Duration,
}

impl Template {
    /// Reads a template file.
    ///
    /// # Errors
    /// When the file cannot be read, or for a reason of [`Template::parse`].
    pub fn read(path: &Path) -> Result<Template, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.display().to_string(),
            source,
        })?;
        Template::parse(&text)
    }

    /// Reads the template of the repository from which this program was built.
    ///
    /// # Errors
    /// See [`Template::read`].
    pub fn of_repository() -> Result<Template, Error> {
        Template::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml"))
    }

    /// The names of the functions, which are those of their packages and binaries.
    pub fn function_names(&self) -> Vec<String> {
        let code = |resource: &Value| Some(function_name(resource.pointer("/Properties/CodeUri")?.as_str()?));
        self.resources.values().filter_map(code).collect()
    }

    /// Parses a template.
    ///
    /// # Errors
    /// When the text is not YAML or has no resources.
    pub fn parse(text: &str) -> Result<Template, Error> {
        let document = document::parse(text)?;
        let section = |pointer: &str| document.pointer(pointer).and_then(Value::as_object).cloned();
        Ok(Template {
            parameters: section("/Parameters").unwrap_or_default(),
            function_defaults: section("/Globals/Function").unwrap_or_default(),
            conditions: section("/Conditions").unwrap_or_default(),
            resources: section("/Resources").ok_or_else(|| Error::Yaml("it has no Resources".into()))?,
        })
    }

    /// Resolves everything that runs, for `place`.
    ///
    /// # Errors
    /// When a resource, property or intrinsic function that runs is not supported.
    pub fn deploy(&self, location: &AwsLocation) -> Result<Stack, Error> {
        let resolver = Resolver {
            parameters: &self.parameters,
            conditions: &self.conditions,
            resources: &self.resources,
            location,
        };
        let mut stack = Stack {
            functions: vec![],
            tables: vec![],
            queues: vec![],
            mappings: vec![],
            routes: vec![],
            buses: vec![],
            rules: vec![],
            scheduled_rules: vec![],
            topics: vec![],
            subscriptions: vec![],
            schedule_groups: vec![],
            roles: vec![],
        };
        for (id, resource) in &self.resources {
            if !resolver.exists(id, resource)? {
                continue;
            }
            let kind = resource
                .get("Type")
                .and_then(Value::as_str)
                .unwrap_or("a resource without a Type");
            let written = resource
                .get("Properties")
                .cloned()
                .unwrap_or_else(|| Value::Object(Map::new()));
            let reader = Reader {
                id,
                written: &written,
                resolver: &resolver,
            };
            match kind {
                "AWS::Serverless::Function" => {
                    let written = merged(&self.function_defaults, &written);
                    stack.functions.push(
                        Reader {
                            written: &written,
                            ..reader
                        }
                        .function()?,
                    );
                }
                "AWS::DynamoDB::Table" => stack.tables.push(reader.table()?),
                "AWS::SQS::Queue" => stack.queues.push(reader.queue()?),
                "AWS::Lambda::EventSourceMapping" => stack.mappings.push(reader.mapping()?),
                "AWS::ApiGatewayV2::Route" => stack.routes.push(reader.route()?),
                "AWS::Events::EventBus" => stack.buses.push(reader.named(&resource::EVENT_BUS)?),
                "AWS::Events::Rule" => match reader.rule()? {
                    reader::Rule::Of(events) => stack.rules.push(events),
                    reader::Rule::Every(scheduled) => stack.scheduled_rules.push(scheduled),
                },
                "AWS::SNS::Topic" => stack.topics.push(reader.topic()?),
                "AWS::SNS::Subscription" => stack.subscriptions.push(reader.subscription()?),
                "AWS::Scheduler::ScheduleGroup" => stack
                    .schedule_groups
                    .push(reader.named(&resource::SCHEDULE_GROUP)?),
                "AWS::IAM::Role" => stack.roles.push(reader.role()),
                // Read with the routes that refer to it.
                "AWS::ApiGatewayV2::Integration" => {}
                other if resource::has_no_effect_here(other) => {}
                other => return Err(Error::unsupported(id, other)),
            }
        }
        stack.checked()
    }
}

impl Stack {
    /// Checks that all queues and functions in references exist, and replaces logical ids of functions by binary names.
    fn checked(mut self) -> Result<Stack, Error> {
        let dead_letters = self
            .queues
            .iter()
            .filter_map(|queue| Some((queue.name.as_str(), queue.redrive.as_ref()?.target.as_str())));
        let sources = self
            .mappings
            .iter()
            .map(|mapping| (mapping.id.as_str(), mapping.queue.as_str()));
        let rules = self.rules.iter().map(|rule| (&rule.arn, &rule.targets));
        let scheduled = self.scheduled_rules.iter().map(|rule| (&rule.arn, &rule.targets));
        let targets = rules.chain(scheduled).flat_map(|(arn, targets)| {
            let queues = targets.iter().map(|target| target.queue.as_str());
            queues.map(|queue| (arn.as_str(), queue))
        });
        let subscribed = self
            .subscriptions
            .iter()
            .map(|subscription| (subscription.id.as_str(), subscription.queue.as_str()));
        for (of, queue) in dead_letters.chain(sources).chain(targets).chain(subscribed) {
            if !self.queues.iter().any(|known| known.name == queue) {
                return Err(Error::invalid(of, format!("there is no queue {queue}")));
            }
        }
        let names: BTreeMap<String, String> = self
            .functions
            .iter()
            .map(|function| (function.id.clone(), function.name.clone()))
            .collect();
        let references = (self
            .mappings
            .iter_mut()
            .map(|mapping| (&mapping.id, &mut mapping.function)))
        .chain(
            self.routes
                .iter_mut()
                .map(|route| (&route.key, &mut route.function)),
        );
        for (of, function) in references {
            // An ARN ends in the function's id; a `Ref` is the id.
            let id = function.rsplit(':').next().unwrap_or_default();
            let name = names
                .get(id)
                .ok_or_else(|| Error::invalid(of, format!("there is no function {id}")))?;
            *function = name.clone();
        }
        Ok(self)
    }
}

/// A function is named after the folder of its package.
fn function_name(code_uri: &str) -> String {
    code_uri
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Merges `Globals` as SAM does: objects are merged, other values are replaced.
fn merged(defaults: &Map<String, Value>, own: &Value) -> Value {
    let mut whole = defaults.clone();
    for (key, value) in own.as_object().into_iter().flatten() {
        let merged = match whole.get(key) {
            Some(Value::Object(default)) if value.is_object() => merged(default, value),
            _ => value.clone(),
        };
        whole.insert(key.clone(), merged);
    }
    Value::Object(whole)
}

#[cfg(test)]
pub(crate) mod tests;
