//! Installs the bot for a person who does not have it: through Microsoft Graph, in that person's tenant.
//!
//! ```text
//! install ──201──▶ wait ──the bot's endpoint got the event and remembered the person──▶ their conversation
//!    │               └──not within a minute──┐
//!    └──409, there already───────────────────┴──▶ create ──refused──▶ Graph's chat
//! ```
//!
//! The event of an installation comes to the messaging endpoint, which remembers the conversation like any other. That wakes the
//! delivery, without one function calling another: it looks for the conversation 3, 15, 30 and 60 seconds after the
//! installation.
//!
//! Without the event, the conversation is created through the Connector: that can be repeated, and returns the id that the bot's
//! events will have, so that each person has one record. Graph has the chat under another id, and is asked for it only when
//! the Connector refuses.
//!
//! | Graph's reason | what follows |
//! |---|---|
//! | `NotConsented`, `NotAllowed` | skipped as `InstallForbidden`; it says nothing about other tenants |
//! | `NotFound` | the catalog is read again, unless it was read just now; then skipped as `NoSuchPerson` |
//! | `Throttled` | Graph's bucket waits `Retry-After` and slows down; the delivery waits |
//! | `Unreachable`, `Unanswered`, `Failed`, `Unauthorized` | the delivery backs off, until it expires |
//! | `Refused` | rejected, with Graph's message |

use botframework::credential;
use botframework::graph::{self, Class, Installation, Reason};
use botframework::id::{CatalogAppId, ConversationId, EntraObjectId};
use herald::backend::Backend;
use herald::graph_clients::{GraphClients, TenantGraph};
use herald::id::NotificationId;
use herald::rate_limit::Bucket;
use herald::store;
use herald::tenant_gate::Admission;
use herald::time::later;
use jiff::{SignedDuration, Timestamp};

use crate::tenant::Tenant;

/// How long Graph gets no request of this invocation after the catalog of a tenant could not be read.
const CATALOG_BACKOFF: SignedDuration = SignedDuration::from_secs(10);

/// Why the bot is not installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// Graph refused, or did not answer.
    #[error(transparent)]
    Graph(#[from] graph::Error),
    /// The app is not in the tenant's catalog.
    #[error("the app is not in the tenant's catalog")]
    NotInCatalog,
    /// The person's tenant id is not one.
    #[error("no such tenant")]
    NoSuchTenant,
    /// No request was made: there is no permit before then.
    #[error("no permit before {0}")]
    NoPermitUntil(Timestamp),
    /// A table.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Installs the bot for one person.
pub(crate) struct Installer<'i, 'a, B: Backend> {
    pub(crate) tenant: Tenant<'a, B>,
    pub(crate) graph_clients: &'i GraphClients,
    pub(crate) tenant_graph: &'i TenantGraph,
    pub(crate) user: &'i EntraObjectId,
    pub(crate) notification: &'i NotificationId,
}

impl<B: Backend> Installer<'_, '_, B> {
    pub(crate) async fn install(&self) -> Result<Installation, InstallError> {
        loop {
            let app = self.app().await?;
            self.acquire_permit().await?;
            match self.tenant_graph.graph.install_for_user(self.user, &app).await {
                // It may be the app that is not known: one that was published again has another id.
                Err(error) if error.reason() == Reason::NotFound => {
                    if !self
                        .tenant_graph
                        .catalog()
                        .await
                        .invalidate(&app, self.tenant.now())
                    {
                        return Err(error.into());
                    }
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// Graph's chat of the person and the bot; `None` where it is not installed.
    pub(crate) async fn chat(&self) -> Result<Option<ConversationId>, InstallError> {
        let app = self.app().await?;
        self.acquire_permit().await?;
        let graph = &self.tenant_graph.graph;
        let Some(installation) = graph.installation(self.user, &app).await? else {
            return Ok(None);
        };
        self.acquire_permit().await?;
        Ok(Some(graph.chat(self.user, &installation).await?))
    }

    /// The bot's app in the tenant's catalog.
    async fn app(&self) -> Result<CatalogAppId, InstallError> {
        let mut catalog = self.tenant_graph.catalog().await;
        if catalog.get(self.tenant.now()).is_none() {
            let (graph, manifest) = (&self.tenant_graph.graph, self.graph_clients.manifest());
            self.acquire_permit().await?;
            let mut app = graph.catalog_app(manifest).await;
            if matches!(app, Ok(None)) {
                self.acquire_permit().await?;
                app = graph.store_app(manifest).await;
            }
            if let (Err(error), Some(bucket)) = (&app, self.tenant.bucket)
                && error.class() == Class::Later
            {
                // Other deliveries need not wait for the same time-out, one after the other.
                let until = later(self.tenant.now(), CATALOG_BACKOFF);
                self.tenant.invocation.gate.hold(&bucket.for_graph(), until);
            }
            let app = app?;
            if app.is_none() {
                tracing::warn!(
                    error_type = "AppNotInCatalog",
                    tenant = self.tenant.bucket.and_then(Bucket::tenant),
                    notification = %self.notification,
                    "the bot's app is not in the catalog of a tenant: it cannot be installed there"
                );
            }
            catalog.put(app, self.tenant.now());
        }
        let app = catalog.get(self.tenant.now()).flatten();
        app.cloned().ok_or(InstallError::NotInCatalog)
    }

    /// Waits for the permit of one request to Graph.
    async fn acquire_permit(&self) -> Result<(), InstallError> {
        let Tenant { invocation, bucket } = self.tenant;
        let Some(bucket) = bucket else {
            return Ok(());
        };
        if invocation.out_of_time() {
            return Err(InstallError::NoPermitUntil(self.tenant.now()));
        }
        match invocation.gate.acquire(&bucket.for_graph()).await? {
            Admission::Granted(_) => Ok(()),
            Admission::Later(until) => Err(InstallError::NoPermitUntil(until)),
        }
    }
}

/// What failed, as the ledger stores it.
pub(crate) fn error_code(error: &graph::Error) -> String {
    match error.code() {
        Some(code) => format!("Graph{code}"),
        None => format!("Graph{:?}", error.reason()),
    }
}

/// Logs why the bot is not installed. Of the causes only a missing token is logged: others may quote an answer, and names in it.
pub(crate) fn log<B: Backend>(
    error: &graph::Error,
    error_type: &'static str,
    tenant: Tenant<'_, B>,
    notification: &NotificationId,
) {
    let token_error = std::error::Error::source(error)
        .and_then(|cause| cause.downcast_ref::<credential::Error>())
        .map(ToString::to_string);
    tracing::warn!(
        error_type,
        reason = ?error.reason(),
        code = error.code(),
        tenant = tenant.bucket.and_then(Bucket::tenant),
        notification = %notification,
        correlation = error.correlation(),
        %error,
        token = token_error,
        "the bot was not installed for a person"
    );
}
