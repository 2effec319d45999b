//! A person without a conversation, and who may make one with them.
//!
//! Creating a conversation with one person is idempotent (`protocol D.3`), but it costs a request, and installing the bot for
//! them costs more: of any number of workers that want to, one does.

use std::fmt;

use botframework::id::{ChannelAccountId, EntraObjectId};
use jiff::{SignedDuration, Timestamp};

use super::ConversationKey;
use super::key::escape;

/// How long an installation has to tell the bot of itself. Until then nobody makes the conversation in another way.
pub const INSTALLED_WITHIN: SignedDuration = SignedDuration::from_mins(1);

/// How long it is known that one was begun. Whoever was to be told of it is gone by then, and it may be, too.
const BEGUN_FOR: SignedDuration = SignedDuration::from_hours(1);

/// Names a person to a bot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonKey {
    /// The channel.
    pub channel: String,
    /// The bot's account in it.
    pub bot: ChannelAccountId,
    /// The person's tenant.
    pub tenant: String,
    /// The person.
    pub person: Person,
}

/// A person by one of their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Person {
    /// As Entra names them.
    User(EntraObjectId),
    /// As the channel names them.
    Account(ChannelAccountId),
}

impl fmt::Display for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = ConversationKey {
            conversation: String::new().into(),
            channel: self.channel.clone(),
            bot: self.bot.clone(),
        }
        .place();
        let tenant = escape(&self.tenant);
        match &self.person {
            Person::User(id) => write!(f, "{place}|{tenant}|user|{id}"),
            Person::Account(id) => write!(f, "{place}|{tenant}|account|{id}"),
        }
    }
}

/// What is known of making a conversation with a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acquaintance {
    /// The conversation, once it is made.
    pub conversation: Option<ConversationKey>,
    /// Somebody is making it until then.
    pub until: Option<Timestamp>,
    /// Since when the bot is being installed for them.
    pub installing_since: Option<Timestamp>,
}

/// What came of asking to make a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Introduction {
    /// There is one.
    Known(ConversationKey),
    /// The asker is to make it, and to say what came of it.
    Yours {
        /// When the bot was begun to be installed for them, if it was, and has not told of itself in time.
        installing_since: Option<Timestamp>,
    },
    /// The bot is being installed for them: the conversation is to come by itself.
    Installing {
        /// Since when.
        since: Timestamp,
    },
    /// Somebody else is making it.
    Busy {
        /// Until then at most.
        until: Timestamp,
    },
}

/// What came of making it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// This conversation.
    Conversation(ConversationKey),
    /// The bot is being installed, since then; the conversation comes after it.
    Installing(Timestamp),
    /// None; whoever asks next may try.
    Nothing,
}

/// What asking comes to at `now`, of an asker whose time ends at `until`; and what is written, if anything is.
pub fn introduce(
    known: Option<&Acquaintance>,
    now: Timestamp,
    until: Timestamp,
) -> (Introduction, Option<Acquaintance>) {
    let known = known.cloned().unwrap_or_default();
    if let Some(conversation) = known.conversation {
        return (Introduction::Known(conversation), None);
    }
    if let Some(until) = known.until.filter(|until| *until > now) {
        return (Introduction::Busy { until }, None);
    }
    let age = |since: &Timestamp| now.duration_since(*since);
    let installing_since = known.installing_since.filter(|since| age(since) < BEGUN_FOR);
    if let Some(since) = installing_since.filter(|since| age(since) < INSTALLED_WITHIN) {
        return (Introduction::Installing { since }, None);
    }
    let taken = Acquaintance {
        conversation: None,
        until: Some(until),
        installing_since,
    };
    (Introduction::Yours { installing_since }, Some(taken))
}

/// What is written of what came of it; `None` when nothing is to be written. A conversation that is known stays so, whatever
/// one says who found none.
pub fn made(known: Option<&Acquaintance>, made: &Made) -> Option<Acquaintance> {
    let known = known.cloned().unwrap_or_default();
    let new = match made {
        Made::Conversation(key) => Acquaintance {
            conversation: Some(key.clone()),
            ..Acquaintance::default()
        },
        Made::Installing(_) | Made::Nothing if known.conversation.is_some() => return None,
        Made::Installing(since) => Acquaintance {
            installing_since: Some(*since),
            ..Acquaintance::default()
        },
        Made::Nothing => Acquaintance::default(),
    };
    (new != known).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn one_at_a_time_makes_a_conversation_and_a_dead_one_is_followed() {
        let (first, taken) = introduce(None, at(0), at(60));
        assert_eq!(
            first,
            Introduction::Yours {
                installing_since: None
            }
        );
        let taken = taken.unwrap();
        assert_eq!(
            introduce(Some(&taken), at(59), at(119)).0,
            Introduction::Busy { until: at(60) }
        );
        assert!(matches!(
            introduce(Some(&taken), at(60), at(120)).0,
            Introduction::Yours { .. }
        ));
    }

    #[test]
    fn what_came_of_it_is_what_the_next_one_finds() {
        let key: ConversationKey = "msteams|28:b|a:1".parse().unwrap();
        let known = made(None, &Made::Conversation(key.clone())).unwrap();
        assert_eq!(
            introduce(Some(&known), at(0), at(60)),
            (Introduction::Known(key), None)
        );
        assert_eq!(made(None, &Made::Nothing), None);
    }

    #[test]
    fn an_installation_has_a_minute_to_tell_of_itself_and_is_forgotten_after_an_hour() {
        let installing = made(None, &Made::Installing(at(5))).unwrap();
        let ask = |second| introduce(Some(&installing), at(second), at(second + 60));
        for second in [5, 64] {
            let waits = Introduction::Installing { since: at(5) };
            assert_eq!(ask(second), (waits, None));
        }
        for (second, begun) in [(65, Some(at(5))), (3604, Some(at(5))), (3605, None)] {
            let (next, taken) = ask(second);
            let yours = Introduction::Yours {
                installing_since: begun,
            };
            assert_eq!(next, yours);
            assert_eq!(taken.as_ref().unwrap().installing_since, begun);
            assert_eq!(
                made(taken.as_ref(), &Made::Nothing),
                Some(Acquaintance::default())
            );
        }
    }

    #[test]
    fn a_conversation_that_was_made_is_not_unsaid_by_who_made_none() {
        let key: ConversationKey = "msteams|28:b|a:1".parse().unwrap();
        let known = made(None, &Made::Conversation(key.clone())).unwrap();
        for late in [Made::Nothing, Made::Installing(at(5)), Made::Conversation(key)] {
            assert_eq!(made(Some(&known), &late), None);
        }
        let moved = Made::Conversation("msteams|28:b|a:2".parse().unwrap());
        assert!(made(Some(&known), &moved).is_some());
    }

    #[test]
    fn no_two_people_share_a_name() {
        let name = |tenant: &str, id: &str| {
            let person = PersonKey {
                channel: "msteams".into(),
                bot: "28:b".into(),
                tenant: tenant.into(),
                person: Person::User(id.into()),
            };
            person.to_string()
        };
        assert_ne!(name("t|user|x", "y"), name("t", "x|user|y"));
        assert_ne!(name("t%7C", "y"), name("t|", "y"));
    }
}
