//! A person without a conversation, and who may make one with them.
//!
//! Creating a conversation with one person is idempotent (`PROTOCOL.md#d3`), but it costs a request, and installing the bot for
//! them costs more: of any number of workers that want to, one does.

use std::fmt;

use botframework::id::{ChannelAccountId, EntraObjectId};
use jiff::{SignedDuration, Timestamp};

use super::ConversationKey;
use super::key::escape;

/// How long an installation has to tell the bot of itself. Until then nobody makes the conversation in another way.
pub const INSTALL_EVENT_TIMEOUT: SignedDuration = SignedDuration::from_mins(1);

/// How long it is known that one was begun. Whoever was to be told of it is gone by then, and it may be, too.
const INSTALL_PENDING_TTL: SignedDuration = SignedDuration::from_hours(1);

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
pub struct PersonRecord {
    /// The conversation, once it is made.
    pub conversation: Option<ConversationKey>,
    /// Somebody is making it until then.
    pub until: Option<Timestamp>,
    /// Since when the bot is being installed for them.
    pub installing_since: Option<Timestamp>,
}

/// What came of asking to make a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreationLease {
    /// There is one.
    Exists(ConversationKey),
    /// The asker is to make it, and to say what came of it.
    Acquired {
        /// When the bot was begun to be installed for them, if it was, and has not told of itself in time.
        installing_since: Option<Timestamp>,
    },
    /// The bot is being installed for them: the conversation is to come by itself.
    InstallPending {
        /// Since when.
        since: Timestamp,
    },
    /// Somebody else is making it.
    HeldElsewhere {
        /// Until then at most.
        until: Timestamp,
    },
}

/// What came of making it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// This conversation.
    Conversation(ConversationKey),
    /// The bot is being installed, since then; the conversation comes after it.
    InstallPending(Timestamp),
    /// None; whoever asks next may try.
    Nothing,
}

/// What asking comes to at `now`, of an asker whose time ends at `until`; and what is written, if anything is.
pub fn acquire_creation_lease(
    known: Option<&PersonRecord>,
    now: Timestamp,
    until: Timestamp,
) -> (CreationLease, Option<PersonRecord>) {
    let known = known.cloned().unwrap_or_default();
    if let Some(conversation) = known.conversation {
        return (CreationLease::Exists(conversation), None);
    }
    if let Some(until) = known.until.filter(|until| *until > now) {
        return (CreationLease::HeldElsewhere { until }, None);
    }
    let age = |since: &Timestamp| now.duration_since(*since);
    let installing_since = known
        .installing_since
        .filter(|since| age(since) < INSTALL_PENDING_TTL);
    if let Some(since) = installing_since.filter(|since| age(since) < INSTALL_EVENT_TIMEOUT) {
        return (CreationLease::InstallPending { since }, None);
    }
    let taken = PersonRecord {
        conversation: None,
        until: Some(until),
        installing_since,
    };
    (CreationLease::Acquired { installing_since }, Some(taken))
}

/// What is written of what came of it; `None` when nothing is to be written. A conversation that is known stays so, whatever
/// one says who found none.
pub fn finish_creation(known: Option<&PersonRecord>, made: &Creation) -> Option<PersonRecord> {
    let known = known.cloned().unwrap_or_default();
    let new = match made {
        Creation::Conversation(key) => PersonRecord {
            conversation: Some(key.clone()),
            ..PersonRecord::default()
        },
        Creation::InstallPending(_) | Creation::Nothing if known.conversation.is_some() => return None,
        Creation::InstallPending(since) => PersonRecord {
            installing_since: Some(*since),
            ..PersonRecord::default()
        },
        Creation::Nothing => PersonRecord::default(),
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
        let (first, taken) = acquire_creation_lease(None, at(0), at(60));
        assert_eq!(
            first,
            CreationLease::Acquired {
                installing_since: None
            }
        );
        let taken = taken.unwrap();
        assert_eq!(
            acquire_creation_lease(Some(&taken), at(59), at(119)).0,
            CreationLease::HeldElsewhere { until: at(60) }
        );
        assert!(matches!(
            acquire_creation_lease(Some(&taken), at(60), at(120)).0,
            CreationLease::Acquired { .. }
        ));
    }

    #[test]
    fn what_came_of_it_is_what_the_next_one_finds() {
        let key: ConversationKey = "msteams|28:b|a:1".parse().unwrap();
        let known = finish_creation(None, &Creation::Conversation(key.clone())).unwrap();
        assert_eq!(
            acquire_creation_lease(Some(&known), at(0), at(60)),
            (CreationLease::Exists(key), None)
        );
        assert_eq!(finish_creation(None, &Creation::Nothing), None);
    }

    #[test]
    fn an_installation_has_a_minute_to_tell_of_itself_and_is_forgotten_after_an_hour() {
        let installing = finish_creation(None, &Creation::InstallPending(at(5))).unwrap();
        let ask = |second| acquire_creation_lease(Some(&installing), at(second), at(second + 60));
        for second in [5, 64] {
            let waits = CreationLease::InstallPending { since: at(5) };
            assert_eq!(ask(second), (waits, None));
        }
        for (second, begun) in [(65, Some(at(5))), (3604, Some(at(5))), (3605, None)] {
            let (next, taken) = ask(second);
            let yours = CreationLease::Acquired {
                installing_since: begun,
            };
            assert_eq!(next, yours);
            assert_eq!(taken.as_ref().unwrap().installing_since, begun);
            assert_eq!(
                finish_creation(taken.as_ref(), &Creation::Nothing),
                Some(PersonRecord::default())
            );
        }
    }

    #[test]
    fn a_conversation_that_was_made_is_not_unsaid_by_who_made_none() {
        let key: ConversationKey = "msteams|28:b|a:1".parse().unwrap();
        let known = finish_creation(None, &Creation::Conversation(key.clone())).unwrap();
        for late in [
            Creation::Nothing,
            Creation::InstallPending(at(5)),
            Creation::Conversation(key),
        ] {
            assert_eq!(finish_creation(Some(&known), &late), None);
        }
        let moved = Creation::Conversation("msteams|28:b|a:2".parse().unwrap());
        assert!(finish_creation(Some(&known), &moved).is_some());
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
