use crate::cloud::Cloud;
use crate::credential::{Client, InvalidRegistration, stand_in};

/// The bot in one customer's tenant: where its tokens for Graph come from there, and the one host they go to.
///
/// A token for Graph and one for the Connector are different things, and each works for more than a request: neither
/// may be seen by the other's host. A [`Connector`](crate::connector::Connector) takes a
/// [`Credential`](crate::credential::Credential), and no such thing is made of a tenant:
/// ```compile_fail
/// # use botframework::{cloud::Cloud, connector::Connector, http::HttpTransport, credential::{Credential, Runtime, SecretString}};
/// # fn attempt(transport: HttpTransport, tenant: botframework::graph::Tenant, secret: SecretString, runtime: Runtime) {
/// Credential::new(transport, tenant, secret, runtime);
/// # }
/// ```
/// The other way round, a bot's registration is no tenant:
/// ```compile_fail
/// # use botframework::{http::HttpTransport, credential::{Registration, Runtime, SecretString}, graph::Graph};
/// # fn attempt(transport: HttpTransport, bot: Registration, secret: SecretString, runtime: Runtime) {
/// Graph::new(transport, bot, secret, runtime);
/// # }
/// ```
/// With each in its place, both are made:
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
    /// It is the tenant of the people to be reached, not the bot's own: each customer's needs its own tokens, whatever
    /// the bot's registration is.
    ///
    /// # Errors
    /// When id or tenant cannot be what they are said to be; both stand in the request for a token.
    pub fn new(cloud: Cloud, tenant: &str, app_id: &str) -> Result<Self, InvalidRegistration> {
        let here = cloud.endpoints();
        Ok(Self {
            client: Client::in_tenant(cloud, tenant, app_id, here.graph_scope)?,
            graph: here.graph.to_owned(),
        })
    }

    /// The same tenant with a stand-in for the token endpoint and one for Graph, both on this machine: tokens of the
    /// cloud do not go to this machine, and others have no way off it.
    ///
    /// # Errors
    /// When one of the URLs leads anywhere else, or has a query.
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
