//! The tokens of people for other services, by the OAuth connections of the bot's registration.

use std::fmt;

use serde_json::json;

use super::client::ConversationClient;
use super::error::Error;
use crate::activity::Attachment;
use crate::connector::{TokenOwner, UserToken};

/// The tokens of the person of a turn.
///
/// # Example: a command that needs the person to be signed in
/// ```
/// use botframework::app::{App, Context, Error, Reply, IntoReply};
/// use botframework::connector::UserToken;
///
/// async fn issues(context: Context) -> Result<Reply, Error> {
///     let tokens = context.user_tokens();
///     match tokens.get("github").await? {
///         Some(_token) => "Here are your issues.".into_reply(),
///         None => tokens.sign_in_card("github", "Sign in to GitHub").await?.into_reply(),
///     }
/// }
///
/// async fn signed_in(_: Context, _token: UserToken) -> &'static str {
///     "You are signed in."
/// }
///
/// fn bot(app: App) -> App {
///     app.command("issues", issues).sign_in("github", signed_in)
/// }
/// ```
#[derive(Clone)]
pub struct UserTokens {
    client: ConversationClient,
    user: String,
    channel_id: String,
}

impl UserTokens {
    pub(super) fn new(client: ConversationClient, user: &str, channel_id: &str) -> Self {
        Self {
            client,
            user: user.to_owned(),
            channel_id: channel_id.to_owned(),
        }
    }

    /// The token of a connection; `None` if the person has not signed in.
    ///
    /// # Errors
    /// When the bot has no registration, or the token service refuses the request.
    pub async fn get(&self, connection: &str) -> Result<Option<UserToken>, Error> {
        let connector = self.client.connector();
        Ok(connector.user_token(self.owner(connection), None).await?)
    }

    /// A card with a button to sign in. In Teams the client exchanges its own token for that of the connection, if it can, and asks
    /// the person only if it cannot.
    ///
    /// # Errors
    /// When the bot has no registration, or the token service refuses the request.
    pub async fn sign_in_card(&self, connection: &str, text: &str) -> Result<Attachment, Error> {
        let connector = self.client.connector();
        let resource = connector
            .sign_in_resource(connection, self.client.reference())
            .await?;
        let mut content = json!({
            "text": text, "connectionName": connection,
            "buttons": [{"type": "signin", "title": "Sign in", "value": resource.sign_in_link}],
        });
        for (name, part) in [
            ("tokenExchangeResource", resource.exchange),
            ("tokenPostResource", resource.post),
        ] {
            if let Some(part) = part {
                content[name] = part;
            }
        }
        Ok(Attachment {
            content_type: Some("application/vnd.microsoft.card.oauth".to_owned()),
            content: Some(content),
            ..Attachment::default()
        })
    }

    /// Forgets the person's token.
    ///
    /// # Errors
    /// When the bot has no registration, or the token service refuses the request.
    pub async fn sign_out(&self, connection: &str) -> Result<(), Error> {
        let connector = self.client.connector();
        Ok(connector.sign_out_user(self.owner(connection)).await?)
    }

    pub(super) fn owner<'a>(&'a self, connection: &'a str) -> TokenOwner<'a> {
        TokenOwner {
            user: &self.user,
            channel_id: &self.channel_id,
            connection,
        }
    }
}

impl fmt::Debug for UserTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UserTokens").finish_non_exhaustive()
    }
}
