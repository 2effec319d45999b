//! The client of Microsoft Graph in one customer's tenant, for the one thing a bot needs there: to be installed for
//! people who never installed it, so that it can write to them.
//!
//! ```text
//! catalog_app, store_app ──▶ installation? ──none──▶ install_for_user ──Created──▶ the bot's own endpoint is told, with the conversation
//!                       └──there──────────────────┴──Existing──▶ installation ──▶ chat: the conversation's id
//! ```
//!
//! An installation tells the bot's endpoint of itself (`installationUpdate`), at some later moment. Where one was there
//! already nothing will be told, and [`Graph::chat`] finds the conversation. The bot needs the application permissions
//! `TeamsAppInstallation.ReadWriteSelfForUser.All` and, for teams, `…ForTeam.All`, with the tenant's consent, and a
//! manifest whose `webApplicationInfo` names it; and `AppCatalog.Read.All`, to find it in the catalog. Guests cannot be installed for.
//!
//! Every request may be made twice, and is made once: only one refused for an old token is repeated here, with a new
//! one. Nothing paces the client either: see [`limits`].
//!
//! # Example: a person, an app
//! ```no_run
//! # use botframework::{graph::{Error, Graph, Installation}, id::{ConversationId, EntraObjectId}};
//! # async fn reach(graph: Graph, person: EntraObjectId) -> Result<Option<ConversationId>, Error> {
//! let Some(app) = graph.catalog_app("11111111-2222-4333-8444-555555555555").await? else {
//!     return Ok(None);
//! };
//! match graph.install_for_user(&person, &app).await? {
//!     // The conversation comes to the bot's endpoint.
//!     Installation::Created => Ok(None),
//!     Installation::Existing => match graph.installation(&person, &app).await? {
//!         Some(installation) => graph.chat(&person, &installation).await.map(Some),
//!         None => Ok(None),
//!     },
//! }
//! # }
//! ```

mod batch;
mod error;
pub mod limits;
mod tenant;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::error::{Class, Error, Reason};
pub use self::tenant::Tenant;

use crate::credential::{ClientAuth, InvalidRegistration, Runtime, Token, TokenCache};
use crate::http::{AGENT, Body, JSON, JSON_UTF8, Part, Transport, address};
use crate::id::{CatalogAppId, ConversationId, EntraGroupId, EntraObjectId, InstallationId};

/// A client of Graph in one tenant. Cheap to clone; all clones share one token.
///
/// It talks to one host, its cloud's, and follows no URL that an answer holds.
#[derive(Clone)]
pub struct Graph {
    transport: Arc<dyn Transport>,
    tokens: Option<TokenCache>,
    /// Without a trailing slash.
    url: Arc<str>,
}

/// What installing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installation {
    /// It was done. The bot's endpoint will be told.
    Created,
    /// It was there already. The bot's endpoint will not be told.
    Existing,
}

/// A list as Graph gives it. One that has more than a page is not followed: what is asked for stands at its beginning.
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

/// Why the body of a success cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("answer was cut short")]
    Cut,
    #[error("answer is not the document expected")]
    Malformed(#[source] serde_json::Error),
    #[error("answer has an empty id")]
    NoId,
    #[error("answer to a batch has none to this request")]
    Missing,
}

impl Graph {
    /// The client that sends over `transport` to the Graph of `tenant`, as the bot that `client_auth` proves.
    ///
    /// Nothing is fetched yet. A client_auth that serves several tenants, and the bot's own credential, is shared by an
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
    /// When the URL leads anywhere else, or has a query.
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
    /// it has none; then it may be a [`store_app`](Self::store_app).
    ///
    /// The id may be kept until an installation fails with [`Reason::NotFound`].
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn catalog_app(&self, manifest_id: &str) -> Result<Option<CatalogAppId>, Error> {
        self.app_by("externalId", manifest_id).await
    }

    /// The app from the store with this id in its manifest. There it has the same id, and Graph leaves out that it is from
    /// the manifest: [`catalog_app`](Self::catalog_app) does not find it. `None` when the tenant has none.
    ///
    /// # Errors
    /// See [`Error::class`].
    pub async fn store_app(&self, manifest_id: &str) -> Result<Option<CatalogAppId>, Error> {
        self.app_by("id", manifest_id).await
    }

    async fn app_by(&self, property: &str, value: &str) -> Result<Option<CatalogAppId>, Error> {
        let parts = [Part::Fixed("v1.0/appCatalogs/teamsApps")];
        let filter = format!("{property} eq {}", literal(value));
        let query = [("$filter", Some(filter.as_str()))];
        let response = success(self.request(Method::GET, &parts, &query, Bytes::new()).await?)?;
        let list: List<CatalogApp> = read(&response)?;
        let is_own = |app: &CatalogApp| app.distribution_method.as_deref() == Some("organization");
        let (own, others): (Vec<_>, Vec<_>) = list.value.into_iter().partition(is_own);
        match own.into_iter().chain(others).next() {
            Some(app) if app.id.is_empty() => Err(unreadable(&response, Unreadable::NoId)),
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

    /// The conversation that an installation for a person has with them. The Connector takes its id, although in an
    /// activity the conversation has another.
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
        if chat.id.is_empty() {
            return Err(unreadable(&response, Unreadable::NoId));
        }
        Ok(chat.id)
    }

    /// Takes an installation from a person. Safe to repeat; of one that is gone Graph says [`Reason::NotFound`].
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

    /// The one way out: every request is made here, to the one host. A token that is not taken is replaced, and the
    /// request made once more.
    async fn request(
        &self,
        method: Method,
        parts: &[Part<'_>],
        query: &[(&'static str, Option<&str>)],
        body: Bytes,
    ) -> Result<Response<Body>, Error> {
        let url = address(&self.url, parts, query).map_err(Error::not_sendable)?;
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

        let Some(tokens) = &self.tokens else {
            return self.exchange(request, None).await;
        };
        let token = tokens.token().await.map_err(Error::no_token)?;
        let response = self.exchange(request.clone(), Some(&token)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let another = tokens.refresh_rejected(&token).await;
        self.exchange(request, Some(&another.map_err(Error::no_token)?))
            .await
    }

    /// Makes one request. This is the one place where a token is attached.
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

/// The apps of one person. The first part is the version, which the addresses inside a batch are under.
fn installed_apps(user: &EntraObjectId) -> [Part<'_>; 4] {
    [
        Part::Fixed("v1.0"),
        Part::Fixed("users"),
        Part::Id(user.as_str()),
        Part::Fixed("teamwork/installedApps"),
    ]
}

fn installed_filter(app: &CatalogAppId) -> String {
    format!("teamsApp/id eq {}", literal(app.as_str()))
}

fn installed_query(filter: &str) -> [(&'static str, Option<&str>); 2] {
    [("$expand", Some("teamsApp")), ("$filter", Some(filter))]
}

/// A text as a literal of `OData`: between single quotes, those inside it doubled.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The installation of `app` in a list of them. Another's is not taken for it, whatever was asked: what is found may be
/// uninstalled.
fn found(response: Response<Body>, app: &CatalogAppId) -> Result<Option<InstallationId>, Error> {
    let response = success(response)?;
    let list: List<InstalledApp> = read(&response)?;
    let is_its = |installation: &InstalledApp| {
        let of = installation.teams_app.as_ref();
        of.is_none_or(|of| of.id.as_str().eq_ignore_ascii_case(app.as_str()))
    };
    match list.value.into_iter().find(is_its) {
        Some(installation) if installation.id.is_empty() => Err(unreadable(&response, Unreadable::NoId)),
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
    let document = match response.body() {
        Body::Complete(bytes) => serde_json::from_slice(bytes).map_err(Unreadable::Malformed),
        Body::Truncated => Err(Unreadable::Cut),
    };
    document.map_err(|error| unreadable(response, error))
}

fn unreadable(response: &Response<Body>, error: Unreadable) -> Error {
    Error::unreadable(response.status(), response.headers(), error)
}

fn json(body: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(Error::not_sendable)
}
