use crate::cloud::Cloud;
use crate::service_url::{Loopback, OtherChannels, TrustRule};

/// The OAuth 2.0 client of a token request: application id, token endpoint and scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    app_id: String,
    token_url: String,
    scope: &'static str,
}

/// A malformed registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegistration {
    /// The application id is empty or has characters beyond letters, digits and hyphens.
    #[error("application id is not like 00000000-0000-0000-0000-000000000000")]
    AppId,
    /// The tenant is empty or has characters beyond letters, digits, hyphens and dots.
    #[error("tenant is neither an id nor a domain")]
    Tenant,
    /// The stand-in is not on this machine.
    #[error("URL of a stand-in is not a plain URL on this machine, such as http://127.0.0.1:3980/token")]
    StandIn,
}

impl Client {
    /// The application `app_id` at the tenant URL `login`.
    pub(super) fn new(login: &str, app_id: &str, scope: &'static str) -> Result<Self, InvalidRegistration> {
        if !is_word(app_id, b"-") {
            return Err(InvalidRegistration::AppId);
        }
        Ok(Self {
            app_id: app_id.to_owned(),
            token_url: format!("{login}/oauth2/v2.0/token"),
            scope,
        })
    }

    /// The application `app_id` in one tenant, given by its id or one of its domains.
    pub(crate) fn in_tenant(
        cloud: Cloud,
        tenant: &str,
        app_id: &str,
        scope: &'static str,
    ) -> Result<Self, InvalidRegistration> {
        if !is_word(tenant, b"-.") || tenant.starts_with('.') {
            return Err(InvalidRegistration::Tenant);
        }
        Self::new(
            &format!("{}/{tenant}", cloud.endpoints().login_host),
            app_id,
            scope,
        )
    }

    /// The same client at the token endpoint of a stand-in on this machine.
    pub(crate) fn at_stand_in(mut self, token_url: &str) -> Result<Self, InvalidRegistration> {
        stand_in(token_url)?.clone_into(&mut self.token_url);
        Ok(self)
    }

    pub(super) fn app_id(&self) -> &str {
        &self.app_id
    }

    pub(super) fn token_url(&self) -> &str {
        &self.token_url
    }

    pub(super) fn scope(&self) -> &'static str {
        self.scope
    }
}

/// Checks that the URL of a stand-in is on this machine.
pub(crate) fn stand_in(url: &str) -> Result<&str, InvalidRegistration> {
    TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Only)
        .check(url)
        .map_err(|_| InvalidRegistration::StandIn)?;
    Ok(url)
}

fn is_word(text: &str, also: &[u8]) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || also.contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed)
}
