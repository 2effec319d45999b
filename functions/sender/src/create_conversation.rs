//! Creates the conversation with a person, at the service URL that serves their tenant.

use botframework::connector::{self, ConversationParameters};
use botframework::id::ConversationId;
use herald::backend::Backend;
use herald::companions;
use herald::conversation::{ConversationKey, Observation, PersonKey, State};
use herald::retry::{Action, action_for};
use herald::service_urls::ServiceUrls;
use herald::store::{self, ConversationFilter, Conversations};

use crate::install::InstallError;
use crate::tenant::Tenant;

/// How many conversations of a tenant are asked for its service URL.
const SAMPLE: usize = 10;

/// How many conversations are read at once for that: many may be removed.
const SCAN_PAGE: usize = 100;

/// Why no conversation was created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    /// The channel refused, or did not answer.
    #[error("the channel created no conversation")]
    Refused(#[source] connector::Error),
    /// It was created, and the answer was lost: another request returns the same one.
    #[error("the answer was lost")]
    AnswerLost,
    /// A follow-up request was not made: there was no time for it, or no permit.
    #[error("cut short")]
    CutShort,
    /// No service URL is known for this person's tenant.
    #[error("no service URL is known")]
    NoServiceUrl,
    /// The bot was not installed for them.
    #[error(transparent)]
    NotInstalled(#[from] InstallError),
    /// A table.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Creates conversations with one person.
pub(crate) struct Creator<'c, 'a, B: Backend> {
    pub(crate) tenant: Tenant<'a, B>,
    pub(crate) person: &'c PersonKey,
}

impl<B: Backend> Creator<'_, '_, B> {
    /// Creates the conversation and remembers it. Every service URL that may serve the person is tried.
    pub(crate) async fn create(&self) -> Result<ConversationKey, CreateError> {
        let parameters = ConversationParameters::one_person(
            &self.person.person,
            &self.person.bot,
            &self.person.tenant.as_str().into(),
        );
        let connector = &self.tenant.context().connector;
        let first = self.service_url().await?.ok_or(CreateError::NoServiceUrl)?;
        let mut urls = ServiceUrls::starting_at(connector.trust(), first, Vec::new());
        let mut has_sampled = false;
        let created = loop {
            let error = match connector.create_conversation(urls.current(), &parameters).await {
                Ok(created) => break created,
                Err(error) => error,
            };
            if action_for(error.reason()) == Action::TryOtherUrl && !has_sampled {
                has_sampled = true;
                urls.set_observed(self.observed_urls(SAMPLE).await?);
            }
            if !urls.next_after(&error) {
                return Err(CreateError::Refused(error));
            }
            if !self.tenant.can_continue().await? {
                return Err(CreateError::CutShort);
            }
        };
        if let Some(bucket) = self.tenant.bucket {
            self.tenant.invocation.cache_service_url(bucket, urls.current());
        }
        let id = created.id.ok_or(CreateError::AnswerLost)?;
        let service_url = created.service_url.as_deref().unwrap_or(urls.current());
        Ok(self.remember(id, service_url).await?)
    }

    /// Remembers the conversation that was created.
    pub(crate) async fn remember(
        &self,
        id: ConversationId,
        service_url: &str,
    ) -> Result<ConversationKey, store::Error> {
        let observation = Observation::created(self.person, id, service_url);
        let key = observation.key.clone();
        let conversations = &self.tenant.context().conversations;
        companions::remember(conversations, observation, self.tenant.now()).await?;
        Ok(key)
    }

    /// The service URL that most likely serves the person: where the last conversation of their tenant was created, else the
    /// one of another conversation there, else the cloud's own.
    pub(crate) async fn service_url(&self) -> Result<Option<String>, store::Error> {
        let Tenant { invocation, bucket } = self.tenant;
        if let Some(cached) = bucket.and_then(|bucket| invocation.cached_service_url(bucket)) {
            return Ok(Some(cached));
        }
        let trust = self.tenant.context().connector.trust();
        let observed = self.observed_urls(1).await?;
        let found = ServiceUrls::first_trusted(trust, &observed);
        if let (Some(url), Some(bucket)) = (&found, bucket) {
            invocation.cache_service_url(bucket, url);
        }
        Ok(found)
    }

    /// The service URLs of some conversations of the person's tenant.
    async fn observed_urls(&self, sample: usize) -> Result<Vec<String>, store::Error> {
        let same_tenant = self.same_tenant().await?;
        let sample = &same_tenant[..same_tenant.len().min(sample)];
        let known = self.tenant.context().conversations.get_many(sample).await?;
        Ok(known.into_iter().flat_map(|known| known.service_urls).collect())
    }

    /// Some conversations of the person's tenant that the bot is in.
    async fn same_tenant(&self) -> Result<Vec<ConversationKey>, store::Error> {
        let selection = ConversationFilter::Tenant(self.person.tenant.clone());
        let conversations = &self.tenant.context().conversations;
        let mut cursor = None;
        loop {
            let listing = conversations
                .list(&selection, cursor.as_deref(), SCAN_PAGE)
                .await?;
            let active = listing.items.into_iter();
            let active = active.filter(|known| known.state == State::Active);
            let keys: Vec<ConversationKey> = active.map(|known| known.key).take(SAMPLE).collect();
            cursor = listing.cursor;
            if !keys.is_empty() || cursor.is_none() {
                return Ok(keys);
            }
        }
    }
}
