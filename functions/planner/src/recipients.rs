//! What one selector of an audience makes of conversations and names: recipients of a page.

use botframework::id::UserRef;
use herald::audience::{Audience, Recipient, SelectorMatcher};
use herald::backend::Backend;
use herald::conversation::State;
use herald::delivery::SkipReason;
use herald::id::NotificationId;
use herald::notification::{IfNoConversation, Notification, SendMode, SendPath};
use herald::rate_limit::Bucket;
use herald::store::{self, ConversationSummary, Notifications};
use herald::tenant_gate::TenantGate;

use crate::Context;

/// How many records are read concurrently.
pub(crate) const CONCURRENT_READS: usize = 16;

/// The recipients of one selector.
pub(crate) struct Recipients<'a, B: Backend> {
    pub(crate) context: &'a Context<B>,
    /// The rate limit of roster requests.
    pub(crate) gate: TenantGate<'a, B::Ledger>,
    pub(crate) id: &'a NotificationId,
    pub(crate) matcher: SelectorMatcher<'a>,
    pub(crate) if_no_conversation: IfNoConversation,
    audience: &'a Audience,
    send_mode: SendMode,
}

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
    ) -> Option<Self> {
        Some(Self {
            context,
            gate: TenantGate::new(&context.ledger, &context.limits, &context.clock),
            id: &notification.id,
            matcher: SelectorMatcher::new(audience, index)?,
            if_no_conversation: notification.if_no_conversation,
            audience,
            send_mode: notification.send_mode,
        })
    }

    /// A person without a conversation; with a path when one can be created, in this bucket.
    pub(crate) fn person(&self, bucket: Option<&Bucket>, person: UserRef) -> (Option<SendPath>, Recipient) {
        let recipient = match person {
            UserRef::Entra(id) => Recipient::User(id),
            UserRef::Account(id) => Recipient::Account(id),
        };
        let bucket = bucket.filter(|_| self.if_no_conversation != IfNoConversation::Skip);
        let path = bucket.map(|bucket| SendPath {
            send_mode: self.send_mode.for_person(&recipient, self.audience, bucket),
            bucket: bucket.clone(),
        });
        (path, recipient)
    }

    /// A conversation that is stored.
    pub(crate) fn conversation(&self, found: ConversationSummary) -> (Option<SendPath>, Recipient) {
        let bucket = Bucket::of(&found.key, found.attributes.tenant.as_deref());
        let path = SendPath {
            send_mode: self.send_mode.for_conversation(&found.attributes, &bucket),
            bucket,
        };
        (Some(path), Recipient::Conversation(found.key))
    }

    /// Whether the recipient is on another page already. If not, records that it is on this one.
    pub(crate) async fn already_planned(
        &self,
        at: PagePosition<'_>,
        recipient: &Recipient,
    ) -> Result<bool, store::Error> {
        let notifications = &self.context.notifications;
        let repeated = notifications
            .claim_recipients(self.id, at.page, std::slice::from_ref(recipient))
            .await?;
        Ok(!repeated.is_empty())
    }
}

/// Why the sender would skip this conversation, if it would.
pub(crate) fn unreachable_reason(candidate: &ConversationSummary) -> Option<SkipReason> {
    match candidate.state {
        State::Active => None,
        State::Removed => Some(SkipReason::Removed),
        State::Blocked { .. } => Some(SkipReason::Blocked),
    }
}
