//! One delivery: whether it is to be made, the claim, the attempt, and what is written of it.

use botframework::connector;
use botframework::credential::{self, Fault};
use herald::audience::Recipient;
use herald::conversation::{Conversation, ConversationKey, State};
use herald::delivery::{Asked, Claim, DeliveryKey, Lease, Next, Outcome, SkipReason};
use herald::id::NotificationId;
use herald::notification::Notification;
use herald::rate_limit::Bucket;
use herald::retry::retry_after;
use herald::store::{self, CasResult, Conversations, Ledger, Notifications, Paces};
use herald::telemetry::chain;
use jiff::{SignedDuration, Timestamp};

use crate::attempt::{Learned, Made};
use crate::person::Place;
use crate::view::{Seen, View};
use crate::work::conversation_key;
use crate::{Context, Invocation, later};

/// When to ask again for a delivery that another worker holds. It says what became of it long before its deadline,
/// unless it died; asking costs a read.
const ASK_HOLDER_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// How long the work waits when the Connector does not take the bot's token and names no time: somebody has to act.
const REFUSED_WAIT: SignedDuration = SignedDuration::from_mins(1);

/// The longest it waits whatever the Connector says: once the bot is put right, its work goes on.
const REFUSED_WAIT_MAX: SignedDuration = SignedDuration::from_mins(15);

/// Where a delivery stands after its turn here.
pub(crate) enum Turn {
    /// It has ended by this turn.
    Ended(Outcome),
    /// It had ended before.
    Known(Outcome),
    /// It ended, in a conversation that its recipient led to.
    EndedIn(ConversationKey, Outcome),
    /// It has a copy that is to be changed, which takes a permit that it does not have.
    Copy,
    /// It is open; nobody need ask before then.
    Open(Timestamp),
}

/// One delivery, and what it is made with.
pub(crate) struct Delivery<'a, C, N, L, Q, E> {
    pub(crate) context: &'a Context<C, N, L, Q, E>,
    pub(crate) view: &'a View<'a, C, N, L, Q, E>,
    pub(crate) invocation: &'a Invocation,
    pub(crate) bucket: Option<&'a Bucket>,
    pub(crate) notification: &'a NotificationId,
    pub(crate) recipient: &'a Recipient,
    /// The recipient's own name in the ledger. Where it leads to a conversation, the delivery is kept under that.
    pub(crate) key: DeliveryKey,
}

impl<C, N, L, Q, E> Delivery<'_, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Sync,
    E: Sync,
{
    /// Gives the delivery its turn at its slot. What cannot be sent now is not claimed either, so that it counts as no
    /// attempt.
    pub(crate) async fn turn(&self, slot: Option<Timestamp>) -> Result<Turn, store::Error> {
        if let Some(slot) = slot {
            self.context.wait_until(slot).await;
        }
        let now = self.context.clock.now();
        if let Some(until) = self
            .bucket
            .and_then(|bucket| self.invocation.held_until(bucket, now))
        {
            return Ok(Turn::Open(until));
        }
        if self.invocation.is_late(now) {
            return Ok(Turn::Open(now));
        }
        let key = match self.place(now).await? {
            Place::Conversation(key) => key,
            Place::Nowhere(outcome) => {
                return Ok(Turn::Ended(
                    self.context.ledger.settle_unclaimed(&self.key, &outcome).await?,
                ));
            }
            Place::Ended(outcome) => return Ok(Turn::Ended(outcome)),
            Place::Later(until) => return Ok(Turn::Open(until)),
        };
        // Read at the last moment: who has just uninstalled the bot is not written to.
        let conversation = self
            .context
            .conversations
            .get_many(std::slice::from_ref(&key))
            .await?
            .pop();
        let Some(seen) = self.view.newest().await? else {
            return Ok(Turn::Ended(Outcome::Cancelled));
        };
        // What is not to be sent any more ends though the bot cannot speak.
        if stopped(&seen.head, now).is_none()
            && let Some(until) = self.silenced(conversation.as_ref()).await
        {
            return Ok(Turn::Open(until));
        }
        let turn = self.claim(&key, conversation.as_ref(), slot.is_some()).await?;
        match turn {
            Turn::Ended(outcome) | Turn::Known(outcome) if conversation_key(self.recipient).is_none() => {
                // Also under the name that the caller knows, for whoever asks what became of it.
                self.context.ledger.settle_unclaimed(&self.key, &outcome).await?;
                Ok(Turn::EndedIn(key, outcome))
            }
            turn => Ok(turn),
        }
    }

    async fn claim(
        &self,
        key: &ConversationKey,
        conversation: Option<&Conversation>,
        permitted: bool,
    ) -> Result<Turn, store::Error> {
        // Whatever name led here, the conversation has one delivery of a notification.
        let delivery = DeliveryKey::new(self.notification, &Recipient::Conversation(key.clone()));
        let Some(seen) = self.view.newest().await? else {
            return Ok(Turn::Ended(Outcome::Cancelled));
        };
        let now = self.context.clock.now();
        let asked = Asked {
            delivery: &delivery,
            revision: seen.head.revision,
            now,
            until: self.invocation.deadline,
            spacing: self.context.spacing(),
        };
        let lease = match self.context.ledger.claim(asked, key).await? {
            Claim::Taken(lease) => lease,
            Claim::Held { until } => return Ok(Turn::Open(until.min(later(now, ASK_HOLDER_AGAIN)))),
            Claim::Busy { until } | Claim::Waiting { until } => return Ok(Turn::Open(until)),
            Claim::Settled(outcome) => return Ok(Turn::Known(outcome)),
        };
        if lease.copy.is_some() && !permitted {
            let ledger = &self.context.ledger;
            ledger
                .release(&delivery, &lease, now, "NoPermit", lease.doubts)
                .await?;
            return Ok(Turn::Copy);
        }
        let mut made = match self.to_be_made(&lease, &seen, conversation) {
            Ok(conversation) => self.attempt(&lease, &seen, conversation).await?,
            Err(outcome) => Made::only(Next::Settle(lease.ending(outcome))),
        };
        if let Next::Wait { .. } = made.next {
            // The name stays good until the message is there: to create the conversation again finds its successor again.
            made.learned
                .retain(|learned| !matches!(learned, Learned::Succeeded(_)));
        }
        let ledger = &self.context.ledger;
        let (written, turn) = match made.next {
            Next::Settle(outcome) => (
                ledger.settle(&delivery, &lease, &outcome).await?,
                Turn::Ended(outcome),
            ),
            Next::Wait { until, why, doubts } => (
                ledger.release(&delivery, &lease, until, &why, doubts).await?,
                Turn::Open(until),
            ),
        };
        // After it is settled: nothing may stand between an answer and its record.
        if let Some(conversation) = conversation {
            self.learn(conversation, made.learned).await?;
        }
        match written {
            CasResult::Committed => Ok(turn),
            // We overran our deadline and somebody took over. What they write is what counts: ask again.
            CasResult::Conflict => Ok(Turn::Open(self.context.clock.now())),
        }
    }

    /// Until when the bot cannot speak in this conversation, if it cannot now.
    async fn silenced(&self, conversation: Option<&Conversation>) -> Option<Timestamp> {
        if let Some(until) = self.invocation.paused_until(self.context.clock.now()) {
            return Some(until);
        }
        self.speechless_at(conversation?.service_urls.first()?).await
    }

    /// Until when there is no token for this service URL, if there is none now.
    pub(crate) async fn speechless_at(&self, service_url: &str) -> Option<Timestamp> {
        let error = self.context.connector.ensure_token(service_url).await.err()?;
        let wait = SignedDuration::try_from(error.wait()).unwrap_or(REFUSED_WAIT);
        let now = self.context.clock.now();
        Some(
            self.invocation
                .pause(later(now, wait), now, || tell_no_token(&error)),
        )
    }

    /// The conversation to make the attempt in, or how the delivery ends without one.
    fn to_be_made<'c>(
        &self,
        lease: &Lease,
        seen: &Seen,
        conversation: Option<&'c Conversation>,
    ) -> Result<&'c Conversation, Outcome> {
        if !lease.permits_attempt(seen.head.guarantee) {
            return Err(Outcome::Unknown);
        }
        // A copy that cannot be reached any more stays as it is; it was tried.
        let unchanged = lease.copy.as_ref().map(|copy| {
            Outcome::Delivered(herald::delivery::SentCopy {
                tried: seen.head.revision,
                ..copy.clone()
            })
        });
        if unchanged.is_none()
            && let Some(outcome) = stopped(&seen.head, self.context.clock.now())
        {
            return Err(outcome);
        }
        let skipped = |reason| Err(unchanged.clone().unwrap_or(Outcome::Skipped { reason }));
        match conversation {
            None => skipped(SkipReason::NoConversation),
            Some(conversation) => match conversation.state {
                State::Active => Ok(conversation),
                State::Removed => skipped(SkipReason::Removed),
                State::Blocked { .. } => skipped(SkipReason::Blocked),
            },
        }
    }

    /// The bot was refused, not this delivery: it waits like all others, however often it was tried.
    pub(crate) fn refused(&self, lease: &Lease, error: &connector::Error) -> Next {
        let now = self.context.clock.now();
        let wait = retry_after(error, now);
        let until = later(now, wait.unwrap_or(REFUSED_WAIT).min(REFUSED_WAIT_MAX));
        Next::Wait {
            until: self.invocation.pause(until, now, || tell_refused(error)),
            why: error.code().unwrap_or("TokenRefused").to_owned(),
            doubts: lease.doubts,
        }
    }
}

/// How a delivery ends that has not begun, when its notification is not to be sent any more.
pub(crate) fn stopped(head: &Notification, now: Timestamp) -> Option<Outcome> {
    if head.is_stopped() {
        Some(Outcome::Cancelled)
    } else if head.expires_at <= now {
        Some(Outcome::Expired)
    } else {
        None
    }
}

fn tell_no_token(error: &credential::Error) {
    tracing::error!(
        error_type = match error.fault() {
            Fault::Configuration => "TokenMisconfigured",
            Fault::Unavailable => "TokenUnavailable",
        },
        code = error.code(),
        error_codes = ?error.error_codes(),
        status = error.status(),
        correlation = error.correlation(),
        wait_s = error.wait().as_secs(),
        error = chain(error),
        "the bot has no token: nothing is sent before the next try"
    );
}

fn tell_refused(error: &connector::Error) {
    tracing::error!(
        error_type = if error.status().is_some() {
            "TokenRefused"
        } else {
            "TokenUnavailable"
        },
        code = error.code(),
        status = error.status(),
        correlation = error.correlation(),
        error = chain(error),
        "the channel does not take the bot's token: nothing is sent before the next try"
    );
}
