//! What the channel is asked of a team, unless it told that lately.

use std::time::Duration;

use botframework::activity::Role;
use botframework::cloud::GCC_SERVICE_URL;
use botframework::connector::{self, Reason};
use botframework::teams::TeamsChannelAccount;
use herald::conversation::{Conversation, Scope, is_id};
use herald::id::normalize_guid;
use herald::rate_limit::{self, PermitRequest, TenantRate};
use herald::retry::{Reaction, reaction, retry_after};
use herald::roster_cache::{Member, RosterPage, RosterQuery, TeamKey};
use herald::store::{Conversations, Notifications, Paces};
use herald::telemetry::chain;
use jiff::SignedDuration;

use crate::Failure;
use crate::team::{Team, bucket_of};

/// How long the plan waits for a channel that does not answer, if it names no time.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// How often the channel is asked once more for a team that it does not find.
const NOT_FOUND_MAX: u32 = 2;

/// How many members are asked for at once: what fits on a page of the plan.
const MEMBERS: u16 = 96;

/// Whether an answer may be one that was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It may.
    Lately,
    /// What was told before has led nowhere, or does not know enough.
    Now,
}

impl<C, N, P, Q, E> Team<'_, C, N, P, Q, E>
where
    C: Conversations,
    N: Notifications,
    P: Paces,
    Q: Sync,
    E: Sync,
{
    /// The answer to a question; `None` when the channel never will give one. What it told lately costs no request.
    pub(crate) async fn answer(
        &self,
        shown: &Conversation,
        question: RosterQuery,
        freshness: Freshness,
    ) -> Result<Option<RosterPage>, Failure> {
        let context = self.reader.context;
        // Whoever comes to a group chat or leaves it changes no epoch.
        if context.roster_ttl.is_zero() || shown.attributes.scope != Scope::Channel {
            return self.ask_channel(shown, &question).await;
        }
        let team = TeamKey {
            channel: shown.key.channel.clone(),
            bot: shown.key.bot.clone(),
            team: self.id.to_string(),
        };
        let now = context.clock.now();
        // The epoch before the channel is asked: whatever changes from now on, the answer may not show.
        let told = context.conversations.cached_roster(&team, &question, now).await?;
        match (told.page, freshness) {
            (Some(answer), Freshness::Lately) => return Ok(Some(answer)),
            (Some(_), Freshness::Now) | (None, Freshness::Lately | Freshness::Now) => {}
        }
        let answer = self.ask_channel(shown, &question).await?;
        if let Some(answer) = &answer
            && let Ok(until) = context.clock.now().checked_add(context.roster_ttl)
            && let Err(error) = context
                .conversations
                .cache_roster(&team, told.generation, &question, answer, until)
                .await
        {
            // The next one asks again.
            tracing::warn!(error_type = "RosterNotKept", error = %chain(&error), "what was told of a team is not kept");
        }
        Ok(answer)
    }

    async fn ask_channel(
        &self,
        shown: &Conversation,
        question: &RosterQuery,
    ) -> Result<Option<RosterPage>, Failure> {
        let connector = &self.reader.context.connector;
        match question {
            RosterQuery::Channels => {
                let ask = async |url: &str| connector.channels(url, self.id.as_str()).await;
                let channels = self.told(shown, ask).await?;
                Ok(channels.map(|channels| {
                    let ids = channels.into_iter().filter_map(|channel| channel.id);
                    RosterPage::Channels(ids.map(Into::into).collect())
                }))
            }
            RosterQuery::Members { after } => {
                let after = after.as_deref();
                let ask =
                    async |url: &str| connector.paged_members(url, &self.id, Some(MEMBERS), after).await;
                let page = self.told(shown, ask).await?;
                Ok(page.map(|page| RosterPage::Members {
                    page: page.members.into_iter().filter_map(person).collect(),
                    next: page.continuation_token,
                }))
            }
        }
    }

    /// What the channel tells; `None` when it never will, and a wait when it may. It is asked where the team is served: as it
    /// was heard of, else at every address that may be its own. Healthy teams are not found now and then, by chance.
    async fn told<T>(
        &self,
        shown: &Conversation,
        question: impl AsyncFn(&str) -> Result<T, connector::Error>,
    ) -> Result<Option<T>, Failure> {
        let trust = self.reader.context.connector.trust();
        let own = trust.cloud().endpoints().service_url;
        let shown_at = shown.service_urls.iter().map(String::as_str);
        let mut addresses: Vec<&str> = shown_at.chain(own).chain([GCC_SERVICE_URL]).rev().collect();
        let mut address = addresses.pop().unwrap_or_default();
        let mut not_found = 0;
        loop {
            self.permit(shown).await?;
            let error = match question(address).await {
                Ok(told) => return Ok(Some(told)),
                Err(error) => error,
            };
            tracing::warn!(
                error_type = "TeamNotTold",
                reason = ?error.reason(),
                code = error.code(),
                status = error.status(),
                correlation = error.correlation(),
                "the channel does not tell of a team"
            );
            match reaction(error.reason()) {
                Reaction::Readdress => {
                    addresses.retain(|other| *other != address && trust.check(other).is_ok());
                    if error.reason() == Reason::WrongCloud {
                        // The tenant is in GCC, and nowhere else.
                        addresses.retain(|other| *other == GCC_SERVICE_URL);
                    }
                    match addresses.pop() {
                        Some(other) => address = other,
                        None => return Ok(None),
                    }
                }
                Reaction::Recreate if not_found < NOT_FOUND_MAX => not_found += 1,
                Reaction::Recreate | Reaction::Block | Reaction::Strike | Reaction::Reject => {
                    return Ok(None);
                }
                Reaction::Slow => {
                    let wait = self.throttled(shown, &error).await?;
                    return Err(Failure::Later(wait));
                }
                Reaction::Wait | Reaction::Stop | Reaction::Doubt { .. } => {
                    let wait = retry_after(&error, self.reader.context.clock.now()).unwrap_or(ASK_AGAIN);
                    return Err(Failure::Later(wait));
                }
            }
        }
    }

    /// Waits for a permit to ask.
    async fn permit(&self, shown: &Conversation) -> Result<(), Failure> {
        let context = self.reader.context;
        let now = context.clock.now();
        let wish = PermitRequest {
            slots: 1,
            total: 1,
            ticket: Some(now),
        };
        let limit = context.limits.tenant;
        let rule = |pace: &TenantRate| rate_limit::reserve(pace, limit, wish, now);
        match context.paces.apply(&bucket_of(shown), rule).await? {
            rate_limit::Reservation::Permits(permits) => {
                let wait = permits.slot(0).duration_since(now);
                tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
                Ok(())
            }
            rate_limit::Reservation::Later { until, .. } => Err(Failure::Later(until.duration_since(now))),
        }
    }

    /// Slows the tenant down; how long the plan waits.
    async fn throttled(
        &self,
        shown: &Conversation,
        error: &connector::Error,
    ) -> Result<SignedDuration, Failure> {
        let context = self.reader.context;
        let now = context.clock.now();
        let asked = retry_after(error, now);
        let limit = context.limits.tenant;
        let rule = |pace: &TenantRate| ((), Some(rate_limit::throttle(pace, limit, asked, now)));
        context.paces.apply(&bucket_of(shown), rule).await?;
        Ok(asked.unwrap_or(ASK_AGAIN))
    }
}

/// The person who a member of a roster is; bots and people without a name of their own are nobody to write to.
fn person(member: TeamsChannelAccount) -> Option<Member> {
    let is_bot = member.id.as_str().starts_with("28:") || member.role == Some(Role::Bot);
    if is_bot || member.user_role.as_deref() == Some("anonymous") || !is_id(member.id.as_str()) {
        return None;
    }
    let user = member.entra_object_id().filter(|user| is_id(user.as_str()));
    Some(Member {
        user: user.map(|user| normalize_guid(user.as_str()).into()),
        id: member.id,
        role: member.user_role,
    })
}
