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
        Ok::<_, Error>(Utf8Response(Box::pin(handle(context, request)).await))
    }))
    .await
}

/// A response whose text is UTF-8. `lambda_http`'s own conversion reads the charset of the content type, which compiles every
/// character set into the binary (0.2 MB).
struct Utf8Response(Response<Body>);

impl IntoResponse for Utf8Response {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(ready(self.0))
    }
}
