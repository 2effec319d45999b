//! The alternatives of one field: values and operators.

use super::{Faults, IpAddr, Value, pointer, suggestion};

/// The operators, by name.
const NAMES: [&str; 8] = [
    "prefix",
    "suffix",
    "equals-ignore-case",
    "wildcard",
    "anything-but",
    "numeric",
    "cidr",
    "exists",
];

/// The largest number of `numeric`, by amount.
const NUMBER_MAX: f64 = 5.0e9;

/// One alternative.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Matcher {
    Exact(Value),
    Text(TextRule),
    /// None of these.
    AnythingBut(Vec<Matcher>),
    Numeric(Vec<(Comparison, f64)>),
    Cidr(Network),
    Exists(bool),
}

/// What a text is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TextRule {
    Prefix(String),
    PrefixIgnoringCase(String),
    Suffix(String),
    SuffixIgnoringCase(String),
    EqualsIgnoringCase(String),
    /// The pieces between the stars.
    Wildcard(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A network by its address and the length of its prefix, in bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Network {
    address: IpAddr,
    bits: u32,
}

impl Matcher {
    /// Whether the values of a field match; an absent field has none.
    pub(super) fn matches(&self, leaves: &[&Value]) -> bool {
        match self {
            Self::Exists(wanted) => *wanted != leaves.is_empty(),
            other => leaves.iter().any(|leaf| other.takes(leaf)),
        }
    }

    fn takes(&self, leaf: &Value) -> bool {
        match self {
            Self::Exact(value) => value == leaf,
            Self::Text(rule) => leaf.as_str().is_some_and(|text| rule.takes(text)),
            Self::AnythingBut(matchers) => !matchers.iter().any(|matcher| matcher.takes(leaf)),
            Self::Numeric(ranges) => leaf.as_f64().is_some_and(|number| {
                let mut ranges = ranges.iter();
                ranges.all(|(comparison, bound)| comparison.holds(number, *bound))
            }),
            Self::Cidr(network) => leaf
                .as_str()
                .and_then(|text| text.parse().ok())
                .is_some_and(|address| network.holds(address)),
            Self::Exists(wanted) => *wanted,
        }
    }
}

impl TextRule {
    fn takes(&self, text: &str) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::PrefixIgnoringCase(prefix) => text.to_lowercase().starts_with(prefix),
            Self::Suffix(suffix) => text.ends_with(suffix),
            Self::SuffixIgnoringCase(suffix) => text.to_lowercase().ends_with(suffix),
            Self::EqualsIgnoringCase(other) => text.to_lowercase() == *other,
            Self::Wildcard(pieces) => matches_pieces(text, pieces),
        }
    }
}

/// Whether a text is these pieces with anything between them.
fn matches_pieces(text: &str, pieces: &[String]) -> bool {
    let [first, between @ .., last] = pieces else {
        return pieces.iter().any(|only| only == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else {
        return false;
    };
    for piece in between {
        // The first occurrence leaves the most for the others.
        let Some((_, after)) = rest.split_once(piece.as_str()) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last.as_str())
}

impl Comparison {
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            // Numbers of JSON are compared as they are, as `EventBridge` does.
            Self::Equal => number.total_cmp(&bound).is_eq(),
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            Self::Greater => number > bound,
            Self::GreaterOrEqual => number >= bound,
        }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let network = Self {
            address: address.parse().ok()?,
            bits: bits.parse().ok()?,
        };
        let longest = if network.address.is_ipv4() { 32 } else { 128 };
        (network.bits <= longest).then_some(network)
    }

    fn holds(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - self.bits;
                u32::from(own).checked_shr(shift) == u32::from(other).checked_shr(shift)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - self.bits;
                u128::from(own).checked_shr(shift) == u128::from(other).checked_shr(shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Parses one alternative of a field.
pub(super) fn parse(value: &Value, at: &str, faults: &mut Faults) -> Option<Matcher> {
    let operator = match value {
        Value::Object(operator) => operator,
        Value::Array(_) => {
            faults.note(at, "must be a value or an operator, found an array");
            return None;
        }
        value => return Some(Matcher::Exact(value.clone())),
    };
    let mut entries = operator.iter();
    let (Some((name, argument)), None) = (entries.next(), entries.next()) else {
        faults.note(at, format!("must have one operator of `{}`", NAMES.join("`, `")));
        return None;
    };
    let at = pointer(at, name);
    let parsed = match name.as_str() {
        "exists" => argument
            .as_bool()
            .map(Matcher::Exists)
            .ok_or("must be true or false"),
        "numeric" => numeric(argument),
        "cidr" => argument
            .as_str()
            .and_then(Network::parse)
            .map(Matcher::Cidr)
            .ok_or("must be a network like \"10.0.0.0/24\""),
        "anything-but" => anything_but(argument),
        "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => {
            text_rule(name, argument).map(Matcher::Text)
        }
        _ => {
            let detail = format!("is no operator of event patterns{}", suggestion(name, &NAMES));
            faults.note(at, detail);
            return None;
        }
    };
    parsed.map_err(|detail| faults.note(at, detail)).ok()
}

fn text_rule(name: &str, argument: &Value) -> Result<TextRule, &'static str> {
    let ignoring_case = |argument: &Value| {
        let object = argument.as_object().filter(|object| object.len() == 1)?;
        Some(object.get("equals-ignore-case")?.as_str()?.to_lowercase())
    };
    let wrong = "must be a text, or {\"equals-ignore-case\": \"text\"}";
    match (name, argument) {
        ("prefix", Value::String(text)) => Ok(TextRule::Prefix(text.clone())),
        ("prefix", other) => ignoring_case(other)
            .map(TextRule::PrefixIgnoringCase)
            .ok_or(wrong),
        ("suffix", Value::String(text)) => Ok(TextRule::Suffix(text.clone())),
        ("suffix", other) => ignoring_case(other)
            .map(TextRule::SuffixIgnoringCase)
            .ok_or(wrong),
        ("equals-ignore-case", Value::String(text)) => Ok(TextRule::EqualsIgnoringCase(text.to_lowercase())),
        ("wildcard", Value::String(text)) => wildcard(text).map(TextRule::Wildcard),
        (_, _) => Err("must be a text"),
    }
}

/// The pieces between the stars of a wildcard.
fn wildcard(text: &str) -> Result<Vec<String>, &'static str> {
    let mut pieces = vec![String::new()];
    let mut characters = text.chars();
    let mut after_star = false;
    while let Some(one) = characters.next() {
        let literal = match one {
            '*' if after_star => return Err("may not have two `*` in a row"),
            '*' => {
                pieces.push(String::new());
                after_star = true;
                continue;
            }
            '\\' => match characters.next() {
                Some(escaped @ ('*' | '\\')) => escaped,
                Some(_) | None => return Err("may escape `*` and `\\` only"),
            },
            other => other,
        };
        after_star = false;
        if let Some(last) = pieces.last_mut() {
            last.push(literal);
        }
    }
    Ok(pieces)
}

fn numeric(argument: &Value) -> Result<Matcher, &'static str> {
    let wrong = "must be one or two comparisons, like [\">\", 0, \"<=\", 5], with numbers from -5e9 to 5e9";
    let terms = argument.as_array().filter(|terms| matches!(terms.len(), 2 | 4));
    let terms = terms.ok_or(wrong)?;
    let ranges = terms.chunks(2).map(|pair| {
        let comparison = match pair[0].as_str()? {
            "=" => Comparison::Equal,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        };
        let number = pair[1].as_f64().filter(|number| number.abs() <= NUMBER_MAX)?;
        Some((comparison, number))
    });
    let ranges: Option<Vec<_>> = ranges.collect();
    ranges.map(Matcher::Numeric).ok_or(wrong)
}

fn anything_but(argument: &Value) -> Result<Matcher, &'static str> {
    let wrong = "must be a text or number, a list of them, or one of `prefix`, `suffix`, `equals-ignore-case` and `wildcard`";
    let exact = |value: &Value| match value {
        Value::String(_) | Value::Number(_) => Ok(Matcher::Exact(value.clone())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(wrong),
    };
    let matchers = match argument {
        Value::Array(values) if !values.is_empty() => values.iter().map(exact).collect::<Result<_, _>>()?,
        Value::Object(operator) => {
            let mut entries = operator.iter();
            let (Some((name, argument)), None) = (entries.next(), entries.next()) else {
                return Err(wrong);
            };
            let rule = |argument: &Value| match name.as_str() {
                "prefix" | "suffix" | "equals-ignore-case" | "wildcard" => {
                    text_rule(name, argument).map(Matcher::Text)
                }
                _ => Err(wrong),
            };
            match argument {
                Value::Array(arguments) if !arguments.is_empty() => {
                    arguments.iter().map(rule).collect::<Result<_, _>>()?
                }
                argument => vec![rule(argument)?],
            }
        }
        value => vec![exact(value)?],
    };
    Ok(Matcher::AnythingBut(matchers))
}
