//! `herald list`, `status`, `explain`, `cancel`, `edit`, `retract`

use anstyle::Style;
use clap::Args;
use serde_json::Value;

use super::message::Message;
use super::watch;
use crate::api::{Api, Ask, segment, with_query};
use crate::error::Error;
use crate::output::{BAD, BOLD, DIM, GOOD, OPEN, Output, count, list, moment, text};

/// The outcomes in the order in which they are shown, with whether they are good.
const OUTCOMES: [(&str, Style); 8] = [
    ("delivered", GOOD),
    ("open", OPEN),
    ("rejected", BAD),
    ("gone", BAD),
    ("unknown", BAD),
    ("skipped", DIM),
    ("expired", BAD),
    ("cancelled", DIM),
];

#[derive(Debug, Args)]
pub(crate) struct Notification {
    /// The id of the notification
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// accepted, planning, held, confirmed, sending, cancelling, cancelled or completed
    #[arg(long)]
    state: Option<String>,
    /// Those of this category
    #[arg(long)]
    category: Option<String>,
    /// Those of this caller, as a status shows it
    #[arg(long)]
    caller: Option<String>,
    /// How many
    #[arg(long, default_value = "20")]
    limit: String,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    of: Notification,
    /// Wait until it has ended, and show how far it is
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    of: Notification,
    /// Only the recipients that are due at this moment, as `status` shows it
    #[arg(long, value_name = "TIME")]
    wave: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Edit {
    #[command(flatten)]
    of: Notification,
    #[command(flatten)]
    message: Message,
}

impl Notification {
    fn path(&self) -> String {
        format!("/api/notifications/{}", segment(&self.id))
    }

    pub(crate) async fn explain(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let explained = api.read(Ask::get(format!("{}/explain", self.path()))).await?;
        if output.json(&explained)? {
            return Ok(());
        }
        let open = explained["open"].as_u64().unwrap_or(0);
        output.line(format!(
            "{BOLD}{}{BOLD:#} is {}, {}",
            self.id,
            text(&explained, "state"),
            if open == 0 {
                "nothing is open".to_owned()
            } else {
                format!("{open} open")
            }
        ))?;
        for line in reasons(list(&explained, "reasons")) {
            output.line(format!("  {line}"))?;
        }
        if let Some(finish) = explained["predictedFinish"].as_str() {
            output.line(format!("It is finished at about {finish}"))?;
        }
        if explained["examined"]["complete"] == false {
            output.line("Not all open deliveries were looked at.")?;
        }
        Ok(())
    }

    pub(crate) async fn retract(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let done = api.read(Ask::delete(format!("{}/message", self.path()))).await?;
        changed(
            &done,
            &self.id,
            "is retracted: its copies are being deleted",
            output,
        )
    }
}

impl List {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let query = [
            ("state", self.state.as_deref()),
            ("category", self.category.as_deref()),
            ("caller", self.caller.as_deref()),
            ("limit", Some(self.limit.as_str())),
        ];
        let listed = api
            .read(Ask::get(with_query("/api/notifications", &query)))
            .await?;
        if output.json(&listed)? {
            return Ok(());
        }
        let rows: Vec<[String; 5]> = list(&listed, "notifications")
            .iter()
            .map(|status| {
                [
                    text(status, "id").to_owned(),
                    moment(status, "acceptedAt"),
                    text(status, "state").to_owned(),
                    text(status, "category").to_owned(),
                    counts(status),
                ]
            })
            .collect();
        output.table(["id", "accepted", "state", "category", "counts"], &rows)
    }
}

impl Status {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        if self.watch {
            let ended = watch::until_ended(&self.of.id, api, output).await?;
            return watch::verdict(&ended, output);
        }
        let status = api.read(Ask::get(self.of.path())).await?;
        if output.json(&status)? {
            return Ok(());
        }
        show(&status, output)
    }
}

impl Cancel {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let path = match &self.wave {
            Some(wave) => format!("{}/waves/{}/cancel", self.of.path(), segment(wave)),
            None => format!("{}/cancel", self.of.path()),
        };
        let done = api.read(Ask::post(path)).await?;
        let out = done["alreadyOut"].as_u64();
        let said = out.map_or("is cancelled".to_owned(), |out| {
            format!("is cancelled; {out} were already out")
        });
        changed(&done, &self.of.id, &said, output)
    }
}

impl Edit {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let ask = Ask::put(format!("{}/message", self.of.path())).json(self.message.document()?);
        let done = api.read(ask).await?;
        changed(
            &done,
            &self.of.id,
            "is edited: its copies are being changed",
            output,
        )
    }
}

fn changed(done: &Value, id: &str, said: &str, output: &mut Output<'_>) -> Result<(), Error> {
    if output.json(done)? {
        return Ok(());
    }
    output.line(format!("{BOLD}{id}{BOLD:#} {said}"))
}

/// Prints a status.
pub(crate) fn show(status: &Value, output: &mut Output<'_>) -> Result<(), Error> {
    output.line(format!(
        "{BOLD}{}{BOLD:#} is {}",
        text(status, "id"),
        text(status, "state")
    ))?;
    output.line(format!("  {}", counts(status)))?;
    for (name, shown) in [
        ("acceptedAt", "accepted"),
        ("deliverAt", "due"),
        ("completedAt", "completed"),
        ("cancelledAt", "cancelled"),
        ("retractAt", "retracted at"),
        ("expiresAt", "expires"),
    ] {
        if status[name].is_string() {
            output.line(format!("  {shown:<12}  {}", moment(status, name)))?;
        }
    }
    for name in ["caller", "category", "subject", "schedule"] {
        if let Some(value) = status[name].as_str() {
            output.line(format!("  {name:<12}  {value}"))?;
        }
    }
    for wave in list(status, "waves") {
        let recipients = wave["recipients"].as_u64().unwrap_or(0);
        output.line(format!(
            "  wave          {} at {}: {}",
            count(recipients, "recipient", "recipients"),
            text(wave, "instant"),
            text(wave, "state")
        ))?;
    }
    if let Some(outage) = status["outage"].as_object() {
        let detail = outage.get("detail").and_then(Value::as_str).unwrap_or_default();
        output.line(format!("  {BAD}outage{BAD:#}        {detail}"))?;
    }
    if status["refused"].is_object() {
        let refused = &status["refused"];
        output.line(format!(
            "  {BAD}refused{BAD:#}       {} refuses the message: {}",
            text(refused, "channel"),
            text(refused, "code")
        ))?;
    }
    for warning in list(status, "warnings") {
        output.line(format!("  warning       {}", text(warning, "detail")))?;
    }
    Ok(())
}

/// The counts that are not zero, in words.
pub(crate) fn counts(status: &Value) -> String {
    let counts = &status["counts"];
    let number = |name: &str| counts[name].as_u64().unwrap_or(0);
    let said: Vec<String> = OUTCOMES
        .iter()
        .filter(|(name, _)| number(name) > 0)
        .map(|(name, style)| format!("{style}{} {name}{style:#}", number(name)))
        .collect();
    format!(
        "{} in the audience: {}",
        number("audience"),
        if said.is_empty() {
            "none yet".to_owned()
        } else {
            said.join(", ")
        }
    )
}

/// Why deliveries are open, a line for each reason.
pub(crate) fn reasons(reasons: &[Value]) -> Vec<String> {
    let line = |reason: &Value| {
        let mut said = format!("{} {}", reason["deliveries"], text(reason, "reason"));
        if let Some(code) = reason["code"].as_str() {
            said = format!("{said} ({code})");
        }
        for name in ["until", "since"] {
            if let Some(moment) = reason[name].as_str() {
                said = format!("{said} {name} {moment}");
            }
        }
        match reason["detail"].as_str() {
            Some(detail) => format!("{said}: {detail}"),
            None => said,
        }
    };
    reasons.iter().map(line).collect()
}
