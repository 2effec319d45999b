//! The text on the terminal.

use std::{
    io::{Write, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use herald_local::{
    Event, Events, Host, Options, Published,
    channel::{Channel, Posting},
};
use serde_json::Value;
use tokio::task::JoinSet;

/// Prints a line. A closed terminal is not an error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(stdout().lock(), "{line}");
}

/// Prints the addresses and names of all services.
pub(crate) fn introduction(host: &Host, channel: &Channel, options: &Options, ready: Duration) -> String {
    let stack = host.stack();
    let names = |names: Vec<&str>| names.join(", ");
    let functions = names(
        stack
            .functions
            .iter()
            .map(|function| function.name.as_str())
            .collect(),
    );
    let tables = names(stack.tables.iter().map(|table| table.name.as_str()).collect());
    let queues = names(
        stack
            .mappings
            .iter()
            .map(|mapping| mapping.queue.as_str())
            .collect(),
    );
    let kept = options
        .data
        .as_ref()
        .map_or("in memory".into(), |data| format!("in {}", data.display()));
    let asks = if options.authenticates() {
        "requires tokens"
    } else {
        "authenticates no client"
    };
    format!(
        "
Herald on this machine, ready in {} ms. A development host: it {asks} and stays on loopback.

  bot            {url}/api/messages
  notifications  {url}/api/notifications
  functions      {functions}
  DynamoDB       {}  {tables}, {kept}
  SQS            {}  {queues}
  channel        {}
",
        ready.as_millis(),
        host.dynamodb_endpoint(),
        host.sqs_endpoint(),
        channel.service_url(),
        url = host.url(),
    )
}

/// Prints the next steps for the user.
pub(crate) fn farewell(host: &Host) -> String {
    let url = host.url();
    format!(
        r#"
Now you. The host runs until Ctrl-C and prints a line for each event.

  talk to the bot   npx @microsoft/m365agentsplayground -c msteams --disable-telemetry -e {url}/api/messages
  tell everyone     curl {url}/api/notifications -d '{{"audience":{{"everyone":true}},"message":{{"text":"Hello"}}}}'
  make it your bot  functions/messages/src/bot.rs
"#
    )
}

/// Prints events: only failures at first.
pub(crate) struct Console {
    everything: Arc<AtomicBool>,
    _telling: JoinSet<()>,
}

impl Console {
    pub(crate) fn start(events: &Events) -> Console {
        let everything = Arc::new(AtomicBool::new(false));
        let (all, mut events) = (everything.clone(), events.subscribe());
        let mut telling = JoinSet::new();
        telling.spawn(async move {
            while let Some(event) = events.recv().await {
                let line =
                    trouble(&event).or_else(|| all.load(Ordering::Relaxed).then(|| routine(&event))?);
                if let Some((who, what)) = line {
                    say(&format!("{who:>10}  {what}"));
                }
            }
        });
        Console {
            everything,
            _telling: telling,
        }
    }

    /// From now on prints all events and the bot's messages.
    pub(crate) async fn print_everything(&self, channel: &Channel) {
        let mut posts = channel.subscribe();
        self.everything.store(true, Ordering::Relaxed);
        while let Some(posted) = posts.recv().await {
            let reader = channel.name_of(&posted.conversation);
            let reader = reader.as_ref().unwrap_or(&posted.conversation);
            let line = match posted.posting {
                Posting::New => format!("to {reader}: {}", posted.text().unwrap_or_default()),
                Posting::Update => format!("edited for {reader}: {}", posted.text().unwrap_or_default()),
                Posting::Delete => format!("deleted for {reader}"),
            };
            say(&format!("{:>10}  {line}", "channel"));
        }
    }
}

/// Whether a log line has a level of INFO or below.
fn is_routine(line: &str) -> bool {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    matches!(
        line.get("level").and_then(Value::as_str),
        Some("INFO" | "DEBUG" | "TRACE")
    )
}

/// The source and the text of a failure, or of a log line above INFO.
fn trouble(event: &Event) -> Option<(&str, String)> {
    match event {
        Event::Logged { function, line } if !is_routine(line) => Some((function, line.clone())),
        Event::Stopped { function, reason } => Some((function, format!("PROCESS ENDED: {reason}"))),
        Event::Finished {
            function,
            failure: Some(failure),
            elapsed,
            ..
        } => Some((
            function,
            format!("FAILED after {} ms: {failure}", elapsed.as_millis()),
        )),
        Event::DeadLettered { queue, message_id } => {
            Some(("queue", format!("DEAD LETTER: {message_id} of {queue}")))
        }
        Event::Logged { .. }
        | Event::Started { .. }
        | Event::Invoked { .. }
        | Event::Finished { failure: None, .. }
        | Event::Answered { .. }
        | Event::Batch { .. }
        | Event::Published(_)
        | Event::Drained => None,
    }
}

/// The source and the text of other events.
fn routine(event: &Event) -> Option<(&str, String)> {
    match event {
        Event::Logged { function, line } => Some((function, line.clone())),
        Event::Answered {
            method,
            path,
            status,
            elapsed,
        } => Some((
            "http",
            format!("{status} {method} {path}, {} ms", elapsed.as_millis()),
        )),
        Event::Batch {
            queue,
            function,
            messages,
            failed,
            elapsed,
        } => {
            let failed = if *failed > 0 {
                format!(", {failed} FAILED")
            } else {
                String::new()
            };
            let took = elapsed.as_millis();
            Some((function, format!("{messages} of {queue} in {took} ms{failed}")))
        }
        Event::Published(published) => Some(("event", told(published)?)),
        Event::Started { .. }
        | Event::Stopped { .. }
        | Event::Invoked { .. }
        | Event::Finished { .. }
        | Event::DeadLettered { .. }
        | Event::Drained => None,
    }
}

/// One line for an event of a notification: its id and its counts above zero. Events of single deliveries are not
/// printed, because there are as many as recipients.
fn told(published: &Published) -> Option<String> {
    let kind = &published.detail_type;
    if !kind.starts_with("Notification ") {
        return None;
    }
    let text = |name: &str| published.detail.get(name)?.as_str();
    let which = text("notification").unwrap_or_default();
    let counts = published.detail.get("counts").unwrap_or(&published.detail);
    let counts = counts.as_object().into_iter().flatten();
    let counts = counts.filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0));
    let line = format!("{kind} {which}");
    Some(counts.fold(line, |line, (name, count)| format!("{line}, {count} {name}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(kind: &str, detail: Value) -> Option<String> {
        let published = Published {
            bus: "EventBus".into(),
            source: "herald".into(),
            detail_type: kind.into(),
            detail,
        };
        routine(&Event::Published(published)).map(|(who, what)| format!("{who}: {what}"))
    }

    #[test]
    fn an_event_of_a_notification_is_a_line_with_its_counts() {
        let detail = json!({"id": "i", "notification": "ntf_1", "audience": 3, "delivered": 3, "gone": 0});
        assert_eq!(
            line("Notification Completed", detail).unwrap(),
            "event: Notification Completed ntf_1, 3 audience, 3 delivered"
        );
        let nested = json!({"notification": "ntf_1", "revision": 2, "counts": {"open": 1}});
        assert_eq!(
            line("Notification Cancelled", nested).unwrap(),
            "event: Notification Cancelled ntf_1, 1 open"
        );
    }

    #[test]
    fn an_event_of_a_delivery_is_no_line() {
        assert_eq!(line("Delivery Gone", json!({"notification": "ntf_1"})), None);
    }
}
