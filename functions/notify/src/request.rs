//! Parts of a request: query parameters, cursors and the body.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use botframework::lossless::LosslessJson;
use herald::digest::sha256_hex;
use herald::json_body;
use herald::notification::request::FIELDS;
use herald::problem::Problem;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::response::ApiError;
use crate::route::context;

/// The largest request body, in bytes.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;

/// The largest `limit` of a list, and the one of requests that give none.
const LIMIT_MAX: usize = 500;
const LIMIT: usize = 100;

/// The query parameters of one request.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the query. Unknown and repeated parameters are refused: a misspelt `state` must not list everything, and a
    /// `dryRun` in the query of a request must not send it.
    pub(crate) fn parse(request: &Request, known: &[&str]) -> Result<Self, ApiError> {
        let mut found: Vec<(String, String)> = Vec::new();
        let text = context(request).map_or("", |context| &*context.raw_query);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            if !known.contains(&name.as_str()) {
                return Err(unknown_parameter(&name, known));
            }
            if found.iter().any(|(earlier, _)| *earlier == name) {
                return Err(ApiError::bad_request(format!("`{name}` may be given once.")));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    /// The parameters of the page after this one, percent-encoded: the same, but for the cursor.
    pub(crate) fn next_page(&self, cursor: &str) -> String {
        let kept = self.0.iter().filter(|(name, _)| name != "cursor");
        let mut text = String::new();
        for (name, value) in kept {
            // Both are parameters of a route, so the names need no encoding.
            text.push_str(name);
            text.push('=');
            text.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
            text.push('&');
        }
        text + "cursor=" + cursor
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
    pub(crate) fn cursor(&self, list: &CursorScope) -> Result<Option<String>, ApiError> {
        let Some(text) = self.get("cursor") else {
            return Ok(None);
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| not_a_cursor())?;
        let whole = String::from_utf8(bytes).map_err(|_| not_a_cursor())?;
        let position = whole
            .strip_prefix(&list.digest)
            .and_then(|rest| rest.strip_prefix(' '));
        position
            .map(|position| Some(position.to_owned()))
            .ok_or_else(not_a_cursor)
    }
}

/// A list, whose cursors no other list takes.
#[derive(Debug)]
pub(crate) struct CursorScope {
    digest: String,
}

/// How many hexadecimal digits of the list's digest a cursor begins with.
const LIST_DIGITS: usize = 8;

impl CursorScope {
    /// The list of this name, of what these values select.
    pub(crate) fn new(name: &str, selection: &[&str]) -> Self {
        let mut digest = sha256_hex(format!("{name}\n{}", selection.join("\n")).as_bytes());
        digest.truncate(LIST_DIGITS);
        Self { digest }
    }

    /// A cursor as callers get it: opaque, and safe in any part of a URL.
    pub(crate) fn cursor(&self, position: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{} {position}", self.digest))
    }
}

pub(crate) fn not_a_cursor() -> ApiError {
    ApiError::bad_request("`cursor` must be the `next` of the page before, of the same list.")
}

/// The JSON document in the body.
pub(crate) fn document(request: &Request) -> Result<LosslessJson, Problem> {
    let body = bytes(request);
    if body.len() > BODY_MAX_BYTES {
        let detail = format!("The body may hold {BODY_MAX_BYTES} bytes, found {}.", body.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    json_body::parse(body)
}

/// The bytes of the body.
pub(crate) fn bytes(request: &Request) -> &[u8] {
    match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    }
}

/// How much of a parameter's name an answer repeats, in characters.
const NAME_SHOWN_MAX: usize = 40;

fn unknown_parameter(name: &str, known: &[&str]) -> ApiError {
    let shown: String = name.chars().take(NAME_SHOWN_MAX).collect();
    let known = known.join("`, `");
    let detail = if known.is_empty() {
        format!("The query holds `{shown}`, and this request takes no query parameters.")
    } else {
        format!("The query holds `{shown}`; it may have `{known}`.")
    };
    let fields = if FIELDS.contains(&name) {
        " The fields of a notification belong into the body."
    } else {
        ""
    };
    ApiError::bad_request(detail + fields)
}

fn decoded(text: &str) -> Result<String, ApiError> {
    let text = text.replace('+', " ");
    let text = percent_decode_str(&text).decode_utf8();
    let bad = || ApiError::bad_request("The query is not UTF-8, percent-encoded.");
    Ok(text.map_err(|_| bad())?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald::http_api::RequestContext;

    fn query(text: &str) -> Result<Query, ApiError> {
        let mut request = Request::new(Body::Empty);
        request.extensions_mut().insert(RequestContext {
            raw_query: text.strip_prefix('?').unwrap().to_owned(),
            ..RequestContext::default()
        });
        Query::parse(&request, &["state", "cursor", "limit"])
    }

    #[test]
    fn parameters_are_decoded() {
        let query = query("?state=a%26b+c&limit=7").unwrap_or_else(|_| panic!("refused"));
        assert_eq!(query.get("state"), Some("a&b c"));
        assert_eq!(query.limit().ok(), Some(7));
        assert_eq!(query.cursor(&CursorScope::new("", &[])).ok(), Some(None));
    }

    #[test]
    fn misspelt_repeated_and_out_of_range_parameters_are_refused() {
        for text in ["?stat=open", "?state=open&state=gone", "?=", "?x", "?state=%ff"] {
            assert!(query(text).is_err(), "{text}");
        }
        for text in ["?limit=0", "?limit=501", "?limit=", "?limit=many", "?limit=-1"] {
            assert!(query(text).is_ok_and(|query| query.limit().is_err()), "{text}");
        }
        assert!(query("?cursor=%20").is_ok_and(|query| query.cursor(&CursorScope::new("", &[])).is_err()));
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let said = |text: &str| {
            let refused = query(text).map(|_| ()).unwrap_err().respond();
            let Body::Text(text) = refused.into_body() else {
                panic!()
            };
            text
        };
        assert!(said("?stat=open").contains("`stat`; it may have `state`, `cursor`, `limit`."));
        assert!(said("?dryRun=true").contains("belong into the body"));
        assert!(said(&format!("?{}", "x".repeat(5000))).len() < 300);
    }

    #[test]
    fn the_next_page_keeps_the_query() {
        let query = query("?state=a%26b+c&cursor=old&limit=7").unwrap_or_else(|_| panic!("refused"));
        assert_eq!(query.next_page("new"), "state=a%26b%20c&limit=7&cursor=new");
    }

    #[test]
    fn a_cursor_survives_the_round_trip_and_belongs_to_its_list() {
        let list = CursorScope::new("conversations", &["tenant", "t1"]);
        let text = format!("?cursor={}", list.cursor("msteams|28:bot|a:+/=ä"));
        let query = query(&text).unwrap_or_else(|_| panic!("refused"));
        let cursor = query.cursor(&list).ok().flatten();
        assert_eq!(cursor.as_deref(), Some("msteams|28:bot|a:+/=ä"));
        for other in [
            CursorScope::new("conversations", &["tenant", "t2"]),
            CursorScope::new("export", &["tenant", "t1"]),
        ] {
            assert!(query.cursor(&other).is_err());
        }
    }
}
