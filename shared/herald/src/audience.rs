//! Who a notification is for: the selectors a caller may use, and what they come to.
//!
//! A union must not reach anyone twice. That needs no set of everyone seen so far: a conversation belongs to the
//! *first* selector that means it, and each selector's [`Matcher`] passes over what an earlier one takes.

use std::collections::HashSet;

use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::conversation::{ConversationKey, Facts, ID_BYTES_MAX};
use crate::problem::Fault;

/// The most selectors one audience may hold.
pub const SELECTORS_MAX: usize = 20;

/// The most ids one list may hold.
pub const IDS_MAX: usize = 20_000;

/// Everyone a notification is for: the union of its selectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Audience(pub Vec<Selector>);

/// One way to name conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Selector {
    /// Every person, group chat and channel that is active.
    Everyone,
    /// All of those in one Entra tenant.
    Tenant(String),
    /// The personal conversations of these people, by Entra object id.
    Users {
        /// The people.
        ids: Vec<EntraObjectId>,
        /// Only conversations of this tenant, if given.
        tenant: Option<String>,
    },
    /// The personal conversations of these people, by the channel's own user id (in Teams `29:…`).
    Accounts(Vec<ChannelAccountId>),
    /// These conversations, threads included, by conversation id.
    Conversations(Vec<ConversationId>),
}

/// Tells which conversations one selector of an audience means and no selector before it does.
#[derive(Debug)]
pub struct Matcher<'a> {
    earlier: Vec<Members<'a>>,
    own: Members<'a>,
}

impl<'a> Matcher<'a> {
    /// The matcher of the selector at `index`, which must be one of the audience's.
    pub fn new(audience: &'a Audience, index: usize) -> Option<Self> {
        let own = Members::of(audience.0.get(index)?);
        Some(Self {
            earlier: audience.0[..index].iter().map(Members::of).collect(),
            own,
        })
    }

    /// Whether this selector means the conversation, alone or with others.
    pub fn means(&self, conversation: &ConversationId, facts: &Facts) -> bool {
        self.own.contain(conversation, facts)
    }

    /// Whether an earlier selector means the conversation, so that it is not this one's.
    pub fn is_taken(&self, conversation: &ConversationId, facts: &Facts) -> bool {
        self.earlier
            .iter()
            .any(|members| members.contain(conversation, facts))
    }
}

/// A selector with its list as a set: `everyone` after a list of 20,000 ids asks it for every conversation there is.
#[derive(Debug)]
enum Members<'a> {
    Everyone,
    Tenant(&'a str),
    Users(HashSet<&'a EntraObjectId>, Option<&'a str>),
    Accounts(HashSet<&'a ChannelAccountId>),
    Conversations(HashSet<&'a ConversationId>),
}

impl<'a> Members<'a> {
    fn of(selector: &'a Selector) -> Self {
        match selector {
            Selector::Everyone => Self::Everyone,
            Selector::Tenant(tenant) => Self::Tenant(tenant),
            Selector::Users { ids, tenant } => Self::Users(ids.iter().collect(), tenant.as_deref()),
            Selector::Accounts(ids) => Self::Accounts(ids.iter().collect()),
            Selector::Conversations(ids) => Self::Conversations(ids.iter().collect()),
        }
    }

    fn contain(&self, conversation: &ConversationId, facts: &Facts) -> bool {
        match self {
            Self::Everyone => conversation.thread_root().is_none(),
            Self::Tenant(tenant) => {
                conversation.thread_root().is_none() && facts.tenant.as_deref() == Some(tenant)
            }
            Self::Users(ids, tenant) => {
                facts.user.as_ref().is_some_and(|user| ids.contains(user))
                    && (tenant.is_none() || *tenant == facts.tenant.as_deref())
            }
            Self::Accounts(ids) => facts
                .account
                .as_ref()
                .is_some_and(|account| ids.contains(account)),
            Self::Conversations(ids) => ids.contains(conversation),
        }
    }
}

/// One place in an audience, or a name in it that leads nowhere yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Recipient {
    /// A remembered conversation.
    Conversation(ConversationKey),
    /// A person of whom no conversation is remembered, by Entra object id.
    User(EntraObjectId),
    /// A person of whom no conversation is remembered, by the channel's user id.
    Account(ChannelAccountId),
    /// A conversation id that is not remembered.
    UnknownConversation(ConversationId),
}

impl Recipient {
    /// The recipient's part of the ledger's key: one text for one recipient, and never the same for two.
    pub fn ledger_key(&self) -> String {
        match self {
            Self::Conversation(key) => format!("conversation|{key}"),
            Self::User(id) => format!("user|{id}"),
            Self::Account(id) => format!("account|{id}"),
            Self::UnknownConversation(id) => format!("unknown|{id}"),
        }
    }
}

impl Audience {
    /// Reads the `audience` of a request: one selector or an array of them. Ids repeated in a list count once.
    ///
    /// # Errors
    /// Every fault with its JSON pointer, for the caller to mend all at once.
    pub fn parse(value: &Value) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let selectors = match value {
            Value::Array(items) => {
                if items.is_empty() || items.len() > SELECTORS_MAX {
                    let detail = format!("must hold 1 to {SELECTORS_MAX} selectors, found {}", items.len());
                    return Err(vec![Fault::new("#/audience", detail)]);
                }
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, item)| selector(item, &format!("#/audience/{index}"), &mut faults))
                    .collect()
            }
            one => selector(one, "#/audience", &mut faults).into_iter().collect(),
        };
        if faults.is_empty() {
            Ok(Self(selectors))
        } else {
            Err(faults)
        }
    }
}

const KNOWN: &str = "`everyone`, `tenant`, `users`, `accounts` or `conversations`";

fn selector(value: &Value, at: &str, faults: &mut Vec<Fault>) -> Option<Selector> {
    let Value::Object(object) = value else {
        faults.push(Fault::new(
            at,
            format!("must be an object with one of {KNOWN}, found {}", kind(value)),
        ));
        return None;
    };
    let named: Vec<&str> = object
        .keys()
        .map(String::as_str)
        .filter(|name| matches!(*name, "everyone" | "users" | "accounts" | "conversations"))
        .collect();
    let leading = match named.as_slice() {
        [] if object.contains_key("tenant") => "tenant",
        [one] => one,
        _ => {
            faults.push(Fault::new(at, format!("must name exactly one of {KNOWN}")));
            return None;
        }
    };
    let before = faults.len();
    for name in object.keys() {
        if name != leading && !(leading == "users" && name == "tenant") {
            faults.push(Fault::new(
                format!("{at}/{}", escape(name)),
                format!("does not belong beside `{leading}`"),
            ));
        }
    }
    let field = format!("{at}/{leading}");
    let selector = match leading {
        "everyone" if object["everyone"] == Value::Bool(true) => Some(Selector::Everyone),
        "everyone" => {
            faults.push(Fault::new(field, "must be true".to_owned()));
            None
        }
        "tenant" => text(object, "tenant", at, faults).map(Selector::Tenant),
        "users" => {
            let tenant = object
                .get("tenant")
                .and_then(|_| text(object, "tenant", at, faults));
            ids(&object["users"], &field, faults).map(|ids| Selector::Users { ids, tenant })
        }
        "accounts" => ids(&object["accounts"], &field, faults).map(Selector::Accounts),
        _ => ids(&object["conversations"], &field, faults).map(Selector::Conversations),
    };
    selector.filter(|_| faults.len() == before)
}

fn text(object: &Map<String, Value>, name: &str, at: &str, faults: &mut Vec<Fault>) -> Option<String> {
    match &object[name] {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        other => {
            faults.push(Fault::new(
                format!("{at}/{name}"),
                format!("must be a non-empty string, found {}", kind(other)),
            ));
            None
        }
    }
}

fn ids<T: From<String>>(value: &Value, at: &str, faults: &mut Vec<Fault>) -> Option<Vec<T>> {
    let Value::Array(items) = value else {
        faults.push(Fault::new(
            at,
            format!("must be an array of ids, found {}", kind(value)),
        ));
        return None;
    };
    if items.is_empty() || items.len() > IDS_MAX {
        faults.push(Fault::new(
            at,
            format!("must hold 1 to {IDS_MAX} ids, found {}", items.len()),
        ));
        return None;
    }
    let mut seen = HashSet::new();
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item {
            // What has no id of this length cannot have been remembered.
            Value::String(id) if (1..=ID_BYTES_MAX).contains(&id.len()) => {
                if seen.insert(id.as_str()) {
                    list.push(T::from(id.clone()));
                }
            }
            other => {
                let detail = format!(
                    "must be a string of 1 to {ID_BYTES_MAX} bytes, found {}",
                    kind(other)
                );
                faults.push(Fault::new(format!("{at}/{index}"), detail));
            }
        }
    }
    Some(list)
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

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
    use serde_json::json;

    #[test]
    fn every_selector_is_read() {
        let audience = Audience::parse(&json!([
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
        assert_eq!(
            Audience::parse(&json!({"everyone": true})).unwrap().0,
            [Selector::Everyone]
        );
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
            let faults = Audience::parse(&audience).unwrap_err();
            assert_eq!(faults[0].pointer, pointer, "{audience}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once_and_none_repeats_what_was_sent() {
        let faults = Audience::parse(&json!([{"users": [1, "", "ok"]}, {"secret-word": 1}])).unwrap_err();
        assert_eq!(faults.len(), 3);
        assert!(faults.iter().all(|fault| !fault.detail.contains("secret-word")));
    }

    #[test]
    fn a_conversation_belongs_to_the_first_selector_that_means_it() {
        let audience = Audience(vec![
            Selector::Users {
                ids: vec!["a".into()],
                tenant: None,
            },
            Selector::Conversations(vec!["19:c;messageid=1".into()]),
            Selector::Everyone,
        ]);
        let facts = |user: Option<&str>| Facts {
            scope: crate::conversation::Scope::Personal,
            tenant: None,
            user: user.map(Into::into),
            account: None,
            team: None,
        };
        let owner = |conversation: &str, user| {
            (0..audience.0.len()).find(|index| {
                let matcher = Matcher::new(&audience, *index).unwrap();
                let (conversation, facts) = (conversation.into(), facts(user));
                matcher.means(&conversation, &facts) && !matcher.is_taken(&conversation, &facts)
            })
        };
        assert_eq!(owner("a:1", Some("a")), Some(0));
        assert_eq!(owner("a:2", Some("b")), Some(2));
        assert_eq!(owner("19:c;messageid=1", None), Some(1));
        assert_eq!(
            owner("19:c;messageid=2", None),
            None,
            "a thread is no place of its own"
        );
    }

    #[test]
    fn recipients_never_share_a_ledger_key() {
        let key = |conversation: &str| {
            let key = ConversationKey {
                conversation: conversation.into(),
                channel: "c".into(),
                bot: "b".into(),
            };
            Recipient::Conversation(key).ledger_key()
        };
        let keys = [
            key("x"),
            Recipient::User("x".into()).ledger_key(),
            Recipient::Account("x".into()).ledger_key(),
            Recipient::UnknownConversation("x".into()).ledger_key(),
            Recipient::UnknownConversation("c|b|x".into()).ledger_key(),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }
}
