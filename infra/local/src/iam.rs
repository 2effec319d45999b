//! Holds functions to the permissions of their roles, and records which of them they use.
//!
//! Each function has an access key of its own, by which a service knows who calls. Of the conditions of statements, that of
//! partition keys (`dynamodb:LeadingKeys`) is evaluated, for requests about one item: a grant with it allows no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use serde_json::value::RawValue;

use crate::template::{AwsLocation, Function, Grant, Table};

/// The largest request of any service: DynamoDB's limit.
const BODY_BYTES: usize = 16 * 1024 * 1024;
/// The access key of a function is this and its name.
const KEY_PREFIX: &str = "local-";

/// What a request names; messages, and items but for their keys, are skipped.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Named {
    table_name: String,
    index_name: Option<String>,
    item: BTreeMap<String, Box<RawValue>>,
    key: BTreeMap<String, Box<RawValue>>,
    #[expect(clippy::zero_sized_map_values, reason = "a set cannot be read from an object")]
    request_items: BTreeMap<String, IgnoredAny>,
    transact_items: Vec<BTreeMap<String, OfTable>>,
    statements: Vec<Statement>,
    queue_url: String,
    source_arn: String,
    destination_arn: String,
    entries: Vec<Entry>,
    group_name: Option<String>,
    target: Target,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct OfTable {
    table_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Statement {
    statement: String,
}

/// An event, or a message, which has none of this.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    event_bus_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Target {
    role_arn: String,
}

/// An action that a function carried out on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The function's name.
    pub function: String,
    /// The action by IAM's name, such as `dynamodb:GetItem`.
    pub action: String,
    /// The resource's ARN.
    pub resource: String,
}

/// What the functions may do, and what they did. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Permissions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    location: AwsLocation,
    /// By function; a function without a role may do everything.
    grants: BTreeMap<String, Vec<Grant>>,
    /// The names of the partition keys, by table.
    partition_keys: BTreeMap<String, String>,
    calls: Mutex<BTreeSet<Call>>,
}

/// The access key of a function.
pub(crate) fn access_key(function: &str) -> String {
    format!("{KEY_PREFIX}{function}")
}

impl Permissions {
    pub(crate) fn new(functions: &[Function], tables: &[Table], location: &AwsLocation) -> Permissions {
        let grants = functions
            .iter()
            .filter_map(|function| Some((function.name.clone(), function.grants.clone()?)))
            .collect();
        Permissions(Arc::new(Inner {
            location: location.clone(),
            grants,
            partition_keys: tables.iter().filter_map(partition_key).collect(),
            calls: Mutex::default(),
        }))
    }

    /// What the functions did so far.
    pub(crate) fn calls(&self) -> BTreeSet<Call> {
        self.0
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts the check of permissions in front of a service.
    pub(crate) fn enforced(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), check))
    }

    /// The partition key of the item that a request is about.
    fn leading_key(&self, named: &Named) -> Option<String> {
        let name = self.0.partition_keys.get(&named.table_name)?;
        let value = named.key.get(name).or_else(|| named.item.get(name))?;
        let value: BTreeMap<String, String> = serde_json::from_str(value.get()).ok()?;
        value.into_values().next()
    }

    /// Records the actions of a request; the first that is not granted is returned.
    fn record(&self, function: &str, needed: Vec<(&str, String)>, leading_key: Option<&str>) -> Option<Call> {
        let grants = self.0.grants.get(function)?;
        let mut calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut denied = None;
        for (action, resource) in needed {
            let call = Call {
                function: function.to_owned(),
                action: action.to_owned(),
                resource,
            };
            let mut grants = grants.iter();
            if grants.any(|grant| grant.allows(&call) && grant.allows_key(leading_key)) {
                calls.insert(call);
            } else {
                denied.get_or_insert(call);
            }
        }
        denied
    }
}

impl Grant {
    /// Whether it grants a call, on the keys that it is limited to.
    pub fn allows(&self, call: &Call) -> bool {
        self.action == call.action && is_like(&self.resource, &call.resource)
    }

    fn allows_key(&self, leading_key: Option<&str>) -> bool {
        let like = |key| self.leading_keys.iter().any(|pattern| is_like(pattern, key));
        self.leading_keys.is_empty() || leading_key.is_some_and(like)
    }
}

/// A table with the name of its partition key.
fn partition_key(table: &Table) -> Option<(String, String)> {
    let mut schema = table.create["KeySchema"].as_array()?.iter();
    let key = schema.find(|key| key["KeyType"] == "HASH")?;
    Some((table.name.clone(), key["AttributeName"].as_str()?.to_owned()))
}

/// Whether a text matches a pattern with `*`.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    (0..=text.len()).any(|skipped| text.is_char_boundary(skipped) && is_like(rest, &text[skipped..]))
}

async fn check(State(permissions): State<Permissions>, request: Request, next: Next) -> Response {
    let Some(function) = caller(request.headers()) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES).await else {
        return denied("the request is too large or was cut short");
    };
    // A body that is not readable names nothing: it is not granted, or the service refuses it.
    let named: Named = serde_json::from_slice(&body).unwrap_or_default();
    let operation = parts.headers.get("x-amz-target").and_then(|it| it.to_str().ok());
    let operation = operation.and_then(|target| target.split_once('.'));
    let location = &permissions.0.location;
    let needed = match operation {
        Some((service, operation)) => of_target(location, service, operation, &named),
        None => of_path(location, &parts.method, parts.uri.path(), &named),
    };
    let leading_key = permissions.leading_key(&named);
    match permissions.record(&function, needed, leading_key.as_deref()) {
        None => next.run(Request::from_parts(parts, Body::from(body))).await,
        Some(call) => denied(&format!(
            "the role of {} does not grant {} on {}",
            call.function, call.action, call.resource
        )),
    }
}

fn denied(message: &str) -> Response {
    const CODE: &str = "AccessDeniedException";
    let body = json!({ "__type": CODE, "message": message, "Message": message }).to_string();
    let headers = [
        (CONTENT_TYPE.as_str(), "application/x-amz-json-1.0"),
        ("x-amzn-errortype", CODE),
    ];
    (StatusCode::BAD_REQUEST, headers, body).into_response()
}

/// The function whose key signed the request.
fn caller(headers: &HeaderMap) -> Option<String> {
    let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let key = authorization.split_once("Credential=")?.1.split('/').next()?;
    Some(key.strip_prefix(KEY_PREFIX)?.to_owned())
}

type Needed = Vec<(&'static str, String)>;

/// What a request to a service needs that names its operation in a header.
fn of_target(location: &AwsLocation, service: &str, operation: &str, named: &Named) -> Needed {
    let queue = |url: &str| location.arn("sqs", url.rsplit('/').next().unwrap_or_default());
    match (service.split('_').next().unwrap_or_default(), operation) {
        ("DynamoDB", operation) => of_dynamodb(location, operation, named),
        ("AmazonSQS", "SendMessage" | "SendMessageBatch") => {
            vec![("sqs:SendMessage", queue(&named.queue_url))]
        }
        ("AmazonSQS", "GetQueueAttributes") => vec![("sqs:GetQueueAttributes", queue(&named.queue_url))],
        ("AmazonSQS", "StartMessageMoveTask") => {
            let source = |action| (action, named.source_arn.clone());
            // SQS moves the messages with the permissions of the caller.
            vec![
                source("sqs:StartMessageMoveTask"),
                source("sqs:ReceiveMessage"),
                source("sqs:DeleteMessage"),
                source("sqs:GetQueueAttributes"),
                ("sqs:SendMessage", named.destination_arn.clone()),
            ]
        }
        ("AWSEvents", "PutEvents") => {
            let bus = |entry: &Entry| {
                let name = entry.event_bus_name.as_deref().unwrap_or("default");
                location.arn("events", &format!("event-bus/{name}"))
            };
            let entries = named.entries.iter();
            entries.map(|entry| ("events:PutEvents", bus(entry))).collect()
        }
        _ => vec![("unknown", format!("{service}.{operation}"))],
    }
}

fn of_dynamodb(location: &AwsLocation, operation: &str, named: &Named) -> Needed {
    let table = |name: &str| location.arn("dynamodb", &format!("table/{name}"));
    let own = table(&named.table_name);
    let one = |action| vec![(action, own.clone())];
    let indexed = |action| match &named.index_name {
        Some(index) => vec![(action, format!("{own}/index/{index}"))],
        None => vec![(action, own.clone())],
    };
    let each = |action| {
        named
            .request_items
            .keys()
            .map(|name| (action, table(name)))
            .collect()
    };
    let items = named.transact_items.iter().flatten();
    match operation {
        "GetItem" => one("dynamodb:GetItem"),
        "PutItem" => one("dynamodb:PutItem"),
        "UpdateItem" => one("dynamodb:UpdateItem"),
        "DeleteItem" => one("dynamodb:DeleteItem"),
        "Query" => indexed("dynamodb:Query"),
        "Scan" => indexed("dynamodb:Scan"),
        "BatchGetItem" => each("dynamodb:BatchGetItem"),
        "BatchWriteItem" => each("dynamodb:BatchWriteItem"),
        "TransactGetItems" | "TransactWriteItems" => items
            .map(|(kind, entry)| (of_transaction(kind), table(&entry.table_name)))
            .collect(),
        "BatchExecuteStatement" => {
            let statements = named.statements.iter();
            statements.map(|it| of_statement(&table, &it.statement)).collect()
        }
        other => vec![("unknown", format!("DynamoDB.{other}"))],
    }
}

fn of_transaction(kind: &str) -> &'static str {
    match kind {
        "Get" => "dynamodb:GetItem",
        "Put" => "dynamodb:PutItem",
        "Update" => "dynamodb:UpdateItem",
        "Delete" => "dynamodb:DeleteItem",
        "ConditionCheck" => "dynamodb:ConditionCheckItem",
        _ => "unknown",
    }
}

/// What a statement of `PartiQL` needs: its first word says what it does, its first quotes enclose the table.
fn of_statement(table: &impl Fn(&str) -> String, text: &str) -> (&'static str, String) {
    let action = match text.split_whitespace().next().unwrap_or_default() {
        "INSERT" => "dynamodb:PartiQLInsert",
        "UPDATE" => "dynamodb:PartiQLUpdate",
        "DELETE" => "dynamodb:PartiQLDelete",
        "SELECT" => "dynamodb:PartiQLSelect",
        _ => "unknown",
    };
    (action, table(text.split('"').nth(1).unwrap_or_default()))
}

/// What a request to Scheduler needs, the one service whose operations are paths.
fn of_path(location: &AwsLocation, method: &Method, path: &str, named: &Named) -> Needed {
    match (method, path.strip_prefix("/schedules/")) {
        (&Method::POST, Some(name)) => {
            let group = named.group_name.as_deref().unwrap_or("default");
            vec![
                (
                    "scheduler:CreateSchedule",
                    location.arn("scheduler", &format!("schedule/{group}/{name}")),
                ),
                ("iam:PassRole", named.target.role_arn.clone()),
            ]
        }
        _ => vec![("unknown", format!("{method} {path}"))],
    }
}

#[cfg(test)]
mod tests;
