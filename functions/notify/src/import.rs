//! `POST /api/conversations/import`: what was kept of conversations elsewhere is remembered here, a document a line.

use std::pin::pin;

use futures_util::{StreamExt, stream};
use herald::conversation::Import;
use herald::problem::Problem;
use herald::store::{Conversations, Error, Upsert};
use herald::telemetry::chain;
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;

use crate::Context;
use crate::accept::bytes;
use crate::answer::{Refusal, json};

/// The largest request body, in bytes. Lambda takes events of 6 MB, in which a body that is no text is a third larger: pieces
/// of 4 MiB fit however they are sent.
pub const IMPORT_MAX_BYTES: usize = 5 * 1024 * 1024;

/// How many lines are under way at once.
const UNDER_WAY: usize = 16;

/// How many lines are told why they were refused.
const TOLD: usize = 100;

/// How long one request works: API Gateway waits 30 seconds.
const PATIENCE: SignedDuration = SignedDuration::from_secs(20);

/// What files that were written on Windows begin with.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What a caller reads afterwards.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// How many lines had something on them: those that were imported, unchanged and refused.
    lines: usize,
    imported: usize,
    /// Those that were known already, with all that they say.
    unchanged: usize,
    refused: Vec<Refused>,
    /// How many were refused, of whom no more than a hundred are listed.
    refused_count: usize,
}

/// A line that was not taken.
#[derive(Debug, Serialize)]
struct Refused {
    /// Which one, from 1.
    line: usize,
    /// Why. Nothing of what stands there.
    detail: String,
}

/// What became of one line.
enum Taken {
    Blank,
    Imported,
    Unchanged,
    Refused(String),
}

impl<S, C: Conversations, L, Q, E> Context<S, C, L, Q, E> {
    /// `POST /api/conversations/import`
    pub(crate) async fn import(&self, request: &Request) -> Result<Response<Body>, Refusal> {
        let body = bytes(request);
        if body.len() > IMPORT_MAX_BYTES {
            let detail = format!(
                "The body may hold {IMPORT_MAX_BYTES} bytes, found {}. Split the file between its lines, with `split -C 4m`, and send each piece.",
                body.len()
            );
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into());
        }
        let now = self.clock.now();
        let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
        let lines = lines.as_slice();
        let each =
            (0..lines.len()).map(|index| async move { (index + 1, self.take(lines[index], now).await) });
        let mut each = pin!(stream::iter(each).buffered(UNDER_WAY));
        let mut answer = Report::default();
        while let Some((number, taken)) = each.next().await {
            match taken.map_err(|error| interrupted(number, &error))? {
                Taken::Blank => continue,
                Taken::Imported => answer.imported += 1,
                Taken::Unchanged => answer.unchanged += 1,
                Taken::Refused(detail) => {
                    answer.refused_count += 1;
                    if answer.refused.len() < TOLD {
                        answer.refused.push(Refused { line: number, detail });
                    }
                }
            }
            answer.lines += 1;
            if self.clock.now().duration_since(now) > PATIENCE {
                return Err(stands(number + 1, "The time for one request is over").into());
            }
        }
        tracing::info!(
            lines = answer.lines,
            imported = answer.imported,
            refused = answer.refused_count,
            "conversations were imported"
        );
        Ok(json(StatusCode::OK, &answer))
    }

    /// Takes one line.
    ///
    /// # Errors
    /// When the table is away. What is wrong with the line itself is no error.
    async fn take(&self, line: &[u8], now: Timestamp) -> Result<Taken, Error> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Taken::Blank);
        }
        // What the parser says of a value may quote it.
        let Ok(document) = serde_json::from_slice(line) else {
            return Ok(Taken::Refused("not JSON".to_owned()));
        };
        let imports = match Import::read(document, &self.trust) {
            Ok(imports) => imports,
            Err(unfit) => return Ok(Taken::Refused(unfit.to_string())),
        };
        let mut taken = Taken::Unchanged;
        for import in imports {
            match self.conversations.import(import, now).await {
                Ok(Upsert::Created | Upsert::Changed) => taken = Taken::Imported,
                Ok(Upsert::Unchanged) => {}
                Err(error @ Error::Corrupt { .. }) => {
                    tracing::error!(error_type = "RecordCorrupt", error = %chain(&error), "a line was not imported");
                    return Ok(Taken::Refused(
                        "what is remembered of it cannot be read".to_owned(),
                    ));
                }
                Err(error @ Error::Unavailable { .. }) => return Err(error),
            }
        }
        Ok(taken)
    }
}

fn interrupted(line: usize, error: &Error) -> Refusal {
    tracing::error!(error_type = "Unfinished", error = %chain(error), "an import was interrupted");
    stands(line, "The table went away").into()
}

/// Up to where the work is done.
fn stands(next: usize, why: &str) -> Problem {
    let detail = format!(
        "{why}: every line before line {next} stands. Repeat the request in a moment, whole or from that line on: what stands is not changed by it."
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}
