//! The `audience` of a request, checked whole.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{Audience, IDS_MAX, SELECTORS_MAX, Selector};
use crate::conversation::ID_BYTES_MAX;
use crate::problem::{Faults, pointer};

const KNOWN: &str = "`everyone`, `tenant`, `users`, `accounts` or `conversations`";

impl Audience {
    /// Reads the `audience` of a request: one selector or an array of them. What is said twice counts once.
    ///
    /// What is wrong goes to `faults`, for the caller to mend all at once; the audience then is not to be used.
    pub fn parse(value: &Value, faults: &mut Faults) -> Option<Self> {
        let at = "#/audience";
        let mut selectors = Vec::new();
        match value {
            Value::Array(items) if items.is_empty() || items.len() > SELECTORS_MAX => {
                let found = items.len();
                faults.note(
                    at,
                    format!("must hold 1 to {SELECTORS_MAX} selectors, found {found}"),
                );
                return None;
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let selector = selector(item, &format!("{at}/{index}"), faults);
                    selectors.extend(selector.filter(|selector| !selectors.contains(selector)));
                }
            }
            one => selectors.extend(selector(one, at, faults)),
        }
        (!selectors.is_empty()).then_some(Self(selectors))
    }
}

fn selector(value: &Value, at: &str, faults: &mut Faults) -> Option<Selector> {
    let Value::Object(object) = value else {
        faults.note(
            at,
            format!("must be an object with one of {KNOWN}, found {}", kind(value)),
        );
        return None;
    };
    let mut named = object
        .keys()
        .map(String::as_str)
        .filter(|name| matches!(*name, "everyone" | "users" | "accounts" | "conversations"));
    let leading = match (named.next(), named.next()) {
        (None, None) if object.contains_key("tenant") => "tenant",
        (Some(one), None) => one,
        _ => {
            faults.note(at, format!("must name exactly one of {KNOWN}"));
            return None;
        }
    };
    let before = faults.count();
    for name in object.keys() {
        if name != leading && !(leading == "users" && name == "tenant") {
            faults.note(pointer(at, name), format!("does not belong beside `{leading}`"));
        }
    }
    let field = format!("{at}/{leading}");
    let selector = match leading {
        "everyone" if object[leading] == Value::Bool(true) => Some(Selector::Everyone),
        "everyone" => {
            faults.note(field, "must be true");
            None
        }
        "tenant" => id(object, "tenant", at, faults).map(Selector::Tenant),
        "users" => {
            let tenant = object
                .get("tenant")
                .and_then(|_| id(object, "tenant", at, faults));
            ids(&object[leading], &field, faults).map(|ids| Selector::Users { ids, tenant })
        }
        "accounts" => ids(&object[leading], &field, faults).map(Selector::Accounts),
        _ => ids(&object[leading], &field, faults).map(Selector::Conversations),
    };
    selector.filter(|_| faults.count() == before && !faults.are_full())
}

fn id(object: &Map<String, Value>, name: &str, at: &str, faults: &mut Faults) -> Option<String> {
    match &object[name] {
        Value::String(id) if is_id(id) => Some(id.clone()),
        other => {
            faults.note(format!("{at}/{name}"), not_an_id(other));
            None
        }
    }
}

fn ids<T: From<String>>(value: &Value, at: &str, faults: &mut Faults) -> Option<Vec<T>> {
    let Value::Array(items) = value else {
        faults.note(at, format!("must be an array of ids, found {}", kind(value)));
        return None;
    };
    if items.is_empty() || items.len() > IDS_MAX {
        faults.note(at, format!("must hold 1 to {IDS_MAX} ids, found {}", items.len()));
        return None;
    }
    let mut seen = HashSet::new();
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item {
            Value::String(id) if is_id(id) => {
                if seen.insert(id.as_str()) {
                    list.push(T::from(id.clone()));
                }
            }
            other => faults.note(format!("{at}/{index}"), not_an_id(other)),
        }
        if faults.are_full() {
            return None;
        }
    }
    Some(list)
}

/// Whether there can be a conversation by this id: longer ones are not remembered.
fn is_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
}

fn not_an_id(found: &Value) -> String {
    format!(
        "must be a string of 1 to {ID_BYTES_MAX} bytes, found {}",
        kind(found)
    )
}

/// What a value is, for a fault that must not repeat it.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Fault;
    use serde_json::json;

    fn parse(value: &Value) -> Result<Audience, Vec<Fault>> {
        let mut faults = Faults::default();
        let audience = Audience::parse(value, &mut faults);
        faults.none_in(audience)
    }

    #[test]
    fn every_selector_is_read() {
        let audience = parse(&json!([
            {"everyone": true}, {"tenant": "t"}, {"users": ["a", "b", "a"], "tenant": "t"}, {"users": ["a"]},
            {"accounts": ["29:x"]}, {"conversations": ["19:c"]}]));
        assert_eq!(
            audience.unwrap().0,
            [
                Selector::Everyone,
                Selector::Tenant("t".into()),
                Selector::Users {
                    ids: vec!["a".into(), "b".into()],
                    tenant: Some("t".into())
                },
                Selector::Users {
                    ids: vec!["a".into()],
                    tenant: None
                },
                Selector::Accounts(vec!["29:x".into()]),
                Selector::Conversations(vec!["19:c".into()]),
            ]
        );
        assert_eq!(parse(&json!({"everyone": true})).unwrap().0, [Selector::Everyone]);
    }

    #[test]
    fn a_fault_names_its_place() {
        for (audience, pointer) in [
            (json!(null), "#/audience"),
            (json!([]), "#/audience"),
            (json!({}), "#/audience"),
            (json!({"everyone": false}), "#/audience/everyone"),
            (json!({"everyone": true, "users": ["a"]}), "#/audience"),
            (json!({"everyone": true, "tenant": "t"}), "#/audience/tenant"),
            (
                json!([{"everyone": true}, {"users": ["a", 7]}]),
                "#/audience/1/users/1",
            ),
            (json!({"users": []}), "#/audience/users"),
            (json!({"users": "a"}), "#/audience/users"),
            (json!({"users": ["a"], "tenant": ""}), "#/audience/tenant"),
            (json!({"tenant": 5}), "#/audience/tenant"),
            (json!({"tag": "beta"}), "#/audience"),
            (json!({"accounts": ["x"], "a/b": 1}), "#/audience/a~1b"),
        ] {
            let faults = parse(&audience).unwrap_err();
            assert_eq!(faults[0].pointer, pointer, "{audience}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once_and_none_repeats_what_was_sent() {
        let faults = parse(&json!({"users": [1, "", "ok", "secret-word".repeat(200)]})).unwrap_err();
        assert_eq!(faults.len(), 3);
        assert!(faults.iter().all(|fault| !fault.detail.contains("secret-word")));
    }

    #[test]
    fn however_much_is_wrong_a_page_of_it_is_told() {
        let faults = parse(&json!({"users": vec![0; 20_000]})).unwrap_err();
        assert_eq!(faults.len(), Faults::MAX);
    }
}
