//! `GET /console` and `GET /console/{file}`: a page on the API.
//!
//! Its files stand in `console/` and are public: they hold nothing but the page, which asks the API by itself, with the token of
//! the person who signed in. The browser asks each time whether a file has changed, so that files of two releases never meet.

use std::io::Read;

use flate2::read::GzDecoder;
use herald::config::{self, Environment, variable};
use lambda_http::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::response::{ApiError, json};

include!(concat!(env!("OUT_DIR"), "/console.rs"));

/// The page itself.
const INDEX: &str = "index.html";

/// A file of the page.
#[derive(Debug)]
struct File {
    name: &'static str,
    gzip: &'static [u8],
}

/// Where a person signs in, if the API takes tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsoleSignIn {
    /// The issuer of tokens, whose metadata name the pages for signing in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The client id of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The scopes that it asks for, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

impl ConsoleSignIn {
    /// As the deployment has it.
    ///
    /// # Errors
    /// When the issuer is no `https` address of a host: the page may ask this host.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        let client_id = environment.optional(variable::CONSOLE_CLIENT_ID);
        // The API has an issuer with and without a console.
        let issuer = environment
            .optional(variable::CONSOLE_ISSUER)
            .filter(|_| client_id.is_some());
        if issuer.as_deref().is_some_and(|issuer| origin(issuer).is_none()) {
            return Err(config::Error::Variable {
                variable: variable::CONSOLE_ISSUER,
                wrong: "must be `https://`, a host and a path, such as https://login.microsoftonline.com/TENANT/v2.0".to_owned(),
            });
        }
        Ok(Self {
            issuer,
            client_id,
            scope: environment.optional(variable::CONSOLE_SCOPE),
        })
    }

    /// What the page may load, and ask: its own files, the API, and the issuer of tokens.
    fn content_security_policy(&self) -> String {
        let issuer = self.issuer.as_deref().and_then(origin).unwrap_or_default();
        format!(
            "default-src 'self'; connect-src 'self' {issuer}; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    }
}

/// `https://host[:port]` of an address, in characters that mean nothing else in a policy.
fn origin(address: &str) -> Option<&str> {
    let host = address.strip_prefix("https://")?.split('/').next()?;
    let is_host_character = |one: char| one.is_ascii_alphanumeric() || matches!(one, '.' | '-' | ':');
    (!host.is_empty() && host.chars().all(is_host_character))
        .then(|| &address[.."https://".len() + host.len()])
}

/// `GET /console`
pub(crate) fn page(sign_in: &ConsoleSignIn, request: &Request) -> Result<Response<Body>, ApiError> {
    file(INDEX, sign_in, request)
}

/// `GET /console/{file}`
pub(crate) fn file(
    name: &str,
    sign_in: &ConsoleSignIn,
    request: &Request,
) -> Result<Response<Body>, ApiError> {
    let mut response = if name == "config.json" {
        json(StatusCode::OK, sign_in)
    } else {
        let found = FILES.iter().find(|file| file.name == name);
        found
            .ok_or_else(ApiError::no_resource)?
            .respond(request.headers())
    };
    let policy = HeaderValue::try_from(sign_in.content_security_policy());
    let headers = response.headers_mut();
    // The origin of an issuer has characters of a header only.
    headers.extend(
        policy
            .ok()
            .map(|policy| (header::CONTENT_SECURITY_POLICY, policy)),
    );
    headers.extend(FIXED_HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    Ok(response)
}

const FIXED_HEADERS: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::VARY, "accept-encoding"),
];

impl File {
    fn respond(&self, headers: &HeaderMap) -> Response<Body> {
        let etag = self.etag();
        let names = |name, value: &str| {
            let all = headers.get_all(name).iter().filter_map(|one| one.to_str().ok());
            all.flat_map(|one| one.split([',', ';']))
                .any(|one| one.trim() == value)
        };
        let mut response = Response::new(Body::Empty);
        if names(header::IF_NONE_MATCH, &etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if names(header::ACCEPT_ENCODING, "gzip") {
            *response.body_mut() = Body::Binary(self.gzip.to_vec());
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(header::CONTENT_ENCODING, gzip);
        } else {
            *response.body_mut() = Body::Text(self.text());
        }
        let content_type = HeaderValue::from_static(self.content_type());
        let etag = HeaderValue::try_from(etag).map(|etag| (header::ETAG, etag));
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response.headers_mut().extend(etag.ok());
        response
    }

    /// Weak, since it is the same for the file as it is and compressed: the checksum and the length at the end of a gzip.
    fn etag(&self) -> String {
        let end = self.gzip.last_chunk().map_or(0, |end| u64::from_le_bytes(*end));
        format!("W/\"{end:016x}\"")
    }

    fn content_type(&self) -> &'static str {
        match self.name.rsplit('.').next() {
            Some("css") => "text/css; charset=utf-8",
            Some("html") => "text/html; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // The build compressed a text, which is read back as it was.
        let _ = GzDecoder::new(self.gzip).read_to_string(&mut text);
        text
    }
}

/// The names of all files, with their compressed sizes.
pub fn console_files() -> impl Iterator<Item = (&'static str, usize)> {
    FILES.iter().map(|file| (file.name, file.gzip.len()))
}
