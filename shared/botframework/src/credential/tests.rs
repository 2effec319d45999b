//! The credential against a token endpoint in the same process, and a real one on loopback that misbehaves.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::token_cache::TOKEN_TIMEOUT;
use super::*;
use crate::cloud::Cloud;
use crate::http::{Body, BoxFuture, HttpTransport, ResponseFuture, TransportError};

const APP: &str = "00000000-0000-4000-8000-00000000b07a";
/// What must not be seen anywhere.
const CANARY: &str = "canary-Zq8~secret";
const HOUR: &str = r#"{"token_type":"Bearer","expires_in":3599,"access_token":"TOKEN"}"#;
const BOT: &str = include_str!("../../../../tests/fixtures/keys/bot.pem");

type Answer = (u16, &'static str, String);

/// A token endpoint in this process: answers by the number of the question, and keeps what it was asked.
#[derive(Clone)]
pub(crate) struct Endpoint {
    answer: Arc<dyn Fn(usize) -> Answer + Send + Sync>,
    asked: Arc<Mutex<Vec<String>>>,
    open: watch::Sender<bool>,
}

impl Endpoint {
    pub(crate) fn answering(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            asked: Arc::default(),
            open: watch::Sender::new(true),
        }
    }

    /// Gives `token-1`, `token-2` and so on, each for an hour.
    pub(crate) fn new() -> Self {
        Self::answering(|number| (200, "", HOUR.replace("TOKEN", &format!("token-{number}"))))
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn form(&self, number: usize) -> Vec<(String, String)> {
        let decode = |text: &str| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .unwrap()
                .into_owned()
        };
        let body = self.asked.lock().unwrap()[number].clone();
        body.split('&')
            .map(|field| field.split_once('=').unwrap())
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }

    fn field(&self, number: usize, wanted: &str) -> Option<String> {
        self.form(number)
            .into_iter()
            .find_map(|(name, value)| (name == wanted).then_some(value))
    }

    pub(crate) fn credential(&self) -> Credential {
        self.credential_at(&Clock::default(), secret())
    }

    fn credential_at(&self, clock: &Clock, client_auth: impl ClientAuth + 'static) -> Credential {
        Credential::new(self.clone(), registration(), client_auth, clock.runtime(0))
    }
}

impl Transport for Endpoint {
    fn send(&self, request: http::Request<Bytes>) -> ResponseFuture<'_> {
        let body = String::from_utf8(request.body().to_vec()).unwrap();
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(body);
            asked.len()
        };
        Box::pin(async move {
            let _ = self.open.subscribe().wait_for(|open| *open).await;
            let (status, headers, body) = (self.answer)(number);
            let mut response = http::Response::builder().status(status);
            for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
                response = response.header(name, value);
            }
            Ok(response.body(Body::Complete(body.into())).unwrap())
        })
    }
}

/// A clock that is set, in seconds.
#[derive(Clone, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn set(&self, second: u64) {
        self.0.store(second, Ordering::SeqCst);
    }

    fn runtime(&self, chance: u8) -> Runtime {
        let told = Arc::clone(&self.0);
        Runtime::new(
            move || UNIX_EPOCH + Duration::from_secs(told.load(Ordering::SeqCst)),
            move || [chance; 16],
        )
    }
}

fn secret() -> SecretString {
    SecretString::from(CANARY.to_owned())
}

fn registration() -> Registration {
    Registration::new(Cloud::Public, &Tenancy::MultiTenant, APP).unwrap()
}

fn text(token: &Token) -> &str {
    token.authorization().to_str().unwrap()
}

fn certificate(signing: Signing) -> Certificate {
    Certificate::from_pem(BOT, signing).unwrap()
}

#[tokio::test]
async fn a_token_is_asked_for_with_the_secret_once_and_then_kept() {
    let endpoint = Endpoint::new();
    let credential = endpoint.credential_at(&Clock::default(), SecretString::from("a&b=c %+ä".to_owned()));
    assert_eq!(text(&credential.tokens.token().await.unwrap()), "Bearer token-1");
    assert_eq!(text(&credential.tokens.token().await.unwrap()), "Bearer token-1");
    assert_eq!(endpoint.asked(), 1);
    let form: Vec<_> = endpoint.form(0);
    let expected = [
        ("grant_type", "client_credentials"),
        ("client_id", APP),
        ("scope", "https://api.botframework.com/.default"),
        ("client_secret", "a&b=c %+ä"),
    ];
    assert_eq!(
        form,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_that_its_public_key_verifies() {
    let der = CertificateDer::from_pem_slice(BOT.as_bytes()).unwrap();
    for (signing, algorithm) in [(Signing::Ps256, "PS256"), (Signing::Rs256, "RS256")] {
        let endpoint = Endpoint::new();
        let clock = Clock::default();
        clock.set(1_800_000_000);
        let credential = endpoint.credential_at(&clock, certificate(signing));
        credential.ensure_token().await.unwrap();
        assert_eq!(
            endpoint.field(0, "client_assertion_type").as_deref(),
            Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
        );
        assert_eq!(endpoint.field(0, "client_secret"), None);
        let assertion = endpoint.field(0, "client_assertion").unwrap();

        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        let read = |part: &str| -> Value { serde_json::from_slice(&decode(part)).unwrap() };
        assert_eq!(
            read(header),
            // The thumbprint, from openssl.
            json!({"alg": algorithm, "typ": "JWT", "x5t#S256": "3iddRqZxMIcBAjwEgE9J9EIxZeqZ5TjoZu0sZ6nr3Wo"})
        );
        assert_eq!(
            read(claims),
            json!({"aud": "https://login.microsoftonline.com/botframework.com/oauth2/v2.0/token",
                   "iss": APP, "sub": APP, "jti": "AAAAAAAAAAAAAAAAAAAAAA",
                   "iat": 1_800_000_000, "nbf": 1_800_000_000, "exp": 1_800_000_300})
        );
        // The public key as it stands in the certificate: a sequence of a 257 byte modulus and the exponent 65537.
        let start = der
            .windows(4)
            .position(|window| window == [0x30, 0x82, 0x01, 0x0a])
            .unwrap();
        let public = &der[start..start + 270];
        match signing {
            Signing::Ps256 => UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
                .verify(signed.as_bytes(), &decode(signature)),
            Signing::Rs256 => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
                .verify(signed.as_bytes(), &decode(signature)),
        }
        .unwrap();
    }
}

#[test]
fn a_certificate_that_cannot_work_is_refused_with_the_reason() {
    let whole = |pem: &str| Certificate::from_pem(pem, Signing::Ps256).map(drop);
    assert_eq!(
        whole(include_str!("../../../../tests/fixtures/keys/bot-pkcs1.pem")),
        Ok(())
    );
    let without = |word: &str| BOT.replace(word, "SOMETHING");
    for (pem, wrong) in [
        (String::new(), InvalidCertificate::Certificate),
        (CANARY.to_owned(), InvalidCertificate::Certificate),
        (without("CERTIFICATE"), InvalidCertificate::Certificate),
        (without("PRIVATE KEY"), InvalidCertificate::Key),
        (
            include_str!("../../../../tests/fixtures/keys/bot-mismatch.pem").to_owned(),
            InvalidCertificate::Mismatch,
        ),
        (
            include_str!("../../../../tests/fixtures/keys/bot-elliptic.pem").to_owned(),
            InvalidCertificate::KeyKind,
        ),
    ] {
        assert_eq!(whole(&pem), Err(wrong));
    }
}

/// Something else vouches for the bot.
struct Vouched(AtomicUsize);

impl ClientAuth for Vouched {
    fn authenticate<'a>(
        &'a self,
        _: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(ClientCredential::Assertion(format!("vouched-{number}").into())) })
    }
}

#[tokio::test]
async fn an_assertion_by_somebody_else_is_asked_for_anew_each_time() {
    let (endpoint, clock) = (Endpoint::new(), Clock::default());
    let credential = endpoint.credential_at(&clock, Vouched(AtomicUsize::new(0)));
    for (turn, second) in [(0, 0), (1, 3_600)] {
        clock.set(second);
        credential.ensure_token().await.unwrap();
        assert_eq!(
            endpoint.field(turn, "client_assertion"),
            Some(format!("vouched-{turn}"))
        );
    }
}

#[tokio::test]
async fn of_many_who_need_a_token_at_once_one_asks() {
    let endpoint = Endpoint::new();
    endpoint.open.send_replace(false);
    let credential = endpoint.credential();
    let all = futures_util::future::join_all((0..100).map(|_| credential.tokens.token()));
    let open = async {
        while endpoint.asked() == 0 {
            tokio::task::yield_now().await;
        }
        endpoint.open.send_replace(true);
    };
    let (tokens, ()) = tokio::join!(all, open);
    assert!(
        tokens
            .iter()
            .all(|token| text(token.as_ref().unwrap()) == "Bearer token-1")
    );
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test]
async fn of_many_who_need_a_token_at_once_all_are_told_of_the_one_failure() {
    let endpoint = Endpoint::answering(|_| (503, "", String::new()));
    let credential = endpoint.credential();
    let all = futures_util::future::join_all((0..100).map(|_| credential.ensure_token())).await;
    assert!(all.iter().all(Result::is_err));
    assert_eq!(endpoint.asked(), 1);
}

#[tokio::test]
async fn one_who_asks_and_gives_up_leaves_the_asking_to_the_next() {
    let endpoint = Endpoint::new();
    endpoint.open.send_replace(false);
    let credential = endpoint.credential();
    let impatient = tokio::select! {
        biased;
        _ = credential.ensure_token() => false,
        () = async { while endpoint.asked() == 0 { tokio::task::yield_now().await } } => true,
    };
    assert!(impatient);
    endpoint.open.send_replace(true);
    assert_eq!(text(&credential.tokens.token().await.unwrap()), "Bearer token-2");
}

#[tokio::test]
async fn a_token_is_replaced_five_to_six_minutes_before_its_end() {
    for (chance, last_kept) in [(0, 3_599 - 300 - 1), (u8::MAX, 3_599 - 360 - 1)] {
        let (endpoint, clock) = (Endpoint::new(), Clock::default());
        let credential = Credential::new(endpoint.clone(), registration(), secret(), clock.runtime(chance));
        credential.ensure_token().await.unwrap();
        clock.set(last_kept);
        credential.ensure_token().await.unwrap();
        assert_eq!(endpoint.asked(), 1);
        clock.set(last_kept + 1);
        assert_eq!(text(&credential.tokens.token().await.unwrap()), "Bearer token-2");
    }
}

#[tokio::test]
async fn a_short_token_serves_half_its_time_at_least() {
    let clock = Clock::default();
    let endpoint = Endpoint::answering(|_| (200, "", HOUR.replace("3599", "\"60\"")));
    let credential = endpoint.credential_at(&clock, secret());
    for (second, asked) in [(0, 1), (29, 1), (30, 2)] {
        clock.set(second);
        credential.ensure_token().await.unwrap();
        assert_eq!(endpoint.asked(), asked, "at {second}");
    }
}

#[tokio::test]
async fn while_one_replaces_the_token_the_others_use_the_old_one() {
    let (endpoint, clock) = (Endpoint::new(), Clock::default());
    let credential = endpoint.credential_at(&clock, secret());
    credential.ensure_token().await.unwrap();
    clock.set(3_400);
    endpoint.open.send_replace(false);
    let others = async {
        while endpoint.asked() == 1 {
            tokio::task::yield_now().await;
        }
        let token = credential.tokens.token().await.unwrap();
        endpoint.open.send_replace(true);
        token
    };
    let (one, other) = tokio::join!(credential.tokens.token(), others);
    assert_eq!(
        (text(&one.unwrap()), text(&other)),
        ("Bearer token-2", "Bearer token-1")
    );
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test]
async fn a_token_that_cannot_be_replaced_serves_until_its_end_and_no_longer() {
    let endpoint = Endpoint::answering(|number| match number {
        1 => (200, "", HOUR.replace("TOKEN", "token-1")),
        _ => (503, "", String::new()),
    });
    let clock = Clock::default();
    let credential = endpoint.credential_at(&clock, secret());
    for (second, asked) in [
        (0, 1),
        (3_300, 2),
        (3_300, 2),
        (3_301, 3),
        (3_302, 3),
        (3_303, 4),
        (3_598, 5),
    ] {
        clock.set(second);
        assert_eq!(text(&credential.tokens.token().await.unwrap()), "Bearer token-1");
        assert_eq!(endpoint.asked(), asked, "at {second}");
    }
    clock.set(3_599 + 8);
    assert_eq!(
        credential.ensure_token().await.unwrap_err().fault(),
        CredentialFault::Unavailable
    );
}

/// What Entra says to a wrong secret, with canaries wherever a description could quote one.
fn entra() -> String {
    let description = format!("AADSTS7000215: the secret {CANARY} is wrong");
    json!({
        "error": "invalid_client", "error_description": description, "error_codes": [7_000_215],
        "correlation_id": "11111111-2222-3333-4444-555555555555", "trace_id": CANARY, "error_uri": CANARY,
    })
    .to_string()
}

/// The failure of one who asks an endpoint that answers so; nothing of it holds a canary.
async fn failure(status: u16, headers: &'static str, body: String) -> Error {
    let endpoint = Endpoint::answering(move |_| (status, headers, body.clone()));
    let error = endpoint.credential().ensure_token().await.unwrap_err();
    assert_eq!(endpoint.asked(), 1, "{error}");
    let told = format!("{error} {error:?} {}", chain(&error));
    assert!(!told.contains("canary"), "{told}");
    error
}

#[tokio::test]
async fn a_refusal_says_whose_turn_it_is_and_how_long_to_wait() {
    use CredentialFault::{Configuration, Unavailable};
    let pause = json!({"error": "temporarily_unavailable"}).to_string();
    let entra = entra();
    for (status, headers, body, fault, seconds) in [
        (400, "", "{}", Configuration, 60),
        (400, "retry-after: 17", "{}", Configuration, 17),
        (400, "", &pause, Unavailable, 1),
        (401, "", &entra, Configuration, 60),
        (403, "", "", Configuration, 60),
        (404, "", "<html>", Configuration, 60),
        (408, "", "", Unavailable, 1),
        (429, "", "", Unavailable, 1),
        (429, "retry-after: 17", "", Unavailable, 17),
        (500, "", CANARY, Unavailable, 1),
        (503, "retry-after: 31536000", "", Unavailable, 900),
        (503, "retry-after: 0", "", Unavailable, 1),
        (307, "location: https://evil.example/", "", Unavailable, 1),
        (204, "", "", Unavailable, 1),
    ] {
        let error = failure(status, headers, body.to_owned()).await;
        assert_eq!(
            (error.fault(), error.wait().as_secs()),
            (fault, seconds),
            "{status} {headers}"
        );
        assert_eq!(error.status(), Some(status));
    }
}

#[tokio::test]
async fn a_refusal_is_told_by_its_code_its_numbers_and_its_correlation_id() {
    let error = failure(401, "", entra()).await;
    assert_eq!(
        error.to_string(),
        "no token for the bot, as it is registered or configured (status 401, invalid_client, AADSTS7000215, \
         correlation 11111111-2222-3333-4444-555555555555)"
    );
    assert_eq!(
        (error.code(), error.error_codes()),
        (Some("invalid_client"), [7_000_215].as_slice())
    );
    let id = "x-ms-request-id: aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
    let odd = json!({"error": CANARY, "error_codes": [CANARY], "correlation_id": null});
    let error = failure(400, id, odd.to_string()).await;
    assert_eq!((error.code(), error.error_codes()), (None, [].as_slice()));
    assert_eq!(error.correlation(), Some("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"));
    let error = failure(400, "", json!({"correlation_id": CANARY}).to_string()).await;
    assert_eq!(error.correlation(), None);
}

#[tokio::test]
async fn a_success_that_brings_no_token_is_none() {
    let with = |from: &str, to: &str| HOUR.replace(from, to);
    for (what, body) in [
        ("nothing", String::new()),
        ("no JSON", format!("<html>{CANARY}")),
        ("another type", with("Bearer", "pop")),
        ("an empty token", with("TOKEN", "")),
        ("a token of two lines", with("TOKEN", r"a\r\nhost: evil")),
        ("a token with a space", with("TOKEN", "a b")),
        ("a token of 9 KB", with("TOKEN", &"x".repeat(9 * 1024))),
        ("an answer of 100 KB", HOUR.to_owned() + &" ".repeat(100 * 1024)),
        ("no lifetime", with("3599", "null")),
        ("a lifetime of nothing", with("3599", "0")),
        ("a lifetime before now", with("3599", "-1")),
    ] {
        let error = failure(200, "", body).await;
        assert_eq!(
            (error.fault(), error.status()),
            (CredentialFault::Unavailable, None),
            "{what}"
        );
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or(String::new(), |source| {
        format!("{source} {source:?} {}", chain(source))
    })
}

#[tokio::test]
async fn after_a_failure_nobody_asks_again_before_its_time() {
    let clock = Clock::default();
    let endpoint = Endpoint::answering(|_| (401, "", String::new()));
    let credential = endpoint.credential_at(&clock, secret());
    for (second, asked) in [(0, 1), (59, 1), (60, 2), (119, 2), (120, 3)] {
        clock.set(second);
        credential.ensure_token().await.unwrap_err();
        assert_eq!(endpoint.asked(), asked, "at {second}");
    }
}

#[tokio::test]
async fn an_endpoint_that_stays_away_is_asked_more_and_more_rarely() {
    let clock = Clock::default();
    let endpoint = Endpoint::answering(|_| (500, "", String::new()));
    let credential = endpoint.credential_at(&clock, secret());
    let mut waits = Vec::new();
    for _ in 0..9 {
        let wait = credential.ensure_token().await.unwrap_err().wait().as_secs();
        waits.push(wait);
        clock.set(waits.iter().sum());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

/// A secret that is rotated where it is kept.
struct Kept {
    reads: Arc<AtomicUsize>,
    rotated: bool,
}

impl ClientAuth for Kept {
    fn authenticate<'a>(
        &'a self,
        _: AssertionContext<'a>,
    ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
        let version = self.reads.load(Ordering::SeqCst);
        Box::pin(async move { Ok(ClientCredential::Secret(format!("version-{version}").into())) })
    }

    fn reload(&self) -> BoxFuture<'_, Reload> {
        self.reads.fetch_add(usize::from(self.rotated), Ordering::SeqCst);
        Box::pin(async {
            if self.rotated {
                Reload::Changed
            } else {
                Reload::Unchanged
            }
        })
    }
}

#[tokio::test]
async fn a_refused_secret_is_read_again_and_used_if_it_has_changed() {
    for (rotated, asked) in [(true, 2), (false, 1)] {
        let endpoint = Endpoint::answering(|number| match number {
            1 => (401, "", json!({"error": "invalid_client"}).to_string()),
            _ => (200, "", HOUR.to_owned()),
        });
        let reads = Arc::default();
        let credential = endpoint.credential_at(&Clock::default(), Kept { reads, rotated });
        assert_eq!(credential.ensure_token().await.is_ok(), rotated);
        assert_eq!(endpoint.asked(), asked);
    }
}

#[tokio::test]
async fn without_a_client_credential_no_token_is_requested() {
    struct Nothing(fn(crate::http::BoxError) -> ClientAuthError);
    impl ClientAuth for Nothing {
        fn authenticate<'a>(
            &'a self,
            _: AssertionContext<'a>,
        ) -> BoxFuture<'a, Result<ClientCredential, ClientAuthError>> {
            Box::pin(async { Err((self.0)("the keeper is away".into())) })
        }
    }
    for (kind, fault) in [
        (
            ClientAuthError::Configuration as fn(_) -> _,
            CredentialFault::Configuration,
        ),
        (ClientAuthError::Unavailable, CredentialFault::Unavailable),
    ] {
        let endpoint = Endpoint::new();
        let credential = endpoint.credential_at(&Clock::default(), Nothing(kind));
        assert_eq!(credential.ensure_token().await.unwrap_err().fault(), fault);
        assert_eq!(endpoint.asked(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_answer_is_given_up_in_time() {
    let endpoint = Endpoint::new();
    endpoint.open.send_replace(false);
    let start = tokio::time::Instant::now();
    let error = endpoint.credential().ensure_token().await.unwrap_err();
    assert_eq!(error.fault(), CredentialFault::Unavailable);
    assert_eq!(start.elapsed().as_secs(), TOKEN_TIMEOUT.as_secs());
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all_who_had_it() {
    let endpoint = Endpoint::new();
    let credential = endpoint.credential();
    let old = credential.tokens.token().await.unwrap();
    let all = futures_util::future::join_all((0..64).map(|_| credential.tokens.refresh_rejected(&old))).await;
    assert!(
        all.iter()
            .all(|token| text(token.as_ref().unwrap()) == "Bearer token-2")
    );
    assert_eq!(endpoint.asked(), 2);
}

#[tokio::test]
async fn nothing_that_can_be_printed_holds_a_secret() {
    let endpoint = Endpoint::answering(|_| (200, "", HOUR.replace("TOKEN", CANARY)));
    let credential = endpoint.credential();
    let token = credential.tokens.token().await.unwrap();
    assert_eq!(text(&token), format!("Bearer {CANARY}"));
    let secret = secret();
    let context = AssertionContext {
        token_url: "",
        app_id: "",
        now: UNIX_EPOCH,
        random: [0; 16],
    };
    let presented = secret.authenticate(context).await.unwrap();
    let mut request = http::Request::new(Bytes::new());
    request
        .headers_mut()
        .insert("authorization", token.authorization().clone());
    let connector = crate::connector::Connector::new(
        endpoint.clone(),
        crate::service_url::TrustRule::new(
            Cloud::Public,
            crate::service_url::OtherChannels::Refused,
            crate::service_url::Loopback::Refused,
        ),
        credential.clone(),
    );
    let said = format!(
        "{secret:?} {credential:?} {connector:?} {presented:?} {:?} {request:?} {:?}",
        token.authorization(),
        certificate(Signing::Ps256),
    );
    assert!(!said.contains("canary"), "{said}");
    assert!(!said.contains("PRIVATE"), "{said}");
}

/// A transport that must not be used.
struct Untouched;

impl Transport for Untouched {
    fn send(&self, request: http::Request<Bytes>) -> ResponseFuture<'_> {
        Box::pin(async move {
            Err(TransportError::NotSent(
                format!("{} was asked", request.uri()).into(),
            ))
        })
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_no_fault_of_the_configuration() {
    let credential = Credential::new(Untouched, registration(), secret(), Clock::default().runtime(0));
    assert_eq!(
        credential.ensure_token().await.unwrap_err().fault(),
        CredentialFault::Unavailable
    );
}

mod over_http {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers each connection with these bytes, over and over when they are `endless`.
    async fn serve(bytes: Vec<u8>, endless: bool) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                while stream.write_all(&bytes).await.is_ok() && endless {}
            }
        });
        (url, connections)
    }

    async fn ask(url: &str) -> Result<(), Error> {
        let transport = HttpTransport::builder().build().unwrap();
        let stand_in = registration().at_stand_in(url).unwrap();
        Credential::new(transport, stand_in, secret(), Clock::default().runtime(0))
            .ensure_token()
            .await
    }

    #[tokio::test]
    async fn a_whole_answer_brings_a_token() {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{HOUR}", HOUR.len());
        let (url, _) = serve(answer.into_bytes(), false).await;
        ask(&url).await.unwrap();
    }

    #[tokio::test]
    async fn a_cut_an_endless_and_a_senseless_answer_bring_none() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
        for (bytes, endless) in [
            (format!("{head}{HOUR}"), false),
            ("HTTP/1.1 200 OK\r\n\r\n".to_owned() + &" ".repeat(65_536), true),
            (CANARY.to_owned(), false),
            (String::new(), false),
        ] {
            let (url, _) = serve(bytes.into_bytes(), endless).await;
            let error = ask(&url).await.unwrap_err();
            assert_eq!(error.fault(), CredentialFault::Unavailable);
            let told = format!("{error:?} {}", chain(&error));
            assert!(!told.contains("canary"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_redirect_takes_the_secret_nowhere() {
        let (elsewhere, visits) = serve(Vec::new(), false).await;
        let answer =
            format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        let (url, _) = serve(answer.into_bytes(), false).await;
        assert_eq!(ask(&url).await.unwrap_err().status(), Some(307));
        assert_eq!(visits.load(Ordering::SeqCst), 0);
    }
}
