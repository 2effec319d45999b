//! The audience of a command line.

use std::str::FromStr;

use serde_json::{Value, json};

/// How a selector is written, for help and errors.
pub(crate) const FORMS: &str = "everyone, tenant:ID, user:ID, account:ID, conversation:ID, tag:NAME, channel:ID, chat:ID, \
    team:ID (its General channel), channels-of:ID, members-of:ID, group:ID, directory:TENANT, mail:ADDRESS, upn:NAME, manager:ID, or a \
    selector as JSON";

/// One selector: who gets a notification.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selector(Value);

/// The text is no selector.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no selector: {FORMS}")]
pub(crate) struct NotASelector(String);

impl FromStr for Selector {
    type Err = NotASelector;

    fn from_str(text: &str) -> Result<Self, NotASelector> {
        let wrong = || NotASelector(text.to_owned());
        if text.starts_with('{') {
            return serde_json::from_str(text).map(Self).map_err(|_| wrong());
        }
        let (kind, id) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self(match (kind, id) {
            ("everyone", "") => json!({"everyone": true}),
            (_, "") => return Err(wrong()),
            ("tenant", id) => json!({"tenant": id}),
            ("user", id) => json!({"users": [id]}),
            ("account", id) => json!({"accounts": [id]}),
            ("conversation", id) => json!({"conversations": [id]}),
            ("group", id) => json!({"group": id}),
            ("directory", tenant) => json!({"directory": tenant}),
            ("mail", address) => json!({"mails": [address]}),
            ("upn", name) => json!({"upns": [name]}),
            ("manager", id) => json!({"manager": id}),
            ("tag", name) => json!({"tag": name}),
            ("channel", id) => json!({"channel": id}),
            ("chat", id) => json!({"groupChat": id}),
            ("team", id) => json!({"team": id, "to": "general"}),
            ("channels-of", id) => json!({"team": id, "to": "channels"}),
            ("members-of", id) => json!({"team": id, "to": "members"}),
            _ => return Err(wrong()),
        }))
    }
}

/// The lists of which one selector holds many.
const LISTS: [&str; 5] = ["users", "accounts", "conversations", "mails", "upns"];

/// The targets that are in a tenant.
const IN_TENANT: [&str; 5] = ["users", "mails", "upns", "group", "manager"];

/// The audience of several selectors. People and conversations that are named one by one become one list of each kind; `tenant` is where
/// the people are.
pub(crate) fn audience(selectors: &[Selector], tenant: Option<&str>, except: &[String]) -> Value {
    let mut union: Vec<Value> = Vec::new();
    for Selector(selector) in selectors {
        let named = LISTS.into_iter().find(|name| selector[*name].is_array());
        let same = named.and_then(|name| {
            let earlier = union.iter_mut().find(|earlier| earlier[name].is_array());
            earlier
                .and_then(|earlier| earlier[name].as_array_mut())
                .zip(selector[name].as_array())
        });
        match same {
            Some((ids, more)) => ids.extend(more.iter().cloned()),
            None => union.push(selector.clone()),
        }
    }
    for selector in &mut union {
        let is_in_tenant = IN_TENANT.iter().any(|name| !selector[*name].is_null());
        if let Some(tenant) = tenant.filter(|_| is_in_tenant && selector["tenant"].is_null()) {
            selector["tenant"] = tenant.into();
        }
        if !except.is_empty() {
            selector["except"] = except.into();
        }
    }
    match <[Value; 1]>::try_from(union) {
        Ok([one]) => one,
        Err(union) => union.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(selectors: &[&str], tenant: Option<&str>, except: &[&str]) -> Value {
        let selectors: Vec<Selector> = selectors.iter().map(|text| text.parse().unwrap()).collect();
        let except: Vec<String> = except.iter().map(|id| (*id).to_owned()).collect();
        audience(&selectors, tenant, &except)
    }

    #[test]
    fn selectors_become_one_audience() {
        assert_eq!(of(&["everyone"], None, &[]), json!({"everyone": true}));
        assert_eq!(
            of(&["user:a", "tag:beta", "user:b"], Some("t"), &["c"]),
            json!([{"users": ["a", "b"], "tenant": "t", "except": ["c"]}, {"tag": "beta", "except": ["c"]}])
        );
        assert_eq!(
            of(
                &["mail:a@library.example", "group:g", "mail:b@library.example"],
                Some("t"),
                &[]
            ),
            json!([{"mails": ["a@library.example", "b@library.example"], "tenant": "t"}, {"group": "g", "tenant": "t"}])
        );
        assert_eq!(
            of(&["members-of:19:x@thread.tacv2"], None, &[]),
            json!({"team": "19:x@thread.tacv2", "to": "members"})
        );
        assert_eq!(
            of(
                &[r#"{"team": "19:x", "to": "members", "guests": false}"#],
                None,
                &[]
            ),
            json!({"team": "19:x", "to": "members", "guests": false})
        );
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in [
            "",
            "everybody",
            "user",
            "user:",
            "everyone:x",
            "team",
            "x:y",
            "{",
            "[1]",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
