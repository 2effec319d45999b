//! The strings of a template: text and `${…}`.

use super::error::TemplateErrorKind;

/// A part of a string.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Text, without escapes.
    Text(String),
    /// An expression, without `${` and `}`, and the place of its first byte in the string.
    Expression(&'t str, usize),
}

/// Splits a string. A string without `${` is text as it is, also its backslashes; in others `\$` and `` \` `` are escapes.
///
/// # Errors
/// The place in bytes, and what stands there.
pub(super) fn split(string: &str) -> Result<Vec<Piece<'_>>, (usize, TemplateErrorKind)> {
    if !string.contains("${") {
        return Ok(vec![Piece::Text(string.to_owned())]);
    }
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut at = 0;
    while let Some(next) = string[at..].chars().next() {
        let rest = &string[at..];
        if let Some(escaped) = ["\\$", "\\`"].iter().find(|escape| rest.starts_with(**escape)) {
            text.push_str(&escaped[1..]);
            at += escaped.len();
        } else if let Some(inner) = rest.strip_prefix("${") {
            let length = expression_length(inner).map_err(|(place, kind)| match kind {
                TemplateErrorKind::Unclosed => (at, kind),
                kind => (at + 2 + place, kind),
            })?;
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Expression(&inner[..length], at + 2));
            at += 2 + length + 1;
        } else {
            text.push(next);
            at += next.len_utf8();
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// The bytes before the `}` that ends an expression. One in quotes does not.
fn expression_length(inner: &str) -> Result<usize, (usize, TemplateErrorKind)> {
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in inner.char_indices() {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '}') => return Ok(at),
            (None, '{') => return Err((at, TemplateErrorKind::Unsupported("an object, `{…}`,".into()))),
            (None, '`') => {
                return Err((
                    at,
                    TemplateErrorKind::Unsupported("a text with expressions, `` `…` ``,".into()),
                ));
            }
            (None, '\r' | '\n') => break,
            (None, _) => {}
        }
    }
    Err((0, TemplateErrorKind::Unclosed))
}
