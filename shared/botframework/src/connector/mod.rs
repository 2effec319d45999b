//! The client of the Connector, the REST service between a bot and its channels.
//!
//! Every method takes the service URL first and puts it to the [`TrustRule`] before anything else: to a URL
//! that is not trusted, nothing is sent, and no token is fetched for it. Nothing is repeated here but what was
//! refused for an old token, once with a new one: an [`Error`] says what has become of the request, and what
//! follows is the caller's policy.

mod batch;
mod creation;
mod error;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::batch::{BatchReceipt, FailedEntries, FailedEntry, OperationPhase, OperationProgress};
pub use self::creation::{ConversationParameters, ConversationResource, Person};
pub use self::error::{Class, Error, Reason};

use crate::activity::Activity;
use crate::cloud::Cloud;
use crate::credential::{self, Credential, Token, TokenCache};
use crate::http::{AGENT, Body, JSON, JSON_UTF8, Part, Transport, address};
use crate::id::{ActivityId, ConversationId};
use crate::outgoing::OutgoingActivity;
use crate::service_url::{Loopback, OtherChannels, ServiceUrl, TrustRule};
use crate::teams::{ChannelInfo, TeamInfo, TeamsChannelAccount};

/// A client of the Connector. Cheap to clone; all clones share one transport.
#[derive(Clone)]
pub struct Connector {
    transport: Arc<dyn Transport>,
    trust: Arc<TrustRule>,
    credential: Option<Credential>,
}

/// The Connector took an activity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendReceipt {
    /// The activity's id. Absent when the channel gave none, or its answer was lost after the success was
    /// known: a success still, never a reason to send again, but the activity cannot be changed or deleted
    /// later.
    pub activity_id: Option<ActivityId>,
}

/// One page of a roster. Pages may repeat members.
///
/// Unlike the objects that are kept and passed on, a page is read strictly: half a roster must not pass for all.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PagedMembers {
    /// What to ask the next page with; absent on the last.
    pub continuation_token: Option<String>,
    /// The members on this page.
    pub members: Vec<TeamsChannelAccount>,
}

#[derive(Default, Deserialize)]
struct Resource {
    #[serde(default)]
    id: Option<ActivityId>,
}

#[derive(Deserialize)]
struct TeamConversations {
    conversations: Vec<ChannelInfo>,
}

/// Why the body of a success cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("answer was cut short")]
    Cut,
    #[error("answer is not the document expected")]
    Malformed(#[source] serde_json::Error),
}

/// A success, its body not yet read.
struct Success {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl Connector {
    /// A client that sends over `transport` to the service URLs that `trust` takes, as the bot that
    /// `credential` speaks for.
    ///
    /// A token of the cloud goes to the cloud, one of a stand-in on this machine to this machine: requests from
    /// one to the other are made without.
    pub fn new(transport: impl Transport + 'static, trust: TrustRule, credential: Credential) -> Self {
        Self {
            transport: Arc::new(transport),
            trust: Arc::new(trust),
            credential: Some(credential),
        }
    }

    /// A client of channels on this machine, which need no token; it trusts nothing else.
    pub fn unauthenticated(transport: impl Transport + 'static) -> Self {
        // Which cloud, and which of its channels: under this rule none is trusted.
        let trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Only);
        Self {
            transport: Arc::new(transport),
            trust: Arc::new(trust),
            credential: None,
        }
    }

    /// The rule every service URL is put to.
    pub fn trust(&self) -> &TrustRule {
        &self.trust
    }

    /// Makes sure that the bot can speak to this service URL: that there is a token, if one goes there. What must
    /// not begin in vain asks this first. A URL that is not trusted needs none: nothing goes there.
    ///
    /// # Errors
    /// When there is no token; [`credential::Error::fault`] says whether it comes by itself.
    pub async fn ensure_token(&self, service_url: &str) -> Result<(), credential::Error> {
        let trusted = self.trust.check(service_url).ok();
        match trusted.and_then(|trusted| self.tokens_for(trusted)) {
            Some(tokens) => tokens.ensure_token().await,
            None => Ok(()),
        }
    }

    /// Fetches a token for whoever needs one later, if there is a credential. To be run beside a start.
    pub async fn prefetch(&self) {
        if let Some(credential) = &self.credential {
            // Whoever needs it is told why there is none.
            let _ = credential.ensure_token().await;
        }
    }

    /// Creates a conversation with one person (repeating it gives the same one) or a new thread in a
    /// channel (repeating it makes another).
    ///
    /// # Errors
    /// See [`Error::class`]. A success whose answer was lost is none: it comes back without an id.
    pub async fn create_conversation(
        &self,
        service_url: &str,
        parameters: &ConversationParameters,
    ) -> Result<ConversationResource, Error> {
        let parts = [Part::Fixed("v3/conversations")];
        let success = self
            .request(service_url, Method::POST, &parts, &[], json(parameters)?)
            .await?;
        let mut created: ConversationResource = success.read().unwrap_or_default();
        created.service_url = created.service_url.filter(|url| match self.trust.check(url) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(error_type = "ServiceUrlUntrusted", %error, "the one answered is not kept");
                false
            }
        });
        Ok(created)
    }

    /// Sends an activity to a conversation, in answer to none. To a bare channel of Teams it begins a new
    /// thread.
    ///
    /// # Errors
    /// See [`Error::class`]. A success without a body is none.
    pub async fn send_to_conversation(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        activity: &impl OutgoingActivity,
    ) -> Result<SendReceipt, Error> {
        let parts = [
            Part::Fixed("v3/conversations"),
            Part::Id(conversation.as_str()),
            Part::Fixed("activities"),
        ];
        let success = self
            .request(service_url, Method::POST, &parts, &[], json(activity)?)
            .await?;
        Ok(success.receipt())
    }

    /// Sends an activity in answer to another one.
    ///
    /// # Errors
    /// See [`Error::class`]. A success without a body is none.
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

    /// Replaces an activity the bot sent. Safe to repeat.
    ///
    /// # Errors
    /// See [`Error::class`]. A success without a body is none.
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

    /// Deletes an activity the bot sent. Safe to repeat.
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

    /// The whole roster at once. Deprecated in Teams (5 a minute, 10,000 members at most):
    /// [`paged_members`](Self::paged_members).
    ///
    /// # Errors
    /// See [`Error::class`]; a roster that cannot be read is `Unknown`, and asking again is safe.
    pub async fn members(
        &self,
        service_url: &str,
        conversation: &ConversationId,
    ) -> Result<Vec<TeamsChannelAccount>, Error> {
        let parts = [
            Part::Fixed("v3/conversations"),
            Part::Id(conversation.as_str()),
            Part::Fixed("members"),
        ];
        self.get(service_url, &parts, &[]).await
    }

    /// One member, by `29:` id, Entra object id or user principal name.
    ///
    /// # Errors
    /// See [`Error::class`]; an answer that cannot be read is `Unknown`, and asking again is safe.
    pub async fn member(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        user: &str,
    ) -> Result<TeamsChannelAccount, Error> {
        let parts = [
            Part::Fixed("v3/conversations"),
            Part::Id(conversation.as_str()),
            Part::Fixed("members"),
            Part::Id(user),
        ];
        self.get(service_url, &parts, &[]).await
    }

    /// One page of the roster. Teams makes the page size 50 at least and 500 at most.
    ///
    /// # Errors
    /// See [`Error::class`]; a page that cannot be read is `Unknown`, and asking again is safe.
    pub async fn paged_members(
        &self,
        service_url: &str,
        conversation: &ConversationId,
        page_size: Option<u16>,
        continuation_token: Option<&str>,
    ) -> Result<PagedMembers, Error> {
        let parts = [
            Part::Fixed("v3/conversations"),
            Part::Id(conversation.as_str()),
            Part::Fixed("pagedmembers"),
        ];
        let page_size = page_size.map(|size| size.to_string());
        let query = [
            ("pageSize", page_size.as_deref()),
            ("continuationToken", continuation_token),
        ];
        let mut page: PagedMembers = self.get(service_url, &parts, &query).await?;
        page.continuation_token = page.continuation_token.filter(|token| !token.is_empty());
        Ok(page)
    }

    /// A team of Teams.
    ///
    /// # Errors
    /// See [`Error::class`]; an answer that cannot be read is `Unknown`, and asking again is safe.
    pub async fn team(&self, service_url: &str, team: &str) -> Result<TeamInfo, Error> {
        self.get(service_url, &[Part::Fixed("v3/teams"), Part::Id(team)], &[])
            .await
    }

    /// The channels of a team of Teams. The General channel has no name, and the team's id.
    ///
    /// # Errors
    /// See [`Error::class`]; an answer that cannot be read is `Unknown`, and asking again is safe.
    pub async fn channels(&self, service_url: &str, team: &str) -> Result<Vec<ChannelInfo>, Error> {
        let parts = [
            Part::Fixed("v3/teams"),
            Part::Id(team),
            Part::Fixed("conversations"),
        ];
        let answer: TeamConversations = self.get(service_url, &parts, &[]).await?;
        Ok(answer.conversations)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        service_url: &str,
        parts: &[Part<'_>],
        query: &[(&'static str, Option<&str>)],
    ) -> Result<T, Error> {
        let success = self
            .request(service_url, Method::GET, parts, query, Bytes::new())
            .await?;
        success
            .read()
            .map_err(|error| Error::unreadable(success.status, &success.headers, error))
    }

    /// The one way out: every request is made here, after its service URL has passed the rule. A token that is
    /// not taken is replaced, and the request made once more: a 401 is said before anything is carried out.
    async fn request(
        &self,
        service_url: &str,
        method: Method,
        parts: &[Part<'_>],
        query: &[(&'static str, Option<&str>)],
        body: Bytes,
    ) -> Result<Success, Error> {
        let trusted = self.trust.check(service_url).map_err(Error::not_sendable)?;
        let url = address(trusted.as_str(), parts, query).map_err(Error::not_sendable)?;
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = url
            .try_into()
            .map_err(|error: http::uri::InvalidUri| Error::not_sendable(error))?;
        let has_body = !request.body().is_empty();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(ACCEPT, JSON);
        if has_body {
            headers.insert(CONTENT_TYPE, JSON_UTF8);
        }

        let Some(tokens) = self.tokens_for(trusted) else {
            return self.exchange(request, None).await;
        };
        let token = tokens.token().await.map_err(Error::no_token)?;
        match self.exchange(request.clone(), Some(&token)).await {
            Err(error) if error.is_unauthorized() => {
                let another = tokens.refresh_rejected(&token).await;
                self.exchange(request, Some(&another.map_err(Error::no_token)?))
                    .await
            }
            outcome => outcome,
        }
    }

    /// Whose tokens go to this service URL, if any do.
    fn tokens_for(&self, trusted: ServiceUrl<'_>) -> Option<&TokenCache> {
        let credential = self.credential.as_ref()?;
        credential.tokens_for(trusted)
    }

    /// Makes one request. This is the one place where a token is attached.
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
        let resource: Resource = self.read().unwrap_or_default();
        SendReceipt {
            activity_id: resource.id.filter(|id| !id.is_empty()),
        }
    }

    /// The body as a document, or why it is none.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Unreadable> {
        match &self.body {
            Body::Complete(bytes) => serde_json::from_slice(bytes).map_err(Unreadable::Malformed),
            Body::Truncated => Err(Unreadable::Cut),
        }
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
    // Few messages are shorter than half of it, and a longer one grows it once or twice.
    let mut document = Vec::with_capacity(2048);
    serde_json::to_writer(&mut document, body).map_err(Error::not_sendable)?;
    Ok(document.into())
}
