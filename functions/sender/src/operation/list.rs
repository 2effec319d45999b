//! Whom a batch is for.

use botframework::connector;
use botframework::id::{ChannelAccountId, EntraObjectId};
use herald::Error;
use herald::audience::Recipient;
use herald::conversation::{Conversation, ConversationKey, Person, PersonKey, Scope, State};
use herald::delivery::{Outcome, SkipReason};
use herald::event::Events;
use herald::operation::Operation;
use herald::queue::Queue;
use herald::store::{Conversations, Ledger, Notifications, Paces};

use crate::work::{Open, Work, conversation_key};

/// Whom a batch is for.
#[derive(Default)]
pub(super) struct List {
    /// Those who are in it, by the name that the channel is told.
    pub(super) names: Vec<Name>,
    /// Those who cannot be, and go the ordinary way.
    pub(super) aside: Vec<Recipient>,
    /// Those who are not to be sent to.
    pub(super) skipped: Vec<(Recipient, SkipReason)>,
    /// Where they are served, each as their own conversation shows it.
    service_urls: Vec<String>,
}

/// A person by the name that the channel is told.
#[derive(PartialEq, Eq)]
pub(super) enum Name {
    Account(ChannelAccountId),
    User(EntraObjectId),
}

impl<C, N, L, Q, E> Work<'_, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Queue,
    E: Events,
{
    /// Whom the batch is for: read at the last moment, so that who has just uninstalled the bot is not in it.
    pub(super) async fn list(&self) -> Result<List, Error> {
        let mut list = List::default();
        let conversations = self.recalled().await?;
        for Open { recipient, .. } in &self.open {
            let conversation = shown(recipient, &conversations);
            let name = match (recipient, conversation) {
                (Recipient::Conversation(_), None) => Err(Some(SkipReason::NoConversation)),
                (Recipient::Conversation(_), Some(conversation)) => self.name(conversation),
                // Who is known by now has a conversation.
                (Recipient::User(_) | Recipient::Account(_), _) if self.is_known(recipient).await? => {
                    Err(None)
                }
                (Recipient::User(id), _) => Ok(Name::User(id.clone())),
                (Recipient::Account(id), _) => Ok(Name::Account(id.clone())),
                (Recipient::UnknownConversation(_), _) => Err(None),
            };
            match name {
                Err(Some(reason)) => list.skipped.push((recipient.clone(), reason)),
                // Who is in it twice would get it twice.
                Ok(name) if !list.names.contains(&name) => {
                    list.names.push(name);
                    let newest = conversation.and_then(|conversation| conversation.service_urls.first());
                    list.service_urls.extend(newest.cloned());
                }
                Ok(_) | Err(None) => list.aside.push(recipient.clone()),
            }
        }
        Ok(list)
    }

    /// The name of the person of a conversation, or why they are skipped, or nothing when no batch can reach them.
    fn name(&self, conversation: &Conversation) -> Result<Name, Option<SkipReason>> {
        match conversation.state {
            State::Active => {}
            State::Removed => return Err(Some(SkipReason::Removed)),
            State::Blocked { .. } => return Err(Some(SkipReason::Blocked)),
        }
        let attributes = &conversation.attributes;
        let tenant = self.chunk.bucket.as_ref().and_then(|bucket| bucket.tenant());
        if attributes.scope != Scope::Personal || attributes.tenant.as_deref() != tenant {
            return Err(None);
        }
        let account = attributes.account.clone().map(Name::Account);
        account
            .or_else(|| attributes.user.clone().map(Name::User))
            .ok_or(None)
    }

    /// The conversations that are open in this chunk, as they are now.
    pub(super) async fn recalled(&self) -> Result<Vec<Conversation>, Error> {
        let keys = self
            .open
            .iter()
            .filter_map(|open| conversation_key(&open.recipient));
        let keys: Vec<ConversationKey> = keys.cloned().collect();
        Ok(self.context.conversations.get_many(&keys).await?)
    }

    /// Whether somebody whom nobody knew when the audience was read has a conversation by now.
    async fn is_known(&self, recipient: &Recipient) -> Result<bool, Error> {
        let Some(person) = self.person(recipient) else {
            return Ok(false);
        };
        Ok(self.delivery(recipient).known(&person).await?.is_some())
    }

    fn person(&self, recipient: &Recipient) -> Option<PersonKey> {
        let person = match recipient {
            Recipient::User(id) => Person::User(id.clone()),
            Recipient::Account(id) => Person::Account(id.clone()),
            Recipient::Conversation(_) | Recipient::UnknownConversation(_) => return None,
        };
        self.chunk.bucket.as_ref()?.person(person)
    }

    /// Where most of them are served, or their tenant.
    pub(super) async fn service_url(&self, list: &List) -> Result<Option<String>, Error> {
        let mut counts: Vec<(&String, usize)> = Vec::new();
        for url in &list.service_urls {
            match counts.iter_mut().find(|(known, _)| *known == url) {
                Some((_, count)) => *count += 1,
                None => counts.push((url, 1)),
            }
        }
        if let Some((url, _)) = counts.into_iter().max_by_key(|(_, count)| *count) {
            return Ok(Some(url.clone()));
        }
        let someone = self.open.iter().find_map(|open| {
            let person = self.person(&open.recipient)?;
            Some((&open.recipient, person))
        });
        Ok(match someone {
            Some((recipient, person)) => self.delivery(recipient).service_url(&person).await?,
            None => None,
        })
    }

    /// Ends those who are not to be sent to.
    pub(super) async fn skip(
        &mut self,
        skipped: &[(Recipient, SkipReason)],
        begun: &Operation,
    ) -> Result<(), Error> {
        if skipped.is_empty() {
            return Ok(());
        }
        self.chunk.begun = true;
        let mut ended = Vec::new();
        for (recipient, reason) in skipped {
            let outcome = begun.lease().ending(Outcome::Skipped { reason: *reason });
            let standing = self
                .context
                .ledger
                .settle_unclaimed(&self.key(recipient), &outcome)
                .await?;
            ended.push((recipient.clone(), standing));
        }
        self.open
            .retain(|open| skipped.iter().all(|(recipient, _)| *recipient != open.recipient));
        self.count(&ended).await
    }
}

impl Name {
    pub(super) fn person(&self) -> connector::Person<'_> {
        match self {
            Self::Account(id) => connector::Person::Account(id),
            Self::User(id) => connector::Person::Entra(id),
        }
    }
}

/// The conversation of a recipient, among these.
pub(super) fn shown<'c>(
    recipient: &Recipient,
    conversations: &'c [Conversation],
) -> Option<&'c Conversation> {
    let key = conversation_key(recipient)?;
    conversations.iter().find(|conversation| conversation.key == *key)
}
