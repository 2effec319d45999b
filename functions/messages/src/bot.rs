//! **Your bot.** This is the one file to edit: it decides what the bot replies.
//!
//! Herald does the rest: before a turn runs, the conversation is stored, and `POST /api/notifications` can write to it later.
//! A turn must be short; the channel waits about 15 seconds for all of it.

use botframework::activity::ActivityType;
use botframework::turn::{self, Turn};
use herald::store::Conversations;

use crate::Welcome;
use crate::tags::{TagResult, Tags};

/// A welcome says why it came, what the bot offers, and what to do next.
const WELCOME: &str = "Hello! You see this because I was just added here, and from now on I can bring you news without \
    being asked: a broken build, a shipped order, a closed office. Type **help** to see what I understand.";

/// What the bot understands, with the topics of the deployment.
fn help(topics: &[String]) -> String {
    let subscribe = match topics {
        [] => String::new(),
        [first, ..] => format!(
            " Say **subscribe {first}** to get those about {first}, and **unsubscribe {first}** to get them no more. {}",
            topics_are(topics)
        ),
    };
    format!(
        "I bring notifications here when there are any.{subscribe} Say anything else and I repeat it, so you can see that I \
         listen. To stop hearing from me, uninstall me or remove me from this chat."
    )
}

fn topics_are(topics: &[String]) -> String {
    match topics {
        [] => "There are no topics here to subscribe to.".to_owned(),
        topics => format!("My topics are: **{}**.", topics.join("**, **")),
    }
}

/// A small bot that welcomes, helps, subscribes and echoes.
#[derive(Debug)]
pub struct Bot<'a, C> {
    /// The tags of the conversation of the turn. Notifications select by them: `{"audience": {"tag": "builds"}}`.
    pub tags: Tags<'a, C>,
    /// Whether the bot was just added here.
    pub welcome: Welcome,
}

impl<C: Conversations> turn::Bot for Bot<'_, C> {
    async fn on_turn(&self, turn: &mut Turn<'_>) -> Result<(), turn::Error> {
        match turn.activity().kind {
            _ if self.welcome == Welcome::Due => {
                turn.send_text(WELCOME).await?;
            }
            Some(ActivityType::Message) => {
                let said = turn.activity().text_to_bot();
                let (word, rest) = said.split_once(char::is_whitespace).unwrap_or((&said, ""));
                let (word, topic) = (word.to_lowercase(), rest.trim().to_lowercase());
                match (word.as_str(), topic.as_str()) {
                    // The button of a card, or a picture: there is no text.
                    ("", _) => {}
                    ("help", "") => {
                        turn.send_text(help(self.tags.topics().names())).await?;
                    }
                    ("subscribe", topic) if !topic.is_empty() => {
                        let answer = match self.tags.join(topic).await? {
                            TagResult::Done => format!("From now on I bring news about **{topic}** here."),
                            TagResult::NotATopic | TagResult::Invalid => {
                                let topics = topics_are(self.tags.topics().names());
                                format!("I have no topic of that name. {topics}")
                            }
                            TagResult::TooMany => {
                                "There are too many already: unsubscribe from one first.".to_owned()
                            }
                            TagResult::NoConversation => "I do not know where to bring it.".to_owned(),
                        };
                        turn.send_text(answer).await?;
                    }
                    ("unsubscribe", topic) if !topic.is_empty() => {
                        let answer = match self.tags.leave(topic).await? {
                            TagResult::NotATopic | TagResult::Invalid => {
                                let topics = topics_are(self.tags.topics().names());
                                format!("I have no topic of that name. {topics}")
                            }
                            TagResult::Done | TagResult::TooMany | TagResult::NoConversation => {
                                format!("I bring no news about **{topic}** here any more.")
                            }
                        };
                        turn.send_text(answer).await?;
                    }
                    _ => {
                        turn.send_text(format!("You said: {said}")).await?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
