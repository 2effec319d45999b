//! A parsed bearer token. Its claims are trusted only after [`Token::is_signed_by`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;

use super::denied::Denied;
use super::keys::Key;
use crate::http::read_object;

/// The longest token that is parsed, in bytes. A channel's token has about 1,000; API Gateway limits all headers of a
/// request to 10,240.
pub(super) const LONGEST: usize = 8 * 1024;

/// The largest accepted clock skew between issuer and bot.
const SKEW: Duration = Duration::from_mins(5);

/// The only accepted algorithm. The issuers' metadata names no other, and a single algorithm excludes algorithm
/// confusion.
const ALGORITHM: &str = "RS256";

/// The token of a request.
///
/// # Errors
/// Unless there is exactly one `Authorization` header with the scheme `Bearer` in any case (RFC 9110) and one token. API
/// Gateway joins repeated headers with a comma, which no token contains.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, Denied> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (all.next().ok_or(Denied::TokenMissing)?, all.next());
    let words = first.to_str().ok().filter(|_| second.is_none());
    let (scheme, token) = words
        .and_then(|words| words.split_once(' '))
        .ok_or(Denied::TokenMalformed)?;
    if !scheme.eq_ignore_ascii_case("Bearer") || token.is_empty() || token.len() > LONGEST {
        return Err(Denied::TokenMalformed);
    }
    Ok(token)
}

/// A token in its three parts, parsed but not verified.
pub(super) struct Token<'a> {
    /// The signed part: header and claims, as received.
    signed: &'a str,
    signature: Vec<u8>,
    /// The id of the key that the token names as its signer.
    pub(super) key_id: String,
    pub(super) claims: Claims,
}

/// The header's members that are read. A key or the URL of a key in the token (`jwk`, `jku`, `x5c`, `x5u`) is ignored.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    alg: String,
    #[serde(default)]
    kid: String,
    /// Extensions that a verifier must understand (RFC 7515, 4.1.11). None is supported, so any rejects the token.
    crit: Option<serde::de::IgnoredAny>,
}

/// The claims. A duplicate claim makes the token malformed.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    pub(super) iss: String,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    /// The service URL for replies, in tokens of channels only. Lower case on the wire.
    pub(super) serviceurl: Option<String>,
    /// The version of an Entra token, which decides the claim of its application id.
    #[serde(default)]
    ver: String,
    appid: Option<String>,
    azp: Option<String>,
    pub(super) tid: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl<'a> Token<'a> {
    /// Parses a token.
    ///
    /// # Errors
    /// When it is not a signed JWT in compact form, has another algorithm, or names no key.
    pub(super) fn read(token: &'a str) -> Result<Self, Denied> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Denied::TokenMalformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Denied::TokenMalformed)?;
        let header: Header = document(header)?;
        if header.alg != ALGORITHM {
            return Err(Denied::AlgorithmRefused);
        }
        if header.kid.is_empty() || header.crit.is_some() {
            return Err(Denied::TokenMalformed);
        }
        Ok(Self {
            signed,
            signature: bytes(signature)?,
            key_id: header.kid,
            claims: document(claims)?,
        })
    }

    /// Whether the signature over the received text is of this key.
    pub(super) fn is_signed_by(&self, key: &Key) -> bool {
        let components = RsaPublicKeyComponents {
            n: &key.modulus,
            e: &key.exponent,
        };
        components
            .verify(
                &RSA_PKCS1_2048_8192_SHA256,
                self.signed.as_bytes(),
                &self.signature,
            )
            .is_ok()
    }
}

impl Claims {
    /// Checks the lifetime. Both limits are required; the expiry itself is outside (RFC 7519, 4.1.4).
    pub(super) fn check_time(&self, now: SystemTime) -> Result<(), Denied> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let skew = SKEW.as_secs_f64();
        match (self.exp, self.nbf) {
            (Some(end), _) if now >= end + skew => Err(Denied::TokenExpired),
            (_, Some(begin)) if now < begin - skew => Err(Denied::TokenNotYetValid),
            (Some(_), Some(_)) => Ok(()),
            (None, _) | (_, None) => Err(Denied::TokenMalformed),
        }
    }

    /// Checks that the token's audience is this application.
    pub(super) fn check_audience(&self, app_id: &str) -> Result<(), Denied> {
        let meant = match &self.aud {
            Some(Audience::One(one)) => one == app_id,
            Some(Audience::Several(several)) => several.iter().any(|one| one == app_id),
            None => false,
        };
        if meant {
            Ok(())
        } else {
            Err(Denied::AudienceRefused)
        }
    }

    /// The application that an Entra token was issued to.
    pub(super) fn application(&self) -> Option<&str> {
        match self.ver.as_str() {
            "1.0" => self.appid.as_deref(),
            "2.0" => self.azp.as_deref(),
            _ => None,
        }
    }
}

fn bytes(part: &str) -> Result<Vec<u8>, Denied> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Denied::TokenMalformed)
}

fn document<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Denied> {
    read_object(&bytes(part)?).map_err(|_| Denied::TokenMalformed)
}
