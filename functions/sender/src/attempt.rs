//! One attempt: its requests to the Connector, and what follows from each failure by the table of [`herald::retry`].

use std::borrow::Cow;

use botframework::cloud::GCC_SERVICE_URL;
use botframework::connector::{self, Class, ConversationParameters, Person, Reason, SendReceipt};
use botframework::id::{ActivityId, ConversationId};
use herald::conversation::{Conversation, Feedback, Observation, Scope};
use herald::delivery::{self, Attempt, Lease, Next, Outcome, Policy};
use herald::rate_limit::{self, Bucket, Limit, PermitRequest, Reservation, TenantRate};
use herald::retry::{Reaction, reaction, retry_after};
use herald::store::{self, Conversations, Ledger, Notifications, Paces};
use jiff::{SignedDuration, Timestamp};

use crate::delivery::{Delivery, stopped};
use crate::later;
use crate::view::Seen;

/// How long before the invocation's end an attempt makes no further request.
const LAST_REQUEST: SignedDuration = SignedDuration::from_secs(25);

/// How many attempts find no conversation before it is gone.
const NOT_FOUND_MAX: u32 = 3;

/// How long a conversation that was not found is left alone.
const NOT_FOUND_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// How long copies are brought up to date after an edit.
const REVISED_FOR_MAX: SignedDuration = SignedDuration::from_hours(24);

/// What one attempt came to.
pub(crate) struct Made {
    /// What is written of the delivery.
    pub(crate) next: Next,
    /// What is written of other things, after it.
    pub(crate) learned: Vec<Learned>,
}

/// What an attempt found out about more than its delivery.
pub(crate) enum Learned {
    /// Of the conversation.
    Found(Feedback),
    /// The conversation has another id by now.
    Succeeded(ConversationId),
    /// The tenant was throttled.
    Throttled(Option<SignedDuration>),
}

impl Made {
    pub(crate) fn only(next: Next) -> Self {
        Self {
            next,
            learned: Vec::new(),
        }
    }
}

/// A conversation as it is written to: where, and under which id.
pub(crate) struct Place<'a> {
    pub(crate) service_url: Cow<'a, str>,
    pub(crate) id: Cow<'a, ConversationId>,
}

/// What the requests of an attempt came to.
pub(crate) enum Came {
    /// The answer to the last one: the id that the channel gave, or the failure.
    To(Result<Option<ActivityId>, connector::Error>),
    /// They end after this refusal, before the one that would have followed: there is no time for it, or no permit.
    Short(connector::Error),
    /// The message went to another conversation, whose own row says what came of it; and so does this delivery's.
    Elsewhere(Next),
}

impl<C, N, L, Q, E> Delivery<'_, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Sync,
    E: Sync,
{
    /// One attempt, and what follows from it.
    pub(crate) async fn attempt(
        &self,
        lease: &Lease,
        seen: &Seen,
        conversation: &Conversation,
    ) -> Result<Made, store::Error> {
        if seen.message.is_none() && lease.copy.is_none() {
            // There is nothing to be sent: it was retracted.
            return Ok(Made::only(Next::Settle(lease.ending(Outcome::Cancelled))));
        }
        let mut learned = Vec::new();
        let next = match self.requests(lease, seen, conversation, &mut learned).await? {
            Came::Elsewhere(next) => next,
            Came::To(answer) => self.follows(answer, lease, seen, &mut learned).await?,
            Came::Short(error) => {
                // The last request was refused, and the next one was never made.
                let (code, retry_after) = (code(&error), None);
                self.next(Attempt::NotSent { code, retry_after }, lease, seen)
            }
        };
        Ok(Made { next, learned })
    }

    /// What follows from the last answer.
    pub(crate) async fn follows(
        &self,
        answer: Result<Option<ActivityId>, connector::Error>,
        lease: &Lease,
        seen: &Seen,
        learned: &mut Vec<Learned>,
    ) -> Result<Next, store::Error> {
        let attempt = match answer {
            Ok(activity) => Attempt::Delivered(activity),
            Err(error) => {
                tracing::warn!(
                    error_type = "SendFailed",
                    reason = ?error.reason(),
                    code = error.code(),
                    status = error.status(),
                    notification = %seen.head.id,
                    correlation = error.correlation(),
                    "attempt failed"
                );
                match reaction(error.reason()) {
                    Reaction::Stop => return Ok(self.refused(lease, &error)),
                    reaction => self.failed(reaction, &error, lease, learned).await?,
                }
            }
        };
        Ok(self.next(attempt, lease, seen))
    }

    pub(crate) fn next(&self, attempt: Attempt, lease: &Lease, seen: &Seen) -> Next {
        let head = &seen.head;
        let ends_at = match &lease.copy {
            None => head.expires_at,
            Some(_) => later(head.revised_at.unwrap_or(head.accepted_at), REVISED_FOR_MAX),
        };
        let policy = Policy {
            guarantee: head.guarantee,
            revision: head.revision,
            ends_at,
        };
        let chance = match &attempt {
            // It waits for nothing; chance costs a call of the system.
            Attempt::Delivered(_) => 0,
            Attempt::NotSent { .. }
            | Attempt::Rejected { .. }
            | Attempt::CopyGone
            | Attempt::Gone(_)
            | Attempt::Unknown { .. } => self.context.draw(),
        };
        delivery::next(lease, attempt, policy, self.now(), chance)
    }

    /// The request, and where the first is sent elsewhere, the others.
    async fn requests(
        &self,
        lease: &Lease,
        seen: &Seen,
        conversation: &Conversation,
        learned: &mut Vec<Learned>,
    ) -> Result<Came, store::Error> {
        let first = self.addresses(conversation).next().unwrap_or_default();
        // Those that are tried after it, the next one last: hardly ever asked for.
        let mut others = None;
        let mut place = Place {
            service_url: Cow::Borrowed(first),
            id: Cow::Borrowed(&conversation.key.conversation),
        };
        let mut recreated = false;
        loop {
            let error = match self.request(lease, seen, conversation, &place).await {
                Ok(activity) => {
                    if place.service_url != first {
                        let url = place.service_url.into_owned();
                        learned.push(Learned::Found(Feedback::ServiceUrl(url)));
                    }
                    return Ok(Came::To(Ok(activity)));
                }
                Err(error) => error,
            };
            match reaction(error.reason()) {
                Reaction::Readdress => {
                    let Some(next) = self.next_address(conversation, &mut others, &error) else {
                        return Ok(Came::To(Err(error)));
                    };
                    place.service_url = Cow::Borrowed(next);
                }
                Reaction::Recreate if !recreated && lease.copy.is_none() => {
                    let Some(parameters) = parameters(conversation) else {
                        return Ok(Came::To(Err(error)));
                    };
                    if !self.goes_on().await? || self.is_outdated(lease, seen).await? {
                        return Ok(Came::Short(error));
                    }
                    recreated = true;
                    // Nor need the old name have been asked where the person is served by now.
                    let created = loop {
                        let connector = &self.context.connector;
                        let created = connector.create_conversation(&place.service_url, &parameters);
                        let failure = match created.await {
                            Ok(created) => break created,
                            Err(failure) => failure,
                        };
                        // What creating says is about the person; what is unknown of it leaves the message unsent.
                        if failure.class() == Class::Ambiguous {
                            return Ok(Came::Short(error));
                        }
                        let Some(next) = self.next_address(conversation, &mut others, &failure) else {
                            return Ok(Came::To(Err(failure)));
                        };
                        place.service_url = Cow::Borrowed(next);
                        if !self.goes_on().await? || self.is_outdated(lease, seen).await? {
                            return Ok(Came::Short(error));
                        }
                    };
                    if let Some(url) = created.service_url {
                        place.service_url = Cow::Owned(url);
                    }
                    if let Some(id) = created.id.filter(|id| *id != *place.id) {
                        learned.push(Learned::Succeeded(id.clone()));
                        place.id = Cow::Owned(id);
                        return self
                            .to_successor(lease, conversation, &place, error, learned)
                            .await;
                    }
                }
                _ => return Ok(Came::To(Err(error))),
            }
            if !self.goes_on().await? || self.is_outdated(lease, seen).await? {
                return Ok(Came::Short(error));
            }
        }
    }

    /// The address to try next after this failure, if there is one; `others` are those that are left.
    pub(crate) fn next_address<'c>(
        &'c self,
        conversation: &'c Conversation,
        others: &mut Option<Vec<&'c str>>,
        error: &connector::Error,
    ) -> Option<&'c str> {
        if reaction(error.reason()) != Reaction::Readdress {
            return None;
        }
        let others = others.get_or_insert_with(|| self.others(conversation));
        if error.reason() == Reason::WrongCloud {
            // The tenant is in GCC, and nowhere else.
            others.retain(|url| *url == GCC_SERVICE_URL);
        }
        others.pop()
    }

    /// One request: the message is sent, or its copy changed or deleted.
    pub(crate) async fn request(
        &self,
        lease: &Lease,
        seen: &Seen,
        conversation: &Conversation,
        place: &Place<'_>,
    ) -> Result<Option<ActivityId>, connector::Error> {
        let connector = &self.context.connector;
        let Place { service_url, id } = place;
        let copy = lease.copy.as_ref().and_then(|copy| copy.activity.as_ref());
        let message = seen.message.as_ref().map(|message| {
            let message = message.to(&conversation.reference).in_conversation(id);
            match conversation.attributes.scope {
                Scope::Personal => message,
                // Whoever spoke last there is not who this is for.
                Scope::GroupChat | Scope::Channel => message.without_recipient(),
            }
        });
        let receipt = match (&message, copy) {
            (Some(message), Some(copy)) => connector.update_activity(service_url, id, copy, message).await,
            (Some(message), None) => connector.send_to_conversation(service_url, id, message).await,
            (None, Some(copy)) => connector
                .delete_activity(service_url, id, copy)
                .await
                .map(|()| SendReceipt::default()),
            (None, None) => Ok(SendReceipt::default()),
        };
        receipt.map(|receipt| receipt.activity_id)
    }

    /// Every service URL that may serve this conversation, in the order they are tried: the newest that was seen, trusted or
    /// not, since a record that was tampered with is to be refused and not mended; the others, the cloud's own, and GCC's, as
    /// far as they are trusted. Some may come twice.
    fn addresses<'c>(&'c self, conversation: &'c Conversation) -> impl Iterator<Item = &'c str> {
        let trust = self.context.connector.trust();
        let mut seen = conversation.service_urls.iter().map(String::as_str);
        let newest = seen.next();
        let global = trust.cloud().endpoints().service_url;
        let others = seen.chain(global).chain([GCC_SERVICE_URL]);
        newest
            .into_iter()
            .chain(others.filter(|url| trust.check(url).is_ok()))
    }

    /// All of them but the first, each once, the one to be tried next at the end.
    fn others<'c>(&'c self, conversation: &'c Conversation) -> Vec<&'c str> {
        let mut known: Vec<&str> = Vec::new();
        for url in self.addresses(conversation) {
            if !known.contains(&url) {
                known.push(url);
            }
        }
        known.reverse();
        known.pop();
        known
    }

    /// What a failure comes to for the delivery, and for more than it.
    async fn failed(
        &self,
        reaction: Reaction,
        error: &connector::Error,
        lease: &Lease,
        learned: &mut Vec<Learned>,
    ) -> Result<Attempt, store::Error> {
        let code = code(error);
        let now = self.now();
        let asked = retry_after(error, now);
        let not_sent = |code, retry_after| Attempt::NotSent { code, retry_after };
        Ok(match reaction {
            Reaction::Slow => {
                learned.push(Learned::Throttled(asked));
                not_sent(code, asked)
            }
            Reaction::Wait | Reaction::Stop => not_sent(code, asked),
            Reaction::Reject if error.reason() == Reason::ActivityNotFound && lease.copy.is_some() => {
                Attempt::CopyGone
            }
            // Nobody serves it at any address we know.
            Reaction::Readdress | Reaction::Reject => Attempt::Rejected {
                code,
                detail: error.message().map(str::to_owned),
            },
            // Healthy ones are not found now and then, and nothing was carried out.
            Reaction::Recreate if lease.attempt < NOT_FOUND_MAX => not_sent(code, Some(NOT_FOUND_WAIT)),
            Reaction::Recreate => {
                learned.push(Learned::Found(Feedback::NotFound(code.clone())));
                Attempt::Gone(code)
            }
            Reaction::Block => {
                learned.push(Learned::Found(Feedback::Blocked(code.clone())));
                Attempt::Gone(code)
            }
            Reaction::Strike => match self.strike(&code).await? {
                Some(until) => not_sent(code, Some(until.duration_since(now))),
                None => {
                    learned.push(Learned::Found(Feedback::Blocked(code.clone())));
                    Attempt::Gone(code)
                }
            },
            Reaction::Doubt { most } => Attempt::Unknown { code, most },
        })
    }

    /// Counts a refusal that may be the tenant's; until when the tenant is paused, if it is.
    pub(crate) async fn strike(&self, code: &str) -> Result<Option<Timestamp>, store::Error> {
        let Some(bucket) = self.bucket else {
            return Ok(None);
        };
        let now = self.now();
        let rule = |pace: &TenantRate| {
            let new = rate_limit::record_failure(pace, code, now);
            (new.breaker.clone(), Some(new))
        };
        let pause = self.context.ledger.apply(bucket, rule).await?;
        self.invocation.suspect(bucket);
        let until = pause.map(|pause| pause.until).filter(|until| *until > now);
        if let Some(until) = until {
            tracing::error!(
                error_type = "TenantPaused",
                code,
                "several conversations of a tenant refuse: nothing is sent to it for a while"
            );
            self.invocation.hold(bucket, until);
        }
        Ok(until)
    }

    /// Writes down what an attempt found out beside its delivery.
    pub(crate) async fn learn(
        &self,
        conversation: &Conversation,
        learned: Vec<Learned>,
    ) -> Result<(), store::Error> {
        let (conversations, now) = (&self.context.conversations, self.now());
        for learned in learned {
            match learned {
                Learned::Found(feedback) => {
                    conversations
                        .apply_feedback(&conversation.key, conversation.version, &feedback, now)
                        .await?;
                }
                Learned::Succeeded(id) => {
                    conversations
                        .remember(Observation::replacement(conversation, id), now)
                        .await?;
                    conversations.mark_removed(&conversation.key, now).await?;
                }
                Learned::Throttled(asked) => self.throttled(asked).await?,
            }
        }
        Ok(())
    }

    pub(crate) async fn throttled(&self, asked: Option<SignedDuration>) -> Result<(), store::Error> {
        match self.bucket {
            Some(bucket) => self.slow(bucket, self.context.limits.tenant, asked).await,
            None => Ok(()),
        }
    }

    /// A bucket was throttled, and is to wait so long.
    pub(crate) async fn slow(
        &self,
        bucket: &Bucket,
        limit: Limit,
        asked: Option<SignedDuration>,
    ) -> Result<(), store::Error> {
        let now = self.now();
        let rule = |pace: &TenantRate| {
            let new = rate_limit::throttle(pace, limit, asked, now);
            (new.next_slot, Some(new))
        };
        if let Some(asked) = asked {
            self.invocation.hold(bucket, later(now, asked));
        }
        self.context.ledger.apply(bucket, rule).await?;
        Ok(())
    }

    /// Whether the attempt may make another request: whether there is time for it, and a permit, once that has come.
    pub(crate) async fn goes_on(&self) -> Result<bool, store::Error> {
        Ok(!self.is_over() && self.may_request_again().await?)
    }

    /// Whether what was to be sent is not any more what it was when the attempt began: it expired, or was cancelled or edited.
    pub(crate) async fn is_outdated(&self, lease: &Lease, seen: &Seen) -> Result<bool, store::Error> {
        let Some(newest) = self.view.newest().await? else {
            return Ok(true);
        };
        let ends = lease.copy.is_none() && stopped(&newest.head, self.now()).is_some();
        Ok(ends || newest.head.revision != seen.head.revision)
    }

    /// Takes a permit for one request more and waits for it; `false` when there is none soon.
    async fn may_request_again(&self) -> Result<bool, store::Error> {
        match self.bucket {
            Some(bucket) => Ok(self.permit(bucket, self.context.limits.tenant).await?.is_ok()),
            None => Ok(true),
        }
    }

    /// Takes a bucket's permit for one request and waits for it; when there is none soon, the moment to ask again.
    pub(crate) async fn permit(
        &self,
        bucket: &Bucket,
        limit: Limit,
    ) -> Result<Result<(), Timestamp>, store::Error> {
        let now = self.now();
        if let Some(until) = self.invocation.held_until(bucket, now) {
            return Ok(Err(until));
        }
        let wish = PermitRequest {
            slots: 1,
            total: 1,
            ticket: Some(now),
        };
        let rule = |pace: &TenantRate| rate_limit::reserve(pace, limit, wish, now);
        match self.context.ledger.apply(bucket, rule).await? {
            Reservation::Permits(permits) => {
                self.context.wait_until(permits.slot(0)).await;
                // It is void if the bucket was throttled meanwhile.
                Ok(self.invocation.held_until(bucket, self.now()).map_or(Ok(()), Err))
            }
            Reservation::Later { until, .. } => Ok(Err(until)),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        later(self.now(), LAST_REQUEST) > self.invocation.deadline
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.context.clock.now()
    }
}

/// What creates the conversation with this person once more; `None` when it is not one person's, or we do not know whose.
fn parameters(conversation: &Conversation) -> Option<ConversationParameters> {
    let attributes = &conversation.attributes;
    if attributes.scope != Scope::Personal {
        return None;
    }
    let person = match (&attributes.account, &attributes.user) {
        (Some(account), _) => Person::Account(account),
        (None, Some(user)) => Person::Entra(user),
        (None, None) => return None,
    };
    let tenant = attributes.tenant.as_deref()?;
    Some(ConversationParameters::one_person(
        person,
        &conversation.key.bot,
        tenant,
    ))
}

/// The channel's word for a failure, or ours when it has none.
pub(crate) fn code(error: &connector::Error) -> String {
    match (error.code(), error.status(), error.reason()) {
        (Some(code), _, _) => code.to_owned(),
        (None, Some(status), _) => format!("Http{status}"),
        (None, None, Reason::Unreachable) => "NotConnected".to_owned(),
        (None, None, Reason::NoResponse) => "NoAnswer".to_owned(),
        (None, None, _) => "NotSendable".to_owned(),
    }
}
