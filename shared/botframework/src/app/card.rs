//! Buttons of cards, answered in place.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::context::Context;
use super::error::Error;
use super::reply::Reply;
use super::trigger::Trigger;
use crate::activity::{Activity, Attachment};
use crate::invoke::InvokeResponse;

/// The answer to a button whose handler says nothing. An answer without a body shows "Unable to reach app".
const DONE: &str = "Done.";

/// What a person submitted: the data of a button, with the inputs of its card.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SubmittedData(pub Value);

impl SubmittedData {
    /// The data as a type of the bot.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        T::deserialize(&self.0).map_err(Error::Value)
    }
}

/// A button of an Adaptive Card with this verb (`Action.Execute`). The input is its data, with the inputs of the card.
///
/// The handler's card replaces the one with the button, for everybody or for the person, as the card's `refresh` says; a text is
/// shown to the person. A failure is shown, too: the HTTP response is 200 in any case, because to another one Teams shows "Unable to
/// reach app" and sends the action again.
///
/// # Example: a button that is answered in place
/// ```
/// use botframework::app::{AdaptiveCard, App, Error, SubmittedData};
/// use serde_json::{Value, json};
///
/// async fn approve(_: botframework::app::Context, order: SubmittedData) -> Result<AdaptiveCard<Value>, Error> {
///     let number: u32 = order.read()?;
///     Ok(AdaptiveCard(json!({"type": "AdaptiveCard", "version": "1.5", "body": [
///         {"type": "TextBlock", "text": format!("Order {number} is approved.")}]})))
/// }
///
/// fn bot(app: App) -> App {
///     app.verb("approve", approve)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb(pub &'static str);

impl Trigger for Verb {
    type Input = SubmittedData;

    fn input(&self, context: &Context) -> Option<SubmittedData> {
        let action = context.activity().adaptive_card_invoke()?.action?;
        let is_meant = action.verb.as_deref() == Some(self.0);
        is_meant.then(|| SubmittedData(action.data.unwrap_or_default()))
    }

    fn reply(&self, reply: Reply) -> Result<Reply, Error> {
        Ok(Reply::Invoke(match reply {
            Reply::Nothing => InvokeResponse::adaptive_message(DONE),
            Reply::Invoke(response) => response,
            Reply::Activity(activity) => match adaptive_card(&activity) {
                Some(card) => InvokeResponse::adaptive_card(card),
                None => InvokeResponse::adaptive_message(activity.text.unwrap_or_else(|| DONE.to_owned())),
            },
        }))
    }
}

/// The content of the first Adaptive Card in an activity.
fn adaptive_card(activity: &Activity) -> Option<Value> {
    let is_card = |card: &&Attachment| card.content_type.as_deref() == Some(Attachment::ADAPTIVE_CARD);
    activity.attachments.iter().find(is_card)?.content.clone()
}
