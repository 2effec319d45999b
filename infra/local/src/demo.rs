//! The demo: a conversation is stored, and proactive messages arrive in it and in new conversations.

use std::{fmt, time::Duration};

use anyhow::{Context, ensure};
use herald_local::{
    Host, Options,
    channel::{
        Channel, Conversation, Person, Posted, Posting, TENANT,
        organization::{DEPARTMENTS, PEOPLE},
    },
    client::{Answer, Client},
    dynamodb::Contents,
};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{ready_made::ON_CALL, terminal::say};

/// The time-out of each step.
const PATIENCE: Duration = Duration::from_secs(10);
/// The width of a printed line, in characters.
const WIDTH: usize = 100;
/// The message to Ada.
const NEWS: &str = "The library opens an hour earlier tomorrow.";
/// The message to all members of the team.
const TEAM_NEWS: &str = "The new shelves are here.";
/// The members of the team.
const TEAM_MEMBERS: [&str; 4] = ["Ada", "Alan", "Grace", "Kit"];
/// The channels of the team; the first is the General channel.
const TEAM_CHANNELS: [&str; 3] = ["library", "lending", "reading"];

/// Why the demo does not run: it writes only to people whom it has invented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The bot has this real credential.
    RealCredential(&'static str),
    /// The tables hold items of an earlier run.
    TablesInUse,
}

impl Obstacle {
    /// What stands against the demo with these options, on tables with these contents.
    pub(crate) fn found(options: &Options, tables: Contents) -> Option<Obstacle> {
        if let Some(name) = options.real_credential() {
            return Some(Obstacle::RealCredential(name));
        }
        (tables == Contents::Some).then_some(Obstacle::TablesInUse)
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::RealCredential(name) => write!(
                formatter,
                "No demo: the bot may reach real people ({name}). Nothing was sent."
            ),
            Obstacle::TablesInUse => {
                formatter.write_str("No demo: the tables are in use since an earlier run. Nothing was sent.")
            }
        }
    }
}

/// Adds the invented people and their team to the channel. Ada adds the bot to her chat and to the team in the demo.
pub(crate) fn invent_people(channel: &Channel) {
    let people = TEAM_MEMBERS.map(Person::named);
    for person in &people {
        channel.add(&Conversation::personal(person));
    }
    for name in TEAM_CHANNELS {
        channel.add(&Conversation::channel(TEAM_CHANNELS[0], name, &people));
    }
    // The bot has no conversation with Noor: for the README's example of a person known by Entra object id.
    channel.add(&Conversation::personal(&Person::named("Noor")));
    // For the README's example of an installation.
    channel.add_without_bot(&Person::named("Vera"));
    let others = ["Noor", "Vera"].map(Person::named);
    channel.add_organization(&[&people[..], &others].concat());
}

/// Runs the demo on a running host and prints its steps with their times.
///
/// # Errors
/// At the first step that fails.
pub(crate) async fn play(host: &Host, channel: &Channel) -> anyhow::Result<()> {
    let mut story = Story {
        start: Instant::now(),
        host,
        channel,
        posts: channel.subscribe(),
        client: Client::default(),
    };
    story.a_person_is_remembered().await?;
    story.a_person_is_told().await?;
    story.a_team_is_told().await?;
    story.the_person_on_call_is_told().await?;
    name_the_organization();
    Ok(())
}

/// Says whom the README's lines for groups and directories address. The demo itself does not write to them.
fn name_the_organization() {
    let departments = DEPARTMENTS.join(", ");
    say(&format!(
        "\nThe tenant has {PEOPLE} people, whom Microsoft Graph lists: {departments}. Ada leads them.\n\
         infra/local/README.md has lines that write to a department, a group, addresses and a manager's people."
    ));
}

struct Story<'a> {
    start: Instant,
    host: &'a Host,
    channel: &'a Channel,
    posts: mpsc::UnboundedReceiver<Posted>,
    client: Client,
}

impl Story<'_> {
    async fn a_person_is_remembered(&mut self) -> anyhow::Result<()> {
        let ada = Person::named("Ada");
        let chat = Conversation::personal(&ada);
        say("Ada talks to the bot");
        self.tells("Ada", "adds the bot");
        taken(&self.channel.add_bot(&chat, &ada).await?)
            .context("the bot rejected the activity of its installation")?;
        let welcome = self.arrived("the welcome", |_| true).await?;
        self.tells("bot", &shown(&welcome));
        let words = "Good morning!";
        self.tells("Ada", words);
        taken(&self.channel.say(&chat, &ada, words).await?).context("the bot rejected Ada's message")?;
        let answer = self.arrived("the answer", |_| true).await?;
        self.tells("bot", &shown(&answer));
        Ok(())
    }

    /// Ada is addressed by id. The demo never addresses everyone.
    async fn a_person_is_told(&mut self) -> anyhow::Result<()> {
        say("\nA program tells Ada something");
        let ada = Person::named("Ada").entra_object_id;
        let audience = json!({ "users": [ada], "tenant": TENANT });
        let request = json!({ "audience": audience, "message": { "text": NEWS } });
        let status_url = self.ask(&request).await?;
        let is_news = |posted: &Posted| posted.text() == Some(NEWS);
        let news = self.arrived("the notification", is_news).await?;
        self.tells("bot", &shown(&news));
        self.ends(&status_url).await
    }

    /// Three of the four members have never talked to the bot: the sender creates their conversations.
    async fn a_team_is_told(&mut self) -> anyhow::Result<()> {
        let people = TEAM_MEMBERS.map(Person::named);
        say("\nA program sends a message to each member of a team, in their personal chats");
        let general = Conversation::channel(TEAM_CHANNELS[0], TEAM_CHANNELS[0], &people);
        self.tells("Ada", "adds the bot to a team of four");
        taken(&self.channel.add_bot(&general, &people[0]).await?)
            .context("the bot rejected the activity of a team")?;
        self.arrived("the welcome to the team", |_| true).await?;
        let audience = json!({ "team": general.id, "to": "members" });
        let request =
            json!({ "audience": audience, "ifNoConversation": "create", "message": { "text": TEAM_NEWS } });
        let status_url = self.ask(&request).await?;
        let is_news = |posted: &Posted| posted.text() == Some(TEAM_NEWS);
        for _ in &people {
            let news = self.arrived("the notification", is_news).await?;
            let reader = self.channel.name_of(&news.conversation);
            let reader = reader.context("it reached no member of the team")?;
            self.tells("bot", &format!("to {reader}: {}", shown(&news)));
        }
        self.ends(&status_url).await
    }

    /// The ready-made route of `CloudWatch`'s alarms tells who has the tag `on-call`. When the alarm ends, its copy is edited.
    async fn the_person_on_call_is_told(&mut self) -> anyhow::Result<()> {
        say("\nA CloudWatch alarm tells the person on call, and is edited when it ends");
        let ada = Person::named("Ada");
        let chat = self.key_of(&ada).await?;
        let tag = format!("/api/conversations/{chat}/tags/{ON_CALL}");
        let tagged = self
            .client
            .put(&format!("{}{tag}", self.host.url()), &json!({}))
            .await?;
        taken(&tagged).context("Ada cannot be put on call")?;
        self.tells("PUT", &format!("/api/conversations/…/tags/{ON_CALL}"));
        for (state, posting) in [("ALARM", Posting::New), ("OK", Posting::Update)] {
            self.alarm(state).await?;
            let says_so = |posted: &Posted| {
                let text = posted.text().unwrap_or_default();
                posted.posting == posting && text.contains(&format!("**{state}**"))
            };
            let told = self.arrived("the alarm", says_so).await?;
            self.tells("bot", &shown(&told));
            timeout(PATIENCE, self.host.drained())
                .await
                .context("the queues still hold messages")?;
        }
        Ok(())
    }

    /// The key of a person's conversation, percent-encoded.
    async fn key_of(&self, person: &Person) -> anyhow::Result<String> {
        let url = format!(
            "{}/api/conversations?user={}",
            self.host.url(),
            person.entra_object_id
        );
        let answer = self.client.get(&url).await?;
        let listed = answer.json();
        let key = listed
            .pointer("/conversations/0/conversation")
            .and_then(Value::as_str);
        let key = key.with_context(|| format!("{} is not remembered", person.name))?;
        Ok(utf8_percent_encode(key, NON_ALPHANUMERIC).to_string())
    }

    /// Publishes the event of an alarm on the default bus, as `CloudWatch` does.
    async fn alarm(&self, state: &str) -> anyhow::Result<()> {
        let detail = json!({
            "alarmName": "library-disk-full",
            "state": {"value": state, "reason": "Threshold crossed", "timestamp": "2026-03-02T17:04:40.989+0000"},
        });
        let entry = json!({
            "Source": "aws.cloudwatch", "DetailType": "CloudWatch Alarm State Change", "Detail": detail.to_string(),
        });
        self.tells(
            "AWS",
            &format!("PutEvents aws.cloudwatch, CloudWatch Alarm State Change: {state}"),
        );
        let request = json!({"Entries": [entry]});
        let answer = self
            .client
            .call(self.host.eventbridge_endpoint(), "AWSEvents.PutEvents", &request)
            .await?;
        ensure!(
            answer.json()["FailedEntryCount"] == 0,
            "the event was not published: {}",
            refused(&answer)
        );
        Ok(())
    }

    /// Creates a notification, and returns the URL of its state.
    async fn ask(&self, request: &Value) -> anyhow::Result<String> {
        // With spaces, at which long lines are wrapped.
        let shown = request.to_string().replace(",\"", ", \"").replace("\":", "\": ");
        self.tells("POST", &format!("/api/notifications\n{shown}"));
        let url = format!("{}/api/notifications", self.host.url());
        let answer = self.client.post(&url, request).await?;
        ensure!(
            answer.status == StatusCode::ACCEPTED,
            "the notification was not accepted: {}",
            refused(&answer)
        );
        let accepted = answer.json();
        self.tells("202", &state(&accepted));
        text(&accepted, "statusUrl").context("the response has no statusUrl")
    }

    /// Waits until the queues are empty, and prints the notification's state.
    async fn ends(&self, status_url: &str) -> anyhow::Result<()> {
        timeout(PATIENCE, self.host.drained())
            .await
            .context("the queues still hold messages")?;
        let answer = self.client.get(&absolute(self.host.url(), status_url)).await?;
        ensure!(
            answer.status == StatusCode::OK,
            "the status cannot be read: {}",
            refused(&answer)
        );
        self.tells("GET", &format!("{status_url}\n{}", state(&answer.json())));
        Ok(())
    }

    /// Waits for the bot's next message that satisfies `wanted`.
    async fn arrived(&mut self, what: &str, wanted: impl Fn(&Posted) -> bool) -> anyhow::Result<Posted> {
        let posts = &mut self.posts;
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

    /// Prints a step with its time. Long lines are wrapped.
    fn tells(&self, who: &str, what: &str) {
        let at = self.start.elapsed().as_millis();
        let mut margin = format!("{at:>6} ms  {who:<4}  ");
        for line in what.lines().flat_map(folded) {
            say(&format!("{margin}{line}"));
            margin = " ".repeat(margin.len());
        }
    }
}

/// Wraps a line at spaces.
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

fn taken(answer: &Answer) -> anyhow::Result<()> {
    ensure!(answer.status.is_success(), "it answered {}", refused(answer));
    Ok(())
}

fn refused(answer: &Answer) -> String {
    format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
}

/// The text of a message, or a substitute.
fn shown(posted: &Posted) -> String {
    let text = posted
        .text()
        .or_else(|| posted.activity.get("summary").and_then(Value::as_str));
    text.unwrap_or("(a message without text)").to_owned()
}

/// A notification's state and its counts above zero.
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

/// Accepts a URL or a path.
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
