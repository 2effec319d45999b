//! What people opted out of, and the rules that change it.
//!
//! A choice about one category counts more than the choice about all: who opted out of everything, and into `outages`, gets
//! `outages`. The choices of a person are stored with the person ([`PersonId`]), and a copy with each of their conversations, which
//! planner and sender read anyway. Those of a group chat or channel are stored with it.

use std::collections::BTreeMap;

use botframework::id::UserRef;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Conversation, Scope};
use crate::time::{floor_millisecond, later};

/// The most categories that a caller makes a choice about for one person.
pub const CHOICES_MAX: usize = 100;

/// Whether messages are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Choice {
    /// They are wanted.
    #[default]
    OptedIn,
    /// They are not.
    OptedOut,
}

/// The choices of one person, group chat or channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OptOuts {
    /// The choice about every category that has none of its own, and about notifications without a category.
    pub all: Choice,
    /// The choices about single categories, by the names of the categories.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<String, Choice>,
    /// When they were last changed. Each change is later than the one before, whatever the clocks say, so of two copies the later
    /// one counts.
    pub changed_at: Timestamp,
}

impl OptOuts {
    /// Whether a notification of this category is wanted.
    pub fn permit(&self, category: Option<&str>) -> bool {
        let own = category.and_then(|category| self.categories.get(category));
        *own.unwrap_or(&self.all) == Choice::OptedIn
    }
}

/// A change of the choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptOutChange {
    /// One category. The others stay.
    Category(String, Choice),
    /// Everything: earlier choices about single categories are over.
    All(Choice),
    /// All choices are replaced by these.
    Replace {
        /// The choice about every category that is not listed.
        all: Choice,
        /// The choices about single categories.
        categories: BTreeMap<String, Choice>,
    },
}

impl OptOutChange {
    /// The choices after this change; `None` if it changes nothing.
    pub fn apply(&self, existing: Option<&OptOuts>, now: Timestamp) -> Option<OptOuts> {
        let (all, categories) = match self {
            Self::Category(category, choice) => {
                let mut categories = existing.map_or_else(BTreeMap::new, |it| it.categories.clone());
                categories.insert(category.clone(), *choice);
                (existing.map_or(Choice::OptedIn, |it| it.all), categories)
            }
            Self::All(choice) => (*choice, BTreeMap::new()),
            Self::Replace { all, categories } => (*all, categories.clone()),
        };
        let is_same = existing.map_or(all == Choice::OptedIn && categories.is_empty(), |it| {
            it.all == all && it.categories == categories
        });
        if is_same {
            return None;
        }
        let now = floor_millisecond(now);
        let after = |it: &OptOuts| later(it.changed_at, SignedDuration::from_millis(1)).max(now);
        Some(OptOuts {
            all,
            categories,
            changed_at: existing.map_or(now, after),
        })
    }
}

/// Of several copies, the one that counts.
pub fn latest_opt_outs(copies: impl IntoIterator<Item = OptOuts>) -> Option<OptOuts> {
    copies.into_iter().max_by_key(|copy| copy.changed_at)
}

/// Stores a copy of the choices of its person with a conversation; `None` if it has them or later ones.
pub fn set_opt_outs(existing: &Conversation, opt_outs: &OptOuts) -> Option<Conversation> {
    let known = existing.opt_outs.as_ref();
    known
        .is_none_or(|known| known.changed_at < opt_outs.changed_at)
        .then(|| Conversation {
            opt_outs: Some(opt_outs.clone()),
            version: existing.version + 1,
            ..existing.clone()
        })
}

/// Changes the choices of a group chat or channel; `None` if that changes nothing.
pub fn change_opt_outs(
    existing: &Conversation,
    change: &OptOutChange,
    now: Timestamp,
) -> Option<Conversation> {
    set_opt_outs(existing, &change.apply(existing.opt_outs.as_ref(), now)?)
}

/// Names a person in their tenant, to every bot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonId {
    /// The channel: `msteams`, `slack`, …
    pub channel: String,
    /// The Entra tenant; channels other than Teams have none.
    pub tenant: Option<String>,
    /// One of the person's ids. What is stored under one id is stored under the other one too, once it is known.
    pub id: UserRef,
}

impl PersonId {
    /// The ids of the person of a conversation, the Entra id first. None unless it is personal.
    pub fn of(conversation: &Conversation) -> Vec<Self> {
        let attributes = &conversation.attributes;
        if attributes.scope != Scope::Personal {
            return Vec::new();
        }
        let user = attributes.user.clone().map(UserRef::Entra);
        let account = attributes.account.clone().map(UserRef::Account);
        let ids = user.into_iter().chain(account);
        ids.map(|id| Self {
            channel: conversation.key.channel.clone(),
            tenant: attributes.tenant.clone(),
            id,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Choice::{OptedIn, OptedOut};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn after(changes: &[OptOutChange]) -> OptOuts {
        let mut stored = None;
        for change in changes {
            stored = change.apply(stored.as_ref(), at(0)).or(stored);
        }
        stored.unwrap()
    }

    fn category(name: &str, choice: Choice) -> OptOutChange {
        OptOutChange::Category(name.to_owned(), choice)
    }

    /// Whether news, outages, and notifications without a category are wanted.
    fn wanted(changes: &[OptOutChange]) -> [bool; 3] {
        let choices = after(changes);
        [Some("news"), Some("outages"), None].map(|category| choices.permit(category))
    }

    #[test]
    fn a_choice_about_a_category_counts_more_than_the_choice_about_all() {
        let no_to_all = OptOutChange::All(OptedOut);
        assert_eq!(wanted(std::slice::from_ref(&no_to_all)), [false; 3]);
        assert_eq!(wanted(&[category("news", OptedOut)]), [false, true, true]);
        let yes_to_one = category("outages", OptedIn);
        assert_eq!(
            wanted(&[no_to_all.clone(), yes_to_one.clone()]),
            [false, true, false]
        );
        // Who says no to everything now does not mean what was said before.
        assert_eq!(wanted(&[yes_to_one, no_to_all.clone()]), [false; 3]);
        assert_eq!(
            wanted(&[category("news", OptedOut), no_to_all, OptOutChange::All(OptedIn)]),
            [true; 3]
        );
        let categories = BTreeMap::from([("outages".to_owned(), OptedIn)]);
        let replaced = OptOutChange::Replace {
            all: OptedOut,
            categories,
        };
        assert_eq!(
            wanted(&[category("news", OptedIn), replaced]),
            [false, true, false]
        );
    }

    #[test]
    fn what_changes_nothing_is_not_written_and_each_change_is_later_than_the_one_before() {
        assert_eq!(OptOutChange::All(OptedIn).apply(None, at(0)), None);
        let first = OptOutChange::All(OptedOut).apply(None, at(60)).unwrap();
        assert_eq!(OptOutChange::All(OptedOut).apply(Some(&first), at(61)), None);
        // A clock that is behind.
        let second = OptOutChange::All(OptedIn).apply(Some(&first), at(0)).unwrap();
        assert!(second.changed_at > first.changed_at);
        assert_eq!(latest_opt_outs([second.clone(), first]), Some(second));
    }
}
