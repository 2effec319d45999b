//! The lease to create a conversation with a person.
//!
//! Creating a conversation is idempotent (`PROTOCOL.md#d3`), but it costs a request, and installing the bot for a person costs
//! more. So a worker needs the lease on the person: one worker at a time creates or installs.

use std::fmt;

use botframework::id::{ChannelAccountId, UserRef};
use jiff::{SignedDuration, Timestamp};

use super::ConversationKey;
use super::key::escape;

/// How long to wait for the event of an installation. Until then the conversation is not created another way.
pub const INSTALL_EVENT_TIMEOUT: SignedDuration = SignedDuration::from_mins(1);

/// How long an installation that sent no event is remembered. After it, the bot may be installed again.
const INSTALL_PENDING_TTL: SignedDuration = SignedDuration::from_hours(1);

/// Names a person to a bot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonKey {
    /// The channel id, such as `msteams`.
    pub channel: String,
    /// The bot's account in it.
    pub bot: ChannelAccountId,
    /// The Entra tenant of the person.
    pub tenant: String,
    /// The person's id.
    pub person: UserRef,
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
            UserRef::Entra(id) => write!(f, "{place}|{tenant}|user|{id}"),
            UserRef::Account(id) => write!(f, "{place}|{tenant}|account|{id}"),
        }
    }
}

/// The record of a person: their conversation, or the lease to create it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonRecord {
    /// The conversation, once it is created.
    pub conversation: Option<ConversationKey>,
    /// When the lease expires, if a worker holds it.
    pub until: Option<Timestamp>,
    /// When the installation of the bot began.
    pub installing_since: Option<Timestamp>,
}

/// The answer to a request for the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreationLease {
    /// The conversation exists; nothing is to be created.
    Exists(ConversationKey),
    /// The caller holds the lease, and must report the result by [`finish_creation`].
    Acquired {
        /// When an installation began whose event did not arrive in time.
        installing_since: Option<Timestamp>,
    },
    /// The bot is being installed: its event will bring the conversation.
    InstallPending {
        /// When the installation began.
        since: Timestamp,
    },
    /// Another worker holds the lease.
    HeldElsewhere {
        /// When its lease expires.
        until: Timestamp,
    },
}

/// The result of a creation attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The conversation was created.
    Conversation(ConversationKey),
    /// The installation of the bot began at this time; its event will bring the conversation.
    InstallPending(Timestamp),
    /// No conversation; the next worker may try.
    Nothing,
}

/// Requests the lease at `now` until `until`. Returns the answer, and the new record if it changes.
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

/// Records the result and releases the lease; `None` when nothing changes. A known conversation is only replaced by another one.
pub fn finish_creation(known: Option<&PersonRecord>, creation: &Creation) -> Option<PersonRecord> {
    let known = known.cloned().unwrap_or_default();
    let new = match creation {
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
    fn an_expired_lease_is_acquired_by_the_next_worker() {
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
    fn the_next_worker_finds_the_created_conversation() {
        let key: ConversationKey = "msteams|28:b|a:1".parse().unwrap();
        let known = finish_creation(None, &Creation::Conversation(key.clone())).unwrap();
        assert_eq!(
            acquire_creation_lease(Some(&known), at(0), at(60)),
            (CreationLease::Exists(key), None)
        );
        assert_eq!(finish_creation(None, &Creation::Nothing), None);
    }

    #[test]
    fn an_installation_blocks_creation_for_a_minute_and_is_forgotten_after_an_hour() {
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
    fn a_failed_creation_does_not_remove_a_known_conversation() {
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
    fn no_two_people_share_a_key() {
        let name = |tenant: &str, id: &str| {
            let person = PersonKey {
                channel: "msteams".into(),
                bot: "28:b".into(),
                tenant: tenant.into(),
                person: UserRef::Entra(id.into()),
            };
            person.to_string()
        };
        assert_ne!(name("t|user|x", "y"), name("t", "x|user|y"));
        assert_ne!(name("t%7C", "y"), name("t|", "y"));
    }
}
