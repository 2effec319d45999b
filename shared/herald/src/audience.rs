//! Who a notification is for: the selectors a caller may use, and what they come to.
//!
//! A union must not reach anyone twice. That needs no set of everyone seen so far: a conversation belongs to the
//! broadest selector that means it (of two alike, the first), and the [`Matcher`] of each other passes over it.

use std::collections::HashSet;

use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId};
use serde::{Deserialize, Serialize};

use crate::conversation::{ConversationKey, Facts};

mod request;

pub(crate) use request::kind;

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

/// Tells which conversations belong to one selector of an audience, and not to another.
#[derive(Debug)]
pub struct Matcher<'a> {
    own: Members<'a>,
    before: Vec<Members<'a>>,
}

impl<'a> Matcher<'a> {
    /// The matcher of the selector at `index`; `None` when the audience has none there.
    pub fn new(audience: &'a Audience, index: usize) -> Option<Self> {
        let own = audience.0.get(index)?;
        let rank = |(place, selector): (usize, &Selector)| (selector.breadth(), place);
        let selectors = audience.0.iter().enumerate();
        let before = selectors.filter(|it| rank(*it) < rank((index, own)));
        Some(Self {
            own: Members::of(own),
            before: before.map(|(_, selector)| Members::of(selector)).collect(),
        })
    }

    /// Whether this selector means the conversation, alone or with others.
    pub fn means(&self, conversation: &ConversationId, facts: &Facts) -> bool {
        self.own.contain(conversation, facts)
    }

    /// Whether the conversation belongs to another selector that means it too.
    pub fn is_taken(&self, conversation: &ConversationId, facts: &Facts) -> bool {
        self.before
            .iter()
            .any(|members| members.contain(conversation, facts))
    }

    /// Whether a selector before this one has the same name in its list: if that leads nowhere, it is a recipient there.
    pub fn is_named_before(&self, unknown: &Recipient) -> bool {
        self.before.iter().any(|members| members.name(unknown))
    }
}

impl Selector {
    /// The broader selector has the conversation. It reads the table itself, the narrower ones read indexes that lag
    /// behind it: who is missed there is found here.
    fn breadth(&self) -> u8 {
        match self {
            Self::Everyone => 0,
            Self::Tenant(_) => 1,
            Self::Users { .. } | Self::Accounts(_) | Self::Conversations(_) => 2,
        }
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

    fn name(&self, unknown: &Recipient) -> bool {
        match (self, unknown) {
            (Self::Users(ids, _), Recipient::User(id)) => ids.contains(id),
            (Self::Accounts(ids), Recipient::Account(id)) => ids.contains(id),
            (Self::Conversations(ids), Recipient::UnknownConversation(id)) => ids.contains(id),
            (
                Self::Everyone
                | Self::Tenant(_)
                | Self::Users(..)
                | Self::Accounts(_)
                | Self::Conversations(_),
                _,
            ) => false,
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

    /// What kind of recipient it is, in the API's word, and its name: a conversation's key, or what leads to none.
    pub fn name(&self) -> (&'static str, String) {
        match self {
            Self::Conversation(key) => ("conversation", key.to_string()),
            Self::User(id) => ("user", id.to_string()),
            Self::Account(id) => ("account", id.to_string()),
            Self::UnknownConversation(id) => ("unknownConversation", id.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_belongs_to_the_broadest_selector_that_means_it() {
        let audience = Audience(vec![
            Selector::Users {
                ids: vec!["a".into()],
                tenant: None,
            },
            Selector::Conversations(vec!["19:c;messageid=1".into()]),
            Selector::Everyone,
            Selector::Accounts(vec!["29:x".into()]),
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
        assert_eq!(owner("a:1", Some("a")), Some(2));
        assert_eq!(owner("a:2", Some("b")), Some(2));
        assert_eq!(owner("19:c;messageid=1", None), Some(1));
        assert_eq!(
            owner("19:c;messageid=2", None),
            None,
            "a thread is no place of its own"
        );
    }

    #[test]
    fn a_name_in_two_lists_is_a_recipient_of_the_first() {
        let audience = Audience(vec![
            Selector::Users {
                ids: vec!["a".into()],
                tenant: Some("t".into()),
            },
            Selector::Users {
                ids: vec!["b".into(), "a".into()],
                tenant: None,
            },
            Selector::Accounts(vec!["a".into()]),
        ]);
        let is_named = |index, unknown| Matcher::new(&audience, index).unwrap().is_named_before(&unknown);
        let user = |id: &str| Recipient::User(id.into());
        assert!(!is_named(0, user("a")));
        assert!(is_named(1, user("a")));
        assert!(!is_named(1, user("b")));
        assert!(!is_named(2, Recipient::Account("a".into())));
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
