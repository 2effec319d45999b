//! What one selector of an audience makes of conversations and names: recipients of a page.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use botframework::id::UserRef;
use herald::audience::{Audience, Recipient, SelectorMatcher};
use herald::backend::Backend;
use herald::companions;
use herald::conversation::{ConversationKey, State};
use herald::delivery::SkipReason;
use herald::notification::{IfNoConversation, Notification, SendPath};
use herald::rate_limit::Bucket;
use herald::store::{self, ConversationSummary, Notifications};
use herald::tenant_gate::TenantGate;
use herald::time::floor_millisecond;
use herald::timing::{self, Defaults, Habits};
use jiff::Timestamp;

use crate::Context;

/// How many records are read concurrently.
pub(crate) const CONCURRENT_READS: usize = 16;

/// The recipients of one selector.
pub(crate) struct Recipients<'a, B: Backend> {
    pub(crate) context: &'a Context<B>,
    /// The rate limit of roster requests.
    pub(crate) gate: TenantGate<'a, B::Ledger>,
    pub(crate) notification: &'a Notification,
    pub(crate) matcher: SelectorMatcher<'a>,
    audience: &'a Audience,
    /// What counts for those who chose nothing.
    defaults: Defaults,
    /// The preferred conversations of people who have several, as far as they were read.
    chosen: Mutex<Chosen>,
}

type Chosen = HashMap<(UserRef, Bucket), Option<ConversationKey>>;

/// The position of a page in the plan, and its cursor.
#[derive(Clone, Copy)]
pub(crate) struct PagePosition<'a> {
    /// The part, and the number of the page.
    pub(crate) page: (u16, u32),
    /// Where the page begins.
    pub(crate) cursor: Option<&'a str>,
}

impl<'a, B: Backend> Recipients<'a, B> {
    /// The recipients of the selector at `index`; `None` when the audience has none there.
    pub(crate) fn new(
        context: &'a Context<B>,
        notification: &'a Notification,
        audience: &'a Audience,
        index: usize,
        defaults: Defaults,
    ) -> Option<Self> {
        Some(Self {
            context,
            gate: TenantGate::new(&context.ledger, &context.limits, &context.clock),
            notification,
            matcher: SelectorMatcher::new(audience, index)?,
            audience,
            defaults,
            chosen: Mutex::default(),
        })
    }

    /// A person without a conversation; with a path when one can be created, in this bucket.
    pub(crate) fn person(&self, bucket: Option<&Bucket>, person: UserRef) -> (Option<SendPath>, Recipient) {
        let recipient = match person {
            UserRef::Entra(id) => Recipient::User(id),
            UserRef::Account(id) => Recipient::Account(id),
        };
        let bucket = bucket.filter(|_| self.notification.if_no_conversation != IfNoConversation::Skip);
        let path = bucket.map(|bucket| SendPath {
            send_mode: self
                .notification
                .send_mode
                .for_person(&recipient, self.audience, bucket),
            wave: self.due(Habits {
                tenant: bucket.tenant(),
                ..Habits::default()
            }),
            bucket: bucket.clone(),
        });
        (path, recipient)
    }

    /// A conversation that is stored.
    pub(crate) fn conversation(&self, found: ConversationSummary) -> (Option<SendPath>, Recipient) {
        let bucket = Bucket::of(&found.key, found.attributes.tenant.as_deref());
        let path = SendPath {
            send_mode: self
                .notification
                .send_mode
                .for_conversation(&found.attributes, &bucket),
            wave: self.due(Habits::from(&found)),
            bucket,
        };
        (Some(path), Recipient::Conversation(found.key))
    }

    /// Those of these conversations that get the notification: of a person with several, the preferred one of those that the audience
    /// selects (`DESIGN.md#companions`).
    pub(crate) async fn preferred(
        &self,
        candidates: Vec<ConversationSummary>,
        at: PagePosition<'_>,
    ) -> Result<Vec<ConversationSummary>, store::Error> {
        let mut preferred = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            if candidate.precedence.is_none() || self.is_preferred(&candidate, at).await? {
                preferred.push(candidate);
            }
        }
        Ok(preferred)
    }

    async fn is_preferred(
        &self,
        candidate: &ConversationSummary,
        at: PagePosition<'_>,
    ) -> Result<bool, store::Error> {
        let attributes = &candidate.attributes;
        let user = attributes.user.clone().map(UserRef::Entra);
        let account = attributes.account.clone().map(UserRef::Account);
        let Some(person) = user.or(account) else {
            return Ok(true);
        };
        let bucket = Bucket::of(&candidate.key, attributes.tenant.as_deref());
        let chosen = self.chosen_of(person.clone(), bucket).await?;
        // The index may not have the candidate yet.
        if chosen.is_some_and(|chosen| chosen != candidate.key) {
            return Ok(false);
        }
        // Another page may have read the conversations of the person before one of them changed.
        let person = self.person(None, person).1;
        Ok(!self.already_planned(at, &person).await?)
    }

    /// The conversation of a person that gets the notification: the preferred one of those that the audience selects. An exception
    /// counts for all of them.
    async fn chosen_of(
        &self,
        person: UserRef,
        bucket: Bucket,
    ) -> Result<Option<ConversationKey>, store::Error> {
        let name = (person, bucket);
        let known = self.chosen().get(&name).cloned();
        if let Some(chosen) = known {
            return Ok(chosen);
        }
        let companions = companions::of_person(&self.context.conversations, &name.0, &name.1).await?;
        let matcher = &self.matcher;
        let excepted = companions
            .iter()
            .find(|it| matcher.excepts(&it.key, &it.attributes));
        let selected = companions
            .iter()
            .filter(|it| matcher.is_selected(&it.key, &it.attributes));
        let chosen = excepted.or_else(|| companions::preferred(selected));
        let chosen = chosen.map(|chosen| chosen.key.clone());
        self.chosen().insert(name, chosen.clone());
        Ok(chosen)
    }

    fn chosen(&self) -> MutexGuard<'_, Chosen> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self, of: Habits<'_>) -> Option<Timestamp> {
        let now = self.context.clock.now();
        timing::due(self.notification, &self.defaults, of, now).map(floor_millisecond)
    }

    /// Why the sender would skip this conversation, if it would.
    pub(crate) fn skip_reason(&self, candidate: &ConversationSummary) -> Option<SkipReason> {
        match candidate.state {
            State::Active if self.notification.is_wanted(candidate.preferences.as_ref()) => None,
            // They may have a copy of its subject, which is edited; else the sender skips them.
            State::Active if self.notification.subject.is_some() => None,
            State::Active => Some(SkipReason::OptedOut),
            State::Removed => Some(SkipReason::Removed),
            State::Blocked { .. } => Some(SkipReason::Blocked),
        }
    }

    /// Whether the recipient is on another page already. If not, records that it is on this one.
    pub(crate) async fn already_planned(
        &self,
        at: PagePosition<'_>,
        recipient: &Recipient,
    ) -> Result<bool, store::Error> {
        let notifications = &self.context.notifications;
        let repeated = notifications
            .claim_recipients(&self.notification.id, at.page, std::slice::from_ref(recipient))
            .await?;
        Ok(!repeated.is_empty())
    }
}
