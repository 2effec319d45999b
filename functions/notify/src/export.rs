//! `POST /api/conversations/export`: conversations as JSON lines, in the form that an import takes.

use std::collections::HashMap;

use herald::backend::Backend;
use herald::conversation::{Conversation, ConversationKey, Export};
use herald::store::{ConversationFilter, Conversations};
use jiff::SignedDuration;
use lambda_http::http::{HeaderName, HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde_json::Value;

use crate::conversations::{LISTED_BY, filter_by, list_error};
use crate::request::{CursorScope, Query, bytes, document};
use crate::response::{ApiError, of_type};
use crate::{Context, caller};
use herald::audit::AuditAction;

/// The largest response, in bytes as Lambda counts them: it is a JSON string there, of 6 MB at most.
pub const EXPORT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How many conversations are read at once. This many of the largest references fit into one response.
const PAGE: usize = 32;

/// How long one request works. API Gateway waits 30 seconds.
const TIME_BUDGET: SignedDuration = SignedDuration::from_secs(15);

/// The most parts that a full export can be divided into.
const MAX_SEGMENTS: u16 = 64;

/// The cursor of the next page. The `Link` header has it in a URL.
const CURSOR_HEADER: HeaderName = HeaderName::from_static("herald-cursor");

impl<B: Backend> Context<B> {
    /// `POST /api/conversations/export`
    pub(crate) async fn export(&self, query: &Query, request: &Request) -> Result<Response<Body>, ApiError> {
        let filter = filter(request)?;
        let list = CursorScope::new("export", &[&format!("{filter:?}")]);
        let mut cursor = query.cursor(&list)?;
        let began = self.clock.now();
        let (mut text, mut size, mut count) = (String::new(), 0, 0);
        loop {
            let listing = self
                .conversations
                .list(&filter, cursor.as_deref(), PAGE)
                .await
                .map_err(list_error)?;
            let keys: Vec<ConversationKey> = listing.items.into_iter().map(|found| found.key).collect();
            let page = self.export_lines(&keys).await?;
            let page_size = size_in_json(&page);
            if size > 0 && size + page_size > EXPORT_MAX_BYTES {
                // The next request reads this page again.
                break;
            }
            text.push_str(&page);
            count += page.lines().count();
            size += page_size;
            cursor = listing.cursor;
            if cursor.is_none() || self.clock.now().duration_since(began) > TIME_BUDGET {
                break;
            }
        }
        AuditAction::Export.of_conversations(&caller::of(request), count);
        let mut response = of_type(StatusCode::OK, "application/x-ndjson", text);
        let attachment = HeaderValue::from_static("attachment; filename=\"conversations.ndjson\"");
        response
            .headers_mut()
            .insert(header::CONTENT_DISPOSITION, attachment);
        if let Some(cursor) = cursor {
            let cursor = list.cursor(&cursor);
            let link = format!("</api/conversations/export?cursor={cursor}>; rel=\"next\"");
            for (name, value) in [(header::LINK, link), (CURSOR_HEADER, cursor)] {
                if let Ok(value) = HeaderValue::from_str(&value) {
                    response.headers_mut().insert(name, value);
                }
            }
        }
        Ok(response)
    }

    /// These conversations as JSON lines, in order.
    async fn export_lines(&self, keys: &[ConversationKey]) -> Result<String, ApiError> {
        let records = self.conversations.get_many(keys).await?;
        let records: HashMap<&ConversationKey, &Conversation> =
            records.iter().map(|record| (&record.key, record)).collect();
        let mut page = String::new();
        for record in keys.iter().filter_map(|key| records.get(key)) {
            // These documents were read from JSON, so they can be written.
            page.push_str(&serde_json::to_string(&Export::from(*record)).unwrap_or_default());
            page.push('\n');
        }
        Ok(page)
    }
}

/// The filter in the body: one of [`LISTED_BY`], a segment of everything, or everything if there is no body.
fn filter(request: &Request) -> Result<ConversationFilter, ApiError> {
    let wanted = if bytes(request).is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        document(request)?.value
    };
    let names = LISTED_BY.join("`, `");
    let bad = || {
        let detail = format!(
            "The body may be left out, or be a JSON object with one of `{names}`, or with `segment` and `segments`: everything in up to {MAX_SEGMENTS} parts, of which the first is 0."
        );
        ApiError::bad_request(detail)
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
        [(name, value)] if LISTED_BY.contains(&name) => filter_by(name, value.as_str().ok_or_else(bad)?),
        [("segment", segment), ("segments", segments)] | [("segments", segments), ("segment", segment)] => {
            match (number(segment), number(segments)) {
                (Some(segment), Some(segments)) if segment < segments && segments <= MAX_SEGMENTS => {
                    Ok(ConversationFilter::Everyone { segment, segments })
                }
                _ => Err(bad()),
            }
        }
        _ => Err(bad()),
    }
}

/// The size of the text as a JSON string, where these bytes are escaped.
fn size_in_json(text: &str) -> usize {
    let escaped = text.bytes().filter(|byte| matches!(byte, b'"' | b'\\' | b'\n'));
    text.len() + escaped.count()
}
