//! Mentions in the text of a message: `<at>name</at>`, with the name escaped as in XML.

use std::borrow::Cow;

const OPENING: &str = "<at";
const CLOSING: &str = "</at>";

/// A mention in a text.
struct Element<'a> {
    before: &'a str,
    /// The name, escaped.
    name: &'a str,
    after: &'a str,
}

/// The first mention of a text.
fn first(text: &str) -> Option<Element<'_>> {
    let mut searched = 0;
    loop {
        let start = searched + text.get(searched..)?.find(OPENING)?;
        let tag = &text[start + OPENING.len()..];
        // `<attachment>` is another element.
        if tag.starts_with(|next: char| next == '>' || next.is_ascii_whitespace()) {
            let (_, inside) = tag.split_once('>')?;
            let (name, after) = inside.split_once(CLOSING)?;
            let before = &text[..start];
            return Some(Element { before, name, after });
        }
        searched = start + OPENING.len();
    }
}

/// The text without the mentions whose name `is_meant`. The names are unescaped.
pub(super) fn without_mentions(text: &str, is_meant: impl Fn(&str) -> bool) -> String {
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(Element { before, name, after }) = first(rest) {
        kept.push_str(before);
        if !is_meant(unescape(name).trim()) {
            kept.push_str(&rest[before.len()..rest.len() - after.len()]);
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// The mention of a name, escaped.
pub(super) fn of(name: &str) -> String {
    let name = name
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!("<at>{name}</at>")
}

/// The name in a mention such as `<at>name</at>`, unescaped.
pub(super) fn name_of(mention: &str) -> Option<String> {
    first(mention).map(|element| unescape(element.name).trim().to_owned())
}

/// The text with the entities of XML, and the hard space of HTML, as characters.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, entity)) = rest.split_once('&') {
        plain.push_str(before);
        let known = entity
            .split_once(';')
            .and_then(|(name, after)| character(name).map(|character| (character, after)));
        let (character, after) = known.unwrap_or(('&', entity));
        plain.push(character);
        rest = after;
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mention_is_found_by_its_unescaped_name() {
        for (text, kept) in [
            ("<at>R&amp;D Bot</at> help", " help"),
            ("<at id=\"0\">R&#38;D Bot</at> help", " help"),
            (
                "hi <at>Ada</at>, <at>R&#x26;D&nbsp;Bot</at>!",
                "hi <at>Ada</at>, !",
            ),
            (
                "<attachment id=\"1\"></attachment><at>R&amp;D Bot</at>",
                "<attachment id=\"1\"></attachment>",
            ),
            ("<at>R&amp;D Bot", "<at>R&amp;D Bot"),
            ("R&amp;D Bot < at > &amp;", "R&amp;D Bot < at > &amp;"),
        ] {
            assert_eq!(without_mentions(text, |name| name == "R&D Bot"), kept);
        }
    }

    #[test]
    fn what_is_no_entity_stays() {
        for text in ["&", "a & b; c", "&;", "&#;", "&#x110000;", "&unknown;"] {
            assert_eq!(unescape(text), text);
        }
    }
}
