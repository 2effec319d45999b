//! What is stored under a name, and written from a file.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Name {
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct NamedFile {
    pub(crate) name: String,
    /// A file with JSON, as the API takes it; `-` is standard input
    pub(crate) file: PathBuf,
}
