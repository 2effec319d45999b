//! The client of the Bot Framework's token service, which signs people in and keeps their tokens.
//!
//! The service has a fixed host in each cloud, and takes the bot's own token. A stand-in for it is on this machine.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Connector, Error, Success};
use crate::credential::{Credential, InvalidRegistration, TokenCache, stand_in};
use crate::http::{Part, address, json_request};
use crate::reference::ConversationReference;
use crate::wire::wire_object;

/// Whose token it is: a person in a channel, and a connection of the bot's registration in Azure.
#[derive(Clone, Copy, Debug)]
pub struct TokenOwner<'a> {
    /// The person's account, `from.id`.
    pub user: &'a str,
    /// The channel, such as `msteams`.
    pub channel_id: &'a str,
    /// The name of the OAuth connection.
    pub connection: &'a str,
}

/// The token of a person for the service that a connection leads to.
#[derive(Clone, Debug)]
pub struct UserToken {
    /// The token. It acts for the person.
    pub token: SecretString,
    /// When it expires: ISO 8601, unparsed.
    pub expiration: Option<String>,
}

wire_object! {
    /// How a person signs in.
    SignInResource {
        /// The page to sign in at. It belongs to this person and this moment.
        "signInLink" sign_in_link: Option<String>,
        /// What a client exchanges for the token without asking the person.
        "tokenExchangeResource" exchange: Option<Value>,
        /// Where a client posts the token.
        "tokenPostResource" post: Option<Value>,
    }
}

impl Connector {
    /// The same client, with a stand-in for the token service on this machine.
    ///
    /// # Errors
    /// When the URL is not on this machine.
    pub fn with_user_tokens_at(mut self, url: &str) -> Result<Self, InvalidRegistration> {
        self.user_tokens_at = Some(stand_in(url)?.trim_end_matches('/').into());
        Ok(self)
    }

    /// The token of a person; `None` if they have not signed in. `code` is the one that a person has typed after signing in.
    ///
    /// # Errors
    /// When the bot has no registration, or the service refuses the request. Safe to repeat.
    pub async fn user_token(
        &self,
        owner: TokenOwner<'_>,
        code: Option<&str>,
    ) -> Result<Option<UserToken>, Error> {
        let parts = [Part::Fixed("api/usertoken/GetToken")];
        let mut query = owner.query().to_vec();
        query.push(("code", code));
        let answer = self
            .token_service(Method::GET, &parts, &query, Bytes::new())
            .await;
        match answer {
            Ok(found) => found.user_token().map(Some),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Exchanges the token that a client holds for one of the connection; `None` if that needs the person's consent.
    ///
    /// # Errors
    /// When the bot has no registration, or the service is unavailable.
    pub async fn exchange_user_token(
        &self,
        owner: TokenOwner<'_>,
        held: &SecretString,
    ) -> Result<Option<UserToken>, Error> {
        let parts = [Part::Fixed("api/usertoken/exchange")];
        let body = json!({"token": held.expose_secret()}).to_string();
        let answer = self
            .token_service(Method::POST, &parts, &owner.query(), body.into())
            .await;
        let refused = |error: &Error| matches!(error.status(), Some(400 | 404 | 412));
        match answer {
            Ok(found) => found.user_token().map(Some),
            Err(error) if refused(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets the token of a person. Safe to repeat.
    ///
    /// # Errors
    /// When the bot has no registration, or the service refuses the request.
    pub async fn sign_out_user(&self, owner: TokenOwner<'_>) -> Result<(), Error> {
        let parts = [Part::Fixed("api/usertoken/SignOut")];
        let query = owner.query();
        let answer = self.token_service(Method::DELETE, &parts, &query, Bytes::new());
        answer.await.map(drop)
    }

    /// How the person of a conversation signs in to a connection.
    ///
    /// # Errors
    /// When the bot has no registration, or the service refuses the request.
    pub async fn sign_in_resource(
        &self,
        connection: &str,
        reference: &ConversationReference,
    ) -> Result<SignInResource, Error> {
        let app_id = self.credential.as_ref().map(Credential::app_id);
        let state = json!({"connectionName": connection, "conversation": reference, "msAppId": app_id});
        let state = STANDARD.encode(state.to_string());
        let parts = [Part::Fixed("api/botsignin/GetSignInResource")];
        let answer = self
            .token_service(Method::GET, &parts, &[("state", Some(&state))], Bytes::new())
            .await?;
        answer
            .body
            .json()
            .map_err(|error| Error::unreadable(answer.status, &answer.headers, error))
    }

    async fn token_service(
        &self,
        method: Method,
        parts: &[Part<'_>],
        query: &[(&'static str, Option<&str>)],
        body: Bytes,
    ) -> Result<Success, Error> {
        let (base, tokens) = self.token_service_of_cloud()?;
        let url = address(base, parts, query).map_err(Error::not_sendable)?;
        let request = json_request(method, url, body).map_err(Error::not_sendable)?;
        self.authorized(request, tokens).await
    }

    /// The service, and the tokens that it may have: those of the cloud for the cloud's, none of them for a stand-in.
    fn token_service_of_cloud(&self) -> Result<(&str, Option<&TokenCache>), Error> {
        let cloud_tokens = self.credential.as_ref().and_then(Credential::tokens_for_cloud);
        match (&self.user_tokens_at, cloud_tokens) {
            (Some(stand_in), _) => Ok((stand_in, None)),
            (None, Some(tokens)) => {
                let service = self.trust.cloud().endpoints().user_token_service;
                Ok((service, Some(tokens)))
            }
            (None, None) => Err(Error::not_sendable(
                "a bot without a registration cannot sign people in",
            )),
        }
    }
}

impl TokenOwner<'_> {
    fn query(&self) -> [(&'static str, Option<&str>); 3] {
        [
            ("userId", Some(self.user)),
            ("connectionName", Some(self.connection)),
            ("channelId", Some(self.channel_id)),
        ]
    }
}

impl Success {
    fn user_token(&self) -> Result<UserToken, Error> {
        #[derive(Deserialize)]
        struct Answer {
            token: String,
            expiration: Option<String>,
        }
        let answer: Answer = self
            .body
            .json()
            .map_err(|error| Error::unreadable(self.status, &self.headers, error))?;
        Ok(UserToken {
            token: answer.token.into(),
            expiration: answer.expiration,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response, StatusCode};

    use super::*;
    use crate::cloud::Cloud;
    use crate::credential::tests::Endpoint;
    use crate::http::{Body, ResponseFuture, Transport};
    use crate::service_url::{Loopback, OtherChannels, TrustRule};

    /// A token service that answers with this, and records the requests and whether they have a token.
    #[derive(Clone)]
    struct Service(u16, &'static str, Arc<Mutex<Vec<(String, bool)>>>);

    impl Transport for Service {
        fn send(&self, request: Request<Bytes>) -> ResponseFuture<'_> {
            let has_token = request.headers().contains_key("authorization");
            let line = format!("{} {}", request.method(), request.uri());
            self.2.lock().unwrap().push((line, has_token));
            let mut response = Response::new(Body::Complete(self.1.into()));
            *response.status_mut() = StatusCode::from_u16(self.0).unwrap();
            Box::pin(async move { Ok(response) })
        }
    }

    const ADA: TokenOwner<'_> = TokenOwner {
        user: "29:ada",
        channel_id: "msteams",
        connection: "git hub",
    };

    fn connector(status: u16, body: &'static str) -> (Connector, Service) {
        let service = Service(status, body, Arc::default());
        let rule = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
        let credential = Endpoint::new().credential();
        (Connector::new(service.clone(), rule, credential), service)
    }

    #[tokio::test]
    async fn the_bots_token_goes_to_the_service_of_its_cloud_and_to_no_stand_in() {
        let (connector, service) = connector(200, r#"{"token":"t","expiration":"2027-01-15T08:00:00Z"}"#);
        let found = connector.user_token(ADA, Some("1 2")).await.unwrap().unwrap();
        assert_eq!(found.token.expose_secret(), "t");
        assert!(!format!("{found:?}").contains("\"t\""));
        let stand_in = connector.with_user_tokens_at("http://127.0.0.1:1/").unwrap();
        stand_in.sign_out_user(ADA).await.unwrap();
        let query = "userId=29%3Aada&connectionName=git%20hub&channelId=msteams";
        let expected = [
            (
                format!("GET https://token.botframework.com/api/usertoken/GetToken?{query}&code=1%202"),
                true,
            ),
            (
                format!("DELETE http://127.0.0.1:1/api/usertoken/SignOut?{query}"),
                false,
            ),
        ];
        assert_eq!(*service.2.lock().unwrap(), expected);
        assert!(
            stand_in
                .with_user_tokens_at("https://token.botframework.com")
                .is_err()
        );
    }

    #[tokio::test]
    async fn who_has_not_signed_in_has_no_token_and_an_outage_is_an_error() {
        let (missing, _) = connector(404, "");
        assert!(missing.user_token(ADA, None).await.unwrap().is_none());
        let held = SecretString::from("held");
        let (consent, _) = connector(412, "{}");
        assert!(consent.exchange_user_token(ADA, &held).await.unwrap().is_none());
        let (down, _) = connector(503, "");
        assert!(down.user_token(ADA, None).await.is_err());
        assert!(down.exchange_user_token(ADA, &held).await.is_err());
        let (odd, _) = connector(200, "[]");
        assert!(odd.user_token(ADA, None).await.is_err());
        let service = Service(200, "{}", Arc::default());
        let unregistered = Connector::unauthenticated(service.clone());
        assert!(unregistered.user_token(ADA, None).await.is_err());
        assert!(
            service.2.lock().unwrap().is_empty(),
            "nothing is asked without a registration"
        );
    }
}
