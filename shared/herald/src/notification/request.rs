//! Parses the body of `POST /api/notifications` and reports all invalid fields at once.

use botframework::lossless::LosslessJson;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::{DeliveryEvent, IfNoConversation, IfUnreachable, Priority, SendMode};
use crate::audience::{Audience, kind, repeated_rows, size};
use crate::delivery::Guarantee;
use crate::id::NotificationId;
use crate::problem::{Fault, Faults, pointer, suggestion};
use crate::template::{Bindings, MessageSource};
use crate::time::{floor_millisecond, later};
use crate::warning::{Warning, WarningCode};

mod deliver_at;
mod message;

pub use deliver_at::LocalTime;
pub use message::{MESSAGE_BYTES_MAX, message_of, replacement};

/// The fields of a request.
pub const FIELDS: [&str; 20] = [
    "audience",
    "message",
    "template",
    "data",
    "texts",
    "category",
    "mandatory",
    "subject",
    "guarantee",
    "ifNoConversation",
    "ifUnreachable",
    "sendMode",
    "priority",
    "deliverAt",
    "expiresAt",
    "retractAt",
    "replacement",
    "events",
    "dryRun",
    "confirm",
];

/// The longest category, in bytes.
const CATEGORY_BYTES_MAX: usize = 64;

/// The longest subject, in bytes.
const SUBJECT_BYTES_MAX: usize = 128;

/// The latest `expiresAt`, from the acceptance or `deliverAt` of the notification; also its default.
pub const SENT_FOR_MAX: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The latest `retractAt`, from the acceptance or `deliverAt` of the notification. What a change of the copies needs is stored
/// for two days longer.
pub const RETRACT_WITHIN_MAX: SignedDuration = SignedDuration::from_hours(28 * 24);

/// A valid request for a notification.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The recipients, as selectors.
    pub audience: Audience,
    /// An activity of type message, with a `summary` if it has cards only; or a template of one.
    pub message: MessageSource,
    /// What kind of notification it is: people opt out of a category.
    pub category: Option<String>,
    /// Whether it goes also to those who opted out, which takes a right of the caller.
    pub mandatory: bool,
    /// What it is about: it edits what its caller sent of the same subject before.
    pub subject: Option<String>,
    /// Whether an ambiguous request is repeated.
    pub guarantee: Guarantee,
    /// What the sender does for a person without a conversation.
    pub if_no_conversation: IfNoConversation,
    /// What becomes of conversations that are not reachable.
    pub if_unreachable: IfUnreachable,
    /// The send mode; that of the deployment if `None`. Individual with a subject.
    pub send_mode: Option<SendMode>,
    /// Its share of a tenant's rate limit; by the size of its audience if `None`.
    pub priority: Option<Priority>,
    /// The notification is not planned before this time.
    pub deliver_at: Option<Timestamp>,
    /// The local time at which each recipient gets it. Then the notification is planned before the earliest moment that it can be.
    pub local_time: Option<LocalTime>,
    /// The notification is not sent from this time on.
    pub expires_at: Timestamp,
    /// When its copies are deleted, or edited to the replacement.
    pub retract_at: Option<Timestamp>,
    /// The message that the copies show from `retract_at` on.
    pub replacement: Option<Box<MessageSource>>,
    /// The outcomes for which an event is published for each delivery.
    pub events: Vec<DeliveryEvent>,
    /// The size of the message, in bytes of JSON.
    pub message_bytes: u64,
    /// Whether the audience is only planned and counted.
    pub dry_run: bool,
    /// The dry run or held notification that this request confirms.
    pub confirm: Option<NotificationId>,
    /// What the caller may not have meant.
    pub warnings: Vec<Warning>,
}

impl Request {
    /// Parses a request body.
    ///
    /// # Errors
    /// Every invalid field, with its JSON pointer. An unknown field is invalid too, because a misspelt `expiresAt` would be
    /// ignored.
    pub fn parse(body: &LosslessJson, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let mut warnings = Vec::new();
        let Value::Object(object) = &body.value else {
            faults.note("#", format!("must be an object, found {}", kind(&body.value)));
            return faults.none_in(None);
        };
        for name in object.keys() {
            if !FIELDS.contains(&name.as_str()) {
                let detail = format!("is not a field of a notification{}", suggestion(name, &FIELDS));
                faults.note(pointer("#", name), detail);
            }
        }
        let audience = required(object, "audience", "who the notification is for", &mut faults)
            .and_then(|value| Audience::parse(value, &mut faults));
        let has_rows = audience.as_ref().is_some_and(Audience::has_rows);
        let bindings = Bindings::parse(object, &mut faults).or_else(|| has_rows.then(Bindings::default));
        let message = message(body, object, bindings.as_ref(), &mut faults);
        warnings.extend(object.get("audience").and_then(repeated));
        let category = name(object, "category", CATEGORY_BYTES_MAX, &mut faults);
        let mandatory = flag(object, "mandatory", &mut faults);
        let subject = name(object, "subject", SUBJECT_BYTES_MAX, &mut faults);
        let guarantee = guarantee(object, &mut faults);
        let if_no_conversation = if_no_conversation(object, &mut faults);
        let if_unreachable = if_unreachable(object, &mut faults);
        let replacement = replacement_of(body, bindings.as_ref(), &mut faults);
        let is_personal = has_rows
            || message.as_ref().is_some_and(|(message, _)| message.is_personal())
            || replacement
                .as_ref()
                .is_some_and(|replacement| replacement.is_personal());
        let send_mode = send_mode(object, subject.as_deref(), is_personal, &mut faults);
        let priority = priority(object, &mut faults);
        let delivery = deliver_at::parse(object, now, &mut faults, &mut warnings);
        let expires_at = expires_at(object, now, delivery.latest, &mut faults, &mut warnings);
        let retract_at = retract_at(object, now, delivery.latest, &mut faults);
        let events = events(object, &mut faults);
        let dry_run = flag(object, "dryRun", &mut faults);
        let confirm = confirm(object, &mut faults);
        let request = audience
            .zip(message)
            .map(|(audience, (message, message_bytes))| Self {
                audience,
                message,
                category,
                mandatory,
                subject,
                guarantee,
                if_no_conversation,
                if_unreachable,
                send_mode,
                priority,
                deliver_at: delivery.planned_at,
                local_time: delivery.local_time,
                expires_at,
                retract_at,
                replacement,
                events,
                message_bytes,
                dry_run,
                confirm,
                warnings,
            });
        faults.none_in(request)
    }
}

fn required<'v>(
    object: &'v Map<String, Value>,
    name: &str,
    what: &str,
    faults: &mut Faults,
) -> Option<&'v Value> {
    let value = object.get(name);
    if value.is_none() {
        faults.note(pointer("#", name), format!("is missing: say {what}"));
    }
    value
}

/// A warning of rows that do not count.
fn repeated(audience: &Value) -> Option<Warning> {
    let repeated = repeated_rows(audience);
    let detail = format!("{repeated} rows name a recipient that an earlier row names: the first one counts.");
    (repeated > 0).then(|| Warning::at("#/audience", WarningCode::RepeatedRows, detail))
}

/// The message. A template that is named must have been looked up by now.
fn message(
    body: &LosslessJson,
    object: &Map<String, Value>,
    bindings: Option<&Bindings>,
    faults: &mut Faults,
) -> Option<(MessageSource, u64)> {
    if object.contains_key("template") {
        let detail = if object.contains_key("message") {
            "cannot be beside a `message`: a request has one of both"
        } else {
            "must be the name of a template: 1 to 64 small letters, digits and `-`"
        };
        faults.note("#/template", detail);
        return None;
    }
    required(object, "message", "what is to be sent", faults)?;
    message::parse(body.get("message")?, "#/message", bindings, faults)
}

/// The name of a category or a subject.
fn name(object: &Map<String, Value>, field: &str, max_bytes: usize, faults: &mut Faults) -> Option<String> {
    match object.get(field)? {
        Value::String(text) if is_name(text, max_bytes) => Some(text.clone()),
        other => {
            let detail = format!(
                "must be a word of 1 to {max_bytes} bytes, not blank and without control characters, found {}",
                size(other)
            );
            faults.note(pointer("#", field), detail);
            None
        }
    }
}

/// Whether a text can be the name of a category.
pub fn is_category(text: &str) -> bool {
    is_name(text, CATEGORY_BYTES_MAX)
}

fn is_name(text: &str, max_bytes: usize) -> bool {
    let is_blank = text.trim().is_empty();
    (1..=max_bytes).contains(&text.len()) && !is_blank && !text.chars().any(char::is_control)
}

fn guarantee(object: &Map<String, Value>, faults: &mut Faults) -> Guarantee {
    match object.get("guarantee").map(Value::as_str) {
        None | Some(Some("atLeastOnce")) => Guarantee::AtLeastOnce,
        Some(Some("atMostOnce")) => Guarantee::AtMostOnce,
        Some(_) => {
            faults.note("#/guarantee", "must be \"atLeastOnce\" or \"atMostOnce\"");
            Guarantee::default()
        }
    }
}

fn if_no_conversation(object: &Map<String, Value>, faults: &mut Faults) -> IfNoConversation {
    let Some(value) = object.get("ifNoConversation") else {
        return IfNoConversation::default();
    };
    serde_json::from_value(value.clone()).unwrap_or_else(|_| {
        faults.note(
            "#/ifNoConversation",
            "must be \"skip\", \"create\" or \"install\"",
        );
        IfNoConversation::default()
    })
}

fn if_unreachable(object: &Map<String, Value>, faults: &mut Faults) -> IfUnreachable {
    match object.get("ifUnreachable").map(Value::as_str) {
        None | Some(Some("leaveOut")) => IfUnreachable::LeaveOut,
        Some(Some("report")) => IfUnreachable::Report,
        Some(_) => {
            faults.note("#/ifUnreachable", "must be \"leaveOut\" or \"report\"");
            IfUnreachable::default()
        }
    }
}

fn send_mode(
    object: &Map<String, Value>,
    subject: Option<&str>,
    is_personal: bool,
    faults: &mut Faults,
) -> Option<SendMode> {
    let Some(value) = object.get("sendMode") else {
        // A batch does not return the ids of its messages, without which no later notification can edit them.
        // And it sends one message to all.
        return (is_personal || subject.is_some()).then_some(SendMode::Individual);
    };
    let send_mode = serde_json::from_value(value.clone()).ok();
    if send_mode.is_none() {
        faults.note("#/sendMode", "must be \"individual\" or \"batch\"");
    }
    if send_mode == Some(SendMode::Batch) && subject.is_some() {
        let detail = "must be \"individual\" with a `subject`: what went by a batch cannot be edited";
        faults.note("#/sendMode", detail);
    }
    if send_mode == Some(SendMode::Batch) && is_personal {
        let detail = "must be \"individual\" with `rows`, and with a template that reads `recipient` or `texts`: a batch sends one message to all";
        faults.note("#/sendMode", detail);
    }
    send_mode
}

fn priority(object: &Map<String, Value>, faults: &mut Faults) -> Option<Priority> {
    let value = object.get("priority")?;
    let priority = serde_json::from_value(value.clone()).ok();
    if priority.is_none() {
        faults.note("#/priority", "must be \"urgent\", \"normal\" or \"bulk\"");
    }
    priority
}

fn events(object: &Map<String, Value>, faults: &mut Faults) -> Vec<DeliveryEvent> {
    let Some(value) = object.get("events") else {
        return Vec::new();
    };
    let mut events: Vec<DeliveryEvent> = Vec::new();
    for word in value.as_array().into_iter().flatten() {
        match serde_json::from_value(word.clone()) {
            Ok(event) if events.contains(&event) => {}
            Ok(event) => events.push(event),
            Err(_) => {
                faults.note("#/events", "may name \"gone\", \"rejected\" and \"unknown\" only");
                return events;
            }
        }
    }
    if !value.is_array() {
        faults.note("#/events", format!("must be an array, found {}", kind(value)));
    }
    events
}

fn flag(object: &Map<String, Value>, name: &str, faults: &mut Faults) -> bool {
    match object.get(name) {
        None => false,
        Some(Value::Bool(flag)) => *flag,
        Some(other) => {
            let detail = format!("must be true or false, found {}", kind(other));
            faults.note(pointer("#", name), detail);
            false
        }
    }
}

fn confirm(object: &Map<String, Value>, faults: &mut Faults) -> Option<NotificationId> {
    let value = object.get("confirm")?;
    let id = value.as_str().and_then(|text| text.parse().ok());
    if id.is_none() {
        faults.note(
            "#/confirm",
            "must be the `confirm` of a plan: the id of its notification",
        );
    }
    id
}

fn expires_at(
    object: &Map<String, Value>,
    now: Timestamp,
    deliver_at: Option<Timestamp>,
    faults: &mut Faults,
    warnings: &mut Vec<Warning>,
) -> Timestamp {
    let latest = later(deliver_at.unwrap_or(now), SENT_FOR_MAX);
    let Some(value) = object.get("expiresAt") else {
        return latest;
    };
    match moment(value) {
        Some(moment) if moment <= now => {
            let detail = format!("has passed already: here it is {now}");
            faults.note("#/expiresAt", detail);
        }
        Some(moment) if deliver_at.is_some_and(|deliver_at| moment <= deliver_at) => {
            faults.note(
                "#/expiresAt",
                "must be after `deliverAt`, wherever a recipient is",
            );
        }
        Some(moment) if moment > latest => {
            let detail = format!(
                "`expiresAt` is cut to {latest}: nothing is sent later than 14 days after acceptance or `deliverAt`."
            );
            warnings.push(Warning::at("#/expiresAt", WarningCode::ExpiryCapped, detail));
        }
        Some(moment) => return moment,
        None => {
            let detail = "must be a time with offset (RFC 3339), like 2026-12-31T17:00:00Z";
            faults.note("#/expiresAt", detail);
        }
    }
    latest
}

fn retract_at(
    object: &Map<String, Value>,
    now: Timestamp,
    deliver_at: Option<Timestamp>,
    faults: &mut Faults,
) -> Option<Timestamp> {
    let latest = later(deliver_at.unwrap_or(now), RETRACT_WITHIN_MAX);
    let detail = match moment(object.get("retractAt")?) {
        Some(moment) if moment <= now => format!("has passed already: here it is {now}"),
        Some(moment) if deliver_at.is_some_and(|deliver_at| moment <= deliver_at) => {
            "must be after `deliverAt`".to_owned()
        }
        Some(moment) if moment > latest => {
            format!(
                "may be {latest} at the latest: copies are changed for 28 days after acceptance or `deliverAt`"
            )
        }
        Some(moment) => return Some(moment),
        None => "must be a time with offset (RFC 3339), like 2026-12-31T17:00:00Z".to_owned(),
    };
    faults.note("#/retractAt", detail);
    None
}

fn replacement_of(
    body: &LosslessJson,
    bindings: Option<&Bindings>,
    faults: &mut Faults,
) -> Option<Box<MessageSource>> {
    let message = body.get("replacement")?;
    if body.value.get("retractAt").is_none() {
        faults.note(
            "#/replacement",
            "needs `retractAt`: the time at which the copies show it",
        );
    }
    let (message, _) = message::parse(message, "#/replacement", bindings, faults)?;
    Some(Box::new(message))
}

/// A moment of the request, to the millisecond: that is the precision of the tables.
fn moment(value: &Value) -> Option<Timestamp> {
    let moment: Timestamp = value.as_str()?.parse().ok()?;
    Some(floor_millisecond(moment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(body: &Value) -> Result<Request, Vec<Fault>> {
        Request::parse(&body.clone().into(), Timestamp::UNIX_EPOCH)
    }

    fn pointers(body: &Value) -> Vec<String> {
        parse(body)
            .unwrap_err()
            .into_iter()
            .map(|fault| fault.pointer)
            .collect()
    }

    #[test]
    fn a_text_to_everyone_is_all_it_takes() {
        let request = parse(&json!({"audience": {"everyone": true}, "message": {"text": "hi"}})).unwrap();
        assert_eq!(request.message.activity.text.as_deref(), Some("hi"));
        assert_eq!(serde_json::to_value(&request.message).unwrap()["type"], "message");
        let latest = Timestamp::UNIX_EPOCH.checked_add(SENT_FOR_MAX).unwrap();
        assert_eq!(
            (request.guarantee, request.expires_at),
            (Guarantee::AtLeastOnce, latest)
        );
    }

    #[test]
    fn an_activity_is_taken_whole() {
        let message = json!({"type": "message", "text": "hi", "importance": "high", "channelData": {"notification": {"alert": true}}, "x-novel": [1.10, null]});
        let request = parse(&json!({"audience": {"everyone": true}, "message": message})).unwrap();
        assert_eq!(serde_json::to_value(&request.message).unwrap(), message);
    }

    #[test]
    fn faults_name_their_fields() {
        let audience = json!({"everyone": true});
        let with = |message: Value| json!({"audience": audience, "message": message});
        assert_eq!(pointers(&json!([])), ["#"]);
        assert_eq!(pointers(&json!({})), ["#/audience", "#/message"]);
        assert_eq!(pointers(&with(json!("hi"))), ["#/message"]);
        assert_eq!(pointers(&with(json!({}))), ["#/message"]);
        assert_eq!(pointers(&with(json!({"text": 5}))), ["#/message/text"]);
        assert_eq!(
            pointers(&with(json!({"type": "event", "text": "hi"}))),
            ["#/message/type"]
        );
        assert_eq!(
            pointers(&with(json!({"attachments": [{}]}))),
            ["#/message/attachments/0/contentType"]
        );
        let mut wrong = with(json!({"text": "hi"}));
        wrong["expiresat"] = json!("2999-01-01T00:00:00Z");
        wrong["expiresAt"] = json!("tomorrow");
        wrong["guarantee"] = json!("maybe");
        wrong["ifNoConversation"] = json!("invite");
        wrong["ifUnreachable"] = json!(true);
        wrong["sendMode"] = json!("pigeon");
        wrong["category"] = json!("");
        wrong["subject"] = json!(7);
        assert_eq!(
            pointers(&wrong),
            [
                "#/expiresat",
                "#/category",
                "#/subject",
                "#/guarantee",
                "#/ifNoConversation",
                "#/ifUnreachable",
                "#/sendMode",
                "#/expiresAt"
            ]
        );
    }

    #[test]
    fn a_capped_expiry_is_said_in_a_warning() {
        let mut body = json!({"audience": {"everyone": true}, "message": {"text": "hi"}, "expiresAt": "1970-01-15T00:00:00Z"});
        assert!(parse(&body).unwrap().warnings.is_empty());
        body["expiresAt"] = json!("1970-01-15T00:00:01Z");
        let request = parse(&body).unwrap();
        assert_eq!(request.expires_at.to_string(), "1970-01-15T00:00:00Z");
        let [warning] = request.warnings.as_slice() else {
            panic!("{:?}", request.warnings)
        };
        assert_eq!(
            (warning.code, warning.pointer.as_deref()),
            (WarningCode::ExpiryCapped, Some("#/expiresAt"))
        );
        assert!(warning.detail.contains("1970-01-15T00:00:00Z"));
    }

    #[test]
    fn times_that_cannot_be_meant_are_refused() {
        let now: Timestamp = "2026-11-30T09:00:00Z".parse().unwrap();
        let parse = |deliver_at: Value, expires_at: Value| {
            let mut body = json!({"audience": {"everyone": true}, "message": {"text": "hi"}});
            for (name, value) in [("deliverAt", deliver_at), ("expiresAt", expires_at)] {
                if !value.is_null() {
                    body[name] = value;
                }
            }
            Request::parse(&LosslessJson::from(body), now).map_err(|mut faults| faults.remove(0))
        };
        let none = Value::Null;
        // Within the skew of the caller's clock it is sent at once.
        assert_eq!(
            parse(json!("2026-11-30T08:55:00Z"), none.clone())
                .unwrap()
                .deliver_at,
            None
        );
        assert!(parse(json!("2027-11-30T09:00:00Z"), none.clone()).is_ok());
        for (deliver_at, expires_at, pointer, detail) in [
            (
                json!("2020-11-30T09:00:00Z"),
                none.clone(),
                "#/deliverAt",
                "has passed",
            ),
            (
                json!("2026-11-30T08:54:59.999Z"),
                none.clone(),
                "#/deliverAt",
                "has passed",
            ),
            (
                json!("2027-11-30T09:00:01Z"),
                none.clone(),
                "#/deliverAt",
                "a year ahead",
            ),
            (
                none.clone(),
                json!("2026-11-30T09:00:00Z"),
                "#/expiresAt",
                "has passed",
            ),
            (
                json!("2026-12-02T09:00:00Z"),
                json!("2026-12-01T09:00:00Z"),
                "#/expiresAt",
                "must be after `deliverAt`",
            ),
            (
                json!("2026-12-02T09:00:00Z"),
                json!("2026-12-02T09:00:00Z"),
                "#/expiresAt",
                "must be after `deliverAt`",
            ),
        ] {
            let fault = parse(deliver_at, expires_at).unwrap_err();
            assert_eq!(fault.pointer, pointer);
            assert!(fault.detail.contains(detail), "{fault:?}");
        }
        let fine = parse(json!("2026-12-02T09:00:00.123456789Z"), none).unwrap();
        assert_eq!(fine.deliver_at.unwrap().to_string(), "2026-12-02T09:00:00.123Z");
    }

    #[test]
    fn texts_say_what_was_found() {
        let with = |name: &str, value: Value| {
            let mut body = json!({"audience": {"everyone": true}, "message": {"text": "hi"}});
            body[name] = value;
            parse(&body).unwrap_err().remove(0)
        };
        assert!(
            with("category", json!("x".repeat(65)))
                .detail
                .contains("found 65 bytes")
        );
        assert!(
            with("expiresat", json!(""))
                .detail
                .contains("did you mean `expiresAt`?")
        );
        assert!(
            with("recipients", json!([]))
                .detail
                .ends_with("is not a field of a notification")
        );
        for blank in [" ", "a\nb", ""] {
            assert_eq!(with("category", json!(blank)).pointer, "#/category");
        }
    }

    #[test]
    fn a_notification_with_a_subject_is_sent_individually() {
        let mut body =
            json!({"audience": {"everyone": true}, "message": {"text": "hi"}, "subject": "build-7"});
        let request = parse(&body).unwrap();
        assert_eq!(request.subject.as_deref(), Some("build-7"));
        assert_eq!(request.send_mode, Some(SendMode::Individual));
        body["sendMode"] = json!("batch");
        assert_eq!(pointers(&body), ["#/sendMode"]);
        for wrong in [
            json!(" "),
            json!(""),
            json!("a\nb"),
            json!("x".repeat(129)),
            json!(null),
        ] {
            body["subject"] = wrong;
            body["sendMode"] = json!("individual");
            assert_eq!(pointers(&body), ["#/subject"]);
        }
        body["subject"] = json!("x".repeat(128));
        assert!(parse(&body).is_ok());
    }

    #[test]
    fn what_has_expired_already_is_refused() {
        let body = json!({"audience": {"everyone": true}, "message": {"text": "hi"}, "expiresAt": "1970-01-01T00:00:00Z"});
        assert_eq!(pointers(&body), ["#/expiresAt"]);
    }
}
