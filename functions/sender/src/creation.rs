//! The conversation with a person, created where they are served.

use botframework::cloud::GCC_SERVICE_URL;
use botframework::connector::{self, ConversationParameters, Reason};
use botframework::id::ConversationId;
use herald::conversation::{ConversationKey, Observation, Person, PersonKey, State};
use herald::retry::{Reaction, reaction};
use herald::store::{self, ConversationFilter, Conversations, Ledger, Notifications, Paces};

use crate::delivery::Delivery;
use crate::install::Failure;

/// How many conversations of a tenant tell where it is served.
const NEIGHBOURS: usize = 10;

/// How many are looked at together for them: many may be gone.
const LOOKED_AT: usize = 100;

/// Why no conversation was made.
pub(crate) enum NotMade {
    /// The channel refused, or did not answer.
    Refused(connector::Error),
    /// It was made, and the answer was lost: to ask again gives the same one.
    AnswerLost,
    /// Another address is to be tried, and there is no time for it, or no permit.
    Short,
    /// Nothing tells where this person's tenant is served.
    NoServiceUrl,
    /// The bot was not installed for them.
    NotInstalled(Failure),
    /// A table is away.
    Store(store::Error),
}

impl From<store::Error> for NotMade {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for NotMade {
    fn from(failure: Failure) -> Self {
        Self::NotInstalled(failure)
    }
}

impl<C, N, L, Q, E> Delivery<'_, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Sync,
    E: Sync,
{
    /// Creates the conversation, and remembers it like any other. Nothing tells where somebody is served of whom nothing is
    /// known: every address that may be theirs is tried.
    pub(crate) async fn make(&self, person: &PersonKey) -> Result<ConversationKey, NotMade> {
        let whom = match &person.person {
            Person::User(id) => connector::Person::Entra(id),
            Person::Account(id) => connector::Person::Account(id),
        };
        let parameters = ConversationParameters::one_person(whom, &person.bot, &person.tenant);
        let mut service_url = self.service_url(person).await?.ok_or(NotMade::NoServiceUrl)?;
        let mut others = None;
        let created = loop {
            let connector = &self.context.connector;
            let error = match connector.create_conversation(&service_url, &parameters).await {
                Ok(created) => break created,
                Err(error) if reaction(error.reason()) == Reaction::Readdress => error,
                Err(error) => return Err(NotMade::Refused(error)),
            };
            let mut left: Vec<String> = match others.take() {
                Some(left) => left,
                None => self.addresses_of(&self.neighbours(person).await?).await?,
            };
            left.retain(|url| *url != service_url);
            if error.reason() == Reason::WrongCloud {
                // The tenant is in GCC, and nowhere else.
                left.retain(|url| url == GCC_SERVICE_URL);
            }
            if left.is_empty() {
                return Err(NotMade::Refused(error));
            }
            if !self.goes_on().await? {
                return Err(NotMade::Short);
            }
            service_url = left.remove(0);
            others = Some(left);
        };
        if let Some(bucket) = self.bucket {
            self.invocation.serve_at(bucket, &service_url);
        }
        let id = created.id.ok_or(NotMade::AnswerLost)?;
        let service_url = created.service_url.unwrap_or(service_url);
        Ok(self.remember(person, id, &service_url).await?)
    }

    pub(crate) async fn remember(
        &self,
        person: &PersonKey,
        id: ConversationId,
        service_url: &str,
    ) -> Result<ConversationKey, store::Error> {
        let observation = Observation::created(person, id, service_url);
        let key = observation.key.clone();
        self.context
            .conversations
            .remember(observation, self.now())
            .await?;
        Ok(key)
    }

    /// Where this person is served most likely: as was found out for their tenant, or as another conversation there shows it, else
    /// at the cloud's own.
    pub(crate) async fn service_url(&self, person: &PersonKey) -> Result<Option<String>, store::Error> {
        if let Some(known) = self.bucket.and_then(|bucket| self.invocation.served_at(bucket)) {
            return Ok(Some(known));
        }
        let neighbours = self.neighbours(person).await?;
        let nearest = &neighbours[..neighbours.len().min(1)];
        let found = self.addresses_of(nearest).await?.into_iter().next();
        if let (Some(url), Some(bucket)) = (&found, self.bucket) {
            self.invocation.serve_at(bucket, url);
        }
        Ok(found)
    }

    /// Some conversations of this person's tenant that the bot is in.
    async fn neighbours(&self, person: &PersonKey) -> Result<Vec<ConversationKey>, store::Error> {
        let selection = ConversationFilter::Tenant(person.tenant.clone());
        let conversations = &self.context.conversations;
        let mut cursor = None;
        loop {
            let listing = conversations
                .list(&selection, cursor.as_deref(), LOOKED_AT)
                .await?;
            let active = listing.items.into_iter();
            let active = active.filter(|known| known.state == State::Active);
            let keys: Vec<ConversationKey> = active.map(|known| known.key).take(NEIGHBOURS).collect();
            cursor = listing.cursor;
            if !keys.is_empty() || cursor.is_none() {
                return Ok(keys);
            }
        }
    }

    /// Where somebody may be served, each address once: as these conversations of their tenant show it, at the cloud's own,
    /// or in GCC.
    async fn addresses_of(&self, neighbours: &[ConversationKey]) -> Result<Vec<String>, store::Error> {
        let shown = self.context.conversations.get_many(neighbours).await?;
        let shown = shown.into_iter().flat_map(|known| known.service_urls);
        let trust = self.context.connector.trust();
        let own = trust.cloud().endpoints().service_url;
        let fixed = own.into_iter().chain([GCC_SERVICE_URL]).map(str::to_owned);
        let mut addresses: Vec<String> = Vec::new();
        for url in shown.chain(fixed).filter(|url| trust.check(url).is_ok()) {
            if !addresses.contains(&url) {
                addresses.push(url);
            }
        }
        Ok(addresses)
    }
}
