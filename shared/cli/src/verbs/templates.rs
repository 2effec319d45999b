//! `herald templates`

use clap::Subcommand;
use serde_json::{Value, json};

use super::message::read_json;
use super::named::{Name, NamedFile};
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
    Put(NamedFile),
    /// Delete one. What was sent of it stays
    Delete(Name),
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
            Self::Show(Name { name }) => output.document(&api.read(Ask::get(path(&name))).await?),
            Self::Put(NamedFile { name, file }) => {
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
