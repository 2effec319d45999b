//! The bot, installed for a person who has not got it: through Microsoft Graph, in the tenant of that person.
//!
//! ```text
//! install ──201──▶ wait ──the bot's endpoint was told, and remembered them──▶ their conversation
//!    │               └──not within a minute──┐
//!    └──409, there already───────────────────┴──▶ create ──refused──▶ Graph's chat
//! ```
//!
//! The event of an installation comes to the messaging endpoint, which remembers the conversation like any other. That is how
//! it wakes a delivery, without one function calling another: the delivery looks for the conversation 3, 15, 30 and 60 seconds
//! after the installation, and finds it.
//!
//! Where the event does not come, the conversation is created through the Connector: that can be repeated, and gives the very
//! id that the bot's events will have, so that nobody is remembered twice. Graph has the chat under another id. It is asked
//! for that only when the Connector refuses.
//!
//! | Graph's reason | what follows |
//! |---|---|
//! | `NotConsented`, `NotAllowed` | skipped as `InstallForbidden`; it says nothing of other tenants |
//! | `NotFound` | the catalog is asked anew, if it was not asked just now; then skipped as `NoSuchPerson` |
//! | `Throttled` | Graph's bucket waits `Retry-After` and slows down; the delivery waits |
//! | `Unreachable`, `Unanswered`, `Failed`, `Unauthorized` | the delivery waits, longer each time, until it expires |
//! | `Refused` | rejected, with Graph's words |

use botframework::credential;
use botframework::graph::{self, Class, Installation, Reason};
use botframework::id::{CatalogAppId, ConversationId, EntraObjectId};
use herald::conversation::INSTALL_EVENT_TIMEOUT;
use herald::delivery::{INSTALLING, Outcome, SkipReason};
use herald::graph::{Customer, Customers};
use herald::rate_limit::{Bucket, MAX_LOOKAHEAD};
use herald::retry::retry_after;
use herald::store::{self, Conversations, Ledger, Notifications, Paces};
use jiff::{SignedDuration, Timestamp};

use crate::delivery::Delivery;
use crate::later;
use crate::person::{Place, skipped};

/// When a conversation is looked for, after its installation began. Then it is made in another way.
const LOOKS: [SignedDuration; 4] = [
    SignedDuration::from_secs(3),
    SignedDuration::from_secs(15),
    SignedDuration::from_secs(30),
    INSTALL_EVENT_TIMEOUT,
];

/// How long nobody of an invocation asks Graph, after it failed for a whole tenant.
const TENANT_WAIT: SignedDuration = SignedDuration::from_secs(10);

/// Why the bot is not installed.
pub(crate) enum Failure {
    /// Graph refused, or did not answer.
    Graph(graph::Error),
    /// The app is not in the tenant's catalog.
    NotInCatalog,
    /// What is said to be their tenant cannot be one.
    NoSuchTenant,
    /// Nobody asked yet: there is no permit before then.
    NotBefore(Timestamp),
    /// A table is away.
    Store(store::Error),
}

impl From<graph::Error> for Failure {
    fn from(error: graph::Error) -> Self {
        Self::Graph(error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl<C, N, L, Q, E> Delivery<'_, C, N, L, Q, E>
where
    C: Conversations,
    N: Notifications,
    L: Ledger + Paces,
    Q: Sync,
    E: Sync,
{
    /// Has the bot installed for a person.
    pub(crate) async fn install(
        &self,
        customers: &Customers,
        customer: &Customer,
        user: &EntraObjectId,
    ) -> Result<Installation, Failure> {
        loop {
            let app = self.app(customers, customer).await?;
            self.ask_graph().await?;
            match customer.graph.install_for_user(user, &app).await {
                // It may be the app that is not known: one that was published anew has another id.
                Err(error) if error.reason() == Reason::NotFound => {
                    if !customer.catalog().await.doubt(&app, self.now()) {
                        return Err(error.into());
                    }
                }
                answer => return Ok(answer?),
            }
        }
    }

    /// The chat that Graph has of a person and the bot; `None` where it is not installed.
    pub(crate) async fn chat(
        &self,
        customers: &Customers,
        customer: &Customer,
        user: &EntraObjectId,
    ) -> Result<Option<ConversationId>, Failure> {
        let app = self.app(customers, customer).await?;
        self.ask_graph().await?;
        let Some(installation) = customer.graph.installation(user, &app).await? else {
            return Ok(None);
        };
        self.ask_graph().await?;
        let chat = customer.graph.chat(user, &installation).await?;
        Ok(Some(chat))
    }

    /// The bot's app in the tenant's catalog.
    async fn app(&self, customers: &Customers, customer: &Customer) -> Result<CatalogAppId, Failure> {
        let mut catalog = customer.catalog().await;
        if catalog.known(self.now()).is_none() {
            self.ask_graph().await?;
            let mut app = customer.graph.catalog_app(customers.manifest()).await;
            if matches!(app, Ok(None)) {
                self.ask_graph().await?;
                app = customer.graph.store_app(customers.manifest()).await;
            }
            if let (Err(error), Some(bucket)) = (&app, self.bucket)
                && error.class() == Class::Later
            {
                // Those who want to know the same need not wait for the same time-out, one after the other.
                let until = later(self.now(), TENANT_WAIT);
                self.invocation.hold(&bucket.for_graph(), until);
            }
            let app = app?;
            if app.is_none() {
                tracing::warn!(
                    error_type = "AppNotInCatalog",
                    tenant = self.bucket.and_then(Bucket::tenant),
                    notification = %self.notification,
                    "the bot's app is not in the catalog of a tenant: it is installed for nobody there"
                );
            }
            catalog.keep(app, self.now());
        }
        let app = catalog.known(self.now()).flatten();
        app.cloned().ok_or(Failure::NotInCatalog)
    }

    /// Waits for the permit of one request to Graph.
    async fn ask_graph(&self) -> Result<(), Failure> {
        let Some(bucket) = self.bucket.map(Bucket::for_graph) else {
            return Ok(());
        };
        if self.is_over() {
            return Err(Failure::NotBefore(self.now()));
        }
        let permit = self.permit(&bucket, self.context.limits.graph).await?;
        permit.map_err(Failure::NotBefore)
    }

    /// Has the delivery wait for the conversation of an installation.
    pub(crate) async fn look_again(&self, since: Timestamp, failures: u32) -> Result<Place, store::Error> {
        let now = self.now();
        let looks = LOOKS.map(|wait| later(since, wait));
        let next = looks.into_iter().find(|look| *look > now);
        self.put_off(next.unwrap_or(now), INSTALLING, failures).await
    }

    /// What becomes of a delivery to a person for whom the bot is not installed.
    pub(crate) async fn not_installed(&self, failure: Failure, failures: u32) -> Result<Place, store::Error> {
        let error = match failure {
            Failure::NotBefore(until) if until <= later(self.now(), MAX_LOOKAHEAD) => {
                return Ok(Place::Later(until));
            }
            Failure::NotBefore(until) => return self.put_off(until, "GraphPaused", failures).await,
            Failure::NotInCatalog => return Ok(skipped(SkipReason::AppNotInCatalog)),
            Failure::NoSuchTenant => return Ok(skipped(SkipReason::NoSuchPerson)),
            Failure::Store(error) => return Err(error),
            Failure::Graph(error) => error,
        };
        let (place, error_type) = match error.reason() {
            Reason::NotConsented | Reason::NotAllowed => {
                (skipped(SkipReason::InstallForbidden), "InstallForbidden")
            }
            Reason::NotFound => (skipped(SkipReason::NoSuchPerson), "NoSuchPerson"),
            Reason::Refused => {
                let (code, detail) = (code(&error), error.message().map(str::to_owned));
                (
                    Place::Nowhere(Outcome::Rejected { code, detail }),
                    "InstallFailed",
                )
            }
            Reason::Throttled => {
                let asked = retry_after(&error, self.now());
                if let Some(bucket) = self.bucket {
                    let limit = self.context.limits.graph;
                    self.slow(&bucket.for_graph(), limit, asked).await?;
                }
                let again = self.try_again(failures, asked, &code(&error)).await?;
                (again, "InstallFailed")
            }
            Reason::Unreachable | Reason::NoResponse | Reason::ServerError | Reason::Unauthorized => {
                let asked = retry_after(&error, self.now());
                let again = self.try_again(failures, asked, &code(&error)).await?;
                (again, "InstallFailed")
            }
        };
        tracing::warn!(
            error_type,
            reason = ?error.reason(),
            code = error.code(),
            tenant = self.bucket.and_then(Bucket::tenant),
            notification = %self.notification,
            correlation = error.correlation(),
            %error,
            token = token_error(&error),
            "the bot was not installed for somebody"
        );
        Ok(place)
    }
}

/// What failed, as the ledger has it.
fn code(error: &graph::Error) -> String {
    match error.code() {
        Some(code) => format!("Graph{code}"),
        None => format!("Graph{:?}", error.reason()),
    }
}

/// Why there is no token, if that is why. Other causes may quote an answer, and names in it.
fn token_error(error: &graph::Error) -> Option<String> {
    let cause = std::error::Error::source(error)?;
    Some(cause.downcast_ref::<credential::Error>()?.to_string())
}
