//! Cold start of the messages function.

use std::process::ExitCode;

use herald::config::Environment;
use herald::telemetry;
use lambda_http::{Error, service_fn};
use messages::{Context, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start(&environment);
    let context = Context::from_environment(&environment)?;
    let context = &context;
    let serving = lambda_http::run(service_fn(|request| async move {
        Ok::<_, Error>(handle(context, request).await)
    }));
    // The keys are on their way while the runtime asks for its first event.
    tokio::join!(serving, context.prefetch()).0
}
