//! What a notification says: text, a card, or a whole activity; and other documents from files.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::error::Error;

/// The type of a card's attachment.
const ADAPTIVE_CARD: &str = "application/vnd.microsoft.card.adaptive";

#[derive(Debug, Args)]
pub(crate) struct Message {
    /// The text, in Markdown; `-` reads it from standard input
    text: Option<String>,
    /// A file with an Adaptive Card; `-` is standard input
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// A file with a whole activity of the type message, instead of a text or a card
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "card", "summary"])]
    activity: Option<PathBuf>,
    /// What the toast shows of a card
    #[arg(long)]
    summary: Option<String>,
}

impl Message {
    /// The message as the API takes it.
    pub(crate) fn document(&self) -> Result<Value, Error> {
        if let Some(path) = &self.activity {
            return read_json(path);
        }
        let mut message = json!({});
        if let Some(text) = &self.text {
            message["text"] = match text.as_str() {
                "-" => read_text(Path::new("-"))?.trim_end().into(),
                text => text.into(),
            };
        }
        if let Some(path) = &self.card {
            message["attachments"] = json!([{"contentType": ADAPTIVE_CARD, "content": read_json(path)?}]);
        }
        if let Some(summary) = &self.summary {
            message["summary"] = summary.as_str().into();
        }
        if message.as_object().is_some_and(serde_json::Map::is_empty) {
            return Err(Error::Usage(
                "there is nothing to say: give a text, a --card or an --activity".to_owned(),
            ));
        }
        Ok(message)
    }
}

/// The text of a file; `-` is standard input.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| Error::file(Path::new("standard input"), error))?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(|error| Error::file(path, error))
}

/// The JSON document in a file; `-` is standard input.
pub(crate) fn read_json(path: &Path) -> Result<Value, Error> {
    serde_json::from_str(&read_text(path)?).map_err(|error| Error::Local {
        what: format!("{}: is not JSON", path.display()),
        source: Some(error.into()),
    })
}
