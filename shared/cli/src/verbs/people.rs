//! `herald people`

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::api::{Api, Ask, segment, with_query};
use crate::error::Error;
use crate::output::{BAD, BOLD, GOOD, Output, count, text};

#[derive(Debug, Subcommand)]
pub(crate) enum People {
    /// Show what a person opted out of, their time zone and quiet hours
    Show(Person),
    /// Change what a person opted out of, their time zone and quiet hours; what is not named stays
    Set(Set),
    /// Erase a person: their conversations, choices, and what the bot keeps of them
    Erase(Erase),
}

#[derive(Debug, Args)]
pub(crate) struct Person {
    /// Entra object id, or the channel's user id
    id: String,
    /// The tenant, if the bot knows the person in several or none
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// The channel, if it is not the only one
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    #[command(flatten)]
    of: Person,
    /// A category that they do not want, or `all`; may be repeated
    #[arg(long, value_name = "CATEGORY")]
    stop: Vec<String>,
    /// A category that they want, or `all`; may be repeated
    #[arg(long, value_name = "CATEGORY")]
    start: Vec<String>,
    /// Their time zone, such as Europe/Berlin
    #[arg(long)]
    zone: Option<String>,
    /// Their quiet hours, such as 22:00-07:00; `none` if no hours are quiet
    #[arg(long, value_name = "FROM-TO")]
    quiet: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// Entra object id, or the channel's user id
    id: String,
    /// It cannot be undone
    #[arg(long, required = true)]
    yes: bool,
}

impl Person {
    fn path(&self) -> String {
        let query = [
            ("tenant", self.tenant.as_deref()),
            ("channel", self.channel.as_deref()),
        ];
        with_query(&format!("/api/people/{}/preferences", segment(&self.id)), &query)
    }
}

impl People {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::Show(person) => show(&api.read(Ask::get(person.path())).await?, output),
            Self::Set(set) => {
                let path = set.of.path();
                let now = api.read(Ask::get(&path)).await?;
                let changed = set.applied(&now)?;
                show(&api.read(Ask::put(&path).json(changed)).await?, output)
            }
            Self::Erase(Erase { id, yes: _ }) => {
                let done = api
                    .read(Ask::delete(format!("/api/users/{}", segment(&id))))
                    .await?;
                if output.json(&done)? {
                    return Ok(());
                }
                let conversations = done["conversations"].as_u64().unwrap_or(0);
                output.line(format!(
                    "{BOLD}{id}{BOLD:#} is erased, with {}",
                    count(conversations, "conversation", "conversations")
                ))
            }
        }
    }
}

impl Set {
    /// The preferences with the changes.
    fn applied(&self, now: &Value) -> Result<Value, Error> {
        let kept = ["all", "categories", "zone", "quietHours"].into_iter();
        let kept = kept.filter_map(|name| Some((name.to_owned(), now.get(name)?.clone())));
        let mut new: Map<String, Value> = kept.collect();
        for (names, choice) in [(&self.stop, "optedOut"), (&self.start, "optedIn")] {
            for name in names {
                if name == "all" {
                    new.insert("all".to_owned(), choice.into());
                    // As the words of the bot do: a choice about all ends those about categories.
                    new.insert("categories".to_owned(), json!({}));
                }
            }
        }
        for (names, choice) in [(&self.stop, "optedOut"), (&self.start, "optedIn")] {
            for name in names.iter().filter(|name| *name != "all") {
                new.entry("categories").or_insert_with(|| json!({}))[name] = choice.into();
            }
        }
        if let Some(zone) = &self.zone {
            new.insert("zone".to_owned(), zone.as_str().into());
        }
        if let Some(quiet) = &self.quiet {
            let hours = match (quiet.as_str(), quiet.split_once('-')) {
                ("none", _) => Value::Null,
                (_, Some((from, to))) => json!({"from": from, "to": to}),
                (_, None) => {
                    let detail = format!("`{quiet}` is no time of day such as 22:00-07:00, nor `none`");
                    return Err(Error::Usage(detail));
                }
            };
            new.insert("quietHours".to_owned(), hours);
        }
        Ok(new.into())
    }
}

fn show(preferences: &Value, output: &mut Output<'_>) -> Result<(), Error> {
    if output.json(preferences)? {
        return Ok(());
    }
    let choice = |value: &Value| match value.as_str() {
        Some("optedOut") => format!("{BAD}opted out{BAD:#}"),
        _ => format!("{GOOD}wanted{GOOD:#}"),
    };
    output.line(format!("everything else  {}", choice(&preferences["all"])))?;
    for (name, value) in preferences["categories"].as_object().into_iter().flatten() {
        output.line(format!("{name:<15}  {}", choice(value)))?;
    }
    if preferences["zone"].is_string() {
        output.line(format!("time zone        {}", text(preferences, "zone")))?;
    }
    match preferences.get("quietHours") {
        None => Ok(()),
        Some(Value::Null) => output.line("quiet hours      none"),
        Some(hours) => output.line(format!(
            "quiet hours      {}-{}",
            text(hours, "from"),
            text(hours, "to")
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        set: Set,
    }

    fn applied(arguments: &[&str], now: &Value) -> Value {
        let line = ["set", "ada"].iter().chain(arguments);
        Line::parse_from(line).set.applied(now).unwrap()
    }

    #[test]
    fn what_is_not_named_stays() {
        let now = json!({"channel": "msteams", "all": "optedIn", "categories": {"news": "optedOut"}, "zone": "Asia/Tokyo",
            "quietHours": null, "changedAt": "2027-01-15T08:00:00Z"});
        assert_eq!(
            applied(
                &["--start", "news", "--stop", "outages", "--quiet", "22:00-07:00"],
                &now
            ),
            json!({"all": "optedIn", "categories": {"news": "optedIn", "outages": "optedOut"}, "zone": "Asia/Tokyo",
                "quietHours": {"from": "22:00", "to": "07:00"}})
        );
        assert_eq!(
            applied(&["--stop", "all", "--start", "outages"], &now),
            json!({"all": "optedOut", "categories": {"outages": "optedIn"}, "zone": "Asia/Tokyo", "quietHours": null})
        );
    }
}
