//! A channel of one's own, for whoever has no Teams at hand: a Connector on loopback, with invented people in it.
//!
//! It is small and kind: everything it knows of succeeds. What a channel can do to a bot is the business of the tests'
//! own channel.

mod batch;
mod connector;
mod conversation;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use crate::{
    client::{self, Answer, Client},
    clock,
    issuer::{self, Issuer},
};
pub use conversation::{BOT, CHANNEL_ID, Conversation, Person, Scope, TENANT};

/// The channel. It closes when it is dropped.
#[derive(Debug)]
pub struct Channel {
    room: Room,
    service_url: String,
    bot: String,
    client: Client,
    /// Who signs for it, and the app id of the bot it signs for.
    issuer: Option<(Issuer, String)>,
    _serving: JoinSet<()>,
}

/// Why nothing came of what somebody said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bot does not answer.
    #[error(transparent)]
    NoAnswer(#[from] client::Error),
    /// It could not be signed.
    #[error(transparent)]
    Unsigned(#[from] issuer::Error),
}

/// What the bot posted, changed or deleted.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The conversation, with its thread if it has one.
    pub conversation: String,
    /// The activity's id.
    pub id: String,
    /// What was done.
    pub posting: Posting,
    /// The activity as it came; null for one that was deleted.
    pub activity: Value,
}

impl Posted {
    /// The text of the activity, if it has one.
    pub fn text(&self) -> Option<&str> {
        self.activity.get("text").and_then(Value::as_str)
    }
}

/// What the bot did with an activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posting {
    /// It posted a new one.
    New,
    /// It changed the one of this id.
    Update(String),
    /// It deleted the one of this id.
    Delete(String),
}

impl Channel {
    /// Opens the channel on a free loopback port, for the bot at this messaging endpoint.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn open(bot: &str) -> io::Result<Channel> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let service_url = format!("http://{}{}", listener.local_addr()?, connector::BASE);
        let room = Room::default();
        let router = connector::router(room.clone());
        let mut serving = JoinSet::new();
        // It fails only where listening does, and then the bot sees it at once.
        serving.spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Channel {
            room,
            service_url,
            bot: bot.to_owned(),
            client: Client::default(),
            issuer: None,
            _serving: serving,
        })
    }

    /// Has `issuer` sign what goes to the bot, whose app id this is.
    #[must_use]
    pub fn signed_by(mut self, issuer: Issuer, app_id: &str) -> Channel {
        self.issuer = Some((issuer, app_id.to_owned()));
        self
    }

    /// The service URL that activities of this channel carry.
    pub fn service_url(&self) -> &str {
        &self.service_url
    }

    /// Everything that the bot does from now on.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Posted> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.room.lock().subscribers.push(sender);
        receiver
    }

    /// Everything that the bot did so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.room.lock().posted.clone()
    }

    /// Adds the bot to a conversation, in the name of its first member, and returns the bot's answer.
    ///
    /// # Errors
    /// When the bot does not answer.
    pub async fn add_bot(&self, conversation: &Conversation, from: &Person) -> Result<Answer, Error> {
        self.tell(conversation, conversation.bot_added(from)).await
    }

    /// Writes something in a conversation and returns the bot's answer.
    ///
    /// # Errors
    /// When the bot does not answer.
    pub async fn say(&self, conversation: &Conversation, from: &Person, text: &str) -> Result<Answer, Error> {
        self.tell(conversation, conversation.message(from, text)).await
    }

    /// Opens a place of which the bot is not told: another channel of a team that it is in, for example.
    pub fn open_place(&self, conversation: &Conversation) {
        self.room.add(conversation);
    }

    async fn tell(&self, conversation: &Conversation, activity: Value) -> Result<Answer, Error> {
        self.room.add(conversation);
        let (id, now) = (self.room.next_id(), clock::now());
        let activity = conversation::stamped(activity, &id, &self.service_url, now);
        let answer = match &self.issuer {
            Some((issuer, app_id)) => {
                let token = issuer.token(app_id, &self.service_url, now)?;
                self.client.post_as(&token, &self.bot, &activity).await?
            }
            None => self.client.post(&self.bot, &activity).await?,
        };
        Ok(answer)
    }
}

/// Who is there and what was posted. Cheap to clone.
#[derive(Clone, Debug, Default)]
struct Room(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    conversations: BTreeMap<String, Conversation>,
    posted: Vec<Posted>,
    subscribers: Vec<mpsc::UnboundedSender<Posted>>,
    operations: Vec<batch::Operation>,
    last_id: i64,
}

impl Room {
    fn add(&self, conversation: &Conversation) {
        self.lock()
            .conversations
            .insert(conversation.id.clone(), conversation.clone());
    }

    fn conversations(&self) -> Vec<Conversation> {
        self.lock().conversations.values().cloned().collect()
    }

    /// The conversation of this id, or the channel of the thread of this id.
    fn conversation(&self, id: &str) -> Option<Conversation> {
        let whole = id.split(';').next().unwrap_or_default();
        self.lock().conversations.get(whole).cloned()
    }

    /// The person of this channel account id or Entra object id.
    fn person(&self, id: &str) -> Option<Person> {
        let state = self.lock();
        let mut people = state
            .conversations
            .values()
            .flat_map(|conversation| &conversation.members);
        people
            .find(|person| person.id == id || person.entra_object_id == id)
            .cloned()
    }

    fn has_activity(&self, conversation: &str, id: &str) -> bool {
        let state = self.lock();
        state
            .posted
            .iter()
            .any(|posted| posted.conversation == conversation && posted.id == id)
    }

    /// Notes what the bot did and returns the activity's id.
    fn post(&self, conversation: &str, activity: Value, posting: Posting) -> String {
        let id = match &posting {
            Posting::New => self.next_id(),
            Posting::Update(id) | Posting::Delete(id) => id.clone(),
        };
        let posted = Posted {
            conversation: conversation.to_owned(),
            id: id.clone(),
            posting,
            activity,
        };
        let mut state = self.lock();
        state
            .subscribers
            .retain(|subscriber| subscriber.send(posted.clone()).is_ok());
        state.posted.push(posted);
        id
    }

    /// Ids grow with time, in milliseconds, as Teams' do; but never repeat.
    fn next_id(&self) -> String {
        let mut state = self.lock();
        state.last_id = clock::now().as_millisecond().max(state.last_id + 1);
        state.last_id.to_string()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
