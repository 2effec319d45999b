//! A conversation that is called something else by now: the delivery goes to its successor.
//!
//! The successor is a conversation like any other. It may be remembered already, because its person spoke there, and be a
//! recipient of the same notification; others may be writing to it at this moment. So the message is sent there by the
//! successor's own turn and written into its own row, and whoever has a delivery to it finds that. This delivery ends as
//! that one does.

use std::borrow::Cow;

use botframework::connector;
use herald::audience::Recipient;
use herald::conversation::{Conversation, ConversationKey, State};
use herald::delivery::{Asked, Attempt, Claim, DeliveryKey, Lease, Next, Outcome, SkipReason};
use herald::store::{self, CasResult, Conversations, Ledger, Notifications, Paces};

use crate::attempt::{Came, Learned, Place, code};
use crate::delivery::{Delivery, stopped};
use crate::view::Seen;

impl<C, N, L, Q, E> Delivery<'_, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Sync,
    E: Sync,
{
    /// Sends to the successor at `place`, or brings the copy that it has up to date. `error` is what was said of the old name.
    pub(crate) async fn to_successor(
        &self,
        lease: &Lease,
        conversation: &Conversation,
        place: &Place<'_>,
        error: connector::Error,
        learned: &mut Vec<Learned>,
    ) -> Result<Came, store::Error> {
        let key = ConversationKey {
            conversation: place.id.clone().into_owned(),
            ..conversation.key.clone()
        };
        // It may be known already, and removed or blocked: to be able to create it proves nothing.
        let known = self
            .context
            .conversations
            .get_many(std::slice::from_ref(&key))
            .await?;
        let skipped = known.first().and_then(|known| match known.state {
            State::Active => None,
            State::Removed => Some(SkipReason::Removed),
            State::Blocked { .. } => Some(SkipReason::Blocked),
        });
        if let Some(reason) = skipped {
            let outcome = lease.ending(Outcome::Skipped { reason });
            return Ok(Came::Elsewhere(Next::Settle(outcome)));
        }
        if !self.goes_on().await? {
            return Ok(Came::Short(error));
        }
        // Another look: the requests before this one took their time.
        let Some(seen) = self.view.newest().await? else {
            return Ok(Came::Elsewhere(Next::Settle(lease.ending(Outcome::Cancelled))));
        };
        if let Some(outcome) = stopped(&seen.head, self.now()) {
            return Ok(Came::Elsewhere(Next::Settle(lease.ending(outcome))));
        }
        let recipient = Recipient::Conversation(key.clone());
        let delivery = DeliveryKey::new(&seen.head.id, &recipient);
        let asked = Asked {
            delivery: &delivery,
            revision: seen.head.revision,
            now: self.now(),
            until: self.invocation.deadline,
            spacing: self.context.spacing(),
        };
        let ledger = &self.context.ledger;
        let waits = |until| {
            Came::Elsewhere(Next::Wait {
                until,
                why: code(&error),
                doubts: lease.doubts,
            })
        };
        let own = match ledger.claim(asked, &key).await? {
            Claim::Taken(own) => own,
            Claim::Settled(outcome) => {
                return Ok(Came::Elsewhere(Next::Settle(lease.ending(outcome))));
            }
            Claim::Held { until } | Claim::Busy { until } | Claim::Waiting { until } => {
                return Ok(waits(until));
            }
        };
        let next = if own.permits_attempt(seen.head.guarantee) {
            let mut of_successor = Vec::new();
            let next = self
                .send_there(&own, &seen, conversation, place, &mut of_successor)
                .await?;
            for found in of_successor {
                match found {
                    // Of the conversation that was asked, if it is remembered yet.
                    Learned::Found(feedback) => {
                        if let Some(known) = known.first() {
                            let conversations = &self.context.conversations;
                            conversations
                                .apply_feedback(&known.key, known.version, &feedback, self.now())
                                .await?;
                        }
                    }
                    Learned::Throttled(_) | Learned::Succeeded(_) => learned.push(found),
                }
            }
            next
        } else {
            Next::Settle(Outcome::Unknown)
        };
        let (written, came) = match next {
            Next::Settle(outcome) => {
                let written = ledger.settle(&delivery, &own, &outcome).await?;
                (written, Came::Elsewhere(Next::Settle(lease.ending(outcome))))
            }
            Next::Wait { until, why, doubts } => {
                let written = ledger.release(&delivery, &own, until, &why, doubts).await?;
                // What may have arrived there may have arrived for this delivery.
                let next = Next::Wait {
                    until,
                    why,
                    doubts: doubts.max(lease.doubts),
                };
                (written, Came::Elsewhere(next))
            }
        };
        Ok(match written {
            CasResult::Committed => came,
            CasResult::Conflict => waits(self.now()),
        })
    }

    /// Sends to the successor; where it is not served, at the other addresses.
    async fn send_there(
        &self,
        own: &Lease,
        seen: &Seen,
        conversation: &Conversation,
        place: &Place<'_>,
        of_successor: &mut Vec<Learned>,
    ) -> Result<Next, store::Error> {
        let mut others = None;
        let mut place = Place {
            service_url: place.service_url.clone(),
            id: place.id.clone(),
        };
        loop {
            let answer = self.request(own, seen, conversation, &place).await;
            let next = answer
                .as_ref()
                .err()
                .and_then(|error| Some((error, self.next_address(conversation, &mut others, error)?)));
            let Some((error, next)) = next else {
                return self.follows(answer, own, seen, of_successor).await;
            };
            if !self.goes_on().await? || self.is_outdated(own, seen).await? {
                let (code, retry_after) = (code(error), None);
                return Ok(self.next(Attempt::NotSent { code, retry_after }, own, seen));
            }
            place.service_url = Cow::Borrowed(next);
        }
    }
}
