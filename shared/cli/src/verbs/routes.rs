//! `herald routes`

use clap::Subcommand;
use serde_json::{Value, json};

use super::message::read_json;
use super::named::{Name, NamedFile};
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
    Put(NamedFile),
    /// Delete one
    Delete(Name),
    /// Show what a route would make of the event in a file
    Test(NamedFile),
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
            Self::Test(NamedFile { name, file }) => {
                let ask = Ask::post(path(&name) + "/test").json(read_json(&file)?);
                output.document(&api.read(ask).await?)
            }
        }
    }
}
