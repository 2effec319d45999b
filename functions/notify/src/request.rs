//! Parts of a request: query parameters, cursors, path segments and the body.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use botframework::lossless::LosslessJson;
use herald::problem::Problem;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request};
use percent_encoding::percent_decode_str;

use crate::response::ApiError;

/// The largest request body, in bytes.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;

/// The largest `limit` of a list, and the one of requests that give none.
const LIMIT_MAX: usize = 500;
const LIMIT: usize = 100;

/// The query parameters of one request.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the query. Unknown and repeated parameters are refused: a misspelt `state` must not list everything.
    pub(crate) fn parse(request: &Request, known: &[&str]) -> Result<Self, ApiError> {
        let mut found: Vec<(String, String)> = Vec::new();
        let text = request.uri().query().unwrap_or_default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            if !known.contains(&name.as_str()) {
                let known = known.join("`, `");
                let detail = format!("The query may have `{known}`; another parameter was found.");
                return Err(ApiError::bad_request(detail));
            }
            if found.iter().any(|(earlier, _)| *earlier == name) {
                return Err(ApiError::bad_request(format!("`{name}` may be given once.")));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// The value of a parameter, if it is given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find_map(|(known, value)| (known == name).then_some(value.as_str()))
    }

    /// The size of the page.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else {
            return Ok(LIMIT);
        };
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| ApiError::bad_request(format!("`limit` must be a number from 1 to {LIMIT_MAX}.")))
    }

    /// Where the page begins.
    pub(crate) fn cursor(&self) -> Result<Option<String>, ApiError> {
        let Some(text) = self.get("cursor") else {
            return Ok(None);
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| not_a_cursor())?;
        let inner = String::from_utf8(bytes).map_err(|_| not_a_cursor())?;
        Ok(Some(inner))
    }
}

/// A cursor as callers get it: opaque, and safe in any part of a URL.
pub(crate) fn cursor(inner: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(inner)
}

pub(crate) fn not_a_cursor() -> ApiError {
    ApiError::bad_request("`cursor` must be the `next` of the page before, of the same list.")
}

/// One segment of a path, decoded; `None` when it is not UTF-8.
pub(crate) fn segment(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

/// The JSON document in the body.
pub(crate) fn document(request: &Request) -> Result<LosslessJson, Problem> {
    let body = bytes(request);
    if body.len() > BODY_MAX_BYTES {
        let detail = format!("The body may hold {BODY_MAX_BYTES} bytes, found {}.", body.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    LosslessJson::from_slice(body).map_err(|error| {
        let detail = format!(
            "The body is not JSON: see line {}, column {}.",
            error.line(),
            error.column()
        );
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// The bytes of the body.
pub(crate) fn bytes(request: &Request) -> &[u8] {
    match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    }
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lambda_http::http;

    fn query(text: &str) -> Result<Query, ApiError> {
        let uri = format!("http://127.0.0.1/api/conversations{text}");
        let request = http::Request::builder().uri(uri).body(Body::Empty).unwrap();
        Query::parse(&request, &["state", "cursor", "limit"])
    }

    #[test]
    fn parameters_are_decoded() {
        let query = query("?state=a%26b+c&limit=7").unwrap_or_else(|_| panic!("refused"));
        assert_eq!(query.get("state"), Some("a&b c"));
        assert_eq!(query.limit().ok(), Some(7));
        assert_eq!(query.cursor().ok(), Some(None));
    }

    #[test]
    fn misspelt_repeated_and_out_of_range_parameters_are_refused() {
        for text in ["?stat=open", "?state=open&state=gone", "?=", "?x"] {
            assert!(query(text).is_err(), "{text}");
        }
        for text in ["?limit=0", "?limit=501", "?limit=", "?limit=many", "?limit=-1"] {
            assert!(query(text).is_ok_and(|query| query.limit().is_err()), "{text}");
        }
        assert!(query("?cursor=%20").is_ok_and(|query| query.cursor().is_err()));
    }

    #[test]
    fn a_cursor_survives_the_round_trip() {
        let text = format!("?cursor={}", cursor("msteams|28:bot|a:+/=ä"));
        let cursor = query(&text).ok().and_then(|query| query.cursor().ok().flatten());
        assert_eq!(cursor.as_deref(), Some("msteams|28:bot|a:+/=ä"));
    }
}
