//! The members of a batch.

use botframework::id::UserRef;
use herald::Error;
use herald::audience::Recipient;
use herald::backend::Backend;
use herald::batch::BatchRecord;
use herald::conversation::{Conversation, ConversationKey, Scope, State};
use herald::delivery::{Outcome, SkipReason};
use herald::preferences;
use herald::store::{Conversations, Ledger};
use herald::timing::Habits;

use super::BatchRun;
use crate::chunk::{Pending, conversation_of};
use crate::create_conversation::Creator;
use crate::notification_cache::Snapshot;
use crate::resolve::{known_conversation, person_of};

/// The recipients of a chunk, by what becomes of them in its batch.
#[derive(Default)]
pub(super) struct Members {
    /// Those that are in it.
    pub(super) list: Vec<UserRef>,
    /// Those that cannot be, and are delivered individually.
    pub(super) excluded: Vec<Recipient>,
    /// Those that get nothing.
    pub(super) skipped: Vec<(Recipient, SkipReason)>,
    /// The newest service URLs of the members' conversations.
    service_urls: Vec<String>,
}

/// Why a recipient is no member.
enum ExclusionReason {
    Skipped(SkipReason),
    Excluded,
}

impl<B: Backend> BatchRun<'_, '_, B> {
    /// Finds the members. Read at the last moment: a person who has just uninstalled the bot, or opted out, gets nothing.
    pub(super) async fn members(&self) -> Result<Members, Error> {
        let mut members = Members::default();
        let conversations = self.conversations().await?;
        let snapshot = self.run.cache.latest().await?;
        for Pending { recipient, .. } in &self.run.open {
            let conversation = find(recipient, &conversations);
            match self.member(recipient, conversation, &snapshot).await? {
                Err(ExclusionReason::Skipped(reason)) => members.skipped.push((recipient.clone(), reason)),
                // A member that is in it twice would get it twice.
                Ok(member) if !members.list.contains(&member) => {
                    members.list.push(member);
                    let newest = conversation.and_then(|conversation| conversation.service_urls.first());
                    members.service_urls.extend(newest.cloned());
                }
                Ok(_) | Err(ExclusionReason::Excluded) => members.excluded.push(recipient.clone()),
            }
        }
        Ok(members)
    }

    async fn member(
        &self,
        recipient: &Recipient,
        conversation: Option<&Conversation>,
        snapshot: &Snapshot,
    ) -> Result<Result<UserRef, ExclusionReason>, Error> {
        let tenant = self.run.tenant();
        let member = match recipient {
            Recipient::Conversation(_) => {
                let skipped = ExclusionReason::Skipped(SkipReason::NoConversation);
                return Ok(conversation
                    .ok_or(skipped)
                    .and_then(|known| self.member_of(known, snapshot)));
            }
            Recipient::User(id) => UserRef::Entra(id.clone()),
            Recipient::Account(id) => UserRef::Account(id.clone()),
            Recipient::UnknownConversation(_) | Recipient::Missed(_) => {
                return Ok(Err(ExclusionReason::Excluded));
            }
        };
        // A person who was unknown when the audience was read may have a conversation by now.
        if let Some(person) = person_of(recipient, tenant) {
            if known_conversation(tenant, &person).await?.is_some() {
                return Ok(Err(ExclusionReason::Excluded));
            }
            let preferences = preferences::of_person(&tenant.context().conversations, &person).await?;
            if !snapshot.head.is_wanted(preferences.as_ref()) {
                return Ok(Err(ExclusionReason::Skipped(SkipReason::OptedOut)));
            }
            let of = Habits {
                preferences: preferences.as_ref(),
                tenant: Some(person.tenant.as_str()),
                zone: None,
            };
            if snapshot.quiet_until(of, self.run.invocation.now()).is_some() {
                return Ok(Err(ExclusionReason::Excluded));
            }
        }
        Ok(Ok(member))
    }

    /// The person of a conversation.
    fn member_of(
        &self,
        conversation: &Conversation,
        snapshot: &Snapshot,
    ) -> Result<UserRef, ExclusionReason> {
        let now = self.run.invocation.now();
        match conversation.state {
            State::Active if snapshot.head.is_wanted(conversation.preferences.as_ref()) => {
                // What is delivered individually is held until they end.
                if snapshot.quiet_until(Habits::from(conversation), now).is_some() {
                    return Err(ExclusionReason::Excluded);
                }
            }
            State::Active => return Err(ExclusionReason::Skipped(SkipReason::OptedOut)),
            State::Removed => return Err(ExclusionReason::Skipped(SkipReason::Removed)),
            State::Blocked { .. } => return Err(ExclusionReason::Skipped(SkipReason::Blocked)),
        }
        let attributes = &conversation.attributes;
        let tenant = self.run.chunk.bucket.as_ref().and_then(|bucket| bucket.tenant());
        if attributes.scope != Scope::Personal || attributes.tenant.as_deref() != tenant {
            return Err(ExclusionReason::Excluded);
        }
        let account = attributes.account.clone().map(UserRef::Account);
        account
            .or_else(|| attributes.user.clone().map(UserRef::Entra))
            .ok_or(ExclusionReason::Excluded)
    }

    /// The conversations of the open deliveries.
    pub(super) async fn conversations(&self) -> Result<Vec<Conversation>, Error> {
        let open = self.run.open.iter();
        let keys: Vec<ConversationKey> = open
            .filter_map(|open| conversation_of(&open.recipient))
            .cloned()
            .collect();
        Ok(self.run.invocation.context.conversations.get_many(&keys).await?)
    }

    /// The service URL of most members, else of their tenant.
    pub(super) async fn service_url(&self, members: &Members) -> Result<Option<String>, Error> {
        let mut counts: Vec<(&String, usize)> = Vec::new();
        for url in &members.service_urls {
            match counts.iter_mut().find(|(known, _)| *known == url) {
                Some((_, count)) => *count += 1,
                None => counts.push((url, 1)),
            }
        }
        if let Some((url, _)) = counts.into_iter().max_by_key(|(_, count)| *count) {
            return Ok(Some(url.clone()));
        }
        let tenant = self.run.tenant();
        let mut open = self.run.open.iter();
        let Some(person) = open.find_map(|open| person_of(&open.recipient, tenant)) else {
            return Ok(None);
        };
        let person = &person;
        Ok(Creator { tenant, person }.service_url().await?)
    }

    /// Ends the deliveries that are skipped.
    pub(super) async fn skip(
        &mut self,
        skipped: &[(Recipient, SkipReason)],
        begun: &BatchRecord,
    ) -> Result<(), Error> {
        if skipped.is_empty() {
            return Ok(());
        }
        self.run.chunk.begun = true;
        let mut ended = Vec::new();
        for (recipient, reason) in skipped {
            let outcome = begun.lease().final_outcome(Outcome::Skipped { reason: *reason });
            let outcome = self
                .ledger()
                .settle_unclaimed(&self.run.key(recipient), &outcome)
                .await?;
            ended.push((recipient.clone(), outcome));
        }
        self.run
            .open
            .retain(|open| skipped.iter().all(|(recipient, _)| *recipient != open.recipient));
        self.run.count_batched(&ended).await
    }
}

/// The conversation of a recipient, among these.
pub(super) fn find<'c>(recipient: &Recipient, conversations: &'c [Conversation]) -> Option<&'c Conversation> {
    let key = conversation_of(recipient)?;
    conversations.iter().find(|conversation| conversation.key == *key)
}
