//! Cold start of the messages function.

use std::process::ExitCode;

use herald::config::Environment;
use herald::http_api::{self, GatewayEvent};
use herald::telemetry;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use messages::Context;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start(&environment);
    let app = messages::app(Context::from_environment(&environment)?);
    let app = &app;
    let serving = lambda_runtime::run(service_fn(|event: LambdaEvent<GatewayEvent>| async move {
        let handle = |request| Box::pin(app.handle(request));
        Ok::<_, Error>(http_api::answer(event.payload, handle).await)
    }));
    // The keys are on their way while the runtime asks for its first event.
    tokio::join!(serving, app.prefetch()).0
}
