//! The command `herald`.

use std::process::ExitCode;

use herald_cli::{Terminal, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut terminal = Terminal {
        // Colours are taken out where nobody sees them: in a pipe, and with NO_COLOR.
        out: Box::new(anstream::stdout()),
        err: Box::new(anstream::stderr()),
        shows_progress: std::io::IsTerminal::is_terminal(&std::io::stderr()),
    };
    run(std::env::args_os(), &mut terminal).await
}
