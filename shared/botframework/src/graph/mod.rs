//! The client of Microsoft Graph in one customer's tenant. It [finds the people](directory) of a group or of the whole
//! organization, and installs the bot for those who have not installed it, so that the bot can send to them.
//!
//! ```text
//! catalog_app, store_app ──▶ installation? ──none──▶ install_for_user ──Created──▶ installationUpdate at the bot's endpoint, with the conversation
//!                       └──there──────────────────┴──Existing──▶ installation ──▶ chat: the conversation's id
//! ```
//!
//! A new installation sends an `installationUpdate` activity to the bot's endpoint, some time later. An existing one sends
//! none; [`Graph::chat`] returns its conversation. The bot needs the application permissions
//! `TeamsAppInstallation.ReadWriteSelfForUser.All`, for teams `…ForTeam.All`, and `AppCatalog.Read.All` to find itself in
//! the catalog, with the tenant's consent, and a manifest whose `webApplicationInfo` names it. Apps cannot be installed
//! for guests.
//!
//! Every request is safe to repeat. The client itself repeats only requests that were rejected for their token, once
//! with a new one. It has no rate limit: see [`limits`].
//!
//! # Example: a person, an app
//! ```no_run
//! # use botframework::{graph::{Error, Graph, Installation}, id::{ConversationId, EntraObjectId}};
//! # async fn reach(graph: Graph, person: EntraObjectId) -> Result<Option<ConversationId>, Error> {
//! let Some(app) = graph.catalog_app("11111111-2222-4333-8444-555555555555").await? else {
//!     return Ok(None);
//! };
//! match graph.install_for_user(&person, &app).await? {
//!     // The bot's endpoint receives the conversation.
//!     Installation::Created => Ok(None),
//!     Installation::Existing => match graph.installation(&person, &app).await? {
//!         Some(installation) => graph.chat(&person, &installation).await.map(Some),
//!         None => Ok(None),
//!     },
//! }
//! # }
//! ```

mod batch;
pub mod directory;
mod error;
pub mod limits;
mod tenant;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::error::{Class, Error, Reason};
pub use self::tenant::Tenant;

use crate::credential::{ClientAuth, InvalidRegistration, Runtime, Token, TokenCache};
use crate::http::{Body, BodyLimit, BoxError, Part, Transport, address, json_request};
use crate::id::{CatalogAppId, ConversationId, EntraGroupId, EntraObjectId, InstallationId, MAX_ID_BYTES};

/// A client of Graph in one tenant. Cheap to clone; all clones share one token.
///
/// It sends requests to one host only. Of the URLs in responses it follows links to a next page, on that host.
#[derive(Clone)]
pub struct Graph {
    transport: Arc<dyn Transport>,
    tokens: Option<TokenCache>,
    /// Without a trailing slash.
    url: Arc<str>,
}

/// The largest success that is read: a page of 999 people or a batch of twenty short lists, with room.
const MAX_ANSWER: BodyLimit = BodyLimit(512 * 1024);

/// The result of an installation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installation {
    /// The app was installed. The bot's endpoint receives an `installationUpdate`.
    Created,
    /// The app was installed already. The bot's endpoint receives no activity.
    Existing,
}

/// The first page of a list. The filters of the requests match few items, so further pages are not read.
#[derive(Deserialize)]
struct List<T> {
    value: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CatalogApp {
    id: CatalogAppId,
    distribution_method: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstalledApp {
    id: InstallationId,
    teams_app: Option<CatalogApp>,
}

#[derive(Deserialize)]
struct Chat {
    id: ConversationId,
}

#[derive(Serialize)]
struct Install<'a> {
    #[serde(rename = "teamsApp@odata.bind")]
    app: &'a str,
}

/// Why a success is unusable although it is a document.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("response has an empty id, or one of more than {MAX_ID_BYTES} bytes")]
    InvalidId,
    #[error("response to a batch has no entry for this request")]
    NoEntry,
    #[error("the link to the next page leads to another host or another version")]
    ForeignLink,
    #[error("the link to the next page is too long")]
    LongLink,
}

impl Graph {
    /// A client that sends over `sendMode` to the Graph of `tenant`, with tokens that `client_auth` authenticates for.
    ///
    /// Sends nothing yet. A `client_auth` that serves several tenants, and the bot's own credential, is shared by an
    /// [`Arc`].
    pub fn new(
        transport: impl Transport + Clone + 'static,
        tenant: Tenant,
        client_auth: impl ClientAuth + 'static,
        runtime: Runtime,
    ) -> Self {
        let tokens = TokenCache::new(transport.clone(), tenant.client, client_auth, runtime);
        Self {
            transport: Arc::new(transport),
            tokens: Some(tokens),
            url: tenant.graph.into(),
        }
    }

    /// A client of a stand-in on this machine, which needs no token.
    ///
    /// # Errors
    /// When the URL is not on this machine, or has a query.
    pub fn unauthenticated(
        transport: impl Transport + 'static,
        graph_url: &str,
    ) -> Result<Self, InvalidRegistration> {
        Ok(Self {
            transport: Arc::new(transport),
            tokens: None,
            url: tenant::local(graph_url)?.into(),
        })
    }

    /// The app with this id in its manifest, in the tenant's catalog; of several, the organization's own. `None` when
    /// there is none; it may be a [`store_app`](Self::store_app).
    ///
    /// The id may be cached until an installation fails with [`Reason::NotFound`].
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn catalog_app(&self, manifest_id: &str) -> Result<Option<CatalogAppId>, Error> {
        self.find_app("externalId", manifest_id).await
    }

    /// The store app with this id in its manifest. Its catalog id is the same, and Graph omits its `externalId`, so
    /// [`catalog_app`](Self::catalog_app) does not find it. `None` when the tenant has none.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn store_app(&self, manifest_id: &str) -> Result<Option<CatalogAppId>, Error> {
        self.find_app("id", manifest_id).await
    }

    async fn find_app(&self, property: &str, value: &str) -> Result<Option<CatalogAppId>, Error> {
        let parts = [Part::Fixed("v1.0/appCatalogs/teamsApps")];
        let filter = format!("{property} eq {}", odata_literal(value));
        let query = [("$filter", Some(filter.as_str()))];
        let response = success(self.request(Method::GET, &parts, &query, Bytes::new()).await?)?;
        let list: List<CatalogApp> = read(&response)?;
        let is_own = |app: &CatalogApp| app.distribution_method.as_deref() == Some("organization");
        let (own, others): (Vec<_>, Vec<_>) = list.value.into_iter().partition(is_own);
        match own.into_iter().chain(others).next() {
            Some(app) if !is_usable(app.id.as_str()) => Err(unreadable(&response, Unusable::InvalidId)),
            app => Ok(app.map(|app| app.id)),
        }
    }

    /// The installation of the app for this person, if there is one.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn installation(
        &self,
        user: &EntraObjectId,
        app: &CatalogAppId,
    ) -> Result<Option<InstallationId>, Error> {
        let filter = installed_filter(app);
        let response = self
            .request(
                Method::GET,
                &installed_apps(user),
                &installed_query(&filter),
                Bytes::new(),
            )
            .await?;
        found(response, app)
    }

    /// Installs the app for this person. Safe to repeat.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn install_for_user(
        &self,
        user: &EntraObjectId,
        app: &CatalogAppId,
    ) -> Result<Installation, Error> {
        self.install(&installed_apps(user), app).await
    }

    /// Installs the app in the team of this group. Safe to repeat.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn install_in_team(
        &self,
        team: &EntraGroupId,
        app: &CatalogAppId,
    ) -> Result<Installation, Error> {
        let parts = [
            Part::Fixed("v1.0/teams"),
            Part::Id(team.as_str()),
            Part::Fixed("installedApps"),
        ];
        self.install(&parts, app).await
    }

    /// The conversation of an installation with its person. The Connector accepts this id, although activities have
    /// another one for the conversation.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn chat(
        &self,
        user: &EntraObjectId,
        installation: &InstallationId,
    ) -> Result<ConversationId, Error> {
        let [version, users, user, apps] = installed_apps(user);
        let installation = Part::Id(installation.as_str());
        let parts = [version, users, user, apps, installation, Part::Fixed("chat")];
        let response = success(self.request(Method::GET, &parts, &[], Bytes::new()).await?)?;
        let chat: Chat = read(&response)?;
        if !is_usable(chat.id.as_str()) {
            return Err(unreadable(&response, Unusable::InvalidId));
        }
        Ok(chat.id)
    }

    /// Removes an installation. Safe to repeat; one that does not exist is [`Reason::NotFound`].
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn uninstall(&self, user: &EntraObjectId, installation: &InstallationId) -> Result<(), Error> {
        let [version, users, user, apps] = installed_apps(user);
        let parts = [version, users, user, apps, Part::Id(installation.as_str())];
        let response = self.request(Method::DELETE, &parts, &[], Bytes::new()).await?;
        success(response).map(drop)
    }

    async fn install(&self, parts: &[Part<'_>], app: &CatalogAppId) -> Result<Installation, Error> {
        let catalog = [Part::Fixed("v1.0/appCatalogs/teamsApps"), Part::Id(app.as_str())];
        let app = address(&self.url, &catalog, &[]).map_err(Error::not_sendable)?;
        let body = json(&Install { app: &app })?;
        let response = self.request(Method::POST, parts, &[], body).await?;
        if response.status() == StatusCode::CONFLICT {
            return Ok(Installation::Existing);
        }
        success(response).map(|_| Installation::Created)
    }

    async fn request(
        &self,
        method: Method,
        parts: &[Part<'_>],
        query: &[(&'static str, Option<&str>)],
        body: Bytes,
    ) -> Result<Response<Body>, Error> {
        let url = address(&self.url, parts, query).map_err(Error::not_sendable)?;
        let request = json_request(method, url, body).map_err(Error::not_sendable)?;
        self.send(request).await
    }

    /// Sends every request of this client, to its one host. A request that is rejected for its token is repeated once
    /// with a new one.
    async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Body>, Error> {
        request.extensions_mut().insert(MAX_ANSWER);
        let Some(tokens) = &self.tokens else {
            return self.exchange(request, None).await;
        };
        let token = tokens.token().await.map_err(Error::no_token)?;
        let response = self.exchange(request.clone(), Some(&token)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let fresh = tokens.refresh_rejected(&token).await;
        self.exchange(request, Some(&fresh.map_err(Error::no_token)?))
            .await
    }

    /// Sends one request. The only place where a token is attached.
    async fn exchange(
        &self,
        mut request: Request<Bytes>,
        token: Option<&Token>,
    ) -> Result<Response<Body>, Error> {
        if let Some(token) = token {
            request
                .headers_mut()
                .insert(AUTHORIZATION, token.authorization().clone());
        }
        self.transport.send(request).await.map_err(Error::no_response)
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Graph")
            .field("url", &self.url)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

/// The path of one person's apps. The first part is the version, which URLs inside a batch omit.
fn installed_apps(user: &EntraObjectId) -> [Part<'_>; 4] {
    [
        Part::Fixed("v1.0"),
        Part::Fixed("users"),
        Part::Id(user.as_str()),
        Part::Fixed("teamwork/installedApps"),
    ]
}

fn installed_filter(app: &CatalogAppId) -> String {
    format!("teamsApp/id eq {}", odata_literal(app.as_str()))
}

fn installed_query(filter: &str) -> [(&'static str, Option<&str>); 2] {
    [("$expand", Some("teamsApp")), ("$filter", Some(filter))]
}

/// Quotes a text as an `OData` literal.
fn odata_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The installation of `app` in a list. Checks the app although the request filters by it, because the installation may
/// be uninstalled.
fn found(response: Response<Body>, app: &CatalogAppId) -> Result<Option<InstallationId>, Error> {
    let response = success(response)?;
    let list: List<InstalledApp> = read(&response)?;
    let is_its = |installation: &InstalledApp| {
        let of = installation.teams_app.as_ref();
        of.is_none_or(|of| of.id.as_str().eq_ignore_ascii_case(app.as_str()))
    };
    match list.value.into_iter().find(is_its) {
        Some(installation) if !is_usable(installation.id.as_str()) => {
            Err(unreadable(&response, Unusable::InvalidId))
        }
        installation => Ok(installation.map(|installation| installation.id)),
    }
}

fn success(response: Response<Body>) -> Result<Response<Body>, Error> {
    if response.status().is_success() {
        return Ok(response);
    }
    Err(Error::from_response(
        response.status(),
        response.headers(),
        response.body(),
    ))
}

fn read<T: DeserializeOwned>(response: &Response<Body>) -> Result<T, Error> {
    response
        .body()
        .json()
        .map_err(|error| unreadable(response, error))
}

fn is_usable(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len())
}

fn unreadable(response: &Response<Body>, error: impl Into<BoxError>) -> Error {
    Error::unreadable(response.status(), response.headers(), error)
}

fn json(body: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(Error::not_sendable)
}
