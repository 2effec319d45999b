use super::super::tests::environment;
use super::*;

const APP: (&str, &str) = ("MicrosoftAppId", "0000000A-0000-4000-8000-000000000001");
const TENANT: (&str, &str) = ("MicrosoftAppTenantId", "0000000b-0000-4000-8000-000000000001");
const TEAMS_URL: &str = "https://smba.trafficmanager.net/emea/";
const SLACK_URL: &str = "https://slack.botframework.com/";
const LOCAL_URL: &str = "http://127.0.0.1:3979/";
const IN_AWS: (&str, &str) = ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");

fn authenticator(pairs: &[(&str, &str)]) -> Result<Authenticator, Error> {
    let transport = HttpTransport::builder().build().unwrap();
    environment(pairs).authenticator(&transport, &Random::from_fn(|| [7; 16]))
}

fn bot(pairs: &[(&str, &str)]) -> BotRegistration {
    match environment(pairs).authentication().unwrap() {
        Authentication::Required(bot) => bot,
        Authentication::LoopbackOnly => panic!("it is unauthenticated"),
    }
}

/// What each set of variables is refused for, by the name of the variable.
fn refused(pairs: &[(&str, &str)], by: &str) {
    let error = authenticator(pairs).unwrap_err().to_string();
    assert!(error.starts_with(by), "{pairs:?}: {error}");
}

#[test]
fn without_authentication_it_starts_by_its_plain_name_only_and_never_in_aws() {
    refused(&[], "MicrosoftAppId is not set");
    refused(&[("HERALD_UNAUTHENTICATED", "true")], "HERALD_UNAUTHENTICATED");
    refused(
        &[("HERALD_UNAUTHENTICATED", "loopback-only"), IN_AWS],
        "HERALD_UNAUTHENTICATED",
    );
    let rule = environment(&[("HERALD_UNAUTHENTICATED", "loopback-only"), APP])
        .trust_rule()
        .unwrap();
    assert!(rule.check(LOCAL_URL).is_ok() && rule.check(TEAMS_URL).is_err());
}

#[test]
fn every_setting_for_development_is_refused_in_aws() {
    let metadata = "http://127.0.0.1:9/v1/.well-known/openidconfiguration";
    for (name, value) in [
        (variable::UNAUTHENTICATED, "loopback-only"),
        (variable::LOOPBACK_SERVICE_URLS, "trusted"),
        (variable::OPENID_METADATA_URL, metadata),
    ] {
        assert!(authenticator(&[APP, (name, value)]).is_ok(), "{name}");
        refused(&[APP, (name, value), IN_AWS], name);
    }
    let emulator = [
        APP,
        ("HERALD_EMULATOR", "loopback-only"),
        ("HERALD_LOOPBACK_SERVICE_URLS", "trusted"),
    ];
    assert!(authenticator(&emulator).is_ok());
    refused(&[&emulator[..], &[IN_AWS]].concat(), "HERALD_");
    refused(&emulator[..2], "HERALD_EMULATOR");
    assert!(authenticator(&[APP, IN_AWS]).is_ok());
}

#[test]
fn a_stand_in_for_the_issuer_is_on_this_machine_or_nowhere() {
    for url in [
        "https://login.botframework.com/v1/.well-known/openidconfiguration",
        "http://127.0.0.1.evil.example/metadata",
        "http://127.0.0.1@evil.example/metadata",
        "http://10.0.0.1/metadata",
        "//127.0.0.1/metadata",
    ] {
        refused(
            &[APP, (variable::OPENID_METADATA_URL, url)],
            "HERALD_OPENID_METADATA_URL",
        );
    }
}

#[test]
fn the_bot_is_named_in_full() {
    let named = bot(&[APP, TENANT]);
    assert_eq!(
        named.app_id, "0000000a-0000-4000-8000-000000000001",
        "as tokens write it"
    );
    assert_eq!(
        named.tenants,
        RegisteredTenants::SingleTenant {
            tenant: TENANT.1.to_owned()
        }
    );
    assert_eq!(bot(&[APP]).tenants, RegisteredTenants::MultiTenant);
    assert_eq!(
        bot(&[APP, TENANT, ("MicrosoftAppType", "MultiTenant")]).tenants,
        RegisteredTenants::MultiTenant
    );
    refused(&[("MicrosoftAppId", "my-bot")], "MicrosoftAppId");
    refused(
        &[APP, ("MicrosoftAppTenantId", "contoso.example")],
        "MicrosoftAppTenantId",
    );
    refused(
        &[APP, ("MicrosoftAppType", "SingleTenant")],
        "MicrosoftAppTenantId",
    );
    refused(
        &[APP, TENANT, ("MicrosoftAppType", "UserAssignedMSI")],
        "MicrosoftAppType",
    );
    refused(
        &[APP, ("HERALD_ALLOWED_TENANTS", "contoso")],
        "HERALD_ALLOWED_TENANTS",
    );
    refused(&[APP, ("HERALD_ALLOWED_BOTS", "*")], "HERALD_ALLOWED_BOTS");
}

#[test]
fn every_cloud_has_one_name() {
    assert_eq!(bot(&[APP]).cloud, Cloud::Public);
    assert_eq!(
        bot(&[APP, ("ChannelService", "https://botframework.azure.us")]).cloud,
        Cloud::UsGov
    );
    assert_eq!(bot(&[APP, ("HERALD_CLOUD", "UsDod")]).cloud, Cloud::UsDod);
    assert_eq!(bot(&[APP, ("HERALD_CLOUD", "China")]).cloud, Cloud::China);
    refused(
        &[APP, ("ChannelService", "https://botframework.azure.uk")],
        "ChannelService",
    );
    refused(&[APP, ("HERALD_CLOUD", "public")], "HERALD_CLOUD");
    let both = [
        APP,
        ("HERALD_CLOUD", "UsDod"),
        ("ChannelService", "https://botframework.azure.us"),
    ];
    refused(&both, "HERALD_CLOUD");
}

#[test]
fn teams_alone_is_trusted_until_another_channel_or_host_is_named() {
    let trusts =
        |pairs: &[(&str, &str)], url: &str| environment(pairs).trust_rule().unwrap().check(url).is_ok();
    assert!(trusts(&[APP], TEAMS_URL));
    assert!(!trusts(&[APP], SLACK_URL) && !trusts(&[APP], LOCAL_URL));
    assert!(trusts(
        &[APP, ("HERALD_ALLOWED_CHANNELS", "msteams, slack")],
        SLACK_URL
    ));
    assert!(!trusts(&[APP, ("HERALD_ALLOWED_CHANNELS", "msteams")], SLACK_URL));
    let local = [APP, ("HERALD_LOOPBACK_SERVICE_URLS", "trusted")];
    assert!(trusts(&local, LOCAL_URL) && trusts(&local, TEAMS_URL));
    let ring = [APP, ("HERALD_SERVICE_URL_HOSTS", "canary.botapi.skype.com")];
    assert!(trusts(&ring, "https://canary.botapi.skype.com/amer/"));
    refused(
        &[APP, ("HERALD_SERVICE_URL_HOSTS", "*.skype.com")],
        "HERALD_SERVICE_URL_HOSTS",
    );
}
