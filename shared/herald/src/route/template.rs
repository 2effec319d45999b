//! Placeholders: `${detail.state.value}` is the value at this path of the event.
//!
//! A path is names and indexes with dots between. A text is put in as it is, a number or a truth as JSON writes it, and so is an
//! object or an array. A path that the event does not have is empty. `\${` stands for `${` itself.

use serde_json::Value;

use crate::problem::{Faults, pointer};

/// Fills the placeholders of strings with values of one event.
#[derive(Debug)]
pub struct Renderer<'e> {
    event: &'e Value,
    missing: Vec<String>,
}

/// A part of a text.
enum Piece<'t> {
    Literal(&'t str),
    Path(&'t str),
    /// A placeholder that does not end, or has no path.
    Malformed,
}

impl<'e> Renderer<'e> {
    /// For this event.
    pub fn new(event: &'e Value) -> Self {
        Self {
            event,
            missing: Vec::new(),
        }
    }

    /// The value with the placeholders of all its strings filled. Names of members stay as they are.
    pub fn render(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.render_text(text)),
            Value::Array(values) => values.iter().map(|value| self.render(value)).collect(),
            Value::Object(members) => {
                let members = members.iter();
                Value::Object(
                    members
                        .map(|(name, value)| (name.clone(), self.render(value)))
                        .collect(),
                )
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// The text with its placeholders filled.
    pub fn render_text(&mut self, text: &str) -> String {
        let mut whole = String::new();
        for piece in pieces(text) {
            match piece {
                Piece::Literal(text) => whole.push_str(text),
                Piece::Path(path) => whole.push_str(&self.value(path)),
                // Refused when the route was written.
                Piece::Malformed => {}
            }
        }
        whole
    }

    fn value(&mut self, path: &str) -> String {
        let mut found = Some(self.event);
        for name in path.split('.') {
            found = found.and_then(|value| match value {
                Value::Array(values) => values.get(name.parse::<usize>().ok()?),
                value => value.get(name),
            });
        }
        match found {
            None | Some(Value::Null) => {
                if !self.missing.iter().any(|missing| missing == path) {
                    self.missing.push(path.to_owned());
                }
                String::new()
            }
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        }
    }

    /// The paths that the event does not have, each once.
    pub fn into_missing(self) -> Vec<String> {
        self.missing
    }
}

/// Notes placeholders that do not end, or have no path.
pub fn check(value: &Value, at: &str, faults: &mut Faults) {
    match value {
        Value::String(text) => {
            if pieces(text).iter().any(|piece| matches!(piece, Piece::Malformed)) {
                let detail = "has a placeholder that is none: it must be like ${detail.state.value}. `\\${` stands for `${` itself";
                faults.note(at, detail);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                check(value, &format!("{at}/{index}"), faults);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                check(value, &pointer(at, name), faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('\\') {
            pieces.extend([Piece::Literal(before), Piece::Literal("${")]);
            rest = after;
            continue;
        }
        pieces.push(Piece::Literal(before));
        match after.split_once('}') {
            Some((path, after)) => {
                pieces.push(if is_path(path) {
                    Piece::Path(path)
                } else {
                    Piece::Malformed
                });
                rest = after;
            }
            None => {
                pieces.push(Piece::Malformed);
                rest = "";
            }
        }
    }
    pieces.push(Piece::Literal(rest));
    pieces
}

fn is_path(path: &str) -> bool {
    let is_name = |name: &str| {
        let is_allowed = |one: char| one.is_alphanumeric() || matches!(one, '-' | '_' | ':' | '/' | '@');
        !name.is_empty() && name.chars().all(is_allowed)
    };
    path.split('.').all(is_name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_filled_wherever_a_string_is() {
        let event =
            json!({"detail-type": "A", "detail": {"n": 1.5, "list": ["x", {"y": true}], "none": null}});
        let mut renderer = Renderer::new(&event);
        let template = json!({"${n}": ["${detail-type}: ${detail.n}", "${detail.list.0}${detail.list.1.y}", 7, null],
                              "whole": "${detail.list.1}", "cost": "\\${x} $5 ${detail.none}${detail.no.way}${detail.no.way}"});
        assert_eq!(
            renderer.render(&template),
            json!({"${n}": ["A: 1.5", "xtrue", 7, null], "whole": "{\"y\":true}", "cost": "${x} $5 "})
        );
        assert_eq!(renderer.into_missing(), ["detail.none", "detail.no.way"]);
    }

    #[test]
    fn a_malformed_placeholder_is_named() {
        let mut faults = Faults::default();
        let value =
            json!({"a": ["${ok}", "${}", "${a b}"], "b": "${open", "c": "\\${fine", "d": "${if(x, y)}"});
        check(&value, "#", &mut faults);
        let faults = faults.none_in::<()>(None).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["#/a/1", "#/a/2", "#/b", "#/d"]);
    }
}
