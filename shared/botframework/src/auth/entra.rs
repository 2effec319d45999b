//! Tokens issued by Entra: the emulator's, and those of other bots. Each needs the policy's consent.

use super::denied::Denied;
use super::policy::{Emulator, Policy};
use super::token::Claims;
use super::verified::Caller;
use crate::activity::Activity;
use crate::cloud::Cloud;
use crate::service_url::{Loopback, OtherChannels, TrustRule};

/// The channel id of the emulator, the only one that its tokens are accepted for.
const EMULATOR: &str = "emulator";

/// The tenants that issue tokens for multi-tenant bots.
const PUBLIC_TENANTS: [&str; 4] = [
    "d6d49420-f39b-4df7-a1dc-d59a935871db",
    "f8cdef31-a31e-4b4a-93e4-5f571e91255a",
    "72f988bf-86f1-41af-91ab-2d7cd011db47",
    "69e9b82d-4842-4902-8d1e-abc5b98a55e8",
];
const GOVERNMENT_TENANTS: [&str; 1] = ["cab8a31a-1906-4287-a0d8-4eef66b95f6e"];

/// Checks that the issuer is Entra in this cloud, in a tenant that may issue tokens for this bot.
pub(super) fn check_issuer(claims: &Claims, policy: &Policy) -> Result<(), Denied> {
    let tenant = tenant_of(&claims.iss, policy.cloud).ok_or(Denied::IssuerRefused)?;
    let shared: &[&str] = match policy.cloud {
        Cloud::Public => &PUBLIC_TENANTS,
        Cloud::UsGov | Cloud::UsDod => &GOVERNMENT_TENANTS,
        Cloud::China => &[],
    };
    if shared.contains(&tenant) || policy.own_tenant.as_deref() == Some(tenant) {
        Ok(())
    } else {
        Err(Denied::IssuerRefused)
    }
}

/// The application that an Entra token names, if the policy accepts it.
pub(super) fn application(claims: &Claims, policy: &Policy) -> Result<String, Denied> {
    let application = claims.application().ok_or(Denied::CallerRefused)?;
    // The same keys sign for all tenants, so issuer and `tid` must name the same one.
    if claims.tid.as_deref() != tenant_of(&claims.iss, policy.cloud) {
        return Err(Denied::CallerRefused);
    }
    let is_accepted = if application == policy.app_id {
        policy.emulator == Emulator::OnLoopback
    } else {
        policy.callers.contains(application)
    };
    is_accepted
        .then(|| application.to_owned())
        .ok_or(Denied::CallerRefused)
}

/// The caller of an activity, by the application that its token names.
pub(super) fn caller(application: &str, policy: &Policy, activity: &Activity) -> Result<Caller, Denied> {
    if application == policy.app_id {
        check_emulator(policy.cloud, activity)?;
    }
    Ok(Caller {
        tenant: None,
        caller_id: (application != policy.app_id).then(|| format!("urn:botframework:aadappid:{application}")),
        app_id: Some(application.to_owned()),
    })
}

/// The tenant in an issuer's URL, `…/<tenant>/` of a version 1 token or `…/<tenant>/v2.0`.
fn tenant_of(issuer: &str, cloud: Cloud) -> Option<&str> {
    let login = cloud.endpoints().login_host;
    let first_version = match cloud {
        Cloud::Public => "https://sts.windows.net",
        Cloud::UsGov | Cloud::UsDod | Cloud::China => login,
    };
    let within = |host: &str, end: &str| {
        let tenant = issuer.strip_prefix(host)?.strip_prefix('/')?.strip_suffix(end)?;
        (!tenant.is_empty() && !tenant.contains('/')).then_some(tenant)
    };
    within(login, "/v2.0").or_else(|| within(first_version, "/"))
}

/// An emulator runs beside the bot. Its token names no service URL, so only this machine is accepted.
fn check_emulator(cloud: Cloud, activity: &Activity) -> Result<(), Denied> {
    if activity.channel_id.as_deref() != Some(EMULATOR) {
        return Err(Denied::ChannelRefused);
    }
    let url = activity.service_url.as_deref().unwrap_or_default();
    TrustRule::new(cloud, OtherChannels::Refused, Loopback::Only)
        .check(url)
        .map(|_| ())
        .map_err(Denied::ServiceUrlUntrusted)
}
