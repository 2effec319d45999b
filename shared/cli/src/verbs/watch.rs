//! Following a notification until it has ended.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::notifications::{counts, reasons, show};
use crate::api::{Api, Ask, segment};
use crate::error::Error;
use crate::output::{Output, list, text};

/// The time between two looks: short at first, since most notifications take a second.
const FIRST: Duration = Duration::from_millis(300);
const LONGEST: Duration = Duration::from_secs(5);

/// After so many looks the reasons are shown, too.
const LOOKS_BEFORE_REASONS: u32 = 4;

/// States in which nothing happens any more without a person.
const AT_REST: [&str; 4] = ["completed", "cancelled", "held", "confirmed"];

/// Shows how far a notification is until it has ended, or waits for a person to confirm it. Returns its status then.
pub(crate) async fn until_ended(id: &str, api: &Api, output: &mut Output<'_>) -> Result<Value, Error> {
    let path = format!("/api/notifications/{}", segment(id));
    let bar = bar(output.shows_progress());
    let (mut wait, mut looks, mut last) = (FIRST, 0, String::new());
    loop {
        let status = api.read(Ask::get(&path)).await?;
        let state = text(&status, "state");
        if AT_REST.contains(&state) && status["counts"]["open"].as_u64().unwrap_or(0) == 0 || state == "held"
        {
            bar.finish_and_clear();
            return Ok(status);
        }
        let (audience, open) = (count(&status, "audience"), count(&status, "open"));
        bar.set_length(audience.max(1));
        bar.set_position(audience.saturating_sub(open));
        looks += 1;
        let mut said = format!("{state}: {}", counts(&status));
        if looks >= LOOKS_BEFORE_REASONS && open > 0 {
            let explained = api.read(Ask::get(format!("{path}/explain"))).await?;
            for line in reasons(list(&explained, "reasons")) {
                said = format!("{said}\n  {line}");
            }
        }
        if output.shows_progress() {
            bar.set_message(said);
        } else if said != last {
            output.note(&said)?;
            last = said;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 3 / 2).min(LONGEST);
    }
}

/// Prints how a notification ended. Not to have reached all is an error, so that a script sees it.
pub(crate) fn verdict(status: &Value, output: &mut Output<'_>) -> Result<(), Error> {
    if !output.json(status)? {
        show(status, output)?;
    }
    let missed = count(status, "audience").saturating_sub(count(status, "delivered"));
    if missed == 0 && text(status, "state") == "completed" {
        return Ok(());
    }
    let id = text(status, "id");
    Err(Error::NotDelivered(format!(
        "{missed} of {} did not get it: `herald deliveries {id}` says why",
        count(status, "audience")
    )))
}

fn count(status: &Value, name: &str) -> u64 {
    status["counts"][name].as_u64().unwrap_or(0)
}

fn bar(is_shown: bool) -> ProgressBar {
    let target = if is_shown {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {msg}");
    let bar = ProgressBar::with_draw_target(Some(1), target);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
