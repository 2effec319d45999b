//! GitLab's events, in one line of markdown.

use serde_json::Value;

use super::{first_line, link, text};

/// The line of an event; `None` for what is not worth one.
pub(super) fn line(body: &Value) -> Option<String> {
    let project = link(
        text(body, "/project/path_with_namespace"),
        text(body, "/project/web_url"),
    );
    let who = [text(body, "/user/name"), text(body, "/user_name")];
    let who = who.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let action = text(body, "/object_attributes/action");
    let said = match text(body, "/object_kind") {
        "push" => push(body, who)?,
        "tag_push" => format!(
            "{who} pushed the tag {}",
            text(body, "/ref").trim_start_matches("refs/tags/")
        ),
        "merge_request" => match action {
            "open" | "reopen" | "merge" | "close" | "approved" => {
                format!("{who}: {action} {}", numbered(body, "!"))
            }
            _ => return None,
        },
        "issue" | "work_item" => match action {
            "open" | "reopen" | "close" => format!("{who}: {action} {}", numbered(body, "#")),
            _ => return None,
        },
        "note" => format!(
            "{who} commented: {}",
            link(
                first_line(text(body, "/object_attributes/note")),
                text(body, "/object_attributes/url")
            )
        ),
        "pipeline" => match text(body, "/object_attributes/status") {
            status @ ("success" | "failed" | "canceled") => {
                let url = text(body, "/object_attributes/url");
                format!(
                    "{} on {}: {status}",
                    link("pipeline", url),
                    text(body, "/object_attributes/ref")
                )
            }
            _ => return None,
        },
        "release" if text(body, "/action") == "create" => {
            format!("released {}", link(text(body, "/name"), text(body, "/url")))
        }
        _ => return None,
    };
    Some(format!("{project}: {said}"))
}

/// A merge request or an issue, whose number has this sign.
fn numbered(body: &Value, sign: &str) -> String {
    let number = body.pointer("/object_attributes/iid").and_then(Value::as_u64);
    let title = text(body, "/object_attributes/title");
    let title = match number {
        Some(number) => format!("{sign}{number} {title}"),
        None => title.to_owned(),
    };
    link(&title, text(body, "/object_attributes/url"))
}

fn push(body: &Value, who: &str) -> Option<String> {
    let commits = body["commits"].as_array()?;
    let last = commits.last()?;
    let count = body["total_commits_count"]
        .as_u64()
        .unwrap_or(commits.len() as u64);
    let branch = text(body, "/ref").trim_start_matches("refs/heads/");
    let title = first_line(text(last, "/message"));
    let count = if count == 1 {
        "a commit".to_owned()
    } else {
        format!("{count} commits")
    };
    Some(format!(
        "{who} pushed {} to {branch}: {title}",
        link(&count, text(last, "/url"))
    ))
}
