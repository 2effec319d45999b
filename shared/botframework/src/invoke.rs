//! Invoke activities and their responses.

use serde_json::{Value, json};

use crate::activity::{Activity, ActivityType, Attachment};
use crate::lossless::LosslessJson;
use crate::wire::wire_object;

/// The name of the invoke that a button of an Adaptive Card (`Action.Execute`) sends.
pub const ADAPTIVE_CARD_ACTION: &str = "adaptiveCard/action";

/// The response to an invoke: HTTP status and JSON body.
#[derive(Clone, Debug, PartialEq)]
pub struct InvokeResponse {
    /// The status of the HTTP response. The answer to a card's action has its own status in the body.
    pub status: u16,
    /// The body, if the status needs one.
    pub body: Option<Value>,
}

wire_object! {
    /// The `value` of an [`ADAPTIVE_CARD_ACTION`].
    AdaptiveCardInvoke {
        /// The action of the button.
        "action" action: Option<AdaptiveCardAction>,
        /// The result of a sign-in: `id`, `connectionName`, `token`. Secret: not for logs.
        "authentication" authentication: Option<Value>,
        /// The code of a sign-in.
        "state" state: Option<String>,
        /// `manual` or `automatic`.
        "trigger" trigger: Option<String>,
    }
}

wire_object! {
    /// An action of an Adaptive Card.
    AdaptiveCardAction {
        /// `Action.Execute`; `type` on the wire.
        "type" kind: Option<String>,
        /// The action's id in the card.
        "id" id: Option<String>,
        /// The bot's name for the action.
        "verb" verb: Option<String>,
        /// The card's data and the user's input.
        "data" data: Option<Value>,
    }
}

impl Activity {
    /// The value of an [`ADAPTIVE_CARD_ACTION`], if this is one. Copies the value.
    pub fn adaptive_card_invoke(&self) -> Option<AdaptiveCardInvoke> {
        let is_action =
            self.kind == Some(ActivityType::Invoke) && self.name.as_deref() == Some(ADAPTIVE_CARD_ACTION);
        let value = self.value.clone().filter(|_| is_action)?;
        let value = LosslessJson::of(value, self.numbers.member("value"));
        AdaptiveCardInvoke::from_lossless(value).ok()
    }
}

impl InvokeResponse {
    /// 501 without a body: the bot does not know the invoke.
    pub const NOT_IMPLEMENTED: Self = Self {
        status: 501,
        body: None,
    };

    /// 200 without a body.
    pub const DONE: Self = Self {
        status: 200,
        body: None,
    };

    /// 200: replaces the Adaptive Card.
    pub fn adaptive_card(card: impl Into<Value>) -> Self {
        Self::adaptive(200, Attachment::ADAPTIVE_CARD, card.into())
    }

    /// 200: shows `text` to the user.
    pub fn adaptive_message(text: impl Into<String>) -> Self {
        Self::adaptive(
            200,
            "application/vnd.microsoft.activity.message",
            Value::String(text.into()),
        )
    }

    /// An error of 400 or more; 412 is a failed precondition. The HTTP response is 200: to any other one Teams shows "Unable to
    /// reach app", and sends the action again.
    pub fn adaptive_error(status: u16, code: &str, message: impl Into<String>) -> Self {
        let kind = match status {
            412 => "application/vnd.microsoft.error.preconditionFailed",
            _ => "application/vnd.microsoft.error",
        };
        Self::adaptive(status, kind, json!({ "code": code, "message": message.into() }))
    }

    fn adaptive(status: u16, kind: &str, value: Value) -> Self {
        let properties = [
            ("statusCode", status.into()),
            ("type", kind.into()),
            ("value", value),
        ];
        let body = properties
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Self {
            status: 200,
            body: Some(Value::Object(body)),
        }
    }

    /// The response to an invoke of this name that the bot does not know: to a card's action an error, to others 501.
    pub fn unhandled(name: Option<&str>) -> Self {
        if name == Some(ADAPTIVE_CARD_ACTION) {
            Self::adaptive_error(400, "NotSupported", "The bot does not support this action.")
        } else {
            Self::NOT_IMPLEMENTED
        }
    }
}
