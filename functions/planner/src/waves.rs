//! Enqueues the chunks of stored pages: what is due at once, and a wave when its moment has come.
//!
//! A page is stored with its waves. Then their records are read: a wave that has begun by then is enqueued here; one that begins later
//! finds the page, because it begins before its pages are read. So nothing is forgotten, whatever the clocks say. A wave that waits has a
//! message that comes at its moment; each planner of a page sends it, and a wave begins once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use herald::Error;
use herald::backend::Backend;
use herald::notification::{WaveDecision, WaveState};
use herald::queue::{Chunk, Message, Plan, Queue, Task};
use herald::store::Notifications;
use herald::time::until;
use jiff::Timestamp;

use crate::parts::PlanRun;

/// The waves whose messages this planner has sent.
#[derive(Debug, Default)]
pub(crate) struct ScheduledWaves(BTreeSet<Timestamp>);

impl<B: Backend> PlanRun<'_, B> {
    /// Handles the message of a wave: begins it if its moment has come, and enqueues its chunks. Those of a wave that was cancelled end.
    pub(crate) async fn wave(&self, due: Timestamp) -> Result<(), Error> {
        let context = self.context;
        let id = &self.notification.id;
        let now = context.clock.now();
        let begins = self.notification.wave_begins(due);
        let is_early = begins > now && !self.notification.is_stopped();
        if is_early && self.state_of(due).await? == Some(WaveState::Waiting) {
            return Ok(context.plans.send(vec![self.message_of(due)]).await?);
        }
        if self.notification.is_held() {
            return Ok(());
        }
        let decision = if self.notification.is_stopped() {
            WaveDecision::Cancel
        } else {
            WaveDecision::Begin
        };
        match context.notifications.decide_wave(id, due, decision, now).await? {
            Some(_) => self.whole(Task::Sweep).await,
            None => Ok(()),
        }
    }

    async fn state_of(&self, due: Timestamp) -> Result<Option<WaveState>, Error> {
        let waves = self.context.notifications.waves(&self.notification.id).await?;
        let wave = waves.iter().find(|wave| wave.due == due);
        Ok(wave.map(|wave| wave.state))
    }

    /// The message that begins a wave at its moment.
    fn message_of(&self, due: Timestamp) -> Message {
        let begins = self.notification.wave_begins(due);
        let wait = until(self.context.clock.now(), begins);
        Plan::of_wave(self.notification.id.clone(), due).message(wait)
    }

    /// Enqueues chunks of a stored page, but for those whose wave waits: that is scheduled.
    pub(crate) async fn enqueue(
        &self,
        chunks: Vec<Chunk>,
        scheduled: &mut ScheduledWaves,
    ) -> Result<(), Error> {
        let context = self.context;
        let id = &self.notification.id;
        let is_asked_for = |chunk: &Chunk| self.wave.is_none() || chunk.wave == self.wave;
        let mut chunks: Vec<Chunk> = chunks.into_iter().filter(is_asked_for).collect();
        if chunks.iter().any(|chunk| chunk.wave.is_some()) {
            // Both after the page was stored: a cancellation or a wave that is not seen here sees the page.
            let (waves, head) =
                futures_util::try_join!(context.notifications.waves(id), context.notifications.find(id))?;
            let states: BTreeMap<_, _> = waves.into_iter().map(|wave| (wave.due, wave.state)).collect();
            let is_stopped = head.is_none_or(|head| head.is_stopped());
            let mut waiting = BTreeSet::new();
            chunks.retain_mut(|chunk| {
                let Some(due) = chunk.wave else { return true };
                match states.get(&due) {
                    Some(WaveState::Cancelled) => chunk.cancelled = true,
                    Some(WaveState::Begun) if !is_stopped => {
                        chunk.due = Some(self.notification.wave_begins(due));
                    }
                    _ if is_stopped => {}
                    Some(WaveState::Waiting | WaveState::Expired | WaveState::Begun) | None => {
                        waiting.insert(due);
                        return false;
                    }
                }
                true
            });
            let new = waiting.difference(&scheduled.0);
            let messages: Vec<Message> = new.map(|due| self.message_of(*due)).collect();
            if !messages.is_empty() {
                context.plans.send(messages).await?;
            }
            scheduled.0.extend(waiting);
        }
        if chunks.is_empty() {
            return Ok(());
        }
        let messages = chunks.iter().map(|chunk| chunk.message(Duration::ZERO));
        Ok(context.deliveries.send(messages.collect()).await?)
    }
}
