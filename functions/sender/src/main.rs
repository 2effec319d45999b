//! Cold start of the sender function.

use std::process::ExitCode;

use aws_lambda_events::event::sqs::SqsEvent;
use herald::clock;
use herald::config::Environment;
use herald::telemetry;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use sender::{Context, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start(&environment);
    let context = Context::from_environment(&environment)?;
    let context = &context;
    let serving = lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        let deadline = clock::timestamp(event.context.deadline());
        Ok::<_, Error>(handle(context, event.payload, deadline).await)
    }));
    // The token is on its way while the runtime asks for its first event.
    tokio::join!(serving, context.prefetch()).0
}
