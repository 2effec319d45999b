//! `herald conversations`, `herald tags`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::{Api, Ask, segment};
use crate::error::Error;
use crate::output::{BOLD, Output, list, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Conversations {
    /// List those of a tenant, a person, a team, a tag or a state
    List(Filter),
    /// Show one
    Show(Named),
    /// Erase one, with what the bot keeps of it
    Erase(Erase),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tags {
    /// Add a tag to a conversation
    Add(Tag),
    /// Remove a tag from a conversation
    Remove(Tag),
}

/// Exactly one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Filter {
    #[arg(long, value_name = "ID")]
    pub(crate) tenant: Option<String>,
    /// Entra object id
    #[arg(long, value_name = "ID")]
    pub(crate) user: Option<String>,
    #[arg(long, value_name = "ID")]
    pub(crate) team: Option<String>,
    #[arg(long, value_name = "NAME")]
    pub(crate) tag: Option<String>,
    /// blocked or removed
    #[arg(long)]
    pub(crate) state: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The conversation's key, as lists print it, or its id
    key: String,
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    #[command(flatten)]
    of: Named,
    /// It cannot be undone
    #[arg(long, required = true)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tag {
    #[command(flatten)]
    of: Named,
    /// The tag
    tag: String,
}

impl Filter {
    /// The parameters of a query.
    fn query(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("tenant", self.tenant.as_deref()),
            ("user", self.user.as_deref()),
            ("team", self.team.as_deref()),
            ("tag", self.tag.as_deref()),
            ("state", self.state.as_deref()),
        ]
    }

    /// The document of an export.
    pub(crate) fn document(&self) -> Value {
        let given = self.query().into_iter();
        let given = given.filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
        Value::Object(given.collect())
    }
}

impl Named {
    fn path(&self) -> String {
        format!("/api/conversations/{}", segment(&self.key))
    }
}

impl Conversations {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::List(filter) => filter.list(api, output).await,
            Self::Show(of) => {
                let found = api.read(Ask::get(of.path())).await?;
                if output.json(&found)? {
                    return Ok(());
                }
                output.line(format!("{BOLD}{}{BOLD:#}", text(&found, "conversation")))?;
                for (name, value) in found.as_object().into_iter().flatten() {
                    if name != "conversation" {
                        output.line(format!("  {name:<14}  {}", shown(value)))?;
                    }
                }
                Ok(())
            }
            Self::Erase(Erase { of, yes: _ }) => {
                api.ask(Ask::delete(of.path())).await?;
                output.line(format!("{BOLD}{}{BOLD:#} is erased", of.key))
            }
        }
    }
}

impl Filter {
    async fn list(&self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let found = api
            .list("/api/conversations", &self.query(), "conversations")
            .await?;
        if output.json(&json!({"conversations": found}))? {
            return Ok(());
        }
        let row = |found: &Value| {
            let tags = found["tags"].as_array().into_iter().flatten();
            let tags: Vec<&str> = tags.filter_map(Value::as_str).collect();
            [
                text(found, "scope").to_owned(),
                text(found, "state").to_owned(),
                text(found, "user").to_owned(),
                tags.join(", "),
                text(found, "conversation").to_owned(),
            ]
        };
        let rows: Vec<[String; 5]> = found.iter().map(row).collect();
        output.table(["scope", "state", "user", "tags", "conversation"], &rows)
    }
}

impl Tags {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let path = |tag: &Tag| format!("{}/tags/{}", tag.of.path(), segment(&tag.tag));
        let done = match &self {
            Self::Add(tag) => api.read(Ask::put(path(tag))).await?,
            Self::Remove(tag) => api.read(Ask::delete(path(tag))).await?,
        };
        if output.json(&done)? {
            return Ok(());
        }
        let tags: Vec<&str> = list(&done, "tags").iter().filter_map(Value::as_str).collect();
        let tags = if tags.is_empty() {
            "no tag".to_owned()
        } else {
            tags.join(", ")
        };
        output.line(format!(
            "{BOLD}{}{BOLD:#} carries {tags}",
            text(&done, "conversation")
        ))
    }
}

/// A value as a person reads it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}
