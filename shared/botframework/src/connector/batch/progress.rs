//! The progress and the failed entries of a batch operation.

use http::StatusCode;
use serde_json::Value;

use crate::connector::error::{Class, Error, Reason, classify};
use crate::http::ErrorBody;

/// The progress of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationProgress {
    /// Teams' state, such as `Completed`. The list of states is not published: see [`left`](Self::left).
    pub state: String,
    /// The number of people or channels, once Teams has counted them.
    pub entries: Option<u64>,
    /// The number that have the message.
    pub delivered: u64,
    /// The number of failures by reason; each reason occurs once.
    pub failed: Vec<(Reason, u64)>,
    /// The time at which Teams resumes it, if it is throttled: ISO 8601, unparsed.
    pub retry_after: Option<String>,
}

/// The phase of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationPhase {
    /// It is running. So is every operation with an unknown state.
    Running,
    /// It is complete: every recipient without a failed entry has the message.
    Completed,
    /// It ended early: a recipient without a failed entry may have the message or not.
    Stopped,
}

/// One page of the failed entries of an operation.
#[derive(Debug)]
pub struct FailedEntries {
    /// The cursor of the next page; absent on the last.
    pub continuation_token: Option<String>,
    /// The failures on this page.
    pub entries: Vec<FailedEntry>,
}

/// A recipient whom an operation did not reach.
#[derive(Debug)]
pub struct FailedEntry {
    /// The id in the request, or the id of a member. Empty when Teams names none.
    pub id: String,
    /// The class is about this entry alone: with [`Class::NotSent`] it may be sent to individually.
    pub error: Error,
}

/// A response without a required field.
#[derive(Debug, thiserror::Error)]
#[error("response about a batch operation has no readable {0:?}")]
pub(super) struct MissingField(&'static str);

impl OperationProgress {
    /// The number without an outcome, once Teams has counted them. At 0 the operation is complete.
    pub fn left(&self) -> Option<u64> {
        let failed = self.failed.iter().map(|(_, count)| count);
        let settled = failed.fold(self.delivered, |sum, count| sum.saturating_add(*count));
        self.entries.map(|entries| entries.saturating_sub(settled))
    }

    /// The phase, by the state and the counts.
    ///
    /// The list of states is not published. `Completed` and `Ongoing` are documented by samples; of the others, those that
    /// begin with `cancel` or `fail` are recognised. In any state the operation is complete when every recipient was
    /// reached or failed for good: Teams may retry throttled ones.
    pub fn phase(&self) -> OperationPhase {
        // An operation that has not started may have no counts yet.
        let has_counted = self.left() == Some(0) && self.entries.is_some_and(|entries| entries > 0);
        let is_final = |(reason, count): &(Reason, u64)| {
            let refused = matches!(reason.class(), Class::Rejected | Class::Gone);
            refused || *count == 0
        };
        let word = self.state.to_ascii_lowercase();
        let is_stopped = (word.starts_with("cancel") || word.starts_with("fail")) && !word.ends_with("ing");
        if word == "completed" || is_stopped && has_counted {
            OperationPhase::Completed
        } else if is_stopped {
            OperationPhase::Stopped
        } else if has_counted && self.retry_after.is_none() && self.failed.iter().all(is_final) {
            OperationPhase::Completed
        } else {
            OperationPhase::Running
        }
    }

    pub(super) fn read(document: &Value) -> Result<Self, MissingField> {
        let state = document
            .get("state")
            .and_then(Value::as_str)
            .ok_or(MissingField("state"))?;
        let mut progress = Self {
            state: state.to_owned(),
            entries: document.get("totalEntriesCount").and_then(Value::as_u64),
            delivered: 0,
            failed: Vec::new(),
            retry_after: document
                .get("retryAfter")
                .and_then(Value::as_str)
                .map(str::to_owned),
        };
        let counts = match document.get("statusMap") {
            None | Some(Value::Null) => return Ok(progress),
            Some(counts) => counts.as_object().ok_or(MissingField("statusMap"))?,
        };
        for (status, count) in counts {
            let count = count.as_u64().ok_or(MissingField("statusMap"))?;
            progress.count(status, count);
        }
        Ok(progress)
    }

    /// Adds `count` entries with this status. A text that is no status counts as a failure.
    fn count(&mut self, status: &str, count: u64) {
        let status = status.parse().ok();
        if status.is_some_and(|status| (200..300).contains(&status)) {
            self.delivered = self.delivered.saturating_add(count);
            return;
        }
        let (reason, _) = classify(&ErrorBody::default(), status);
        match self.failed.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => self.failed.push((reason, count)),
        }
    }
}

/// The most entries of one page that are read. A caller that compares them with the counts of the operation finds that some are missing.
const MAX_ENTRIES: usize = 10_000;

/// The longest continuation token that is followed, in bytes.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

impl FailedEntries {
    /// The list has one name in the SDK for JavaScript and another in the one for .NET.
    pub(super) fn read(document: &Value) -> Result<Self, MissingField> {
        let list = ["failedEntryResponses", "failedEntries"]
            .into_iter()
            .find_map(|name| document.get(name))
            .ok_or(MissingField("failedEntryResponses"))?;
        let entries = match list {
            Value::Null => Vec::new(),
            list => list
                .as_array()
                .ok_or(MissingField("failedEntryResponses"))?
                .iter()
                .take(MAX_ENTRIES)
                .map(FailedEntry::read)
                .collect(),
        };
        let token = document.get("continuationToken").and_then(Value::as_str);
        Ok(Self {
            continuation_token: token
                .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN_BYTES)
                .map(str::to_owned),
            entries,
        })
    }
}

impl FailedEntry {
    /// Whether the operation was cancelled before it tried this entry.
    pub fn was_cancelled(&self) -> bool {
        let texts = [self.error.code(), self.error.message()];
        let mut texts = texts.into_iter().flatten();
        texts.any(|text| text.to_ascii_lowercase().contains("cancel"))
    }

    /// The id has one name in the SDK for JavaScript and another in the one for .NET.
    fn read(entry: &Value) -> Self {
        let id = ["entryId", "id"]
            .into_iter()
            .find_map(|name| entry.get(name)?.as_str());
        let (status, body) = entry.get("error").map(ErrorBody::from_error).unwrap_or_default();
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        Self {
            id: id.unwrap_or_default().to_owned(),
            error: Error::from_entry(status, body),
        }
    }
}
