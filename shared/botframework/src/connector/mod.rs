//! The client of the Connector, the REST service between a bot and its channels.
//!
//! Every method checks the service URL against the [`TrustRule`] first: for a URL that is not trusted, no request is
//! sent and no token is requested. The client retries only requests that were rejected for their token, once with a new
//! one. Any other retry is the caller's policy, by the class of the [`Error`].

mod batch;
mod creation;
mod error;
mod roster;
#[cfg(test)]
pub(crate) mod tests;
mod user_tokens;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::batch::{BatchReceipt, FailedEntries, FailedEntry, OperationPhase, OperationProgress};
pub use self::creation::{ConversationParameters, ConversationResource};
pub use self::error::{Class, Error, Reason};
pub use self::roster::{MAX_MEMBERS, PagedMembers};
pub use self::user_tokens::{SignInResource, TokenOwner, UserToken};

use crate::activity::Activity;
use crate::cloud::Cloud;
use crate::credential::{self, Credential, Token, TokenCache};
use crate::http::{Body, BodyLimit, Part, Transport, address, json_request};
use crate::id::{ActivityId, ConversationId, MAX_ID_BYTES};
use crate::outgoing::OutgoingActivity;
use crate::service_url::{Loopback, OtherChannels, ServiceUrl, TrustRule};

/// The longest service URL that is taken from an answer, in bytes.
const MAX_SERVICE_URL_BYTES: usize = 2048;

/// A client of the Connector. Cheap to clone; all clones share one transport.
#[derive(Clone)]
pub struct Connector {
    transport: Arc<dyn Transport>,
    trust: Arc<TrustRule>,
    credential: Option<Credential>,
    /// A stand-in for the service that keeps the tokens of people.
    user_tokens_at: Option<Arc<str>>,
}

/// The Connector accepted an activity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendReceipt {
    /// The activity's id. Absent when the channel returned none, or none of at most [`MAX_ID_BYTES`], or the body of the
    /// success was lost: the activity is sent, and must not be sent again, but it cannot be updated or deleted.
    pub activity_id: Option<ActivityId>,
}

#[derive(Default, Deserialize)]
struct Resource {
    #[serde(default)]
    id: Option<ActivityId>,
}

/// A response with a success status.
struct Success {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl Connector {
    /// A client that sends over `sendMode` to the service URLs that `trust` accepts, with the tokens of `credential`.
    ///
    /// A token of the cloud is sent to the cloud only, one of a stand-in on this machine to this machine only. Other
    /// requests have no token.
    pub fn new(transport: impl Transport + 'static, trust: TrustRule, credential: Credential) -> Self {
        Self {
            transport: Arc::new(transport),
            trust: Arc::new(trust),
            credential: Some(credential),
            user_tokens_at: None,
        }
    }

    /// A client of channels on this machine, which need no token. It trusts no other service URL.
    pub fn unauthenticated(transport: impl Transport + 'static) -> Self {
        // Under Loopback::Only the other two arguments have no effect.
        let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Only);
        Self {
            transport: Arc::new(transport),
            trust: Arc::new(trust),
            credential: None,
            user_tokens_at: None,
        }
    }

    /// The rule that every service URL is checked against.
    pub fn trust(&self) -> &TrustRule {
        &self.trust
    }

    /// Requests a token for this service URL unless one is cached or none is needed. Call it before work that is lost
    /// without a token. A URL that is not trusted needs none.
    ///
    /// # Errors
    /// When there is no token; [`credential::Error::fault`] says whether the failure ends by itself.
    pub async fn ensure_token(&self, service_url: &str) -> Result<(), credential::Error> {
        let trusted = self.trust.check(service_url).ok();
        match trusted.and_then(|trusted| self.tokens_for(trusted)) {
            Some(tokens) => tokens.ensure_token().await,
            None => Ok(()),
        }
    }

    /// When the present token for this service URL was requested. `None` when there is none, or none is needed.
    pub fn last_token_request(&self, service_url: &str) -> Option<SystemTime> {
        let trusted = self.trust.check(service_url).ok()?;
        self.tokens_for(trusted)?.requested_at()
    }

    /// Requests a token in advance, if there is a credential. Run it beside other work of a cold start.
    pub async fn prefetch(&self) {
        if let Some(credential) = &self.credential {
            // The first request that needs the token returns the error.
            let _ = credential.ensure_token().await;
        }
    }

    /// Creates a conversation with one person (safe to repeat) or a new thread in a channel (each request creates
    /// another).
    ///
    /// # Errors
    /// See [`Error::class`]. A success whose body was lost is not an error: the resource has no id. One with an id of more
    /// than [`MAX_ID_BYTES`] is `Rejected`: the conversation cannot be used.
    pub async fn create_conversation(
        &self,
        service_url: &str,
        parameters: &ConversationParameters,
    ) -> Result<ConversationResource, Error> {
        let parts = [Part::Fixed("v3/conversations")];
        let success = self
            .request(service_url, Method::POST, &parts, &[], json(parameters)?)
            .await?;
        let mut created: ConversationResource = success.body.json().unwrap_or_default();
        if created
            .id
            .as_ref()
            .is_some_and(|id| id.as_str().len() > MAX_ID_BYTES)
        {
            return Err(success.unusable("ConversationIdTooLong"));
        }
        created.service_url = created.service_url.filter(|url| match self.trust.check(url) {
            Ok(_) => url.len() <= MAX_SERVICE_URL_BYTES,
            Err(error) => {
                tracing::warn!(error_type = "ServiceUrlUntrusted", %error, "service URL of the new conversation ignored");
                false
            }
        });
        Ok(created)
    }

    /// Sends an activity to a conversation. In a Teams channel it starts a new thread.
    ///
    /// # Errors
    /// See [`Error::class`]. A success without a body is not an error.
    pub async fn send_to_conversation(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        activity: &impl OutgoingActivity,
    ) -> Result<SendReceipt, Error> {
        self.post_activity(service_url, conversation, &[], activity).await
    }

    /// Sends an activity to a group chat or channel that only its recipient sees, for a day; a preview of Teams. Not in a person's
    /// own chat.
    ///
    /// # Errors
    /// See [`Error::class`]. A success without a body is not an error.
    pub async fn send_targeted(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        activity: &impl OutgoingActivity,
    ) -> Result<SendReceipt, Error> {
        let query = [("isTargetedActivity", Some("true"))];
        self.post_activity(service_url, conversation, &query, activity)
            .await
    }

    async fn post_activity(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        query: &[(&'static str, Option<&str>)],
        activity: &impl OutgoingActivity,
    ) -> Result<SendReceipt, Error> {
        let parts = [
            Part::Fixed("v3/conversations"),
            Part::Id(conversation.as_str()),
            Part::Fixed("activities"),
        ];
        let success = self
            .request(service_url, Method::POST, &parts, query, json(activity)?)
            .await?;
        Ok(success.receipt())
    }

    /// Makes a request that has no method here. The trust rule and the token are those of every request; each segment of the
    /// path and each value of the query is percent-encoded. The answer is `null` if it has no body; up to 2 MB are read.
    ///
    /// # Errors
    /// See [`Error::class`]; an unreadable answer is `Ambiguous`.
    ///
    /// # Example: the details of a meeting
    /// ```
    /// use botframework::connector::{Connector, Error};
    /// use http::Method;
    /// use serde_json::Value;
    ///
    /// async fn meeting(connector: &Connector, service_url: &str, id: &str) -> Result<Value, Error> {
    ///     connector.raw(service_url, Method::GET, &["v1", "meetings", id], &[], None).await
    /// }
    /// ```
    pub async fn raw(
        &self,
        service_url: &str,
        method: Method,
        segments: &[&str],
        query: &[(&'static str, Option<&str>)],
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        let parts: Vec<_> = segments.iter().map(|segment| Part::Id(segment)).collect();
        let body = body.map_or_else(|| Ok(Bytes::new()), json)?;
        let success = self
            .request_within(service_url, method, &parts, query, body, BodyLimit::PAGE)
            .await?;
        if matches!(&success.body, Body::Complete(body) if body.is_empty()) {
            return Ok(Value::Null);
        }
        let read = success.body.json();
        read.map_err(|error| Error::unreadable(success.status, &success.headers, error))
    }

    /// Replies to an activity.
    ///
    /// # Errors
    /// See [`Error::class`]. A success without a body is not an error.
    pub async fn reply_to_activity(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        replied_to: &ActivityId,
        activity: &Activity,
    ) -> Result<SendReceipt, Error> {
        let parts = activity_path(conversation, replied_to);
        let success = self
            .request(service_url, Method::POST, &parts, &[], json(activity)?)
            .await?;
        Ok(success.receipt())
    }

    /// Replaces an activity of the bot. Safe to repeat.
    ///
    /// # Errors
    /// See [`Error::class`]. A success without a body is not an error.
    pub async fn update_activity(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        sent: &ActivityId,
        activity: &impl OutgoingActivity,
    ) -> Result<SendReceipt, Error> {
        let parts = activity_path(conversation, sent);
        let success = self
            .request(service_url, Method::PUT, &parts, &[], json(activity)?)
            .await?;
        Ok(success.receipt())
    }

    /// Deletes an activity of the bot. Safe to repeat.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn delete_activity(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        sent: &ActivityId,
    ) -> Result<(), Error> {
        let parts = activity_path(conversation, sent);
        self.request(service_url, Method::DELETE, &parts, &[], Bytes::new())
            .await?;
        Ok(())
    }

    async fn get<T: DeserializeOwned>(
        &self,
        service_url: &str,
        parts: &[Part<'_>],
        query: &[(&'static str, Option<&str>)],
        limit: BodyLimit,
    ) -> Result<T, Error> {
        let success = self
            .request_within(service_url, Method::GET, parts, query, Bytes::new(), limit)
            .await?;
        if success.body == Body::TooLarge {
            return Err(success.unusable("AnswerTooLarge"));
        }
        success
            .body
            .json()
            .map_err(|error| Error::unreadable(success.status, &success.headers, error))
    }

    async fn request(
        &self,
        service_url: &str,
        method: Method,
        parts: &[Part<'_>],
        query: &[(&'static str, Option<&str>)],
        body: Bytes,
    ) -> Result<Success, Error> {
        self.request_within(service_url, method, parts, query, body, BodyLimit::SMALL)
            .await
    }

    /// Sends every request of this client, after the trust rule. A request that is rejected for its token (401) is
    /// repeated once with a new one, which is safe: the Connector rejects it before it carries anything out.
    async fn request_within(
        &self,
        service_url: &str,
        method: Method,
        parts: &[Part<'_>],
        query: &[(&'static str, Option<&str>)],
        body: Bytes,
        limit: BodyLimit,
    ) -> Result<Success, Error> {
        let trusted = self.trust.check(service_url).map_err(Error::not_sendable)?;
        let url = address(trusted.as_str(), parts, query).map_err(Error::not_sendable)?;
        let mut request = json_request(method, url, body).map_err(Error::not_sendable)?;
        request.extensions_mut().insert(limit);

        self.authorized(request, self.tokens_for(trusted)).await
    }

    /// Sends a request with a token of these, and once more with a fresh one if that is rejected.
    async fn authorized(
        &self,
        request: Request<Bytes>,
        tokens: Option<&TokenCache>,
    ) -> Result<Success, Error> {
        let Some(tokens) = tokens else {
            return self.exchange(request, None).await;
        };
        let token = tokens.token().await.map_err(Error::no_token)?;
        match self.exchange(request.clone(), Some(&token)).await {
            Err(error) if error.is_unauthorized() => {
                let fresh = tokens.refresh_rejected(&token).await;
                self.exchange(request, Some(&fresh.map_err(Error::no_token)?))
                    .await
            }
            outcome => outcome,
        }
    }

    /// The tokens for this service URL, if it may have one.
    fn tokens_for(&self, trusted: ServiceUrl<'_>) -> Option<&TokenCache> {
        let credential = self.credential.as_ref()?;
        credential.tokens_for(trusted)
    }

    /// Sends one request. The only place where a token is attached.
    async fn exchange(&self, mut request: Request<Bytes>, token: Option<&Token>) -> Result<Success, Error> {
        if let Some(token) = token {
            request
                .headers_mut()
                .insert(AUTHORIZATION, token.authorization().clone());
        }
        let response = self.transport.send(request).await.map_err(Error::no_response)?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(Error::from_response(head.status, &head.headers, &body));
        }
        Ok(Success {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Connector")
            .field("trust", &self.trust)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

impl Success {
    fn receipt(&self) -> SendReceipt {
        let resource: Resource = self.body.json().unwrap_or_default();
        SendReceipt {
            activity_id: resource
                .id
                .filter(|id| !id.is_empty() && id.as_str().len() <= MAX_ID_BYTES),
        }
    }

    /// A success that cannot be used, and would not be another time.
    fn unusable(&self, code: &'static str) -> Error {
        Error::unusable(self.status, &self.headers, code)
    }
}

fn activity_path<'a>(conversation: &'a ConversationId, activity: &'a ActivityId) -> [Part<'a>; 4] {
    [
        Part::Fixed("v3/conversations"),
        Part::Id(conversation.as_str()),
        Part::Fixed("activities"),
        Part::Id(activity.as_str()),
    ]
}

fn json(body: &impl Serialize) -> Result<Bytes, Error> {
    // Most messages have 1 to 2 KB.
    let mut document = Vec::with_capacity(2048);
    serde_json::to_writer(&mut document, body).map_err(Error::not_sendable)?;
    Ok(document.into())
}
