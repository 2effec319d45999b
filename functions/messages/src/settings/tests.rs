use botframework::activity::ActivityType::Message;
use botframework::auth::Authenticator;
use botframework::cloud::Cloud;
use botframework::testing::{TestApp, TestChannel, TestTurn};
use herald::acceptance::Settings;
use herald::backend::Memory;
use herald::category::Category;
use herald::clock::{Clock, Random};
use herald::queue::memory::Queue;
use herald::store::memory::Store;
use herald::store::{ConversationFilter, Conversations, catalogue};

use super::*;
use crate::Topics;

struct Bot {
    ada: TestApp,
    store: Store,
}

impl Bot {
    /// The bot of a deployment with two categories.
    async fn new() -> Self {
        let (channel, store) = (TestChannel::default(), Store::new());
        for (name, title) in [("news", "News"), ("outages", "Outages of the house")] {
            let document = json!({"title": title, "description": "As they come"});
            let category = Category::parse(name, &document).unwrap();
            catalogue::put::<Categories>(&store, name, &category)
                .await
                .unwrap();
        }
        let app = crate::app(crate::Context::<Memory> {
            conversations: store.clone(),
            registry: store.clone(),
            notifications: store.clone(),
            plans: Queue::new(),
            events: Queue::new(),
            settings: Settings::default(),
            authenticator: Authenticator::unauthenticated(Cloud::Public),
            connector: channel.connector(),
            clock: Clock::system(),
            random: Random::system(),
            topics: Topics::default(),
        });
        let ada = TestApp::of(app, channel);
        Self { ada, store }
    }

    /// Whether news, outages and what has no category are wanted in a conversation.
    async fn wants(&self, conversation: &str) -> [bool; 3] {
        let filter = ConversationFilter::Conversation(conversation.into());
        let listed = self.store.list(&filter, None, 10).await.unwrap();
        let known = listed.items.into_iter().next().unwrap();
        let permits = |category| known.preferences.as_ref().is_none_or(|it| it.permit(category));
        [permits(Some("news")), permits(Some("outages")), permits(None)]
    }
}

async fn say_in(person: &TestApp, locale: &str, text: &str) -> TestTurn {
    let said = json!({"text": text, "locale": locale});
    person.receive(&person.activity(&Message, &said)).await
}

/// The buttons of a card: their titles, with their data.
fn buttons(card: &Value) -> Vec<(String, Value)> {
    let rows = card["body"].as_array().unwrap().iter();
    let actions = rows.filter_map(|row| row["actions"].get(0));
    let button = |action: &Value| {
        (
            action["title"].as_str().unwrap().to_owned(),
            action["data"].clone(),
        )
    };
    actions.map(button).collect()
}

#[tokio::test]
async fn a_person_stops_and_starts_everything_and_a_category() {
    let bot = Bot::new().await;
    bot.ada
        .say("stop News")
        .await
        .expect_text("I send nothing about **News** here any more. Say **start news** to get it again.");
    assert_eq!(bot.wants("a:ada").await, [false, true, true]);
    bot.ada
        .say("Stop")
        .await
        .expect_mention_of("no notifications here any more");
    assert_eq!(bot.wants("a:ada").await, [false; 3]);
    // By its title, which counts more than the choice about everything.
    bot.ada
        .say("start outages of the house")
        .await
        .expect_text("I send what is about **Outages of the house** here again.");
    assert_eq!(bot.wants("a:ada").await, [false, true, false]);
    bot.ada
        .say("start")
        .await
        .expect_text("I send notifications here again.");
    assert_eq!(bot.wants("a:ada").await, [true; 3]);
}

#[tokio::test]
async fn the_bot_answers_in_the_language_of_the_word_or_of_the_client() {
    let bot = Bot::new().await;
    say_in(&bot.ada, "en-US", "stopp news")
        .await
        .expect_mention_of("Ich sende hier nichts mehr zu **News**");
    say_in(&bot.ada, "nl-NL", "start")
        .await
        .expect_text("Ik stuur hier weer meldingen.");
    say_in(&bot.ada, "fr-FR", "stop")
        .await
        .expect_mention_of("Je n’envoie plus de notifications ici.");
    assert_eq!(bot.wants("a:ada").await, [false; 3]);
}

#[tokio::test]
async fn the_buttons_of_the_settings_are_answered_in_their_place() {
    let bot = Bot::new().await;
    let card = bot.ada.say("settings").await.expect_card();
    let shown: Vec<_> = buttons(&card).into_iter().map(|(title, _)| title).collect();
    let all_on = [
        "Turn off: News",
        "Turn off: Outages of the house",
        "Turn off: Everything else",
    ];
    assert_eq!(shown, all_on);
    for (row, expected) in [
        (0, [false, true, true]),
        (2, [false, true, false]),
        (1, [false, false, false]),
    ] {
        let card = bot.ada.say("settings").await.expect_card();
        let (_, data) = buttons(&card).remove(row);
        let answer = bot.ada.click(VERB, data).await.expect_card();
        assert_eq!(bot.wants("a:ada").await, expected, "{row}");
        assert!(buttons(&answer)[row].0.starts_with("Turn on"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_no_category_changes_nothing_and_shows_the_settings() {
    let bot = Bot::new().await;
    let card = bot.ada.say("stop the press").await.expect_card();
    assert!(
        card["body"][0]["text"]
            .as_str()
            .unwrap()
            .contains("**the press**"),
        "{card}"
    );
    let forged = json!({"language": "xx", "category": "executives", "choice": "optedOut"});
    let card = bot.ada.click(VERB, forged).await.expect_card();
    assert!(
        card["body"][0]["text"]
            .as_str()
            .unwrap()
            .contains("**executives**"),
        "{card}"
    );
    assert_eq!(bot.wants("a:ada").await, [true; 3]);
    bot.ada.say("stopwatch").await.expect_text("You said: stopwatch");
}

#[tokio::test]
async fn in_a_channel_it_is_the_channels_choice_and_the_threads() {
    let bot = Bot::new().await;
    bot.ada.say("hello").await;
    let thread = bot.ada.in_channel("19:general@thread.tacv2;messageid=5");
    let said = thread.say("stop news").await;
    said.expect_mention_of("nothing about **News** here");
    for place in ["19:general@thread.tacv2", "19:general@thread.tacv2;messageid=5"] {
        assert_eq!(bot.wants(place).await, [false, true, true], "{place}");
    }
    assert_eq!(bot.wants("a:ada").await, [true; 3]);
}
