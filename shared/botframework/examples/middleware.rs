//! Middlewares: one times the turns, one marks and counts what is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use botframework::activity::ActivityType::Message;
use botframework::app::{App, Context, Error, Middleware, Next, NextSend, Outgoing};
use botframework::connector::SendReceipt;

/// How many messages were sent.
#[derive(Clone, Default)]
pub(crate) struct Sent(pub(crate) Arc<AtomicUsize>);

impl Middleware for Sent {
    async fn on_send(&self, mut outgoing: Outgoing, next: NextSend) -> Result<SendReceipt, Error> {
        outgoing.activity.locale = Some("en-GB".to_owned());
        let receipt = next.run(outgoing).await?;
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(receipt)
    }
}

async fn time(context: Context, next: Next) -> Result<(), Error> {
    let begun = Instant::now();
    let result = next.run(context).await;
    tracing::info!(elapsed_ms = begun.elapsed().as_millis(), "turn");
    result
}

pub(crate) fn bot(app: App, sent: Sent) -> App {
    app.layer(time).layer(sent).on(Message, async |context: Context| {
        format!("You said: {}", context.text())
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?, Sent::default())
        .serve("127.0.0.1:3978")
        .await?)
}
