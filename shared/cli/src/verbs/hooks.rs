//! `herald hooks`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::{Api, Ask, segment};
use crate::error::Error;
use crate::output::{BOLD, Output, text};
use crate::selector::{Selector, audience};

#[derive(Debug, Subcommand)]
pub(crate) enum Hooks {
    /// List all, without their addresses
    List,
    /// Make one, and print its address, which is shown once
    Create(Create),
    /// Give one a new address; the old one ends
    Rotate(Id),
    /// Delete one
    Delete(Id),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it is called
    name: String,
    /// Who gets what is posted; as for `send`
    #[arg(long, required = true, value_name = "SELECTOR")]
    to: Vec<Selector>,
    /// The Entra tenant of the users
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Id {
    id: String,
}

fn path(id: &str) -> String {
    format!("/api/hooks/{}", segment(id))
}

impl Hooks {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::List => {
                let listed = api.list("/api/hooks", &[], "hooks").await?;
                if output.json(&json!({"hooks": listed}))? {
                    return Ok(());
                }
                let row = |it: &Value| ["id", "name", "caller"].map(|name| text(it, name).to_owned());
                let rows: Vec<[String; 3]> = listed.iter().map(row).collect();
                output.table(["id", "name", "caller"], &rows)
            }
            Self::Create(create) => {
                let audience = audience(&create.to, create.tenant.as_deref(), &[]);
                let document = json!({"name": create.name, "audience": audience});
                // A repetition would make a second hook.
                let ask = Ask::post("/api/hooks").json(document).once();
                address(&api.read(ask).await?, output)
            }
            Self::Rotate(Id { id }) => {
                address(&api.read(Ask::put(path(&id) + "/secret").once()).await?, output)
            }
            Self::Delete(Id { id }) => {
                api.ask(Ask::delete(path(&id))).await?;
                output.line(format!("{BOLD}{id}{BOLD:#} is deleted"))
            }
        }
    }
}

/// Prints the address to standard output, and the id to standard error.
fn address(hook: &Value, output: &mut Output<'_>) -> Result<(), Error> {
    if output.json(hook)? {
        return Ok(());
    }
    output.note(format!("{BOLD}{}{BOLD:#} takes posts at", text(hook, "id")))?;
    output.line(text(hook, "url"))
}
