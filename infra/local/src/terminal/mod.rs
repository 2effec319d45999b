//! The text on the terminal.

mod console;
mod words;

use std::{
    io::{Write, stdout},
    time::Duration,
};

use herald_local::{
    Host, Options,
    channel::{Channel, Person, TENANT},
};

pub(crate) use console::Console;

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
    let buses = names(stack.buses.iter().map(String::as_str).collect());
    let topics = names(stack.topics.iter().map(|topic| topic.arn.as_str()).collect());
    let kept = options
        .data
        .as_ref()
        .map_or("in memory".into(), |data| format!("in {}", data.path().display()));
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
  EventBridge    {}  {buses}
  SNS            {}  {topics}
  channel        {}
",
        ready.as_millis(),
        host.dynamodb_endpoint(),
        host.sqs_endpoint(),
        host.eventbridge_endpoint(),
        host.sns_endpoint(),
        channel.service_url(),
        url = host.url(),
    )
}

/// Prints the next steps for the user.
pub(crate) fn farewell(host: &Host) -> String {
    let url = host.url();
    let ada = Person::named("Ada").entra_object_id;
    format!(
        r#"
Now you. The host runs until Ctrl-C and prints a line for each event.

  talk to the bot   npx @microsoft/m365agentsplayground -c msteams --disable-telemetry -e {url}/api/messages
  tell Ada          curl {url}/api/notifications --json '{{"audience":{{"users":["{ada}"],"tenant":"{TENANT}"}},"message":{{"text":"Hello"}}}}'
  make it your bot  functions/messages/src/bot.rs
  see and send      {url}/console
"#
    )
}
