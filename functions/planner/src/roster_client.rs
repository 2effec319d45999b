//! Asks the channel for the members and channels of a team, through the cache and at the tenant's rate.

use botframework::activity::Role;
use botframework::connector;
use botframework::id::ConversationId;
use botframework::teams::TeamsChannelAccount;
use herald::backend::Backend;
use herald::bot_monitor::{BotMonitor, TokenVerdict};
use herald::conversation::{Conversation, Scope, is_id};
use herald::id::normalize_guid;
use herald::rate_limit::Bucket;
use herald::retry::{Action, action_for, retry_after};
use herald::roster_cache::{Member, RosterPage, RosterQuery, TeamKey};
use herald::service_urls::ServiceUrls;
use herald::store::Conversations;
use herald::telemetry::chain;
use herald::tenant_gate::{Admission, TenantGate};
use jiff::SignedDuration;

use crate::recipients::Recipients;
use crate::{Context, Failure};

/// How long the plan waits for a channel that names no time.
const DEFAULT_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// How often a query is repeated for a team that the channel does not find. Teams loses healthy teams now and then.
const MAX_NOT_FOUND: u32 = 2;

/// How many members one request asks for: as many as a page of the plan holds.
const MEMBERS_PER_PAGE: u16 = 96;

/// Whether a cached page will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It will.
    Cached,
    /// The cached page is too old: its token was refused, or it lacks a channel.
    Live,
}

/// The roster of one team or group chat.
#[derive(Debug)]
pub(crate) struct RosterClient<'a, B: Backend> {
    context: &'a Context<B>,
    gate: &'a TenantGate<'a, B::Ledger>,
    team: &'a ConversationId,
    /// A conversation of the bot in the team.
    sample: &'a Conversation,
    bucket: Bucket,
}

impl<'a, B: Backend> RosterClient<'a, B> {
    pub(crate) fn new(
        recipients: &'a Recipients<'a, B>,
        team: &'a ConversationId,
        sample: &'a Conversation,
    ) -> Self {
        Self {
            context: recipients.context,
            gate: &recipients.gate,
            team,
            sample,
            bucket: Bucket::of(&sample.key, sample.attributes.tenant.as_deref()),
        }
    }

    /// The rate limit that its requests count against.
    pub(crate) fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The page that answers a query, from the cache or the channel; `None` when the channel refuses for good.
    pub(crate) async fn page(
        &self,
        query: RosterQuery,
        freshness: Freshness,
    ) -> Result<Option<RosterPage>, Failure> {
        let context = self.context;
        // Teams sends no event when a group chat changes, so its roster cannot be cached.
        if context.roster_ttl.is_zero() || self.sample.attributes.scope != Scope::Channel {
            return self.request_page(&query).await;
        }
        let team = TeamKey {
            channel: self.sample.key.channel.clone(),
            bot: self.sample.key.bot.clone(),
            team: self.team.to_string(),
        };
        let now = context.clock.now();
        // The generation is read before the request: a change during the request makes the response stale.
        let cached = context.conversations.cached_roster(&team, &query, now).await?;
        match (cached.page, freshness) {
            (Some(page), Freshness::Cached) => return Ok(Some(page)),
            (Some(_), Freshness::Live) | (None, Freshness::Cached | Freshness::Live) => {}
        }
        let page = self.request_page(&query).await?;
        if let Some(page) = &page
            && let Ok(until) = context.clock.now().checked_add(context.roster_ttl)
            && let Err(error) = context
                .conversations
                .cache_roster(&team, cached.generation, &query, page, until)
                .await
        {
            tracing::warn!(error_type = "RosterNotCached", error = %chain(&error), "could not cache a roster; the next query asks the channel");
        }
        Ok(page)
    }

    async fn request_page(&self, query: &RosterQuery) -> Result<Option<RosterPage>, Failure> {
        let connector = &self.context.connector;
        match query {
            RosterQuery::Channels => {
                let team = self.team.as_str().into();
                let request = async |url: &str| connector.channels(url, &team).await;
                let channels = self.query_channel(request).await?;
                Ok(channels.map(|channels| {
                    let ids = channels.into_iter().filter_map(|channel| channel.id);
                    RosterPage::Channels(ids.collect())
                }))
            }
            RosterQuery::Members { after } => {
                let after = after.as_deref();
                let request = async |url: &str| {
                    connector
                        .paged_members(url, self.team, Some(MEMBERS_PER_PAGE), after)
                        .await
                };
                let page = self.query_channel(request).await?;
                Ok(page.map(|page| RosterPage::Members {
                    page: page.members.into_iter().filter_map(member).collect(),
                    next: page.continuation_token,
                }))
            }
        }
    }

    /// Sends a request to the service URL of the sample conversation, then to the others that may serve the team. Returns `None`
    /// when the channel refuses for good.
    async fn query_channel<T>(
        &self,
        request: impl AsyncFn(&str) -> Result<T, connector::Error>,
    ) -> Result<Option<T>, Failure> {
        let (clock, trust) = (&self.context.clock, self.context.connector.trust());
        let mut urls = ServiceUrls::new(trust, &self.sample.service_urls);
        let mut not_found = 0;
        loop {
            if let Admission::Later(until) = self.gate.acquire(&self.bucket).await? {
                return Err(Failure::Later(until.duration_since(clock.now())));
            }
            let error = match request(urls.current()).await {
                Ok(response) => return Ok(Some(response)),
                Err(error) => error,
            };
            tracing::warn!(
                error_type = "RosterUnavailable",
                reason = ?error.reason(),
                code = error.code(),
                status = error.status(),
                correlation = error.correlation(),
                "the channel did not return a roster"
            );
            let wait = retry_after(&error, clock.now());
            match action_for(error.reason()) {
                Action::TryOtherUrl if urls.next_after(&error) => {}
                Action::RecreateConversation if not_found < MAX_NOT_FOUND => not_found += 1,
                Action::TryOtherUrl
                | Action::RecreateConversation
                | Action::Block
                | Action::CountFailure
                | Action::Reject => return Ok(None),
                Action::ThrottleTenant => {
                    self.gate.throttle(&self.bucket, wait).await?;
                    return Err(Failure::Later(wait.unwrap_or(DEFAULT_RETRY_AFTER)));
                }
                Action::CountTokenRefusal => match self.token_refused(&error).await? {
                    TokenVerdict::BotPaused(until) | TokenVerdict::TenantPaused(until) => {
                        return Err(Failure::Later(until.duration_since(clock.now())));
                    }
                    TokenVerdict::Retry => return Err(Failure::Later(wait.unwrap_or(DEFAULT_RETRY_AFTER))),
                    TokenVerdict::Final => return Ok(None),
                },
                Action::PauseBot => {
                    if let Some(error) = error.token_error() {
                        self.monitor().no_token(self.gate, error).await;
                    }
                    return Err(Failure::Later(wait.unwrap_or(DEFAULT_RETRY_AFTER)));
                }
                Action::Retry | Action::RetryAmbiguous { .. } => {
                    return Err(Failure::Later(wait.unwrap_or(DEFAULT_RETRY_AFTER)));
                }
            }
        }
    }

    async fn token_refused(&self, error: &connector::Error) -> Result<TokenVerdict, Failure> {
        let code = error.code().unwrap_or("Http401");
        Ok(self
            .monitor()
            .token_refused(self.gate, &self.bucket, code)
            .await?)
    }

    fn monitor(&self) -> BotMonitor<'a, B::Ledger, B::Events> {
        let Context {
            ledger,
            events,
            clock,
            ..
        } = self.context;
        BotMonitor::new(ledger, events, clock)
    }
}

/// The person in a channel account; `None` for bots, anonymous users, and ids that cannot be stored.
fn member(account: TeamsChannelAccount) -> Option<Member> {
    let is_bot = account.id.as_str().starts_with("28:") || account.role == Some(Role::Bot);
    if is_bot || account.user_role.as_deref() == Some("anonymous") || !is_id(account.id.as_str()) {
        return None;
    }
    let user = account.entra_object_id().filter(|user| is_id(user.as_str()));
    Some(Member {
        user: user.map(|user| normalize_guid(user.as_str()).into()),
        tenant: account
            .tenant_id
            .filter(|tenant| is_id(tenant.as_str()))
            .map(|tenant| normalize_guid(tenant.as_str())),
        id: account.id,
        role: account.user_role,
    })
}
