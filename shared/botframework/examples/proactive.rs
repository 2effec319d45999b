//! Remembers everybody who talks to it, and writes to all of them when `GET /api/notify` is called: Microsoft's sample 16.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::routing::get;
use botframework::activity::ActivityType::Message;
use botframework::app::{App, Context, Error, Next};
use botframework::reference::ConversationReference;

/// The conversations by their id. Herald's engine keeps them in DynamoDB.
#[derive(Clone, Default)]
pub(crate) struct References(Arc<Mutex<BTreeMap<String, ConversationReference>>>);

impl References {
    fn put(&self, reference: &ConversationReference) {
        let Some(id) = reference.conversation_id() else {
            return;
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(id.to_string(), reference.clone());
    }

    fn all(&self) -> Vec<ConversationReference> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }
}

pub(crate) fn bot(app: App, references: References) -> App {
    app.with(references)
        .layer(remember)
        .on(Message, async || "Call /api/notify, and I write to you.")
}

async fn remember(context: Context, next: Next) -> Result<(), Error> {
    context.get::<References>()?.put(context.reference());
    next.run(context).await
}

/// Writes to everybody. One who removed the bot must not keep the others waiting.
pub(crate) async fn notify(app: &App, references: &References) -> String {
    let (mut sent, all) = (0, references.all());
    for reference in &all {
        match app.at(reference).send("proactive hello").await {
            Ok(_) => sent += 1,
            Err(error) => tracing::warn!(%error, "not sent"),
        }
    }
    format!("{sent} of {} were written to", all.len())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let references = References::default();
    let app = bot(App::from_env()?, references.clone());
    let notifying = app.clone();
    let router = app.into_router().route(
        "/api/notify",
        get(async move || notify(&notifying, &references).await),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3978").await?;
    Ok(axum::serve(listener, router).await?)
}
