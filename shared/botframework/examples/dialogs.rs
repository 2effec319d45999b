//! A button that opens a dialog, and what is submitted there.

use botframework::app::{AdaptiveCard, App, Context, Dialog, Error, SubmittedData};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Order {
    what: String,
}

pub(crate) fn bot(app: App) -> App {
    app.command("order", offer).dialog("order", open, submit)
}

async fn offer() -> AdaptiveCard<Value> {
    AdaptiveCard(
        json!({"type": "AdaptiveCard", "version": "1.5", "actions": [Dialog::open_button("Order", "order")]}),
    )
}

async fn open() -> Result<Dialog, Error> {
    let input = json!({"type": "Input.Text", "id": "what", "label": "What?"});
    let card = json!({"type": "AdaptiveCard", "version": "1.5", "body": [input],
        "actions": [Dialog::submit_button("Order", "order")]});
    Dialog::card("Order", card)
}

/// Tells the conversation, and closes the dialog.
async fn submit(context: Context, order: SubmittedData) -> Result<(), Error> {
    let order: Order = order.read()?;
    context.send(format!("Ordered: {}", order.what)).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?).serve("127.0.0.1:3978").await?)
}
