//! Alertmanager's and Grafana's alerts, which have one form: Grafana's adds a title, a message, values and links.

use serde_json::{Map, Value};

use super::super::card::{Card, Tone};
use super::text;
use crate::notification::Priority;

/// The most alerts that one card lists.
const ALERTS_SHOWN_MAX: usize = 10;

/// The card of a group of alerts, and its priority.
pub(super) fn message(group: &Value) -> (Value, Option<Priority>) {
    let alerts: Vec<&Value> = group["alerts"].as_array().into_iter().flatten().collect();
    let is_firing = text(group, "/status") == "firing"
        || (group["status"].is_null() && alerts.iter().any(|alert| alert["status"] == "firing"));
    let severity = severity(group, &alerts);
    let tone = match (is_firing, severity) {
        (false, _) => Tone::Good,
        (true, "warning" | "info" | "none") => Tone::Warning,
        (true, _) => Tone::Bad,
    };
    let title = title(group, &alerts, is_firing);
    let mut card = Card::titled(&title, tone);
    if alerts.is_empty() {
        card.text(text(group, "/message"));
    }
    for alert in alerts.iter().take(ALERTS_SHOWN_MAX) {
        add_alert(&mut card, alert, alerts.len());
    }
    let left_out = alerts.len().saturating_sub(ALERTS_SHOWN_MAX) as u64
        + group["truncatedAlerts"].as_u64().unwrap_or_default();
    if left_out > 0 {
        card.subtle(&format!("and {left_out} more"));
    }
    let first = alerts.first().copied().unwrap_or(&Value::Null);
    for (title, url) in [
        ("Runbook", text(first, "/annotations/runbook_url")),
        ("Dashboard", text(first, "/dashboardURL")),
        ("Panel", text(first, "/panelURL")),
        ("Source", text(first, "/generatorURL")),
        ("Silence", text(first, "/silenceURL")),
        ("Alerts", text(group, "/externalURL")),
    ] {
        card.link(title, url);
    }
    let priority = (is_firing && severity == "critical").then_some(Priority::Urgent);
    (card.message(&title), priority)
}

/// The group's common severity, or that of the first alert that has one.
fn severity<'v>(group: &'v Value, alerts: &[&'v Value]) -> &'v str {
    let common = text(group, "/commonLabels/severity");
    if !common.is_empty() {
        return common;
    }
    let mut each = alerts.iter().map(|alert| text(alert, "/labels/severity"));
    each.find(|severity| !severity.is_empty()).unwrap_or_default()
}

fn title(group: &Value, alerts: &[&Value], is_firing: bool) -> String {
    let given = text(group, "/title");
    if !given.is_empty() {
        return given.to_owned();
    }
    let state = if is_firing { "FIRING" } else { "RESOLVED" };
    let name = [
        text(group, "/commonLabels/alertname"),
        text(group, "/groupLabels/alertname"),
        alerts
            .first()
            .map_or("", |alert| text(alert, "/labels/alertname")),
    ];
    let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or("Alerts");
    match alerts.len() {
        0 | 1 => format!("[{state}] {name}"),
        count => format!("[{state}:{count}] {name}"),
    }
}

/// One alert: what it says, and its labels. Of several, each begins with its state.
fn add_alert(card: &mut Card, alert: &Value, of: usize) {
    let annotations = ["summary", "description", "message"];
    let said: Vec<&str> = annotations
        .iter()
        .map(|name| text(alert, &format!("/annotations/{name}")))
        .filter(|text| !text.is_empty())
        .collect();
    if of > 1 {
        let name = text(alert, "/labels/alertname");
        card.text(&format!("**{}** {name}", text(alert, "/status")));
    }
    for text in said {
        card.text(text);
    }
    card.subtle(text(alert, "/valueString"));
    let empty = Map::new();
    let labels = alert["labels"].as_object().unwrap_or(&empty);
    let labels = labels
        .iter()
        // The name is in the title, and what begins with two underscores is for the tool itself.
        .filter(|(name, _)| *name != "alertname" && !name.starts_with("__"))
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
    card.facts(labels.chain([("since", text(alert, "/startsAt"))]));
}
