//! What handlers are registered for.

use super::context::Context;
use super::error::Error;
use super::reply::Reply;
use crate::activity::{Activity, ActivityType, ChannelAccount, InstallationAction};
use crate::invoke::InvokeResponse;

/// What a handler is registered for: which activities it handles, and what it is given of them.
///
/// An [`ActivityType`] is one, so is a function `Fn(&Activity) -> Option<Input>`, such as
/// [`Activity::team_update`](crate::activity::Activity::team_update); the others are in this module's list.
pub trait Trigger: Send + Sync + 'static {
    /// What the handler is given beside the context.
    type Input: Send + 'static;

    /// The input, if the activity of the turn is meant.
    fn input(&self, context: &Context) -> Option<Self::Input>;

    /// How the handler's reply is said. As it is, unless the activity is an invoke whose response has a form of its own.
    ///
    /// # Errors
    /// When the reply cannot be represented as JSON.
    fn reply(&self, reply: Reply) -> Result<Reply, Error> {
        Ok(reply)
    }

    /// The response to the invoke, if the handler gives none.
    fn default_response(&self) -> Option<InvokeResponse> {
        None
    }
}

/// The activity of the turn, if it is an invoke of this name.
pub(super) fn invoke<'c>(context: &'c Context, name: &str) -> Option<&'c Activity> {
    let activity = context.activity();
    let is_meant = activity.kind == Some(ActivityType::Invoke) && activity.name.as_deref() == Some(name);
    is_meant.then_some(activity)
}

/// The activity of the turn, if it is an event of this name.
pub(super) fn event<'c>(context: &'c Context, name: &str) -> Option<&'c Activity> {
    let activity = context.activity();
    let is_meant = activity.kind == Some(ActivityType::Event) && activity.name.as_deref() == Some(name);
    is_meant.then_some(activity)
}

/// A type of activity. `ActivityType::Message` is also `message/…`. A handler of all `ActivityType::Invoke` has to respond to each.
impl Trigger for ActivityType {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        let activity = context.activity();
        let is_meant =
            activity.kind.as_ref() == Some(self) || (*self == Self::Message && activity.is_message());
        is_meant.then_some(())
    }
}

impl<F, Input> Trigger for F
where
    F: Fn(&Activity) -> Option<Input> + Send + Sync + 'static,
    Input: Send + 'static,
{
    type Input = Input;

    fn input(&self, context: &Context) -> Option<Input> {
        self(context.activity())
    }
}

/// A message that begins with these words, in any case; the mention of the bot does not count. The input is the rest of it,
/// trimmed.
///
/// # Example: what is said after the command
/// ```
/// use botframework::app::{App, Context};
///
/// async fn subscribe(_: Context, topic: String) -> String {
///     format!("Subscribed to {topic}.")
/// }
///
/// fn bot(app: App) -> App {
///     app.command("subscribe", subscribe)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command(pub &'static str);

impl Command {
    /// What follows the command in a text.
    fn rest<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.0.split_whitespace().try_fold(text, |text, expected| {
            let text = text.trim_start();
            let end = text.find(char::is_whitespace).unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            (word.to_lowercase() == expected.to_lowercase()).then_some(rest)
        })
    }
}

impl Trigger for Command {
    type Input = String;

    fn input(&self, context: &Context) -> Option<String> {
        if !context.activity().is_message() {
            return None;
        }
        self.rest(context.text()).map(|rest| rest.trim().to_owned())
    }
}

/// An event activity of this name. Its value is read by [`Context::value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedEvent(pub &'static str);

impl Trigger for NamedEvent {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        event(context, self.0).map(drop)
    }
}

/// An invoke of this name, for those that have no trigger of their own. Its value is read by [`Context::value`]. The handler returns
/// an [`InvokeResponse`]; the response is 200 without a body otherwise, and a text is sent to the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedInvoke(pub &'static str);

impl Trigger for NamedInvoke {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        invoke(context, self.0).map(drop)
    }

    fn default_response(&self) -> Option<InvokeResponse> {
        Some(InvokeResponse::DONE)
    }
}

/// Members other than the bot joined the conversation or the team. The input is their accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembersAdded;

impl Trigger for MembersAdded {
    type Input = Vec<ChannelAccount>;

    fn input(&self, context: &Context) -> Option<Vec<ChannelAccount>> {
        others(context.activity(), &context.activity().members_added)
    }
}

/// Members other than the bot left the conversation or the team. The input is their accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembersRemoved;

impl Trigger for MembersRemoved {
    type Input = Vec<ChannelAccount>;

    fn input(&self, context: &Context) -> Option<Vec<ChannelAccount>> {
        others(context.activity(), &context.activity().members_removed)
    }
}

fn others(activity: &Activity, members: &[ChannelAccount]) -> Option<Vec<ChannelAccount>> {
    if activity.kind != Some(ActivityType::ConversationUpdate) {
        return None;
    }
    let bot = activity.recipient.as_ref().map(|bot| &bot.id);
    let others = members.iter().filter(|member| Some(&member.id) != bot);
    let others: Vec<_> = others.cloned().collect();
    (!others.is_empty()).then_some(others)
}

/// The bot was added to the conversation or the team. Teams may say so in two activities, this one and [`Installed`], in any
/// order: a welcome belongs to one of them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BotAdded;

impl Trigger for BotAdded {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        let activity = context.activity();
        let is_update = activity.kind == Some(ActivityType::ConversationUpdate);
        (is_update && activity.adds_bot()).then_some(())
    }
}

/// The app was installed: for a person, or in a chat or a team. An upgrade of the app is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed;

impl Trigger for Installed {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        is_installation(context.activity(), &InstallationAction::Add).then_some(())
    }
}

/// The app was removed. Nothing can be sent to the conversation any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uninstalled;

impl Trigger for Uninstalled {
    type Input = ();

    fn input(&self, context: &Context) -> Option<()> {
        is_installation(context.activity(), &InstallationAction::Remove).then_some(())
    }
}

fn is_installation(activity: &Activity, action: &InstallationAction) -> bool {
    activity.kind == Some(ActivityType::InstallationUpdate) && activity.action.as_ref() == Some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_whole_words_in_any_case_and_the_rest_follows() {
        for (command, text, rest) in [
            ("help", "help", Some("")),
            ("help", "HELP me  please ", Some(" me  please ")),
            ("help", "helpless", None),
            ("help", "", None),
            ("who am i", "Who  am I", Some("")),
            ("who am i", "who am", None),
            ("été", "ÉTÉ 2026", Some(" 2026")),
        ] {
            assert_eq!(Command(command).rest(text), rest, "{command:?} {text:?}");
        }
    }
}
