//! Starts a new thread in the channel, and continues it: Microsoft's sample 58.

use botframework::activity::ActivityType::Message;
use botframework::app::{App, Context, Error};

pub(crate) fn bot(app: App) -> App {
    app.on(Message, start_thread)
}

async fn start_thread(context: Context) -> Result<(), Error> {
    let thread = context
        .thread("This is the first message of a new thread.")
        .await?;
    thread.send("This is the second one.").await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?).serve("127.0.0.1:3978").await?)
}
