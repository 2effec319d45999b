//! The table of token checks: `PROTOCOL.md#c1`, one case per check, with its expected result.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use botframework::auth::AllowList;
use botframework::cloud::Cloud;
use botframework::lossless::LosslessJson;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use lambda_http::http::header::AUTHORIZATION;
use lambda_http::http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;
use serde_json::{Value, json};
use tests::hostile;
use tests::issuer::Fixture;

use super::attempt::{
    Attempt, BOT, Case, NOW, TENANT, bearer, change, claim, everywhere, field, header, headers, key,
    no_claim, no_header, nothing, one_header, token,
};

#[tokio::test]
async fn every_token_case_has_the_result_of_the_protocol() {
    let mut judged = 0;
    for cloud in Cloud::ALL {
        for case in cases() {
            case.judge(Attempt::of(cloud)).await;
            judged += 1;
        }
    }
    for case in of_the_public_cloud() {
        case.judge(Attempt::of(Cloud::Public)).await;
        judged += 1;
    }
    let different = cases().len() + of_the_public_cloud().len();
    assert!(different >= 120, "{different} cases, {judged} with their clouds");
}

#[test]
fn the_names_of_token_cases_are_unique() {
    let mut names: Vec<_> = cases()
        .into_iter()
        .chain(of_the_public_cloud())
        .map(|it| it.name)
        .collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

/// The cases of every cloud.
fn cases() -> Vec<Case> {
    [
        admitted(),
        authorization(),
        structure(),
        documents(),
        algorithm(),
        key_ids(),
        published_keys(),
        signatures(),
        issuers(),
        audiences(),
        times(),
        channels(),
        service_urls(),
        lists(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn admitted() -> Vec<Case> {
    let ok = Case::admitted;
    vec![
        ok("a token that is right in every respect", nothing()),
        ok(
            "the scheme in lower case",
            headers(|token| one_header(&format!("bearer {token}"))),
        ),
        ok("the audience in an array", claim("aud", json!([BOT]))),
        ok(
            "the audience among others",
            claim("aud", json!(["https://api.example", BOT])),
        ),
        ok(
            "expired for a second less than the skew",
            claim("exp", json!(NOW - 299)),
        ),
        ok("expires at this second", claim("exp", json!(NOW))),
        ok("valid from the end of the skew", claim("nbf", json!(NOW + 300))),
        ok(
            "times in fractions of a second",
            change(|it| {
                it.claims["nbf"] = json!(1_799_999_999.25);
                it.claims["exp"] = json!(1_800_000_000.75);
            }),
        ),
        ok("an expiry beyond all calendars", claim("exp", json!(1e300))),
        ok(
            "claims that nobody knows",
            claim("novelty", json!({"iss": "https://evil.example"})),
        ),
        ok("a header that nobody knows", header("novelty", json!(1))),
        ok("no type in the header", no_header("typ")),
        ok(
            "an address of keys in the header, which is not looked at",
            header("jku", json!("https://evil.example/keys")),
        ),
        ok(
            "issued in the future by the one clock that is not asked",
            claim("iat", json!(NOW + 9_999)),
        ),
        ok(
            "a slash more at the end of the claim",
            change(|it| {
                let url = it.claims["serviceurl"]
                    .as_str()
                    .unwrap()
                    .trim_end_matches('/')
                    .to_owned();
                it.activity["serviceUrl"] = json!(url);
            }),
        ),
        ok(
            "a slash more at the end of the field",
            change(|it| {
                let url = it.claims["serviceurl"]
                    .as_str()
                    .unwrap()
                    .trim_end_matches('/')
                    .to_owned();
                it.claims["serviceurl"] = json!(url);
            }),
        ),
        ok(
            "the host in capitals in the claim",
            change(|it| {
                let url = it.claims["serviceurl"]
                    .as_str()
                    .unwrap()
                    .replace("smba", "SMBA")
                    .replace("frontend", "FrontEnd");
                it.claims["serviceurl"] = json!(url);
            }),
        ),
        ok(
            "a key with leading zeros in its modulus",
            change(|it| {
                let mut published = Fixture::Current.key().published("current", &["msteams"]);
                let modulus = URL_SAFE_NO_PAD.decode(published["n"].as_str().unwrap()).unwrap();
                published["n"] = json!(URL_SAFE_NO_PAD.encode([&[0, 0], modulus.as_slice()].concat()));
                it.issuer.publish(json!([published]));
            }),
        ),
        ok(
            "a key among others, some of which are none",
            change(|it| {
                it.issuer.publish(json!([
                    null, 5, "key", {}, {"kty": "EC", "kid": "current", "crv": "P-256", "x": "AA", "y": "AA"},
                    Fixture::Next.key().published("next", &["msteams"]),
                    Fixture::Current.key().published("current", &["msteams"]),
                ]));
            }),
        ),
    ]
}

fn authorization() -> Vec<Case> {
    let missing = |name, change| Case::unauthorized(name, "TokenMissing", change);
    let malformed =
        |name, make: fn(&str) -> HeaderMap| Case::unauthorized(name, "TokenMalformed", headers(make));
    vec![
        missing("no header at all", headers(|_| HeaderMap::new())),
        missing(
            "the token in another header",
            headers(|token| {
                let name = HeaderName::from_static("x-authorization");
                HeaderMap::from_iter([(name, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())])
            }),
        ),
        malformed("an empty header", |_| one_header("")),
        malformed("the scheme alone", |_| one_header("Bearer")),
        malformed("the scheme and a space", |_| one_header("Bearer ")),
        malformed("the token alone", one_header),
        malformed("another scheme", |token| one_header(&format!("Basic {token}"))),
        malformed("the scheme with a colon", |token| {
            one_header(&format!("Bearer: {token}"))
        }),
        malformed("two spaces after the scheme", |token| {
            one_header(&format!("Bearer  {token}"))
        }),
        malformed("a tab after the scheme", |token| {
            one_header(&format!("Bearer\t{token}"))
        }),
        malformed("a space before the scheme", |token| {
            one_header(&format!(" Bearer {token}"))
        }),
        malformed("a third word", |token| one_header(&format!("Bearer {token} x"))),
        malformed("the token in quotes", |token| {
            one_header(&format!("Bearer \"{token}\""))
        }),
        malformed("two headers with the same valid token", |token| {
            twice(token, token)
        }),
        malformed("two headers, the first valid", |token| twice(token, "x")),
        malformed("two headers, the second valid", |token| twice("x", token)),
        malformed("two headers, joined as API Gateway joins them", |token| {
            one_header(&format!("Bearer {token},Bearer {token}"))
        }),
        malformed("not UTF-8", |token| {
            let bytes = [b"Bearer ".as_slice(), &[0xff, 0xfe], token.as_bytes()].concat();
            HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_bytes(&bytes).unwrap())])
        }),
        malformed("UTF-8 beyond ASCII", |token| {
            HeaderMap::from_iter([(
                AUTHORIZATION,
                HeaderValue::from_bytes(format!("Bearer é{token}").as_bytes()).unwrap(),
            )])
        }),
        Case::unauthorized(
            "a valid token just over 8 KiB",
            "TokenMalformed",
            claim("padding", json!("x".repeat(6_000))),
        ),
        malformed("a megabyte", |token| {
            one_header(&format!("Bearer {token}{}", "A".repeat(1 << 20)))
        }),
        malformed("a megabyte of dots", |_| {
            one_header(&format!("Bearer {}", ".".repeat(1 << 20)))
        }),
    ]
}

fn twice(one: &str, other: &str) -> HeaderMap {
    let mut headers = bearer(one);
    headers.append(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {other}")).unwrap(),
    );
    headers
}

fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<_> = token.split('.').collect();
    parts.try_into().unwrap()
}

fn header_of(document: &str) -> impl Fn(String) -> String + Clone + 'static {
    let encoded = URL_SAFE_NO_PAD.encode(document);
    move |token| {
        let [_, claims, signature] = parts(&token);
        format!("{encoded}.{claims}.{signature}")
    }
}

fn claims_of(document: &str) -> impl Fn(String) -> String + Clone + 'static {
    let encoded = URL_SAFE_NO_PAD.encode(document);
    move |token| {
        let [header, _, signature] = parts(&token);
        format!("{header}.{encoded}.{signature}")
    }
}

fn reencoded(engine: &'static impl Engine) -> impl Fn(String) -> String + Clone + 'static {
    move |token| {
        let [header, claims, signature] = parts(&token);
        let signature = engine.encode(URL_SAFE_NO_PAD.decode(signature).unwrap());
        format!("{header}.{claims}.{signature}")
    }
}

fn structure() -> Vec<Case> {
    let malformed = |name, change| Case::unauthorized(name, "TokenMalformed", change);
    vec![
        malformed("one word", token(|_| "word".to_owned())),
        malformed("two dots and nothing else", token(|_| "..".to_owned())),
        malformed(
            "no signature part",
            token(|it| it.rsplit_once('.').unwrap().0.to_owned()),
        ),
        malformed("a fourth part", token(|it| format!("{it}.AAAA"))),
        malformed(
            "the five parts of an encrypted token",
            token(|it| format!("{it}.AAAA.AAAA")),
        ),
        malformed("a dot at the end", token(|it| format!("{it}."))),
        malformed("a dot at the beginning", token(|it| format!(".{it}"))),
        malformed(
            "no header part",
            token(|it| it[it.find('.').unwrap()..].to_owned()),
        ),
        malformed(
            "no claims part",
            token(|it| {
                let [header, _, signature] = parts(&it);
                format!("{header}..{signature}")
            }),
        ),
        malformed("a header that is not base64url", token(|it| format!("*{it}"))),
        malformed("padding", token(reencoded(&URL_SAFE))),
        malformed(
            "base64 of the standard alphabet",
            token(|it| reencoded(&STANDARD_NO_PAD)(it).replace(['-', '_'], "+") + "+/"),
        ),
        malformed(
            "bits after the end of the signature",
            token(|mut it| {
                // 256 bytes in base64 end in a character of which four bits are unused and zero.
                let last = it.pop().unwrap();
                let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                let value = alphabet.find(last).unwrap();
                it.push(alphabet.chars().nth(value + 1).unwrap());
                it
            }),
        ),
    ]
}

fn documents() -> Vec<Case> {
    let malformed = |name, change| Case::unauthorized(name, "TokenMalformed", change);
    vec![
        malformed("a header that is not JSON", token(header_of("{alg:RS256}"))),
        malformed(
            "a header that is not UTF-8",
            token(|it| {
                let [_, claims, signature] = parts(&it);
                format!(
                    "{}.{claims}.{signature}",
                    URL_SAFE_NO_PAD.encode(b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}")
                )
            }),
        ),
        malformed("a header that is a string", token(header_of("\"RS256\""))),
        malformed(
            "a header cut short",
            token(header_of("{\"alg\":\"RS256\",\"kid\":\"current\"")),
        ),
        malformed(
            "two documents in the header",
            token(header_of("{\"alg\":\"RS256\",\"kid\":\"current\"}{}")),
        ),
        malformed(
            "the algorithm named twice",
            token(header_of(r#"{"alg":"none","alg":"RS256","kid":"current"}"#)),
        ),
        malformed(
            "the key named twice",
            token(header_of(r#"{"alg":"RS256","kid":"current","kid":"x"}"#)),
        ),
        malformed("claims that are not JSON", token(claims_of("iss=me"))),
        malformed("claims that are an array", token(claims_of("[[]]"))),
        malformed("claims that are null", token(claims_of("null"))),
        malformed(
            "claims nested without end",
            token(claims_of(&format!("{{\"iss\":{}", "[".repeat(3_000)))),
        ),
        malformed(
            "the audience named twice",
            token(claims_of(&format!(r#"{{"aud":"x","aud":"{BOT}"}}"#))),
        ),
        malformed(
            "extensions that must be understood",
            header("crit", json!(["exp"])),
        ),
        malformed(
            "claims that are not encoded",
            change(|it| {
                it.header["b64"] = json!(false);
                it.header["crit"] = json!(["b64"]);
            }),
        ),
    ]
}

/// A token that names another algorithm, signed by that algorithm with the issuer's public key as its secret.
fn hmac_with(secret: fn(&Value) -> Vec<u8>) -> impl Fn(String) -> String + Clone + 'static {
    move |token| {
        let signed = token.rsplit_once('.').unwrap().0;
        let published = Fixture::Current.key().published("current", &[]);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret(&published));
        let signature = hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn algorithm() -> Vec<Case> {
    let refused = |name: &str, change| Case::unauthorized(name, "AlgorithmRefused", change);
    let malformed = |name, change| Case::unauthorized(name, "TokenMalformed", change);
    let named = [
        "none", "None", "NONE", "nOnE", "", "rs256", "RS256 ", "RS384", "RS512", "PS256", "PS384", "PS512",
        "ES256", "ES384", "ES256K", "EdDSA", "HS256", "HS384", "HS512", "RSA1_5", "RS1", "dir",
    ];
    let mut cases: Vec<_> = named
        .into_iter()
        .map(|name| refused(&format!("the algorithm {name:?}"), header("alg", json!(name))))
        .collect();
    cases.extend([
        refused(
            "none, and no signature",
            change(|it| {
                it.header["alg"] = json!("none");
                it.token = Box::new(|it| format!("{}.", it.rsplit_once('.').unwrap().0));
            }),
        ),
        refused(
            "HS256 with the public key's modulus as the secret",
            change(|it| {
                it.header["alg"] = json!("HS256");
                it.token = Box::new(hmac_with(|key| {
                    URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap()
                }));
            }),
        ),
        refused(
            "HS256 with the public key's text as the secret",
            change(|it| {
                it.header["alg"] = json!("HS256");
                it.token = Box::new(hmac_with(|key| key["n"].as_str().unwrap().as_bytes().to_vec()));
            }),
        ),
        refused(
            "HS256 with the whole public key as the secret",
            change(|it| {
                it.header["alg"] = json!("HS256");
                it.token = Box::new(hmac_with(|key| key.to_string().into_bytes()));
            }),
        ),
        refused("no algorithm", no_header("alg")),
        malformed("an algorithm that is null", header("alg", Value::Null)),
        malformed("an algorithm that is a number", header("alg", json!(256))),
        malformed("an algorithm that is a list", header("alg", json!(["RS256"]))),
        Case::unauthorized(
            "RS256 said over an HMAC with the public key",
            "SignatureInvalid",
            token(hmac_with(|key| {
                URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap()
            })),
        ),
    ]);
    cases
}

fn key_ids() -> Vec<Case> {
    let malformed = |name, change| Case::unauthorized(name, "TokenMalformed", change);
    let unknown = |name, kid: &str| Case::unauthorized(name, "KeyUnknown", header("kid", json!(kid)));
    vec![
        malformed("no key named", no_header("kid")),
        malformed("an empty key name", header("kid", json!(""))),
        malformed("a key name that is null", header("kid", Value::Null)),
        malformed("a key name that is a number", header("kid", json!(0))),
        malformed(
            "a key name that is an object",
            header("kid", json!({"kid": "current"})),
        ),
        unknown("a key that the issuer does not have", "unknown"),
        unknown("the key's name in other letters", "CURRENT"),
        unknown("the key's name with a space", "current "),
        unknown("a key name with a path in it", "../../../../keys/current"),
        unknown("a key name that is a file", "/dev/null"),
        unknown("a key name that is a URL", "https://evil.example/keys#current"),
        unknown("a key name with a query in it", "current' OR '1'='1"),
        unknown("a key name with a NUL", "current\0"),
        unknown("a key name with a line break", "current\r\nHost: evil.example"),
        unknown("a key name of four thousand letters", &"k".repeat(4_000)),
        Case::unauthorized(
            "the key brought along by a stranger",
            "KeyUnknown",
            change(|it| {
                it.signer = Fixture::Stranger.key();
                it.header["kid"] = json!("stranger");
                it.header["jwk"] = it.signer.published("stranger", &["msteams"]);
            }),
        ),
        Case::unauthorized(
            "the key brought along under the issuer's name",
            "SignatureInvalid",
            change(|it| {
                it.signer = Fixture::Stranger.key();
                it.header["jwk"] = it.signer.published("current", &["msteams"]);
            }),
        ),
        Case::unauthorized(
            "the address of a stranger's keys",
            "KeyUnknown",
            change(|it| {
                it.signer = Fixture::Stranger.key();
                it.header["kid"] = json!("stranger");
                it.header["jku"] = json!("https://evil.example/keys");
                it.header["x5u"] = json!("https://evil.example/certificate");
            }),
        ),
        Case::unauthorized(
            "a header that is an array of its fields",
            "TokenMalformed",
            change(|it| it.header = json!(["RS256", "current", null])),
        ),
        Case::unauthorized(
            "claims that are an array of their fields",
            "TokenMalformed",
            change(|it| {
                let claims = it.claims.clone();
                let field = |name: &str| claims[name].clone();
                it.claims = json!([
                    field("iss"),
                    field("aud"),
                    field("exp"),
                    field("nbf"),
                    field("serviceurl"),
                    "",
                    null,
                    null,
                    null
                ]);
            }),
        ),
    ]
}

fn published_keys() -> Vec<Case> {
    let unavailable = |name, change| Case::unauthorized(name, "KeysUnavailable", change);
    let not_endorsed = |name, change| Case::forbidden(name, "ChannelNotEndorsed", change);
    vec![
        not_endorsed(
            "a key without endorsements",
            change(|it| {
                let mut published = Fixture::Current.key().published("current", &[]);
                published.as_object_mut().unwrap().remove("endorsements");
                it.issuer.publish(json!([published]));
            }),
        ),
        not_endorsed(
            "a key whose endorsements are null",
            key("endorsements", Value::Null),
        ),
        not_endorsed("a key endorsed for nothing", key("endorsements", json!([]))),
        not_endorsed(
            "a key endorsed for another channel",
            key("endorsements", json!(["webchat"])),
        ),
        not_endorsed(
            "a key endorsed for a longer name",
            key("endorsements", json!(["msteams2"])),
        ),
        not_endorsed(
            "a key endorsed for a shorter name",
            key("endorsements", json!(["msteam"])),
        ),
        not_endorsed(
            "a key endorsed for the name in capitals",
            key("endorsements", json!(["MSTEAMS"])),
        ),
        not_endorsed(
            "a key endorsed for everything, as if there were such a word",
            key("endorsements", json!(["*", ""])),
        ),
        unavailable(
            "a key whose endorsements are a word",
            key("endorsements", json!("msteams")),
        ),
        unavailable("a key of another kind", key("kty", json!("EC"))),
        unavailable("a secret key published by mistake", key("kty", json!("oct"))),
        unavailable("a key for encryption", key("use", json!("enc"))),
        unavailable("a key for another algorithm", key("alg", json!("RS512"))),
        unavailable("a key without a modulus", key("n", Value::Null)),
        unavailable("a key without an exponent", key("e", Value::Null)),
        unavailable("a key with an empty modulus", key("n", json!(""))),
        unavailable("a key with a modulus of zero", key("n", json!("AAAA"))),
        unavailable(
            "a key with a modulus that is not base64url",
            key("n", json!("***")),
        ),
        unavailable("a key without a name", key("kid", Value::Null)),
        Case::unauthorized(
            "a key of 1,024 bits",
            "SignatureInvalid",
            change(|it| {
                let mut published = Fixture::Current.key().published("current", &["msteams"]);
                let modulus = URL_SAFE_NO_PAD.decode(published["n"].as_str().unwrap()).unwrap();
                published["n"] = json!(URL_SAFE_NO_PAD.encode(&modulus[..128]));
                it.issuer.publish(json!([published]));
            }),
        ),
        Case::unauthorized(
            "a key with the exponent 1",
            "SignatureInvalid",
            key("e", json!("AQ")),
        ),
        Case::unauthorized(
            "a key with an even exponent",
            "SignatureInvalid",
            key("e", json!("AQAA")),
        ),
    ]
}

fn signatures() -> Vec<Case> {
    fn spoilt(spoil: fn(&mut Vec<u8>)) -> impl Fn(String) -> String + Clone + 'static {
        move |token| {
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            spoil(&mut signature);
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }
    let wrong = |name, change| Case::unauthorized(name, "SignatureInvalid", change);
    vec![
        wrong(
            "no signature",
            token(|it| format!("{}.", it.rsplit_once('.').unwrap().0)),
        ),
        wrong("one bit of the signature", token(spoilt(|it| it[100] ^= 1))),
        wrong("a signature of zeros", token(spoilt(|it| it.fill(0)))),
        wrong("a signature of ones", token(spoilt(|it| it.fill(0xff)))),
        wrong("a signature too short", token(spoilt(|it| it.truncate(255)))),
        wrong("a signature too long", token(spoilt(|it| it.push(0)))),
        wrong(
            "a signature with a zero before it",
            token(spoilt(|it| it.insert(0, 0))),
        ),
        wrong(
            "the number one for a signature",
            token(spoilt(|it| {
                it.fill(0);
                it[255] = 1;
            })),
        ),
        wrong(
            "a stranger's signature under the issuer's key",
            change(|it| it.signer = Fixture::Stranger.key()),
        ),
        wrong(
            "the signature of another token",
            change(|it| {
                let other = it.signer.sign(&it.header, &json!({"iss": "x"})).unwrap();
                let signature = other.rsplit_once('.').unwrap().1.to_owned();
                it.token =
                    Box::new(move |token| format!("{}.{signature}", token.rsplit_once('.').unwrap().0));
            }),
        ),
        wrong(
            "claims changed after they were signed",
            change(|it| {
                let mut claims = it.claims.clone();
                claims["exp"] = json!(NOW + 99_999);
                let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
                it.token = Box::new(move |token| {
                    let (header, signature) = (
                        token.split('.').next().unwrap(),
                        token.rsplit('.').next().unwrap(),
                    );
                    format!("{header}.{claims}.{signature}")
                });
            }),
        ),
        wrong(
            "a header changed after it was signed",
            change(|it| {
                let mut header = it.header.clone();
                header["typ"] = json!("at+jwt");
                let header = URL_SAFE_NO_PAD.encode(header.to_string());
                it.token = Box::new(move |token| format!("{header}.{}", token.split_once('.').unwrap().1));
            }),
        ),
    ]
}

fn issuers() -> Vec<Case> {
    let refused = |name, change| Case::unauthorized(name, "IssuerRefused", change);
    let malformed = |name, change| Case::unauthorized(name, "TokenMalformed", change);
    let ours = |change_it: fn(&str) -> String| {
        change(move |it| it.claims["iss"] = json!(change_it(it.claims["iss"].as_str().unwrap())))
    };
    vec![
        refused("no issuer", no_claim("iss")),
        refused("an empty issuer", claim("iss", json!(""))),
        malformed("an issuer that is null", claim("iss", Value::Null)),
        malformed(
            "an issuer that is a list",
            change(|it| it.claims["iss"] = json!([it.claims["iss"]])),
        ),
        refused("the issuer with a slash", ours(|it| format!("{it}/"))),
        refused("the issuer in capitals", ours(str::to_uppercase)),
        refused("the issuer over http", ours(|it| it.replace("https", "http"))),
        refused(
            "the issuer with a neighbour's name",
            ours(|it| format!("{it}.evil.example")),
        ),
        refused("a space before the issuer", ours(|it| format!(" {it}"))),
        refused("a stranger", claim("iss", json!("https://evil.example"))),
        refused(
            "the emulator's issuer without its setting",
            claim(
                "iss",
                json!("https://sts.windows.net/d6d49420-f39b-4df7-a1dc-d59a935871db/"),
            ),
        ),
        refused(
            "the emulator's newer issuer, which nobody asked for",
            claim(
                "iss",
                json!("https://login.microsoftonline.com/d6d49420-f39b-4df7-a1dc-d59a935871db/v2.0"),
            ),
        ),
        refused(
            "the issuer of every other cloud's tokens, one by one",
            change(|it| {
                // A token of another cloud, signed by that cloud: the first one with a different issuer.
                let ours = it.policy.cloud.endpoints().inbound_issuer;
                let theirs = Cloud::ALL.map(|cloud| cloud.endpoints().inbound_issuer);
                it.claims["iss"] = json!(theirs.into_iter().find(|it| *it != ours).unwrap());
            }),
        ),
        refused(
            "the issuer of the last other cloud",
            change(|it| {
                let ours = it.policy.cloud.endpoints().inbound_issuer;
                let theirs = Cloud::ALL.map(|cloud| cloud.endpoints().inbound_issuer);
                it.claims["iss"] = json!(theirs.into_iter().rfind(|it| *it != ours).unwrap());
            }),
        ),
    ]
}

fn audiences() -> Vec<Case> {
    let refused = |name: &str, value| Case::unauthorized(name, "AudienceRefused", claim("aud", value));
    let malformed = |name: &str, value| Case::unauthorized(name, "TokenMalformed", claim("aud", value));
    vec![
        Case::unauthorized("no audience", "AudienceRefused", no_claim("aud")),
        refused("an audience that is null", Value::Null),
        refused("an empty audience", json!("")),
        refused("no audience in the array", json!([])),
        refused(
            "others in the array",
            json!(["0000000c-0000-4000-8000-000000000001", ""]),
        ),
        refused("another bot", json!("0000000c-0000-4000-8000-000000000001")),
        refused("the audience in capitals", json!(BOT.to_uppercase())),
        refused("the audience and a space", json!(format!("{BOT} "))),
        refused("the beginning of the audience", json!(&BOT[..8])),
        refused("the audience and more", json!(format!("{BOT}0"))),
        refused("the audience as an Entra resource", json!(format!("api://{BOT}"))),
        refused(
            "the audience as a bot's resource",
            json!(format!("api://botid-{BOT}")),
        ),
        refused("the audience in a list in a word", json!(format!("x,{BOT}"))),
        refused(
            "the issuer for its own audience",
            json!("https://api.botframework.com"),
        ),
        malformed("an audience that is a number", json!(5)),
        malformed("an audience that is an object", json!({BOT: true})),
        malformed("a number beside the audience", json!([BOT, 5])),
        malformed("the audience in an array in an array", json!([[BOT]])),
    ]
}

fn times() -> Vec<Case> {
    let expired = |name, value| Case::unauthorized(name, "TokenExpired", claim("exp", value));
    let early = |name, value| Case::unauthorized(name, "TokenNotYetValid", claim("nbf", value));
    let malformed = |name, change| Case::unauthorized(name, "TokenMalformed", change);
    vec![
        malformed("no expiry", no_claim("exp")),
        malformed("no beginning", no_claim("nbf")),
        malformed(
            "neither expiry nor beginning",
            change(|it| {
                no_claim("exp")(it);
                no_claim("nbf")(it);
            }),
        ),
        malformed("an expiry that is null", claim("exp", Value::Null)),
        malformed(
            "an expiry that is text",
            claim("exp", json!((NOW + 3600).to_string())),
        ),
        malformed(
            "an expiry that is a date",
            claim("exp", json!("2030-01-01T00:00:00Z")),
        ),
        malformed("an expiry that is a list", claim("exp", json!([NOW + 3600]))),
        malformed("an expiry that is true", claim("exp", json!(true))),
        malformed("a beginning that is text", claim("nbf", json!("0"))),
        malformed(
            "an expiry that no number holds",
            change(|it| {
                let LosslessJson { value, numbers } = LosslessJson::from_slice(br#"{"exp":1e999}"#).unwrap();
                it.claims["exp"] = value["exp"].clone();
                it.numbers = numbers;
            }),
        ),
        expired("expired for exactly the skew", json!(NOW - 300)),
        expired("expired for a second more than the skew", json!(NOW - 301)),
        expired("expired for a year", json!(NOW - 31_536_000)),
        expired("expires at the epoch", json!(0)),
        expired("expires before the epoch", json!(-1)),
        expired("an expiry below all calendars", json!(-1e300)),
        early("valid a second after the skew", json!(NOW + 301)),
        early("valid half a second after the skew", json!(1_800_000_300.5)),
        early("valid in a year", json!(NOW + 31_536_000)),
        early("valid in milliseconds since the epoch", json!(NOW * 1000)),
    ]
}

fn channels() -> Vec<Case> {
    let not_endorsed = |name, value| Case::forbidden(name, "ChannelNotEndorsed", field("channelId", value));
    vec![
        not_endorsed(
            "an activity of a channel that the key does not vouch for",
            json!("slack"),
        ),
        not_endorsed(
            "an activity of the emulator with a channel's token",
            json!("emulator"),
        ),
        not_endorsed("an activity of the channel in capitals", json!("MSTeams")),
        not_endorsed("an activity of the channel and a space", json!("msteams ")),
        not_endorsed("an activity of two channels in a word", json!("msteams,webchat")),
        not_endorsed("an activity of a part of the channel", json!("msteams:meeting")),
    ]
}

fn service_urls() -> Vec<Case> {
    let unclaimed = |name, change| Case::unauthorized(name, "ServiceUrlUnclaimed", change);
    let mismatch = |name, change| Case::forbidden(name, "ServiceUrlMismatch", change);
    let claimed = |make: fn(&str) -> String| {
        change(move |it| it.claims["serviceurl"] = json!(make(it.claims["serviceurl"].as_str().unwrap())))
    };
    vec![
        unclaimed("no service URL claimed", no_claim("serviceurl")),
        unclaimed("a claim that is null", claim("serviceurl", Value::Null)),
        unclaimed("an empty claim", claim("serviceurl", json!(""))),
        unclaimed(
            "the claim under the name that the documents have for it",
            change(|it| {
                let url = it.claims.as_object_mut().unwrap().remove("serviceurl").unwrap();
                it.claims["serviceUrl"] = url;
            }),
        ),
        Case::unauthorized(
            "a claim that is a number",
            "TokenMalformed",
            claim("serviceurl", json!(5)),
        ),
        Case::unauthorized(
            "a claim that is a list",
            "TokenMalformed",
            claim("serviceurl", json!(["x"])),
        ),
        mismatch(
            "an activity without a service URL",
            change(|it| {
                it.activity.as_object_mut().unwrap().remove("serviceUrl");
            }),
        ),
        mismatch(
            "an activity with an empty service URL",
            field("serviceUrl", json!("")),
        ),
        mismatch(
            "another host claimed",
            claim("serviceurl", json!("https://other.example/emea/")),
        ),
        mismatch(
            "another host in the activity",
            field("serviceUrl", json!("https://evil.example/emea/")),
        ),
        mismatch("another path claimed", claimed(|it| it.replace("emea", "amer"))),
        mismatch("the path in capitals", claimed(|it| it.replace("emea", "EMEA"))),
        mismatch("a longer path claimed", claimed(|it| format!("{it}v3/"))),
        mismatch("a shorter path claimed", claimed(|it| it.replace("emea/", ""))),
        mismatch("two slashes at the end", claimed(|it| format!("{it}/"))),
        mismatch(
            "another scheme claimed",
            claimed(|it| it.replace("https", "http")),
        ),
        mismatch("the port in full", claimed(|it| it.replace("/emea", ":443/emea"))),
        mismatch(
            "a user before the host",
            claimed(|it| it.replace("https://", "https://user@")),
        ),
        mismatch(
            "the host with a dot at its end",
            claimed(|it| it.replace("/emea", "./emea")),
        ),
        mismatch("a query after the claim", claimed(|it| format!("{it}?x"))),
        mismatch("a space after the claim", claimed(|it| format!("{it} "))),
        mismatch(
            "an escape in the path",
            claimed(|it| it.replace("emea", "%65mea")),
        ),
        mismatch(
            "the host alone claimed, without a scheme",
            claimed(|it| it.replace("https://", "")),
        ),
        mismatch(
            "a longer host that begins like ours",
            claimed(|it| it.replace("/emea", ".evil.example/emea")),
        ),
    ]
}

fn lists() -> Vec<Case> {
    fn only(names: &[&str]) -> AllowList {
        AllowList::Only(names.iter().map(|name| (*name).to_owned()).collect())
    }
    vec![
        Case::admitted(
            "a channel that is in the list",
            change(|it| it.policy.channels = only(&["msteams"])),
        ),
        Case::forbidden(
            "a channel that is not in the list",
            "ChannelRefused",
            change(|it| {
                it.policy.channels = only(&["slack"]);
            }),
        ),
        Case::admitted(
            "a tenant that is in the list",
            change(|it| it.policy.tenants = only(&["x", TENANT])),
        ),
        Case::forbidden(
            "a tenant that is not in the list",
            "TenantRefused",
            change(|it| {
                it.policy.tenants = only(&["x"]);
            }),
        ),
        Case::forbidden(
            "a list of no tenants",
            "TenantRefused",
            change(|it| it.policy.tenants = only(&[])),
        ),
        Case::forbidden(
            "no tenant, where there is a list",
            "TenantRefused",
            change(|it| {
                it.policy.tenants = only(&[TENANT]);
                it.activity["conversation"]
                    .as_object_mut()
                    .unwrap()
                    .remove("tenantId");
            }),
        ),
        Case::admitted(
            "the tenant in the channel's data alone",
            change(|it| {
                it.policy.tenants = only(&[TENANT]);
                it.activity["conversation"]
                    .as_object_mut()
                    .unwrap()
                    .remove("tenantId");
                it.activity["channelData"] = json!({"tenant": {"id": TENANT}});
            }),
        ),
        Case::forbidden(
            "another tenant in the conversation than in the channel's data",
            "TenantRefused",
            change(|it| {
                it.policy.tenants = only(&[TENANT]);
                it.activity["conversation"]["tenantId"] = json!("x");
                it.activity["channelData"] = json!({"tenant": {"id": TENANT}});
            }),
        ),
    ]
}

#[tokio::test]
async fn a_hostile_service_url_is_denied_even_if_the_token_names_it() {
    for cloud in Cloud::ALL {
        for url in hostile::service_urls(cloud) {
            let case = if url.is_empty() {
                Case::unauthorized(&url, "ServiceUrlUnclaimed", everywhere(url.clone()))
            } else {
                Case::forbidden(&url, "ServiceUrlUntrusted", everywhere(url.clone()))
            };
            case.judge(Attempt::of(cloud)).await;
        }
    }
}

/// The claim and the activity agree on a service URL, and the trust rule decides.
fn of_the_public_cloud() -> Vec<Case> {
    let untrusted = |name, url| Case::forbidden(name, "ServiceUrlUntrusted", everywhere(url));
    let mut cases = vec![
        Case::admitted(
            "another host of Teams",
            everywhere("https://smba.infra.gcc.teams.microsoft.com/teams"),
        ),
        untrusted("a stranger's host, signed for", "https://evil.example/emea/"),
        untrusted(
            "a neighbour in a shared domain",
            "https://evil.trafficmanager.net/emea/",
        ),
        untrusted(
            "a name under the host's",
            "https://x.smba.trafficmanager.net/emea/",
        ),
        untrusted(
            "a name that begins like the host's",
            "https://smba.trafficmanager.net.evil.example/",
        ),
        untrusted("the host over http", "http://smba.trafficmanager.net/emea/"),
        untrusted(
            "the host at another port",
            "https://smba.trafficmanager.net:8443/emea/",
        ),
        untrusted(
            "the host of another cloud",
            "https://smba.infra.gov.teams.microsoft.us/teams",
        ),
        untrusted(
            "a user before the host, in both",
            "https://smba.trafficmanager.net@evil.example/",
        ),
        untrusted(
            "the metadata of the machine",
            "http://169.254.169.254/latest/meta-data/",
        ),
        untrusted("this machine", "http://127.0.0.1:3979/"),
        untrusted(
            "another channel's host, where Teams alone is trusted",
            "https://slack.botframework.com/",
        ),
        untrusted("a path that climbs", "https://smba.trafficmanager.net/emea/../"),
        untrusted("a query, in both", "https://smba.trafficmanager.net/emea?x=y"),
    ];
    cases.push(
        Case::admitted(
            "another channel's host, where others are trusted",
            everywhere("https://slack.botframework.com/"),
        )
        .after(change(|it| {
            it.trust = TrustRule::new(Cloud::Public, OtherChannels::Trusted, Loopback::Refused);
        })),
    );
    cases.push(
        Case::admitted(
            "this machine, where it is trusted",
            everywhere("http://127.0.0.1:3979/"),
        )
        .after(change(|it| {
            it.trust = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Trusted);
        })),
    );
    cases
}
