//! Asks for a name, and remembers it for the person and what was asked for the conversation: Microsoft's sample 45.

use botframework::activity::ActivityType::Message;
use botframework::app::{App, Context, Error, MemoryStorage};

pub(crate) fn bot(app: App) -> App {
    app.storage(MemoryStorage::default())
        .command("forget", forget)
        .on(Message, talk)
}

async fn talk(context: Context) -> Result<String, Error> {
    let name = context.user_state::<String>("name")?;
    let asked = context.conversation_state::<bool>("asked")?;
    match name.get().await? {
        known if !known.is_empty() => Ok(format!("{known} said: {}", context.text())),
        _ if asked.get().await? => {
            name.update(|name| context.text().clone_into(name)).await?;
            asked.delete().await?;
            Ok(format!("Thank you, {}.", context.text()))
        }
        _ => {
            asked.update(|asked| *asked = true).await?;
            Ok("What is your name?".to_owned())
        }
    }
}

async fn forget(context: Context) -> Result<&'static str, Error> {
    context.user_state::<String>("name")?.delete().await?;
    Ok("Who are you?")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?).serve("127.0.0.1:3978").await?)
}
