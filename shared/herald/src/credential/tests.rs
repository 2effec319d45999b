use std::time::UNIX_EPOCH;

use botframework::credential::{ExposeSecret, Reload};
use serde_json::json;

use super::*;
use crate::aws::tests::FakeAws;
use crate::telemetry::chain;

const CANARY: &str = "canary-Zq8~secret";
const BOT: &str = include_str!("../../../../tests/fixtures/keys/bot.pem");
const APP: (&str, &str) = ("MicrosoftAppId", "00000000-0000-4000-8000-00000000b07a");
const IN_AWS: (&str, &str) = ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
const CLOUD: &str = "https://smba.trafficmanager.net/emea/";

fn connect(pairs: &[(&str, &str)]) -> Result<Connector, config::Error> {
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
    connector(&environment, &transport, &Clock::system(), &Random::system())
}

/// Why the function does not start; it names the variable and not its value.
fn refused(pairs: &[(&str, &str)], by: &str) {
    let error = connect(pairs).unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(
        error.to_string().starts_with(by) && !told.contains("canary"),
        "{pairs:?}: {told}"
    );
}

#[test]
fn the_bot_authenticates_in_one_way_and_by_the_name_of_a_secret_in_aws() {
    for pairs in [
        vec![],
        vec![IN_AWS],
        vec![IN_AWS, ("HERALD_FEDERATION_ALGORITHM", "ES384")],
        vec![("MicrosoftAppPassword", CANARY)],
        vec![("HERALD_CERTIFICATE", BOT)],
        vec![IN_AWS, ("MicrosoftAppPassword", "secretsmanager:bot")],
        vec![IN_AWS, ("MicrosoftAppPassword", "ssm:/herald/bot")],
        vec![IN_AWS, ("HERALD_CERTIFICATE", "ssm:/herald/certificate")],
        vec![("HERALD_TOKEN_URL", "http://127.0.0.1:3980/token")],
    ] {
        let connector = connect(&[&[APP], &pairs[..]].concat()).unwrap();
        assert!(!format!("{connector:?}").contains("canary"));
    }
    refused(
        &[APP, IN_AWS, ("MicrosoftAppPassword", CANARY)],
        "MicrosoftAppPassword",
    );
    refused(
        &[APP, IN_AWS, ("HERALD_CERTIFICATE", CANARY)],
        "HERALD_CERTIFICATE",
    );
    refused(&[APP, ("HERALD_CERTIFICATE", CANARY)], "HERALD_CERTIFICATE");
    let both = [APP, ("MicrosoftAppPassword", CANARY), ("HERALD_CERTIFICATE", BOT)];
    refused(&both, "HERALD_CERTIFICATE");
    refused(
        &[APP, ("HERALD_FEDERATION_ALGORITHM", "HS256")],
        "HERALD_FEDERATION_ALGORITHM",
    );
    refused(&[], "MicrosoftAppId");
}

#[test]
fn a_stand_in_for_the_token_endpoint_is_on_this_machine_and_never_in_aws() {
    let stand_in = ("HERALD_TOKEN_URL", "http://127.0.0.1:3980/token");
    assert!(connect(&[APP, stand_in]).is_ok());
    refused(&[APP, stand_in, IN_AWS], "HERALD_TOKEN_URL");
    for url in [
        "https://evil.example/token",
        "http://127.0.0.1@evil.example/",
        "http://10.0.0.1/token",
    ] {
        refused(&[APP, ("HERALD_TOKEN_URL", url)], "HERALD_TOKEN_URL");
    }
}

#[tokio::test]
async fn without_authentication_there_is_no_token_to_be_had_or_needed() {
    let connector = connect(&[("HERALD_UNAUTHENTICATED", "loopback-only")]).unwrap();
    assert!(connector.trust().check(CLOUD).is_err());
    connector.ensure_token("http://127.0.0.1:3979/").await.unwrap();
}

#[tokio::test]
async fn on_one_machine_without_a_secret_channels_there_are_spoken_to_and_the_cloud_is_not() {
    let connector = connect(&[APP, ("HERALD_LOOPBACK_SERVICE_URLS", "trusted")]).unwrap();
    connector.ensure_token("http://127.0.0.1:3979/").await.unwrap();
    let error = connector.ensure_token(CLOUD).await.unwrap_err();
    assert!(
        chain(&error).contains("MicrosoftAppPassword is not set"),
        "{}",
        chain(&error)
    );
}

#[test]
fn the_name_of_a_secret_is_distinguished_from_its_value() {
    let secrets_manager = |name: &str| Some(SecretRef::SecretsManager(name.to_owned()));
    let systems_manager = |name: &str| Some(SecretRef::SystemsManager(name.to_owned()));
    let secret = "arn:aws-us-gov:secretsmanager:us-gov-west-1:000000000000:secret:bot-AbCdEf";
    let parameter = "arn:aws:ssm:eu-west-1:000000000000:parameter/herald/bot";
    for (value, name) in [
        (secret, secrets_manager(secret)),
        (parameter, systems_manager(parameter)),
        ("secretsmanager:herald/bot", secrets_manager("herald/bot")),
        ("secretsmanager:a:b", secrets_manager("a:b")),
        ("ssm:/herald/bot", systems_manager("/herald/bot")),
        ("arn:aws:s3:::bucket", None),
        ("Zq8~secret", None),
        (BOT, None),
    ] {
        assert_eq!(SecretRef::parse(value), name, "{value}");
    }
}

fn stored(aws: &FakeAws, kind: SecretKind) -> StoredSecret {
    StoredSecret::new(&aws.config(), SecretRef::SecretsManager("bot".to_owned()), kind)
}

fn at(second: u64) -> AssertionContext<'static> {
    AssertionContext {
        token_url: "https://login.microsoftonline.com/x/oauth2/v2.0/token",
        app_id: APP.1,
        now: UNIX_EPOCH + Duration::from_secs(second),
        random: [0; 16],
    }
}

/// The kind of a credential and its text.
fn exposed(credential: &ClientCredential) -> (&'static str, &str) {
    match credential {
        ClientCredential::Secret(text) => ("secret", text.expose_secret()),
        ClientCredential::Assertion(text) => ("assertion", text.expose_secret()),
    }
}

fn version(number: usize) -> (u16, String) {
    (
        200,
        json!({"SecretString": format!("version-{number}\n")}).to_string(),
    )
}

#[tokio::test]
async fn secrets_and_parameters_are_requested_by_their_names() {
    let aws = FakeAws::answering(|number| match number {
        1 => version(1),
        _ => (
            200,
            json!({"Parameter": {"Name": "/bot", "Value": "from systems manager"}}).to_string(),
        ),
    });
    stored(&aws, SecretKind::Password)
        .authenticate(at(0))
        .await
        .unwrap();
    let (line, body, headers) = aws.last();
    assert_eq!(line, "POST https://secretsmanager.eu-west-1.amazonaws.com/");
    assert_eq!(body, r#"{"SecretId":"bot"}"#);
    assert_eq!(headers["x-amz-target"], "secretsmanager.GetSecretValue");
    let name = SecretRef::SystemsManager("/bot".to_owned());
    let parameter = StoredSecret::new(&aws.config(), name, SecretKind::Password);
    assert_eq!(
        exposed(&parameter.authenticate(at(0)).await.unwrap()),
        ("secret", "from systems manager")
    );
    let (line, body, headers) = aws.last();
    assert_eq!(line, "POST https://ssm.eu-west-1.amazonaws.com/");
    assert_eq!(body, r#"{"Name":"/bot","WithDecryption":true}"#);
    assert_eq!(headers["x-amz-target"], "AmazonSSM.GetParameter");
}

#[tokio::test]
async fn a_cached_secret_is_read_again_after_its_time() {
    let aws = FakeAws::answering(version);
    let stored = stored(&aws, SecretKind::Password);
    for (second, expected) in [
        (0, "version-1"),
        (899, "version-1"),
        (900, "version-2"),
        (1_799, "version-2"),
    ] {
        assert_eq!(
            exposed(&stored.authenticate(at(second)).await.unwrap()),
            ("secret", expected),
            "at {second}"
        );
    }
    assert_eq!(aws.requests(), 2);
}

#[tokio::test]
async fn a_rejected_secret_is_read_again_at_once() {
    for (rotated, renewal) in [(true, Reload::Changed), (false, Reload::Unchanged)] {
        let aws = FakeAws::answering(move |number| version(if rotated { number } else { 1 }));
        let stored = stored(&aws, SecretKind::Password);
        assert_eq!(stored.reload().await, Reload::Unchanged, "no secret was in use");
        stored.authenticate(at(0)).await.unwrap();
        assert_eq!(stored.reload().await, renewal);
        assert_eq!(
            exposed(&stored.authenticate(at(1)).await.unwrap()),
            ("secret", if rotated { "version-3" } else { "version-1" })
        );
    }
}

#[tokio::test]
async fn while_a_secret_cannot_be_read_the_cached_one_is_used() {
    let aws = FakeAws::answering(|number| match number {
        1 => version(1),
        _ => (500, String::new()),
    });
    let cached = stored(&aws, SecretKind::Password);
    for second in [0, 900, 100_000] {
        assert_eq!(
            exposed(&cached.authenticate(at(second)).await.unwrap()),
            ("secret", "version-1")
        );
    }
    assert_eq!(cached.reload().await, Reload::Unchanged);
    for (response, is_transient) in [
        ((500, String::new()), true),
        (
            (400, json!({"__type": "ResourceNotFoundException"}).to_string()),
            false,
        ),
        ((200, json!({"SecretBinary": "AAAA"}).to_string()), false),
    ] {
        let aws = FakeAws::answering(move |_| response.clone());
        let error = stored(&aws, SecretKind::Password)
            .authenticate(at(0))
            .await
            .unwrap_err();
        assert_eq!(
            matches!(error, ClientAuthError::Unavailable(_)),
            is_transient,
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_stored_certificate_signs_and_an_unusable_one_is_a_configuration_error() {
    let aws = FakeAws::answering(|number| {
        let text = if number == 1 { BOT } else { CANARY };
        (200, json!({"SecretString": text}).to_string())
    });
    let proof = stored(&aws, SecretKind::Certificate)
        .authenticate(at(0))
        .await
        .unwrap();
    assert!(
        matches!(proof, ClientCredential::Assertion(assertion) if assertion.expose_secret().starts_with("eyJ"))
    );
    let error = stored(&aws, SecretKind::Certificate)
        .authenticate(at(0))
        .await
        .unwrap_err();
    let ClientAuthError::Configuration(cause) = error else {
        panic!("{error}");
    };
    assert!(!format!("{cause} {cause:?}").contains("canary"));
}

fn web_identity(aws: &FakeAws) -> WebIdentity {
    WebIdentity {
        client: Client::new(&aws.config()),
        algorithm: "ES384".to_owned(),
    }
}

#[tokio::test]
async fn a_web_identity_token_is_requested_for_each_assertion_and_the_request_is_signed() {
    let aws = FakeAws::answering(|number| {
        let token = format!(
            "<GetWebIdentityTokenResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <GetWebIdentityTokenResult><WebIdentityToken>head.claims.signature-{number}</WebIdentityToken>\
             <Expiration>2027-01-15T08:05:00Z</Expiration></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>"
        );
        (200, token)
    });
    let web_identity = web_identity(&aws);
    for number in 1..=2 {
        let credential = web_identity.authenticate(at(0)).await.unwrap();
        let expected = format!("head.claims.signature-{number}");
        assert_eq!(exposed(&credential), ("assertion", &*expected));
    }
    let (line, body, headers) = aws.last();
    assert_eq!(line, "POST https://sts.eu-west-1.amazonaws.com/");
    assert_eq!(
        body,
        "Action=GetWebIdentityToken&Version=2011-06-15&Audience.member.1=api%3A%2F%2FAzureADTokenExchange\
         &DurationSeconds=300&SigningAlgorithm=ES384"
    );
    let authorization = headers["authorization"].to_str().unwrap();
    assert!(
        authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
            && authorization.contains("/eu-west-1/sts/aws4_request, SignedHeaders=")
            && authorization.contains(";x-amz-security-token"),
        "{authorization}"
    );
    assert!(headers.contains_key("x-amz-security-token"));
}

#[tokio::test]
async fn without_a_web_identity_token_the_error_says_whether_to_wait_or_to_configure() {
    let denied =
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>canary</Message></Error></ErrorResponse>";
    let empty = "<GetWebIdentityTokenResponse><GetWebIdentityTokenResult>\
                 <WebIdentityToken></WebIdentityToken></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>";
    for (status, body, is_transient, text) in [
        (403, denied, false, "AccessDenied"),
        (500, "canary", true, "no code"),
        (200, "canary", true, "unreadable"),
        (200, empty, false, "no text"),
    ] {
        let aws = FakeAws::answering(move |_| (status, body.to_owned()));
        let error = web_identity(&aws).authenticate(at(0)).await.unwrap_err();
        let told = format!("{} {error:?}", chain(&error));
        assert!(told.contains(text) && !told.contains("canary"), "{told}");
        assert_eq!(
            matches!(error, ClientAuthError::Unavailable(_)),
            is_transient,
            "{told}"
        );
    }
}
