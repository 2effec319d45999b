//! Prints the events of the host and the bot's messages.

use std::{
    env,
    io::{IsTerminal, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use herald_local::{
    Event, Events, Published,
    channel::{Channel, Posted, Posting},
};
use tokio::task::JoinSet;

use super::{
    say,
    words::{self, Tone},
};

/// One printed line: its source, its text and its look.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    who: &'a str,
    text: String,
    tone: Tone,
}

/// Whether lines have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    On,
    Off,
}

impl Colours {
    /// On a terminal, unless `NO_COLOR` is set (<https://no-color.org>) or the terminal has none.
    fn of_terminal() -> Colours {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Colours::of(stdout().is_terminal(), is_set("NO_COLOR") || is_dumb)
    }

    fn of(is_terminal: bool, is_declined: bool) -> Colours {
        if is_terminal && !is_declined {
            Colours::On
        } else {
            Colours::Off
        }
    }
}

impl Line<'_> {
    fn shown(&self, colours: Colours) -> String {
        let Line { who, text, tone } = self;
        let begin = match colours {
            Colours::On => tone.escape_sequence(),
            Colours::Off => "",
        };
        let end = if begin.is_empty() { "" } else { "\x1b[0m" };
        format!("{who:>10}  {begin}{text}{end}")
    }
}

/// Prints events: only failures at first.
pub(crate) struct Console {
    everything: Arc<AtomicBool>,
    colours: Colours,
    _telling: JoinSet<()>,
}

impl Console {
    pub(crate) fn start(events: &Events) -> Console {
        let everything = Arc::new(AtomicBool::new(false));
        let colours = Colours::of_terminal();
        let (all, mut events) = (everything.clone(), events.subscribe());
        let mut telling = JoinSet::new();
        telling.spawn(async move {
            while let Some(event) = events.recv().await {
                let line =
                    trouble(&event).or_else(|| all.load(Ordering::Relaxed).then(|| routine(&event))?);
                if let Some(line) = line {
                    say(&line.shown(colours));
                }
            }
        });
        Console {
            everything,
            colours,
            _telling: telling,
        }
    }

    /// From now on prints all events and the bot's messages.
    pub(crate) async fn print_everything(&self, channel: &Channel) {
        let mut posts = channel.subscribe();
        self.everything.store(true, Ordering::Relaxed);
        while let Some(posted) = posts.recv().await {
            let reader = channel.name_of(&posted.conversation);
            say(&message(&posted, reader.as_deref()).shown(self.colours));
        }
    }
}

/// A message with its reader: `to Alan: …`, `edited for Alan: …` or `deleted for Alan`. A conversation without a name is
/// shown by id.
fn message(posted: &Posted, reader: Option<&str>) -> Line<'static> {
    let reader = words::printable(reader.unwrap_or(&posted.conversation));
    let text = words::of_message(&posted.activity);
    let text = match posted.posting {
        Posting::New => format!("to {reader}: {text}"),
        Posting::Update => format!("edited for {reader}: {text}"),
        Posting::Delete => format!("deleted for {reader}"),
    };
    Line {
        who: "channel",
        text,
        tone: Tone::Message,
    }
}

/// The line of a failure, or of a log line above INFO.
fn trouble(event: &Event) -> Option<Line<'_>> {
    let failure = |who, text| {
        Some(Line {
            who,
            text,
            tone: Tone::Failure,
        })
    };
    match event {
        Event::Logged { line, .. } if words::is_metric(line) => None,
        Event::Logged { function, line } => match words::of_log(line) {
            (tone @ (Tone::Warning | Tone::Failure), text) => Some(Line {
                who: function,
                text,
                tone,
            }),
            (Tone::Plain | Tone::Quiet | Tone::Message, _) => None,
        },
        Event::Stopped { function, reason } => failure(function, format!("PROCESS ENDED: {reason}")),
        Event::Finished {
            function,
            failure: Some(reason),
            elapsed,
            ..
        } => failure(
            function,
            format!("FAILED after {} ms: {reason}", elapsed.as_millis()),
        ),
        Event::DeadLettered { queue, message_id } => {
            failure("queue", format!("DEAD LETTER: {message_id} of {queue}"))
        }
        Event::NotKept { resource, reason } => failure("data", format!("NOT KEPT: {resource}: {reason}")),
        Event::Started { .. }
        | Event::Invoked { .. }
        | Event::Finished { failure: None, .. }
        | Event::Answered { .. }
        | Event::Batch { .. }
        | Event::Published(_)
        | Event::Drained => None,
    }
}

/// The line of another event.
fn routine(event: &Event) -> Option<Line<'_>> {
    let plain = |who, text| {
        Some(Line {
            who,
            text,
            tone: Tone::Plain,
        })
    };
    match event {
        Event::Logged { line, .. } if words::is_metric(line) => None,
        Event::Logged { function, line } => {
            let (tone, text) = words::of_log(line);
            Some(Line {
                who: function,
                text,
                tone,
            })
        }
        Event::Answered {
            method,
            path,
            status,
            elapsed,
        } => {
            let path = words::printable(path);
            plain(
                "http",
                format!("{status} {method} {path}, {} ms", elapsed.as_millis()),
            )
        }
        Event::Batch {
            queue,
            function,
            messages,
            failed,
            elapsed,
        } => {
            let took = elapsed.as_millis();
            let text = format!("{messages} of {queue} in {took} ms");
            match failed {
                0 => Some(Line {
                    who: function,
                    text,
                    tone: Tone::Quiet,
                }),
                failed => Some(Line {
                    who: function,
                    text: format!("{text}, {failed} FAILED"),
                    tone: Tone::Warning,
                }),
            }
        }
        Event::Published(published) => plain("event", told(published)?),
        Event::Started { .. }
        | Event::Stopped { .. }
        | Event::Invoked { .. }
        | Event::Finished { .. }
        | Event::DeadLettered { .. }
        | Event::NotKept { .. }
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
    use serde_json::{Value, json};

    use super::*;

    fn line(kind: &str, detail: Value) -> Option<String> {
        let published = Published {
            bus: "EventBus".into(),
            source: "herald".into(),
            detail_type: kind.into(),
            detail,
        };
        routine(&Event::Published(published)).map(|line| format!("{}: {}", line.who, line.text))
    }

    fn posted(posting: Posting, activity: Value) -> Posted {
        Posted {
            conversation: "a:1".into(),
            id: "1".into(),
            posting,
            activity,
        }
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

    #[test]
    fn a_message_is_shown_with_its_reader() {
        let shown = |posting, activity| message(&posted(posting, activity), Some("Alan")).shown(Colours::Off);
        assert_eq!(
            shown(Posting::New, json!({"text": "Hello"})),
            "   channel  to Alan: Hello"
        );
        assert_eq!(
            shown(Posting::Update, json!({"text": "Hi"})),
            "   channel  edited for Alan: Hi"
        );
        assert_eq!(
            shown(Posting::Delete, Value::Null),
            "   channel  deleted for Alan"
        );
        let nameless = message(&posted(Posting::New, json!({"text": "Hello"})), None);
        assert_eq!(nameless.text, "to a:1: Hello");
    }

    #[test]
    fn colours_are_on_a_terminal_only_and_can_be_declined() {
        assert_eq!(Colours::of(true, false), Colours::On);
        assert_eq!(Colours::of(true, true), Colours::Off);
        assert_eq!(Colours::of(false, false), Colours::Off);
        let line = message(&posted(Posting::New, json!({"text": "Hello"})), Some("Alan"));
        assert_eq!(
            line.shown(Colours::On),
            "   channel  \u{1b}[36mto Alan: Hello\u{1b}[0m"
        );
        assert!(!line.shown(Colours::Off).contains('\u{1b}'));
    }

    #[test]
    fn a_warning_is_trouble_and_an_information_is_not() {
        let logged = |level: &str| Event::Logged {
            function: "sender".into(),
            line: json!({"level": level, "message": "m"}).to_string(),
        };
        for level in ["WARN", "ERROR"] {
            assert!(trouble(&logged(level)).is_some(), "{level}");
        }
        for level in ["INFO", "DEBUG", "TRACE"] {
            assert!(trouble(&logged(level)).is_none(), "{level}");
        }
        let metric = Event::Logged {
            function: "sender".into(),
            line: json!({"_aws": {"Timestamp": 1}, "Delivered": 1}).to_string(),
        };
        assert!(trouble(&metric).is_none());
    }
}
