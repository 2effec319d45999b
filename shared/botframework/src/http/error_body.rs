//! Error bodies of REST services, which come in several shapes.

use serde_json::Value;

use super::transport::Body;
use crate::json;

/// The longest text that is kept of an error body or a header, in characters.
pub(crate) const MAX_TEXT: usize = 512;

/// The most levels of documents inside documents that are read.
const MAX_DEPTH: u8 = 4;

/// The codes and the message of an error body.
#[derive(Debug, Default)]
pub(crate) struct ErrorBody {
    /// From the outermost document to the innermost.
    pub(crate) codes: Vec<String>,
    pub(crate) message: Option<String>,
}

impl ErrorBody {
    pub(crate) fn from_body(body: &Body) -> Self {
        let document = match body {
            Body::Complete(bytes) => json::from_slice(bytes).ok(),
            Body::Truncated | Body::TooLarge => None,
        };
        document.as_ref().map(Self::from_document).unwrap_or_default()
    }

    pub(crate) fn from_document(document: &Value) -> Self {
        let mut parsed = Self::default();
        parsed.read(document, MAX_DEPTH);
        parsed
    }

    /// Reads `error` of a failed batch entry, and the status in it: a document, a document in a string, a word, or a
    /// text such as `400 user not found`. The shape is not documented.
    pub(crate) fn from_error(error: &Value) -> (Option<u16>, Self) {
        let mut parsed = Self::default();
        match error {
            Value::String(text) => {
                let (status, rest) = split_status(text);
                match json::from_slice(rest.as_bytes()) {
                    Ok(document @ Value::Object(_)) => {
                        parsed.read(&document, MAX_DEPTH);
                        return (status.or_else(|| status_in(&document)), parsed);
                    }
                    _ if is_word(rest) => parsed.code(rest),
                    _ => match rest.split_once(':') {
                        Some((word, message)) if is_word(word) => {
                            parsed.code(word);
                            parsed.read_text(message.trim(), MAX_DEPTH);
                        }
                        _ => parsed.read_text(rest, MAX_DEPTH),
                    },
                }
                (status, parsed)
            }
            Value::Number(_) => (as_status(error), parsed),
            document => {
                parsed.read(document, MAX_DEPTH);
                (status_in(document), parsed)
            }
        }
    }

    /// Reads `{error: {code, message, innerHttpError: {body}}}`, `{errorCode, message}` with a message that
    /// may be JSON in a string, and the other shapes seen in the field. `depth` bounds the nesting.
    fn read(&mut self, document: &Value, depth: u8) {
        let Some(depth) = depth.checked_sub(1) else { return };
        match document.get("error") {
            Some(Value::String(code)) => self.code(code),
            Some(error) => self.read(error, depth),
            None => {}
        }
        for name in ["code", "errorCode", "subCode"] {
            match document.get(name) {
                Some(Value::String(code)) => self.code(code),
                Some(Value::Number(code)) => self.code(&code.to_string()),
                _ => {}
            }
        }
        if let Some(Value::String(message)) = document.get("message") {
            self.read_text(message, depth);
        }
        match document.get("innerHttpError").and_then(|inner| inner.get("body")) {
            Some(Value::String(body)) => self.read_text(body, depth),
            Some(body) => self.read(body, depth),
            None => {}
        }
    }

    /// Reads a text that is a JSON document, or else the message.
    fn read_text(&mut self, text: &str, depth: u8) {
        match json::from_slice::<Value>(text.as_bytes()) {
            Ok(document @ Value::Object(_)) => self.read(&document, depth),
            _ if self.message.is_none() && !text.is_empty() => {
                self.message = Some(text.chars().take(MAX_TEXT).collect());
            }
            _ => {}
        }
    }

    fn code(&mut self, code: &str) {
        if !code.is_empty() {
            self.codes.push(code.chars().take(MAX_TEXT).collect());
        }
    }
}

/// Splits the status off a text that begins with one.
fn split_status(text: &str) -> (Option<u16>, &str) {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (start, rest) = text.split_at(digits);
    let apart = rest.chars().next().is_none_or(|next| !next.is_alphanumeric());
    match start.parse().ok().filter(|status| apart && is_status(*status)) {
        Some(status) => (Some(status), rest.trim_start_matches([' ', ':', ',', '-'])),
        None => (None, text),
    }
}

fn status_in(document: &Value) -> Option<u16> {
    let inner = document.get("error").unwrap_or(document);
    [inner, document]
        .into_iter()
        .flat_map(|place| [place.get("statusCode"), place.get("status")])
        .flatten()
        .find_map(as_status)
}

fn as_status(value: &Value) -> Option<u16> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64().and_then(|number| number.try_into().ok()),
    };
    number.filter(|status| is_status(*status))
}

fn is_status(number: u16) -> bool {
    (100..1000).contains(&number)
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
