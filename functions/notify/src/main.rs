//! Cold start of the notify function.

use std::future::{Future, ready};
use std::pin::Pin;
use std::process::ExitCode;

use herald::config::Environment;
use herald::telemetry;
use lambda_http::{Body, Error, IntoResponse, Response, service_fn};
use notify::{Context, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start(&environment);
    let context = Context::from_environment(&environment)?;
    let context = &context;
    lambda_http::run(service_fn(|request| async move {
        Ok::<_, Error>(Answer(handle(context, request).await))
    }))
    .await
}

/// An answer as it is: text in UTF-8. `lambda_http` would look at what its content type says first, and has every
/// character set there is compiled in for that, 0.2 MB of them.
struct Answer(Response<Body>);

impl IntoResponse for Answer {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(ready(self.0))
    }
}
