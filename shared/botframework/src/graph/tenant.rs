use crate::cloud::Cloud;
use crate::credential::{Client, InvalidRegistration, stand_in};

/// The bot in one customer's tenant: its token endpoint for Graph, and Graph's URL.
///
/// Tokens for Graph and for the Connector must not reach the other's host. A [`Connector`](crate::connector::Connector)
/// takes a [`Credential`](crate::credential::Credential), which cannot be created from a tenant:
/// ```compile_fail
/// # use botframework::{cloud::Cloud, connector::Connector, http::HttpTransport, credential::{Credential, Runtime, SecretString}};
/// # fn attempt(transport: HttpTransport, tenant: botframework::graph::Tenant, secret: SecretString, runtime: Runtime) {
/// Credential::new(transport, tenant, secret, runtime);
/// # }
/// ```
/// A bot's registration is not accepted as a tenant either:
/// ```compile_fail
/// # use botframework::{http::HttpTransport, credential::{Registration, Runtime, SecretString}, graph::Graph};
/// # fn attempt(transport: HttpTransport, bot: Registration, secret: SecretString, runtime: Runtime) {
/// Graph::new(transport, bot, secret, runtime);
/// # }
/// ```
/// Each in its place compiles:
/// ```
/// # use botframework::{http::HttpTransport, credential::{Credential, Registration, Runtime, SecretString}, graph::{Graph, Tenant}};
/// # fn attempt(transport: HttpTransport, bot: Registration, tenant: Tenant, secret: SecretString, runtimes: [Runtime; 2]) {
/// # let [one, another] = runtimes;
/// Credential::new(transport.clone(), bot, secret.clone(), one);
/// Graph::new(transport, tenant, secret, another);
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub(super) client: Client,
    /// Graph, without a trailing slash.
    pub(super) graph: String,
}

impl Tenant {
    /// The bot `app_id` in the tenant with this id or domain, in `cloud`.
    ///
    /// It is the tenant of the recipients, not the bot's own: each customer's tenant needs its own tokens.
    ///
    /// # Errors
    /// When the id or the tenant is malformed; both are parts of the token request.
    pub fn new(cloud: Cloud, tenant: &str, app_id: &str) -> Result<Self, InvalidRegistration> {
        let here = cloud.endpoints();
        Ok(Self {
            client: Client::in_tenant(cloud, tenant, app_id, here.graph_scope)?,
            graph: here.graph.to_owned(),
        })
    }

    /// The same tenant with stand-ins for the token endpoint and for Graph, both on this machine: no token of the cloud is
    /// sent to this machine, and no other leaves it.
    ///
    /// # Errors
    /// When one of the URLs is not on this machine, or has a query.
    pub fn at_stand_in(self, token_url: &str, graph_url: &str) -> Result<Self, InvalidRegistration> {
        Ok(Self {
            client: self.client.at_stand_in(token_url)?,
            graph: local(graph_url)?,
        })
    }
}

/// A stand-in for Graph on this machine.
pub(super) fn local(graph_url: &str) -> Result<String, InvalidRegistration> {
    let url = stand_in(graph_url)?;
    Ok(url.strip_suffix('/').unwrap_or(url).to_owned())
}
