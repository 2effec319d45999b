//! Herald's part of a turn: the conversation is recorded before it, and it runs once.

use std::sync::Arc;

use botframework::app::{self, Middleware, Next};
use botframework::auth::VerifiedActivity;
use herald::clock::{Clock, Random};
use herald::inbound;
use herald::store::{self, Conversations};
use herald::telemetry::chain;
use http::StatusCode;

use crate::later::{Engine, Later};
use crate::preferences::{PreferenceStore, TurnPreferences};
use crate::tags::{TagStore, Tags};
use crate::topics::Topics;
use crate::turns::{Claim, Turns};

/// Records what activities say, claims their turns, and gives each turn its [`Tags`], its [`TurnPreferences`], its [`Later`] and its
/// [`Welcome`](crate::Welcome).
pub(crate) struct Inbound<C> {
    pub(crate) store: C,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) topics: Topics,
    pub(crate) tags: Arc<dyn TagStore>,
    pub(crate) preferences: Arc<dyn PreferenceStore>,
    pub(crate) engine: Arc<dyn Engine>,
}

impl<C: Conversations> Middleware for Inbound<C> {
    async fn on_turn(&self, context: app::Context, next: Next) -> Result<(), app::Error> {
        let Some(activity) = context.verified() else {
            // The bot began the turn: there is nothing to learn, and no copy of it.
            return next.run(context).await;
        };
        let recorded = inbound::record(&self.store, &self.clock, activity).await;
        recorded.map_err(|error| not_recorded(&error))?;
        self.run_once(activity, context.clone(), next).await
    }
}

impl<C: Conversations> Inbound<C> {
    async fn run_once(
        &self,
        activity: &VerifiedActivity,
        context: app::Context,
        next: Next,
    ) -> Result<(), app::Error> {
        let turns = Turns {
            store: &self.store,
            clock: &self.clock,
        };
        let claimed = turns.claim(activity).await;
        let turn = match claimed.map_err(|error| not_recorded(&error))? {
            Claim::Turn(turn) => turn,
            Claim::Repeated => {
                tracing::info!("a copy of an activity that was answered: not answered again");
                return Ok(());
            }
            Claim::Running => {
                tracing::warn!(
                    error_type = "TurnRunning",
                    "another copy of the activity is being answered: the channel may repeat it"
                );
                return Err(app::Error::Stopped(StatusCode::SERVICE_UNAVAILABLE));
            }
        };
        let (tags, topics) = (Arc::clone(&self.tags), self.topics.clone());
        context.insert(Tags::new(tags, topics, activity));
        context.insert(TurnPreferences::new(Arc::clone(&self.preferences), activity));
        context.insert(turn.welcome());
        let engine = Arc::clone(&self.engine);
        context.insert(Later::new(
            engine,
            (&self.clock, &self.random),
            activity,
            turn.key(),
        ));
        let ran = next.run(context).await;
        match &ran {
            Ok(()) => turns.finish(&turn).await,
            Err(_) => turns.release(&turn).await,
        }
        ran
    }
}

fn not_recorded(error: &store::Error) -> app::Error {
    tracing::error!(error_type = "StoreUnavailable", error = %chain(error), "activity not recorded");
    app::Error::Stopped(StatusCode::INTERNAL_SERVER_ERROR)
}
