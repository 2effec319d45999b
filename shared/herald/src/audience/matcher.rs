//! Which selector of an audience a conversation belongs to.

use std::collections::HashSet;

use botframework::id::{ChannelAccountId, EntraObjectId};

use super::{Audience, Recipient, RowColumn, Selector, Target, TeamPart, thread_name};
use crate::conversation::{Attributes, ConversationKey, ConversationName, Names, Scope};

/// Matches the conversations that belong to one selector of an audience and to no other.
#[derive(Debug)]
pub struct SelectorMatcher<'a> {
    own: CompiledSelector<'a>,
    before: Vec<CompiledSelector<'a>>,
    after: Vec<CompiledSelector<'a>>,
}

impl<'a> SelectorMatcher<'a> {
    /// The matcher of the selector at `index`; `None` if there is no such selector.
    pub fn new(audience: &'a Audience, index: usize) -> Option<Self> {
        let own = audience.0.get(index)?;
        let rank = |(place, selector): (usize, &Selector)| (selector.precedence(), place);
        let others = audience.0.iter().enumerate();
        let others = others.filter(|(place, _)| *place != index);
        let (before, after): (Vec<_>, Vec<_>) = others.partition(|it| rank(*it) < rank((index, own)));
        let compiled = |selectors: Vec<(usize, &'a Selector)>| {
            let selectors = selectors.into_iter();
            selectors
                .map(|(_, selector)| CompiledSelector::of(selector))
                .collect()
        };
        Some(Self {
            own: CompiledSelector::of(own),
            before: compiled(before),
            after: compiled(after),
        })
    }

    /// Whether any selector of the audience matches the conversation, as far as that is known without a roster.
    pub fn is_selected(&self, conversation: &ConversationKey, attributes: &Attributes) -> bool {
        let mut others = self.before.iter().chain(&self.after);
        self.means(conversation, attributes) || others.any(|other| other.contain(conversation, attributes))
    }

    /// Whether the selector matches the conversation; another selector may match it too.
    pub fn means(&self, conversation: &ConversationKey, attributes: &Attributes) -> bool {
        self.own.contain(conversation, attributes)
    }

    /// Whether the selector's conditions admit a conversation that was found on a roster.
    pub fn admits(&self, conversation: &ConversationKey, attributes: &Attributes) -> bool {
        self.own.admit(conversation, attributes)
    }

    /// Whether the selector excludes the conversation, or its person, by an id.
    pub fn excepts(&self, conversation: &ConversationKey, attributes: &Attributes) -> bool {
        self.own.except(conversation, attributes)
    }

    /// Whether the selector's conditions admit a recipient without a conversation.
    pub fn admits_unknown(&self, unknown: &Recipient) -> bool {
        self.own.admit_unknown(unknown)
    }

    /// Whether the conversation belongs to another selector that matches it too.
    pub fn belongs_to_earlier(&self, conversation: &ConversationKey, attributes: &Attributes) -> bool {
        self.before
            .iter()
            .any(|members| members.contain(conversation, attributes))
    }

    /// Whether an earlier selector lists the same id. An id without a conversation is a recipient of the first.
    pub fn is_named_before(&self, unknown: &Recipient) -> bool {
        self.before.iter().any(|members| members.name_unknown(unknown))
    }
}

impl Selector {
    /// The broadest selector has precedence. It reads the table, while the others read indexes that lag behind it, so it
    /// finds what they miss. Selectors that ask the channel for a roster, or Graph, come last: if that is unavailable, other
    /// selectors still reach the people they list.
    fn precedence(&self) -> u8 {
        match &self.target {
            Target::Everyone => 0,
            Target::Tenant(_) => 1,
            Target::Tag(_)
            | Target::Team {
                to: TeamPart::General,
                ..
            } => 2,
            Target::Users { .. }
            | Target::Accounts(_)
            | Target::Conversations(_)
            | Target::Rows { .. }
            | Target::Channel { .. }
            | Target::GroupChat(_) => 3,
            Target::Team {
                to: TeamPart::Channels | TeamPart::Members,
                ..
            }
            | Target::GroupChatMembers { .. }
            | Target::Directory(_) => 4,
        }
    }
}

/// A selector with its lists as sets: `everyone` after a list of 20,000 ids looks up every conversation in them.
#[derive(Debug)]
struct CompiledSelector<'a> {
    target: CompiledTarget<'a>,
    scope: Option<Scope>,
    except: Names<'a>,
}

#[derive(Debug)]
enum CompiledTarget<'a> {
    Everyone,
    Tenant(&'a str),
    Users(HashSet<&'a EntraObjectId>, Option<&'a str>),
    Accounts(HashSet<&'a ChannelAccountId>),
    Conversations(Names<'a>),
    /// People in rows.
    Rows(RowColumn, HashSet<&'a str>, Option<&'a str>),
    One(ConversationName),
    Team(&'a str),
    Tag(&'a str),
    /// Known from a roster or a directory only: the conversation was found there.
    Roster,
}

impl<'a> CompiledSelector<'a> {
    fn of(selector: &'a Selector) -> Self {
        let target = match &selector.target {
            Target::Everyone => CompiledTarget::Everyone,
            Target::Tenant(tenant) => CompiledTarget::Tenant(tenant),
            Target::Users { ids, tenant } => CompiledTarget::Users(ids.iter().collect(), tenant.as_deref()),
            Target::Accounts(ids) => CompiledTarget::Accounts(ids.iter().collect()),
            Target::Conversations(ids) => {
                CompiledTarget::Conversations(Names::new(ids.iter().map(ConversationName::as_str)))
            }
            Target::Rows { column, rows, tenant } => {
                let ids = rows.iter().map(|row| row.id.as_str());
                match column {
                    RowColumn::Conversation => CompiledTarget::Conversations(Names::new(ids)),
                    RowColumn::User | RowColumn::Account => {
                        CompiledTarget::Rows(*column, ids.collect(), tenant.as_deref())
                    }
                }
            }
            Target::Team { id, to, .. } => match to {
                TeamPart::General => CompiledTarget::One(id.as_str().into()),
                TeamPart::Channels => CompiledTarget::Team(id),
                TeamPart::Members => CompiledTarget::Roster,
            },
            Target::Channel { id, thread, .. } => CompiledTarget::One(thread_name(id, thread.as_deref())),
            Target::GroupChat(id) => CompiledTarget::One(id.clone()),
            Target::GroupChatMembers { .. } | Target::Directory(_) => CompiledTarget::Roster,
            Target::Tag(name) => CompiledTarget::Tag(name),
        };
        Self {
            target,
            scope: selector.scope,
            except: Names::new(selector.except.iter().map(String::as_str)),
        }
    }

    /// Whether the conversation's attributes match the selector.
    fn contain(&self, conversation: &ConversationKey, attributes: &Attributes) -> bool {
        self.name(conversation, attributes) && self.admit(conversation, attributes)
    }

    fn name(&self, conversation: &ConversationKey, attributes: &Attributes) -> bool {
        let is_root = conversation.conversation.thread_root().is_none();
        match &self.target {
            CompiledTarget::Everyone => is_root,
            CompiledTarget::Tenant(tenant) => is_root && attributes.tenant.as_deref() == Some(tenant),
            CompiledTarget::Users(ids, tenant) => {
                attributes.user.as_ref().is_some_and(|user| ids.contains(user))
                    && (tenant.is_none() || *tenant == attributes.tenant.as_deref())
            }
            CompiledTarget::Accounts(ids) => attributes
                .account
                .as_ref()
                .is_some_and(|account| ids.contains(account)),
            CompiledTarget::Rows(column, ids, tenant) => {
                let id = match column {
                    RowColumn::User => attributes.user.as_ref().map(EntraObjectId::as_str),
                    RowColumn::Account => attributes.account.as_ref().map(ChannelAccountId::as_str),
                    RowColumn::Conversation => None,
                };
                id.is_some_and(|id| ids.contains(id))
                    && (tenant.is_none() || *tenant == attributes.tenant.as_deref())
            }
            CompiledTarget::Conversations(names) => names.contain(conversation),
            CompiledTarget::One(name) => name.names(conversation),
            CompiledTarget::Team(team) => is_root && attributes.team.as_deref() == Some(team),
            CompiledTarget::Tag(name) => attributes.tags.iter().any(|tag| tag == name),
            CompiledTarget::Roster => false,
        }
    }

    /// Whether `scope`, `tenant` and `except` admit the conversation.
    fn admit(&self, conversation: &ConversationKey, attributes: &Attributes) -> bool {
        self.scope.is_none_or(|scope| scope == attributes.scope) && !self.except(conversation, attributes)
    }

    fn except(&self, conversation: &ConversationKey, attributes: &Attributes) -> bool {
        let user = attributes.user.as_ref().map(EntraObjectId::as_str);
        let account = attributes.account.as_ref().map(ChannelAccountId::as_str);
        let mut ids = [user, account].into_iter().flatten();
        self.except.contain(conversation) || ids.any(|id| self.except.contain_text(id))
    }

    /// Whether the selector's conditions admit a recipient without a conversation. A person counts as a personal
    /// conversation; the scope of an unknown conversation id is unknown.
    fn admit_unknown(&self, unknown: &Recipient) -> bool {
        let (id, scope) = match unknown {
            Recipient::Conversation(_) => return false,
            Recipient::User(id) => (id.as_str(), Some(Scope::Personal)),
            Recipient::Account(id) => (id.as_str(), Some(Scope::Personal)),
            Recipient::UnknownConversation(id) => (id.as_str(), None),
            Recipient::Missed(miss) => (miss.name.as_str(), None),
        };
        let is_in_scope = self.scope.is_none() || scope.is_none() || self.scope == scope;
        let is_excepted = match unknown {
            Recipient::UnknownConversation(id) => self.except.contain_name(&id.as_str().into()),
            Recipient::Conversation(_)
            | Recipient::User(_)
            | Recipient::Account(_)
            | Recipient::Missed(_) => self.except.contain_text(id),
        };
        is_in_scope && !is_excepted
    }

    /// Whether the selector lists this recipient without a conversation.
    fn name_unknown(&self, unknown: &Recipient) -> bool {
        if !self.admit_unknown(unknown) {
            return false;
        }
        match (&self.target, unknown) {
            (CompiledTarget::Users(ids, _), Recipient::User(id)) => ids.contains(id),
            (CompiledTarget::Accounts(ids), Recipient::Account(id)) => ids.contains(id),
            (CompiledTarget::Rows(RowColumn::User, ids, _), Recipient::User(id)) => ids.contains(id.as_str()),
            (CompiledTarget::Rows(RowColumn::Account, ids, _), Recipient::Account(id)) => {
                ids.contains(id.as_str())
            }
            (CompiledTarget::Conversations(names), Recipient::UnknownConversation(id)) => {
                names.contain_text(id.as_str())
            }
            (CompiledTarget::One(one), Recipient::UnknownConversation(id)) => one.as_str() == id.as_str(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::key;
    use super::*;

    #[test]
    fn a_conversation_belongs_to_the_broadest_selector_that_means_it() {
        let audience = [
            Target::Users {
                ids: vec!["a".into()],
                tenant: None,
            },
            Target::Conversations(vec!["19:c;messageid=1".into()]),
            Target::Everyone,
            Target::Accounts(vec!["29:x".into()]),
        ];
        let audience = Audience(audience.map(Selector::from).to_vec());
        let attributes = |user: Option<&str>| Attributes {
            scope: Scope::Personal,
            tenant: None,
            user: user.map(Into::into),
            account: None,
            team: None,
            tags: Vec::new(),
        };
        let owner = |conversation: &str, user| {
            (0..audience.0.len()).find(|index| {
                let matcher = SelectorMatcher::new(&audience, *index).unwrap();
                let (conversation, attributes) = (key(conversation), attributes(user));
                matcher.means(&conversation, &attributes)
                    && !matcher.belongs_to_earlier(&conversation, &attributes)
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
        let audience = [
            Target::Users {
                ids: vec!["a".into()],
                tenant: Some("t".into()),
            },
            Target::Users {
                ids: vec!["b".into(), "a".into()],
                tenant: None,
            },
            Target::Accounts(vec!["a".into()]),
        ];
        let audience = Audience(audience.map(Selector::from).to_vec());
        let is_named = |index, unknown| {
            SelectorMatcher::new(&audience, index)
                .unwrap()
                .is_named_before(&unknown)
        };
        let user = |id: &str| Recipient::User(id.into());
        assert!(!is_named(0, user("a")));
        assert!(is_named(1, user("a")));
        assert!(!is_named(1, user("b")));
        assert!(!is_named(2, Recipient::Account("a".into())));
    }

    #[test]
    fn who_is_excepted_is_left_to_the_others_and_a_scope_is_kept() {
        let attributes = |scope, user: &str| Attributes {
            scope,
            tenant: Some("t".into()),
            user: Some(user.into()),
            account: None,
            team: None,
            tags: vec!["beta".into()],
        };
        let everyone = Selector {
            scope: Some(Scope::Personal),
            except: vec![
                "eve".into(),
                "a:joe".into(),
                "c|b|a:kim".into(),
                "c|other|a:ada".into(),
            ],
            ..Target::Everyone.into()
        };
        let audience = Audience(vec![Target::Tag("beta".into()).into(), everyone]);
        let owner = |conversation: &str, scope, user| {
            (0..audience.0.len()).find(|index| {
                let matcher = SelectorMatcher::new(&audience, *index).unwrap();
                let (conversation, attributes) = (key(conversation), attributes(scope, user));
                matcher.means(&conversation, &attributes)
                    && !matcher.belongs_to_earlier(&conversation, &attributes)
            })
        };
        assert_eq!(owner("a:ada", Scope::Personal, "ada"), Some(1));
        assert_eq!(owner("a:eve", Scope::Personal, "eve"), Some(0));
        assert_eq!(owner("a:joe", Scope::Personal, "joe"), Some(0));
        assert_eq!(owner("a:kim", Scope::Personal, "kim"), Some(0));
        assert_eq!(owner("19:g", Scope::GroupChat, "ada"), Some(0));
    }
}
