//! The tags of a conversation, for the bot's code: the same tags that callers set.

use std::fmt;
use std::sync::Arc;

use botframework::app::Error;
use botframework::auth::VerifiedActivity;
use botframework::http::BoxFuture;
use botframework::reference::ConversationReference;
use herald::clock::Clock;
use herald::conversation::{ConversationKey, normalize_tag};
use herald::store::{self, Conversations};

use crate::topics::Topics;

/// The tags of the conversation of a turn. A thread in a channel has those of the channel. A handler has them from
/// [`Context::get`](botframework::app::Context::get).
#[derive(Clone)]
pub struct Tags {
    store: Arc<dyn TagStore>,
    topics: Topics,
    /// `None` if no channel vouches for the conversation.
    conversation: Option<ConversationKey>,
}

/// The store, as far as tags need it.
pub(crate) trait TagStore: Send + Sync {
    fn tag<'a>(
        &'a self,
        conversation: &'a ConversationKey,
        add: &'a [String],
        remove: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, store::Error>>;
}

/// The tags in a store of conversations.
#[derive(Debug)]
pub(crate) struct StoredTags<C> {
    pub(crate) store: C,
    pub(crate) clock: Clock,
}

impl<C: Conversations> TagStore for StoredTags<C> {
    fn tag<'a>(
        &'a self,
        conversation: &'a ConversationKey,
        add: &'a [String],
        remove: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Vec<String>>, store::Error>> {
        Box::pin(self.store.tag(conversation, add, remove, self.clock.now()))
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tags")
            .field("topics", &self.topics)
            .field("conversation", &self.conversation)
            .finish_non_exhaustive()
    }
}

/// The result of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagResult {
    /// The tag is as requested, now or before.
    Done,
    /// Not a tag: those have 1 to 64 bytes and no control characters.
    Invalid,
    /// Not a topic that people may join or leave.
    NotATopic,
    /// The conversation has 20 other tags.
    TooMany,
    /// The conversation is not stored: another bot sent the activity, and no channel vouches for the conversation it names.
    NoConversation,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Add,
    Remove,
}

impl Tags {
    /// The tags of the conversation of an activity.
    pub(crate) fn new(store: Arc<dyn TagStore>, topics: Topics, activity: &VerifiedActivity) -> Self {
        let reference = ConversationReference::from_activity(activity.activity());
        let key = ConversationKey::of(&reference).filter(|_| activity.is_from_channel());
        Self {
            store,
            topics,
            conversation: key.map(|key| ConversationKey {
                conversation: key.conversation.channel(),
                ..key
            }),
        }
    }

    /// The topics that people may join.
    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    /// All tags of the conversation, sorted; none if it is not stored.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn all(&self) -> Result<Vec<String>, Error> {
        let Some(conversation) = &self.conversation else {
            return Ok(Vec::new());
        };
        let tags = self.store.tag(conversation, &[], &[]).await.map_err(Error::bot)?;
        Ok(tags.unwrap_or_default())
    }

    /// Adds the tag of a topic, because a person asks for it. What is no topic of the deployment is refused.
    ///
    /// # Errors
    /// As of [`add`](Self::add).
    pub async fn join(&self, said: &str) -> Result<TagResult, Error> {
        match self.topics.named(said) {
            Some(topic) => self.add(topic).await,
            None => Ok(TagResult::NotATopic),
        }
    }

    /// Removes the tag of a topic, because a person asks for it. What is no topic of the deployment is refused.
    ///
    /// # Errors
    /// As of [`add`](Self::add).
    pub async fn leave(&self, said: &str) -> Result<TagResult, Error> {
        match self.topics.named(said) {
            Some(topic) => self.remove(topic).await,
            None => Ok(TagResult::NotATopic),
        }
    }

    /// Adds a tag by the bot's own decision; [`join`](Self::join) is for what a person says. From now on the conversation is in the audience `{"tag": name}`.
    ///
    /// # Errors
    /// When the store is unavailable. Let the turn fail by it, so that the channel repeats the activity.
    pub async fn add(&self, name: &str) -> Result<TagResult, Error> {
        self.change(name, Change::Add).await
    }

    /// Removes a tag, if the conversation has it.
    ///
    /// # Errors
    /// As of [`add`](Self::add).
    pub async fn remove(&self, name: &str) -> Result<TagResult, Error> {
        self.change(name, Change::Remove).await
    }

    async fn change(&self, name: &str, change: Change) -> Result<TagResult, Error> {
        let Some(conversation) = &self.conversation else {
            return Ok(TagResult::NoConversation);
        };
        let Some(name) = normalize_tag(name) else {
            return Ok(TagResult::Invalid);
        };
        let name = [name];
        let (add, remove) = match change {
            Change::Add => (&name[..], &[][..]),
            Change::Remove => (&[][..], &name[..]),
        };
        let tags = self.store.tag(conversation, add, remove).await;
        Ok(match tags.map_err(Error::bot)? {
            None => TagResult::NoConversation,
            Some(tags) if change == Change::Add && !tags.contains(&name[0]) => TagResult::TooMany,
            Some(_) => TagResult::Done,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use botframework::activity::Activity;
    use botframework::auth::Authenticator;
    use botframework::cloud::Cloud;
    use herald::inbound;
    use herald::store::memory::Store;
    use http::HeaderMap;

    use super::*;

    async fn verified() -> VerifiedActivity {
        let body = br#"{"type": "message", "channelId": "msteams", "serviceUrl": "http://localhost:3978/",
            "from": {"id": "29:ada"}, "recipient": {"id": "28:bot"}, "conversation": {"id": "a:ada"}}"#;
        let activity = Activity::from_slice(body).unwrap();
        Authenticator::unauthenticated(Cloud::Public)
            .authenticate(&HeaderMap::new(), activity, SystemTime::UNIX_EPOCH)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn only_a_stored_conversation_has_tags() {
        let (store, clock) = (Store::new(), Clock::system());
        let activity = verified().await;
        let stored: Arc<dyn TagStore> = Arc::new(StoredTags {
            store: store.clone(),
            clock: clock.clone(),
        });
        let tags = Tags::new(stored, Topics::new(["builds"]), &activity);
        assert_eq!(tags.add("beta").await.unwrap(), TagResult::NoConversation);
        inbound::record(&store, &clock, &activity).await.unwrap();
        let detached = Tags {
            conversation: None,
            ..tags.clone()
        };
        assert_eq!(detached.add("beta").await.unwrap(), TagResult::NoConversation);
        assert_eq!(tags.add("beta").await.unwrap(), TagResult::Done);
        assert_eq!(tags.add("").await.unwrap(), TagResult::Invalid);
        assert_eq!(tags.join("executives").await.unwrap(), TagResult::NotATopic);
        assert_eq!(tags.leave("Beta").await.unwrap(), TagResult::NotATopic);
        assert_eq!(tags.join("Builds ").await.unwrap(), TagResult::Done);
        assert_eq!(detached.remove("beta").await.unwrap(), TagResult::NoConversation);
        let known = store
            .get_many(&[tags.conversation.clone().unwrap()])
            .await
            .unwrap();
        assert_eq!(known[0].attributes.tags, ["beta", "builds"]);
    }
}
