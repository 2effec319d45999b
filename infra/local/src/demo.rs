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
/// How wide a line of text becomes.
const WIDTH: usize = 100;
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
    story.tells("Ada", "adds the bot");
    let answer = channel.add_bot(&chat, &ada).await?;
    taken(&answer).context("the bot did not take note of Ada adding it")?;
    story.tells(
        "bot",
        &shown(&arrived(&mut posts, "the welcome", |_| true).await?),
    );
    let words = "Good morning!";
    story.tells("Ada", words);
    let answer = channel.say(&chat, &ada, words).await?;
    taken(&answer).context("the bot did not take Ada's message")?;
    story.tells("bot", &shown(&arrived(&mut posts, "the answer", |_| true).await?));

    say("\nA program tells everyone something");
    let client = Client::default();
    let request = json!({ "audience": { "everyone": true }, "message": { "text": NEWS } });
    story.tells("POST", &format!("/api/notifications\n{request}"));
    let answer = client
        .post(&format!("{}/api/notifications", host.url()), &request)
        .await?;
    ensure!(
        answer.status == StatusCode::ACCEPTED,
        "the notification was not accepted: {}",
        refused(&answer)
    );
    let accepted = answer.json();
    let status_url = text(&accepted, "statusUrl").context("the acceptance has no statusUrl")?;
    story.tells("202", &state(&accepted));
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
    story.tells("GET", &format!("{status_url}\n{}", state(&answer.json())));
    Ok(())
}

struct Story {
    start: Instant,
}

impl Story {
    /// Who did what, with the time in front and what does not fit into a line below.
    fn tells(&self, who: &str, what: &str) {
        let at = self.start.elapsed().as_millis();
        let mut margin = format!("{at:>6} ms  {who:<4}  ");
        for line in what.lines().flat_map(folded) {
            say(&format!("{margin}{line}"));
            margin = " ".repeat(margin.len());
        }
    }
}

/// A line in pieces of at most so many characters, cut between words.
fn folded(line: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in line.split(' ') {
        if let Some(last) = pieces.last_mut() {
            if last.is_empty() {
                last.push_str(word);
            } else if last.chars().count() + word.chars().count() < WIDTH {
                last.extend([" ", word]);
            } else {
                pieces.push(word.to_owned());
            }
        }
    }
    pieces
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

fn taken(answer: &Answer) -> anyhow::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_words() {
        let line = "word ".repeat(40);
        let pieces = folded(line.trim_end());
        assert!(pieces.iter().all(|piece| piece.len() <= WIDTH), "{pieces:?}");
        assert_eq!(pieces.join(" "), line.trim_end());
        assert_eq!(folded(""), [""]);
        assert_eq!(folded(&"x".repeat(200)).len(), 1);
    }
}
