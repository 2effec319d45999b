//! A card with a button that is answered in place (`Action.Execute`).

use botframework::app::{AdaptiveCard, App, Context, Error, SubmittedData};
use serde_json::{Value, json};

pub(crate) fn bot(app: App) -> App {
    app.command("order", order).verb("approve", approve)
}

async fn order() -> AdaptiveCard<Value> {
    let button =
        json!({"type": "Action.Execute", "title": "Approve", "verb": "approve", "data": {"order": 7}});
    card("Order 7 waits.", &[button])
}

async fn approve(context: Context, button: SubmittedData) -> Result<AdaptiveCard<Value>, Error> {
    let name = context.from().name.clone().unwrap_or_default();
    Ok(card(
        &format!("Order {} was approved by {name}.", button.0["order"]),
        &[],
    ))
}

fn card(text: &str, actions: &[Value]) -> AdaptiveCard<Value> {
    let text = json!({"type": "TextBlock", "text": text, "wrap": true});
    AdaptiveCard(json!({"type": "AdaptiveCard", "version": "1.5", "body": [text], "actions": actions}))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?).serve("127.0.0.1:3978").await?)
}
