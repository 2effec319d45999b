//! Routes: rules from an event of another system to a notification.
//!
//! A route has a pattern of events ([`EventPattern`]) or a schedule ([`Recurrence`]), an audience and a message. Strings of its audience,
//! message, category, subject and priority may hold `${path}`, of which [`template`] says more. A *subject* names what the event is
//! about: a later event with the same subject edits the earlier copy instead of sending another. Of a schedule, each
//! [occurrence](crate::occurrence) is an event.

use botframework::lossless::LosslessJson;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::event_pattern::EventPattern;
use crate::notification::Priority;
use crate::notification::request::Request;
use crate::occurrence::{OccurrenceSource, RecurringRecord, following};
use crate::problem::{Fault, Faults, pointer, suggestion};
use crate::schedule::{self, Recurrence};
use crate::store::{Collection, Record};
use crate::template::with_stand_in;

mod subject;
pub mod template;

pub use subject::{CopyOrigin, HeldSubject, SubjectLease, SubjectRecord};
use template::Renderer;

/// The fields of a route.
const FIELDS: [&str; 12] = [
    "description",
    "pattern",
    "schedule",
    "audience",
    "message",
    "template",
    "data",
    "texts",
    "category",
    "priority",
    "ifNoConversation",
    "subject",
];

/// The fields that its notifications have as they are written, but for placeholders.
const NOTIFICATION_FIELDS: [&str; 6] = [
    "audience",
    "template",
    "data",
    "texts",
    "category",
    "ifNoConversation",
];

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A route as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteRecord {
    /// Who wrote it last.
    pub caller: String,
    /// When.
    pub changed_at: Timestamp,
    /// The route as it was written.
    pub route: Value,
    /// The occurrence of its schedule that comes next, or that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
}

impl Record for RouteRecord {
    const COLLECTION: Collection = Collection::Routes;
}

impl RecurringRecord for RouteRecord {
    fn source(key: &str) -> OccurrenceSource {
        OccurrenceSource::Route(key.to_owned())
    }

    fn due(&self) -> Option<Timestamp> {
        self.due
    }

    fn after(self, at: Timestamp, recurrence: &Recurrence, now: Timestamp) -> Self {
        let due = following(at, recurrence, now);
        Self { due, ..self }
    }
}

/// A valid route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    source: Source,
    /// The fields of its notifications, but for message and priority.
    notification: Map<String, Value>,
    /// None of a route that names a template.
    message: Option<Value>,
    priority: Option<PriorityRule>,
    subject: Option<String>,
}

/// What its events are.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    /// Those of other systems that the pattern takes.
    Events(EventPattern),
    /// The occurrences of a schedule.
    Clock(Box<Recurrence>),
}

/// How urgent an event is.
#[derive(Clone, Debug, PartialEq)]
enum PriorityRule {
    Fixed(Priority),
    /// By the value of a text, in whatever case.
    ByValue {
        of: String,
        values: Vec<(String, Priority)>,
    },
}

/// What a route makes of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutedRequest {
    /// The body of `POST /api/notifications`.
    pub request: LosslessJson,
    /// What the event is about.
    pub subject: Option<String>,
    /// The paths of placeholders that the event does not have. They are empty.
    pub missing: Vec<String>,
}

/// Whether a text may name a route.
pub fn is_route_name(name: &str) -> bool {
    let is_allowed = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

impl Route {
    /// Parses the body of `PUT /api/routes/{name}`.
    ///
    /// # Errors
    /// Every invalid field. What a notification has is checked as that of one, with its placeholders as they are written.
    pub fn parse(body: &Value, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let Value::Object(object) = body else {
            faults.note("#", "must be an object");
            return faults.none_in(None);
        };
        for name in object.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            let detail = format!("is not a field of a route{}", suggestion(name, &FIELDS));
            faults.note(pointer("#", name), detail);
        }
        let source = source(object, &mut faults);
        let notification = notification(object, now, &mut faults);
        let priority = object
            .get("priority")
            .and_then(|value| priority(value, &mut faults));
        let subject = match object.get("subject") {
            None => None,
            Some(Value::String(subject)) if !subject.trim().is_empty() => Some(subject.clone()),
            Some(_) => {
                faults.note("#/subject", "must be a text that is not blank");
                None
            }
        };
        if object.get("description").is_some_and(|value| !value.is_string()) {
            faults.note("#/description", "must be a text");
        }
        let is_template = |name: &String| !["pattern", "schedule"].contains(&name.as_str());
        for (name, value) in object.iter().filter(|(name, _)| is_template(name)) {
            template::check(value, &pointer("#", name), &mut faults);
        }
        let route = source.map(|source| Self {
            source,
            notification,
            message: object.get("message").cloned(),
            priority,
            subject,
        });
        faults.none_in(route)
    }

    /// Whether it takes this event of another system.
    pub fn takes(&self, event: &Value) -> bool {
        match &self.source {
            Source::Events(pattern) => pattern.matches(event),
            Source::Clock(_) => false,
        }
    }

    /// Its schedule, if it has one.
    pub fn recurrence(&self) -> Option<&Recurrence> {
        match &self.source {
            Source::Events(_) => None,
            Source::Clock(recurrence) => Some(recurrence),
        }
    }

    /// What it makes of an event. Without a category, its notifications have its name.
    pub fn request(&self, name: &str, event: &Value) -> RoutedRequest {
        let mut renderer = Renderer::new(event);
        let mut request = Map::new();
        request.insert("category".to_owned(), Value::from(name));
        for (field, value) in &self.notification {
            request.insert(field.clone(), renderer.render(value));
        }
        if let Some(message) = &self.message {
            request.insert("message".to_owned(), renderer.render(message));
        }
        if let Some(priority) = self
            .priority
            .as_ref()
            .and_then(|rule| rule.priority(&mut renderer))
        {
            request.insert("priority".to_owned(), json!(priority));
        }
        let subject = self.subject.as_ref().map(|subject| renderer.render_text(subject));
        RoutedRequest {
            request: Value::Object(request).into(),
            subject: subject.filter(|subject| !subject.trim().is_empty()),
            missing: renderer.into_missing(),
        }
    }
}

/// What the events of a route are: it has a pattern or a schedule.
fn source(object: &Map<String, Value>, faults: &mut Faults) -> Option<Source> {
    match (object.get("pattern"), object.get("schedule")) {
        (Some(pattern), None) => EventPattern::parse(pattern, "#/pattern", faults).map(Source::Events),
        (None, Some(schedule)) => {
            self::schedule(schedule, faults).map(|found| Source::Clock(Box::new(found)))
        }
        (None, None) => {
            faults.note(
                "#/pattern",
                "is missing: say which events the route takes, or with `schedule` when it sends",
            );
            None
        }
        (Some(_), Some(_)) => {
            faults.note("#/schedule", "cannot be beside a `pattern`: write two routes");
            None
        }
    }
}

fn schedule(value: &Value, faults: &mut Faults) -> Option<Recurrence> {
    let Some(object) = value.as_object() else {
        faults.note(
            "#/schedule",
            "must be an object like {\"cron\": \"0 9 * * MON-FRI\", \"zone\": \"Europe/Berlin\"}",
        );
        return None;
    };
    for name in object
        .keys()
        .filter(|name| !schedule::FIELDS.contains(&name.as_str()))
    {
        let detail = format!(
            "is not a field of a schedule{}",
            suggestion(name, &schedule::FIELDS)
        );
        faults.note(pointer("#/schedule", name), detail);
    }
    Recurrence::read(object, "#/schedule", faults)
}

/// The event that an occurrence of a route's schedule is, in the form of `EventBridge`.
pub fn occurrence_event(name: &str, recurrence: &Recurrence, at: Timestamp) -> Value {
    let wall = recurrence.zoned(at);
    json!({
        "version": "0", "id": at, "source": "herald", "detail-type": "Scheduled Time", "time": at, "resources": [],
        "detail": {
            "route": name,
            "date": wall.date(),
            "time": wall.strftime("%H:%M").to_string(),
            "weekday": wall.strftime("%A").to_string(),
            "week": wall.date().iso_week_date().week(),
            "zone": wall.time_zone().iana_name(),
        },
    })
}

/// The fields that notifications of the route have, checked as a request with them is.
fn notification(object: &Map<String, Value>, now: Timestamp, faults: &mut Faults) -> Map<String, Value> {
    let fields = NOTIFICATION_FIELDS.iter();
    let fields = fields.filter_map(|name| Some(((*name).to_owned(), object.get(*name)?.clone())));
    let fields: Map<String, Value> = fields.collect();
    let mut request = fields.clone();
    if let Some(message) = object.get("message") {
        request.insert("message".to_owned(), message.clone());
        // Its placeholders are those of the route: what an event brings must not be read as an expression.
        for name in ["data", "texts"]
            .into_iter()
            .filter(|name| request.contains_key(*name))
        {
            faults.note(
                pointer("#", name),
                "needs a `template`: the strings of a route's own `message` are filled from the event",
            );
        }
    }
    let request = LosslessJson::from(Value::Object(request));
    if let Err(found) = Request::parse(&with_stand_in(&request), now) {
        for fault in found {
            faults.note(fault.pointer, fault.detail);
        }
    }
    fields
}

fn priority(value: &Value, faults: &mut Faults) -> Option<PriorityRule> {
    const WORDS: [(&str, Priority); 3] = [
        ("urgent", Priority::Urgent),
        ("normal", Priority::Normal),
        ("bulk", Priority::Bulk),
    ];
    let rule = match value {
        Value::String(word) => WORDS
            .iter()
            .find(|(known, _)| known == word)
            .map(|(_, priority)| PriorityRule::Fixed(*priority)),
        Value::Object(object) => {
            let is_known = |name: &String| name == "of" || WORDS.iter().any(|(known, _)| known == name);
            let of = object.get("of").and_then(Value::as_str);
            let mut values = Vec::new();
            let mut are_texts = true;
            for (word, priority) in WORDS {
                for value in object
                    .get(word)
                    .into_iter()
                    .flat_map(|list| list.as_array().into_iter().flatten())
                {
                    match value.as_str() {
                        Some(text) => values.push((text.to_lowercase(), priority)),
                        None => are_texts = false,
                    }
                }
            }
            of.filter(|_| are_texts && !values.is_empty() && object.keys().all(is_known))
                .map(|of| PriorityRule::ByValue {
                    of: of.to_owned(),
                    values,
                })
        }
        _ => None,
    };
    if rule.is_none() {
        faults.note(
            "#/priority",
            "must be \"urgent\", \"normal\" or \"bulk\", or an object like {\"of\": \"${detail.severity}\", \"urgent\": [\"HIGH\"], \"bulk\": [\"LOW\"]}",
        );
    }
    rule
}

impl PriorityRule {
    fn priority(&self, renderer: &mut Renderer<'_>) -> Option<Priority> {
        match self {
            Self::Fixed(priority) => Some(*priority),
            Self::ByValue { of, values } => {
                let value = renderer.render_text(of).to_lowercase();
                let mut values = values.iter();
                values.find_map(|(known, priority)| (*known == value).then_some(*priority))
            }
        }
    }
}

#[cfg(test)]
mod tests;
