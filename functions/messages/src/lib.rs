//! The messaging endpoint: remembers every conversation the bot hears of, then runs the bot's turn.
//!
//! ```text
//! POST /api/messages ── parse ── authenticate ── remember or forget (durable) ── turn ──▶ 200
//! ```
//!
//! The durable write comes before the answer: an execution environment is frozen once it has answered, so what was
//! not written by then may never be. The channel waits about 15 seconds for us; nothing here waits for anything but
//! the table and the bot's own sends.

use std::time::{Duration, SystemTime};

use botframework::activity::Activity;
use botframework::auth::{Authenticator, Caller, Denied};
use botframework::http::HttpTransport;
use botframework::turn::Adapter;
use herald::aws;
use herald::clock::{Chance, Clock};
use herald::config::{self, Environment, variable};
use herald::conversation::{ConversationKey, Membership, Observation, TeamChange, TeamEvent};
use herald::credential;
use herald::roster_cache::TeamKey;
use herald::store::{self, ConversationFilter, ConversationSummary, Conversations, dynamodb};
use herald::telemetry::chain;
use lambda_http::http::{HeaderValue, Method, StatusCode, header};
use lambda_http::{Body, Request, Response};
use tokio::task::{JoinError, JoinSet};

pub mod bot;
mod tags;

pub use tags::{Tagged, Tags};

/// The largest activity taken, in bytes. Teams' own limit for a message is about 100 KB (`PROTOCOL.md#b1`).
pub const ACTIVITY_MAX_BYTES: usize = 1024 * 1024;

/// How long one answer to the channel may take: the function ends after 15 seconds, and so does the channel's patience.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many conversations of a team are listed at a time, when something happens to all of them.
const TEAM_PAGE: usize = 100;

/// How many of them are changed at once. A change takes two requests, some ten milliseconds: thousands of conversations are
/// done within the five seconds that an answer may take.
const AT_ONCE: usize = 16;

/// What the handler works with.
#[derive(Debug)]
pub struct Context<S> {
    /// Where conversations are remembered.
    pub store: S,
    /// Who may speak, and which service URLs are believed.
    pub authenticator: Authenticator,
    /// Runs turns.
    pub adapter: Adapter,
    /// The time.
    pub clock: Clock,
}

impl Context<dynamodb::Conversations> {
    /// The context of the deployed function.
    ///
    /// # Errors
    /// When a variable is missing or wrong; it names it.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let transport = HttpTransport::builder().timeout(REPLY_TIMEOUT).build()?;
        let sdk = aws::Sdk::new(environment, &transport)?;
        Ok(Self {
            store: dynamodb::Conversations::new(&sdk, environment.required(variable::CONVERSATIONS_TABLE)?),
            authenticator: environment.authenticator(&transport, &Chance::system())?,
            adapter: Adapter::new(credential::connector(
                environment,
                &transport,
                &Clock::system(),
                &Chance::system(),
            )?),
            clock: Clock::system(),
        })
    }
}

impl<S> Context<S> {
    /// Fetches what the first request would wait for. To be run beside the start, not before it.
    pub async fn prefetch(&self) {
        // Not the bot's token: whoever can reach this endpoint can start environments, and must not make them ask for
        // tokens before anybody was let in.
        self.authenticator.prefetch(self.now()).await;
    }

    fn now(&self) -> SystemTime {
        self.clock.now().into()
    }
}

/// Answers one request. It never fails: whatever happens has a status.
pub async fn handle<S: Conversations>(context: &Context<S>, request: Request) -> Response<Body> {
    match *request.method() {
        Method::POST => {}
        // Health checks, and people who open the address in a browser.
        Method::GET | Method::HEAD => return greeting(),
        _ => return not_allowed(),
    }
    let body = match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    };
    if body.len() > ACTIVITY_MAX_BYTES {
        tracing::warn!(
            error_type = "ActivityTooLarge",
            body_bytes = body.len(),
            "activity refused"
        );
        return status(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let activity = match Activity::from_slice(body).and_then(|read| read.validate().map(|()| read)) {
        Ok(activity) => activity,
        Err(error) => {
            tracing::warn!(error_type = "ActivityMalformed", %error, "activity refused");
            return status(StatusCode::BAD_REQUEST);
        }
    };
    let now = context.now();
    let (by_channel, activity) = match context
        .authenticator
        .authenticate(request.headers(), &activity, now)
        .await
    {
        Ok(caller) => (caller.app_id.is_none(), from(caller, activity)),
        Err(denied) => return refuse(denied),
    };
    // Another bot is heard, but nothing vouches for the conversation that it names.
    if by_channel && let Err(error) = record(context, &activity).await {
        tracing::error!(error_type = "StoreUnavailable", error = %chain(&error), "activity not remembered");
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let tags = if by_channel {
        Tags::of(&context.store, &context.clock, &activity)
    } else {
        Tags::of_nowhere(&context.store, &context.clock)
    };
    match context.adapter.process(&activity, &bot::Bot { tags }).await {
        Ok(answer) => respond(answer.status, answer.body.as_ref()),
        Err(error) => {
            tracing::error!(error_type = "TurnFailed", error = %chain(&error), "the bot's turn failed");
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// The activity, which says who sent it by what we know and not by what it said.
fn from(caller: Caller, mut activity: Activity) -> Activity {
    activity.extra.remove("callerId");
    activity.caller_id = caller.caller_id;
    activity
}

/// The caller learns the status, the log the reason.
fn refuse(denied: Denied) -> Response<Body> {
    tracing::warn!(error_type = denied.error_type(), error = %chain(&denied), "activity refused");
    status(denied.status())
}

/// Remembers or forgets the conversations that the activity shows.
async fn record<S: Conversations>(context: &Context<S>, activity: &Activity) -> Result<(), store::Error> {
    let now = context.clock.now();
    let (observations, change) = (Observation::from_activity(activity), TeamChange::of(activity));
    if observations.is_empty() {
        tracing::warn!(
            error_type = "ConversationUnaddressable",
            "no bot or service URL: not remembered"
        );
    }
    if let Some(team) = TeamKey::changed_by(activity) {
        // What the channel told of it before is not what it would tell now.
        context.store.invalidate_roster(&team).await?;
    }
    for observation in observations {
        let is_over = change
            .as_ref()
            .is_some_and(|change| change.ends(&observation.key.conversation));
        if is_over {
            continue;
        }
        let left_team = match observation.membership {
            Membership::Left => observation
                .attributes
                .team
                .clone()
                .map(|team| (team, observation.key.clone())),
            Membership::Joined | Membership::Unchanged => None,
        };
        let remembered = context.store.remember(observation, now).await?;
        tracing::debug!(?remembered, "conversation");
        if let Some((team, key)) = left_team {
            let action = TeamAction::Forget;
            // Another bot of ours may still be there.
            let of_bot = |found: &ConversationKey| (&found.bot, &found.channel) == (&key.bot, &key.channel);
            for_each_in_team(context, team, of_bot, action).await?;
        }
    }
    if let Some(change) = change {
        handle_team_change(context, activity, change).await?;
    }
    Ok(())
}

/// Has the conversations of a team follow what happened to it, or to one channel of it.
async fn handle_team_change<S: Conversations>(
    context: &Context<S>,
    activity: &Activity,
    change: TeamChange,
) -> Result<(), store::Error> {
    let now = context.clock.now();
    match change.event {
        TeamEvent::TeamRenamed => return Ok(()),
        TeamEvent::ChannelCreated | TeamEvent::ChannelRenamed | TeamEvent::ChannelRestored => {
            if let Some(channel) = Observation::from_team_change(activity, &change) {
                let key = channel.key.clone();
                context.store.remember(channel, now).await?;
                // Listings may not know of it yet.
                context.store.apply_team_change(&key, change.event, now).await?;
            }
            if change.event != TeamEvent::ChannelRestored {
                return Ok(());
            }
        }
        TeamEvent::ChannelDeleted
        | TeamEvent::TeamArchived
        | TeamEvent::TeamUnarchived
        | TeamEvent::TeamDeleted
        | TeamEvent::TeamHardDeleted
        | TeamEvent::TeamRestored => {}
    }
    let concerned = |found: &ConversationKey| {
        (&found.bot, &found.channel) == (&change.bot, &change.channel) && change.concerns(&found.conversation)
    };
    for_each_in_team(
        context,
        change.team.clone(),
        concerned,
        TeamAction::Apply(change.event),
    )
    .await
}

/// What is done to each of many conversations.
#[derive(Clone, Copy)]
enum TeamAction {
    Forget,
    Apply(TeamEvent),
}

/// What action those conversations of a team that are concerned. What happens to a team is not told of its channels one by
/// one.
async fn for_each_in_team<S: Conversations>(
    context: &Context<S>,
    team: String,
    is_concerned: impl Fn(&ConversationKey) -> bool,
    action: TeamAction,
) -> Result<(), store::Error> {
    let selection = ConversationFilter::Team(team);
    let mut cursor = None;
    loop {
        let listing = context
            .store
            .list(&selection, cursor.as_deref(), TEAM_PAGE)
            .await?;
        let mut each = JoinSet::new();
        for ConversationSummary { key, .. } in listing.items {
            if !is_concerned(&key) {
                continue;
            }
            if each.len() == AT_ONCE {
                settled(each.join_next().await)?;
            }
            let (store, now) = (context.store.clone(), context.clock.now());
            each.spawn(async move {
                match action {
                    TeamAction::Forget => store.mark_removed(&key, now).await,
                    TeamAction::Apply(event) => store.apply_team_change(&key, event, now).await,
                }
            });
        }
        while !each.is_empty() {
            settled(each.join_next().await)?;
        }
        match listing.cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

/// What became of one of many. One that was not finished is told like a table that is away: the channel repeats the activity.
fn settled(ended: Option<Result<Result<(), store::Error>, JoinError>>) -> Result<(), store::Error> {
    match ended {
        None => Ok(()),
        Some(Ok(done)) => done,
        Some(Err(error)) => Err(store::Error::Unavailable {
            verb: "have a team followed",
            source: error.into(),
        }),
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

fn respond(code: u16, body: Option<&serde_json::Value>) -> Response<Body> {
    let mut response = status(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if let Some(body) = body {
        *response.body_mut() = Body::Text(body.to_string());
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

fn greeting() -> Response<Body> {
    let mut response = status(StatusCode::OK);
    *response.body_mut() =
        Body::Text("This is a bot's messaging endpoint. Channels POST activities here.\n".to_owned());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn not_allowed() -> Response<Body> {
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST, GET, HEAD"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_called_is_what_we_know_and_not_what_was_said() {
        for said in [r#""urn:botframework:azure""#, "5"] {
            let body = format!(r#"{{"type":"message","callerId":{said}}}"#);
            let activity = Activity::from_slice(body.as_bytes()).unwrap();
            let caller_id = Some("urn:botframework:aadappid:x".to_owned());
            let known = Caller {
                caller_id: caller_id.clone(),
                ..Caller::default()
            };
            let (known, unknown) = (from(known, activity.clone()), from(Caller::default(), activity));
            assert_eq!(known.caller_id, caller_id);
            assert_eq!(
                serde_json::to_value(unknown).unwrap(),
                serde_json::json!({"type": "message"})
            );
        }
    }
}
