//! Finds the numbers of a JSON text whose text [`Number`] does not keep.
//!
//! The first pass looks at bytes only, so that a document without such numbers costs little. The second pass follows the
//! structure, and runs on text that a parser has accepted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Number;

use super::numbers::NumberTexts;

/// Whole numbers of up to this many digits fit `i64` and `u64`.
const SAFE_DIGITS: usize = 18;

/// The numbers that would be written in another way, in order.
pub(super) fn inexact_numbers(text: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at += string_length(&text[at..]),
            b'-' | b'0'..=b'9' => {
                let length = number_length(&text[at..]);
                if !is_exact(&text[at..at + length]) {
                    found.push(at..at + length);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    found
}

/// The text with each number beyond the range of `f64` replaced.
pub(super) fn within_range<'a>(text: &'a [u8], numbers: &[Range<usize>]) -> Cow<'a, [u8]> {
    let mut replaced = Vec::new();
    let mut end = 0;
    for range in numbers {
        let token = &text[range.clone()];
        if is_number(token) && serde_json::from_slice::<Number>(token).is_err() {
            replaced.extend_from_slice(&text[end..range.start]);
            replaced.extend_from_slice(limit(token).as_bytes());
            end = range.end;
        }
    }
    if end == 0 {
        return Cow::Borrowed(text);
    }
    replaced.extend_from_slice(&text[end..]);
    Cow::Owned(replaced)
}

/// The number that stands for this text in a value.
pub(super) fn number(text: &str) -> Option<Number> {
    serde_json::from_str(text)
        .ok()
        .or_else(|| serde_json::from_str(limit(text.as_bytes())).ok())
}

/// What stands for a number beyond the range of `f64`.
fn limit(token: &[u8]) -> &'static str {
    if token.starts_with(b"-") {
        "-1.7976931348623157e308"
    } else {
        "1.7976931348623157e308"
    }
}

/// The texts of the numbers of a document.
pub(super) fn numbers(text: &[u8]) -> NumberTexts {
    let mut scanner = Scanner { text, at: 0 };
    scanner.value().unwrap_or_default()
}

/// The length of the string that begins here, with its quotes.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match text.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
}

fn number_length(text: &[u8]) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    text.iter().take_while(|byte| is_part(byte)).count()
}

/// Whether a number is written as it was read.
fn is_exact(token: &[u8]) -> bool {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    if digits.len() <= SAFE_DIGITS && digits.iter().all(u8::is_ascii_digit) {
        return token != b"-0";
    }
    serde_json::from_slice::<Number>(token).is_ok_and(|number| number.to_string().as_bytes() == token)
}

/// Whether the grammar of JSON has this number.
fn is_number(token: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(token).is_ok()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// The texts in the value that begins here; `None` if the text ends.
    fn value(&mut self) -> Option<NumberTexts> {
        match self.peek()? {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => {
                self.string();
                Some(NumberTexts::default())
            }
            b'-' | b'0'..=b'9' => Some(self.number()),
            // `true`, `false` or `null`.
            _ => {
                let rest = &self.text[self.at..];
                self.at += rest
                    .iter()
                    .take_while(|byte| byte.is_ascii_alphabetic())
                    .count()
                    .max(1);
                Some(NumberTexts::default())
            }
        }
    }

    fn object(&mut self) -> Option<NumberTexts> {
        let mut members = BTreeMap::new();
        self.at += 1;
        loop {
            match self.peek()? {
                b'}' => break,
                b'"' => {
                    // Of equal names the last one counts.
                    let name: String = serde_json::from_slice(self.string()).ok()?;
                    members.insert(name, self.value()?);
                }
                // A comma.
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(NumberTexts::members(members))
    }

    fn array(&mut self) -> Option<NumberTexts> {
        let mut items = BTreeMap::new();
        let mut index = 0;
        self.at += 1;
        loop {
            match self.peek()? {
                b']' => break,
                b',' => {
                    index += 1;
                    self.at += 1;
                }
                _ => {
                    let inner = self.value()?;
                    if !inner.is_empty() {
                        items.insert(index, inner);
                    }
                }
            }
        }
        self.at += 1;
        Some(NumberTexts::items(items))
    }

    fn number(&mut self) -> NumberTexts {
        let rest = &self.text[self.at..];
        let token = &rest[..number_length(rest)];
        self.at += token.len();
        match std::str::from_utf8(token) {
            Ok(text) if !is_exact(token) => NumberTexts::text(text),
            _ => NumberTexts::default(),
        }
    }

    fn string(&mut self) -> &[u8] {
        let start = self.at;
        self.at = (start + string_length(&self.text[start..])).min(self.text.len());
        &self.text[start..self.at]
    }

    /// The next byte that is neither white space nor a colon.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' | b':' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }
}
