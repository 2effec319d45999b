//! Cold start of the notify function.

use std::process::ExitCode;

use herald::config::Environment;
use herald::http_api::{self, GatewayEvent};
use herald::telemetry;
use lambda_runtime::{Error, LambdaEvent, service_fn};
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
    lambda_runtime::run(service_fn(|event: LambdaEvent<GatewayEvent>| async move {
        let handle = |request| Box::pin(handle(context, request));
        Ok::<_, Error>(http_api::answer(event.payload, handle).await)
    }))
    .await
}
