//! Shows an audience as a request names it.

use serde_json::{Map, Value, json};

use super::{Audience, AudienceRow, Guests, Selector, Target};

impl Audience {
    /// The `audience` of a request for this audience: one selector, or an array.
    pub fn to_request(&self) -> Value {
        match self.0.as_slice() {
            [selector] => selector.to_request(),
            selectors => selectors.iter().map(Selector::to_request).collect(),
        }
    }
}

impl Selector {
    fn to_request(&self) -> Value {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| {
            members.insert(name.to_owned(), value);
        };
        match &self.target {
            Target::Everyone => put("everyone", json!(true)),
            Target::Tenant(tenant) => put("tenant", json!(tenant)),
            Target::Users { ids, tenant } => {
                put("users", json!(ids));
                if let Some(tenant) = tenant {
                    put("tenant", json!(tenant));
                }
            }
            Target::Accounts(ids) => put("accounts", json!(ids)),
            Target::Conversations(ids) => put("conversations", json!(ids)),
            Target::Team { id, to, .. } => {
                put("team", json!(id));
                put("to", json!(to));
            }
            Target::Channel { id, thread, team } => {
                put("channel", json!(id));
                for (name, id) in [("thread", thread), ("team", team)] {
                    if let Some(id) = id {
                        put(name, json!(id));
                    }
                }
            }
            Target::GroupChat(id) => put("groupChat", json!(id)),
            Target::GroupChatMembers { id, .. } => {
                put("groupChat", json!(id));
                put("to", json!("members"));
            }
            Target::Rows { column, rows, tenant } => {
                let row = |row: &AudienceRow| {
                    let mut shown = row.fields.clone();
                    shown.insert(column.as_str().to_owned(), json!(row.id));
                    Value::Object(shown)
                };
                put("rows", rows.iter().map(row).collect());
                if let Some(tenant) = tenant {
                    put("tenant", json!(tenant));
                }
            }
            Target::Tag(name) => put("tag", json!(name)),
            Target::Directory(target) => {
                for (name, value) in target.to_request() {
                    put(&name, value);
                }
            }
        }
        if let Target::Team {
            guests: Guests::Skipped,
            ..
        }
        | Target::GroupChatMembers {
            guests: Guests::Skipped,
            ..
        } = &self.target
        {
            put("guests", json!(false));
        }
        if let Some(scope) = self.scope {
            put("scope", json!(scope.as_str()));
        }
        if !self.except.is_empty() {
            put("except", json!(self.except));
        }
        Value::Object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Faults;

    #[test]
    fn an_audience_is_shown_as_it_was_asked_for() {
        let everything = json!([
            {"everyone": true}, {"tenant": "t"}, {"users": ["a", "b"], "tenant": "t"}, {"users": ["a"]},
            {"accounts": ["29:x"]}, {"conversations": ["19:c"]}, {"team": "19:t", "to": "general"},
            {"team": "19:t", "to": "channels"}, {"team": "19:t", "to": "members", "guests": false},
            {"channel": "19:c", "thread": "17"}, {"channel": "19:c", "team": "19:t"}, {"groupChat": "19:g"},
            {"groupChat": "19:g", "to": "members", "guests": false},
            {"tag": "beta", "scope": "personal", "except": ["a:1", "29:x"]}]);
        for asked in everything.as_array().unwrap().iter().chain([&everything]) {
            let mut faults = Faults::default();
            let audience = Audience::parse(asked, &mut faults).unwrap();
            assert_eq!(audience.to_request(), *asked);
        }
    }
}
