//! What the API refuses (RFC 9457), shown beside the field that it is about.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// How much of a field is shown.
const SHOWN: usize = 60;

/// The answer of the API to a request that it refuses.
#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<Fault>,
    /// The request that was refused.
    #[serde(skip)]
    request: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    #[serde(default)]
    pointer: String,
    #[serde(default)]
    detail: String,
}

impl Problem {
    /// The problem in an answer; of an answer that holds none, its status.
    pub(crate) fn read(status: u16, body: &[u8], request: Option<&Value>) -> Self {
        let read = serde_json::from_slice(body).ok();
        let mut problem: Self = read.unwrap_or_else(|| Self {
            title: String::new(),
            status,
            detail: String::new(),
            errors: Vec::new(),
            request: None,
        });
        problem.status = status;
        problem.request = request.cloned();
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = [&self.detail, &self.title]
            .into_iter()
            .find(|text| !text.is_empty());
        match said {
            Some(said) => write!(formatter, "{said} ({})", self.status)?,
            None => write!(formatter, "The API answered {}.", self.status)?,
        }
        for Fault { pointer, detail } in &self.errors {
            write!(formatter, "\n\n  {pointer} {detail}")?;
            if let Some((name, value)) = self.request.as_ref().and_then(|request| field(request, pointer)) {
                let before = format!("    {name}");
                let (blank, mark) = (
                    " ".repeat(before.chars().count()),
                    "^".repeat(value.chars().count()),
                );
                write!(formatter, "\n{before}{value}\n{blank}{mark}")?;
            }
        }
        Ok(())
    }
}

/// The name and the value of the field at a JSON pointer (RFC 6901, as a fragment).
fn field(document: &Value, pointer: &str) -> Option<(String, String)> {
    let pointer = pointer.strip_prefix('#')?;
    let value = document.pointer(pointer)?;
    let (_, last) = pointer.rsplit_once('/')?;
    let name = last.replace("~1", "/").replace("~0", "~");
    let is_index = name.bytes().all(|byte| byte.is_ascii_digit());
    let name = if is_index {
        format!("[{name}] ")
    } else {
        format!("\"{name}\": ")
    };
    let mut shown: String = value.to_string();
    if shown.chars().count() > SHOWN {
        shown = shown.chars().take(SHOWN - 1).chain(['…']).collect();
    }
    Some((name, shown))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_is_refused_is_shown_and_underlined() {
        let request = json!({"audience": {"everyone": 7}, "message": {"text": "x".repeat(100)}});
        let answer = json!({"title": "Bad Request", "status": 400, "detail": "The request has invalid fields.", "errors": [
            {"pointer": "#/audience/everyone", "detail": "must be true"},
            {"pointer": "#/message/text", "detail": "is too long"},
            {"pointer": "#/deliverAt", "detail": "is missing"},
        ]});
        let problem = Problem::read(400, answer.to_string().as_bytes(), Some(&request));
        let text = problem.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "The request has invalid fields. (400)");
        assert_eq!(lines[2], "  #/audience/everyone must be true");
        assert_eq!(lines[3], r#"    "everyone": 7"#);
        assert_eq!(lines[4], "                ^");
        assert!(lines[7].ends_with('…'));
        assert_eq!(lines[7].chars().count(), lines[8].chars().count());
        assert_eq!(
            lines.last(),
            Some(&"  #/deliverAt is missing"),
            "there is nothing to underline"
        );
    }

    #[test]
    fn an_answer_that_is_no_problem_is_its_status() {
        assert_eq!(
            Problem::read(502, b"<html>", None).to_string(),
            "The API answered 502."
        );
    }
}
