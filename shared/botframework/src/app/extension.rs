//! Message extensions: searches, unfurled links and actions in the compose box.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::card::SubmittedData;
use super::context::Context;
use super::dialog::reply_in_dialog;
use super::error::Error;
use super::reply::{AdaptiveCard, IntoReply, Reply};
use super::trigger::{Trigger, invoke};
use crate::activity::Activity;
use crate::invoke::InvokeResponse;

/// How many results a client asks for if it does not say.
const RESULTS_PAGE: usize = 25;

/// What a person searches for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The text of the first parameter. Empty on the first run of a command with `initialRun`.
    pub text: String,
    /// All parameters, by their name in the manifest.
    pub parameters: BTreeMap<String, String>,
    /// How many results the client has.
    pub skip: usize,
    /// How many more it wants.
    pub count: usize,
}

/// The results of a search, or the card of a link.
///
/// # Example: a search
/// ```
/// use botframework::app::{App, Context, Error, Search, SearchResults};
/// use serde_json::json;
///
/// async fn search(_: Context, search: Search) -> Result<SearchResults, Error> {
///     let card = json!({"type": "AdaptiveCard", "version": "1.5", "body": []});
///     SearchResults::default().and(&search.text, "found", card)
/// }
///
/// fn bot(app: App) -> App {
///     app.query("search", search)
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchResults(Vec<Value>);

impl SearchResults {
    /// The results and one more: what the list shows of it, and the card that is inserted when it is chosen.
    ///
    /// # Errors
    /// When the card does not serialise as JSON.
    pub fn and(mut self, title: &str, text: &str, card: impl Serialize) -> Result<Self, Error> {
        let card = AdaptiveCard(card).into_attachment()?;
        let mut result = json!(card);
        result["preview"] = json!({"contentType": "application/vnd.microsoft.card.thumbnail",
            "content": {"title": title, "text": text}});
        self.0.push(result);
        Ok(self)
    }
}

impl IntoReply for SearchResults {
    fn into_reply(self) -> Result<Reply, Error> {
        let result = json!({"type": "result", "attachmentLayout": "list", "attachments": self.0});
        Ok(Reply::Invoke(response(&result)))
    }
}

fn response(extension: &Value) -> InvokeResponse {
    InvokeResponse {
        status: 200,
        body: Some(json!({ "composeExtension": extension })),
    }
}

/// How a reply is said in the compose box: a text is shown in place of results, a card is the one result.
fn reply_in_box(reply: Reply) -> Result<Reply, Error> {
    match reply {
        Reply::Nothing => SearchResults::default().into_reply(),
        Reply::Invoke(response) => Ok(Reply::Invoke(response)),
        Reply::Activity(activity) => match activity.attachments.into_iter().next() {
            Some(card) => SearchResults(vec![json!(card)]).into_reply(),
            None => Ok(Reply::Invoke(response(
                &json!({"type": "message", "text": activity.text.unwrap_or_default()}),
            ))),
        },
    }
}

/// The value of an invoke of this name about a command of the manifest.
fn command<'c>(context: &'c Context, invoked: &str, command: &str) -> Option<&'c Value> {
    let value = invoke(context, invoked)?.value.as_ref()?;
    let is_meant = value.get("commandId").and_then(Value::as_str) == Some(command);
    is_meant.then_some(value)
}

/// A search by the command of this id in the manifest. The client waits five seconds. The handler returns [`SearchResults`], or a text
/// that is shown in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched(pub &'static str);

impl Trigger for Searched {
    type Input = Search;

    fn input(&self, context: &Context) -> Option<Search> {
        let value = command(context, "composeExtension/query", self.0)?;
        let given = value
            .get("parameters")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let given: Vec<_> = given
            .filter_map(|one| Some((one.get("name")?.as_str()?, one.get("value")?.as_str()?)))
            // On the first run, the client says so in place of a text.
            .filter(|(name, _)| *name != "initialRun")
            .collect();
        let option = |name: &str| {
            let number = value.pointer(&format!("/queryOptions/{name}"))?.as_u64()?;
            usize::try_from(number).ok()
        };
        Some(Search {
            text: given
                .first()
                .map(|(_, text)| (*text).to_owned())
                .unwrap_or_default(),
            parameters: given
                .into_iter()
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .collect(),
            skip: option("skip").unwrap_or_default(),
            count: option("count").unwrap_or(RESULTS_PAGE),
        })
    }

    fn reply(&self, reply: Reply) -> Result<Reply, Error> {
        reply_in_box(reply)
    }
}

/// A link of a domain in the manifest was pasted. The input is its URL; the handler returns a card, or nothing to leave it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPasted;

impl Trigger for LinkPasted {
    type Input = String;

    fn input(&self, context: &Context) -> Option<String> {
        let of = |name| invoke(context, name);
        let pasted: &Activity =
            of("composeExtension/queryLink").or_else(|| of("composeExtension/anonymousQueryLink"))?;
        Some(pasted.value.as_ref()?.get("url")?.as_str()?.to_owned())
    }

    fn reply(&self, reply: Reply) -> Result<Reply, Error> {
        reply_in_box(reply)
    }
}

/// A person opens the action command of this id in the manifest. The handler returns the [`Dialog`](super::Dialog) for it; its input
/// is the whole value, with `messagePayload` if it was opened from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionOpened(pub &'static str);

impl Trigger for ActionOpened {
    type Input = SubmittedData;

    fn input(&self, context: &Context) -> Option<SubmittedData> {
        let value = command(context, "composeExtension/fetchTask", self.0)?;
        Some(SubmittedData(value.clone()))
    }

    fn reply(&self, reply: Reply) -> Result<Reply, Error> {
        Ok(reply_in_dialog(reply))
    }
}

/// A person submits the action command of this id in the manifest. The handler returns a card for the compose box, a
/// [`Dialog`](super::Dialog) to go on, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionSubmitted(pub &'static str);

impl Trigger for ActionSubmitted {
    type Input = SubmittedData;

    fn input(&self, context: &Context) -> Option<SubmittedData> {
        let value = command(context, "composeExtension/submitAction", self.0)?;
        Some(SubmittedData(value.get("data").cloned().unwrap_or_default()))
    }

    fn reply(&self, reply: Reply) -> Result<Reply, Error> {
        match reply {
            Reply::Nothing => Ok(Reply::Invoke(InvokeResponse::DONE)),
            Reply::Activity(activity) if activity.attachments.is_empty() => {
                Ok(reply_in_dialog(Reply::Activity(activity)))
            }
            other => reply_in_box(other),
        }
    }
}
