//! Event patterns: `EventBridge`'s own language for which events a rule takes.
//!
//! A pattern is an object with the structure of an event. A field's value is an array of alternatives: values that the field
//! may have, and operators. All fields must match; of the alternatives of a field one.
//!
//! | operator | takes |
//! |---|---|
//! | `"text"`, `300`, `true`, `null` | exactly this value. A number as it is written: 300 is not 300.0 |
//! | `{"prefix": "a"}`, `{"suffix": "z"}` | a text that begins or ends so; with `{"equals-ignore-case": …}` in whatever case |
//! | `{"equals-ignore-case": "a"}` | a text, in whatever case |
//! | `{"wildcard": "a*z"}` | a text; `*` stands for any characters, `\*` and `\\` for themselves |
//! | `{"anything-but": …}` | a value that is none of these: a value, a list, or one of `prefix`, `suffix`, `equals-ignore-case`, `wildcard` |
//! | `{"numeric": [">", 0, "<=", 5]}` | a number in a range; `=` too |
//! | `{"cidr": "10.0.0.0/24"}` | an IP address of this network |
//! | `{"exists": true}` | a field with a value; `false`: without one |
//! | `"$or": [{…}, {…}]` | beside fields: one of these patterns |
//!
//! A field with an array matches if one of its elements does; fields below an array of objects must match in the same object.
//!
//! Source: "Creating Amazon `EventBridge` event patterns" and "Comparison operators" of the `EventBridge` user guide, whose
//! examples are the tests, and those of [Event Ruler](https://github.com/aws/event-ruler), `EventBridge`'s own matcher.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::problem::{Faults, pointer, suggestion};

mod operator;

use operator::Matcher;

/// The most characters of a pattern. `EventBridge` takes 2,048 by default, and more on request.
pub const PATTERN_CHARS_MAX: usize = 8_192;

/// How deep `$or` and objects may nest.
const DEPTH_MAX: usize = 32;

/// Which events are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPattern(Vec<Clause>);

#[derive(Clone, Debug, PartialEq)]
enum Clause {
    Field(String, Node),
    /// One of these, of the same object.
    Or(Vec<EventPattern>),
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Object(EventPattern),
    Values(Vec<Matcher>),
}

impl EventPattern {
    /// Parses a pattern; `at` is its pointer. An operator that is not known is a fault, as in `EventBridge`.
    pub fn parse(value: &Value, at: &str, faults: &mut Faults) -> Option<Self> {
        if value.to_string().chars().count() > PATTERN_CHARS_MAX {
            faults.note(at, format!("may have {PATTERN_CHARS_MAX} characters"));
            return None;
        }
        let before = faults.count();
        let Some(object) = value.as_object().filter(|object| !object.is_empty()) else {
            faults.note(at, "must be an event pattern: an object that is not empty");
            return None;
        };
        let pattern = parse_object(object, at, 0, faults);
        (faults.count() == before).then_some(pattern)
    }

    /// Whether this event is taken.
    pub fn matches(&self, event: &Value) -> bool {
        self.0.iter().all(|clause| match clause {
            Clause::Or(patterns) => patterns.iter().any(|pattern| pattern.matches(event)),
            Clause::Field(name, node) => node.matches(event.get(name)),
        })
    }
}

impl Node {
    fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Object(pattern), Some(Value::Array(elements))) => {
                elements.iter().any(|element| pattern.matches(element))
            }
            // Of an absent object no field exists, which a pattern may ask for.
            (Self::Object(pattern), value) => pattern.matches(value.unwrap_or(&Value::Null)),
            (Self::Values(matchers), value) => {
                let mut leaves = Vec::new();
                collect_leaves(value, &mut leaves);
                matchers.iter().any(|matcher| matcher.matches(&leaves))
            }
        }
    }
}

/// The values of a field that are neither objects nor arrays.
fn collect_leaves<'v>(value: Option<&'v Value>, leaves: &mut Vec<&'v Value>) {
    match value {
        None | Some(Value::Object(_)) => {}
        Some(Value::Array(elements)) => {
            for element in elements {
                collect_leaves(Some(element), leaves);
            }
        }
        Some(leaf) => leaves.push(leaf),
    }
}

fn parse_object(object: &Map<String, Value>, at: &str, depth: usize, faults: &mut Faults) -> EventPattern {
    if depth > DEPTH_MAX {
        faults.note(at, format!("may nest {DEPTH_MAX} levels"));
        return EventPattern(Vec::new());
    }
    let mut clauses = Vec::new();
    for (name, value) in object {
        let at = pointer(at, name);
        match value {
            Value::Array(patterns) if name == "$or" => {
                let parsed = parse_alternatives(patterns, &at, depth, faults);
                clauses.push(Clause::Or(parsed));
            }
            Value::Array(alternatives) if !alternatives.is_empty() => {
                let each = alternatives.iter().enumerate();
                let matchers = each
                    .filter_map(|(index, value)| operator::parse(value, &format!("{at}/{index}"), faults));
                clauses.push(Clause::Field(name.clone(), Node::Values(matchers.collect())));
            }
            Value::Object(object) if !object.is_empty() && name != "$or" => {
                let pattern = parse_object(object, &at, depth + 1, faults);
                clauses.push(Clause::Field(name.clone(), Node::Object(pattern)));
            }
            _ if name == "$or" => faults.note(at, "must be an array of at least two patterns"),
            _ => faults.note(
                at,
                "must be an object of fields, or an array of values and operators, and not empty",
            ),
        }
    }
    EventPattern(clauses)
}

fn parse_alternatives(patterns: &[Value], at: &str, depth: usize, faults: &mut Faults) -> Vec<EventPattern> {
    if patterns.len() < 2 {
        faults.note(at, "must be an array of at least two patterns");
    }
    let each = patterns.iter().enumerate();
    let parsed = each.filter_map(|(index, value)| {
        let at = format!("{at}/{index}");
        match value.as_object().filter(|object| !object.is_empty()) {
            Some(object) => Some(parse_object(object, &at, depth + 1, faults)),
            None => {
                faults.note(at, "must be an object of fields that is not empty");
                None
            }
        }
    });
    parsed.collect()
}

#[cfg(test)]
mod tests;
