//! `herald send`

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::message::{Message, read_json};
use super::{plan, watch};
use crate::api::{Api, Ask};
use crate::error::Error;
use crate::output::{BOLD, Output, list, text};
use crate::selector::{Selector, audience};

/// Send a notification. Without --watch the command ends when the API has accepted it, which is a promise.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct Send {
    #[command(flatten)]
    message: Message,
    /// A stored template, instead of a message
    #[arg(long, value_name = "NAME", conflicts_with_all = ["text", "card", "activity", "summary"])]
    template: Option<String>,
    /// A file with what expressions of the message or the template read; `-` is standard input
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// A file with texts by language, which expressions read as `texts`
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Who gets it; may be repeated. everyone, tenant:ID, user:ID, account:ID, conversation:ID, tag:NAME, channel:ID, chat:ID, team:ID
    /// (its General channel), channels-of:ID, members-of:ID, group:ID, directory:TENANT, mail:ADDRESS, upn:NAME, manager:ID, or a
    /// selector as JSON
    #[arg(long, required = true, value_name = "SELECTOR")]
    to: Vec<Selector>,
    /// The Entra tenant of users, groups, addresses and managers
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// A conversation, person or account who does not get it; may be repeated
    #[arg(long, value_name = "ID")]
    except: Vec<String>,
    /// When: a moment (2027-03-28T07:00:00Z), or with --zone a wall time (2027-03-28T09:00)
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The zone of --at: a name (Europe/Berlin), or `recipient` for where each of them is
    #[arg(long, requires = "at")]
    zone: Option<String>,
    /// The zone of recipients whose own is not known, with `--zone recipient`
    #[arg(long, requires = "zone", value_name = "ZONE")]
    fallback: Option<String>,
    /// Send nothing from this moment on
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Delete every copy at this moment
    #[arg(long, value_name = "TIME")]
    retract_at: Option<String>,
    /// What kind of notification it is, which people can opt out of
    #[arg(long, value_name = "NAME")]
    category: Option<String>,
    /// What it is about: it edits what was sent of this subject before
    #[arg(long)]
    subject: Option<String>,
    /// urgent, normal or bulk
    #[arg(long)]
    priority: Option<String>,
    /// atLeastOnce or atMostOnce
    #[arg(long)]
    guarantee: Option<String>,
    /// For people without a conversation with the bot: skip, create or install
    #[arg(long, value_name = "CHOICE")]
    if_no_conversation: Option<String>,
    /// Also to those who opted out, and in quiet hours; only for operators
    #[arg(long)]
    mandatory: bool,
    /// Count the audience, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Send what this plan or held notification has counted
    #[arg(long, value_name = "ID")]
    confirm: Option<String>,
    /// Another request with this key is the same notification; a random one if left out
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Any other field of the request, as JSON; may be repeated: --field sendMode='"batch"'
    #[arg(long, value_name = "NAME=JSON", value_parser = field)]
    field: Vec<(String, Value)>,
    /// Print the request, and make it not
    #[arg(long)]
    print: bool,
    /// Print the message as the first recipient would get it, with warnings, and send nothing
    #[arg(long, conflicts_with_all = ["print", "watch", "dry_run"])]
    preview: bool,
    /// Wait until it has ended, and show how far it is
    #[arg(long)]
    watch: bool,
}

fn field(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=JSON")?;
    let value = serde_json::from_str(value).map_err(|error| format!("the value is not JSON: {error}"))?;
    Ok((name.to_owned(), value))
}

impl Send {
    fn document(&self) -> Result<Value, Error> {
        let mut request = Map::new();
        request.insert(
            "audience".into(),
            audience(&self.to, self.tenant.as_deref(), &self.except),
        );
        match &self.template {
            Some(template) => request.insert("template".into(), template.as_str().into()),
            None => request.insert("message".into(), self.message.document()?),
        };
        for (name, file) in [("data", &self.data), ("texts", &self.texts)] {
            if let Some(file) = file {
                request.insert(name.into(), read_json(file)?);
            }
        }
        if let Some(at) = &self.at {
            let at = match (&self.zone, &self.fallback) {
                (None, _) => json!(at),
                (Some(zone), None) => json!({"at": at, "zone": zone}),
                (Some(zone), Some(fallback)) => json!({"at": at, "zone": zone, "fallback": fallback}),
            };
            request.insert("deliverAt".into(), at);
        }
        let texts = [
            ("expiresAt", &self.expires),
            ("retractAt", &self.retract_at),
            ("category", &self.category),
            ("subject", &self.subject),
            ("priority", &self.priority),
            ("guarantee", &self.guarantee),
            ("ifNoConversation", &self.if_no_conversation),
            ("confirm", &self.confirm),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                request.insert(name.into(), value.as_str().into());
            }
        }
        for (name, is_set) in [("mandatory", self.mandatory), ("dryRun", self.dry_run)] {
            if is_set {
                request.insert(name.into(), true.into());
            }
        }
        request.extend(self.field.iter().cloned());
        Ok(request.into())
    }

    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let document = self.document()?;
        if self.print {
            return output.document(&document);
        }
        if self.preview {
            let shown = api
                .read(Ask::post("/api/notifications/preview").json(document))
                .await?;
            return output.document(&shown);
        }
        // With a key of its own a request whose answer is lost may be repeated.
        let key = self
            .idempotency_key
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let key = key
            .parse()
            .map_err(|_| Error::Usage("--idempotency-key: must have no control characters".to_owned()))?;
        let ask = Ask::post("/api/notifications").json(document);
        let accepted = api.read(ask.header(IDEMPOTENCY_KEY, key)).await?;
        let id = text(&accepted, "id").to_owned();
        if !self.watch && output.json(&accepted)? {
            return Ok(());
        }
        for warning in list(&accepted, "warnings") {
            output.note(format!("warning: {}", text(warning, "detail")))?;
        }
        if !self.watch {
            output.line(&id)?;
            return output.note(format!(
                "accepted; {BOLD}herald status {id} --watch{BOLD:#} shows how far it is"
            ));
        }
        output.note(format!("accepted as {id}"))?;
        let ended = watch::until_ended(&id, api, output).await?;
        if text(&ended, "state") == "held" {
            return plan::show(&id, api, output).await;
        }
        watch::verdict(&ended, output)
    }
}

const IDEMPOTENCY_KEY: http::HeaderName = http::HeaderName::from_static("idempotency-key");
