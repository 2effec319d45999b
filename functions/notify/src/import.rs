//! `POST /api/conversations/import`: stores conversation references from elsewhere: JSON documents, one a line, in an array, or in
//! an object with a key for each.

use std::borrow::Cow;
use std::io::Read;
use std::pin::pin;

use botframework::lossless::LosslessJson;
use flate2::read::MultiGzDecoder;
use futures_util::{StreamExt, stream};
use herald::backend::Backend;
use herald::companions;
use herald::conversation::Import;
use herald::problem::Problem;
use herald::store::{Error, Upsert};
use herald::telemetry::chain;
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::{StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::request::bytes;
use crate::response::{ApiError, json};
use crate::{Context, caller};
use documents::{Document, documents};
use herald::audit::AuditAction;

mod documents;

/// The largest request body, in bytes. Lambda takes events of 6 MB, in which a binary body is base64; 4 MiB fit either way.
pub const IMPORT_MAX_BYTES: usize = 5 * 1024 * 1024;

/// The largest body after decompression, in bytes.
const DECOMPRESSED_MAX_BYTES: usize = 32 * 1024 * 1024;

/// The largest document, in bytes; a larger one is not parsed. A reference has about one thousand, a stored one
/// 64 KiB at most.
const DOCUMENT_MAX_BYTES: usize = 256 * 1024;

/// The first bytes of a compressed body.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// How many lines are imported concurrently.
const IMPORT_CONCURRENCY: usize = 16;

/// The most refused lines that a response lists.
const MAX_REPORTED: usize = 100;

/// How long one request works. API Gateway waits 30 seconds.
const TIME_BUDGET: SignedDuration = SignedDuration::from_secs(20);

/// The start of files that Windows tools write.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The response.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Documents: imported, unchanged and refused. A line has one, unless it is an array or an object of documents.
    lines: usize,
    imported: usize,
    /// Lines that add nothing to what is stored.
    unchanged: usize,
    refused: Vec<Refused>,
    /// All refused lines; `refused` lists the first hundred.
    refused_count: usize,
}

impl Report {
    /// An import of which nothing can be used has failed.
    fn status(&self) -> StatusCode {
        if self.lines > 0 && self.refused_count == self.lines {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::OK
        }
    }
}

#[derive(Debug, Serialize)]
struct Refused {
    /// The number of the line, from 1.
    line: usize,
    /// The reason. It quotes nothing of the line.
    detail: String,
}

/// The result of one document.
enum LineResult {
    Imported,
    Unchanged,
    Refused(String),
}

impl<B: Backend> Context<B> {
    /// `POST /api/conversations/import`
    pub(crate) async fn import(&self, request: &Request) -> Result<Response<Body>, ApiError> {
        let body = bytes(request);
        if body.len() > IMPORT_MAX_BYTES {
            let detail = format!(
                "The body may hold {IMPORT_MAX_BYTES} bytes, found {}. Split the file between its lines, with `split -C 4m`, and send each piece.",
                body.len()
            );
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into());
        }
        let (now, caller) = (self.clock.now(), caller::of(request));
        let body = decompressed(request, body)?;
        let documents = documents(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body));
        let documents = documents.as_slice();
        let each = (0..documents.len()).map(|index| async move {
            let Document { line, text } = documents[index];
            (line, self.import_document(text, now).await)
        });
        let mut each = pin!(stream::iter(each).buffered(IMPORT_CONCURRENCY));
        let mut report = Report::default();
        while let Some((number, result)) = each.next().await {
            let result = result.map_err(|error| {
                AuditAction::Import.of_conversations(&caller, report.imported);
                unavailable(number, &error)
            })?;
            match result {
                LineResult::Imported => report.imported += 1,
                LineResult::Unchanged => report.unchanged += 1,
                LineResult::Refused(detail) => {
                    report.refused_count += 1;
                    if report.refused.len() < MAX_REPORTED {
                        report.refused.push(Refused { line: number, detail });
                    }
                }
            }
            report.lines += 1;
            if self.clock.now().duration_since(now) > TIME_BUDGET {
                AuditAction::Import.of_conversations(&caller, report.imported);
                let next = documents.get(report.lines).map_or(number + 1, |next| next.line);
                return Err(interrupted(next, "The time for one request is over").into());
            }
        }
        AuditAction::Import.of_conversations(&caller, report.imported);
        Ok(json(report.status(), &report))
    }

    /// Imports one document. Only an unavailable table is an error; a wrong document is a result.
    async fn import_document(&self, text: &[u8], now: Timestamp) -> Result<LineResult, Error> {
        if text.len() > DOCUMENT_MAX_BYTES {
            let detail = format!("larger than {DOCUMENT_MAX_BYTES} bytes");
            return Ok(LineResult::Refused(detail));
        }
        // The parser's message may quote the line.
        let Ok(document) = LosslessJson::from_slice(text) else {
            return Ok(LineResult::Refused("not JSON".to_owned()));
        };
        let imports = match Import::read(document, &self.trust) {
            Ok(imports) => imports,
            Err(invalid) => return Ok(LineResult::Refused(invalid.to_string())),
        };
        let mut result = LineResult::Unchanged;
        for import in imports {
            match companions::import(&self.conversations, import, now).await {
                Ok(Upsert::Created | Upsert::Changed) => result = LineResult::Imported,
                Ok(Upsert::Unchanged) => {}
                Ok(Upsert::TooLarge) => {
                    let detail = "with what is stored of it, the reference is too large to be stored";
                    return Ok(LineResult::Refused(detail.to_owned()));
                }
                Err(error @ Error::Corrupt { .. }) => {
                    tracing::error!(error_type = "RecordCorrupt", error = %chain(&error), "a stored conversation cannot be read; its line was not imported");
                    return Ok(LineResult::Refused(
                        "what is remembered of it cannot be read".to_owned(),
                    ));
                }
                Err(Error::Refused { .. }) => {
                    return Ok(LineResult::Refused("too large to be stored".to_owned()));
                }
                Err(error @ Error::Unavailable { .. }) => return Err(error),
            }
        }
        Ok(result)
    }
}

/// The body, decompressed if it is compressed: by its header, or by its first bytes.
fn decompressed<'a>(request: &Request, body: &'a [u8]) -> Result<Cow<'a, [u8]>, ApiError> {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    let is_named = encoding.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"gzip"));
    if !is_named && !body.starts_with(GZIP) {
        return Ok(Cow::Borrowed(body));
    }
    let mut whole = Vec::new();
    let limit = u64::try_from(DECOMPRESSED_MAX_BYTES).unwrap_or(u64::MAX);
    let mut reader = MultiGzDecoder::new(body).take(limit + 1);
    if reader.read_to_end(&mut whole).is_err() {
        return Err(ApiError::bad_request("The body is not gzip, or is cut off."));
    }
    if whole.len() > DECOMPRESSED_MAX_BYTES {
        let detail =
            format!("The decompressed body may hold {DECOMPRESSED_MAX_BYTES} bytes. Split the file.");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into());
    }
    Ok(Cow::Owned(whole))
}

fn unavailable(line: usize, error: &Error) -> ApiError {
    tracing::error!(error_type = "ImportInterrupted", error = %chain(error), "DynamoDB unavailable; the import stopped");
    interrupted(line, "The table became unavailable").into()
}

/// Tells the caller where to continue.
fn interrupted(next: usize, why: &str) -> Problem {
    let detail = format!(
        "{why}: every line before line {next} is stored. Repeat the request in a moment, whole or from that line on; repeated lines change nothing."
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}
