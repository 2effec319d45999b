//! Runs the turn of an activity once, and welcomes once.
//!
//! Channels send an activity again when they wait too long for the response, and two copies may arrive at once. The first copy
//! claims the turn; the others wait for it. A turn that failed is released, so that the channel's next copy runs it. The claim of
//! a worker that died expires.

use botframework::activity::Activity;
use botframework::app::{Context, Trigger};
use botframework::auth::VerifiedActivity;
use herald::clock::Clock;
use herald::conversation::{TurnClaim, TurnKey};
use herald::store::{Conversations, Error};
use herald::telemetry::chain;
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

/// How long a worker holds the claim of a turn. The function ends after 15 seconds.
const TURN_LEASE: SignedDuration = SignedDuration::from_secs(20);

/// How long a copy of an answered activity is recognised. Copies come within a minute.
const DONE_TTL: SignedDuration = SignedDuration::from_hours(1);

/// When to ask again for a turn that another copy runs.
const CLAIM_POLL: SignedDuration = SignedDuration::from_millis(500);

/// How long a copy waits for the response to the first. The channel waits 15 seconds.
const CLAIM_TIMEOUT: SignedDuration = SignedDuration::from_secs(8);

/// Whether the bot is to welcome people. A handler is registered for `Welcome::Due`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// The bot was added to the conversation, and has not said hello.
    Due,
    /// The activity adds no bot, or the welcome was sent for another activity about the same installation.
    NotDue,
}

impl Trigger for Welcome {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        (context.get::<Self>().ok()? == *self).then_some(())
    }
}

/// A turn to run.
#[derive(Debug)]
pub(crate) struct ClaimedTurn {
    /// `None` if each copy of the activity is answered.
    turn: Option<TurnKey>,
    /// The welcome, if this turn is the one that sends it.
    welcome: Option<TurnKey>,
}

/// The answer to a claim.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Run the turn.
    Turn(ClaimedTurn),
    /// It was run for another copy of the activity.
    Repeated,
    /// It is being run for another copy of the activity, which takes long.
    Running,
}

impl ClaimedTurn {
    pub(crate) fn welcome(&self) -> Welcome {
        match &self.welcome {
            Some(_) => Welcome::Due,
            None => Welcome::NotDue,
        }
    }

    /// Names the turn; `None` if each copy of the activity is answered.
    pub(crate) fn key(&self) -> Option<&TurnKey> {
        self.turn.as_ref()
    }

    fn keys(&self) -> impl Iterator<Item = &TurnKey> {
        self.turn.iter().chain(&self.welcome)
    }
}

/// The claims of turns.
#[derive(Debug)]
pub(crate) struct Turns<'a, C> {
    pub(crate) store: &'a C,
    pub(crate) clock: &'a Clock,
}

impl<C: Conversations> Turns<'_, C> {
    /// Claims the turn of an activity, and the welcome that it may lead to.
    pub(crate) async fn claim(&self, activity: &VerifiedActivity) -> Result<Claim, Error> {
        let turn = TurnKey::of_activity(activity);
        let mut until = later(self.clock.now(), TURN_LEASE);
        if let Some(turn) = &turn {
            match self.claim_after_copies(turn, &mut until).await? {
                TurnClaim::Claimed => {}
                TurnClaim::Done => return Ok(Claim::Repeated),
                TurnClaim::Running { .. } => return Ok(Claim::Running),
            }
        }
        // If this fails, the claim of the turn stays: the answer may be lost, and then the welcome is claimed until the same moment.
        let welcome = self.claim_welcome(activity.activity(), until).await?;
        Ok(Claim::Turn(ClaimedTurn { turn, welcome }))
    }

    /// Claims the welcome that an activity leads to, for as long as its turn: a copy that comes after a dead worker claims both. A
    /// removal of the bot ends an earlier welcome.
    async fn claim_welcome(&self, activity: &Activity, until: Timestamp) -> Result<Option<TurnKey>, Error> {
        if let Some(ended) = TurnKey::of_ended_welcome(activity) {
            self.store.release_turn(&ended).await?;
        }
        let Some(welcome) = TurnKey::of_welcome(activity) else {
            return Ok(None);
        };
        // If another activity about the installation has it and fails, the channel repeats that one.
        let claim = self.store.claim_turn(&welcome, self.clock.now(), until).await?;
        Ok((claim == TurnClaim::Claimed).then_some(welcome))
    }

    /// Claims a turn, after another copy of the activity if that is being answered. Sets the end of the claim.
    async fn claim_after_copies(&self, turn: &TurnKey, until: &mut Timestamp) -> Result<TurnClaim, Error> {
        let begins = self.clock.now();
        loop {
            let now = self.clock.now();
            *until = later(now, TURN_LEASE);
            let claim = self.store.claim_turn(turn, now, *until).await?;
            let TurnClaim::Running { until: busy } = claim else {
                return Ok(claim);
            };
            if now.duration_since(begins) >= CLAIM_TIMEOUT {
                return Ok(claim);
            }
            self.clock.sleep_until(busy.min(later(now, CLAIM_POLL))).await;
        }
    }

    /// Records that a turn is done. Without the record, a later copy is answered again.
    pub(crate) async fn finish(&self, claimed: &ClaimedTurn) {
        let until = later(self.clock.now(), DONE_TTL);
        for turn in claimed.keys() {
            if let Err(error) = self.store.finish_turn(turn, until).await {
                log(&error);
            }
        }
    }

    /// Releases a turn that failed. Otherwise its claim expires.
    pub(crate) async fn release(&self, claimed: &ClaimedTurn) {
        for turn in claimed.keys() {
            if let Err(error) = self.store.release_turn(turn).await {
                log(&error);
            }
        }
    }
}

fn log(error: &Error) {
    tracing::warn!(
        error_type = "TurnNotRecorded",
        error = %chain(error),
        "the end of a turn was not recorded: a copy of its activity may be answered again"
    );
}
