//! What upstream systems publish, and schedules: invariants 12 and 13.
//!
//! Each event is published again, in other messages and out of order. Some are refused; some until their route is corrected.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use herald::audience::Selector;
use herald::id::NotificationId;
use herald::route::RouteRecord;
use herald::schedule::Schedule;
use herald::store::{ListPage, Notifications, Registry};
use herald::upstream::FailedEvent;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::audiences::{audience, document};
use super::book::{Book, Wanted};
use super::callers::{KEYLESS, says};
use super::fate::Chance;
use super::run::{Run, at_once};

/// The schedule's pattern, in UTC.
const CRON: &str = "*/2 * * * *";

/// The name of the route with the schedule, and the beginning of its texts.
const CLOCK: &str = "clock";

/// The rate of the template's rule that looks for lost messages.
const CHECKS_EVERY: Duration = Duration::from_mins(15);

/// Until after the storm all that is late has come: a check, and a failed message's visibility timeout.
pub(super) const SETTLES_WITHIN: Duration = Duration::from_mins(26);

/// What the events about one thing are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Requests for a notification.
    Requests,
    /// One event that a route takes.
    Routed,
    /// Events of one subject of a route.
    Subject,
    /// A request that is refused.
    Refused,
    /// One event whose route makes wrong requests until the storm is over.
    Corrected,
}

/// A thing that upstream systems publish events about.
#[derive(Clone, Debug)]
struct Affair {
    kind: Kind,
    audience: Vec<Selector>,
    /// When something is published, in the order of time, and which event it is.
    publications: Vec<(Duration, usize)>,
}

/// What upstream systems do in a run.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The number of the first affair's notification.
    first: usize,
    affairs: Vec<Affair>,
    is_scheduled: bool,
}

impl Upstream {
    /// Drawn from the seed. Notifications before the number `first` are of others.
    pub(super) fn drawn(run: &Run, chance: &Chance, within: Duration, first: usize) -> Self {
        Self {
            first,
            affairs: (0..chance.below(4))
                .map(|_| affair(run, chance, within))
                .collect(),
            is_scheduled: chance.below(3) == 0,
        }
    }

    /// The number after its last notification's.
    pub(super) fn end(&self) -> usize {
        self.first + self.affairs.len()
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &Affair)> {
        (self.first..).zip(&self.affairs)
    }

    /// Writes the routes, and publishes. The tasks end with the storm.
    pub(super) fn start(&self, run: &Arc<Run>) -> Vec<JoinHandle<()>> {
        let publishing = self.numbered().map(|(number, affair)| {
            affair.expect(run, number);
            spawn_local(affair.clone().publish(Arc::clone(run), number))
        });
        let mut tasks: Vec<_> = publishing.collect();
        tasks.push(spawn_local(operate(Arc::clone(run))));
        tasks
    }

    /// Writes the route with a schedule, if the run has one.
    pub(super) async fn start_clockwork(&self, run: &Arc<Run>) -> Option<Clockwork> {
        if self.is_scheduled {
            Some(Clockwork::start(run).await)
        } else {
            None
        }
    }

    /// After the storm: corrects what is wrong, and has failed events redriven.
    pub(super) async fn correct(&self, run: &Arc<Run>) {
        for (number, affair) in self.numbered() {
            affair.correct(run, number);
        }
        redrive(run).await;
    }

    /// Checks what all events led to.
    pub(super) fn check(&self, run: &Run) {
        for (number, affair) in self.numbered() {
            affair.check(run, number);
        }
    }
}

fn affair(run: &Run, chance: &Chance, within: Duration) -> Affair {
    let kinds = [
        Kind::Requests,
        Kind::Routed,
        Kind::Subject,
        Kind::Subject,
        Kind::Refused,
        Kind::Corrected,
    ];
    let kind = *chance.pick(&kinds);
    let events = if kind == Kind::Subject {
        chance.between(2, 5)
    } else {
        1
    };
    let from = chance.wait(Duration::ZERO, within / 2);
    // Close together, or far apart.
    let longest = *chance.pick(&[Duration::from_secs(2), Duration::from_mins(1), within / 2]);
    let mut publications = Vec::new();
    for event in 0..usize::try_from(events).unwrap() {
        for _ in 0..chance.between(1, 3) {
            publications.push((from + chance.wait(Duration::ZERO, longest), event));
        }
    }
    publications.sort();
    Affair {
        kind,
        audience: run.channel.with(|channel| audience(channel, chance)),
        publications,
    }
}

impl Affair {
    /// The notification of this number is what its events lead to, if they lead to one.
    fn expect(&self, run: &Run, number: usize) {
        let audience: Vec<_> = self.audience.iter().map(document).collect();
        let right = json!({"pattern": {"detail": {"about": [number]}}, "audience": audience,
                           "message": {"text": "${detail.text}"}});
        match self.kind {
            Kind::Requests | Kind::Refused => {}
            Kind::Routed => write_route(run, number, right),
            Kind::Subject => {
                let mut route = right;
                route["subject"] = json!("the one of the route");
                write_route(run, number, route);
            }
            Kind::Corrected => {
                let mut route = right;
                route["audience"] = json!({"tag": "${detail.no.such}"});
                write_route(run, number, route);
            }
        }
    }

    /// Corrects its route.
    fn correct(&self, run: &Run, number: usize) {
        if self.kind == Kind::Corrected {
            Self {
                kind: Kind::Routed,
                ..self.clone()
            }
            .expect(run, number);
        }
    }

    /// Publishes its events.
    async fn publish(self, run: Arc<Run>, number: usize) {
        let mut before = Duration::ZERO;
        for (at, event) in &self.publications {
            sleep(at.saturating_sub(before)).await;
            before = *at;
            run.book(|book| self.ask(book, number, *event, run.now()));
            let body = self.body(number, *event);
            run.tell(&"upstream", format_args!("publishes {body}"));
            run.upstream.publish(&run, body);
        }
    }

    /// Its notification is asked for by the first event, and shows the latest.
    fn ask(&self, book: &mut Book, number: usize, event: usize, now: Timestamp) {
        if self.kind == Kind::Refused {
            return;
        }
        let wanted = &mut book.wanted[number];
        if wanted.asked_at.is_none() {
            *wanted = Wanted {
                audience: self.audience.clone(),
                asked_at: Some(now),
                // The bus has taken it.
                acknowledged: true,
                ..Wanted::default()
            };
        }
        wanted.text = wanted.text.take().max(Some(text(number, event)));
    }

    fn body(&self, number: usize, event: usize) -> String {
        let text = text(number, event);
        let (detail_type, detail) = match self.kind {
            Kind::Requests => {
                let audience: Vec<_> = self.audience.iter().map(document).collect();
                (
                    "Notification Requested",
                    json!({"audience": audience, "message": {"text": text}}),
                )
            }
            Kind::Refused => (
                "Notification Requested",
                json!({"audience": [], "mesage": {"text": text}}),
            ),
            Kind::Routed | Kind::Subject | Kind::Corrected => {
                ("Affair", json!({"about": number, "text": text}))
            }
        };
        // Events happen in the order of their numbers, whatever the order in which they come.
        let second = 1_700_000_000 + i64::try_from(event).unwrap();
        let time = Timestamp::from_second(second).unwrap();
        json!({"rule": "arn:aws:events:eu-west-1:123456789012:rule/news/all", "event": {
            "version": "0", "id": format!("event-{number}-{event}"), "detail-type": detail_type, "source": "upstream",
            "account": "123456789012", "time": time, "region": "eu-west-1", "resources": [], "detail": detail,
        }})
        .to_string()
    }

    /// Checks what its events led to.
    fn check(&self, run: &Run, number: usize) {
        let failed: ListPage<(String, FailedEvent)> = at_once(run.store.list_records(None, usize::MAX));
        let event = format!("event-{number}-0");
        let listed = failed.items.iter().find(|(_, failed)| failed.event == event);
        if self.kind == Kind::Refused {
            let body = self.body(number, 0);
            if listed.is_none_or(|(_, failed)| !failed.is_given_up() || failed.body.as_ref() != Some(&body)) {
                run.violated(
                    12,
                    format_args!("{event} was refused, and is not listed: {listed:?}"),
                );
            }
            if !run.upstream.dead_bodies().contains(&body) {
                run.violated(12, format_args!("{event} was refused, and is lost"));
            }
            return;
        }
        if listed.is_some_and(|(_, failed)| failed.is_given_up()) {
            run.violated(
                12,
                format_args!("{event} is listed as failed, and was accepted: {listed:?}"),
            );
        }
        let (id, wanted) =
            run.book(|book| (book.wanted[number].id.clone(), book.wanted[number].text.clone()));
        let Some(id) = id else {
            run.violated(12, format_args!("{event} led to no notification"));
            return;
        };
        let shown = shown(run, &id);
        if shown != wanted {
            run.violated(
                12,
                format_args!("n{number} has the message {shown:?}, the latest event {wanted:?}"),
            );
        }
    }
}

fn text(number: usize, event: usize) -> String {
    format!("n{number} r{event}")
}

fn shown(run: &Run, id: &NotificationId) -> Option<String> {
    let revision = run.head(id)?.revision;
    let message = at_once(run.store.message(id, revision))?;
    message.activity.text
}

fn write_route(run: &Run, number: usize, route: Value) {
    let record = RouteRecord {
        caller: "operator".to_owned(),
        changed_at: run.now(),
        route,
        due: None,
    };
    at_once(
        run.store
            .update_record(&format!("route-{number}"), &mut |_| Some(record.clone())),
    );
}

/// A route with a schedule, from its writing to its deletion.
#[derive(Debug)]
pub(super) struct Clockwork {
    written_at: Timestamp,
    checks: JoinHandle<()>,
}

impl Clockwork {
    /// Writes the route, and starts the template's rule.
    async fn start(run: &Arc<Run>) -> Self {
        let route = json!({"schedule": {"cron": CRON}, "audience": {"groupChat": "19:nowhere"},
                           "message": {"text": format!("{CLOCK} ${{detail.date}} ${{detail.time}}")}});
        says(run, "PUT", "/api/routes/clock", KEYLESS, &route).await;
        Self {
            written_at: run.now(),
            checks: spawn_local(check_forever(Arc::clone(run))),
        }
    }

    /// After the storm: lets it catch up, deletes the route, and checks that each time was sent.
    pub(super) async fn stop(self, run: &Arc<Run>) {
        sleep(SETTLES_WITHIN).await;
        redrive(run).await;
        sleep(Duration::from_mins(1)).await;
        self.checks.abort();
        let ends = run.now() - SignedDuration::from_mins(1);
        says(run, "DELETE", "/api/routes/clock", KEYLESS, &json!({})).await;
        let schedule = Schedule::parse(CRON, "UTC").unwrap();
        let times = schedule
            .all_after(self.written_at + run.off())
            .take_while(|at| *at <= ends);
        let times: BTreeSet<_> = times
            .map(|at| at.strftime("%Y-%m-%d %H:%M").to_string())
            .collect();
        run.book(|book| {
            if let Some(missing) = times.difference(&book.occurrences).next() {
                let missing = missing.clone();
                book.violated(
                    13,
                    format_args!("the time {missing} of the schedule was not sent"),
                );
            }
        });
    }
}

/// The template's rule that looks for lost messages.
pub(super) async fn check_forever(run: Arc<Run>) {
    loop {
        sleep(CHECKS_EVERY).await;
        run.upstream.publish(&run, json!({"clock": "check"}).to_string());
    }
}

/// The time of a schedule whose notification has this text.
pub(super) fn occurrence(text: &str) -> Option<&str> {
    text.strip_prefix(CLOCK)?.strip_prefix(' ')
}

/// An operator who has failed events redriven now and then, during the storm.
async fn operate(run: Arc<Run>) {
    while !run.is_calm() {
        sleep(Duration::from_mins(4)).await;
        redrive(&run).await;
    }
}

/// Has the messages of failed events moved back, as an operator does.
pub(super) async fn redrive(run: &Arc<Run>) {
    if run.upstream.dead() > 0 {
        run.tell(&"operator", format_args!("has failed events redriven"));
        says(run, "POST", "/api/events/failed/redrive", KEYLESS, &json!({})).await;
    }
}
