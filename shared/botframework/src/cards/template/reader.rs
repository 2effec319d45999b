//! Reads templates.

use serde_json::{Map, Value as Json};

use super::error::{TemplateError, TemplateErrorKind};
use super::expression::Expression;
use super::node::{Data, ExpressionSource, Node, Text, TextPart};
use super::parser;
use super::text::{Piece, split};
use super::{MAX_DEPTH, MAX_ERRORS};

/// The members that are not rendered.
const RESERVED: [&str; 6] = [
    "$data",
    "$when",
    "$root",
    "$index",
    "$host",
    "$_acTemplateVersion",
];

/// Parses templates, and collects what is wrong.
#[derive(Default)]
pub(super) struct Reader {
    pointer: String,
    errors: Vec<TemplateError>,
}

impl Reader {
    /// The template of a value.
    ///
    /// # Errors
    /// The first [`MAX_ERRORS`] things that are wrong in it, in the order of the template.
    pub(super) fn read(template: &Json) -> Result<Node, Vec<TemplateError>> {
        let mut reader = Self::default();
        let node = reader.node(template, 0);
        if reader.errors.is_empty() {
            Ok(node)
        } else {
            Err(reader.errors)
        }
    }

    /// Notes what is wrong behind `before`, which is what the string has before it.
    fn refuse(&mut self, before: &str, kind: TemplateErrorKind) {
        if self.errors.len() < MAX_ERRORS {
            let (pointer, position) = (self.pointer.clone(), before.chars().count());
            self.errors.push(TemplateError {
                pointer,
                position,
                kind,
            });
        }
    }

    /// Reads with the pointer one step further.
    fn below<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        let result = read(self);
        self.pointer.truncate(length);
        result
    }

    fn node(&mut self, template: &Json, level: usize) -> Node {
        if level > MAX_DEPTH {
            self.refuse("", TemplateErrorKind::TooDeep);
            return Node::literal(Json::Null);
        }
        match template {
            Json::String(string) => match self.text(string) {
                Some(text) => Node::Text(text),
                None => Node::literal(template.clone()),
            },
            Json::Array(items) => {
                let read = |(index, item): (usize, &Json)| {
                    self.below(&index.to_string(), |reader| reader.node(item, level + 1))
                };
                Node::array(items.iter().enumerate().map(read).collect())
            }
            Json::Object(members) => self.object(members, level),
            Json::Null | Json::Bool(_) | Json::Number(_) => Node::literal(template.clone()),
        }
    }

    fn object(&mut self, members: &Map<String, Json>, level: usize) -> Node {
        let data = members
            .get("$data")
            .map(|data| self.below("$data", |reader| reader.data(data, level + 1)));
        let when = members
            .get("$when")
            .and_then(|when| self.below("$when", |reader| reader.when(when)));
        let mut nodes = Vec::with_capacity(members.len());
        for (name, member) in members {
            if !RESERVED.contains(&name.as_str()) {
                let node = self.below(name, |reader| reader.node(member, level + 1));
                nodes.push((name.clone(), node));
            }
        }
        Node::object(data, when, nodes)
    }

    /// The expressions of a string. None when it is text alone.
    fn text(&mut self, string: &str) -> Option<Text> {
        // Most strings of a template are text.
        if !string.contains("${") {
            return None;
        }
        let pieces = match split(string) {
            Ok(pieces) => pieces,
            Err((place, kind)) => {
                self.refuse(&string[..place], kind);
                return None;
            }
        };
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in pieces {
            match piece {
                Piece::Text(text) => parts.push(TextPart::Literal(text)),
                Piece::Expression(source, at) => match parser::parse(source) {
                    Ok(expression) => {
                        let source = ExpressionSource {
                            text: format!("${{{source}}}"),
                            pointer: self.pointer.clone(),
                        };
                        parts.push(TextPart::Expression(expression, source));
                    }
                    Err((place, kind)) => self.refuse(&string[..at + place], kind),
                },
            }
        }
        Some(match parts.pop() {
            Some(TextPart::Expression(expression, source)) if parts.is_empty() => {
                Text::Lone(expression, source)
            }
            last => {
                parts.extend(last);
                Text::Parts(parts)
            }
        })
    }

    fn data(&mut self, data: &Json, level: usize) -> Data {
        if let Json::String(string) = data
            && let Some(text) = self.text(string)
        {
            return Data::Text(text);
        }
        self.inline(data, level);
        Data::Inline(data.clone())
    }

    /// Inline data has no expressions: the reference would not evaluate them.
    fn inline(&mut self, data: &Json, level: usize) {
        if level > MAX_DEPTH {
            self.refuse("", TemplateErrorKind::TooDeep);
            return;
        }
        match data {
            Json::String(string) if string.contains("${") => {
                let what = "an expression in an inline `$data`".to_owned();
                self.refuse("", TemplateErrorKind::Unsupported(what));
            }
            Json::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.below(&index.to_string(), |reader| reader.inline(item, level + 1));
                }
            }
            Json::Object(members) => {
                for (name, member) in members {
                    self.below(name, |reader| reader.inline(member, level + 1));
                }
            }
            _ => {}
        }
    }

    fn when(&mut self, when: &Json) -> Option<Expression> {
        let errors = self.errors.len();
        let text = when.as_str().and_then(|string| self.text(string));
        match text {
            Some(Text::Lone(expression, _)) => Some(expression),
            _ => {
                if self.errors.len() == errors {
                    self.refuse("", TemplateErrorKind::When);
                }
                None
            }
        }
    }
}
