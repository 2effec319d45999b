use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::problem::Problem;

/// The exit code of wrong usage, which clap has, too.
pub(crate) const USAGE: u8 = 2;

/// Why a command failed. Each kind has its exit code.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something on this machine: a file, the profile, the command for a token.
    #[error("{what}")]
    Local {
        what: String,
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The arguments contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The API refused the request.
    #[error("{0}")]
    Refused(Problem),
    /// The API cannot be reached, or failed.
    #[error("{what}")]
    Unavailable {
        what: String,
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// A notification that was waited for has ended and did not reach all.
    #[error("{0}")]
    NotDelivered(String),
    /// Nobody reads what the command writes.
    #[error("the output is closed")]
    Closed,
}

impl Error {
    pub(crate) fn local(what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Local { what, source: None }
    }

    /// A file that cannot be read or written.
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::Local {
            what: format!("{}: cannot be used", path.display()),
            source: Some(source.into()),
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Local { .. } => 1,
            Self::Usage(_) => USAGE,
            Self::Refused(_) => 3,
            Self::Unavailable { .. } => 4,
            Self::NotDelivered(_) => 5,
            Self::Closed => 0,
        })
    }
}

/// An error of writing the answer.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::Local {
            what: "the output cannot be written".to_owned(),
            source: Some(error.into()),
        }
    }
}
