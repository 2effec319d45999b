//! Says back what is said: `BOT_UNAUTHENTICATED=loopback-only cargo run --features axum --example echo`.

use botframework::activity::ActivityType::Message;
use botframework::app::{App, Context};

pub(crate) fn bot(app: App) -> App {
    app.on(Message, async |context: Context| {
        format!("You said: {}", context.text())
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?).serve("127.0.0.1:3978").await?)
}
