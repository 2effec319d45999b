//! The body of `POST /api/notifications`, checked whole.

use botframework::activity::Activity;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::summary;
use crate::audience::{Audience, kind};
use crate::delivery::OnUnknown;
use crate::problem::Fault;

/// A request that can be taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Who it is for.
    pub audience: Audience,
    /// What is sent: an activity of type message, with a `summary` if it is nothing but cards.
    pub message: Activity,
    /// The caller's word for its kind.
    pub category: Option<String>,
    /// What an unknown outcome becomes.
    pub on_unknown: OnUnknown,
    /// Nothing is sent from this moment on.
    pub expires_at: Option<Timestamp>,
}

impl Request {
    /// Reads a request body.
    ///
    /// # Errors
    /// Every fault with its JSON pointer. A field we do not know is a fault too: a caller who misspells `expiresAt`
    /// must not find out from the people who got the message.
    pub fn parse(body: &Value, now: Timestamp) -> Result<Self, Vec<Fault>> {
        let Value::Object(object) = body else {
            return Err(vec![Fault::new(
                "#",
                format!("must be an object, found {}", kind(body)),
            )]);
        };
        let mut faults = Vec::new();
        for name in object.keys() {
            if !matches!(
                name.as_str(),
                "audience" | "message" | "category" | "onUnknown" | "ifUnknown" | "expiresAt"
            ) {
                let pointer = format!("#/{}", name.replace('~', "~0").replace('/', "~1"));
                faults.push(Fault::new(pointer, "is not a field of a notification"));
            }
        }
        let audience = match object.get("audience") {
            None => Err(vec![Fault::new(
                "#/audience",
                "is missing: say who the notification is for",
            )]),
            Some(value) => Audience::parse(value),
        };
        let audience = audience.map_err(|found| faults.extend(found)).ok();
        let message = match object.get("message") {
            None => Err(vec![Fault::new(
                "#/message",
                "is missing: say what is to be sent",
            )]),
            Some(value) => message(value),
        };
        let message = message.map_err(|found| faults.extend(found)).ok();
        let category = category(object).map_err(|fault| faults.push(fault)).ok();
        let on_unknown = on_unknown(object).map_err(|fault| faults.push(fault)).ok();
        if object.get("ifUnknown").is_some_and(|value| value != "skip") {
            faults.push(Fault::new(
                "#/ifUnknown",
                "must be \"skip\": a person without a conversation is skipped",
            ));
        }
        let expires_at = expires_at(object, now).map_err(|fault| faults.push(fault)).ok();
        match (audience, message, category, on_unknown, expires_at) {
            (Some(audience), Some(message), Some(category), Some(on_unknown), Some(expires_at))
                if faults.is_empty() =>
            {
                Ok(Self {
                    audience,
                    message,
                    category,
                    on_unknown,
                    expires_at,
                })
            }
            _ => Err(faults),
        }
    }
}

fn message(value: &Value) -> Result<Activity, Vec<Fault>> {
    let Value::Object(object) = value else {
        return Err(vec![Fault::new(
            "#/message",
            format!("must be an object, found {}", kind(value)),
        )]);
    };
    let mut faults = Vec::new();
    if let Some(other) = object.get("type").filter(|name| *name != "message") {
        let found = if other.is_string() {
            "another type"
        } else {
            kind(other)
        };
        faults.push(Fault::new(
            "#/message/type",
            format!("must be \"message\" or left out, found {found}"),
        ));
    }
    for (name, well_formed, expected) in [
        (
            "text",
            object.get("text").is_none_or(Value::is_string),
            "a string",
        ),
        (
            "summary",
            object.get("summary").is_none_or(Value::is_string),
            "a string",
        ),
        (
            "attachments",
            object.get("attachments").is_none_or(Value::is_array),
            "an array",
        ),
    ] {
        if !well_formed {
            let found = kind(&object[name]);
            faults.push(Fault::new(
                format!("#/message/{name}"),
                format!("must be {expected}, found {found}"),
            ));
        }
    }
    let attachments = object
        .get("attachments")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    for (index, attachment) in attachments.iter().enumerate() {
        let named = attachment
            .get("contentType")
            .and_then(Value::as_str)
            .is_some_and(|name| !name.is_empty());
        if !named {
            let pointer = format!("#/message/attachments/{index}/contentType");
            faults.push(Fault::new(
                pointer,
                "must be a non-empty string: it says what the attachment is",
            ));
        }
    }
    let text = object.get("text").and_then(Value::as_str).unwrap_or_default();
    if faults.is_empty() && text.is_empty() && attachments.is_empty() {
        faults.push(Fault::new(
            "#/message",
            "must have a `text` or `attachments`: an empty message cannot be sent",
        ));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut document = object.clone();
    document.insert("type".to_owned(), Value::from("message"));
    let mut activity: Activity = serde_json::from_value(Value::Object(document))
        .map_err(|error| vec![Fault::new("#/message", format!("is not an activity: {error}"))])?;
    summary::complete(&mut activity);
    Ok(activity)
}

fn category(object: &Map<String, Value>) -> Result<Option<String>, Fault> {
    match object.get("category") {
        None => Ok(None),
        Some(Value::String(text)) if (1..=64).contains(&text.len()) => Ok(Some(text.clone())),
        Some(other) => Err(Fault::new(
            "#/category",
            format!("must be a string of 1 to 64 bytes, found {}", kind(other)),
        )),
    }
}

fn on_unknown(object: &Map<String, Value>) -> Result<OnUnknown, Fault> {
    match object.get("onUnknown").map(Value::as_str) {
        None | Some(Some("retry")) => Ok(OnUnknown::Retry),
        Some(Some("giveUp")) => Ok(OnUnknown::GiveUp),
        Some(_) => Err(Fault::new("#/onUnknown", "must be \"retry\" or \"giveUp\"")),
    }
}

fn expires_at(object: &Map<String, Value>, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let Some(value) = object.get("expiresAt") else {
        return Ok(None);
    };
    let moment = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    match moment {
        Some(moment) if moment > now => Ok(Some(moment)),
        Some(_) => Err(Fault::new("#/expiresAt", "has passed already")),
        None => Err(Fault::new(
            "#/expiresAt",
            "must be a time with offset (RFC 3339), like 2026-12-31T17:00:00Z",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(body: &Value) -> Result<Request, Vec<Fault>> {
        Request::parse(body, Timestamp::UNIX_EPOCH)
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
        assert_eq!(request.message.text.as_deref(), Some("hi"));
        assert_eq!(serde_json::to_value(&request.message).unwrap()["type"], "message");
        assert_eq!((request.on_unknown, request.expires_at), (OnUnknown::Retry, None));
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
        wrong["onUnknown"] = json!("maybe");
        wrong["ifUnknown"] = json!("install");
        wrong["category"] = json!("");
        assert_eq!(
            pointers(&wrong),
            [
                "#/expiresat",
                "#/category",
                "#/onUnknown",
                "#/ifUnknown",
                "#/expiresAt"
            ]
        );
    }

    #[test]
    fn what_has_expired_already_is_refused() {
        let body = json!({"audience": {"everyone": true}, "message": {"text": "hi"}, "expiresAt": "1970-01-01T00:00:00Z"});
        assert_eq!(pointers(&body), ["#/expiresAt"]);
    }
}
