//! **Your bot.** This is the one file to edit: it decides what the bot replies.
//!
//! Herald does the rest: before a turn runs, the conversation is stored, and `POST /api/notifications` can write to it later.
//! A turn must be short; the channel waits about 15 seconds for all of it.

use botframework::activity::ActivityType::Message;
use botframework::app::{AdaptiveCard, App, Context, Error, SubmittedData};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Welcome;
use crate::tags::{TagResult, Tags};

/// What the bot does. The first handler that fits an activity runs.
pub fn bot(app: App) -> App {
    app.on(Welcome::Due, welcome)
        .command("help", help)
        .command("topics", topics)
        .command("subscribe", subscribe)
        .command("unsubscribe", unsubscribe)
        .command("who am i", who_am_i)
        .verb("subscribe", subscribe_by_button)
        .verb("unsubscribe", unsubscribe_by_button)
        .on(Message, echo)
}

/// A welcome says why it came, what the bot offers, and what to do next.
async fn welcome(context: Context) -> String {
    let team = context.activity().teams().and_then(|teams| teams.team);
    let place = team
        .and_then(|team| team.name)
        .map_or_else(|| "here".to_owned(), |name| format!("to **{name}**"));
    let cause = match &context.from().name {
        Some(name) => format!("{name} just added me {place}"),
        None => format!("I was just added {place}"),
    };
    format!(
        "Hello! You see this because {cause}, and from now on I can bring you news without being asked: a broken build, a \
         shipped order, a closed office. Type **help** to see what I understand."
    )
}

async fn help(context: Context) -> Result<String, Error> {
    let tags: Tags = context.get()?;
    let subscribe = match tags.topics().names() {
        [] => String::new(),
        [first, ..] => format!(
            "\n- **topics** shows what you can hear about, **subscribe {first}** brings you news about {first} here, and \
             **unsubscribe {first}** ends that"
        ),
    };
    Ok(format!(
        "I bring notifications here when there are any. I understand:\n{subscribe}\n- **who am i** shows what I know of you\n- \
         **help** shows this\n\nSay anything else and I repeat it, so you can see that I listen. To stop hearing from me, uninstall \
         me or remove me from this chat."
    ))
}

/// What the topics are, and a button for each.
async fn topics(context: Context) -> Result<AdaptiveCard<Value>, Error> {
    topics_card(&context.get()?, "What do you want to hear about here?").await
}

async fn subscribe(context: Context, topic: String) -> Result<String, Error> {
    let tags: Tags = context.get()?;
    Ok(match tags.join(&topic).await? {
        TagResult::Done => format!(
            "From now on I bring news about **{}** here.",
            topic.to_lowercase()
        ),
        TagResult::NotATopic | TagResult::Invalid => no_topic(&tags),
        TagResult::TooMany => "There are too many already: unsubscribe from one first.".to_owned(),
        TagResult::NoConversation => "I do not know where to bring it.".to_owned(),
    })
}

async fn unsubscribe(context: Context, topic: String) -> Result<String, Error> {
    let tags: Tags = context.get()?;
    Ok(match tags.leave(&topic).await? {
        TagResult::NotATopic | TagResult::Invalid => no_topic(&tags),
        TagResult::Done | TagResult::TooMany | TagResult::NoConversation => {
            format!(
                "I bring no news about **{}** here any more.",
                topic.to_lowercase()
            )
        }
    })
}

/// The data of a button of [`topics`].
#[derive(Deserialize)]
struct Choice {
    topic: String,
}

/// The answer takes the place of the card with the button.
async fn subscribe_by_button(context: Context, button: SubmittedData) -> Result<AdaptiveCard<Value>, Error> {
    let choice: Choice = button.read()?;
    let said = subscribe(context.clone(), choice.topic).await?;
    topics_card(&context.get()?, &said).await
}

async fn unsubscribe_by_button(
    context: Context,
    button: SubmittedData,
) -> Result<AdaptiveCard<Value>, Error> {
    let choice: Choice = button.read()?;
    let said = unsubscribe(context.clone(), choice.topic).await?;
    topics_card(&context.get()?, &said).await
}

/// A card that says something and has a button for each topic.
async fn topics_card(tags: &Tags, said: &str) -> Result<AdaptiveCard<Value>, Error> {
    let joined = tags.all().await?;
    let button = |topic: &String| {
        let (verb, title) = if joined.contains(topic) {
            ("unsubscribe", format!("No more {topic}"))
        } else {
            ("subscribe", format!("Subscribe to {topic}"))
        };
        json!({"type": "Action.Execute", "title": title, "verb": verb, "data": {"topic": topic}})
    };
    let topics = tags.topics().names();
    let said = if topics.is_empty() {
        "There are no topics here to subscribe to."
    } else {
        said
    };
    let actions: Vec<_> = topics.iter().map(button).collect();
    Ok(AdaptiveCard(json!({
        "type": "AdaptiveCard", "version": "1.5",
        "body": [{"type": "TextBlock", "text": said, "wrap": true}], "actions": actions,
    })))
}

fn no_topic(tags: &Tags) -> String {
    match tags.topics().names() {
        [] => "There are no topics here to subscribe to.".to_owned(),
        topics => format!(
            "I have no topic of that name. My topics are: **{}**.",
            topics.join("**, **")
        ),
    }
}

/// What the roster says of the person. It has more than their messages do.
async fn who_am_i(context: Context) -> Result<String, Error> {
    let person = context.member(context.from().id.as_str()).await?;
    let name = person.name.as_deref().unwrap_or("somebody without a name");
    Ok(match (person.email, context.tenant()) {
        (Some(mail), Some(tenant)) => format!("You are {name} ({mail}), in the tenant {tenant}."),
        _ => format!("You are {name}."),
    })
}

/// Repeats what is said. The button of a card, or a picture, has no text.
async fn echo(context: Context) -> Option<String> {
    let said = context.text();
    (!said.is_empty()).then(|| format!("You said: {said}"))
}

#[cfg(test)]
mod tests {
    use botframework::auth::Authenticator;
    use botframework::cloud::Cloud;
    use botframework::testing::{TestApp, TestChannel};
    use herald::clock::{Clock, Random};
    use herald::store::memory::Store;
    use serde_json::json;

    use crate::Topics;

    /// The bot over a table in memory, and Ada, who talks to it.
    fn ada() -> TestApp {
        let channel = TestChannel::default();
        let app = crate::app(crate::Context {
            store: Store::new(),
            authenticator: Authenticator::unauthenticated(Cloud::Public),
            connector: channel.connector(),
            clock: Clock::system(),
            random: Random::system(),
            topics: Topics::new(["builds", "orders"]),
        });
        TestApp::of(app, channel)
    }

    #[tokio::test]
    async fn a_welcome_names_who_added_the_bot_and_where_and_comes_once() {
        let ada = ada();
        ada.add_bot().await.expect_mention_of("Ada just added me here");
        ada.add_bot().await.expect_silence();
        let team = ada.in_channel("19:general@thread.tacv2");
        team.add_bot()
            .await
            .expect_mention_of("Ada just added me to **Team**");
        ada.add_person("bob").await.expect_silence();
    }

    #[tokio::test]
    async fn help_names_the_commands() {
        let said = ada().say("help").await;
        for command in ["topics", "subscribe builds", "unsubscribe builds", "who am i"] {
            said.expect_mention_of(&format!("**{command}**"));
        }
    }

    #[tokio::test]
    async fn a_person_subscribes_by_words_and_by_buttons() {
        let ada = ada();
        let verbs = |card: &serde_json::Value| {
            let actions = card["actions"].as_array().cloned().unwrap_or_default();
            actions
                .iter()
                .map(|action| format!("{} {}", action["verb"], action["data"]["topic"]).replace('"', ""))
                .collect::<Vec<_>>()
        };
        let said = ada.say("subscribe Builds").await;
        said.expect_text("From now on I bring news about **builds** here.");
        let card = ada.say("topics").await.expect_card();
        assert_eq!(verbs(&card), ["unsubscribe builds", "subscribe orders"]);
        let card = ada
            .click("subscribe", json!({"topic": "orders"}))
            .await
            .expect_card();
        assert_eq!(
            card["body"][0]["text"],
            "From now on I bring news about **orders** here."
        );
        assert_eq!(verbs(&card), ["unsubscribe builds", "unsubscribe orders"]);
        let card = ada
            .click("unsubscribe", json!({"topic": "builds"}))
            .await
            .expect_card();
        assert_eq!(verbs(&card), ["subscribe builds", "unsubscribe orders"]);
        ada.say("unsubscribe executives")
            .await
            .expect_mention_of("no topic of that name");
        let forged = ada
            .click("subscribe", json!({"topic": "executives"}))
            .await
            .expect_card();
        assert_eq!(verbs(&forged), ["subscribe builds", "unsubscribe orders"]);
    }

    #[tokio::test]
    async fn a_person_learns_what_the_bot_knows_of_them() {
        let ada = ada();
        ada.channel().has_members(&["ada"]);
        ada.say("Who am I")
            .await
            .expect_mention_of("You are ada (ada@example.com)");
    }

    #[tokio::test]
    async fn anything_else_is_repeated_and_nothing_is_not() {
        let ada = ada();
        ada.say("good morning")
            .await
            .expect_text("You said: good morning");
        ada.submit(json!({"choice": 1})).await.expect_silence();
    }
}
