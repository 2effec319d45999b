//! A schedule, and the operator who skips, pauses and resumes: invariant 16.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::callers::{KEYLESS, says};
use super::fate::Chance;
use super::run::Run;
use super::upstream::{SETTLES_WITHIN, check_forever, redrive};

/// The minutes between two occurrences.
const MINUTES: i64 = 3;

/// The `expiresIn` of the schedule, by which its notifications say which occurrence they are.
const EXPIRES_IN: SignedDuration = SignedDuration::from_hours(24);

/// What is done to the schedule, as its operator knows it.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The occurrences that were accepted.
    accepted: BTreeSet<Timestamp>,
    /// Occurrences that were to be skipped, and when that was confirmed, if it was.
    skipped: Vec<(Timestamp, Option<Timestamp>)>,
    /// When a pause was confirmed, and when it was to end.
    pauses: Vec<(Timestamp, Timestamp)>,
    /// When the last resumption was confirmed.
    resumed: Option<Timestamp>,
}

impl Schedule {
    /// The notification of an occurrence was stored. Returns what is wrong with that.
    pub(super) fn accept(&mut self, expires_at: Timestamp, run: &Run) -> Option<String> {
        let at = expires_at - EXPIRES_IN;
        let leeway = run.off() + run.slack();
        if !self.accepted.insert(at) {
            return Some(format!("the occurrence of {at} is sent again"));
        }
        if at > run.now() + run.off() {
            return Some(format!("the occurrence of {at} is sent before its time"));
        }
        let is_skipped = |(skipped, confirmed): &(Timestamp, Option<Timestamp>)| {
            *skipped == at && confirmed.is_some_and(|confirmed| confirmed + leeway < at)
        };
        if self.skipped.iter().any(is_skipped) {
            return Some(format!("the occurrence of {at} is sent, and was skipped"));
        }
        let is_in = |(from, to): &(Timestamp, Timestamp)| *from + leeway < at && at < *to - leeway;
        let is_paused = self.pauses.iter().any(is_in);
        is_paused.then(|| format!("the occurrence of {at} is sent, which fell into a pause"))
    }
}

/// A schedule from its writing to its deletion.
#[derive(Debug)]
pub(super) struct Recurring {
    written_at: Timestamp,
    operator: JoinHandle<()>,
    checks: JoinHandle<()>,
}

impl Recurring {
    /// Writes the schedule, starts the template's rule, and an operator who acts within this time.
    pub(super) async fn start(run: &Arc<Run>, chance: Chance, within: Duration) -> Self {
        let notification = json!({"audience": {"groupChat": "19:nowhere"}, "message": {"text": "by the clock"},
                                  "expiresIn": "PT24H"});
        let schedule = json!({"cron": format!("*/{MINUTES} * * * *"), "notification": notification});
        says(run, "PUT", "/api/schedules/mornings", KEYLESS, &schedule).await;
        Self {
            written_at: run.now(),
            operator: spawn_local(operate(Arc::clone(run), chance, within)),
            checks: spawn_local(check_forever(Arc::clone(run))),
        }
    }

    /// After the storm: lets it catch up, deletes the schedule, and checks that each occurrence was sent that was to be.
    pub(super) async fn stop(self, run: &Arc<Run>) {
        self.operator.await.unwrap();
        sleep(SETTLES_WITHIN).await;
        redrive(run).await;
        sleep(Duration::from_mins(1)).await;
        self.checks.abort();
        let ends = run.now() - SignedDuration::from_mins(1);
        says(run, "DELETE", "/api/schedules/mornings", KEYLESS, &json!({})).await;
        run.book(|book| {
            let schedule = &book.schedule;
            // What had come and was not handled when the schedule was paused is skipped.
            let from = schedule.resumed.unwrap_or(self.written_at) + run.off();
            let is_skipped = |at: &Timestamp| schedule.skipped.iter().any(|(skipped, _)| skipped == at);
            let mut expected = occurrences_after(from).take_while(|at| *at <= ends);
            let missing = expected.find(|at| !schedule.accepted.contains(at) && !is_skipped(at));
            if let Some(missing) = missing {
                book.violated(16, format_args!("the occurrence of {missing} was not sent"));
            }
        });
    }
}

/// The occurrences after this moment.
fn occurrences_after(moment: Timestamp) -> impl Iterator<Item = Timestamp> {
    let seconds = MINUTES * 60;
    let first = moment.as_second().div_euclid(seconds) + 1;
    (first..).map(move |number| Timestamp::from_second(number * seconds).unwrap())
}

/// Skips occurrences, pauses and resumes.
async fn operate(run: Arc<Run>, chance: Chance, within: Duration) {
    let mut left = within;
    loop {
        let wait = chance.wait(Duration::from_secs(10), Duration::from_mins(6));
        if wait >= left {
            return;
        }
        left = left.saturating_sub(wait);
        sleep(wait).await;
        if chance.below(3) > 0 {
            skip(&run, &chance).await;
        } else {
            pause(&run, &chance).await;
        }
    }
}

async fn skip(run: &Arc<Run>, chance: &Chance) {
    let ahead = usize::try_from(chance.below(3)).unwrap();
    let at = occurrences_after(run.now()).nth(ahead).unwrap();
    let number = run.book(|book| {
        book.schedule.skipped.push((at, None));
        book.schedule.skipped.len() - 1
    });
    run.tell(&"operator", format_args!("skips {at}"));
    if says(
        run,
        "POST",
        "/api/schedules/mornings/skip",
        KEYLESS,
        &json!({ "at": at }),
    )
    .await
    {
        let now = run.now();
        run.book(|book| book.schedule.skipped[number].1 = Some(now));
    }
}

async fn pause(run: &Arc<Run>, chance: &Chance) {
    run.tell(&"operator", format_args!("pauses the schedule"));
    says(run, "POST", "/api/schedules/mornings/pause", KEYLESS, &json!({})).await;
    let paused = run.now();
    let number = run.book(|book| {
        book.schedule.pauses.push((paused, Timestamp::MAX));
        book.schedule.pauses.len() - 1
    });
    sleep(chance.wait(Duration::from_secs(1), Duration::from_mins(8))).await;
    let now = run.now();
    run.book(|book| book.schedule.pauses[number].1 = now);
    run.tell(&"operator", format_args!("resumes the schedule"));
    says(run, "POST", "/api/schedules/mornings/resume", KEYLESS, &json!({})).await;
    let now = run.now();
    run.book(|book| book.schedule.resumed = Some(now));
}
