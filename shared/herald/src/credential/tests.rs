use std::time::UNIX_EPOCH;

use botframework::http::BoxError;
use serde_json::json;

use super::*;
use crate::aws::signed::tests::Aws;

const CANARY: &str = "canary-Zq8~secret";
const BOT: &str = include_str!("../../../../tests/fixtures/keys/bot.pem");
const APP: (&str, &str) = ("MicrosoftAppId", "00000000-0000-4000-8000-00000000b07a");
const IN_AWS: (&str, &str) = ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
const CLOUD: &str = "https://smba.trafficmanager.net/emea/";

fn connect(pairs: &[(&str, &str)]) -> Result<Connector, config::Error> {
    let environment = Environment::read_by(|name| {
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
    connector(&environment, &transport, &Clock::system(), &Chance::system())
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
fn the_bot_proves_itself_in_one_way_and_with_a_name_in_aws() {
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
    connector.ready("http://127.0.0.1:3979/").await.unwrap();
}

#[tokio::test]
async fn on_one_machine_without_a_secret_channels_there_are_spoken_to_and_the_cloud_is_not() {
    let connector = connect(&[APP, ("HERALD_LOOPBACK_SERVICE_URLS", "trusted")]).unwrap();
    connector.ready("http://127.0.0.1:3979/").await.unwrap();
    let error = connector.ready(CLOUD).await.unwrap_err();
    assert!(
        chain(&error).contains("MicrosoftAppPassword is not set"),
        "{}",
        chain(&error)
    );
}

#[test]
fn a_name_is_told_from_a_value() {
    let secrets_manager = |name: &str| Some(Name::SecretsManager(name.to_owned()));
    let systems_manager = |name: &str| Some(Name::SystemsManager(name.to_owned()));
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
        assert_eq!(Name::read(value), name, "{value}");
    }
}

fn kept(aws: &Aws, kind: Kind) -> Kept {
    Kept {
        client: aws.client(),
        name: Name::SecretsManager("bot".to_owned()),
        kind,
        last: Mutex::default(),
    }
}

fn at(second: u64) -> AssertionContext<'static> {
    AssertionContext {
        token_url: "https://login.microsoftonline.com/x/oauth2/v2.0/token",
        app_id: APP.1,
        now: UNIX_EPOCH + Duration::from_secs(second),
        chance: [0; 16],
    }
}

fn secret(text: &str) -> ClientCredential {
    ClientCredential::Secret(text.to_owned().into())
}

fn version(number: usize) -> (u16, String) {
    (
        200,
        json!({"SecretString": format!("version-{number}\n")}).to_string(),
    )
}

#[tokio::test]
async fn a_kept_secret_is_read_again_after_a_while() {
    let aws = Aws::answering(version);
    let kept = kept(&aws, Kind::Password);
    for (second, expected) in [
        (0, "version-1"),
        (899, "version-1"),
        (900, "version-2"),
        (1_799, "version-2"),
    ] {
        assert_eq!(
            kept.authenticate(at(second)).await.unwrap(),
            secret(expected),
            "at {second}"
        );
    }
    assert_eq!(aws.asked(), 2);
}

#[tokio::test]
async fn a_refused_secret_is_read_again_at_once() {
    for (rotated, renewal) in [(true, Reload::Changed), (false, Reload::Unchanged)] {
        let aws = Aws::answering(move |number| version(if rotated { number } else { 1 }));
        let kept = kept(&aws, Kind::Password);
        assert_eq!(
            kept.reload().await,
            Reload::Unchanged,
            "there was none to be refused"
        );
        kept.authenticate(at(0)).await.unwrap();
        assert_eq!(kept.reload().await, renewal);
        assert_eq!(
            kept.authenticate(at(1)).await.unwrap(),
            secret(if rotated { "version-3" } else { "version-1" })
        );
    }
}

#[tokio::test]
async fn while_a_secret_cannot_be_read_the_last_one_read_serves() {
    let aws = Aws::answering(|number| match number {
        1 => version(1),
        _ => (500, String::new()),
    });
    let kept = kept(&aws, Kind::Password);
    for second in [0, 900, 100_000] {
        assert_eq!(kept.authenticate(at(second)).await.unwrap(), secret("version-1"));
    }
    assert_eq!(kept.reload().await, Reload::Unchanged);
    let away = Aws::answering(|_| (500, String::new()));
    let error = self::kept(&away, Kind::Password)
        .authenticate(at(0))
        .await
        .unwrap_err();
    assert!(matches!(error, ClientAuthError::Unavailable(_)));
}

#[tokio::test]
async fn a_kept_certificate_signs_and_one_that_cannot_is_somebodys_turn() {
    let aws = Aws::answering(|number| {
        let text = if number == 1 { BOT } else { CANARY };
        (200, json!({"SecretString": text}).to_string())
    });
    let proof = kept(&aws, Kind::Certificate).authenticate(at(0)).await.unwrap();
    assert!(matches!(proof, ClientCredential::Assertion(assertion) if assertion.expose().starts_with("eyJ")));
    let error = kept(&aws, Kind::Certificate)
        .authenticate(at(0))
        .await
        .unwrap_err();
    let ClientAuthError::Configuration(cause) = error else {
        panic!("{error}");
    };
    assert!(!format!("{cause} {cause:?}").contains("canary"));
    let _: BoxError = cause;
}

#[tokio::test]
async fn aws_vouches_anew_for_each_token() {
    let aws = Aws::answering(|number| (200, format!("<WebIdentityToken>a.b.{number}</WebIdentityToken>")));
    let vouched = WebIdentity {
        client: aws.client(),
        algorithm: Algorithm::Rs256,
    };
    for number in 1..=2 {
        let expected = ClientCredential::Assertion(format!("a.b.{number}").into());
        assert_eq!(vouched.authenticate(at(0)).await.unwrap(), expected);
    }
}
