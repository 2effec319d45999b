//! `POST /api/conversations/export`: what is remembered, a document a line, as another deployment takes it.

use std::collections::HashMap;

use herald::conversation::{Conversation, ConversationKey, Export};
use herald::store::{ConversationFilter, Conversations};
use jiff::SignedDuration;
use lambda_http::http::{HeaderName, HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde_json::Value;

use crate::Context;
use crate::accept::{bytes, document};
use crate::answer::{Refusal, of_type};
use crate::conversations::{LISTED_BY, not_listed, selected_by};
use crate::query::{self, Query};

/// How much one answer holds, in bytes as Lambda counts them: an answer is a JSON string there, of 6 MB at most.
pub const EXPORT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How many conversations are read at once. Were each as large as a reference may be, so many would still be one answer.
const PAGE: usize = 32;

/// How long one request works: API Gateway waits 30 seconds.
const PATIENCE: SignedDuration = SignedDuration::from_secs(15);

/// Into how many parts everything can be divided.
const SEGMENTS_MAX: u16 = 64;

/// Where to go on, alone; the `Link` has it in a URL.
const CURSOR: HeaderName = HeaderName::from_static("herald-cursor");

impl<S, C: Conversations, L, Q, E> Context<S, C, L, Q, E> {
    /// `POST /api/conversations/export`
    pub(crate) async fn export(&self, request: &Request) -> Result<Response<Body>, Refusal> {
        let mut cursor = Query::read(request, &["cursor"])?.cursor()?;
        let selection = selection(request)?;
        let began = self.clock.now();
        let (mut text, mut size) = (String::new(), 0);
        loop {
            let listing = self
                .conversations
                .list(&selection, cursor.as_deref(), PAGE)
                .await
                .map_err(not_listed)?;
            let keys: Vec<ConversationKey> = listing.items.into_iter().map(|found| found.key).collect();
            let page = self.page(&keys).await?;
            let page_size = size_in_json(&page);
            if size > 0 && size + page_size > EXPORT_MAX_BYTES {
                // It is read again by the next request.
                break;
            }
            text.push_str(&page);
            size += page_size;
            cursor = listing.cursor;
            if cursor.is_none() || self.clock.now().duration_since(began) > PATIENCE {
                break;
            }
        }
        let mut response = of_type(StatusCode::OK, "application/x-ndjson", text);
        if let Some(cursor) = cursor {
            let cursor = query::cursor(cursor);
            let link = format!("<{}?cursor={cursor}>; rel=\"next\"", request.uri().path());
            for (name, value) in [(header::LINK, link), (CURSOR, cursor)] {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    response.headers_mut().insert(name, value);
                }
            }
        }
        Ok(response)
    }

    /// The conversations of these keys, a line each, in their order.
    async fn page(&self, keys: &[ConversationKey]) -> Result<String, Refusal> {
        let records = self.conversations.get_many(keys).await?;
        let records: HashMap<&ConversationKey, &Conversation> =
            records.iter().map(|record| (&record.key, record)).collect();
        let mut page = String::new();
        for record in keys.iter().filter_map(|key| records.get(key)) {
            // Documents that were read from JSON.
            page.push_str(&serde_json::to_string(&Export::from(*record)).unwrap_or_default());
            page.push('\n');
        }
        Ok(page)
    }
}

/// What is exported: what one of [`LISTED_BY`] selects, or everything, or a segment of that.
fn selection(request: &Request) -> Result<ConversationFilter, Refusal> {
    let wanted = if bytes(request).is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        document(request)?
    };
    let names = LISTED_BY.join("`, `");
    let bad = || {
        let detail = format!(
            "The body may be left out, or be a JSON object with one of `{names}`, or with `segment` and `segments`: everything in up to {SEGMENTS_MAX} parts, of which the first is 0."
        );
        Refusal::bad_request(detail)
    };
    let members: Vec<(&str, &Value)> = wanted
        .as_object()
        .ok_or_else(bad)?
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    match *members.as_slice() {
        [] => Ok(ConversationFilter::Everyone {
            segment: 0,
            segments: 1,
        }),
        [(name, value)] if LISTED_BY.contains(&name) => selected_by(name, value.as_str().ok_or_else(bad)?),
        [("segment", segment), ("segments", segments)] | [("segments", segments), ("segment", segment)] => {
            match (number(segment), number(segments)) {
                (Some(segment), Some(segments)) if segment < segments && segments <= SEGMENTS_MAX => {
                    Ok(ConversationFilter::Everyone { segment, segments })
                }
                _ => Err(bad()),
            }
        }
        _ => Err(bad()),
    }
}

/// How many bytes a text has as a JSON string, in which these have a backslash before them.
fn size_in_json(text: &str) -> usize {
    let escaped = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | b'\n'));
    text.len() + escaped.count()
}
