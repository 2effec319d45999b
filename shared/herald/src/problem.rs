//! HTTP errors as problem documents (RFC 9457).
//!
//! A [`Problem`] contains only text for the caller. Causes are logged where the failure is handled and never reach the
//! document.

use http::{HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Serialize};

/// One invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The field, as a JSON pointer in a URI fragment (`#/audience/0/users/3`), as in RFC 9457.
    pub pointer: String,
    /// The problem and the valid values. It never quotes the value.
    pub detail: String,
}

impl Fault {
    /// A fault at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// The JSON pointer of a member, with its name escaped.
pub fn pointer(of: &str, member: &str) -> String {
    format!("{of}/{}", member.replace('~', "~0").replace('/', "~1"))
}

/// The known name that a misspelt one may mean, as the end of a fault's text: `; did you mean …?`. Empty if none is close.
pub fn suggestion(misspelt: &str, known: &[&str]) -> String {
    let misspelt: Vec<char> = misspelt
        .chars()
        .take(NAME_MAX)
        .map(|one| one.to_ascii_lowercase())
        .collect();
    let distance = |name: &str| {
        let name: Vec<char> = name.chars().map(|one| one.to_ascii_lowercase()).collect();
        edit_distance(&misspelt, &name)
    };
    let closest = known.iter().map(|name| (distance(name), name)).min();
    match closest {
        Some((distance, name)) if distance <= 1 + name.len() / 5 && distance < misspelt.len() => {
            format!("; did you mean `{name}`?")
        }
        _ => String::new(),
    }
}

/// Longer names are no misspelling of a field.
const NAME_MAX: usize = 40;

/// The fewest insertions, deletions and replacements between two texts (Levenshtein).
fn edit_distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, of_one) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, of_other) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(of_one != of_other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// The first [`Faults::MAX`] faults of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The most faults that are reported.
    pub const MAX: usize = 20;

    /// Adds a fault, unless the list is full.
    pub fn note(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if !self.are_full() {
            self.0.push(Fault::new(pointer, detail));
        }
    }

    /// Whether further faults are dropped, so that parsing may stop.
    pub fn are_full(&self) -> bool {
        self.0.len() >= Self::MAX
    }

    /// The number of faults.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `value` if there is no fault, else the faults.
    ///
    /// # Errors
    /// With the faults.
    pub fn none_in<T>(self, value: Option<T>) -> Result<T, Vec<Fault>> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}

/// A problem document. It has no `type`, which RFC 9457 reads as `about:blank`: the status is the problem type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The reason phrase of the status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What the caller can do, in a sentence.
    pub detail: String,
    /// The invalid fields; at most [`Faults::MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// The body is JSON with invalid fields.
    pub fn invalid(errors: Vec<Fault>) -> Self {
        Self {
            errors,
            ..Self::new(StatusCode::BAD_REQUEST, "The request has invalid fields.")
        }
    }

    /// DynamoDB refuses the record for a value in it.
    pub fn too_long() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "The request has a value that is too long to be stored.",
        )
    }

    /// DynamoDB or SQS failed in the middle: whether the request was accepted is unknown.
    pub fn undecided() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Whether the notification was accepted is unknown. With an Idempotency-Key the request can be repeated safely.",
        )
    }

    /// SQS or EventBridge failed after a change was stored. Repeating the request propagates it.
    pub fn unfinished() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The change is stored, but not yet propagated to all deliveries. Repeat the request in a moment to complete it.",
        )
    }

    /// DynamoDB or SQS is unavailable. Nothing was stored; the request may be repeated.
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Nothing was accepted. Repeat the request in a moment.",
        )
    }

    /// The document as an HTTP response.
    pub fn into_response<B: From<String>>(self) -> Response<B> {
        let body = serde_json::to_string(&self).unwrap_or_default();
        let mut response = Response::new(B::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_name_is_suggested_and_no_other() {
        let known = ["audience", "message", "users", "team", "tag", "to"];
        for (misspelt, meant) in [
            ("user", "users"),
            ("mesage", "message"),
            ("Audience", "audience"),
            ("audiance", "audience"),
            ("teams", "team"),
        ] {
            assert_eq!(suggestion(misspelt, &known), format!("; did you mean `{meant}`?"));
        }
        for misspelt in ["", "x", "recipients", "priority", &"m".repeat(10_000)] {
            assert_eq!(suggestion(misspelt, &known), "", "{misspelt}");
        }
    }
}
