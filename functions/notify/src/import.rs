//! `POST /api/conversations/import`: stores conversation references from elsewhere, one JSON document a line.

use std::pin::pin;

use futures_util::{StreamExt, stream};
use herald::backend::Backend;
use herald::conversation::Import;
use herald::problem::Problem;
use herald::store::{Conversations, Error, Upsert};
use herald::telemetry::chain;
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::audit::Action;
use crate::request::bytes;
use crate::response::{ApiError, json};
use crate::{Context, caller};

/// The largest request body, in bytes. Lambda takes events of 6 MB, in which a binary body is base64; 4 MiB fit either way.
pub const IMPORT_MAX_BYTES: usize = 5 * 1024 * 1024;

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
    /// Lines that are not blank: imported, unchanged and refused.
    lines: usize,
    imported: usize,
    /// Lines that add nothing to what is stored.
    unchanged: usize,
    refused: Vec<Refused>,
    /// All refused lines; `refused` lists the first hundred.
    refused_count: usize,
}

#[derive(Debug, Serialize)]
struct Refused {
    /// The number of the line, from 1.
    line: usize,
    /// The reason. It quotes nothing of the line.
    detail: String,
}

/// The result of one line.
enum LineResult {
    Blank,
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
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
        let lines = lines.as_slice();
        let each = (0..lines.len())
            .map(|index| async move { (index + 1, self.import_line(lines[index], now).await) });
        let mut each = pin!(stream::iter(each).buffered(IMPORT_CONCURRENCY));
        let mut report = Report::default();
        while let Some((number, result)) = each.next().await {
            let result = result.map_err(|error| {
                Action::Import.of_conversations(&caller, report.imported);
                unavailable(number, &error)
            })?;
            match result {
                LineResult::Blank => continue,
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
                Action::Import.of_conversations(&caller, report.imported);
                return Err(interrupted(number + 1, "The time for one request is over").into());
            }
        }
        Action::Import.of_conversations(&caller, report.imported);
        Ok(json(StatusCode::OK, &report))
    }

    /// Imports one line. Only an unavailable table is an error; a wrong line is a result.
    async fn import_line(&self, line: &[u8], now: Timestamp) -> Result<LineResult, Error> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(LineResult::Blank);
        }
        // The parser's message may quote the line.
        let Ok(document) = serde_json::from_slice(line) else {
            return Ok(LineResult::Refused("not JSON".to_owned()));
        };
        let imports = match Import::read(document, &self.trust) {
            Ok(imports) => imports,
            Err(invalid) => return Ok(LineResult::Refused(invalid.to_string())),
        };
        let mut result = LineResult::Unchanged;
        for import in imports {
            match self.conversations.import(import, now).await {
                Ok(Upsert::Created | Upsert::Changed) => result = LineResult::Imported,
                Ok(Upsert::Unchanged) => {}
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
