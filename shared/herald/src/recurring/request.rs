//! The body of `PUT /api/schedules/{name}`.

use botframework::lossless::LosslessJson;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::audience::kind;
use crate::notification::request::{RETRACT_WITHIN_MAX, Request, SENT_FOR_MAX};
use crate::occurrence::SKIPPED_AFTER;
use crate::problem::{Fault, Faults, pointer, suggestion};
use crate::schedule::{self, Recurrence};
use crate::template::with_stand_in;
use crate::time::later;

/// The largest schedule, in bytes of JSON: one item of the table holds it, and what became of its occurrences.
pub const DOCUMENT_BYTES_MAX: usize = 300 * 1024;

/// The fields of a schedule beside those of its recurrence.
const OTHER_FIELDS: [&str; 2] = ["description", "notification"];

/// The fields of a request for a notification that an occurrence decides, and what to write instead.
const DECIDED_FIELDS: [(&str, &str); 5] = [
    ("deliverAt", "its occurrences are when it is sent"),
    (
        "expiresAt",
        "say with `expiresIn` how long after an occurrence it expires",
    ),
    (
        "retractAt",
        "say with `retractIn` how long after an occurrence it is retracted",
    ),
    ("dryRun", "a schedule sends what it makes"),
    ("confirm", "an occurrence cannot be confirmed in advance"),
];

/// A valid schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurringNotification {
    /// When it occurs.
    pub recurrence: Recurrence,
    /// The request for a notification that each occurrence is, without its times.
    request: LosslessJson,
    /// How long after its occurrence a notification expires, and is retracted.
    expires_in: Option<SignedDuration>,
    retract_in: Option<SignedDuration>,
}

impl RecurringNotification {
    /// Parses a body and checks its notification as that of a request which comes now.
    ///
    /// # Errors
    /// Every invalid field.
    pub fn check(document: &LosslessJson, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let parsed = Self::read(document, &mut faults);
        let of_schedule: Vec<Fault> = faults.clone().none_in(None::<()>).err().unwrap_or_default();
        if let Some(parsed) = &parsed
            && let Err(of_request) = Request::parse(&with_stand_in(&parsed.request(now)), now)
        {
            for fault in of_request {
                let pointer = pointer_in_schedule(&fault.pointer);
                if of_schedule.iter().all(|fault| fault.pointer != pointer) {
                    faults.note(pointer, fault.detail);
                }
            }
        }
        faults.none_in(parsed)
    }

    /// Parses a body. What its notification holds is left to its acceptance, which may have other rules by then.
    ///
    /// # Errors
    /// Every invalid field, but for those of the notification.
    pub fn parse(document: &LosslessJson) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults::default();
        let parsed = Self::read(document, &mut faults);
        faults.none_in(parsed)
    }

    fn read(document: &LosslessJson, faults: &mut Faults) -> Option<Self> {
        let Value::Object(object) = &document.value else {
            faults.note("#", format!("must be an object, found {}", kind(&document.value)));
            return None;
        };
        let bytes = document.to_string().len();
        if bytes > DOCUMENT_BYTES_MAX {
            faults.note("#", format!("may have {DOCUMENT_BYTES_MAX} bytes, found {bytes}"));
        }
        let known = [&schedule::FIELDS[..], &OTHER_FIELDS].concat();
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let detail = format!("is not a field of a schedule{}", suggestion(name, &known));
            faults.note(pointer("#", name), detail);
        }
        if object.get("description").is_some_and(|value| !value.is_string()) {
            faults.note("#/description", "must be a text");
        }
        let recurrence = Recurrence::read(object, "#", faults);
        let Some(mut request) = document.get("notification") else {
            faults.note("#/notification", "is missing: say what is to be sent");
            return None;
        };
        let Value::Object(members) = &mut request.value else {
            let detail = "must be an object: the body of `POST /api/notifications`";
            faults.note("#/notification", detail);
            return None;
        };
        for (name, instead) in DECIDED_FIELDS {
            if members.remove(name).is_some() {
                let detail = format!("is not a field of a schedule's notification: {instead}");
                faults.note(pointer("#/notification", name), detail);
            }
        }
        let expires_in = duration(members, "expiresIn", SENT_FOR_MAX, faults);
        let retract_in = duration(members, "retractIn", RETRACT_WITHIN_MAX, faults);
        if members.contains_key("replacement") && retract_in.is_none() {
            let detail = "needs `retractIn`: how long after an occurrence the copies show it";
            faults.note("#/notification/replacement", detail);
        }
        Some(Self {
            recurrence: recurrence?,
            request,
            expires_in,
            retract_in,
        })
    }

    /// The body of `POST /api/notifications` that its occurrence at this moment is.
    pub fn request(&self, at: Timestamp) -> LosslessJson {
        let mut request = self.request.clone();
        for (name, after) in [("expiresAt", self.expires_in), ("retractAt", self.retract_in)] {
            if let Some(after) = after {
                request.value[name] = json!(later(at, after));
            }
        }
        request
    }

    /// Whether an occurrence is too late to be sent: it would be expired or retracted, or is [too old](SKIPPED_AFTER).
    pub fn is_late(&self, at: Timestamp, now: Timestamp) -> bool {
        let ends = [Some(SKIPPED_AFTER), self.expires_in, self.retract_in];
        ends.into_iter().flatten().any(|after| later(at, after) <= now)
    }
}

/// The field of a schedule that a pointer into the request of an occurrence is about.
pub fn pointer_in_schedule(pointer: &str) -> String {
    match pointer {
        "#/expiresAt" => "#/notification/expiresIn".to_owned(),
        "#/retractAt" => "#/notification/retractIn".to_owned(),
        other => format!("#/notification{}", other.trim_start_matches('#')),
    }
}

/// Takes a duration out of the object.
fn duration(
    object: &mut Map<String, Value>,
    name: &str,
    longest: SignedDuration,
    faults: &mut Faults,
) -> Option<SignedDuration> {
    let value = object.remove(name)?;
    let text = value.as_str().filter(|text| text.starts_with("PT"));
    let duration = text.and_then(|text| text.parse::<SignedDuration>().ok());
    let is_allowed = |duration: &SignedDuration| *duration > SignedDuration::ZERO && *duration <= longest;
    let allowed = duration.filter(is_allowed);
    if allowed.is_none() {
        let hours = longest.as_hours();
        let detail = format!(
            "must be a duration of hours, minutes and seconds (ISO 8601), like \"PT8H\" or \"PT1H30M\", of at most {hours} hours"
        );
        faults.note(pointer("#/notification", name), detail);
    }
    allowed
}
