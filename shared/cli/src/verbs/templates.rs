//! `herald templates`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::message::read_json;
use crate::api::{Api, Ask, segment};
use crate::error::Error;
use crate::output::{BOLD, Output, moment, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Templates {
    /// List all
    List,
    /// Show one
    Show(Name),
    /// Write one from a file: {"message": …, "description": …}
    Put(WithFile),
    /// Delete one. What was sent of it stays
    Delete(Name),
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
    format!("/api/templates/{}", segment(name))
}

impl Templates {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::List => {
                let listed = api.list("/api/templates", &[], "templates").await?;
                if output.json(&json!({"templates": listed}))? {
                    return Ok(());
                }
                let row = |it: &Value| {
                    let version = it["version"].as_u64().map(|version| version.to_string());
                    [
                        text(it, "name").to_owned(),
                        version.unwrap_or_else(|| "built in".to_owned()),
                        moment(it, "changedAt"),
                    ]
                };
                let rows: Vec<[String; 3]> = listed.iter().map(row).collect();
                output.table(["name", "version", "changed"], &rows)
            }
            Self::Show(Name { name }) => {
                let template = api.read(Ask::get(path(&name))).await?;
                output.line(serde_json::to_string_pretty(&template).unwrap_or_default())
            }
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
        }
    }
}
