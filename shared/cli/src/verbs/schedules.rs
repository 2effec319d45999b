//! `herald schedules`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::message::read_json;
use super::named::{Name, NamedFile};
use crate::api::{Api, Ask, segment};
use crate::error::Error;
use crate::output::{BOLD, Output, list, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Schedules {
    /// List all
    List,
    /// Show one, with its next five occurrences
    Show(Name),
    /// Write one from a file: {"cron": …, "zone": …, "notification": …}
    Put(NamedFile),
    /// Delete one. What it has sent stays
    Delete(Name),
    /// Send nothing of it until it is resumed
    Pause(Name),
    /// Resume it
    Resume(Name),
    /// Leave out one occurrence
    Skip(Skip),
}

#[derive(Debug, Args)]
pub(crate) struct Skip {
    name: String,
    /// Which one; the next if left out
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

fn path(name: &str) -> String {
    format!("/api/schedules/{}", segment(name))
}

impl Schedules {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let (ask, said) = match self {
            Self::List => return listed(api, output).await,
            Self::Show(Name { name }) => return show(&api.read(Ask::get(path(&name))).await?, output),
            Self::Put(put) => (
                Ask::put(path(&put.name)).json(read_json(&put.file)?),
                "is written",
            ),
            Self::Delete(Name { name }) => {
                api.ask(Ask::delete(path(&name))).await?;
                return output.line(format!("{BOLD}{name}{BOLD:#} is deleted"));
            }
            Self::Pause(Name { name }) => (Ask::post(path(&name) + "/pause"), "is paused"),
            Self::Resume(Name { name }) => (Ask::post(path(&name) + "/resume"), "is resumed"),
            Self::Skip(skip) => {
                let ask = Ask::post(path(&skip.name) + "/skip");
                let ask = match skip.at {
                    Some(at) => ask.json(json!({"at": at})),
                    // The next one at the time of the request: a repetition would leave out another.
                    None => ask.once(),
                };
                (ask, "leaves out that occurrence")
            }
        };
        let schedule = api.read(ask).await?;
        output.note(format!("{BOLD}{}{BOLD:#} {said}", text(&schedule, "name")))?;
        show(&schedule, output)
    }
}

async fn listed(api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
    let listed = api.list("/api/schedules", &[], "schedules").await?;
    if output.json(&json!({"schedules": listed}))? {
        return Ok(());
    }
    let row = |schedule: &Value| {
        let next = list(schedule, "next")
            .first()
            .and_then(Value::as_str)
            .map(str::to_owned);
        [
            text(schedule, "name").to_owned(),
            text(schedule, "state").to_owned(),
            text(&schedule["schedule"], "cron").to_owned(),
            text(&schedule["schedule"], "zone").to_owned(),
            next.unwrap_or_default(),
        ]
    };
    let rows: Vec<[String; 5]> = listed.iter().map(row).collect();
    output.table(["name", "state", "cron", "zone", "next"], &rows)
}

fn show(schedule: &Value, output: &mut Output<'_>) -> Result<(), Error> {
    if output.json(schedule)? {
        return Ok(());
    }
    output.line(format!(
        "{BOLD}{}{BOLD:#} {} in {}, {}",
        text(schedule, "name"),
        text(&schedule["schedule"], "cron"),
        text(&schedule["schedule"], "zone"),
        text(schedule, "state")
    ))?;
    for next in list(schedule, "next").iter().filter_map(Value::as_str) {
        output.line(format!("  next     {next}"))?;
    }
    for skipped in list(schedule, "skipped").iter().filter_map(Value::as_str) {
        output.line(format!("  skipped  {skipped}"))?;
    }
    for past in list(schedule, "past") {
        output.line(format!("  past     {} {}", text(past, "at"), text(past, "state")))?;
    }
    for warning in list(schedule, "warnings") {
        output.line(format!("  warning  {}", text(warning, "detail")))?;
    }
    Ok(())
}
