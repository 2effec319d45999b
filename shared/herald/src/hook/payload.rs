//! What tools post to incoming webhooks, as messages.
//!
//! | sender | known by | message |
//! |---|---|---|
//! | GitHub | the header `x-github-event` | one line for pushes, pull requests, issues, comments, failed and fixed workflows, releases |
//! | GitLab | the header `x-gitlab-event` | one line for pushes, tags, merge requests, issues, comments, pipelines |
//! | connectors of Office 365 | `"@type": "MessageCard"`, or its `@context` | an Adaptive Card |
//! | workflows of Teams | `{"type": "message", "attachments": […]}`, or an Adaptive Card | as it is |
//! | Grafana | `alerts` and `orgId` | an Adaptive Card |
//! | Alertmanager | `alerts` | an Adaptive Card |
//! | Slack | `blocks`, or `attachments` without `type` | text and links, as far as they map |
//! | any | `{"text"}` | the text |

use botframework::lossless::LosslessJson;
use http::StatusCode;
use serde_json::{Value, json};

use super::card::{ADAPTIVE_CARD, cut};
use crate::notification::Priority;
use crate::problem::Problem;

mod alerts;
mod github;
mod gitlab;
mod message_card;
mod slack;

/// The headers by which senders say what they post.
#[derive(Clone, Copy, Debug, Default)]
pub struct SenderHeaders<'a> {
    /// `X-GitHub-Event`
    pub github_event: Option<&'a str>,
    /// `X-Gitlab-Event`
    pub gitlab_event: Option<&'a str>,
}

/// What a payload becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum Translation {
    /// A message.
    Message {
        /// An activity, as a request for a notification has it.
        message: LosslessJson,
        /// By the payload's own severity; that of the hook if `None`.
        priority: Option<Priority>,
    },
    /// Nothing is worth a message: a ping, or an event without words for it.
    Nothing,
}

/// Translates a payload.
///
/// # Errors
/// A 400 for JSON that is none of the known payloads.
pub fn translate(body: &LosslessJson, headers: SenderHeaders<'_>) -> Result<Translation, Problem> {
    let value = &body.value;
    if let Some(event) = headers.github_event {
        return Ok(line(github::line(event, value)));
    }
    if headers.gitlab_event.is_some() {
        return Ok(line(gitlab::line(value)));
    }
    if message_card::is_one(value) {
        return message_card::message(value)
            .map(|message| card(message, None))
            .ok_or_else(|| unknown("The MessageCard has neither text, title nor sections."));
    }
    if let Some(attachments) = body.get("attachments")
        && value["type"] == "message"
        && attachments.value.is_array()
    {
        return Ok(as_it_is(body));
    }
    if value["type"] == "AdaptiveCard" {
        let text = format!(r#"{{"attachments":[{{"contentType":"{ADAPTIVE_CARD}","content":{body}}}]}}"#);
        return LosslessJson::from_slice(text.as_bytes())
            .map(|message| Translation::Message {
                message,
                priority: None,
            })
            .map_err(|_| unknown("The card cannot be read."));
    }
    if value["alerts"].is_array() {
        let (message, priority) = alerts::message(value);
        return Ok(card(message, priority));
    }
    if value["blocks"].is_array() || value["attachments"].is_array() {
        return slack::message(value)
            .map(|message| card(message, None))
            .ok_or_else(|| unknown("The blocks hold no text."));
    }
    match value["text"].as_str().filter(|text| !text.trim().is_empty()) {
        Some(text) => Ok(card(
            json!({"text": titled(self::text(value, "/title"), text)}),
            None,
        )),
        None => Err(unknown(
            "The payload is none that a hook knows. It may be {\"text\"}, {\"type\": \"message\", \"attachments\"}, a MessageCard, or what Alertmanager, Grafana, GitHub, GitLab and Slack's webhooks post.",
        )),
    }
}

/// A text in Slack's markup, under its title if there is one.
fn titled(title: &str, text: &str) -> String {
    let text = slack::markdown(text);
    match title.trim() {
        "" => text,
        title => format!("**{title}**\n\n{text}"),
    }
}

/// The members of a message that Teams takes, with their numbers as they were written.
fn as_it_is(body: &LosslessJson) -> Translation {
    let members = [
        "type",
        "text",
        "summary",
        "attachments",
        "attachmentLayout",
        "entities",
        "channelData",
    ];
    let members = members
        .iter()
        .filter_map(|name| Some(format!("\"{name}\":{}", body.get(name)?)));
    let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    match LosslessJson::from_slice(text.as_bytes()) {
        Ok(message) => Translation::Message {
            message,
            priority: None,
        },
        // Members of a document that was read can be read.
        Err(_) => Translation::Nothing,
    }
}

fn card(message: Value, priority: Option<Priority>) -> Translation {
    Translation::Message {
        message: message.into(),
        priority,
    }
}

fn line(text: Option<String>) -> Translation {
    match text {
        Some(text) => card(json!({ "text": cut(&text) }), None),
        None => Translation::Nothing,
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// A text below these members; empty if there is none.
fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// A link of markdown, or its title if there is no address.
fn link(title: &str, url: &str) -> String {
    // What closes a link's title must not do so here.
    let title = title.replace(['[', ']'], " ");
    if url.starts_with("https://") || url.starts_with("http://") {
        format!("[{title}]({url})")
    } else {
        title
    }
}

/// The first line of a text.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
