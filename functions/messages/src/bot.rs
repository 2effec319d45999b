//! **Your bot.** This is the one file to edit: say what the bot answers when it is spoken to.
//!
//! Everything around it is done for you: by the time a turn runs, the conversation is remembered and can be written to
//! later through `POST /api/notifications`. A turn must be short; the channel waits about 15 seconds for all of it.

use botframework::activity::ActivityType;
use botframework::turn::{self, Turn};

/// Why you get this, what it offers, what to do next: the three things a welcome says.
const WELCOME: &str = "Hello! You see this because I was just added here, and from now on I can bring you news without \
    being asked: a broken build, a shipped order, a closed office. Type **help** to see what I understand.";

const HELP: &str = "I bring notifications here when there are any. Say anything and I repeat it, so you can see that I \
    listen. To stop hearing from me, uninstall me or remove me from this chat.";

/// A small bot that welcomes, helps and echoes.
#[derive(Debug)]
pub struct Bot;

impl turn::Bot for Bot {
    async fn on_turn(&self, turn: &mut Turn<'_>) -> Result<(), turn::Error> {
        match turn.activity().kind {
            // Teams also tells of every member who joins a team; they are not greeted one by one.
            Some(ActivityType::ConversationUpdate) if turn.activity().adds_bot() => {
                turn.send_text(WELCOME).await?;
            }
            Some(ActivityType::Message) => {
                let said = turn.activity().text_to_bot();
                match said.as_str() {
                    // A card's button, or a picture: nothing was said.
                    "" => {}
                    help if help.eq_ignore_ascii_case("help") => {
                        turn.send_text(HELP).await?;
                    }
                    said => {
                        turn.send_text(format!("You said: {said}")).await?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
