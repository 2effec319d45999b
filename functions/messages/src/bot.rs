//! **Your bot.** This is the one file to edit: it decides what the bot replies.
//!
//! Herald does the rest: before a turn runs, the conversation is stored, and `POST /api/notifications` can write to it later.
//! A turn must be short; the channel waits about 15 seconds for all of it.

use botframework::activity::ActivityType::Message;
use botframework::app::{App, Context, Error};

use crate::Welcome;
use crate::tags::{TagResult, Tags};

/// A welcome says why it came, what the bot offers, and what to do next.
const WELCOME: &str = "Hello! You see this because I was just added here, and from now on I can bring you news without \
    being asked: a broken build, a shipped order, a closed office. Type **help** to see what I understand.";

/// What the bot does. The first handler that fits an activity runs.
pub fn bot(app: App) -> App {
    app.on(Welcome::Due, welcome)
        .command("help", help)
        .command("subscribe", subscribe)
        .command("unsubscribe", unsubscribe)
        .on(Message, echo)
}

async fn welcome() -> &'static str {
    WELCOME
}

async fn help(context: Context) -> Result<String, Error> {
    let tags: Tags = context.get()?;
    let topics = tags.topics().names();
    let subscribe = match topics {
        [] => String::new(),
        [first, ..] => format!(
            " Say **subscribe {first}** to get those about {first}, and **unsubscribe {first}** to get them no more. {}",
            topics_are(topics)
        ),
    };
    Ok(format!(
        "I bring notifications here when there are any.{subscribe} Say anything else and I repeat it, so you can see that I \
         listen. To stop hearing from me, uninstall me or remove me from this chat."
    ))
}

async fn subscribe(context: Context, topic: String) -> Result<String, Error> {
    let tags: Tags = context.get()?;
    Ok(match tags.join(&topic).await? {
        TagResult::Done => format!(
            "From now on I bring news about **{}** here.",
            topic.to_lowercase()
        ),
        TagResult::NotATopic | TagResult::Invalid => no_topic(&tags),
        TagResult::TooMany => "There are too many already: unsubscribe from one first.".to_owned(),
        TagResult::NoConversation => "I do not know where to bring it.".to_owned(),
    })
}

async fn unsubscribe(context: Context, topic: String) -> Result<String, Error> {
    let tags: Tags = context.get()?;
    Ok(match tags.leave(&topic).await? {
        TagResult::NotATopic | TagResult::Invalid => no_topic(&tags),
        TagResult::Done | TagResult::TooMany | TagResult::NoConversation => {
            format!(
                "I bring no news about **{}** here any more.",
                topic.to_lowercase()
            )
        }
    })
}

fn no_topic(tags: &Tags) -> String {
    format!(
        "I have no topic of that name. {}",
        topics_are(tags.topics().names())
    )
}

fn topics_are(topics: &[String]) -> String {
    match topics {
        [] => "There are no topics here to subscribe to.".to_owned(),
        topics => format!("My topics are: **{}**.", topics.join("**, **")),
    }
}

/// Repeats what is said. The button of a card, or a picture, has no text.
async fn echo(context: Context) -> Option<String> {
    let said = context.text();
    (!said.is_empty()).then(|| format!("You said: {said}"))
}
