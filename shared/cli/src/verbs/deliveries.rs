//! `herald deliveries`

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use http::header::{ACCEPT, HeaderValue};
use serde_json::{Value, json};

use crate::api::{Api, Ask, segment, with_query};
use crate::error::Error;
use crate::output::{Output, moment, text};

/// List what became of each recipient: all of them, page by page
#[derive(Debug, Args)]
pub(crate) struct Deliveries {
    /// The id of the notification
    id: String,
    /// delivered, rejected, gone, unknown, skipped, expired, cancelled or open
    #[arg(long)]
    state: Option<String>,
    /// Write the whole report as CSV to this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

impl Deliveries {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let path = format!("/api/notifications/{}/deliveries", segment(&self.id));
        match &self.csv {
            Some(file) => self.report(&path, file, api, output).await,
            None => self.list(&path, api, output).await,
        }
    }

    async fn list(&self, path: &str, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let query = [("state", self.state.as_deref())];
        let deliveries = api.list(path, &query, "deliveries").await?;
        if output.json(&json!({"deliveries": deliveries}))? {
            return Ok(());
        }
        let rows: Vec<[String; 4]> = deliveries.iter().map(row).collect();
        output.table(["state", "at", "why", "recipient"], &rows)
    }

    async fn report(&self, path: &str, file: &Path, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let query = [("format", Some("csv")), ("state", self.state.as_deref())];
        let mut next = Some(with_query(path, &query));
        let is_output = file == Path::new("-");
        let mut target = if is_output {
            None
        } else {
            Some(File::create(file).map_err(|error| Error::file(file, error))?)
        };
        let mut bytes = 0;
        while let Some(path) = next {
            let page = api
                .ask(Ask::get(path).header(ACCEPT, HeaderValue::from_static("text/csv")))
                .await?;
            bytes += page.body.len();
            match &mut target {
                Some(target) => target
                    .write_all(&page.body)
                    .map_err(|error| Error::file(file, error))?,
                None => output.bytes(&page.body)?,
            }
            next = page.next();
        }
        if is_output {
            return Ok(());
        }
        output.note(format!("{}: {bytes} bytes", file.display()))
    }
}

fn row(delivery: &Value) -> [String; 4] {
    let names = [
        "conversation",
        "user",
        "account",
        "unknownConversation",
        "mail",
        "upn",
        "group",
        "directory",
        "manager",
    ];
    let recipient = names.into_iter().find_map(|name| delivery[name].as_str());
    let why: Vec<&str> = ["code", "reason", "detail", "why"]
        .into_iter()
        .filter_map(|name| delivery[name].as_str())
        .collect();
    [
        text(delivery, "state").to_owned(),
        moment(delivery, "at"),
        why.join(": "),
        recipient.unwrap_or_default().to_owned(),
    ]
}
