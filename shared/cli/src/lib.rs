//! The command `herald`: send notifications and see what becomes of them, over Herald's HTTP API.
//!
//! [`README.md`](https://docs.rs/crate/herald-cli) shows how it is used. [`run`] is the whole command, for `main` and for tests.
//!
//! | module | what |
//! |---|---|
//! | `verbs` | one module for each group of verbs: its arguments, its requests, what it prints |
//! | `selector` | the audience of a command line: `everyone`, `team:19:…` |
//! | `api` | requests to the API: sign-in, repetition, pages |
//! | `connection` | address and sign-in, from flags, environment and profile |
//! | `sign_in` | bearer tokens and AWS signatures |
//! | `problem` | what the API refuses, shown beside the field that it is about |
//! | `output` | tables, words and colours |

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

mod api;
mod connection;
mod error;
mod output;
mod problem;
mod selector;
mod sign_in;
mod verbs;

use connection::ConnectionOptions;
use error::Error;
use output::Output;
use verbs::Verb;

/// Where the command writes.
pub struct Terminal {
    /// Answers.
    pub out: Box<dyn Write>,
    /// Errors and progress.
    pub err: Box<dyn Write>,
    /// Whether a person sees `err`, and progress may be drawn there.
    pub shows_progress: bool,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Terminal").finish_non_exhaustive()
    }
}

/// Send notifications with Herald, and see what becomes of them.
///
/// Against `cargo run` on this machine it needs no options. It never asks a question.
#[derive(Debug, Parser)]
#[command(
    name = "herald",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done; 1 something on this machine failed, such as a file; 2 wrong usage; 3 the API refused \
        the request; 4 the API cannot be reached or failed; 5 a notification that was waited for did not reach all."
)]
struct Command {
    #[command(flatten)]
    connection: ConnectionOptions,
    /// Print what the API answers, as JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// Runs the command with these arguments, of which the first is its name.
pub async fn run(arguments: impl IntoIterator<Item = OsString>, terminal: &mut Terminal) -> ExitCode {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(wrong) => return usage(&wrong, terminal),
    };
    let mut output = Output::new(terminal, command.json);
    let done = Box::pin(command.verb.run(&command.connection, &mut output)).await;
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has gone, as `head` does.
        Err(Error::Closed) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = output.error(&error);
            error.exit_code()
        }
    }
}

/// What clap says about help, the version and wrong arguments.
fn usage(said: &clap::Error, terminal: &mut Terminal) -> ExitCode {
    let text = said.render().to_string();
    match said.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = terminal.out.write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        _ => {
            let _ = terminal.err.write_all(text.as_bytes());
            error::USAGE.into()
        }
    }
}

/// The command line, for completions and the man page.
fn command_line() -> clap::Command {
    Command::command()
}
