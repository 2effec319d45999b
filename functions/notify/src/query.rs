//! What stands behind the question mark: which part of a list is asked for. And what one segment of a path names.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use lambda_http::Request;
use percent_encoding::percent_decode_str;

use crate::answer::Refusal;

/// How many are listed at most, and how many if nobody says.
const LIMIT_MAX: usize = 500;
const LIMIT: usize = 100;

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads them.
    ///
    /// # Errors
    /// 400 when there is another than these, or one twice: who misspells `state` must not be shown everything.
    pub(crate) fn read(request: &Request, known: &[&str]) -> Result<Self, Refusal> {
        let mut found: Vec<(String, String)> = Vec::new();
        let text = request.uri().query().unwrap_or_default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            if !known.contains(&name.as_str()) {
                let known = known.join("`, `");
                let detail = format!("The query may have `{known}`; another parameter was found.");
                return Err(Refusal::bad_request(detail));
            }
            if found.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Refusal::bad_request(format!("`{name}` may be given once.")));
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

    /// How many are asked for.
    ///
    /// # Errors
    /// 400 when that is no number, or too large a one.
    pub(crate) fn limit(&self) -> Result<usize, Refusal> {
        let Some(text) = self.get("limit") else {
            return Ok(LIMIT);
        };
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| Refusal::bad_request(format!("`limit` must be a number from 1 to {LIMIT_MAX}.")))
    }

    /// Where the list goes on.
    ///
    /// # Errors
    /// 400 when it is not a cursor of ours.
    pub(crate) fn cursor(&self) -> Result<Option<String>, Refusal> {
        let Some(text) = self.get("cursor") else {
            return Ok(None);
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| not_a_cursor())?;
        let inner = String::from_utf8(bytes).map_err(|_| not_a_cursor())?;
        Ok(Some(inner))
    }
}

/// A cursor as callers get it: opaque, and the same in any part of a URL.
pub(crate) fn cursor(inner: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(inner)
}

/// The cursor is not one that this list gave.
pub(crate) fn not_a_cursor() -> Refusal {
    Refusal::bad_request("`cursor` must be the `next` of the page before, of the same list.")
}

/// One segment of a path, decoded; `None` when that is no text.
pub(crate) fn segment(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lambda_http::{Body, http};

    fn query(text: &str) -> Result<Query, Refusal> {
        let uri = format!("http://127.0.0.1/api/conversations{text}");
        let request = http::Request::builder().uri(uri).body(Body::Empty).unwrap();
        Query::read(&request, &["state", "cursor", "limit"])
    }

    #[test]
    fn parameters_are_decoded() {
        let query = query("?state=a%26b+c&limit=7").unwrap_or_else(|_| panic!("refused"));
        assert_eq!(query.get("state"), Some("a&b c"));
        assert_eq!(query.limit().ok(), Some(7));
        assert_eq!(query.cursor().ok(), Some(None));
    }

    #[test]
    fn what_is_misspelt_twice_or_out_of_range_is_refused() {
        for text in ["?stat=open", "?state=open&state=gone", "?=", "?x"] {
            assert!(query(text).is_err(), "{text}");
        }
        for text in ["?limit=0", "?limit=501", "?limit=", "?limit=many", "?limit=-1"] {
            assert!(query(text).is_ok_and(|query| query.limit().is_err()), "{text}");
        }
        assert!(query("?cursor=%20").is_ok_and(|query| query.cursor().is_err()));
    }

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let text = format!("?cursor={}", cursor("msteams|28:bot|a:+/=ä"));
        let cursor = query(&text).ok().and_then(|query| query.cursor().ok().flatten());
        assert_eq!(cursor.as_deref(), Some("msteams|28:bot|a:+/=ä"));
    }
}
