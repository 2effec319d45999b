//! What the person or place of a turn opted out of, for the bot's code.

use std::fmt;
use std::sync::Arc;

use botframework::app::Error;
use botframework::auth::VerifiedActivity;
use botframework::http::BoxFuture;
use botframework::reference::ConversationReference;
use herald::category::Categories;
use herald::clock::Clock;
use herald::conversation::{ConversationKey, PreferenceChange, Preferences};
use herald::preferences;
use herald::store::{self, Conversations, Registry, catalogue};

/// What the person of a turn opted out of, in a personal conversation; elsewhere the group chat or channel. A handler has it from
/// [`Context::get`](botframework::app::Context::get).
#[derive(Clone)]
pub struct TurnPreferences {
    store: Arc<dyn PreferenceStore>,
    /// `None` if no channel vouches for the conversation.
    conversation: Option<ConversationKey>,
}

/// The store, as far as preferences need it.
pub(crate) trait PreferenceStore: Send + Sync {
    fn categories(&self) -> BoxFuture<'_, Result<Categories, store::Error>>;

    /// What counts after a change, or now; `None` if the conversation is not stored.
    fn change<'a>(
        &'a self,
        conversation: &'a ConversationKey,
        change: Option<&'a PreferenceChange>,
    ) -> BoxFuture<'a, Result<Option<Preferences>, store::Error>>;
}

/// The preferences in stores.
#[derive(Debug)]
pub(crate) struct StoredPreferences<C, R> {
    pub(crate) conversations: C,
    pub(crate) registry: R,
    pub(crate) clock: Clock,
}

impl<C: Conversations, R: Registry> PreferenceStore for StoredPreferences<C, R> {
    fn categories(&self) -> BoxFuture<'_, Result<Categories, store::Error>> {
        Box::pin(catalogue::all(&self.registry))
    }

    fn change<'a>(
        &'a self,
        conversation: &'a ConversationKey,
        change: Option<&'a PreferenceChange>,
    ) -> BoxFuture<'a, Result<Option<Preferences>, store::Error>> {
        let now = self.clock.now();
        Box::pin(preferences::in_conversation(
            &self.conversations,
            conversation,
            change,
            now,
        ))
    }
}

impl fmt::Debug for TurnPreferences {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TurnPreferences")
            .field("conversation", &self.conversation)
            .finish_non_exhaustive()
    }
}

impl TurnPreferences {
    /// Those of the conversation of an activity.
    pub(crate) fn new(store: Arc<dyn PreferenceStore>, activity: &VerifiedActivity) -> Self {
        let reference = ConversationReference::from_activity(activity.activity());
        Self {
            store,
            conversation: ConversationKey::of(&reference).filter(|_| activity.is_from_channel()),
        }
    }

    /// The categories that are declared.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn categories(&self) -> Result<Categories, Error> {
        self.store.categories().await.map_err(Error::bot)
    }

    /// What is chosen now; `None` if the conversation is not stored.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn chosen(&self) -> Result<Option<Preferences>, Error> {
        let Some(conversation) = &self.conversation else {
            return Ok(None);
        };
        self.store.change(conversation, None).await.map_err(Error::bot)
    }

    /// Changes what is chosen. Returns what counts then; `None` if the conversation is not stored.
    ///
    /// # Errors
    /// When the store is unavailable. Let the turn fail by it, so that the channel repeats the activity.
    pub async fn change(&self, change: &PreferenceChange) -> Result<Option<Preferences>, Error> {
        let Some(conversation) = &self.conversation else {
            return Ok(None);
        };
        self.store
            .change(conversation, Some(change))
            .await
            .map_err(Error::bot)
    }
}
