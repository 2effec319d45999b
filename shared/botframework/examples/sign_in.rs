//! Signs a person in to a service, by an OAuth connection of the bot's registration in Azure.

use botframework::app::{App, Context, Error, IntoReply, Reply};
use botframework::connector::UserToken;

/// The name of the connection.
const CONNECTION: &str = "github";

pub(crate) fn bot(app: App) -> App {
    app.command("issues", issues)
        .command("sign out", sign_out)
        .sign_in(CONNECTION, signed_in)
}

async fn issues(context: Context) -> Result<Reply, Error> {
    let tokens = context.user_tokens();
    match tokens.get(CONNECTION).await? {
        // With the token, `token.expose_secret()`, the bot asks the service in the person's name.
        Some(UserToken { .. }) => "You have three open issues.".into_reply(),
        None => tokens
            .sign_in_card(CONNECTION, "Sign in to see your issues")
            .await?
            .into_reply(),
    }
}

async fn signed_in() -> &'static str {
    "You are signed in. Say issues again."
}

async fn sign_out(context: Context) -> Result<&'static str, Error> {
    context.user_tokens().sign_out(CONNECTION).await?;
    Ok("You are signed out.")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?).serve("127.0.0.1:3978").await?)
}
