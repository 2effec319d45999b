//! The end of a sign-in, whichever way it took.

use serde_json::{Value, json};

use super::context::Context;
use super::error::Error;
use super::handler::Handler;
use super::reply::Reply;
use super::trigger::{Trigger, invoke};
use crate::connector::UserToken;
use crate::credential::SecretString;
use crate::http::BoxFuture;
use crate::invoke::InvokeResponse;

/// What the client brings after a sign-in.
pub(super) enum SignedIn {
    /// A token of its own, to be exchanged; the id is that of the card.
    Exchange { id: Value, held: SecretString },
    /// The code that proves the sign-in.
    Code(String),
}

/// The end of a sign-in to a connection.
pub(super) struct SignIn(pub(super) &'static str);

impl Trigger for SignIn {
    type Input = SignedIn;

    fn input(&self, context: &Context) -> Option<SignedIn> {
        if let Some(exchange) = invoke(context, "signin/tokenExchange") {
            let value = exchange.value.as_ref()?;
            let is_meant = value.get("connectionName")?.as_str() == Some(self.0);
            return is_meant.then_some(SignedIn::Exchange {
                id: value.get("id").cloned().unwrap_or_default(),
                held: value.get("token")?.as_str()?.into(),
            });
        }
        let verified = invoke(context, "signin/verifyState")?.value.as_ref()?;
        Some(SignedIn::Code(verified.get("state")?.as_str()?.to_owned()))
    }
}

/// Asks the token service for the token, tells the client whether there is one, and gives it to the bot's handler.
pub(super) struct FinishSignIn<H> {
    pub(super) connection: &'static str,
    pub(super) handler: H,
}

impl<H> FinishSignIn<H> {
    pub(super) fn call<Arguments>(
        &self,
        context: Context,
        signed_in: SignedIn,
    ) -> BoxFuture<'_, Result<Reply, Error>>
    where
        H: Handler<UserToken, Arguments>,
    {
        Box::pin(async move {
            let tokens = context.user_tokens();
            let (connector, owner) = (context.connector(), tokens.owner(self.connection));
            let (token, refusal) = match signed_in {
                SignedIn::Exchange { id, held } => {
                    let refusal = json!({"id": id, "connectionName": self.connection,
                        "failureDetail": "The token cannot be exchanged: the person has to sign in."});
                    (
                        connector.exchange_user_token(owner, &held).await?,
                        (412, Some(refusal)),
                    )
                }
                SignedIn::Code(code) => (connector.user_token(owner, Some(&code)).await?, (404, None)),
            };
            let Some(token) = token else {
                let (status, body) = refusal;
                return Ok(Reply::Invoke(InvokeResponse { status, body }));
            };
            context.respond(InvokeResponse::DONE);
            self.handler.call(context, token).await
        })
    }
}
