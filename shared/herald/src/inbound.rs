//! Records what incoming activities say: about conversations, and about teams.

use botframework::auth::VerifiedActivity;
use botframework::id::ConversationId;
use futures_util::{TryStreamExt, stream};

use crate::clock::Clock;
use crate::companions;
use crate::conversation::{
    self, Conversation, Membership, Observation, Observations, TeamChange, TeamEvent, TeamKey,
};
use crate::store::{ConversationFilter, ConversationSummary, Conversations, Error};

/// How many conversations of a team are listed at a time.
const TEAM_PAGE: usize = 100;

/// How many of them are changed at once. A change takes two requests, some ten milliseconds: thousands of conversations are
/// changed within the five seconds that a response may take.
const TEAM_CONCURRENCY: usize = 16;

/// What is done to each conversation of a team.
#[derive(Clone, Copy)]
enum TeamAction {
    /// The bot left the team.
    Leave,
    /// The bot is in the team again.
    Return,
    Apply(TeamEvent),
}

/// Stores everything an activity says about conversations and teams. Only a channel vouches for the conversation it names, so
/// an activity of another bot stores nothing.
///
/// # Errors
/// When the store is unavailable. The activity must not be acknowledged then: the channel repeats it, and recording it twice
/// changes nothing.
pub async fn record<C: Conversations>(
    store: &C,
    clock: &Clock,
    activity: &VerifiedActivity,
) -> Result<(), Error> {
    if !activity.is_from_channel() {
        return Ok(());
    }
    let observations = Observations::from_activity(activity.activity());
    if observations.conversations.is_empty() {
        tracing::warn!(
            error_type = "ConversationUnaddressable",
            "no bot, no service URL, an id that is too long, or a reference that is too large: conversation not stored"
        );
    }
    if let Some(change) = &observations.team_change {
        store.invalidate_roster(&change.team).await?;
    }
    let changed_channel = observations.changed_channel();
    let change = observations.team_change;
    for observation in observations.conversations {
        let conversation = &observation.key.conversation;
        if change.as_ref().is_some_and(|change| change.ends(conversation)) {
            continue;
        }
        let (changed_team, membership) = (observation.changed_team(), observation.membership);
        let remembered = companions::remember(store, observation, clock.now()).await?;
        tracing::debug!(remembered = ?remembered.upsert(), "conversation");
        let action = match membership {
            Membership::Left => Some(TeamAction::Leave),
            Membership::Joined => Some(TeamAction::Return),
            Membership::Unchanged | Membership::Unknown => None,
        };
        if let (Some(team), Some(action)) = (changed_team, action) {
            // Boxed, as below: rare, and large futures on the way of every activity otherwise.
            Box::pin(for_each_in_team(store, clock, &team, None, action)).await?;
        }
    }
    match change {
        Some(change) => Box::pin(handle_team_change(store, clock, &change, changed_channel)).await,
        None => Ok(()),
    }
}

/// Applies a team change to the conversations it affects. Teams sends one event per team, not one per channel.
async fn handle_team_change<C: Conversations>(
    store: &C,
    clock: &Clock,
    change: &TeamChange,
    changed_channel: Option<Observation>,
) -> Result<(), Error> {
    match change.event {
        TeamEvent::TeamRenamed | TeamEvent::MembersAdded | TeamEvent::MembersRemoved => return Ok(()),
        TeamEvent::ChannelCreated | TeamEvent::ChannelRenamed | TeamEvent::ChannelRestored => {
            if let Some(channel) = changed_channel {
                let key = channel.key.clone();
                store.remember(channel, clock.now()).await?;
                // A listing may not contain it yet.
                store.apply_team_change(&key, change.event, clock.now()).await?;
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
        // An event that this version does not know.
        _ => return Ok(()),
    }
    let action = TeamAction::Apply(change.event);
    for_each_in_team(store, clock, &change.team, change.channel.as_ref(), action).await
}

/// Changes every conversation of a team, or of one channel with its threads. Conversations of other bots in the same team stay.
async fn for_each_in_team<C: Conversations>(
    store: &C,
    clock: &Clock,
    team: &TeamKey,
    channel: Option<&ConversationId>,
    action: TeamAction,
) -> Result<(), Error> {
    let selection = ConversationFilter::Team(team.team.clone());
    let mut cursor = None;
    loop {
        let page = store.list(&selection, cursor.as_deref(), TEAM_PAGE).await?;
        let keys = page.items.into_iter().map(|ConversationSummary { key, .. }| key);
        let affected = keys.filter(|key| {
            (&key.bot, &key.channel) == (&team.bot, &team.channel)
                && channel.is_none_or(|channel| *channel == key.conversation.channel())
        });
        stream::iter(affected.map(Ok))
            .try_for_each_concurrent(TEAM_CONCURRENCY, |key| async move {
                let now = clock.now();
                let mut rule = |old: Option<&Conversation>| match action {
                    TeamAction::Leave => conversation::leave_with_team(old?, now),
                    TeamAction::Return => conversation::return_with_team(old?, now),
                    TeamAction::Apply(event) => conversation::apply_team_change(old?, event, now),
                };
                store.update_conversation(&key, &mut rule).await.map(drop)
            })
            .await?;
        match page.cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}
