//! Tokens that Entra issued: `PROTOCOL.md#c2`.

use botframework::auth::Emulator;
use botframework::cloud::Cloud;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use serde_json::{Value, json};
use tests::issuer::Fixture;

use super::attempt::{Attempt, BOT, Case, Change, NOW, TENANT, change, claim, field, no_claim, nothing};

/// A tenant that issues tokens for bots.
const BOTS: &str = "d6d49420-f39b-4df7-a1dc-d59a935871db";
const GOVERNMENT: &str = "cab8a31a-1906-4287-a0d8-4eef66b95f6e";
const OTHER_BOT: &str = "0000000c-0000-4000-8000-000000000001";

/// The emulator on this machine, with a token fetched by our own credentials, and allowed by the policy.
fn emulator() -> Attempt {
    let mut it = Attempt::of(Cloud::Public);
    it.policy.emulator = Emulator::OnLoopback;
    it.trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Trusted);
    it.signer = Fixture::Next.key();
    it.header["kid"] = json!("entra");
    it.claims = json!({
        "iss": format!("https://sts.windows.net/{BOTS}/"), "tid": BOTS, "ver": "1.0", "aud": BOT, "appid": BOT,
        "nbf": NOW - 60, "exp": NOW + 3540,
    });
    it.activity["channelId"] = json!("emulator");
    it.activity["serviceUrl"] = json!("http://localhost:56150/_connector");
    it
}

/// Another bot on Teams, allowed by the policy.
fn other_bot() -> Attempt {
    let mut it = emulator();
    it.policy.emulator = Emulator::Refused;
    it.policy.callers.insert(OTHER_BOT.to_owned());
    it.trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
    it.claims["appid"] = json!(OTHER_BOT);
    it.activity["channelId"] = json!("msteams");
    it.activity["serviceUrl"] = json!("https://smba.trafficmanager.net/emea/");
    it
}

fn second_version(application: &'static str) -> Change {
    change(move |it| {
        it.claims["iss"] = json!(format!("https://login.microsoftonline.com/{BOTS}/v2.0"));
        it.claims["ver"] = json!("2.0");
        it.claims["azp"] = json!(application);
        no_claim("appid")(it);
    })
}

fn issued_by(issuer: &'static str, tenant: &'static str) -> Change {
    change(move |it| {
        it.claims["iss"] = json!(issuer);
        it.claims["tid"] = json!(tenant);
    })
}

#[tokio::test]
async fn the_emulator_is_accepted_from_this_machine_only() {
    for case in places().into_iter().chain(applications()).chain(tenants()) {
        case.judge(emulator()).await;
    }
}

fn places() -> Vec<Case> {
    let caller = |name, change| Case::unauthorized(name, "CallerRefused", change);
    let issuer = |name, change| Case::unauthorized(name, "IssuerRefused", change);
    vec![
        Case::admitted("the emulator, where it is let in", nothing()),
        Case::admitted("the emulator with a token of version 2", second_version(BOT)),
        issuer(
            "the emulator, where it is not",
            change(|it| it.policy.emulator = Emulator::Refused),
        ),
        caller(
            "where only another bot is let in",
            change(|it| {
                it.policy.emulator = Emulator::Refused;
                it.policy.callers.insert(OTHER_BOT.to_owned());
            }),
        ),
        Case::forbidden("as Teams", "ChannelRefused", field("channelId", json!("msteams"))),
        Case::forbidden(
            "as the emulator in capitals",
            "ChannelRefused",
            field("channelId", json!("Emulator")),
        ),
        Case::forbidden(
            "with a service URL in the cloud",
            "ServiceUrlUntrusted",
            field("serviceUrl", json!("https://smba.trafficmanager.net/emea/")),
        ),
        Case::forbidden(
            "with a stranger's",
            "ServiceUrlUntrusted",
            field("serviceUrl", json!("http://localhost.evil.example/")),
        ),
        Case::forbidden(
            "with none",
            "ServiceUrlUntrusted",
            field("serviceUrl", Value::Null),
        ),
        Case::forbidden(
            "where this machine is not trusted",
            "ServiceUrlUntrusted",
            change(|it| {
                it.trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
            }),
        ),
    ]
}

fn applications() -> Vec<Case> {
    let caller = |name, change| Case::unauthorized(name, "CallerRefused", change);
    vec![
        caller("no version", no_claim("ver")),
        caller("an empty version", claim("ver", json!(""))),
        caller("a version of the future", claim("ver", json!("3.0"))),
        caller("no application", no_claim("appid")),
        caller(
            "the application where version 2 has it",
            change(|it| {
                it.claims["azp"] = json!(BOT);
                no_claim("appid")(it);
            }),
        ),
        caller("another application", claim("appid", json!(OTHER_BOT))),
        caller("version 2 for another application", second_version(OTHER_BOT)),
        caller("no tenant", no_claim("tid")),
        caller("another tenant than the issuer's", claim("tid", json!(TENANT))),
    ]
}

fn tenants() -> Vec<Case> {
    let issuer = |name, change| Case::unauthorized(name, "IssuerRefused", change);
    vec![
        issuer(
            "an issuer of any tenant",
            issued_by(
                "https://sts.windows.net/0000000d-0000-4000-8000-000000000001/",
                TENANT,
            ),
        ),
        issuer(
            "an issuer without a tenant",
            issued_by("https://sts.windows.net//", ""),
        ),
        issuer(
            "an issuer with a path",
            issued_by(
                "https://sts.windows.net/d6d49420-f39b-4df7-a1dc-d59a935871db/x/",
                BOTS,
            ),
        ),
        issuer(
            "an issuer without its slash",
            issued_by(
                "https://sts.windows.net/d6d49420-f39b-4df7-a1dc-d59a935871db",
                BOTS,
            ),
        ),
        issuer(
            "a neighbour of the issuer",
            issued_by(
                "https://sts.windows.net.evil.example/d6d49420-f39b-4df7-a1dc-d59a935871db/",
                BOTS,
            ),
        ),
        issuer(
            "the government's issuer",
            issued_by(
                "https://login.microsoftonline.us/cab8a31a-1906-4287-a0d8-4eef66b95f6e/v2.0",
                GOVERNMENT,
            ),
        ),
        issuer(
            "the bot's own tenant, where it has none",
            issued_by(
                "https://sts.windows.net/0000000b-0000-4000-8000-00000000000a/",
                TENANT,
            ),
        ),
        Case::admitted(
            "the bot's own tenant, where it has one",
            issued_by(
                "https://sts.windows.net/0000000b-0000-4000-8000-00000000000a/",
                TENANT,
            ),
        )
        .after(change(|it| it.policy.own_tenant = Some(TENANT.to_owned()))),
        Case::unauthorized(
            "for another audience",
            "AudienceRefused",
            claim("aud", json!(OTHER_BOT)),
        ),
        Case::unauthorized("for no audience", "AudienceRefused", no_claim("aud")),
        Case::unauthorized("expired", "TokenExpired", claim("exp", json!(NOW - 300))),
        Case::unauthorized(
            "signed by a channel's key",
            "KeyUnknown",
            change(|it| {
                it.signer = Fixture::Current.key();
                it.header["kid"] = json!("current");
            }),
        ),
        Case::unauthorized(
            "a channel's claims signed by Entra",
            "KeyUnknown",
            change(|it| {
                it.claims["iss"] = json!("https://api.botframework.com");
                it.claims["serviceurl"] = it.activity["serviceUrl"].clone();
            }),
        ),
    ]
}

#[tokio::test]
async fn another_bot_is_accepted_only_if_it_is_allowed() {
    for case in [
        Case::admitted("another bot that is in the list", nothing()),
        Case::admitted("another bot with a token of version 2", second_version(OTHER_BOT)),
        Case::unauthorized(
            "another bot that is not",
            "CallerRefused",
            claim("appid", json!("0000000c-0000-4000-8000-000000000002")),
        ),
        Case::unauthorized(
            "we ourselves, who are not in the list",
            "CallerRefused",
            claim("appid", json!(BOT)),
        ),
        Case::unauthorized(
            "nobody in the list",
            "IssuerRefused",
            change(|it| it.policy.callers.clear()),
        ),
        Case::unauthorized(
            "a token for that bot and not for us",
            "AudienceRefused",
            claim("aud", json!(OTHER_BOT)),
        ),
        Case::forbidden(
            "a stranger's service URL",
            "ServiceUrlUntrusted",
            field("serviceUrl", json!("https://evil.example/")),
        ),
        Case::forbidden(
            "no service URL",
            "ServiceUrlUntrusted",
            field("serviceUrl", Value::Null),
        ),
        Case::forbidden(
            "this machine",
            "ServiceUrlUntrusted",
            field("serviceUrl", json!("http://127.0.0.1:3979/")),
        ),
    ] {
        case.judge(other_bot()).await;
    }
}

#[tokio::test]
async fn the_caller_is_identified() {
    let channel = |cloud: Cloud| async move { Attempt::of(cloud).caller().await.unwrap() };
    let public = channel(Cloud::Public).await;
    assert_eq!(public.caller_id.as_deref(), Some("urn:botframework:azure"));
    assert_eq!((public.app_id, public.tenant), (None, Some(TENANT.into())));
    for cloud in [Cloud::UsGov, Cloud::UsDod] {
        let caller_id = channel(cloud).await.caller_id;
        assert_eq!(caller_id.as_deref(), Some("urn:botframework:azureusgov"));
    }
    assert_eq!(channel(Cloud::China).await.caller_id, None);
    let ourselves = emulator().caller().await.unwrap();
    assert_eq!(
        (ourselves.caller_id, ourselves.app_id.as_deref()),
        (None, Some(BOT))
    );
    let other = other_bot().caller().await.unwrap();
    assert_eq!(
        other.caller_id,
        Some(format!("urn:botframework:aadappid:{OTHER_BOT}"))
    );
    assert_eq!(other.app_id.as_deref(), Some(OTHER_BOT));
}

#[tokio::test]
async fn each_cloud_trusts_only_its_own_entra() {
    let government = |cloud, issuer: &str, ver: &str| {
        let mut it = other_bot();
        it.policy.cloud = cloud;
        it.trust = TrustRule::new(cloud, OtherChannels::Refused, Loopback::Refused);
        it.claims["iss"] = json!(issuer);
        it.claims["tid"] = json!(GOVERNMENT);
        it.claims["ver"] = json!(ver);
        it.claims["azp"] = json!(OTHER_BOT);
        it.activity["serviceUrl"] = json!(format!("https://{}/teams", cloud.endpoints().teams_hosts[0]));
        it
    };
    for cloud in [Cloud::UsGov, Cloud::UsDod] {
        for (issuer, ver) in [
            (
                "https://login.microsoftonline.us/cab8a31a-1906-4287-a0d8-4eef66b95f6e/v2.0",
                "2.0",
            ),
            (
                "https://login.microsoftonline.us/cab8a31a-1906-4287-a0d8-4eef66b95f6e/",
                "1.0",
            ),
        ] {
            assert_eq!(
                government(cloud, issuer, ver).verdict().await,
                "",
                "{cloud:?} {issuer}"
            );
        }
        let public = format!("https://sts.windows.net/{BOTS}/");
        assert_eq!(government(cloud, &public, "1.0").verdict().await, "IssuerRefused");
    }
    // No metadata URL of that cloud is known, so every token is denied.
    let china = government(
        Cloud::China,
        "https://login.partner.microsoftonline.cn/x/v2.0",
        "2.0",
    );
    assert_eq!(china.verdict().await, "IssuerRefused");
}
