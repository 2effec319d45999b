//! GitHub's events, in one line of markdown.

use serde_json::Value;

use super::{first_line, link, text};

/// The line of an event; `None` for what is not worth one.
pub(super) fn line(event: &str, body: &Value) -> Option<String> {
    let repository = link(
        text(body, "/repository/full_name"),
        text(body, "/repository/html_url"),
    );
    let who = text(body, "/sender/login");
    let action = text(body, "/action");
    let said = match event {
        "push" => push(body, who)?,
        "pull_request" => {
            let merged = body.pointer("/pull_request/merged") == Some(&Value::Bool(true));
            let did = match action {
                "closed" if merged => "merged",
                "opened" | "closed" | "reopened" | "ready_for_review" => action,
                _ => return None,
            };
            format!(
                "{who} {} {}",
                did.replace('_', " "),
                numbered(body, "/pull_request")
            )
        }
        "issues" => match action {
            "opened" | "closed" | "reopened" => format!("{who} {action} {}", numbered(body, "/issue")),
            _ => return None,
        },
        "issue_comment" if action == "created" => format!(
            "{who} commented on {}: {}",
            numbered(body, "/issue"),
            first_line(text(body, "/comment/body"))
        ),
        "pull_request_review" if action == "submitted" => format!(
            "{who} reviewed {}: {}",
            numbered(body, "/pull_request"),
            text(body, "/review/state").replace('_', " ")
        ),
        "workflow_run" if action == "completed" => ended(body, "/workflow_run"),
        "check_suite" | "check_run" => return None,
        "release" if action == "published" => format!(
            "{who} released {}",
            link(text(body, "/release/name"), text(body, "/release/html_url"))
        ),
        "create" | "delete" => format!(
            "{who} {event}d {} {}",
            text(body, "/ref_type"),
            text(body, "/ref")
        ),
        "deployment_status" => format!(
            "deployment to {}: {}",
            text(body, "/deployment_status/environment"),
            text(body, "/deployment_status/state")
        ),
        // `ping`, and what has no words here.
        _ => return None,
    };
    Some(format!("{repository}: {said}"))
}

/// A pull request or an issue.
fn numbered(body: &Value, path: &str) -> String {
    let number = body.pointer(&format!("{path}/number")).and_then(Value::as_u64);
    let title = text(body, &format!("{path}/title"));
    let title = match number {
        Some(number) => format!("#{number} {title}"),
        None => title.to_owned(),
    };
    link(&title, text(body, &format!("{path}/html_url")))
}

fn push(body: &Value, who: &str) -> Option<String> {
    let branch = text(body, "/ref").trim_start_matches("refs/heads/");
    let commits = body["commits"].as_array()?;
    let last = commits.last()?;
    let message = first_line(text(last, "/message"));
    let count = match commits.len() {
        1 => "a commit".to_owned(),
        count => format!("{count} commits"),
    };
    Some(format!(
        "{who} pushed {} to {branch}: {message}",
        link(&count, text(body, "/compare"))
    ))
}

fn ended(body: &Value, path: &str) -> String {
    let at = |name: &str| text(body, &format!("{path}/{name}"));
    format!(
        "{} on {}: {}",
        link(at("name"), at("html_url")),
        at("head_branch"),
        at("conclusion").replace('_', " ")
    )
}
