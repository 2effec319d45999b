//! A message extension: a search in the compose box, and a card for links.

use botframework::app::{AdaptiveCard, App, Context, Error, LinkPasted, Search, SearchResults};
use serde_json::{Value, json};

/// The invented catalogue.
const BOOKS: [&str; 3] = ["Emma", "Middlemarch", "Persuasion"];

pub(crate) fn bot(app: App) -> App {
    app.query("books", search).on(LinkPasted, unfurl)
}

async fn search(_: Context, search: Search) -> Result<SearchResults, Error> {
    let wanted = search.text.to_lowercase();
    let found = BOOKS.iter().filter(|book| book.to_lowercase().contains(&wanted));
    let page = found.skip(search.skip).take(search.count);
    page.into_iter()
        .try_fold(SearchResults::default(), |results, book| {
            results.and(book, "a novel", card(book))
        })
}

async fn unfurl(_: Context, url: String) -> Option<AdaptiveCard<Value>> {
    let book = BOOKS.iter().find(|book| url.ends_with(&book.to_lowercase()))?;
    Some(AdaptiveCard(card(book)))
}

fn card(book: &str) -> Value {
    json!({"type": "AdaptiveCard", "version": "1.5", "body": [{"type": "TextBlock", "text": book}]})
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    Ok(bot(App::from_env()?).serve("127.0.0.1:3978").await?)
}
