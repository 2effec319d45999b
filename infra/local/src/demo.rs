//! The main job before one's eyes: a conversation is remembered, and something not asked for arrives in it.

use std::time::Duration;

use anyhow::{Context, ensure};
use herald_local::{
    Host,
    channel::{Channel, Conversation, Person, Posted},
    client::{Answer, Client},
};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::terminal::say;

/// How long anything may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// What everyone is told.
const NEWS: &str = "The library opens an hour earlier tomorrow.";

/// Plays the main job on a running host and tells it, with the times.
///
/// # Errors
/// At the first step that does not happen.
pub(crate) async fn play(host: &Host, channel: &Channel) -> anyhow::Result<()> {
    let story = Story {
        start: Instant::now(),
    };
    let mut posts = channel.subscribe();
    let ada = Person::named("Ada");
    let chat = Conversation::personal(&ada);

    say("Ada talks to the bot");
    let answer = channel.add_bot(&chat, &ada).await?;
    accepted(&answer).context("the bot did not take note of Ada adding it")?;
    let welcome = arrived(&mut posts, "the welcome", |_| true).await?;
    story.tells("Ada", "adds the bot");
    story.tells("bot", &shown(&welcome));
    let words = "Good morning!";
    story.tells("Ada", words);
    let answer = channel.say(&chat, &ada, words).await?;
    accepted(&answer).context("the bot did not take Ada's message")?;
    let reply = arrived(&mut posts, "the answer", |_| true).await?;
    story.tells("bot", &shown(&reply));

    say("\nA program tells everyone something");
    let client = Client::default();
    let request = json!({ "audience": { "everyone": true }, "message": { "text": NEWS } });
    let endpoint = format!("{}/api/notifications", host.url());
    story.tells("POST", &format!("/api/notifications {request}"));
    let answer = client.post(&endpoint, &request).await?;
    ensure!(
        answer.status == StatusCode::ACCEPTED,
        "the notification was not accepted: {}",
        refused(&answer)
    );
    let accepted = answer.json();
    let status_url = text(&accepted, "statusUrl").context("the acceptance has no statusUrl")?;
    story.tells(
        "202",
        &format!(
            "{} {}",
            text(&accepted, "id").unwrap_or_default(),
            state(&accepted)
        ),
    );
    let news = arrived(&mut posts, "the notification", |posted| {
        posted.text() == Some(NEWS)
    })
    .await?;
    story.tells("bot", &shown(&news));

    timeout(PATIENCE, host.drained())
        .await
        .context("the queues still hold messages")?;
    let answer = client.get(&absolute(host.url(), &status_url)).await?;
    ensure!(
        answer.status == StatusCode::OK,
        "the status cannot be read: {}",
        refused(&answer)
    );
    story.tells("GET", &format!("{status_url} {}", state(&answer.json())));
    Ok(())
}

struct Story {
    start: Instant,
}

impl Story {
    /// One line, or one with more lines under it.
    fn tells(&self, who: &str, what: &str) {
        let at = self.start.elapsed().as_millis();
        let mut lines = what.lines();
        say(&format!(
            "  {at:>5} ms  {who:<4}  {}",
            lines.next().unwrap_or_default()
        ));
        for line in lines {
            say(&format!("                  {line}"));
        }
    }
}

/// Waits for what the bot posts next that is `wanted`.
async fn arrived(
    posts: &mut mpsc::UnboundedReceiver<Posted>,
    what: &str,
    wanted: impl Fn(&Posted) -> bool,
) -> anyhow::Result<Posted> {
    let waiting = async {
        loop {
            match posts.recv().await {
                Some(posted) if wanted(&posted) => return Some(posted),
                Some(_) => {}
                None => return None,
            }
        }
    };
    let posted = timeout(PATIENCE, waiting).await.ok().flatten();
    posted.with_context(|| format!("{what} did not arrive in the channel within {PATIENCE:?}"))
}

fn accepted(answer: &Answer) -> anyhow::Result<()> {
    ensure!(answer.status.is_success(), "it answered {}", refused(answer));
    Ok(())
}

fn refused(answer: &Answer) -> String {
    format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
}

/// A posted activity in words: its text, or what stands for it.
fn shown(posted: &Posted) -> String {
    let text = posted
        .text()
        .or_else(|| posted.activity.get("summary").and_then(Value::as_str));
    text.unwrap_or("(a message without text)").to_owned()
}

/// A notification's state and those of its counts that are not zero.
fn state(notification: &Value) -> String {
    let state = text(notification, "state").unwrap_or_default();
    let counts = notification.get("counts").and_then(Value::as_object);
    let counts = counts
        .into_iter()
        .flatten()
        .filter(|(_, count)| count.as_u64() != Some(0));
    counts.fold(state, |line, (name, count)| format!("{line}, {count} {name}"))
}

fn text(document: &Value, name: &str) -> Option<String> {
    document.get(name)?.as_str().map(str::to_owned)
}

/// A URL that may be given as a path.
fn absolute(base: &str, url: &str) -> String {
    if url.starts_with('/') {
        format!("{base}{url}")
    } else {
        url.to_owned()
    }
}
