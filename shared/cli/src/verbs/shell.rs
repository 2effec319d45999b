//! Completions and the manual page.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::error::Error;
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: ShellName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Fish,
    Zsh,
    #[value(name = "powershell")]
    PowerShell,
}

impl Completion {
    pub(crate) fn run(self, output: &mut Output<'_>) -> Result<(), Error> {
        let shell = match self.shell {
            ShellName::Bash => Shell::Bash,
            ShellName::Fish => Shell::Fish,
            ShellName::Zsh => Shell::Zsh,
            ShellName::PowerShell => Shell::PowerShell,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut crate::command_line(), "herald", &mut script);
        output.bytes(&script)
    }
}

pub(crate) fn manual(output: &mut Output<'_>) -> Result<(), Error> {
    let mut page = Vec::new();
    clap_mangen::Man::new(crate::command_line()).render(&mut page)?;
    output.bytes(&page)
}
