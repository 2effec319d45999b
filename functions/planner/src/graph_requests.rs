//! Requests to Microsoft Graph in one tenant, at the tenant's rate.
//!
//! | Graph's reason | what follows |
//! |---|---|
//! | `NotConsented`, `NotAllowed` | the part ends; the group, tenant or manager is reported as forbidden |
//! | `NotFound`, `Refused` | the part ends; what was asked for is reported as missing |
//! | `Throttled` | Graph's bucket waits `Retry-After` and slows down; the plan waits |
//! | `Unreachable`, `NoResponse`, `ServerError`, `Unauthorized` | the plan waits, until the notification expires |

use std::sync::Arc;

use botframework::graph::{self, Graph, Reason};
use herald::backend::Backend;
use herald::graph_clients::TenantGraph;
use herald::rate_limit::Bucket;
use herald::retry::retry_after;
use herald::tenant_gate::Admission;
use jiff::SignedDuration;

use crate::Failure;
use crate::recipients::Recipients;

/// How long the plan waits for a Graph that names no time.
const DEFAULT_RETRY_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// Why Graph does not return what was asked for, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GraphRefusal {
    /// The bot lacks the permission in the tenant, or is unknown there.
    Forbidden,
    /// There is no such group or person, or no longer.
    NotFound,
    /// The request is invalid: an id that is none, or a link that has expired.
    Invalid,
}

/// Asks the Graph of one tenant.
pub(crate) struct GraphRequests<'a, B: Backend> {
    recipients: &'a Recipients<'a, B>,
    tenant_graph: Arc<TenantGraph>,
    tenant: &'a str,
    /// The rate limit that its requests count against; `None` while no conversation or configuration names the bot.
    bucket: Option<Bucket>,
}

impl<'a, B: Backend> GraphRequests<'a, B> {
    /// Requests in this tenant; `None` if there is no Graph to ask: the deployment does not name the bot's app, or the tenant is none.
    pub(crate) fn new(
        recipients: &'a Recipients<'a, B>,
        tenant: &'a str,
        bucket: Option<&Bucket>,
    ) -> Option<Self> {
        let graph_clients = recipients.context.graph_clients.as_ref()?;
        Some(Self {
            recipients,
            tenant_graph: graph_clients.in_tenant(tenant).ok()?,
            tenant,
            bucket: bucket.map(Bucket::for_graph),
        })
    }

    /// The answer to one request, or why there is none for good.
    pub(crate) async fn ask<T>(
        &self,
        request: impl AsyncFn(&Graph) -> Result<T, graph::Error>,
    ) -> Result<Result<T, GraphRefusal>, Failure> {
        let Recipients { context, gate, .. } = self.recipients;
        if let Some(bucket) = &self.bucket
            && let Admission::Later(until) = gate.acquire(bucket).await?
        {
            return Err(Failure::Later(until.duration_since(context.clock.now())));
        }
        let error = match request(&self.tenant_graph.graph).await {
            Ok(answer) => return Ok(Ok(answer)),
            Err(error) => error,
        };
        let wait = retry_after(&error, context.clock.now());
        let refusal = match error.reason() {
            Reason::NotConsented | Reason::NotAllowed => Some(GraphRefusal::Forbidden),
            Reason::NotFound => Some(GraphRefusal::NotFound),
            Reason::Refused => Some(GraphRefusal::Invalid),
            Reason::Throttled => {
                if let Some(bucket) = &self.bucket {
                    gate.throttle(bucket, wait).await?;
                }
                None
            }
            Reason::Unreachable | Reason::NoResponse | Reason::ServerError | Reason::Unauthorized | _ => None,
        };
        self.log(&error, refusal);
        match refusal {
            Some(refusal) => Ok(Err(refusal)),
            None => Err(Failure::Later(wait.unwrap_or(DEFAULT_RETRY_AFTER))),
        }
    }

    /// Logs a failure. Its causes are left out: they may quote an answer, and names in it.
    fn log(&self, error: &graph::Error, refusal: Option<GraphRefusal>) {
        tracing::warn!(
            error_type = match refusal {
                Some(GraphRefusal::Forbidden) => "DirectoryForbidden",
                Some(GraphRefusal::NotFound | GraphRefusal::Invalid) => "NotInDirectory",
                None => "DirectoryUnavailable",
            },
            reason = ?error.reason(),
            code = error.code(),
            status = error.status(),
            tenant = self.tenant,
            notification = %self.recipients.notification.id,
            correlation = error.correlation(),
            "graph did not return the people of a selector"
        );
    }
}
