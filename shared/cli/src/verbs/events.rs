//! `herald events`, `herald reset-rate`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::{Api, Ask, segment};
use crate::error::Error;
use crate::output::{BOLD, Output, count, moment, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Events {
    /// List events that were refused, with the reasons
    Failed,
    /// Try those again that are in the dead-letter queue
    Redrive,
}

#[derive(Debug, Args)]
pub(crate) struct ResetRate {
    /// The bucket, as `explain` shows it: channel|bot|tenant
    bucket: String,
}

impl Events {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::Failed => {
                let listed = api.list("/api/events/failed", &[], "events").await?;
                if output.json(&json!({"events": listed}))? {
                    return Ok(());
                }
                let row = |it: &Value| {
                    [
                        moment(it, "lastFailedAt"),
                        text(it, "id").to_owned(),
                        text(&it["problem"], "detail").to_owned(),
                    ]
                };
                let rows: Vec<[String; 3]> = listed.iter().map(row).collect();
                output.table(["failed at", "event", "problem"], &rows)
            }
            Self::Redrive => {
                let done = api.read(Ask::post("/api/events/failed/redrive")).await?;
                if output.json(&done)? {
                    return Ok(());
                }
                let redriven = done["redriven"].as_u64().unwrap_or(0);
                output.line(format!(
                    "{} tried again",
                    count(redriven, "event is", "events are")
                ))
            }
        }
    }
}

impl ResetRate {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        api.ask(Ask::delete(format!("/api/rates/{}", segment(&self.bucket))))
            .await?;
        output.line(format!("{BOLD}{}{BOLD:#} is sent to again", self.bucket))
    }
}
