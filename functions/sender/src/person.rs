//! Where a recipient is reached. A person of whom no conversation is known gets one, if the notification says so.
//!
//! A conversation is made once for each person, whoever races: [`Conversations::introduce`] lets one of all workers make it,
//! and whoever comes later finds it. Then the delivery goes the way of every other.

use botframework::connector::{self, Reason};
use botframework::graph::Installation;
use botframework::id::EntraObjectId;
use herald::audience::Recipient;
use herald::backoff::creation_backoff;
use herald::conversation::{ConversationKey, Creation, CreationLease, Person, PersonKey, State};
use herald::delivery::{Outcome, SkipReason, State as RowState};
use herald::graph::Customers;
use herald::notification::{IfNoConversation, Notification};
use herald::retry::{Reaction, reaction, retry_after};
use herald::store::{
    self, ConversationFilter, ConversationSummary, Conversations, Ledger, Notifications, Paces,
};
use jiff::{SignedDuration, Timestamp};

use crate::attempt::code;
use crate::creation::NotMade;
use crate::delivery::{Delivery, stopped};
use crate::install::Failure;
use crate::later;

/// When to ask again for a person whom another worker is making a conversation with. It takes one request.
const ASK_MAKER_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// How many conversations of one person are looked at.
const OF_ONE_PERSON: usize = 10;

/// Where a recipient is reached.
pub(crate) enum Place {
    /// In this conversation.
    Conversation(ConversationKey),
    /// Nowhere: the delivery ends so.
    Nowhere(Outcome),
    /// Nowhere, and the delivery has ended so: that is written.
    Ended(Outcome),
    /// That is known later.
    Later(Timestamp),
}

impl<C, N, L, Q, E> Delivery<'_, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Sync,
    E: Sync,
{
    /// Where the recipient is reached.
    pub(crate) async fn place(&self, now: Timestamp) -> Result<Place, store::Error> {
        let person = match self.recipient {
            Recipient::Conversation(key) => return Ok(Place::Conversation(key.clone())),
            Recipient::User(id) => Some(Person::User(id.clone())),
            Recipient::Account(id) => Some(Person::Account(id.clone())),
            Recipient::UnknownConversation(_) => None,
        };
        let Some(seen) = self.view.newest().await? else {
            return Ok(Place::Nowhere(Outcome::Cancelled));
        };
        let stopped = stopped(&seen.head, now);
        let person = person.and_then(|person| self.bucket?.person(person));
        let person = person.filter(|_| seen.head.if_no_conversation != IfNoConversation::Skip);
        let Some(person) = person else {
            // Nobody ever sends anything to them for this notification.
            return Ok(stopped.map_or(skipped(SkipReason::NoConversation), Place::Nowhere));
        };
        let (ended, waiting) = self.standing(seen.head.revision).await?;
        if let Some(outcome) = ended {
            return Ok(Place::Ended(outcome));
        }
        let (until, failures) = waiting.unwrap_or((now, 0));
        if until > now && stopped.is_none() {
            // Another worker who has the same chunk put it off just now.
            return Ok(Place::Later(until));
        }
        self.meet(person, &seen.head, stopped, failures).await
    }

    /// How the delivery ended under the recipient's own name, unless its copy shows something older than this revision; or
    /// until when it waits for a conversation, after how many failures.
    async fn standing(
        &self,
        revision: u32,
    ) -> Result<(Option<Outcome>, Option<(Timestamp, u32)>), store::Error> {
        let key = std::slice::from_ref(&self.key);
        let rows = self.context.ledger.rows(key).await?;
        let Some(row) = rows.into_iter().flatten().next() else {
            return Ok((None, None));
        };
        Ok(match row.state {
            RowState::Settled(outcome) => (Some(outcome).filter(|it| !it.is_behind(revision)), None),
            RowState::Waiting { until, .. } => (None, Some((until, row.attempt))),
        })
    }

    /// The conversation with a person, made if there is none and the notification was not stopped; to make it may have failed
    /// before, so many times.
    ///
    /// Who may make it is also who may end the delivery without one: another worker may be about to send, and whoever comes
    /// later finds the end. What has ended without a conversation has ended, though there may be one by now.
    async fn meet(
        &self,
        person: PersonKey,
        head: &Notification,
        stopped: Option<Outcome>,
        failures: u32,
    ) -> Result<Place, store::Error> {
        let conversations = &self.context.conversations;
        let now = self.now();
        let until = self.invocation.deadline;
        let begun = match conversations.acquire_creation_lease(&person, now, until).await? {
            CreationLease::Exists(key) => return self.unless_ended(key, head).await,
            CreationLease::HeldElsewhere { until } => {
                return Ok(Place::Later(until.min(later(now, ASK_MAKER_AGAIN))));
            }
            CreationLease::InstallPending { since } => {
                return match self.known(&person).await? {
                    Some(key) => self.unless_ended(key, head).await,
                    None => self.look_again(since, failures).await,
                };
            }
            CreationLease::Acquired { installing_since } => installing_since,
        };
        let (ended, _) = self.standing(head.revision).await?;
        // They may have written to the bot since the audience was read.
        let known = self.known(&person).await?;
        if let Some(key) = known {
            let made = Creation::Conversation(key.clone());
            conversations.finish_creation(&person, &made).await?;
            return Ok(ended.map_or(Place::Conversation(key), Place::Ended));
        }
        if let Some(outcome) = ended.or(stopped) {
            let place = self.end_here(outcome).await?;
            conversations.finish_creation(&person, &Creation::Nothing).await?;
            return Ok(place);
        }
        let outcome = self.begin(&person, head.if_no_conversation, begun).await;
        let made = outcome.as_ref().map_or(Creation::Nothing, Creation::clone);
        let mut place = match outcome {
            // The message has a permit of its own, which is asked for with those of the whole chunk.
            Ok(Creation::Conversation(_)) => Ok(Place::Later(self.now())),
            Ok(Creation::InstallPending(since)) => self.look_again(since, failures).await,
            Ok(Creation::Nothing) => Ok(skipped(SkipReason::NoConversation)),
            Err(why) => self.not_made(why, failures).await,
        };
        if let Ok(Place::Nowhere(outcome)) = place {
            place = Ok(self.end_here(outcome).await?);
        }
        conversations.finish_creation(&person, &made).await?;
        place
    }

    /// The conversation, unless the delivery ended without one before it was known.
    async fn unless_ended(&self, key: ConversationKey, head: &Notification) -> Result<Place, store::Error> {
        let (ended, _) = self.standing(head.revision).await?;
        Ok(ended.map_or(Place::Conversation(key), Place::Ended))
    }

    /// Ends the delivery without a conversation.
    async fn end_here(&self, outcome: Outcome) -> Result<Place, store::Error> {
        let standing = self.context.ledger.settle_unclaimed(&self.key, &outcome).await?;
        Ok(Place::Ended(standing))
    }

    /// Makes the conversation, or has the bot installed, by which it is made. `begun` is when that was begun, if it was, and did
    /// not tell of itself in time.
    async fn begin(
        &self,
        person: &PersonKey,
        if_no_conversation: IfNoConversation,
        begun: Option<Timestamp>,
    ) -> Result<Creation, NotMade> {
        // A deployment that does not name the bot's app any more does what it can.
        let customers = self.context.customers.as_ref();
        let customers = customers.filter(|_| if_no_conversation == IfNoConversation::Install);
        match (customers, &person.person) {
            (Some(customers), Person::User(user)) => self.acquaint(person, customers, user, begun).await,
            // Graph knows nobody by what a channel calls them.
            (Some(_), Person::Account(_)) | (None, _) => self.make(person).await.map(Creation::Conversation),
        }
    }

    /// Makes the conversation with a person for whom the bot may have to be installed first. `begun` is when that was begun, if
    /// it was, and did not tell of itself in time.
    async fn acquaint(
        &self,
        person: &PersonKey,
        customers: &Customers,
        user: &EntraObjectId,
        begun: Option<Timestamp>,
    ) -> Result<Creation, NotMade> {
        let customer = customers
            .in_tenant(&person.tenant)
            .map_err(|_| NotMade::NotInstalled(Failure::NoSuchTenant))?;
        if begun.is_none() {
            match self.install(customers, &customer, user).await? {
                Installation::Created => return Ok(Creation::InstallPending(self.now())),
                // Nobody will be told of it. What was asked of Graph took its time, and the permit to write was of before.
                Installation::Existing if !self.goes_on().await? => return Err(NotMade::Short),
                Installation::Existing => {}
            }
        }
        let refused = match self.make(person).await {
            Err(NotMade::Refused(error)) if is_final(&error) => error,
            made => return made.map(Creation::Conversation),
        };
        let Some(chat) = self.chat(customers, &customer, user).await? else {
            return Err(NotMade::Refused(refused));
        };
        let service_url = self.service_url(person).await?.ok_or(NotMade::NoServiceUrl)?;
        let key = self.remember(person, chat, &service_url).await?;
        Ok(Creation::Conversation(key))
    }

    /// A conversation of this person that the bot knows by now.
    pub(crate) async fn known(&self, person: &PersonKey) -> Result<Option<ConversationKey>, store::Error> {
        let selection = match &person.person {
            Person::User(id) => ConversationFilter::User(id.clone()),
            Person::Account(id) => ConversationFilter::Account(id.clone()),
        };
        let listing = self
            .context
            .conversations
            .list(&selection, None, OF_ONE_PERSON)
            .await?;
        let of_this_bot = |known: &ConversationSummary| {
            known.key.bot == person.bot
                && known.key.channel == person.channel
                && known.attributes.tenant.as_deref() == Some(person.tenant.as_str())
        };
        // Who took the bot out, or blocked it, since the audience was read is known too, and is not written to.
        let known = listing.items.into_iter().filter(of_this_bot);
        let best = known.min_by_key(|known| known.state != State::Active);
        Ok(best.map(|known| known.key))
    }

    /// What becomes of a delivery whose conversation was not made.
    async fn not_made(&self, why: NotMade, failures: u32) -> Result<Place, store::Error> {
        let error = match why {
            NotMade::Refused(error) => error,
            NotMade::AnswerLost => return self.try_again(failures, None, "NoAnswer").await,
            NotMade::Short => return Ok(Place::Later(later(self.now(), ASK_MAKER_AGAIN))),
            NotMade::NoServiceUrl => return Ok(skipped(SkipReason::NoConversation)),
            NotMade::NotInstalled(failure) => return self.not_installed(failure, failures).await,
            NotMade::Store(error) => return Err(error),
        };
        tracing::warn!(
            error_type = "NotIntroduced",
            reason = ?error.reason(),
            code = error.code(),
            status = error.status(),
            notification = %self.notification,
            correlation = error.correlation(),
            "no conversation could be made"
        );
        let now = self.now();
        let asked = retry_after(&error, now);
        Ok(match reaction(error.reason()) {
            Reaction::Slow => {
                self.throttled(asked).await?;
                self.try_again(failures, asked, &code(&error)).await?
            }
            Reaction::Wait | Reaction::Stop | Reaction::Doubt { .. } => {
                self.try_again(failures, asked, &code(&error)).await?
            }
            Reaction::Block if error.reason() == Reason::BlockedByUser => skipped(SkipReason::Blocked),
            Reaction::Block => skipped(SkipReason::NotInstalled),
            // The bot is turned off there, or cannot read: that may be the tenant's, and then it is waited for.
            Reaction::Strike => match self.strike(&code(&error)).await? {
                Some(until) => self.put_off(until, &code(&error), failures).await?,
                None => Place::Nowhere(Outcome::Gone { code: code(&error) }),
            },
            Reaction::Readdress | Reaction::Recreate | Reaction::Reject => {
                Place::Nowhere(Outcome::Rejected {
                    code: code(&error),
                    detail: error.message().map(str::to_owned),
                })
            }
        })
    }

    /// Has the conversation made again later, ever more rarely: to make it can be repeated without harm.
    pub(crate) async fn try_again(
        &self,
        failures: u32,
        asked: Option<SignedDuration>,
        why: &str,
    ) -> Result<Place, store::Error> {
        let wait = creation_backoff(failures, asked, self.context.draw());
        self.put_off(later(self.now(), wait), why, failures.saturating_add(1))
            .await
    }

    /// Has the delivery wait for its conversation, and writes down why; unless its time is over by then.
    pub(crate) async fn put_off(
        &self,
        until: Timestamp,
        why: &str,
        failures: u32,
    ) -> Result<Place, store::Error> {
        let seen = self.view.newest().await?;
        if seen.is_none_or(|seen| seen.head.expires_at <= until) {
            return Ok(Place::Nowhere(Outcome::Expired));
        }
        let ledger = &self.context.ledger;
        let ended = ledger.defer(&self.key, until, why, failures).await?;
        Ok(ended.map_or(Place::Later(until), Place::Ended))
    }
}

/// Whether the Connector will not create a conversation with this person, whenever it is asked.
fn is_final(error: &connector::Error) -> bool {
    match reaction(error.reason()) {
        Reaction::Block => error.reason() != Reason::BlockedByUser,
        Reaction::Reject | Reaction::Recreate => true,
        Reaction::Wait
        | Reaction::Slow
        | Reaction::Stop
        | Reaction::Readdress
        | Reaction::Strike
        | Reaction::Doubt { .. } => false,
    }
}

pub(crate) fn skipped(reason: SkipReason) -> Place {
    Place::Nowhere(Outcome::Skipped { reason })
}
