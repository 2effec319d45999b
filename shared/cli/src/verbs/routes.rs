//! `herald routes`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::message::read_json;
use crate::api::{Api, Ask, segment};
use crate::error::Error;
use crate::output::{BOLD, Output, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Routes {
    /// List all
    List,
    /// Show one
    Show(Name),
    /// Write one from a file, as the API takes it
    Put(WithFile),
    /// Delete one
    Delete(Name),
    /// Show what a route would make of the event in a file
    Test(WithFile),
}

#[derive(Debug, Args)]
pub(crate) struct Name {
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct WithFile {
    name: String,
    /// A file with JSON; `-` is standard input
    file: PathBuf,
}

fn path(name: &str) -> String {
    format!("/api/routes/{}", segment(name))
}

impl Routes {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::List => {
                let listed = api.list("/api/routes", &[], "routes").await?;
                if output.json(&json!({"routes": listed}))? {
                    return Ok(());
                }
                let row = |it: &Value| {
                    [
                        text(it, "name").to_owned(),
                        text(&it["route"], "description").to_owned(),
                    ]
                };
                let rows: Vec<[String; 2]> = listed.iter().map(row).collect();
                output.table(["name", "description"], &rows)
            }
            // Documents of which every part counts.
            Self::Show(Name { name }) => document(&api.read(Ask::get(path(&name))).await?, output),
            Self::Put(WithFile { name, file }) => {
                let stored = api.read(Ask::put(path(&name)).json(read_json(&file)?)).await?;
                if output.json(&stored)? {
                    return Ok(());
                }
                output.line(format!("{BOLD}{name}{BOLD:#} is written"))
            }
            Self::Delete(Name { name }) => {
                api.ask(Ask::delete(path(&name))).await?;
                output.line(format!("{BOLD}{name}{BOLD:#} is deleted"))
            }
            Self::Test(WithFile { name, file }) => {
                let ask = Ask::post(path(&name) + "/test").json(read_json(&file)?);
                document(&api.read(ask).await?, output)
            }
        }
    }
}

fn document(document: &Value, output: &mut Output<'_>) -> Result<(), Error> {
    output.line(serde_json::to_string_pretty(document).unwrap_or_default())
}
