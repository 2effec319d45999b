//! What the bot does with the [words](crate::words) by which people opt out: it stores the choice and says so, or shows a card with a
//! button for each category, which is answered in its place.

use botframework::activity::Activity;
use botframework::app::{AdaptiveCard, Context, Error, IntoActivity, SubmittedData};
use herald::category::Categories;
use herald::conversation::{Choice, PreferenceChange, Preferences};
use herald::language::Language;
use herald::notification::way_out::ChoiceButton;
use serde_json::{Value, json};

use crate::preferences::TurnPreferences;
use crate::words::SaidWord;

/// The verb of the buttons.
pub const VERB: &str = "herald/preferences";

/// `stop`, and `stop news`.
///
/// # Errors
/// When the store is unavailable.
pub async fn stop(context: Context, said: SaidWord) -> Result<Activity, Error> {
    choose(&context, said, Choice::OptedOut, str::to_owned).await
}

/// `start`, and `start news`.
///
/// # Errors
/// When the store is unavailable.
pub async fn start(context: Context, said: SaidWord) -> Result<Activity, Error> {
    choose(&context, said, Choice::OptedIn, str::to_owned).await
}

/// `settings`: the card.
///
/// # Errors
/// When the store is unavailable.
pub async fn settings(context: Context, said: SaidWord) -> Result<Activity, Error> {
    let preferences: TurnPreferences = context.get()?;
    match preferences.chosen().await? {
        Some(chosen) => {
            let language = said.language;
            card(
                language,
                language.title,
                &preferences.categories().await?,
                &chosen,
            )
            .into_activity()
        }
        None => Ok(Activity::message(said.language.nowhere)),
    }
}

/// A button of the card. The answer takes the place of the card.
///
/// # Errors
/// When the store is unavailable.
pub async fn by_button(context: Context, button: SubmittedData) -> Result<AdaptiveCard<Value>, Error> {
    let ChoiceButton {
        language,
        category,
        choice,
    } = button.read()?;
    let (preferences, language): (TurnPreferences, _) = (context.get()?, Language::of(&language));
    let categories = preferences.categories().await?;
    let change = match category {
        // Only what is not listed: each category that is listed stays as the card shows it.
        None => {
            let chosen = preferences.chosen().await?.unwrap_or_default();
            let listed = categories.0.keys().map(|name| {
                let choice = if chosen.permit(Some(name)) {
                    Choice::OptedIn
                } else {
                    Choice::OptedOut
                };
                (name.clone(), choice)
            });
            PreferenceChange::Choices {
                all: choice,
                categories: chosen.categories.clone().into_iter().chain(listed).collect(),
            }
        }
        Some(category) => PreferenceChange::Category(category, choice),
    };
    let said = match &change {
        PreferenceChange::Category(name, _) if !categories.0.contains_key(name) => {
            let chosen = preferences.chosen().await?.unwrap_or_default();
            return Ok(card(
                language,
                &language.unknown.replace("{}", name),
                &categories,
                &chosen,
            ));
        }
        _ => language.title,
    };
    Ok(match preferences.change(&change).await? {
        Some(chosen) => card(language, said, &categories, &chosen),
        None => card(
            language,
            language.nowhere,
            &Categories::default(),
            &Preferences::default(),
        ),
    })
}

/// The button under a notification, by which a person opts out of it. What is answered is shown to them; the notification stays.
///
/// # Errors
/// When the store is unavailable.
pub async fn by_way_out(context: Context, button: SubmittedData) -> Result<Activity, Error> {
    let ChoiceButton {
        language,
        category,
        choice,
    } = button.read()?;
    let said = SaidWord {
        language: Language::of(&language),
        about: category.unwrap_or_default(),
    };
    choose(&context, said, choice, plain).await
}

/// A sentence without its emphasis: a client shows what answers a button as it is.
fn plain(markdown: &str) -> String {
    markdown.replace("**", "")
}

async fn choose(
    context: &Context,
    said: SaidWord,
    choice: Choice,
    formatted: fn(&str) -> String,
) -> Result<Activity, Error> {
    let SaidWord { language, about } = said;
    let preferences: TurnPreferences = context.get()?;
    let categories = preferences.categories().await?;
    let (change, text) = match (about.as_str(), categories.meant_by(&about)) {
        ("", _) => {
            let text = match choice {
                Choice::OptedOut => language.stopped_all,
                Choice::OptedIn => language.started_all,
            };
            (PreferenceChange::All(choice), formatted(text))
        }
        (_, Some((name, category))) => {
            let text = match choice {
                Choice::OptedOut => language.stopped,
                Choice::OptedIn => language.started,
            };
            let text = formatted(text)
                .replacen("{}", &category.title, 1)
                .replace("{}", name);
            (PreferenceChange::Category(name.to_owned(), choice), text)
        }
        (other, None) => {
            let chosen = preferences.chosen().await?.unwrap_or_default();
            let text = language.unknown.replace("{}", other);
            return card(language, &text, &categories, &chosen).into_activity();
        }
    };
    Ok(Activity::message(match preferences.change(&change).await? {
        Some(_) => text,
        None => language.nowhere.to_owned(),
    }))
}

/// A card that says something, with a button for each category and for everything else.
fn card(
    language: &Language,
    said: &str,
    categories: &Categories,
    chosen: &Preferences,
) -> AdaptiveCard<Value> {
    let mut body = vec![json!({"type": "TextBlock", "text": said, "wrap": true, "weight": "bolder"})];
    for (name, category) in &categories.0 {
        let is_wanted = chosen.permit(Some(name));
        let text = match &category.description {
            Some(description) => format!("**{}**: {description}", category.title),
            None => format!("**{}**", category.title),
        };
        body.extend(row(language, &text, &category.title, Some(name), is_wanted));
    }
    let everything = language.everything;
    let is_wanted = chosen.all == Choice::OptedIn;
    body.extend(row(
        language,
        &format!("**{everything}**"),
        everything,
        None,
        is_wanted,
    ));
    AdaptiveCard(json!({"type": "AdaptiveCard", "version": "1.5", "body": body}))
}

/// What it is, and the button that changes whether it comes.
fn row(language: &Language, text: &str, title: &str, name: Option<&str>, is_wanted: bool) -> [Value; 2] {
    let (mark, button, choice) = if is_wanted {
        ("✔", language.turn_off, Choice::OptedOut)
    } else {
        ("✖", language.turn_on, Choice::OptedIn)
    };
    let toggle = ChoiceButton {
        language: language.code.to_owned(),
        category: name.map(str::to_owned),
        choice,
    };
    let action =
        json!({"type": "Action.Execute", "verb": VERB, "title": button.replace("{}", title), "data": toggle});
    [
        json!({"type": "TextBlock", "text": format!("{mark} {text}"), "wrap": true, "separator": true}),
        json!({"type": "ActionSet", "actions": [action]}),
    ]
}

#[cfg(test)]
mod tests;
