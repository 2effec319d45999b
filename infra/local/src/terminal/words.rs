//! Lines of the terminal, from the logs of functions and the bot's messages.

use serde_json::{Map, Value};

/// How a line looks on a terminal with colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As other text.
    Plain,
    /// Of little interest.
    Quiet,
    /// A message of the bot.
    Message,
    /// Something to look at.
    Warning,
    /// A failure.
    Failure,
}

/// The fields of a log line that are not repeated: the terminal shows lines at once.
const OMITTED: [&str; 6] = ["timestamp", "level", "message", "error_type", "span", "spans"];
/// The longest text of a message that is shown, in characters.
const LONGEST_TEXT: usize = 500;

impl Tone {
    /// The escape sequence that begins this tone; empty for plain text.
    pub(super) fn escape_sequence(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Quiet => "\x1b[2m",
            Tone::Message => "\x1b[36m",
            Tone::Warning => "\x1b[33m",
            Tone::Failure => "\x1b[31m",
        }
    }
}

/// Whether a line is a metric for `CloudWatch`, which the terminal does not show.
pub(super) fn is_metric(line: &str) -> bool {
    line.contains(r#""_aws":{"#)
}

/// A log line of a function in words: the message, its `error_type`, and its fields. A line that is not JSON is shown as it
/// is: it is a panic, or the developer's own.
pub(super) fn of_log(line: &str) -> (Tone, String) {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else {
        return (Tone::Warning, printable(line));
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let (tone, level) = match text("level") {
        Some("ERROR") => (Tone::Failure, "error: "),
        Some("INFO") => (Tone::Plain, ""),
        Some("DEBUG") => (Tone::Quiet, "debug: "),
        Some("TRACE") => (Tone::Quiet, "trace: "),
        Some(_) | None => (Tone::Warning, "warning: "),
    };
    let mut words = format!("{level}{}", text("message").unwrap_or("(no message)"));
    if let Some(kind) = text("error_type") {
        words = format!("{words} [{kind}]");
    }
    let rest = said(&fields);
    if !rest.is_empty() {
        words = format!("{words} ({rest})");
    }
    (tone, printable(&words))
}

/// The fields of a log line, such as `notification ntf_1, elapsed_ms 12`.
fn said(fields: &Map<String, Value>) -> String {
    let shown = fields
        .iter()
        .filter(|(name, _)| !OMITTED.contains(&name.as_str()));
    let words = shown.map(|(name, value)| match value {
        Value::String(text) => format!("{name} {text}"),
        other => format!("{name} {other}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The text of a message in one line; a substitute for a message without text.
pub(super) fn of_message(activity: &Value) -> String {
    let text = |pointer: &str| {
        let text = activity.pointer(pointer).and_then(Value::as_str);
        text.filter(|text| !text.trim().is_empty())
    };
    let cards = activity
        .pointer("/attachments")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let shown = text("/text").or_else(|| text("/summary")).map(str::to_owned);
    let shown = shown.unwrap_or_else(|| match cards {
        0 => "(a message without text)".to_owned(),
        1 => "(a card)".to_owned(),
        cards => format!("({cards} cards)"),
    });
    let mut shown = shown.chars();
    let mut cut: String = shown.by_ref().take(LONGEST_TEXT).collect();
    if shown.next().is_some() {
        cut.push('…');
    }
    printable(&cut)
}

/// A text without line ends and without control characters, which could change the terminal.
pub(super) fn printable(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .join(" ")
        .chars()
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_log_line_is_folded_into_words() {
        let line = json!({
            "timestamp": "2026-11-30T10:00:00.000Z", "level": "WARN", "message": "the tenant is slowed down",
            "error_type": "TenantThrottled", "notification": "ntf_1", "wait_ms": 1200,
        });
        let (tone, words) = of_log(&line.to_string());
        assert_eq!(tone, Tone::Warning);
        assert_eq!(
            words,
            "warning: the tenant is slowed down [TenantThrottled] (notification ntf_1, wait_ms 1200)"
        );
        let (tone, words) = of_log(r#"{"level":"INFO","message":"accepted"}"#);
        assert_eq!((tone, words.as_str()), (Tone::Plain, "accepted"));
    }

    #[test]
    fn a_line_that_is_not_json_is_shown_as_it_is() {
        let panic = "thread 'main' panicked at src/bot.rs:7:5: index out of bounds";
        assert_eq!(of_log(panic), (Tone::Warning, panic.to_owned()));
    }

    #[test]
    fn a_message_is_one_line_without_control_characters() {
        for (activity, shown) in [
            (
                json!({"text": "one\n\n two\t\u{1b}[31mred"}),
                "one two \u{fffd}[31mred",
            ),
            (
                json!({"text": " ", "summary": "a card's summary"}),
                "a card's summary",
            ),
            (json!({"attachments": [{}]}), "(a card)"),
            (json!({"attachments": [{}, {}]}), "(2 cards)"),
            (json!(null), "(a message without text)"),
        ] {
            assert_eq!(of_message(&activity), shown);
        }
        let long = of_message(&json!({"text": "ä".repeat(600)}));
        assert_eq!(long.chars().count(), 501);
    }
}
