//! `herald categories`

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::named::Name;
use crate::api::{Api, Ask, segment};
use crate::error::Error;
use crate::output::{BOLD, Output, list, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Categories {
    /// List all
    List,
    /// Declare one, or change it
    Put(Put),
    /// Delete one. What people chose about it stays
    Delete(Name),
}

#[derive(Debug, Args)]
pub(crate) struct Put {
    name: String,
    /// What it is called
    #[arg(long)]
    title: Option<String>,
    /// What it is about
    #[arg(long)]
    description: Option<String>,
    /// none, line or button: how its notifications say how to opt out
    #[arg(long, value_name = "FORM")]
    way_out: Option<String>,
}

fn path(name: &str) -> String {
    format!("/api/categories/{}", segment(name))
}

impl Categories {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::List => {
                let listed = api.read(Ask::get("/api/categories")).await?;
                if output.json(&listed)? {
                    return Ok(());
                }
                let row = |it: &Value| ["name", "title", "description"].map(|name| text(it, name).to_owned());
                let rows: Vec<[String; 3]> = list(&listed, "categories").iter().map(row).collect();
                output.table(["name", "title", "description"], &rows)
            }
            Self::Put(put) => {
                let given = [
                    ("title", put.title),
                    ("description", put.description),
                    ("wayOut", put.way_out),
                ];
                let given = given
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
                let document: Map<String, Value> = given.collect();
                let stored = api.read(Ask::put(path(&put.name)).json(document.into())).await?;
                if output.json(&stored)? {
                    return Ok(());
                }
                output.line(format!("{BOLD}{}{BOLD:#} is declared", put.name))
            }
            Self::Delete(Name { name }) => {
                api.ask(Ask::delete(path(&name))).await?;
                output.line(format!("{BOLD}{name}{BOLD:#} is deleted"))
            }
        }
    }
}
