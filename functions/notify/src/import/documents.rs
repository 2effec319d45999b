//! Splits a body into documents, without parsing them.
//!
//! A body has one document a line; or it is one array of documents, or one object with a document for each key. So may be a line.
//! The size of a document is known before it is parsed.

use herald::conversation::wire_name;

/// One document of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// The line that it begins in, from 1.
    pub(super) line: usize,
    pub(super) text: &'a [u8],
}

/// The documents of a body, in order. A line that is no JSON is a document, too; a blank line is none.
pub(super) fn documents(body: &[u8]) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let start = body.len() - body.trim_ascii_start().len();
    let whole = body.trim_ascii();
    if end_of_value(whole) == Some(whole.len()) {
        let line = 1 + count_lines(&body[..start]);
        expand(whole, line, &mut documents);
    } else {
        for (number, line) in (1..).zip(body.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if !line.is_empty() {
                expand(line, number, &mut documents);
            }
        }
    }
    documents
}

/// Adds the documents of a text that begins in this line: the elements of an array, the values of an object without properties of
/// a reference, or the text itself.
fn expand<'a>(text: &'a [u8], line: usize, documents: &mut Vec<Document<'a>>) {
    let inside = match text.first() {
        Some(b'[') => elements(text),
        Some(b'{') => references(text),
        _ => None,
    };
    let Some(inside) = inside else {
        documents.push(Document { line, text });
        return;
    };
    let (mut line, mut counted) = (line, 0);
    for range in inside {
        line += count_lines(&text[counted..range.start]);
        counted = range.start;
        documents.push(Document {
            line,
            text: &text[range],
        });
    }
}

type Ranges = Vec<std::ops::Range<usize>>;

/// The elements of an array; `None` if it is not well formed.
fn elements(text: &[u8]) -> Option<Ranges> {
    let mut found = Ranges::new();
    let mut at = 1 + blanks(&text[1..]);
    while text.get(at) != Some(&b']') {
        let end = at + end_of_value(&text[at..])?;
        found.push(at..end);
        at = after_comma(text, end, b']')?;
    }
    (at + 1 == text.len()).then_some(found)
}

/// The values of an object whose keys name references; `None` if it is a reference itself, or is not well formed.
fn references(text: &[u8]) -> Option<Ranges> {
    let mut found = Ranges::new();
    let mut at = 1 + blanks(&text[1..]);
    while text.get(at) != Some(&b'}') {
        let name_end = at + end_of_value(&text[at..])?;
        let name = text[at..name_end].strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if std::str::from_utf8(name).ok().and_then(wire_name).is_some() {
            return None;
        }
        let colon = name_end + blanks(&text[name_end..]);
        (text.get(colon) == Some(&b':')).then_some(())?;
        let value = colon + 1 + blanks(&text[colon + 1..]);
        (text.get(value) == Some(&b'{')).then_some(())?;
        let end = value + end_of_value(&text[value..])?;
        found.push(value..end);
        at = after_comma(text, end, b'}')?;
    }
    (at + 1 == text.len() && !found.is_empty()).then_some(found)
}

/// Where the next member begins after one that ends at `end`, or where the closing bracket is.
fn after_comma(text: &[u8], end: usize, closing: u8) -> Option<usize> {
    let at = end + blanks(&text[end..]);
    match text.get(at)? {
        b',' => {
            let next = at + 1 + blanks(&text[at + 1..]);
            (text.get(next)? != &closing).then_some(next)
        }
        byte if *byte == closing => Some(at),
        _ => None,
    }
}

/// The length of the JSON value that the text begins with. Only strings and brackets are looked at.
fn end_of_value(text: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut at) = (0_usize, false, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => {
                in_string = !in_string;
                if !in_string && depth == 0 {
                    return Some(at + 1);
                }
            }
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                // A number or a word ends before the bracket of its list.
                if depth == 0 {
                    return (at > 0).then_some(at);
                }
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' | b':' if depth == 0 => return (at > 0).then_some(at),
            _ if byte.is_ascii_whitespace() && depth == 0 => return (at > 0).then_some(at),
            _ => {}
        }
        at += 1;
    }
    (depth == 0 && !in_string && at > 0).then_some(text.len())
}

fn blanks(text: &[u8]) -> usize {
    text.len() - text.trim_ascii_start().len()
}

fn count_lines(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').count() - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str) -> Vec<(usize, &str)> {
        let documents = documents(body.as_bytes()).into_iter();
        documents
            .map(|it| (it.line, std::str::from_utf8(it.text).unwrap()))
            .collect()
    }

    #[test]
    fn a_body_has_a_document_a_line_or_is_an_array_or_a_map_of_documents() {
        for (body, expected) in [
            ("", &[][..]),
            (" \n\t\r\n", &[]),
            (
                "{\"bot\":1}\n\n {\"bot\":2}\r\n",
                &[(1, "{\"bot\":1}"), (3, "{\"bot\":2}")],
            ),
            ("{\"bot\":\n{\"id\":1}}", &[(1, "{\"bot\":\n{\"id\":1}}")]),
            (
                "\n[{\"bot\":1},\n {\"bot\":2}, 3]",
                &[(2, "{\"bot\":1}"), (3, "{\"bot\":2}"), (3, "3")],
            ),
            ("[[{}]]", &[(1, "[{}]")]),
            ("[]", &[]),
            (
                "{\"29:a\": {\"bot\": \"}\\\"\"},\n\"29:b\": {}}",
                &[(1, "{\"bot\": \"}\\\"\"}"), (2, "{}")],
            ),
            (
                "[{\"bot\":1}]\n[{\"bot\":2}]",
                &[(1, "{\"bot\":1}"), (2, "{\"bot\":2}")],
            ),
            ("{}", &[(1, "{}")]),
            ("{\"a\": 1}", &[(1, "{\"a\": 1}")]),
            ("{\"Conversation\": {}}", &[(1, "{\"Conversation\": {}}")]),
        ] {
            assert_eq!(split(body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_json_is_one_document() {
        for line in [
            "{secret",
            "[1,]",
            "[1 2]",
            "[1",
            "{\"a\" {}}",
            "{\"a\": {},}",
            "]",
            "\"",
            "[\"\\",
            "x",
        ] {
            assert_eq!(split(line), [(1, line)]);
        }
    }
}
