//! Dialogs: windows that the client opens for a person.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::card::SubmittedData;
use super::context::Context;
use super::error::Error;
use super::reply::{AdaptiveCard, IntoReply, Reply};
use super::trigger::{Trigger, invoke};
use crate::activity::Attachment;
use crate::invoke::InvokeResponse;

/// The property of a button's data that names its dialog.
const DIALOG: &str = "dialog";

/// What a dialog shows: a card, or a page of the web.
///
/// A button opens it ([`Dialog::open_button`]), and a button of its card submits it ([`Dialog::submit_button`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Dialog(Map<String, Value>);

impl Dialog {
    /// A dialog with a card.
    ///
    /// # Errors
    /// When the card does not serialise as JSON.
    pub fn card(title: impl Into<String>, card: impl Serialize) -> Result<Self, Error> {
        let card = AdaptiveCard(card).into_attachment()?;
        Ok(Self::attachment(title.into(), &card))
    }

    fn attachment(title: String, card: &Attachment) -> Self {
        Self(Map::from_iter([
            ("title".to_owned(), title.into()),
            ("card".to_owned(), json!(card)),
        ]))
    }

    /// A dialog with a page. Its host must be among the valid domains of the app's manifest.
    pub fn page(title: impl Into<String>, url: impl Into<String>) -> Self {
        Self(Map::from_iter([
            ("title".to_owned(), title.into().into()),
            ("url".to_owned(), url.into().into()),
        ]))
    }

    /// The dialog in this size, in pixels.
    #[must_use]
    pub fn sized(mut self, width: u16, height: u16) -> Self {
        self.0.insert("width".to_owned(), width.into());
        self.0.insert("height".to_owned(), height.into());
        self
    }

    /// A button of a card that opens the dialog of this name.
    pub fn open_button(title: &str, name: &str) -> Value {
        json!({"type": "Action.Submit", "title": title,
            "data": {"msteams": {"type": "task/fetch"}, DIALOG: name}})
    }

    /// A button of a dialog's card that submits the dialog of this name.
    pub fn submit_button(title: &str, name: &str) -> Value {
        json!({"type": "Action.Submit", "title": title, "data": {DIALOG: name}})
    }

    /// The response that shows it.
    pub(super) fn into_response(self) -> InvokeResponse {
        task("continue", &Value::Object(self.0))
    }
}

impl IntoReply for Dialog {
    fn into_reply(self) -> Result<Reply, Error> {
        Ok(Reply::Invoke(self.into_response()))
    }
}

fn task(kind: &str, value: &Value) -> InvokeResponse {
    InvokeResponse {
        status: 200,
        body: Some(json!({"task": {"type": kind, "value": value}})),
    }
}

/// How a reply is said to a client that opens or submits a dialog: a text is shown, a card is the (next) dialog, and nothing closes
/// it.
pub(super) fn reply_in_dialog(reply: Reply) -> Reply {
    Reply::Invoke(match reply {
        Reply::Nothing => InvokeResponse::DONE,
        Reply::Invoke(response) => response,
        Reply::Activity(activity) => match activity.attachments.first() {
            Some(card) => Dialog::attachment(activity.summary.unwrap_or_default(), card).into_response(),
            None => task("message", &activity.text.unwrap_or_default().into()),
        },
    })
}

/// The data of an invoke about the dialog of this name.
fn data_of(context: &Context, invoked: &str, dialog: &str) -> Option<SubmittedData> {
    let data = invoke(context, invoked)?.value.as_ref()?.get("data")?;
    let is_meant = data.get(DIALOG).and_then(Value::as_str) == Some(dialog);
    is_meant.then(|| SubmittedData(data.clone()))
}

/// A person opens the dialog of this name. The handler returns the [`Dialog`], or a text that is shown instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogOpened(pub &'static str);

impl Trigger for DialogOpened {
    type Input = SubmittedData;

    fn input(&self, context: &Context) -> Option<SubmittedData> {
        data_of(context, "task/fetch", self.0)
    }

    fn reply(&self, reply: Reply) -> Result<Reply, Error> {
        Ok(reply_in_dialog(reply))
    }
}

/// A person submits the dialog of this name. The handler returns nothing, which closes it, a text that is shown in it, or the next
/// [`Dialog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialogSubmitted(pub &'static str);

impl Trigger for DialogSubmitted {
    type Input = SubmittedData;

    fn input(&self, context: &Context) -> Option<SubmittedData> {
        data_of(context, "task/submit", self.0)
    }

    fn reply(&self, reply: Reply) -> Result<Reply, Error> {
        Ok(reply_in_dialog(reply))
    }
}
