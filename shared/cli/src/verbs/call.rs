//! Any request to the API.

use std::path::PathBuf;

use clap::Args;
use http::Method;

use super::message::read_json;
use crate::api::{Api, Ask};
use crate::error::Error;
use crate::output::Output;

/// Make any other request to the API, signed in as the other commands are
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// GET, POST, PUT or DELETE
    method: String,
    /// Path and query, such as /api/notifications?limit=5
    path: String,
    /// A file with the JSON document of the request; `-` is standard input
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
}

impl Call {
    pub(crate) async fn run(self, api: &Api, output: &mut Output<'_>) -> Result<(), Error> {
        let method: Method = self
            .method
            .to_ascii_uppercase()
            .parse()
            .map_err(|_| Error::Usage(format!("`{}` is no method of HTTP", self.method)))?;
        // Only the caller knows whether a repetition does harm.
        let mut ask = Ask::new(method, self.path).once();
        if let Some(path) = &self.data {
            ask = ask.json(read_json(path)?);
        }
        let answer = api.ask(ask).await?;
        output.bytes(&answer.body)?;
        if !answer.body.is_empty() && !answer.body.ends_with(b"\n") {
            output.bytes(b"\n")?;
        }
        Ok(())
    }
}
