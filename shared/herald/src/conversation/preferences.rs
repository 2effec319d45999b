//! The preferences of people, and the rules that change them: what they opted out of, their time zone, their quiet hours.
//!
//! A choice about one category counts more than the choice about all: who opted out of everything, and into `outages`, gets
//! `outages`. The preferences of a person are stored with the person ([`PersonId`]), and a copy with each of their conversations, which
//! planner and sender read anyway. Those of a group chat or channel are stored with it.

use std::collections::BTreeMap;

use botframework::id::UserRef;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Conversation, Scope};
use crate::schedule::{QuietChoice, Zone, stored_choice};
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

/// The preferences of one person, group chat or channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preferences {
    /// The choice about every category that has none of its own, and about notifications without a category.
    pub all: Choice,
    /// The choices about single categories, by the names of the categories.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<String, Choice>,
    /// The time zone, if one is chosen: it counts more than the one that activities name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// The quiet hours, or that there are none; `None` leaves them to category and tenant.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "stored_choice"
    )]
    pub quiet_hours: Option<QuietChoice>,
    /// When they were last changed. Each change is later than the one before, whatever the clocks say, so of two copies the later
    /// one counts.
    pub changed_at: Timestamp,
}

impl Preferences {
    /// Whether a notification of this category is wanted.
    pub fn permit(&self, category: Option<&str>) -> bool {
        let own = category.and_then(|category| self.categories.get(category));
        *own.unwrap_or(&self.all) == Choice::OptedIn
    }
}

/// A change of preferences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreferenceChange {
    /// The choice about one category. Everything else stays.
    Category(String, Choice),
    /// The choice about everything: earlier choices about single categories are over. Zone and quiet hours stay.
    All(Choice),
    /// All choices are replaced by these. Zone and quiet hours stay.
    Choices {
        /// The choice about every category that is not listed.
        all: Choice,
        /// The choices about single categories.
        categories: BTreeMap<String, Choice>,
    },
    /// All preferences are replaced by these, whatever their [`changed_at`](Preferences::changed_at).
    Replace(Preferences),
}

impl PreferenceChange {
    /// The preferences after this change; `None` if it changes nothing.
    pub fn apply(&self, existing: Option<&Preferences>, now: Timestamp) -> Option<Preferences> {
        let none = Preferences::default();
        let before = existing.unwrap_or(&none);
        let mut after = match self {
            Self::Replace(new) => new.clone(),
            Self::Category(..) | Self::All(_) | Self::Choices { .. } => before.clone(),
        };
        match self {
            Self::Category(category, choice) => {
                after.categories.insert(category.clone(), *choice);
            }
            Self::All(choice) => {
                after.all = *choice;
                after.categories.clear();
            }
            Self::Choices { all, categories } => {
                after.all = *all;
                after.categories.clone_from(categories);
            }
            Self::Replace(_) => {}
        }
        after.changed_at = before.changed_at;
        if after == *before {
            return None;
        }
        let now = floor_millisecond(now);
        let after_before = |it: &Preferences| later(it.changed_at, SignedDuration::from_millis(1)).max(now);
        after.changed_at = existing.map_or(now, after_before);
        Some(after)
    }
}

/// Of several copies, the one that counts.
pub fn latest_preferences(copies: impl IntoIterator<Item = Preferences>) -> Option<Preferences> {
    copies.into_iter().max_by_key(|copy| copy.changed_at)
}

/// Stores a copy of the choices of its person with a conversation; `None` if it has them or later ones.
pub fn set_preferences(existing: &Conversation, preferences: &Preferences) -> Option<Conversation> {
    let known = existing.preferences.as_ref();
    known
        .is_none_or(|known| known.changed_at < preferences.changed_at)
        .then(|| Conversation {
            preferences: Some(preferences.clone()),
            version: existing.version + 1,
            ..existing.clone()
        })
}

/// Changes the choices of a group chat or channel; `None` if that changes nothing.
pub fn change_preferences(
    existing: &Conversation,
    change: &PreferenceChange,
    now: Timestamp,
) -> Option<Conversation> {
    set_preferences(existing, &change.apply(existing.preferences.as_ref(), now)?)
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

    fn after(changes: &[PreferenceChange]) -> Preferences {
        let mut stored = None;
        for change in changes {
            stored = change.apply(stored.as_ref(), at(0)).or(stored);
        }
        stored.unwrap()
    }

    fn category(name: &str, choice: Choice) -> PreferenceChange {
        PreferenceChange::Category(name.to_owned(), choice)
    }

    /// Whether news, outages, and notifications without a category are wanted.
    fn wanted(changes: &[PreferenceChange]) -> [bool; 3] {
        let choices = after(changes);
        [Some("news"), Some("outages"), None].map(|category| choices.permit(category))
    }

    #[test]
    fn a_choice_about_a_category_counts_more_than_the_choice_about_all() {
        let no_to_all = PreferenceChange::All(OptedOut);
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
            wanted(&[
                category("news", OptedOut),
                no_to_all,
                PreferenceChange::All(OptedIn)
            ]),
            [true; 3]
        );
        let categories = BTreeMap::from([("outages".to_owned(), OptedIn)]);
        let replaced = PreferenceChange::Choices {
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
        assert_eq!(PreferenceChange::All(OptedIn).apply(None, at(0)), None);
        let first = PreferenceChange::All(OptedOut).apply(None, at(60)).unwrap();
        assert_eq!(PreferenceChange::All(OptedOut).apply(Some(&first), at(61)), None);
        // A clock that is behind.
        let second = PreferenceChange::All(OptedIn).apply(Some(&first), at(0)).unwrap();
        assert!(second.changed_at > first.changed_at);
        assert_eq!(latest_preferences([second.clone(), first]), Some(second));
    }

    #[test]
    fn words_change_neither_zone_nor_quiet_hours() {
        let chosen = Preferences {
            zone: Zone::named("Europe/Berlin"),
            quiet_hours: Some(QuietChoice::Never),
            ..Preferences::default()
        };
        let replace = PreferenceChange::Replace(chosen.clone());
        let first = replace.apply(None, at(60)).unwrap();
        assert_eq!(replace.apply(Some(&first), at(61)), None);
        let after = after(&[
            replace,
            category("news", OptedOut),
            PreferenceChange::All(OptedOut),
        ]);
        assert_eq!((after.zone, after.quiet_hours), (chosen.zone, chosen.quiet_hours));
        // Without a field, both are as nothing was chosen.
        let cleared = PreferenceChange::Replace(Preferences::default());
        assert_eq!(cleared.apply(Some(&first), at(62)).unwrap().zone, None);
    }
}
