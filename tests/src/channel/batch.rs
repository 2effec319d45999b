//! The fake channel's batch API: it takes a message for many, sends it in its own time, and tells whom it did not reach.
//!
//! What its four endpoints do beside that is said as of a conversation: [`SUBMIT`], [`ASK`], [`LIST`] and [`CANCEL`].

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Answer, Behaviour, Channel, Received, State, decode, personal_chat};

/// Where operations are begun.
const USERS: &str = "/v3/batch/conversation/users";

/// Stands for the endpoint that takes a message for many.
pub const SUBMIT: &str = "batch";
/// Stands for the endpoint that tells how far an operation is.
pub const ASK: &str = "batch/operation";
/// Stands for the endpoint that lists whom an operation did not reach.
pub const LIST: &str = "batch/failedentries";
/// Stands for the endpoint that ends an operation.
pub const CANCEL: &str = "batch/cancel";

/// How operations go.
#[derive(Clone, Debug)]
pub struct Course {
    /// So many of those whom it reaches have the message at once, and the others when it is over.
    pub at_once: usize,
    /// How often it is asked for before it is over.
    pub rounds: usize,
    /// When it says that it goes on, while it is not over.
    pub retry_after: Option<String>,
    /// How many failed entries are on a page.
    pub page: usize,
    /// How often a cancelled one is asked for before it is over.
    pub lingers: usize,
    /// Whether those whom a cancelled one did not come to are among its failed entries.
    pub tells_cancelled: bool,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            at_once: usize::MAX,
            rounds: 0,
            retry_after: None,
            page: 50,
            lingers: 0,
            tells_cancelled: true,
        }
    }
}

/// Why somebody is not reached.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The status, as the counts have it.
    pub status: u16,
    /// The code.
    pub code: &'static str,
    /// Under which name it is told, if not under the one that was asked for.
    pub told_as: Option<&'static str>,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The tenant.
    pub tenant: String,
    /// Whom it is for.
    pub members: Vec<String>,
    /// What is sent.
    pub activity: Value,
    /// How often it was cancelled.
    pub cancelled: usize,
    reached: usize,
    asked: usize,
    lingered: usize,
}

/// What the channel knows of batches.
#[derive(Debug, Default)]
pub(super) struct Batches {
    course: Course,
    failures: HashMap<String, Failure>,
    operations: Vec<Batch>,
}

impl Channel {
    /// From now on operations go so.
    pub fn course(&self, course: Course) {
        self.state().batches.course = course;
    }

    /// From now on no batch reaches this member.
    pub fn fails(&self, member: &str, failure: Failure) {
        self.state().batches.failures.insert(member.to_owned(), failure);
    }

    /// The operations so far.
    pub fn batches(&self) -> Vec<Batch> {
        self.state().batches.operations.clone()
    }

    pub(super) async fn batch(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Answer {
        let after = |word| path.split_once(word).map(|(_, id)| decode(id));
        let listed = after("/batch/conversation/failedentries/");
        let place = match (method, &listed) {
            ("POST", _) => SUBMIT,
            ("DELETE", _) => CANCEL,
            (_, Some(_)) => LIST,
            (_, None) => ASK,
        };
        let id = listed
            .or_else(|| after("/batch/conversation/"))
            .unwrap_or_default();
        if let Some(answer) = self.interferes(place, body).await {
            return answer;
        }
        let behaviour = self.state().behaviours.get(place).cloned();
        let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let mut state = self.state();
        let answer = match place {
            SUBMIT if path.ends_with(USERS) => state.begin(&document),
            SUBMIT => refused(404),
            CANCEL => state.end(&id),
            LIST => state.list(&id, query),
            _ => state.tell(&id),
        };
        match behaviour {
            Some(Behaviour::Cut) => Answer::Cut,
            Some(Behaviour::AcceptSilently) => Answer::Status(202, None),
            _ => answer,
        }
    }
}

fn refused(status: u16) -> Answer {
    Answer::Status(status, Some(json!({"error": {"code": "NotFound"}})))
}

impl Batch {
    fn number(id: &str) -> Option<usize> {
        id.strip_prefix("op/")?.parse::<usize>().ok()?.checked_sub(1)
    }
}

impl State {
    fn begin(&mut self, document: &Value) -> Answer {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let members = document["members"].as_array().into_iter().flatten();
        let operation = Batch {
            tenant: text(&document["tenantId"]),
            members: members.map(|member| text(&member["id"])).collect(),
            activity: document["activity"].clone(),
            cancelled: 0,
            reached: 0,
            asked: 0,
            lingered: 0,
        };
        self.batches.operations.push(operation);
        let number = self.batches.operations.len();
        let id = format!("op/{number}");
        self.reach(number - 1, self.batches.course.at_once);
        // One of Microsoft's libraries reads the one, another one the other.
        let answer = if number.is_multiple_of(2) {
            json!({ "operationId": id })
        } else {
            json!(id)
        };
        Answer::Status(201, Some(answer))
    }

    /// Whom this operation can reach.
    fn reachable(&self, operation: usize) -> Vec<String> {
        let members = self.batches.operations[operation].members.iter();
        let fails = |member: &&String| self.batches.failures.contains_key(member.as_str());
        members.filter(|member| !fails(member)).cloned().collect()
    }

    /// Has so many of them have the message.
    fn reach(&mut self, operation: usize, most: usize) {
        let reachable = self.reachable(operation);
        let Batch {
            activity, reached, ..
        } = &mut self.batches.operations[operation];
        let until = most.min(reachable.len());
        for member in &reachable[(*reached).min(until)..until] {
            self.received.push(Received {
                method: "POST".to_owned(),
                path: USERS.to_owned(),
                conversation: personal_chat(member),
                activity: activity.clone(),
            });
        }
        *reached = until.max(*reached);
    }

    fn tell(&mut self, id: &str) -> Answer {
        let Some(number) = Batch::number(id).filter(|number| *number < self.batches.operations.len()) else {
            return refused(404);
        };
        self.batches.operations[number].asked += 1;
        let course = self.batches.course.clone();
        let operation = &mut self.batches.operations[number];
        let cancelled = operation.cancelled > 0 && operation.lingered >= course.lingers;
        operation.lingered += usize::from(operation.cancelled > 0);
        let is_over = cancelled || operation.asked > course.rounds;
        if is_over && !cancelled {
            self.reach(number, usize::MAX);
        }
        let operation = &self.batches.operations[number];
        let mut counts: Map<String, Value> = Map::new();
        counts.insert("201".to_owned(), json!(operation.reached));
        if is_over {
            for failure in self.failed(number).iter().map(|(_, failure)| failure) {
                let count = counts.entry(failure.status.to_string()).or_insert(json!(0));
                *count = json!(count.as_u64().unwrap_or_default() + 1);
            }
        }
        let state = match (is_over, cancelled) {
            (_, true) => "Canceled",
            (true, false) => "Completed",
            (false, false) => "Ongoing",
        };
        let retry_after = course.retry_after.filter(|_| !is_over);
        let total = operation.members.len();
        let progress = json!({"state": state, "statusMap": counts, "retryAfter": retry_after, "totalEntriesCount": total});
        Answer::Status(200, Some(progress))
    }

    /// Whom the operation did not reach and says so, and why.
    fn failed(&self, number: usize) -> Vec<(String, Failure)> {
        let operation = &self.batches.operations[number];
        let known = operation.members.iter().filter_map(|member| {
            let failure = self.batches.failures.get(member)?;
            Some((member.clone(), failure.clone()))
        });
        let left = self.reachable(number).into_iter().skip(operation.reached);
        let tells = operation.cancelled > 0 && self.batches.course.tells_cancelled;
        let cancelled = left.filter(|_| tells).map(|member| {
            let failure = Failure {
                status: 400,
                code: "OperationCanceled",
                told_as: None,
            };
            (member, failure)
        });
        known.chain(cancelled).collect()
    }

    fn list(&self, id: &str, query: &str) -> Answer {
        let Some(number) = Batch::number(id).filter(|number| *number < self.batches.operations.len()) else {
            return refused(404);
        };
        let failed = self.failed(number);
        let token = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("continuationToken="));
        let from: usize = token.and_then(|token| token.parse().ok()).unwrap_or(0);
        let to = (from + self.batches.course.page.max(1)).min(failed.len());
        let entries = (from..)
            .zip(&failed[from.min(to)..to])
            .map(|(place, (member, failure))| {
                let Failure {
                    status,
                    code,
                    told_as,
                } = failure;
                let id = told_as.unwrap_or(member);
                // The one is read by one of Microsoft's libraries, the other by another one.
                let name = if place.is_multiple_of(2) { "id" } else { "entryId" };
                let error = format!(
                    "{{\"error\":{{\"code\":\"{code}\",\"message\":\"refused\"}},\"statusCode\":{status}}}"
                );
                json!({name: id, "error": error})
            });
        let entries: Vec<Value> = entries.collect();
        let next = (to < failed.len()).then(|| to.to_string());
        let page = json!({"continuationToken": next, "failedEntryResponses": entries});
        Answer::Status(200, Some(page))
    }

    fn end(&mut self, id: &str) -> Answer {
        let operation = Batch::number(id).and_then(|number| self.batches.operations.get_mut(number));
        let Some(operation) = operation else {
            return refused(404);
        };
        operation.cancelled += 1;
        Answer::Status(200, None)
    }
}
