//! What the channel is asked of a team, unless it told that lately.

use std::time::Duration;

use botframework::activity::Role;
use botframework::connector::{self, Class};
use botframework::teams::TeamsChannelAccount;
use herald::conversation::Conversation;
use herald::pace::{self, Pace, Wish};
use herald::retry::{Reaction, reaction};
use herald::roster::{Answer, Member, Question, TeamKey};
use herald::store::{Conversations, Notifications, Paces};
use herald::telemetry::chain;
use jiff::SignedDuration;

use crate::Failure;
use crate::team::{Team, bucket_of};

/// How long the plan waits for a channel that does not answer, if it names no time.
const ASK_AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// How many members are asked for at once: what fits on a page of the plan.
const MEMBERS: u16 = 96;

/// Whether an answer may be one that was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It may.
    Lately,
    /// What was told before has led nowhere.
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
        question: Question,
        freshness: Freshness,
    ) -> Result<Option<Answer>, Failure> {
        let context = self.reader.context;
        if context.rosters_kept.is_zero() {
            return self.ask_channel(shown, &question).await;
        }
        let team = TeamKey {
            channel: shown.key.channel.clone(),
            bot: shown.key.bot.clone(),
            team: self.id.to_string(),
        };
        let now = context.clock.now();
        // The epoch before the channel is asked: whatever changes from now on, the answer may not show.
        let told = context.conversations.told(&team, &question, now).await?;
        match (told.answer, freshness) {
            (Some(answer), Freshness::Lately) => return Ok(Some(answer)),
            (Some(_), Freshness::Now) | (None, Freshness::Lately | Freshness::Now) => {}
        }
        let answer = self.ask_channel(shown, &question).await?;
        if let Some(answer) = &answer
            && let Ok(until) = context.clock.now().checked_add(context.rosters_kept)
            && let Err(error) = context
                .conversations
                .tell(&team, told.epoch, &question, answer, until)
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
        question: &Question,
    ) -> Result<Option<Answer>, Failure> {
        let connector = &self.reader.context.connector;
        let url = self.ask(shown).await?;
        let answer: Result<Answer, connector::Error> = match question {
            Question::Channels => {
                let channels = connector.channels(url, self.id.as_str()).await;
                channels.map(|channels| {
                    let ids = channels.into_iter().filter_map(|channel| channel.id);
                    Answer::Channels(ids.map(Into::into).collect())
                })
            }
            Question::Members { after } => {
                let page = connector
                    .paged_members(url, &self.id, Some(MEMBERS), after.as_deref())
                    .await;
                page.map(|page| Answer::Members {
                    page: page.members.into_iter().filter_map(person).collect(),
                    next: page.continuation_token,
                })
            }
        };
        self.told(shown, answer).await
    }

    /// The service URL to ask, when there is a permit to.
    async fn ask<'s>(&self, shown: &'s Conversation) -> Result<&'s str, Failure> {
        let context = self.reader.context;
        let now = context.clock.now();
        let wish = Wish {
            block: 1,
            whole: 1,
            turn: Some(now),
        };
        let limit = context.limits.tenant;
        let rule = |pace: &Pace| pace::reserve(pace, limit, wish, now);
        match context.paces.apply(&bucket_of(shown), rule).await? {
            pace::Answer::Permits(permits) => {
                let wait = permits.slot(0).duration_since(now);
                tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
            }
            pace::Answer::Later { until, .. } => return Err(Failure::Later(until.duration_since(now))),
        }
        Ok(shown.service_urls.first().map_or("", String::as_str))
    }

    /// What the channel told; `None` when it never will, and a wait when it may.
    async fn told<T>(
        &self,
        shown: &Conversation,
        answer: Result<T, connector::Error>,
    ) -> Result<Option<T>, Failure> {
        let error = match answer {
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
        let context = self.reader.context;
        let now = context.clock.now();
        let asked = error.retry_after().map(|wait| wait.delay(now.into()));
        let asked = asked.and_then(|wait| SignedDuration::try_from(wait).ok());
        if reaction(error.reason()) == Reaction::Slow {
            let limit = context.limits.tenant;
            let rule = |pace: &Pace| ((), Some(pace::throttle(pace, limit, asked, now)));
            context.paces.apply(&bucket_of(shown), rule).await?;
        }
        match error.class() {
            Class::Rejected | Class::Gone => Ok(None),
            Class::NotSent | Class::Unknown => Err(Failure::Later(asked.unwrap_or(ASK_AGAIN))),
        }
    }
}

/// The person who a member of a roster is; bots and people without a name of their own are nobody to write to.
fn person(member: TeamsChannelAccount) -> Option<Member> {
    let is_bot = member.id.as_str().starts_with("28:") || member.role == Some(Role::Bot);
    if is_bot || member.user_role.as_deref() == Some("anonymous") {
        return None;
    }
    Some(Member {
        user: member.entra_object_id().cloned(),
        id: member.id,
        role: member.user_role,
    })
}
