//! The activities that the bot receives, and its answers to them (invariant 11).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use botframework::auth::Authenticator;
use botframework::cloud::Cloud;
use botframework::connector::Connector;
use botframework::http::{Body as Answer, ResponseFuture, Transport};
use bytes::Bytes;
use herald::acceptance::Settings;
use lambda_http::Body;
use lambda_http::http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tests::gateway;
use tokio::time::sleep;

use super::channel::Kind;
use super::functions::{Simulated, lane};
use super::lambda::Environment;
use super::queues::Which;
use super::run::Run;
use super::store::Tables;
use super::wire::service_url;

/// The timeout of the messaging endpoint.
const LIMIT: Duration = Duration::from_secs(15);

/// The answers of the bot.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The number of activities so far.
    heard: u64,
    /// How often each activity was answered.
    sent: BTreeMap<String, usize>,
    /// How often the end of a turn was not recorded.
    pub(super) unrecorded: usize,
    /// The installations of people, until the bot is uninstalled.
    installations: BTreeMap<usize, Installation>,
}

/// The welcomes of a person. Reports of one installation may overlap: Teams' own, and the one that Graph's request leads to.
#[derive(Debug, Default)]
struct Installation {
    /// The reports that are not acknowledged yet.
    open: usize,
    answers: usize,
    excuses: usize,
    /// Whether a welcome was due and is checked. Later reports lead to none, or to another after a dead worker.
    is_checked: bool,
}

/// The channel as the bot's answers reach it. It executes all of them.
#[derive(Debug)]
struct Replies(Arc<Run>);

impl Transport for Replies {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
        let answered = request
            .uri()
            .path()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        self.0
            .book(|book| *book.answers.sent.entry(answered).or_default() += 1);
        Box::pin(async {
            let mut answer = Response::new(Answer::Complete(Bytes::from_static(b"{}")));
            *answer.status_mut() = StatusCode::CREATED;
            Ok(answer)
        })
    }
}

/// The bot is installed for a place. Teams says so in one activity or in two, in any order.
pub(super) async fn hears_of_installation(run: &Arc<Run>, place: usize) {
    let installed = json!({"type": "installationUpdate", "action": "add"});
    let added = json!({"type": "conversationUpdate", "membersAdded": [{"id": super::people::BOT}]});
    let activities = match run.chance.below(4) {
        0 => vec![installed, added],
        1 => vec![added, installed],
        _ => vec![installed],
    };
    run.book(|book| book.answers.installations.entry(place).or_default().open += 1);
    let (mut answers, mut excuses) = (0, 0);
    for activity in activities {
        let heard = post(run, place, &activity).await;
        (answers, excuses) = (answers + heard.answers, excuses + heard.excuses);
    }
    let is_person = run
        .channel
        .with(|channel| channel.places[place].kind == Kind::Person);
    let wrong = run.book(|book| {
        let installation = book.answers.installations.get_mut(&place)?;
        installation.acknowledged(answers, excuses)
    });
    if let Some(answers) = wrong.filter(|_| is_person) {
        run.violated(11, format_args!("an installation is welcomed {answers} times"));
    }
}

impl Installation {
    /// A report is acknowledged. Returns the number of welcomes if it is wrong.
    fn acknowledged(&mut self, answers: usize, excuses: usize) -> Option<usize> {
        // Uninstalled in between: another installation has begun.
        self.open = self.open.checked_sub(1)?;
        (self.answers, self.excuses) = (self.answers + answers, self.excuses + excuses);
        if self.open > 0 || self.is_checked {
            return None;
        }
        self.is_checked = true;
        (self.answers == 0 || self.answers > 1 + self.excuses).then_some(self.answers)
    }
}

/// The bot is uninstalled from a place.
pub(super) async fn hears_of_removal(run: &Arc<Run>, place: usize) {
    run.book(|book| book.answers.installations.remove(&place));
    post(
        run,
        place,
        &json!({"type": "installationUpdate", "action": "remove"}),
    )
    .await;
}

/// Posts an activity of a place to the bot, until it is acknowledged. A message must be answered.
pub(super) async fn hears(run: &Arc<Run>, place: usize, what: &Value) {
    let heard = post(run, place, what).await;
    if what["type"] == "message" && heard.answers == 0 {
        run.violated(11, format_args!("a message is acknowledged and not answered"));
    }
}

/// What became of one activity.
struct Heard {
    answers: usize,
    /// How often a worker died, or could not record the end of the turn.
    excuses: usize,
}

/// Posts an activity to the bot, sometimes in two copies at once, and repeats each copy until it is acknowledged.
async fn post(run: &Arc<Run>, place: usize, what: &Value) -> Heard {
    let (number, before) = run.book(|book| {
        book.answers.heard += 1;
        (book.answers.heard, book.answers.unrecorded)
    });
    let id = format!("heard{number}");
    let mut activity = run.channel.with(|channel| {
        let service_url = service_url(channel.places[place].region);
        channel.activity(place, place, &id, &service_url)
    });
    activity
        .as_object_mut()
        .unwrap()
        .extend(what.as_object().unwrap().clone());
    let body = activity.to_string();
    let deaths = if run.chance.below(8) == 0 {
        let copies = (
            Box::pin(deliver(run, &body, number)),
            Box::pin(deliver(run, &body, number)),
        );
        let (first, second) = tokio::join!(copies.0, copies.1);
        first + second
    } else {
        Box::pin(deliver(run, &body, number)).await
    };
    let (answers, unrecorded) = run.book(|book| {
        let sent = book.answers.sent.get(&id).copied().unwrap_or_default();
        (sent, book.answers.unrecorded - before)
    });
    let excuses = deaths + unrecorded;
    if answers > 1 + excuses {
        run.violated(11, format_args!("{id} is answered {answers} times"));
    }
    Heard { answers, excuses }
}

/// Posts one copy until it is acknowledged. Returns how many workers died.
async fn deliver(run: &Arc<Run>, body: &str, activity: u64) -> usize {
    let mut deaths = 0;
    for number in 1.. {
        let environment = Environment::start(run, format!("messages {activity}.{number}"));
        let (tables, plans) = (Tables(Arc::clone(&environment)), lane(&environment, Which::Plans));
        let context = messages::Context::<Simulated> {
            topics: messages::Topics::default(),
            conversations: tables.clone(),
            registry: tables.clone(),
            notifications: tables,
            // The people here ask the bot for nothing that is to be done later.
            events: plans.clone(),
            plans,
            settings: Settings::default(),
            authenticator: Authenticator::unauthenticated(Cloud::Public),
            connector: Connector::unauthenticated(Replies(Arc::clone(run))),
            clock: environment.clock(),
            random: environment.random(),
        };
        let app = messages::app(context);
        let request = Request::post("http://127.0.0.1/api/messages")
            .body(Body::Text(body.to_owned()))
            .unwrap();
        match environment
            .invoke(LIMIT, Box::pin(gateway::post(&app, request)))
            .await
        {
            Some(answer) if answer.status() == 200 => break,
            Some(_) => {}
            None => deaths += 1,
        }
        sleep(run.chance.wait(Duration::from_secs(1), Duration::from_secs(10))).await;
    }
    deaths
}
