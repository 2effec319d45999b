//! What the command prints: tables, words and colours.

use std::error::Error as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::Terminal;
use crate::error::Error;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const OPEN: Style = AnsiColor::Yellow.on_default();

/// Where answers and errors go.
pub(crate) struct Output<'t> {
    terminal: &'t mut Terminal,
    pub(crate) is_json: bool,
}

impl<'t> Output<'t> {
    pub(crate) fn new(terminal: &'t mut Terminal, is_json: bool) -> Self {
        Self { terminal, is_json }
    }

    /// Whether progress may be drawn.
    pub(crate) fn shows_progress(&self) -> bool {
        self.terminal.shows_progress && !self.is_json
    }

    /// A line of the answer.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> Result<(), Error> {
        writeln!(self.terminal.out, "{}", line.as_ref())?;
        Ok(())
    }

    /// Bytes of the answer, as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.terminal.out.write_all(bytes)?;
        self.terminal.out.flush()?;
        Ok(())
    }

    /// What is going on. With `--json` only answers and errors are printed.
    pub(crate) fn note(&mut self, line: impl AsRef<str>) -> Result<(), Error> {
        if !self.is_json {
            writeln!(self.terminal.err, "{}", line.as_ref())?;
        }
        Ok(())
    }

    /// A document, if JSON is asked for. Returns whether it is.
    pub(crate) fn json(&mut self, document: &Value) -> Result<bool, Error> {
        if self.is_json {
            self.document(document)?;
        }
        Ok(self.is_json)
    }

    /// A document of which every part counts.
    pub(crate) fn document(&mut self, document: &Value) -> Result<(), Error> {
        self.line(serde_json::to_string_pretty(document).unwrap_or_default())
    }

    /// Why the command failed, with all causes.
    pub(crate) fn error(&mut self, error: &Error) -> io::Result<()> {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        writeln!(self.terminal.err, "{BAD}herald:{BAD:#} {text}")
    }

    /// Rows under a heading, in columns as wide as their widest cell. The last column is not padded.
    pub(crate) fn table<const N: usize>(
        &mut self,
        heading: [&str; N],
        rows: &[[String; N]],
    ) -> Result<(), Error> {
        let widths: [usize; N] = std::array::from_fn(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([heading[column].chars().count()]).max().unwrap_or(0)
        });
        let line = |cells: &[&str; N]| {
            let padded = cells
                .iter()
                .zip(widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    if column + 1 == N {
                        (*cell).to_owned()
                    } else {
                        format!("{cell:<width$}")
                    }
                });
            padded.collect::<Vec<_>>().join("  ")
        };
        let heading = line(&heading);
        self.line(format!("{DIM}{heading}{DIM:#}"))?;
        for row in rows {
            self.line(line(&std::array::from_fn(|column| row[column].as_str())))?;
        }
        Ok(())
    }
}

/// The text of a member; empty if there is none.
pub(crate) fn text<'v>(document: &'v Value, name: &str) -> &'v str {
    document[name].as_str().unwrap_or_default()
}

/// A moment without its fraction of a second.
pub(crate) fn moment(document: &Value, name: &str) -> String {
    let text = text(document, name);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text.to_owned(),
    }
}

/// The elements of a list.
pub(crate) fn list<'v>(document: &'v Value, name: &str) -> &'v [Value] {
    document[name].as_array().map_or(&[], Vec::as_slice)
}

/// A number with a word that is in the singular for one.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
