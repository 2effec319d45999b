//! The trace of a run: a failing seed prints it, and equal traces show that a seed replays.

use std::fmt::{self, Write};
use std::sync::Mutex;

use jiff::SignedDuration;

use super::lock;

/// Many times the longest trace of a run that ends, in bytes.
const LONGEST: usize = 32 * 1024 * 1024;

/// The lines of one run.
#[derive(Debug, Default)]
pub(super) struct Trace(Mutex<String>);

impl Trace {
    /// Writes a line. `after` is the virtual time since the run began.
    pub(super) fn line(&self, after: SignedDuration, who: &dyn fmt::Display, what: fmt::Arguments<'_>) {
        let mut text = lock(&self.0);
        let (seconds, milliseconds) = (after.as_secs(), after.subsec_millis());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{seconds:>6}.{milliseconds:03}  {who:<12} {what}");
    }

    /// Whether the trace is longer than that of any run that ends.
    pub(super) fn is_endless(&self) -> bool {
        lock(&self.0).len() > LONGEST
    }

    /// FNV-1a over the whole trace.
    pub(super) fn digest(&self) -> u64 {
        lock(&self.0).bytes().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// The last lines.
    pub(super) fn tail(&self, lines: usize) -> String {
        let text = lock(&self.0);
        let from = text.rmatch_indices('\n').nth(lines).map_or(0, |(end, _)| end + 1);
        text[from..].to_owned()
    }

    /// All lines.
    pub(super) fn whole(&self) -> String {
        lock(&self.0).clone()
    }
}
