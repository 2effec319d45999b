//! The waves of a notification: an item for each, to which pages add their recipients.

use jiff::Timestamp;

use super::super::attribute::{Item, Record, moment, word};
use super::super::{Error, Expression, Put};
use super::Notifications;
use super::key::{WAVE, key, wave};
use crate::id::NotificationId;
use crate::notification::{Wave, WaveDecision, WaveState};

/// What was decided; absent while the wave waits.
const STATE: &str = "state";

impl Notifications {
    pub(super) async fn read_waves(&self, id: &NotificationId) -> Result<Vec<Wave>, Error> {
        const VERB: &str = "read the waves of a notification";
        let items = self.all(VERB, id, format!("{WAVE}#")).await?;
        items.iter().map(|item| read(VERB, item)).collect()
    }

    pub(super) async fn decide(
        &self,
        id: &NotificationId,
        due: Timestamp,
        decision: WaveDecision,
        now: Timestamp,
    ) -> Result<Option<Wave>, Error> {
        const VERB: &str = "decide about a wave";
        let update = Expression::new(
            "SET #state = :state, #decidedAt = :now",
            [STATE, "decidedAt"],
            [
                ("state", word(VERB, STATE, &decision.state())?),
                ("now", moment(now)),
            ],
        );
        let waits = Expression::present("part").and(Expression::absent(STATE));
        // If our own write is refused, because its answer was lost, the stored item has our decision.
        match self
            .0
            .update(VERB, key(id, &wave(due)), update, Some(waits))
            .await?
        {
            Put::Written(Some(item)) | Put::Refused(Some(item)) => read(VERB, &item).map(Some),
            Put::Written(None) | Put::Refused(None) => Ok(None),
        }
    }
}

fn read(verb: &'static str, item: &Item) -> Result<Wave, Error> {
    let record = Record { verb, item };
    Ok(Wave {
        due: record.moment("due")?,
        recipients: record.number("recipients")?,
        state: record.optional_word(STATE)?.unwrap_or(WaveState::Waiting),
    })
}
