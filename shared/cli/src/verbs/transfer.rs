//! `herald import`, `herald export`

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use http::StatusCode;
use serde_json::{Value, json};

use super::conversations::Filter;
use super::message::read_text;
use crate::api::{Api, Ask};
use crate::error::Error;
use crate::output::{Output, list, text};

/// How much is imported by one request; the API takes 5 MiB.
const PIECE: usize = 4 * 1024 * 1024;

/// How many refused lines are shown.
const REFUSED_SHOWN: usize = 20;

/// Import conversations from a file of references, one a line. It may be repeated: what is there stays as it is.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// One reference a line, as the SDKs or `herald export` write them; `-` is standard input
    file: PathBuf,
    /// Begin with this line, where an import broke off
    #[arg(long, value_name = "LINE", default_value_t = 1)]
    from: usize,
}

/// Export conversations, one a line
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    filter: Filter,
}

/// What an import did.
#[derive(Default)]
struct Report {
    imported: u64,
    unchanged: u64,
    /// Line and reason.
    refused: Vec<(u64, String)>,
    refused_count: u64,
}

impl Import {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let lines = read_text(&self.file)?;
        let mut report = Report::default();
        let total = lines.lines().count();
        let mut next = self.from.max(1);
        let mut rest = lines.lines().skip(next - 1).peekable();
        while rest.peek().is_some() {
            let (first, mut piece) = (next, String::new());
            while let Some(line) = rest.next_if(|line| piece.is_empty() || piece.len() + line.len() < PIECE) {
                piece.push_str(line);
                piece.push('\n');
                next += 1;
            }
            if piece.trim().is_empty() {
                continue;
            }
            let ask = Ask::post("/api/conversations/import")
                .body("application/x-ndjson", Bytes::from(piece))
                // A report in which every line is refused.
                .or_by(StatusCode::UNPROCESSABLE_ENTITY);
            let answer = match api.read(ask).await {
                Ok(answer) => answer,
                Err(error) => {
                    output.note(format!("broke off: go on with --from {first}"))?;
                    return Err(error);
                }
            };
            report.add(&answer, first);
            output.note(format!("{} of {total} lines", next - 1))?;
        }
        report.show(output)
    }
}

impl Report {
    fn add(&mut self, answer: &Value, first: usize) {
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        self.imported += number("imported");
        self.unchanged += number("unchanged");
        self.refused_count += number("refusedCount");
        for refused in list(answer, "refused") {
            let line = refused["line"].as_u64().unwrap_or(1) + first as u64 - 1;
            self.refused.push((line, text(refused, "detail").to_owned()));
        }
    }

    fn show(&self, output: &mut Output<'_>) -> Result<(), Error> {
        let refused = self
            .refused
            .iter()
            .map(|(line, detail)| json!({"line": line, "detail": detail}));
        let document = json!({"imported": self.imported, "unchanged": self.unchanged, "refusedCount": self.refused_count,
            "refused": refused.collect::<Vec<_>>()});
        if !output.json(&document)? {
            output.line(format!(
                "{} imported, {} unchanged, {} refused",
                self.imported, self.unchanged, self.refused_count
            ))?;
            for (line, detail) in self.refused.iter().take(REFUSED_SHOWN) {
                output.line(format!("  line {line}: {detail}"))?;
            }
        }
        if self.refused_count > 0 {
            return Err(Error::local(format!("{} lines were refused", self.refused_count)));
        }
        Ok(())
    }
}

impl Export {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let document = self.filter.document();
        let mut next = Some("/api/conversations/export".to_owned());
        while let Some(path) = next {
            let page = api.ask(Ask::post(path).json(document.clone())).await?;
            output.bytes(&page.body)?;
            next = page.next();
        }
        Ok(())
    }
}
