//! Works in teams, chats and with one person: mentions, members, and a message to each of them in a chat of their own.
//! Microsoft's sample 57.

use botframework::activity::{Activity, ActivityType::Message, ChannelAccount};
use botframework::app::{App, Context, Error, MembersAdded};
use futures_util::TryStreamExt;

pub(crate) fn bot(app: App) -> App {
    app.on(MembersAdded, welcome)
        .command("mention", mention)
        .command("who", who)
        .command("message", message_all)
        .command("update", update)
        .command("delete", delete)
        .on(Message, async || "Say mention, who, message, update or delete.")
}

async fn welcome(_: Context, members: Vec<ChannelAccount>) -> String {
    let names: Vec<_> = members
        .iter()
        .filter_map(|member| member.name.as_deref())
        .collect();
    format!("Welcome, {}!", names.join(" and "))
}

async fn mention(context: Context) -> Activity {
    Activity::message("Hello ").and_mention(context.from())
}

async fn who(context: Context) -> Result<String, Error> {
    let member = context.member(context.from().id.as_str()).await?;
    Ok(format!("You are {}.", member.name.unwrap_or_default()))
}

/// Writes to each member in a chat of their own.
async fn message_all(context: Context) -> Result<String, Error> {
    let mut count = 0;
    let mut members = std::pin::pin!(context.members());
    while let Some(member) = members.try_next().await? {
        let chat = context.chat_with(&member).await?;
        chat.send(format!("Hello {}.", member.name.unwrap_or_default()))
            .await?;
        count += 1;
    }
    Ok(format!("{count} members have a message."))
}

async fn update(context: Context) -> Result<(), Error> {
    let sent = context.send("In a moment this says something else.").await?;
    if let Some(id) = sent.activity_id {
        context.update(&id, "Something else.").await?;
    }
    Ok(())
}

async fn delete(context: Context) -> Result<(), Error> {
    let sent = context.send("In a moment this is gone.").await?;
    if let Some(id) = sent.activity_id {
        context.delete(&id).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?).serve("127.0.0.1:3978").await?)
}
