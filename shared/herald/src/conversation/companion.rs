//! Several personal conversations of one person, and which of them gets a notification.
//!
//! A person talks to a bot in a chat of Teams and in Microsoft 365 Copilot, or opens the page of a Web Chat again. These
//! *companions* are stored like all conversations, with a [`Precedence`]. A notification goes to one of those that its audience
//! selects: the one of highest [`Rank`].

use botframework::activity::Activity;
use serde::{Deserialize, Serialize};

use jiff::Timestamp;

use super::{Conversation, Scope, State};

/// Where a person talks to the bot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Product {
    /// A chat of the channel itself, where notifications are seen.
    #[default]
    Chat,
    /// Microsoft 365 Copilot.
    Copilot,
}

impl Product {
    /// The product that an activity names.
    pub(super) fn of(activity: &Activity) -> Option<Self> {
        let mut entities = activity.entities.iter();
        let product = entities.find(|entity| {
            let kind = entity.kind.as_deref();
            kind.is_some_and(|kind| kind.eq_ignore_ascii_case("ProductInfo"))
        })?;
        let id = product.extra.get("id")?.as_str()?;
        Some(if id.eq_ignore_ascii_case("COPILOT") {
            Self::Copilot
        } else {
            Self::Chat
        })
    }
}

/// How much a conversation is preferred to its companions: a chat to Copilot, then the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Precedence(i64);

impl Precedence {
    /// Later than every real moment, in milliseconds.
    const LATEST: i64 = 1_000_000_000_000_000;

    /// The precedence of a conversation in this product, first stored at this moment.
    pub fn of(product: Product, remembered_at: Timestamp) -> Self {
        let moment = remembered_at.as_millisecond();
        Self(match product {
            Product::Chat => moment,
            Product::Copilot => moment - Self::LATEST,
        })
    }

    /// The stored number.
    pub fn as_number(self) -> i64 {
        self.0
    }

    /// The precedence with this stored number.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }
}

/// The order of companions; a notification goes to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(Standing, i64);

/// The state of a conversation, as far as companions depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Removed,
    Refused,
    Active,
    /// The person does not want messages of the bot. Another conversation is no way around that.
    BlockedByUser,
}

impl Rank {
    /// The rank of a conversation. One without a precedence gets each notification that selects it, because its companions are not
    /// known, so it ranks first.
    pub fn of(state: &State, precedence: Option<Precedence>) -> Self {
        let standing = match state {
            State::Active => Standing::Active,
            State::Blocked { .. } if state.is_blocked_by_user() => Standing::BlockedByUser,
            State::Blocked { .. } => Standing::Refused,
            State::Removed => Standing::Removed,
        };
        Self(standing, precedence.map_or(i64::MAX, Precedence::as_number))
    }
}

impl Conversation {
    /// Whether the person of this conversation may have others that are not known yet.
    pub fn may_have_companions(&self) -> bool {
        let Self {
            attributes, state, ..
        } = self;
        self.precedence.is_none()
            && attributes.scope == Scope::Personal
            && (attributes.user.is_some() || attributes.account.is_some())
            && *state != State::Removed
    }

    /// The same conversation, with its precedence to companions.
    #[must_use]
    pub fn with_companions(mut self) -> Self {
        self.precedence = Some(Precedence::of(self.product, self.remembered_at));
        self
    }
}

/// Records that the person has other conversations; `None` when that is known.
pub fn add_companions(existing: &Conversation, now: Timestamp) -> Option<Conversation> {
    existing.may_have_companions().then(|| Conversation {
        version: existing.version + 1,
        changed_at: now,
        ..existing.clone().with_companions()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(state: &State, product: Product, second: i64) -> Rank {
        let moment = Timestamp::from_second(second).unwrap();
        Rank::of(state, Some(Precedence::of(product, moment)))
    }

    #[test]
    fn a_chat_is_preferred_to_copilot_and_then_the_latest() {
        let (chat, copilot) = (Product::Chat, Product::Copilot);
        let active = |product, second| rank(&State::Active, product, second);
        assert!(active(chat, 1) > active(copilot, 4_000_000_000));
        assert!(active(chat, 2) > active(chat, 1));
        assert!(active(copilot, 2) > active(copilot, 1));
        assert!(Rank::of(&State::Active, None) > active(chat, 4_000_000_000));
    }

    #[test]
    fn a_conversation_that_can_be_written_to_is_preferred_and_a_persons_block_counts_everywhere() {
        let blocked = |code: &str| State::Blocked { code: code.into() };
        let copilot = rank(&State::Active, Product::Copilot, 1);
        for state in [State::Removed, blocked("ConversationNotFound")] {
            assert!(copilot > rank(&state, Product::Chat, 2), "{state:?}");
        }
        let by_user = rank(&blocked("ConversationBlockedByUser"), Product::Chat, 1);
        assert!(by_user > copilot && by_user > Rank::of(&State::Active, None));
    }
}
