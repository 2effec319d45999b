//! **Your bot.** This is the one file to edit: it decides what the bot replies.
//!
//! Herald does the rest: before a turn runs, the conversation is stored, and `POST /api/notifications` can write to it later.
//! A turn must be short; the channel waits about 15 seconds for all of it. What takes longer, or is to happen later, is for
//! [`Later`].

use std::time::Duration;

use botframework::activity::Activity;
use botframework::activity::ActivityType::Message;
use botframework::app::{AdaptiveCard, App, Context, Error, SubmittedData};
use herald::job::Job;
use herald::notification::way_out;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::reminder::Reminder;
use crate::{Later, LaterResult, TagResult, Tags, Welcome, Word, settings};

/// What the bot does. The first handler that fits an activity runs.
pub fn bot(app: App) -> App {
    app.on(Welcome::Due, welcome)
        .command("help", help)
        .command("topics", topics)
        .command("subscribe", subscribe)
        .command("unsubscribe", unsubscribe)
        .command("remind me", remind)
        .command("report", report)
        .command("who am i", who_am_i)
        .on(Word::Stop, settings::stop)
        .on(Word::Start, settings::start)
        .on(Word::Settings, settings::settings)
        .verb(settings::VERB, settings::by_button)
        .verb(way_out::VERB, settings::by_way_out)
        .verb("subscribe", subscribe_by_button)
        .verb("unsubscribe", unsubscribe_by_button)
        .on(Message, echo)
}

/// The work that [`Later::work`] puts off, by its name. Herald runs it after the turn, for up to 25 seconds, and sends what it
/// returns to the conversation. An error runs it again, in three minutes.
///
/// # Errors
/// When the work fails.
pub async fn work(job: Job) -> Result<Activity, Error> {
    match job.name.as_str() {
        "report" => Ok(write_report(job.read().map_err(Error::bot)?).await),
        other => Err(Error::bot(format!("there is no work named {other}"))),
    }
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
        "I bring notifications here when there are any. I understand:\n{subscribe}\n- **remind me tomorrow at 9 to call Ada** \
         brings that back at your time\n- **report sales** makes a report, and brings it when it is there\n- **who am i** shows \
         what I know of you\n- **stop** ends notifications, **start** brings them back, and **settings** shows each kind\n- **help** \
         shows this\n\nSay anything else and I repeat it, so you can see that I listen."
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

/// Sends a message later: to this conversation, at the wall clock of the person.
async fn remind(context: Context, said: String) -> Result<String, Error> {
    let later: Later = context.get()?;
    let Some(reminder) = Reminder::read(&said, later.now()) else {
        return Ok(
            "Say when and what, such as **remind me tomorrow at 9 to call Ada** or **remind me in 10 minutes to stretch**."
                .to_owned(),
        );
    };
    let Reminder { at, of } = reminder;
    if at <= *later.now() {
        return Ok(format!("It is {} already.", later.now().strftime("%H:%M on %A")));
    }
    let mut message = if context.is_group() {
        Activity::message("A reminder for ").and_mention(context.from())
    } else {
        Activity::message("A reminder")
    };
    message.text = message.text.map(|text| format!("{text}: {of}"));
    let day = if at.date() == later.now().date() {
        "today"
    } else {
        "on %A, %-d %B,"
    };
    Ok(match later.send_at(at.timestamp(), message).await? {
        LaterResult::Accepted => format!("I remind you {}: {of}", at.strftime(&format!("{day} at %H:%M"))),
        LaterResult::Refused(why) => format!("I cannot do that: the time {why}."),
        LaterResult::NoConversation => "I do not know where to bring it.".to_owned(),
    })
}

/// Long work: the turn answers at once, and [`work`] brings the result. Without a subject it is about what the person asked for last.
async fn report(context: Context, mut about: String) -> Result<&'static str, Error> {
    let (later, last): (Later, _) = (context.get()?, context.user_state::<String>("report")?);
    if about.is_empty() {
        about = last.get().await?;
    } else {
        last.update(|last| about.clone_into(last)).await?;
    }
    Ok(match later.work("report", &about).await? {
        LaterResult::Accepted => "I am on it. The report comes when it is ready.",
        LaterResult::Refused(_) | LaterResult::NoConversation => "I do not know where to bring it.",
    })
}

/// Stands for a query that takes a while.
async fn write_report(about: String) -> Activity {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let about = if about.is_empty() { "everything" } else { &about };
    Activity::message(format!("Your report on **{about}**: all is well."))
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
    use std::time::Duration;

    use botframework::activity::ActivityType::Message;
    use botframework::auth::Authenticator;
    use botframework::cloud::Cloud;
    use botframework::testing::{TestApp, TestChannel, TestTurn};
    use herald::acceptance::Settings;
    use herald::backend::Memory;
    use herald::clock::{Clock, Random};
    use herald::queue::memory::Queue;
    use herald::store::memory::Store;
    use serde_json::json;

    use crate::Topics;

    /// A Friday morning.
    const NOW: &str = "2027-01-15T08:00:00Z";

    /// The bot over tables and queues in memory.
    struct Bot {
        /// Ada, who talks to it.
        ada: TestApp,
        /// What is to be sent later.
        plans: Queue,
        /// The work that it put off.
        jobs: Queue,
    }

    impl Bot {
        fn new() -> Self {
            let (channel, store) = (TestChannel::default(), Store::new());
            let (plans, jobs) = (Queue::new(), Queue::new());
            let app = crate::app(crate::Context::<Memory> {
                conversations: store.clone(),
                registry: store.clone(),
                notifications: store,
                plans: plans.clone(),
                events: jobs.clone(),
                settings: Settings::default(),
                authenticator: Authenticator::unauthenticated(Cloud::Public),
                connector: channel.connector(),
                clock: Clock::from_fn(|| NOW.parse().unwrap()),
                random: Random::system(),
                topics: Topics::new(["builds", "orders"]),
            });
            let ada = TestApp::of(app, channel);
            Self { ada, plans, jobs }
        }
    }

    fn ada() -> TestApp {
        Bot::new().ada
    }

    /// Says something in Berlin, an hour ahead of UTC in January.
    async fn say_in_berlin(person: &TestApp, text: &str) -> TestTurn {
        let said = json!({"text": text, "localTimezone": "Europe/Berlin"});
        person.receive(&person.activity(&Message, &said)).await
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
        for command in [
            "topics",
            "subscribe builds",
            "unsubscribe builds",
            "remind me tomorrow at 9 to call Ada",
            "report sales",
            "who am i",
            "stop",
            "start",
            "settings",
        ] {
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
    async fn a_reminder_comes_at_the_wall_clock_of_the_person() {
        let bot = Bot::new();
        say_in_berlin(&bot.ada, "Remind me tomorrow at 9:30 to call Bob")
            .await
            .expect_text("I remind you on Saturday, 16 January, at 09:30: call Bob");
        let wait = bot.plans.take().unwrap().delay;
        assert_eq!(wait, Duration::from_hours(24) + Duration::from_mins(30));
        say_in_berlin(&bot.ada, "remind me in 2 hours to call Bob")
            .await
            .expect_text("I remind you today at 11:00: call Bob");
        assert!(bot.plans.take().is_some());
        say_in_berlin(&bot.ada, "remind me today at 8 to call Bob")
            .await
            .expect_text("It is 09:00 on Friday already.");
        bot.ada
            .say("remind me to call Bob")
            .await
            .expect_mention_of("Say when and what");
        bot.ada
            .say("remind me in 3 years to call Bob")
            .await
            .expect_text("I cannot do that: the time may be at most a year ahead.");
        assert_eq!(bot.plans.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_put_off_and_then_made() {
        let bot = Bot::new();
        bot.ada
            .say("report Sales")
            .await
            .expect_text("I am on it. The report comes when it is ready.");
        let put_off: serde_json::Value = serde_json::from_str(&bot.jobs.take().unwrap().body).unwrap();
        let job: super::Job = serde_json::from_value(put_off["heraldJob"].clone()).unwrap();
        assert_eq!(job.conversation.conversation.as_str(), "a:ada");
        let report = super::work(job.clone()).await.unwrap();
        assert_eq!(report.text.unwrap(), "Your report on **Sales**: all is well.");
        bot.ada.say("report").await;
        let again = bot.jobs.take().unwrap().body;
        assert!(again.contains("Sales"), "the last subject is remembered: {again}");
        let unknown = super::Job {
            name: "coffee".to_owned(),
            ..job
        };
        assert!(super::work(unknown).await.is_err());
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
