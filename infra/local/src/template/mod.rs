//! `infra/template.yaml` as this host runs it: functions, tables, queues, mappings, routes, event buses and schedules.
//!
//! The template is what runs. Whatever it holds that this host neither runs nor knows to be without effect on one
//! machine is an error that names the resource.

mod document;
mod intrinsic;
mod reader;
mod resource;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde_json::{Map, Value};

pub use intrinsic::AwsLocation;
use intrinsic::Resolver;
use reader::Reader;

/// Why a template cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the template {path}")]
    Read {
        /// Where it was looked for.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The text is not the YAML that CloudFormation takes.
    #[error("the template is not readable: {0}")]
    Yaml(String),
    /// A resource uses something that this host does not do.
    #[error("{resource}: {what} is not supported by the local host")]
    Unsupported {
        /// The logical id.
        resource: String,
        /// The property, type or intrinsic function.
        what: String,
    },
    /// A resource's properties are missing or of the wrong type.
    #[error("{resource}: {what}")]
    Invalid {
        /// The logical id.
        resource: String,
        /// The error.
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

/// A template as it was written, its intrinsic functions not yet resolved.
#[derive(Clone, Debug)]
pub struct Template {
    parameters: Map<String, Value>,
    function_defaults: Map<String, Value>,
    resources: Map<String, Value>,
}

/// Everything that runs, resolved for one [`AwsLocation`].
#[derive(Clone, Debug)]
pub struct Stack {
    /// The functions, by their order in the template's alphabet.
    pub functions: Vec<Function>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The queues, dead-letter queues among them.
    pub queues: Vec<Queue>,
    /// Which queue feeds which function.
    pub mappings: Vec<Mapping>,
    /// Which request goes to which function.
    pub routes: Vec<Route>,
    /// The names of the event buses, which are their logical ids here.
    pub buses: Vec<String>,
    /// The names of the groups that schedules are made in, which are their logical ids here.
    pub schedule_groups: Vec<String>,
    /// The roles.
    pub roles: Vec<Role>,
}

/// A Lambda function.
#[derive(Clone, Debug)]
pub struct Function {
    /// The logical id, by which the other resources name it.
    pub id: String,
    /// The name of the binary and of the function.
    pub name: String,
    /// How long one invocation may take.
    pub timeout: Duration,
    /// Told to the function, not enforced.
    pub memory_mb: u32,
    /// The variables that the template sets.
    pub environment: BTreeMap<String, String>,
}

/// An IAM role, of which one thing matters here.
#[derive(Clone, Debug)]
pub struct Role {
    /// The role's ARN.
    pub arn: String,
    /// The services that may assume it. Its policies are not evaluated.
    pub services: Vec<String>,
}

/// A DynamoDB table.
#[derive(Clone, Debug)]
pub struct Table {
    /// The logical id, which is the table's name here.
    pub name: String,
    /// The body of a `CreateTable` request: CloudFormation's properties have the API's names.
    pub create: Value,
    /// The attribute that says when an item expires.
    pub time_to_live: Option<String>,
}

/// An SQS standard queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The logical id, which is the queue's name here.
    pub name: String,
    /// The queue's ARN.
    pub arn: String,
    /// How long a received message stays invisible.
    pub visibility: Duration,
    /// How long a sent message stays invisible, unless the sender says.
    pub delay: Duration,
    /// Where a message goes that was received too often.
    pub redrive: Option<Redrive>,
}

/// When a message is given up, and where it goes then.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// The dead-letter queue's name.
    pub target: String,
    /// How often a message is received before it goes there.
    pub max_receives: u32,
}

/// An event source mapping: a queue feeds a function.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The logical id.
    pub id: String,
    /// The queue's name.
    pub queue: String,
    /// The function's name.
    pub function: String,
    /// How many messages one invocation gets at most.
    pub batch_size: usize,
    /// How long a batch may wait to become full.
    pub window: Duration,
    /// Whether the function's answer can fail single messages.
    pub failures: BatchFailures,
    /// How many invocations the queue may cause at once.
    pub max_concurrency: Option<usize>,
}

/// The failures that a function's answer to a batch can report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFailures {
    /// Nothing: an answer is a success, an error fails the whole batch.
    Whole,
    /// Which messages failed (`ReportBatchItemFailures`).
    Reported,
}

/// A route of the HTTP API.
#[derive(Clone, Debug)]
pub struct Route {
    /// As the template writes it, `GET /api/notifications/{id}`.
    pub key: String,
    /// The function's name.
    pub function: String,
    /// How long the API waits for the function.
    pub timeout: Duration,
}

impl Template {
    /// Reads a template file.
    ///
    /// # Errors
    /// When the file cannot be read, or by [`Template::parse`].
    pub fn read(path: &Path) -> Result<Template, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.display().to_string(),
            source,
        })?;
        Template::parse(&text)
    }

    /// Reads the template of the repository that this program was built from.
    ///
    /// # Errors
    /// By [`Template::read`].
    pub fn of_repository() -> Result<Template, Error> {
        Template::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml"))
    }

    /// The names of the functions, which are the names of their packages and binaries.
    pub fn function_names(&self) -> Vec<String> {
        let code = |resource: &Value| Some(function_name(resource.pointer("/Properties/CodeUri")?.as_str()?));
        self.resources.values().filter_map(code).collect()
    }

    /// Reads a template.
    ///
    /// # Errors
    /// When the text is not YAML or has no resources.
    pub fn parse(text: &str) -> Result<Template, Error> {
        let document = document::parse(text)?;
        let section = |pointer: &str| document.pointer(pointer).and_then(Value::as_object).cloned();
        Ok(Template {
            parameters: section("/Parameters").unwrap_or_default(),
            function_defaults: section("/Globals/Function").unwrap_or_default(),
            resources: section("/Resources").ok_or_else(|| Error::Yaml("it has no Resources".into()))?,
        })
    }

    /// Resolves everything that runs for `place`.
    ///
    /// # Errors
    /// When a resource, a property or an intrinsic function is needed that this host does not support.
    pub fn deploy(&self, location: &AwsLocation) -> Result<Stack, Error> {
        let resolver = Resolver {
            parameters: &self.parameters,
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
            schedule_groups: vec![],
            roles: vec![],
        };
        for (id, resource) in &self.resources {
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
                "AWS::Scheduler::ScheduleGroup" => stack
                    .schedule_groups
                    .push(reader.named(&resource::SCHEDULE_GROUP)?),
                "AWS::IAM::Role" => stack.roles.push(reader.role()),
                // Read by the routes that target it.
                "AWS::ApiGatewayV2::Integration" => {}
                other if resource::has_no_effect_here(other) => {}
                other => return Err(Error::unsupported(id, other)),
            }
        }
        stack.checked()
    }
}

impl Stack {
    /// Every queue and function that is named is there; and a function, so far named by its logical id, by its binary.
    fn checked(mut self) -> Result<Stack, Error> {
        let dead_letters = self
            .queues
            .iter()
            .filter_map(|queue| Some((queue.name.as_str(), queue.redrive.as_ref()?.target.as_str())));
        let sources = self
            .mappings
            .iter()
            .map(|mapping| (mapping.id.as_str(), mapping.queue.as_str()));
        for (of, queue) in dead_letters.chain(sources) {
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
            // An ARN ends in the function's id, a `Ref` is the id.
            let id = function.rsplit(':').next().unwrap_or_default();
            let name = names
                .get(id)
                .ok_or_else(|| Error::invalid(of, format!("there is no function {id}")))?;
            *function = name.clone();
        }
        Ok(self)
    }
}

/// A function is called by the folder of its package.
fn function_name(code_uri: &str) -> String {
    code_uri
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Merges `Globals` as SAM does: objects are merged, other values are overridden.
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
