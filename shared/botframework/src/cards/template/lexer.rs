//! The words of an expression.

use super::error::TemplateErrorKind;

/// A word of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'t> {
    Number(f64),
    /// A text in quotes, without its escapes.
    Text(String),
    Name(&'t str),
    /// An operator, a bracket, or `,` `.` `:` `?`.
    Symbol(&'static str),
    End,
}

/// A token and the place of its first byte.
pub(super) type Placed<'t> = (Token<'t>, usize);

/// Those with several characters first: the longest is meant.
const SYMBOLS: [&str; 26] = [
    "==", "!=", "&&", "||", "<=", ">=", "=>", "??", "+", "-", "!", "^", "*", "/", "%", "&", "<", ">", "(",
    ")", ".", "[", "]", ",", ":", "?",
];

/// Reads the words of an expression. The last is [`Token::End`].
///
/// # Errors
/// The place in bytes, and what stands there.
pub(super) fn tokens(expression: &str) -> Result<Vec<Placed<'_>>, (usize, TemplateErrorKind)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = expression[at..].chars().next() {
        if matches!(first, ' ' | '\t' | '\u{feff}' | '\u{a0}') {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = token(&expression[at..], first).map_err(|kind| (at, kind))?;
        tokens.push((token, at));
        at += length;
    }
    tokens.push((Token::End, expression.len()));
    Ok(tokens)
}

/// The first word of `rest`, and its bytes.
fn token(rest: &str, first: char) -> Result<(Token<'_>, usize), TemplateErrorKind> {
    match first {
        '0'..='9' => Ok(number(rest)),
        '\'' | '"' => quoted(rest, first).ok_or_else(|| unexpected(&first.to_string())),
        // A name may begin with any of these, and `%` is an operator only before something else.
        'a'..='z' | 'A'..='Z' | '_' | '$' | '#' | '@' | '%' => {
            let name = name(rest);
            match name {
                "%" => Ok((Token::Symbol("%"), 1)),
                _ if matches!(first, '#' | '@') => Err(TemplateErrorKind::Unsupported(format!(
                    "a name with `{first}`, `{name}`,"
                ))),
                _ if first == '%' => Err(TemplateErrorKind::Unexpected {
                    expected: "a space after the operator `%`",
                    found: format!("`{name}`"),
                }),
                _ => Ok((Token::Name(name), name.len())),
            }
        }
        _ => match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            Some(symbol) => Ok((Token::Symbol(symbol), symbol.len())),
            None => Err(unexpected(&first.to_string())),
        },
    }
}

fn unexpected(found: &str) -> TemplateErrorKind {
    TemplateErrorKind::Unexpected {
        expected: "an expression",
        found: format!("`{found}`"),
    }
}

/// Digits, with a fraction or without.
fn number(rest: &str) -> (Token<'_>, usize) {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(rest);
    if let Some(fraction) = rest[length..].strip_prefix('.') {
        let count = digits(fraction);
        length += if count == 0 { 0 } else { 1 + count };
    }
    // Digits with a point are a number to Rust, whatever their count.
    let number = rest[..length].parse().unwrap_or(f64::INFINITY);
    (Token::Number(number), length)
}

fn name(rest: &str) -> &str {
    let length = rest
        .char_indices()
        .skip(1)
        .find(|(_, character)| !(character.is_ascii_alphanumeric() || *character == '_'))
        .map_or(rest.len(), |(at, _)| at);
    &rest[..length]
}

/// A text in quotes. An escape that is none stays with its backslash.
fn quoted(rest: &str, quote: char) -> Option<(Token<'_>, usize)> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return Some((Token::Text(text), at + 1));
        }
        if character != '\\' {
            text.push(character);
            continue;
        }
        let (_, escaped) = characters.next()?;
        match escaped {
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            '\\' => text.push('\\'),
            _ if escaped == quote => text.push(quote),
            _ => text.extend(['\\', escaped]),
        }
    }
    None
}
