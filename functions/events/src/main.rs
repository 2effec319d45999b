//! Cold start of the events function.

use std::process::ExitCode;

use aws_lambda_events::event::sqs::SqsEvent;
use events::{Context, Worker, handle};
use herald::config::Environment;
use herald::telemetry;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::exit_code(run().await)
}

async fn run() -> Result<(), Error> {
    let environment = Environment::process();
    telemetry::start(&environment);
    let context = Context::from_environment(&environment, Worker::new(messages::bot::work))?;
    let context = &context;
    lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
        Ok::<_, Error>(handle(context, event.payload).await)
    }))
    .await
}
