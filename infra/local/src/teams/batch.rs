//! The batch API: one message to the personal conversations of many people. A batch proceeds when it is polled.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{BatchOperation, Refusal, Response, Teams, UnknownTargetPolicy};

/// How batches proceed. By default a batch is delivered on submission.
#[derive(Clone, Debug)]
pub struct BatchScenario {
    /// How many people are reached at once; the others when the batch completes.
    pub at_once: usize,
    /// The number of polls for which a batch is ongoing.
    pub rounds: usize,
    /// The `retryAfter` of an ongoing batch.
    pub retry_after: Option<String>,
    /// The failed entries of one page.
    pub page: usize,
    /// The number of polls for which a cancelled batch is ongoing.
    pub lingers: usize,
    /// Whether a cancelled batch lists unreached people as failed entries.
    pub tells_cancelled: bool,
}

impl Default for BatchScenario {
    fn default() -> BatchScenario {
        BatchScenario {
            at_once: usize::MAX,
            rounds: 0,
            retry_after: None,
            page: 50,
            lingers: 0,
            tells_cancelled: true,
        }
    }
}

/// Why a batch does not reach a person.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The status in the counts.
    pub status: u16,
    /// The error code.
    pub code: &'static str,
    /// The id in the failed entry, if it differs from the submitted one.
    pub told_as: Option<&'static str>,
}

/// One batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The tenant's id.
    pub tenant: String,
    /// The people, by the submitted ids.
    pub members: Vec<String>,
    /// The message.
    pub activity: Value,
    /// The number of cancellations.
    pub cancelled: usize,
    /// The members that can be reached.
    reachable: Vec<String>,
    failures: Vec<(String, Failure)>,
    reached: usize,
    polls: usize,
    polls_cancelled: usize,
}

impl Batch {
    /// The failed entries.
    fn failed(&self, course: &BatchScenario) -> Vec<(String, Failure)> {
        let cancelled = self.cancelled > 0 && course.tells_cancelled;
        let left = self.reachable.iter().skip(self.reached).filter(|_| cancelled);
        let left = left.map(|member| {
            let failure = Failure {
                status: 400,
                code: "OperationCanceled",
                told_as: None,
            };
            (member.clone(), failure)
        });
        self.failures.iter().cloned().chain(left).collect()
    }
}

impl Teams {
    /// Answers a request to the batch API.
    pub fn batch(&mut self, id: &str, operation: &BatchOperation, now: Timestamp) -> Response {
        let answer = match operation {
            BatchOperation::Submit {
                tenant,
                members,
                activity,
            } => Ok(self.submit(tenant, members, activity, now)),
            BatchOperation::Poll => self.batch_index(id).map(|index| self.poll(index, now)),
            BatchOperation::ListFailed { token } => {
                let index = self.batch_index(id);
                index.map(|index| self.list_failed(index, token.as_deref()))
            }
            BatchOperation::Cancel => self.batch_index(id).map(|index| {
                self.batches[index].cancelled += 1;
                Response::empty(200)
            }),
        };
        answer.unwrap_or_else(Response::from)
    }

    fn batch_index(&self, id: &str) -> Result<usize, Refusal> {
        let number = id
            .strip_prefix("op/")
            .and_then(|number| number.parse::<usize>().ok());
        let index = number.and_then(|number| number.checked_sub(1));
        let index = index.filter(|index| *index < self.batches.len());
        index.ok_or(Refusal::new(404, "NotFound").saying("no such operation"))
    }

    fn submit(&mut self, tenant: &str, members: &[String], activity: &Value, now: Timestamp) -> Response {
        let (mut reachable, mut failures) = (Vec::new(), Vec::new());
        for member in members {
            match self.batch_failure(tenant, member) {
                Some(failure) => failures.push((member.clone(), failure)),
                None => reachable.push(member.clone()),
            }
        }
        self.batches.push(Batch {
            tenant: tenant.to_owned(),
            members: members.to_vec(),
            activity: activity.clone(),
            cancelled: 0,
            reachable,
            failures,
            reached: 0,
            polls: 0,
            polls_cancelled: 0,
        });
        let number = self.batches.len();
        self.reach(number - 1, self.course.at_once, now);
        let id = format!("op/{number}");
        // Microsoft's client libraries read different forms.
        let answer = if number.is_multiple_of(2) {
            json!({ "operationId": id })
        } else {
            json!(id)
        };
        Response::new(201, answer)
    }

    fn batch_failure(&self, tenant: &str, member: &str) -> Option<Failure> {
        if let Some(failure) = self.batch_failures.get(member) {
            return Some(failure.clone());
        }
        let failure = |status, code| Failure {
            status,
            code,
            told_as: None,
        };
        let place = self.places.iter().find(|place| {
            let known = &self.tenants[place.tenant].id;
            (place.is_person(member) || place.is_channel(member))
                && (known == tenant || self.strangers == UnknownTargetPolicy::Created)
        });
        match place {
            None if self.strangers == UnknownTargetPolicy::Created => None,
            None => Some(failure(404, Refusal::NO_MEMBER.code)),
            Some(place) => place.refusal.map(|code| failure(403, code)),
        }
    }

    /// Posts the message to members of a batch until `most` of them have it.
    fn reach(&mut self, index: usize, most: usize, now: Timestamp) {
        let batch = &self.batches[index];
        let until = most.min(batch.reachable.len()).max(batch.reached);
        let (tenant, activity) = (batch.tenant.clone(), batch.activity.clone());
        let members = batch.reachable[batch.reached..until].to_vec();
        for member in members {
            let channel = self.places.iter().position(|place| place.is_channel(&member));
            let place = self.person(&member).or(channel).unwrap_or_else(|| {
                let tenant = self.tenant(&tenant);
                self.create_person(tenant, &member)
            });
            let chat = self.places[place].conversation.clone();
            self.post(place, &chat, &activity, now);
        }
        self.batches[index].reached = until;
    }

    fn poll(&mut self, index: usize, now: Timestamp) -> Response {
        let course = self.course.clone();
        let batch = &mut self.batches[index];
        batch.polls += 1;
        let is_cancelled = batch.cancelled > 0 && batch.polls_cancelled >= course.lingers;
        batch.polls_cancelled += usize::from(batch.cancelled > 0);
        let is_over = is_cancelled || batch.polls > course.rounds;
        if is_over && !is_cancelled {
            self.reach(index, usize::MAX, now);
        }
        let batch = &self.batches[index];
        let mut counts = Map::from_iter([("201".to_owned(), json!(batch.reached))]);
        for (_, failure) in batch.failed(&course).iter().filter(|_| is_over) {
            let count = counts.entry(failure.status.to_string()).or_insert(json!(0));
            *count = json!(count.as_u64().unwrap_or_default() + 1);
        }
        let state = match (is_over, is_cancelled) {
            (_, true) => "Canceled",
            (true, false) => "Completed",
            (false, false) => "Ongoing",
        };
        let progress = json!({
            "state": state,
            "statusMap": counts,
            "retryAfter": course.retry_after.filter(|_| !is_over),
            "totalEntriesCount": batch.members.len(),
        });
        Response::new(200, progress)
    }

    fn list_failed(&self, index: usize, token: Option<&str>) -> Response {
        let failed = self.batches[index].failed(&self.course);
        let start = token
            .and_then(|token| token.parse().ok())
            .unwrap_or(0)
            .min(failed.len());
        let end = (start + self.course.page.max(1)).min(failed.len());
        let entries = (start..)
            .zip(&failed[start..end])
            .map(|(number, (member, failure))| {
                let (status, code) = (failure.status, failure.code);
                let id = failure.told_as.unwrap_or(member);
                // Microsoft's client libraries read different names.
                let name = if number.is_multiple_of(2) { "id" } else { "entryId" };
                let error = json!({"error": {"code": code, "message": "refused"}, "statusCode": status});
                json!({ name: id, "error": error.to_string() })
            });
        let entries: Vec<Value> = entries.collect();
        let next = (end < failed.len()).then(|| end.to_string());
        Response::new(
            200,
            json!({ "continuationToken": next, "failedEntryResponses": entries }),
        )
    }
}
