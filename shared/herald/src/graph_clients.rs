//! Microsoft Graph in the tenants of the bot's customers, where the bot's app is installed for people.
//!
//! Each tenant has its own client with its own token: a refusal in one tenant says nothing about the others. This module
//! does no rate limiting; requests to Graph have their own bucket
//! ([`Bucket::for_graph`](crate::rate_limit::Bucket::for_graph)).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use botframework::cloud::Cloud;
use botframework::credential::{ClientAuth, InvalidRegistration};
use botframework::graph::{Graph, Tenant};
use botframework::http::HttpTransport;
use botframework::id::CatalogAppId;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::MutexGuard;

use crate::clock::{Clock, Random};
use crate::config::{self, Authentication, Environment, variable};
use crate::credential;

/// The TTL of a catalog entry without the app, and the shortest time between two requests to one catalog.
const CATALOG_TTL: SignedDuration = SignedDuration::from_mins(1);

/// The Graph clients of all tenants. Cheap to clone; all clones share the clients.
#[derive(Clone)]
pub struct GraphClients(Arc<Shared>);

struct Shared {
    manifest: String,
    open: Open,
    known: Mutex<HashMap<String, Arc<TenantGraph>>>,
}

/// Creates the Graph client of a tenant.
type Open = Box<dyn Fn(&str) -> Result<Graph, InvalidRegistration> + Send + Sync>;

/// The Graph client and the catalog cache of a tenant.
#[derive(Debug)]
pub struct TenantGraph {
    /// The client, with tokens for this tenant.
    pub graph: Graph,
    catalog: tokio::sync::Mutex<CatalogCache>,
}

/// The cached catalog entry of the bot's app in a tenant.
#[derive(Debug, Default)]
pub struct CatalogCache(Option<CatalogEntry>);

#[derive(Debug)]
struct CatalogEntry {
    app: Option<CatalogAppId>,
    at: Timestamp,
}

impl GraphClients {
    /// The clients for the app with this manifest id. `open` creates the client of a tenant, named by its id or a domain.
    pub fn of(
        manifest: &str,
        open: impl Fn(&str) -> Result<Graph, InvalidRegistration> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            manifest: manifest.to_owned(),
            open: Box::new(open),
            known: Mutex::default(),
        }))
    }

    /// The clients that the environment configures; `None` if it does not name the bot's app. No request is made yet.
    ///
    /// # Errors
    /// Names the variable that is missing or invalid.
    pub fn from_environment(
        environment: &Environment<'_>,
        transport: &HttpTransport,
        clock: &Clock,
        random: &Random,
    ) -> Result<Option<Self>, config::Error> {
        let stand_in = environment.development(variable::GRAPH_URL)?;
        let Some(manifest) = environment.teams_app_id()? else {
            return Ok(None);
        };
        let bot = match environment.authentication()? {
            Authentication::LoopbackOnly => {
                let wrong = "is not set, and without authentication it must name a stand-in on this machine";
                let url = stand_in.ok_or_else(|| config::Error::wrong(variable::GRAPH_URL, wrong))?;
                let graph = Graph::unauthenticated(transport.clone(), &url).map_err(|_| not_local())?;
                return Ok(Some(Self::of(&manifest, move |_| Ok(graph.clone()))));
            }
            Authentication::Required(bot) => bot,
        };
        if bot.cloud == Cloud::China {
            let wrong = "must be left out in China, where Graph installs no apps";
            return Err(config::Error::wrong(variable::TEAMS_APP_ID, wrong));
        }
        let stand_ins = match (environment.development(credential::TOKEN_URL)?, stand_in) {
            (None, None) => None,
            (Some(tokens), Some(graph)) => Some((tokens, graph)),
            (None, Some(_)) | (Some(_), None) => {
                let wrong = "must be set beside HERALD_TOKEN_URL, and not without it: a stand-in takes no token of the cloud, nor the \
                             cloud one of a stand-in";
                return Err(config::Error::wrong(variable::GRAPH_URL, wrong));
            }
        };
        if let Some((tokens, graph)) = &stand_ins {
            let anybody = Tenant::new(bot.cloud, "anybody", &bot.app_id);
            anybody
                .and_then(|tenant| tenant.at_stand_in(tokens, graph))
                .map_err(|_| not_local())?;
        }
        let client_auth: Arc<dyn ClientAuth> = Arc::from(credential::client_auth(environment, transport)?);
        let (transport, clock, random) = (transport.clone(), clock.clone(), random.clone());
        Ok(Some(Self::of(&manifest, move |tenant| {
            let mut tenant = Tenant::new(bot.cloud, tenant, &bot.app_id)?;
            if let Some((tokens, graph)) = &stand_ins {
                tenant = tenant.at_stand_in(tokens, graph)?;
            }
            let runtime = credential::runtime(&clock, &random);
            Ok(Graph::new(
                transport.clone(),
                tenant,
                Arc::clone(&client_auth),
                runtime,
            ))
        })))
    }

    /// The app's id in its manifest, which a catalog is searched by.
    pub fn manifest(&self) -> &str {
        &self.0.manifest
    }

    /// The client of a tenant, created on first use.
    ///
    /// # Errors
    /// When `tenant` is neither an id nor a domain.
    pub fn in_tenant(&self, tenant: &str) -> Result<Arc<TenantGraph>, InvalidRegistration> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant_graph) = known.get(tenant) {
            return Ok(Arc::clone(tenant_graph));
        }
        let tenant_graph = Arc::new(TenantGraph {
            graph: (self.0.open)(tenant)?,
            catalog: tokio::sync::Mutex::default(),
        });
        known.insert(tenant.to_owned(), Arc::clone(&tenant_graph));
        Ok(tenant_graph)
    }
}

impl TenantGraph {
    /// Locks the catalog cache. Hold the lock during a request, so that concurrent callers share its result.
    pub async fn catalog(&self) -> MutexGuard<'_, CatalogCache> {
        self.catalog.lock().await
    }
}

impl CatalogCache {
    /// The cached app: `Some(None)` if the catalog has no such app, `None` if the cache is empty or stale.
    pub fn get(&self, now: Timestamp) -> Option<Option<&CatalogAppId>> {
        match &self.0 {
            Some(CatalogEntry { app: Some(app), .. }) => Some(Some(app)),
            Some(entry) if entry.is_fresh(now) => Some(None),
            Some(_) | None => None,
        }
    }

    /// Caches a response of the catalog.
    pub fn put(&mut self, app: Option<CatalogAppId>, now: Timestamp) {
        self.0 = Some(CatalogEntry { app, at: now });
    }

    /// Invalidates the entry after Graph did not find the app or the person, unless the entry is less than a minute old
    /// or is another app. Returns whether a retry may succeed.
    pub fn invalidate(&mut self, app: &CatalogAppId, now: Timestamp) -> bool {
        let Some(entry) = &self.0 else { return true };
        if entry.app.as_ref() != Some(app) {
            return true;
        }
        if entry.is_fresh(now) {
            return false;
        }
        self.0 = None;
        true
    }
}

impl CatalogEntry {
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.at) < CATALOG_TTL
    }
}

impl fmt::Debug for GraphClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphClients")
            .field("manifest", &self.0.manifest)
            .finish_non_exhaustive()
    }
}

fn not_local() -> config::Error {
    config::Error::wrong(variable::GRAPH_URL, "must be a plain http URL on this machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: (&str, &str) = ("MicrosoftAppId", "00000000-0000-4000-8000-00000000b07a");
    const MANIFEST: (&str, &str) = ("HERALD_TEAMS_APP_ID", "11111111-2222-4333-8444-555555555555");
    const UNAUTHENTICATED: (&str, &str) = ("HERALD_UNAUTHENTICATED", "loopback-only");
    const GRAPH: (&str, &str) = ("HERALD_GRAPH_URL", "http://127.0.0.1:3981/");
    const TOKENS: (&str, &str) = ("HERALD_TOKEN_URL", "http://127.0.0.1:3980/token");
    const IN_AWS: (&str, &str) = ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");

    fn graph_clients(pairs: &[(&str, &str)]) -> Result<Option<GraphClients>, config::Error> {
        let environment = Environment::from_fn(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found
                .map(|(_, value)| (*value).to_owned())
                .or_else(|| match name {
                    "AWS_REGION" => Some("eu-west-1".to_owned()),
                    "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("local".to_owned()),
                    _ => None,
                })
        });
        let transport = HttpTransport::builder().build().unwrap();
        GraphClients::from_environment(&environment, &transport, &Clock::system(), &Random::system())
    }

    fn refused(pairs: &[(&str, &str)], by: &str) {
        let error = graph_clients(pairs).unwrap_err().to_string();
        assert!(error.starts_with(by), "{pairs:?}: {error}");
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn there_are_customers_when_the_deployment_names_the_app() {
        assert!(graph_clients(&[APP]).unwrap().is_none());
        for pairs in [
            &[APP, MANIFEST][..],
            &[APP, MANIFEST, IN_AWS],
            &[APP, MANIFEST, TOKENS, GRAPH],
            &[UNAUTHENTICATED, MANIFEST, GRAPH],
        ] {
            let graph_clients = graph_clients(pairs).unwrap().unwrap();
            assert_eq!(graph_clients.manifest(), MANIFEST.1);
            assert!(graph_clients.in_tenant("tenant-1").is_ok(), "{pairs:?}");
        }
        refused(&[APP, ("HERALD_TEAMS_APP_ID", "my app")], "HERALD_TEAMS_APP_ID");
        refused(&[APP, MANIFEST, ("HERALD_CLOUD", "China")], "HERALD_TEAMS_APP_ID");
        refused(&[MANIFEST], "MicrosoftAppId");
    }

    #[test]
    fn a_stand_in_for_graph_is_on_this_machine_has_its_own_tokens_and_is_never_in_aws() {
        refused(&[APP, MANIFEST, TOKENS], "HERALD_GRAPH_URL");
        refused(&[APP, MANIFEST, GRAPH], "HERALD_GRAPH_URL");
        refused(&[UNAUTHENTICATED, MANIFEST], "HERALD_GRAPH_URL");
        refused(&[APP, MANIFEST, TOKENS, GRAPH, IN_AWS], "HERALD_GRAPH_URL");
        refused(&[APP, GRAPH, IN_AWS], "HERALD_GRAPH_URL");
        for url in [
            "https://graph.microsoft.com",
            "http://127.0.0.1@evil.example/",
            "http://10.0.0.1/",
        ] {
            let elsewhere = ("HERALD_GRAPH_URL", url);
            refused(&[APP, MANIFEST, TOKENS, elsewhere], "HERALD_GRAPH_URL");
            refused(&[UNAUTHENTICATED, MANIFEST, elsewhere], "HERALD_GRAPH_URL");
        }
    }

    #[test]
    fn each_tenant_has_one_client_and_what_is_no_tenant_has_none() {
        let graph_clients = graph_clients(&[APP, MANIFEST]).unwrap().unwrap();
        let of = |tenant: &str| graph_clients.clone().in_tenant(tenant);
        assert!(Arc::ptr_eq(&of("t1").unwrap(), &of("t1").unwrap()));
        assert!(!Arc::ptr_eq(&of("t1").unwrap(), &of("t2").unwrap()));
        assert!(of("../botframework.com").is_err());
    }

    #[test]
    fn what_a_catalog_said_is_kept_until_it_is_doubted_and_asked_once_a_minute() {
        let app = CatalogAppId::from("app");
        let mut catalog = CatalogCache::default();
        assert_eq!(catalog.get(at(0)), None);
        catalog.put(Some(app.clone()), at(0));
        assert_eq!(catalog.get(at(1_000_000)), Some(Some(&app)));
        assert!(!catalog.invalidate(&app, at(59)), "it was asked just now");
        assert!(
            catalog.invalidate(&"older".into(), at(59)),
            "somebody asked since"
        );
        assert_eq!(catalog.get(at(59)), Some(Some(&app)));
        assert!(catalog.invalidate(&app, at(60)));
        assert_eq!(catalog.get(at(60)), None);
        catalog.put(None, at(60));
        assert_eq!(catalog.get(at(119)), Some(None));
        assert_eq!(catalog.get(at(120)), None);
    }
}
