//! `herald plan`

use serde_json::Value;

use crate::api::{Api, Ask, segment};
use crate::error::Error;
use crate::output::{BOLD, Output, count, list, text};

/// Shows what a held notification would do.
pub(crate) async fn show(id: &str, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
    let plan = api
        .read(Ask::get(format!("/api/notifications/{}/plan", segment(id))))
        .await?;
    if output.json(&plan)? {
        return Ok(());
    }
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    if plan["counted"] != true {
        output.line(format!("{BOLD}{id}{BOLD:#} is being counted: ask again."))?;
        return Ok(());
    }
    output.line(format!(
        "{BOLD}{id}{BOLD:#} would go to {}.",
        count(number(&plan["audience"]), "recipient", "recipients")
    ))?;
    let unreachable = plan["unreachable"].as_object().into_iter().flatten();
    let left_out: Vec<String> = unreachable
        .filter(|(_, count)| number(count) > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if !left_out.is_empty() {
        output.line(format!("  left out      {}", left_out.join(", ")))?;
    }
    output.line(format!(
        "  message       {} of {} bytes",
        plan["message"]["bytes"], plan["message"]["largestBytes"]
    ))?;
    output.line(format!(
        "  takes         at most {} s",
        plan["predicted"]["atMostSeconds"]
    ))?;
    if let Some(dollars) = plan["cost"]["usDollars"].as_f64() {
        output.line(format!("  costs         {dollars:.4} USD at list price"))?;
    }
    for warning in list(&plan, "warnings") {
        output.line(format!("  warning       {}", text(warning, "detail")))?;
    }
    if let Some(confirm) = plan["confirm"].as_str() {
        output.line(format!(
            "To send it, repeat the command with {BOLD}--confirm {confirm}{BOLD:#}"
        ))?;
    }
    Ok(())
}
