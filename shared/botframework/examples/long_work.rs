//! Shows that it is typing during short work, and sends the result of long work when it is there. On Lambda nothing runs after the
//! response: there, long work belongs to a queue, and its result is a notification.

use std::time::Duration;

use botframework::activity::ActivityType::Message;
use botframework::app::{App, Context};

pub(crate) fn bot(app: App) -> App {
    app.command("long", long).on(Message, async |context: Context| {
        context.typing_while(work(Duration::from_secs(5))).await
    })
}

async fn work(time: Duration) -> &'static str {
    tokio::time::sleep(time).await;
    "Here it is."
}

/// Answers at once. The context outlives the turn.
async fn long(context: Context) -> &'static str {
    tokio::spawn(async move {
        let result = work(Duration::from_mins(1)).await;
        if let Err(error) = context.send(result).await {
            tracing::warn!(%error, "the result was not sent");
        }
    });
    "I bring it in a minute."
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?).serve("127.0.0.1:3978").await?)
}
