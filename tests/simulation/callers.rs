//! The callers: which notifications they send, and how they change them later.

use std::sync::Arc;
use std::time::Duration;

use botframework::cloud::Cloud;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use herald::audience::{Selector, Target};
use herald::delivery::Guarantee;
use herald::notification::{IfNoConversation, Priority};
use herald::rate_limit::Limits;
use herald::time::floor_millisecond;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lambda_http::Body;
use lambda_http::http::Request;
use serde_json::{Value, json};
use tests::gateway;
use tokio::time::sleep;

use super::audiences::{audience, document, rows};
use super::book::Wanted;
use super::choices::CATEGORIES;
use super::fate::Chance;
use super::functions::{Simulated, lane, settings};
use super::lambda::Environment;
use super::moments::{LAST, in_utc};
use super::queues::Which;
use super::run::Run;
use super::store::Tables;
use super::subjects::SUBJECT;

/// Without an idempotency key.
pub(super) const KEYLESS: Option<usize> = None;

/// The number of the replacement in its text: higher than that of any edit.
const REPLACEMENT: u32 = 50;

/// The timeout of the API.
const LIMIT: Duration = Duration::from_secs(29);

/// A caller's request and its later changes. Times count from the start of the storm.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// The time of the request.
    pub(super) at: Duration,
    /// The selectors of its audience.
    pub(super) audience: Vec<Selector>,
    /// The policy for recipients without a conversation.
    pub(super) if_no_conversation: IfNoConversation,
    /// Its category.
    pub(super) category: Option<&'static str>,
    /// Whether it goes also to those who opted out.
    pub(super) mandatory: bool,
    /// The subject that several notifications have, if it has it.
    pub(super) subject: Option<&'static str>,
    /// The policy for ambiguous attempts.
    pub(super) guarantee: Guarantee,
    /// The time from the request to its expiry.
    pub(super) expires: Option<Duration>,
    /// The time from the request to its `deliverAt`.
    pub(super) begins: Option<Duration>,
    /// Whether its `deliverAt` is a wall time where each recipient is.
    pub(super) is_local: bool,
    /// The time from the request, or its `deliverAt`, to its retraction, and whether a replacement is shown then.
    pub(super) retracts: Option<(Duration, bool)>,
    /// Its priority; by the size of its audience if `None`.
    pub(super) priority: Option<Priority>,
    /// Whether it is a dry run.
    pub(super) dry_run: bool,
    /// The caller's later changes, each with the time since the previous one.
    pub(super) words: Vec<(Duration, Word)>,
}

impl Wish {
    /// A notification to everyone, at the start.
    pub(super) fn to_everyone() -> Self {
        Self {
            at: Duration::ZERO,
            audience: vec![Target::Everyone.into()],
            if_no_conversation: IfNoConversation::Skip,
            category: None,
            mandatory: false,
            subject: None,
            guarantee: Guarantee::AtLeastOnce,
            expires: None,
            begins: None,
            is_local: false,
            retracts: None,
            priority: None,
            dry_run: false,
            words: Vec::new(),
        }
    }
}

/// A caller's change of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Cancel,
    /// Cancels the last wave, of a notification that has waves.
    CancelWave,
    Edit,
    Retract,
}

/// The requests of all callers within this time, drawn from the seed.
pub(super) fn wishes(run: &Run, chance: &Chance, within: Duration) -> Vec<Wish> {
    if chance.below(25) == 0 {
        // Many at once to the same few conversations: more than the rate limit of a conversation allows.
        let at = chance.wait(Duration::ZERO, within / 2);
        let burst = (0..chance.between(9, 14)).map(|_| Wish {
            at: at + chance.wait(Duration::ZERO, Duration::from_secs(1)),
            audience: vec![Target::Everyone.into()],
            begins: None,
            is_local: false,
            retracts: None,
            words: Vec::new(),
            ..wish(run, chance, within)
        });
        return burst.collect();
    }
    let count = chance.between(1, 4);
    (0..count).map(|_| wish(run, chance, within)).collect()
}

fn wish(run: &Run, chance: &Chance, within: Duration) -> Wish {
    let soon =
        |chance: &Chance, seconds: u64| chance.wait(Duration::from_secs(1), Duration::from_secs(seconds));
    let mut words = Vec::new();
    for _ in 0..[0, 0, 1, 1, 2, 3][chance.index(6)] {
        // Soon after the previous change, or when the notification may be complete.
        let wait = if chance.below(3) > 0 {
            soon(chance, 10)
        } else {
            soon(chance, 1200)
        };
        words.push((
            wait,
            *chance.pick(&[Word::Cancel, Word::Edit, Word::Edit, Word::Retract]),
        ));
    }
    let is_local = chance.below(5) == 0;
    if is_local && chance.below(2) == 0 {
        words.push((soon(chance, 5000), Word::CancelWave));
    }
    Wish {
        at: chance.wait(Duration::ZERO, within / 2),
        audience: run.channel.with(|channel| match chance.below(8) {
            0 => vec![rows(channel, chance).into()],
            _ => audience(channel, chance),
        }),
        if_no_conversation: *chance.pick(&[
            IfNoConversation::Skip,
            IfNoConversation::Create,
            IfNoConversation::Create,
            IfNoConversation::Install,
            IfNoConversation::Install,
        ]),
        category: *chance.pick(&[None, Some(CATEGORIES[0]), Some(CATEGORIES[1])]),
        mandatory: chance.below(8) == 0,
        subject: (chance.below(2) == 0).then_some(SUBJECT),
        guarantee: *chance.pick(&[
            Guarantee::AtLeastOnce,
            Guarantee::AtLeastOnce,
            Guarantee::AtMostOnce,
        ]),
        // Both must be after the last wave, hours later.
        expires: (chance.below(4) == 0 && !is_local).then(|| soon(chance, 900)),
        begins: (is_local || chance.below(6) == 0).then(|| soon(chance, 3000)),
        is_local,
        retracts: (chance.below(4) == 0 && !is_local).then(|| (soon(chance, 2000), chance.below(2) == 0)),
        priority: *chance.pick(&[
            None,
            Some(Priority::Urgent),
            Some(Priority::Normal),
            Some(Priority::Bulk),
        ]),
        dry_run: chance.below(15) == 0,
        words,
    }
}

impl Wish {
    /// Whether each recipient has a row, and a message of its own.
    fn has_rows(&self) -> bool {
        let mut selectors = self.audience.iter();
        selectors.any(|selector| matches!(selector.target, Target::Rows { .. }))
    }
}

/// A message. To recipients with rows it has the field of each in its summary.
fn message(wish: &Wish, text: &str) -> Value {
    if wish.has_rows() {
        json!({"text": text, "summary": "${own}"})
    } else {
        json!({ "text": text })
    }
}

/// The request of a wish, with its times.
fn body(wish: &Wish, text: &str, replacement: Option<&str>, times: [(&str, Option<Timestamp>); 3]) -> Value {
    let mut body = json!({
        "audience": wish.audience.iter().map(document).collect::<Vec<_>>(),
        "message": message(wish, text),
        "guarantee": wish.guarantee,
        "ifNoConversation": wish.if_no_conversation,
        "events": ["gone", "rejected", "unknown"],
    });
    for (name, time) in times {
        if let Some(time) = time {
            body[name] = json!(time);
        }
    }
    if let Some(text) = replacement {
        body["replacement"] = message(wish, text);
    }
    if let Some(priority) = wish.priority {
        body["priority"] = json!(priority);
    }
    if let Some(category) = wish.category {
        body["category"] = json!(category);
    }
    if wish.mandatory {
        body["mandatory"] = json!(true);
    }
    if let Some(subject) = wish.subject {
        body["subject"] = json!(subject);
    }
    if wish.dry_run {
        body["dryRun"] = json!(true);
    }
    body
}

/// Runs one caller, from the request to its last change.
pub(super) async fn call(run: Arc<Run>, number: usize, wish: Wish) {
    sleep(wish.at).await;
    let now = run.now();
    let after = |wait: Duration| now + SignedDuration::try_from(wait).unwrap();
    let begins = wish.begins.map(after);
    let local_time = begins.filter(|_| wish.is_local).map(|moment| {
        let minute = Timestamp::from_second(moment.as_second() / 60 * 60).unwrap();
        minute.to_zoned(TimeZone::UTC).datetime()
    });
    let begins = local_time.map(in_utc).or(begins);
    let expires = wish
        .expires
        .map(|wait| begins.unwrap_or(now) + SignedDuration::try_from(wait).unwrap());
    let retract_at = wish
        .retracts
        .map(|(wait, _)| begins.unwrap_or(now) + SignedDuration::try_from(wait).unwrap());
    let is_replaced = wish.retracts.is_some_and(|(_, is_replaced)| is_replaced);
    let replacement = is_replaced.then(|| format!("n{number} r{REPLACEMENT}"));
    let text = format!("n{number} r0");
    let times = [
        ("deliverAt", begins),
        ("expiresAt", expires),
        ("retractAt", retract_at),
    ];
    let mut body = body(&wish, &text, replacement.as_deref(), times);
    if let Some(at) = local_time {
        body["deliverAt"] = json!({"at": at.strftime("%Y-%m-%dT%H:%M").to_string(), "zone": "recipient"});
    }
    run.book(|book| {
        book.wanted[number] = Wanted {
            audience: wish.audience.clone(),
            if_no_conversation: wish.if_no_conversation,
            category: wish.category,
            mandatory: wish.mandatory,
            subject: wish.subject.is_some(),
            asked_at: Some(now),
            guarantee: wish.guarantee,
            expires_at: expires,
            deliver_at: begins,
            local_time,
            text: Some(text),
            retract_at: retract_at.filter(|_| !wish.dry_run).map(floor_millisecond),
            replacement,
            ..Wanted::default()
        };
    });
    run.tell(&"caller", format_args!("asks: {body}"));
    if !says(&run, "POST", "/api/notifications", Some(number), &body).await {
        return;
    }
    let id = run.book(|book| {
        let wanted = &mut book.wanted[number];
        wanted.acknowledged = true;
        wanted.id.clone().unwrap()
    });
    run.tell(&"caller", format_args!("n{number} is {id}"));
    // A revision that is sent has a number as high as how many came before it, its own included.
    let first = if is_replaced { 2 } else { 1 };
    for (contents, (wait, word)) in (first..).zip(wish.words.clone()) {
        sleep(wait).await;
        let text = format!("n{number} r{contents}");
        let mut message = message(&wish, &text);
        if wish.has_rows() {
            message = json!({ "message": message });
        }
        let due = begins.unwrap_or(now) + LAST;
        let wave = format!("waves/{due}/cancel");
        let is_retracted = run.book(|book| book.wanted[number].retracted.is_some());
        let (method, path, text) = match word {
            // A retraction is final.
            Word::Edit if is_retracted => continue,
            Word::Edit => ("PUT", "message", Some(text)),
            Word::Retract => ("DELETE", "message", None),
            Word::Cancel => ("POST", "cancel", None),
            Word::CancelWave => ("POST", wave.as_str(), None),
        };
        run.tell(&"caller", format_args!("n{number}: {word:?}"));
        let path = format!("/api/notifications/{id}/{path}");
        if !says(&run, method, &path, KEYLESS, &message).await {
            // It is retracted by now, as its request asked, or there is no wave to be cancelled.
            continue;
        }
        run.tell(&"caller", format_args!("n{number}: {word:?} is acknowledged"));
        let now = run.now();
        run.book(|book| {
            let wanted = &mut book.wanted[number];
            match word {
                Word::Cancel => _ = wanted.cancelled.get_or_insert(now),
                Word::CancelWave => wanted.cancelled_wave = Some(due),
                Word::Edit | Word::Retract => wanted.revise(text, now),
            }
            // The answer may come after the retraction that the request asked for.
            if wanted.retract_at.is_some()
                && let Some(stored) = wanted.stored.last()
            {
                wanted.text.clone_from(stored);
            }
        });
    }
}

/// Repeats an API request until it is accepted or refused. Returns whether it was accepted.
pub(super) async fn says(run: &Arc<Run>, method: &str, path: &str, key: Option<usize>, body: &Value) -> bool {
    for number in 1.. {
        let environment = Environment::start(run, format!("notify {number}"));
        let tables = Tables(Arc::clone(&environment));
        let context = notify::Context::<Simulated> {
            registry: tables.clone(),
            failed_events: lane(&environment, Which::Events),
            notifications: tables.clone(),
            conversations: tables.clone(),
            ledger: tables.clone(),
            plans: lane(&environment, Which::Plans),
            events_queue: lane(&environment, Which::Events),
            events: tables,
            trust: TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Only),
            limits: Limits::teams(),
            settings: settings(run),
            legacy_text: String::new(),
            console: notify::ConsoleSignIn::default(),
            clock: environment.clock(),
            random: environment.random(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1{path}"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key.to_string());
        }
        let request = request.body(Body::Text(body.to_string())).unwrap();
        let answering = notify::handle(&context, gateway::through(request));
        let answer = environment.invoke(LIMIT, answering).await;
        let status = answer.map(|answer| answer.status().as_u16());
        run.tell(&environment, format_args!("answers {status:?}"));
        match status {
            Some(200..300) => return true,
            // After many retries its expiry is in the past, so it is refused.
            Some(400) => return false,
            Some(409) if method == "PUT" && run.book(|book| book.may_be_retracted(path)) => return false,
            // There is no such wave, or it has begun, or the notification is held.
            Some(404 | 409) if path.contains("/waves/") => return false,
            Some(401..500) => {
                run.violated(3, format_args!("{method} {path} was refused"));
                return false;
            }
            _ => sleep(run.chance.wait(Duration::from_secs(1), Duration::from_secs(10))).await,
        }
    }
    false
}
