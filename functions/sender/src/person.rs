//! Where a recipient is reached. A person of whom no conversation is known gets one, if the notification says so.
//!
//! A conversation is made once for each person, whoever races: [`Conversations::introduce`] lets one of all workers make it,
//! and whoever comes later finds it. Then the delivery goes the way of every other.

use botframework::connector::{self, ConversationParameters, Reason};
use herald::audience::Recipient;
use herald::conversation::{ConversationKey, Introduction, Made, Person, PersonKey, Sighting, State};
use herald::delivery::{Outcome, SkipReason, State as RowState};
use herald::notification::IfUnknown;
use herald::retry::{Reaction, reaction};
use herald::store::{self, Candidate, Conversations, Ledger, Notifications, Paces, Selection};
use jiff::{SignedDuration, Timestamp};

use crate::attempt::code;
use crate::delivery::{Delivery, stopped};
use crate::later;

/// When to ask again for a person whom another worker is making a conversation with. It takes one request.
const ASK_MAKER_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// How long a conversation that could not be made now waits, if the channel names no time. To make it can be repeated
/// without harm.
const MAKE_AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// How many conversations of one person are looked at.
const OF_ONE_PERSON: usize = 10;

/// Where a recipient is reached.
pub(crate) enum Place {
    /// In this conversation.
    Conversation(ConversationKey),
    /// Nowhere: the delivery ends so.
    Nowhere(Outcome),
    /// That is known later.
    Later(Timestamp),
}

/// Why no conversation was made.
enum NotMade {
    /// The channel refused, or did not answer.
    Refused(connector::Error),
    /// It was made, and the answer was lost: to ask again gives the same one.
    AnswerLost,
    /// Nothing tells where this person's tenant is served.
    NoServiceUrl,
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
        // What has ended without a conversation has ended, though there may be one by now.
        if seen.head.if_unknown != IfUnknown::Skip
            && let Some(outcome) = self.ended(seen.head.revision).await?
        {
            return Ok(Place::Nowhere(outcome));
        }
        if let Some(outcome) = stopped(&seen.head, now) {
            return self.standing_or(outcome, person).await;
        }
        let person = person.and_then(|person| self.bucket?.person(person));
        match person {
            Some(person) if seen.head.if_unknown != IfUnknown::Skip => self.meet(person).await,
            Some(_) | None => Ok(skipped(SkipReason::NoConversation)),
        }
    }

    /// How the delivery ended under the recipient's own name, unless its copy shows something older than this revision.
    async fn ended(&self, revision: u32) -> Result<Option<Outcome>, store::Error> {
        let rows = self
            .context
            .ledger
            .look_up(std::slice::from_ref(&self.key))
            .await?;
        Ok(match rows.into_iter().flatten().next().map(|row| row.state) {
            Some(RowState::Settled(outcome)) if !outcome.is_behind(revision) => Some(outcome),
            Some(RowState::Settled(_) | RowState::Waiting { .. }) | None => None,
        })
    }

    /// The conversation that was made before the notification was stopped: its delivery may have to be brought up to date.
    async fn standing_or(&self, outcome: Outcome, person: Option<Person>) -> Result<Place, store::Error> {
        let Some(person) = person.and_then(|person| self.bucket?.person(person)) else {
            return Ok(Place::Nowhere(outcome));
        };
        let known = self.known(&person).await?;
        Ok(known.map_or(Place::Nowhere(outcome), Place::Conversation))
    }

    /// The conversation with a person, made if there is none.
    async fn meet(&self, person: PersonKey) -> Result<Place, store::Error> {
        let conversations = &self.context.conversations;
        let now = self.now();
        let until = self.invocation.deadline;
        match conversations.introduce(&person, now, until).await? {
            Introduction::Known(key) => return Ok(Place::Conversation(key)),
            Introduction::Busy { until } => {
                return Ok(Place::Later(until.min(later(now, ASK_MAKER_AGAIN))));
            }
            Introduction::Yours { .. } => {}
        }
        // They may have written to the bot since the audience was read.
        if let Some(key) = self.known(&person).await? {
            let made = Made::Conversation(key.clone());
            conversations.introduced(&person, &made, now).await?;
            return Ok(Place::Conversation(key));
        }
        let (made, place) = match self.make(&person).await? {
            Ok(key) => (Made::Conversation(key.clone()), Place::Conversation(key)),
            Err(why) => (Made::Nothing, self.not_made(why).await?),
        };
        conversations.introduced(&person, &made, self.now()).await?;
        if matches!(place, Place::Conversation(_)) && !self.may_request_again().await? {
            // It is made; the message has its own permit, later.
            return Ok(Place::Later(later(self.now(), ASK_MAKER_AGAIN)));
        }
        Ok(place)
    }

    /// A conversation of this person that the bot knows by now.
    async fn known(&self, person: &PersonKey) -> Result<Option<ConversationKey>, store::Error> {
        let selection = match &person.person {
            Person::User(id) => Selection::User(id.clone()),
            Person::Account(id) => Selection::Account(id.clone()),
        };
        let listing = self
            .context
            .conversations
            .list(&selection, None, OF_ONE_PERSON)
            .await?;
        let of_this_bot = |known: &Candidate| {
            known.key.bot == person.bot
                && known.key.channel == person.channel
                && known.facts.tenant.as_deref() == Some(person.tenant.as_str())
                && known.state == State::Active
        };
        Ok(listing.found.into_iter().find(of_this_bot).map(|known| known.key))
    }

    /// Makes the conversation, and remembers it like any other.
    async fn make(&self, person: &PersonKey) -> Result<Result<ConversationKey, NotMade>, store::Error> {
        let conversations = &self.context.conversations;
        let Some(service_url) = self.service_url(person).await? else {
            return Ok(Err(NotMade::NoServiceUrl));
        };
        let whom = match &person.person {
            Person::User(id) => connector::Person::Entra(id),
            Person::Account(id) => connector::Person::Account(id),
        };
        let parameters = ConversationParameters::one_person(whom, &person.bot, &person.tenant);
        let created = match self
            .context
            .connector
            .create_conversation(&service_url, &parameters)
            .await
        {
            Ok(created) => created,
            Err(error) => return Ok(Err(NotMade::Refused(error))),
        };
        let Some(id) = created.id else {
            return Ok(Err(NotMade::AnswerLost));
        };
        let service_url = created.service_url.unwrap_or(service_url);
        let sighting = Sighting::made(person, id, &service_url);
        let key = sighting.key.clone();
        conversations.remember(sighting, self.now()).await?;
        Ok(Ok(key))
    }

    /// Where this person's tenant is served: as another conversation there shows it, else the cloud's own.
    async fn service_url(&self, person: &PersonKey) -> Result<Option<String>, store::Error> {
        let conversations = &self.context.conversations;
        let selection = Selection::Tenant(person.tenant.clone());
        let listing = conversations.list(&selection, None, OF_ONE_PERSON).await?;
        let active = listing
            .found
            .into_iter()
            .find(|known| known.state == State::Active);
        let keys: Vec<ConversationKey> = active.map(|known| known.key).into_iter().collect();
        let shown = conversations.recall(&keys).await?.pop();
        let shown = shown.and_then(|shown| shown.service_urls.into_iter().next());
        let own = self.context.connector.trust().cloud().endpoints().service_url;
        Ok(shown.or_else(|| own.map(str::to_owned)))
    }

    /// What becomes of a delivery whose conversation was not made.
    async fn not_made(&self, why: NotMade) -> Result<Place, store::Error> {
        let error = match why {
            NotMade::Refused(error) => error,
            NotMade::AnswerLost => return Ok(Place::Later(later(self.now(), ASK_MAKER_AGAIN))),
            NotMade::NoServiceUrl => return Ok(skipped(SkipReason::NoConversation)),
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
        let asked = error
            .retry_after()
            .and_then(|wait| SignedDuration::try_from(wait.delay(now.into())).ok());
        let again = Place::Later(later(now, asked.unwrap_or(MAKE_AGAIN)));
        Ok(match reaction(error.reason()) {
            Reaction::Slow => {
                self.throttled(asked).await?;
                again
            }
            Reaction::Wait | Reaction::Stop | Reaction::Doubt { .. } => again,
            Reaction::Block if error.reason() == Reason::BlockedByUser => skipped(SkipReason::Blocked),
            Reaction::Block => skipped(SkipReason::NotInstalled),
            // The bot is turned off there, or cannot read: that is the tenant's to say, and is said as it was.
            Reaction::Strike => Place::Nowhere(Outcome::Gone { code: code(&error) }),
            Reaction::Readdress | Reaction::Recreate | Reaction::Reject => {
                Place::Nowhere(Outcome::Rejected {
                    code: code(&error),
                    detail: error.message().map(str::to_owned),
                })
            }
        })
    }
}

fn skipped(reason: SkipReason) -> Place {
    Place::Nowhere(Outcome::Skipped { reason })
}
