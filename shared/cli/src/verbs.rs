//! The verbs, one module for each group.

use clap::Subcommand;

use crate::connection::ConnectionOptions;
use crate::error::Error;
use crate::output::Output;

mod call;
mod categories;
mod conversations;
mod deliveries;
mod events;
mod hooks;
mod message;
mod named;
mod notifications;
mod people;
mod plan;
mod routes;
mod schedules;
mod send;
mod shell;
mod templates;
mod transfer;
mod watch;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Send a notification
    Send(Box<send::Send>),
    /// List notifications, newest first
    List(notifications::List),
    /// Show a notification: its state and its counts
    Status(notifications::Status),
    /// Say why a notification is not finished
    Explain(notifications::Notification),
    /// Show the size, time and cost of a notification that is held
    Plan(notifications::Notification),
    /// List what became of each recipient
    Deliveries(deliveries::Deliveries),
    /// Send nothing further
    Cancel(notifications::Cancel),
    /// Edit every copy
    Edit(notifications::Edit),
    /// Delete every copy, and send nothing further
    Retract(notifications::Notification),
    /// List, show and erase conversations
    #[command(subcommand)]
    Conversations(conversations::Conversations),
    /// Tag conversations
    #[command(subcommand)]
    Tags(conversations::Tags),
    /// Show and change what people opted out of, and erase them
    #[command(subcommand)]
    People(people::People),
    /// The kinds of notifications that people opt out of
    #[command(subcommand)]
    Categories(categories::Categories),
    /// Notifications that recur
    #[command(subcommand)]
    Schedules(schedules::Schedules),
    /// Rules from events to notifications
    #[command(subcommand)]
    Routes(routes::Routes),
    /// Messages with expressions, which `send` names
    #[command(subcommand)]
    Templates(templates::Templates),
    /// Addresses for tools that post to incoming webhooks
    #[command(subcommand)]
    Hooks(hooks::Hooks),
    /// Events that were refused
    #[command(subcommand)]
    Events(events::Events),
    /// Import conversations from a file of references
    Import(transfer::Import),
    /// Export conversations, one a line
    Export(transfer::Export),
    /// Send to a tenant again that is paused or slowed down
    ResetRate(events::ResetRate),
    /// Make any other request to the API
    Call(call::Call),
    /// Print a script that completes this command in a shell
    Completion(shell::Completion),
    /// Print the manual page
    Man,
}

impl Verb {
    pub(crate) async fn run(
        self,
        connection: &ConnectionOptions,
        output: &mut Output<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Completion(shell) => return shell.run(output),
            Self::Man => return shell::manual(output),
            _ => {}
        }
        let api = &connection.open()?;
        match self {
            Self::Send(send) => send.run(api, output).await,
            Self::List(list) => list.run(api, output).await,
            Self::Status(status) => status.run(api, output).await,
            Self::Explain(of) => of.explain(api, output).await,
            Self::Plan(of) => plan::show(&of.id, api, output).await,
            Self::Deliveries(deliveries) => deliveries.run(api, output).await,
            Self::Cancel(cancel) => cancel.run(api, output).await,
            Self::Edit(edit) => edit.run(api, output).await,
            Self::Retract(of) => of.retract(api, output).await,
            Self::Conversations(verb) => verb.run(api, output).await,
            Self::Tags(verb) => verb.run(api, output).await,
            Self::People(verb) => verb.run(api, output).await,
            Self::Categories(verb) => verb.run(api, output).await,
            Self::Schedules(verb) => verb.run(api, output).await,
            Self::Routes(verb) => verb.run(api, output).await,
            Self::Templates(verb) => verb.run(api, output).await,
            Self::Hooks(verb) => verb.run(api, output).await,
            Self::Events(verb) => verb.run(api, output).await,
            Self::Import(import) => import.run(api, output).await,
            Self::Export(export) => export.run(api, output).await,
            Self::ResetRate(reset) => reset.run(api, output).await,
            Self::Call(call) => call.run(api, output).await,
            Self::Completion(_) | Self::Man => Ok(()),
        }
    }
}
