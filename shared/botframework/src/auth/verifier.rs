//! Verifies the token of a request and binds it to the activity.

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

use super::denied::Denied;
use super::entra;
use super::keys::{JwksCache, Key, Source};
use super::policy::{Emulator, Policy};
use super::token::{self, Token};
use super::verified::Caller;
use crate::activity::Activity;
use crate::http::Transport;

/// The sender that a verified token names.
#[derive(Debug)]
pub(super) enum Sender {
    /// A channel.
    Channel {
        /// The key that signed, with the channels that it is endorsed for.
        key: Arc<Key>,
        /// The service URL that the token claims.
        service_url: String,
    },
    /// The emulator, or another bot, by the app id that the token was issued to.
    Application(String),
}

/// The policy, with the issuers' keys it needs.
#[derive(Debug)]
pub(super) struct TokenVerifier {
    pub(super) policy: Policy,
    channels: JwksCache,
    entra: Option<JwksCache>,
}

impl TokenVerifier {
    pub(super) fn new(policy: Policy, source: Source, transport: Arc<dyn Transport>, jitter: u8) -> Self {
        let policy = policy.in_lower_case();
        let accepts_entra = policy.emulator == Emulator::OnLoopback || !policy.callers.is_empty();
        let entra = Source::of_entra(policy.cloud)
            .filter(|_| accepts_entra)
            .map(|source| JwksCache::new(source, transport.clone(), jitter));
        Self {
            policy,
            channels: JwksCache::new(source, transport, jitter),
            entra,
        }
    }

    pub(super) async fn prefetch(&self, now: SystemTime) {
        self.channels.prefetch(now).await;
    }

    /// The sender that the token of a request names.
    pub(super) async fn verify(&self, headers: &HeaderMap, now: SystemTime) -> Result<Sender, Denied> {
        let token = Token::read(token::bearer(headers)?)?;
        if token.claims.iss == self.policy.cloud.endpoints().inbound_issuer {
            let key = self.verify_signed(&token, &self.channels, now).await?;
            let service_url = token.claims.serviceurl.filter(|url| !url.is_empty());
            return Ok(Sender::Channel {
                key,
                service_url: service_url.ok_or(Denied::ServiceUrlUnclaimed)?,
            });
        }
        let keys = self.entra.as_ref().ok_or(Denied::IssuerRefused)?;
        entra::check_issuer(&token.claims, &self.policy)?;
        self.verify_signed(&token, keys, now).await?;
        entra::application(&token.claims, &self.policy).map(Sender::Application)
    }

    /// Binds the sender to the activity of the same request.
    pub(super) fn bind(&self, sender: &Sender, activity: &Activity) -> Result<Caller, Denied> {
        match sender {
            Sender::Channel { key, service_url } => {
                check_channel(key, service_url, activity)?;
                Ok(Caller {
                    caller_id: self.policy.cloud.endpoints().caller_id.map(str::to_owned),
                    ..Caller::default()
                })
            }
            Sender::Application(application) => entra::caller(application, &self.policy, activity),
        }
    }

    /// Checks signature, lifetime and audience; returns the key that signed.
    async fn verify_signed(
        &self,
        token: &Token<'_>,
        keys: &JwksCache,
        now: SystemTime,
    ) -> Result<Arc<Key>, Denied> {
        let key = keys.find(&token.key_id, now).await?;
        if !token.is_signed_by(&key) {
            return Err(Denied::SignatureInvalid);
        }
        token.claims.check_time(now)?;
        token.claims.check_audience(&self.policy.app_id)?;
        Ok(key)
    }
}

/// Checks that the key is endorsed for the channel, and that the token claims the activity's service URL.
fn check_channel(key: &Key, claimed: &str, activity: &Activity) -> Result<(), Denied> {
    let channel = activity.channel_id.as_deref().filter(|id| !id.is_empty());
    if !channel.is_some_and(|id| key.endorsements.iter().any(|endorsed| endorsed == id)) {
        return Err(Denied::ChannelNotEndorsed);
    }
    let named = activity.service_url.as_deref().unwrap_or_default();
    if same_url(claimed, named) {
        Ok(())
    } else {
        Err(Denied::ServiceUrlMismatch)
    }
}

/// Compares two service URLs, ignoring one trailing slash and the case of scheme and host.
fn same_url(one: &str, other: &str) -> bool {
    let ((one_host, one_path), (other_host, other_path)) = (split_path(one), split_path(other));
    one_host.eq_ignore_ascii_case(other_host) && one_path == other_path
}

/// Scheme and host, and the path without one trailing slash.
fn split_path(url: &str) -> (&str, &str) {
    let url = url.strip_suffix('/').unwrap_or(url);
    let authority = url.find("://").map_or(0, |colon| colon + "://".len());
    let path = url[authority..]
        .find('/')
        .map_or(url.len(), |slash| authority + slash);
    url.split_at(path)
}
