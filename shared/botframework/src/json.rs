//! Reads JSON as channels write it.
//!
//! JSON texts cut by JavaScript may end in half an emoji: the escape of a lone surrogate, such as `\ud83d`. It names no
//! character, so JSON parsers refuse the whole document. Here it is read as U+FFFD, like bytes that are not UTF-8.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// The start of files that Windows tools write.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The escape of U+FFFD.
const REPLACEMENT: &[u8] = br"\ufffd";

/// The length of an escape such as `\ud83d`.
const ESCAPE_BYTES: usize = 6;

/// Parses a document. Lone surrogates and bytes that are not UTF-8 are read as U+FFFD, and a byte order mark is skipped.
///
/// A document that needs no repair is read once, as `serde_json::from_slice` reads it.
///
/// # Errors
/// When the document is no JSON, or of another type.
pub fn from_slice<T: DeserializeOwned>(document: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(document).or_else(|error| match repair(document) {
        Some(repaired) => serde_json::from_slice(&repaired),
        None => Err(error),
    })
}

/// The document with replacements; `None` if there is nothing to replace.
pub(crate) fn repair(document: &[u8]) -> Option<Vec<u8>> {
    let unmarked = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
    let text = String::from_utf8_lossy(unmarked);
    let is_changed = unmarked.len() < document.len() || matches!(text, Cow::Owned(_));
    let mut rest = text.as_bytes();
    let mut repaired = Vec::with_capacity(rest.len());
    let mut is_replaced = false;
    while let Some(start) = rest.iter().position(|byte| *byte == b'\\') {
        repaired.extend_from_slice(&rest[..start]);
        rest = &rest[start..];
        let length = match (surrogate(rest), rest.get(ESCAPE_BYTES..).and_then(surrogate)) {
            (Some(Surrogate::High), Some(Surrogate::Low)) => 2 * ESCAPE_BYTES,
            (Some(_), _) => {
                is_replaced = true;
                repaired.extend_from_slice(REPLACEMENT);
                rest = &rest[ESCAPE_BYTES..];
                continue;
            }
            // Another escape: the byte after the backslash may be a backslash itself.
            (None, _) => rest.len().min(2),
        };
        repaired.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    repaired.extend_from_slice(rest);
    (is_changed || is_replaced).then_some(repaired)
}

/// One half of a surrogate pair.
#[derive(Clone, Copy)]
enum Surrogate {
    High,
    Low,
}

/// The surrogate whose escape the bytes begin with.
fn surrogate(bytes: &[u8]) -> Option<Surrogate> {
    let digits = bytes.get(..ESCAPE_BYTES)?.strip_prefix(br"\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let unit = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    match unit {
        0xd800..=0xdbff => Some(Surrogate::High),
        0xdc00..=0xdfff => Some(Surrogate::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn read(document: &[u8]) -> Option<String> {
        from_slice::<Value>(document)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
    }

    #[test]
    fn a_lone_surrogate_is_read_as_a_replacement_character() {
        for (document, text) in [
            (&br#""ok \ud83d""#[..], "ok \u{fffd}"),
            (br#""\uDE00 ok""#, "\u{fffd} ok"),
            (br#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (br#""\ud83d\u0041""#, "\u{fffd}A"),
            (br#""\ud83d\n""#, "\u{fffd}\n"),
            (br#""\ud83d\\ude00""#, "\u{fffd}\\ude00"),
            (br#""\\ud83d \ud83d""#, "\\ud83d \u{fffd}"),
            (br#""\ud83d\ude00 \ud83d""#, "\u{1f600} \u{fffd}"),
            (b"\"\xff ok\"", "\u{fffd} ok"),
            (b"\xef\xbb\xbf\"ok\"", "ok"),
        ] {
            let shown = String::from_utf8_lossy(document);
            assert_eq!(read(document).as_deref(), Some(text), "{shown}");
        }
    }

    #[test]
    fn a_document_that_is_no_json_is_refused() {
        for document in [
            &b""[..],
            br#""\ud83d"#,
            br#""\ud83"#,
            br#""\"#,
            br#""\x \ud83d""#,
            b"{",
        ] {
            assert_eq!(read(document), None);
        }
    }

    proptest! {
        #[test]
        fn a_document_without_a_surrogate_is_read_as_it_is(text: String) {
            let document = serde_json::to_vec(&text).unwrap();
            prop_assert_eq!(repair(&document), None);
            prop_assert_eq!(read(&document), Some(text));
        }

        #[test]
        fn any_text_of_code_units_is_read(units: Vec<u16>) {
            let escapes: Vec<String> = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let document = format!("\"{}\"", escapes.concat());
            prop_assert_eq!(read(document.as_bytes()), Some(String::from_utf16_lossy(&units)));
        }
    }
}
