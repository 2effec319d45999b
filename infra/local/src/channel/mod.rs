//! Serves the model of [Teams](crate::teams) over HTTP on loopback, for development without a Teams tenant: a Connector,
//! a Graph, and invented people who talk to the bot.

mod extras;
mod kept;
pub mod organization;
mod people;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response as HttpResponse},
};
use http::{Method, StatusCode, Uri, header};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};

pub use crate::teams::{CHANNEL_ID, Posted, Posting};
use crate::{
    client::{self, Answer, Client},
    clock,
    data::DataDir,
    issuer::{self, Issuer},
    server::{self, Limits, guard::guarded},
    teams::{
        Account, Address, GraphOperation, GraphRequest, Kind, Member, Place, Request, Response, Team, Teams,
    },
};
use extras::{Attachments, Extra};
pub use kept::Error as KeptError;
use kept::{Messages, Record};
pub use people::{Conversation, Person};

/// The tenant of all invented people.
pub const TENANT: &str = "11111111-2222-4333-8444-555555555555";
/// The bot's account id.
pub const BOT: &str = "28:00000000-0000-4000-8000-00000000b07a";
/// The id in the manifest of the bot's Teams app.
pub const TEAMS_APP: &str = "00000000-0000-4000-8000-00000000a443";
/// The path of the Connector; real service URLs have one, too.
const CONNECTOR: &str = "/connector";
/// The path of Graph.
const GRAPH: &str = "/graph";

/// Why an activity did not reach the bot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bot does not respond.
    #[error(transparent)]
    NoAnswer(#[from] client::Error),
    /// The activity's token cannot be signed.
    #[error(transparent)]
    Unsigned(#[from] issuer::Error),
}

/// The channel. Dropping it closes its port.
#[derive(Debug)]
pub struct Channel {
    shared: Arc<Shared>,
    serving: (JoinSet<()>, watch::Sender<bool>),
}

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    url: String,
    bot: String,
    client: Client,
    /// The issuer that signs the channel's activities, and the bot's app id.
    issuer: Option<(Issuer, String)>,
}

#[derive(Debug)]
struct World {
    teams: Teams,
    attachments: Attachments,
    /// What the next run will know, with a data directory.
    kept: Option<(Record, Messages)>,
    subscribers: Vec<mpsc::UnboundedSender<Posted>>,
    /// The number of posted activities that subscribers have received.
    published: usize,
}

impl Channel {
    /// Opens the channel on a free loopback port, for the bot at this messaging endpoint. `issuer` signs the activities
    /// for the bot of the app id beside it.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn open(bot: &str, issuer: Option<(Issuer, String)>) -> io::Result<Channel> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Channel::serve(listener, bot, issuer, None)
    }

    /// Like [`Channel::open`], on the port of the last run with this directory. The first run takes the next free port
    /// after `beside`. The channel knows the bot's earlier messages in a conversation as soon as the conversation is added.
    ///
    /// # Errors
    /// When that port is in use, or the directory cannot be written.
    pub async fn open_kept(
        data: &DataDir,
        beside: SocketAddr,
        bot: &str,
        issuer: Option<(Issuer, String)>,
    ) -> Result<Channel, KeptError> {
        let (record, listener, messages) = Record::open(data, beside).await?;
        Ok(Channel::serve(listener, bot, issuer, Some((record, messages)))?)
    }

    fn serve(
        listener: TcpListener,
        bot: &str,
        issuer: Option<(Issuer, String)>,
        kept: Option<(Record, Messages)>,
    ) -> io::Result<Channel> {
        let mut teams = Teams::new(BOT, TEAMS_APP);
        teams.tenant(TENANT);
        let shared = Arc::new(Shared {
            world: Mutex::new(World {
                teams,
                attachments: Attachments::default(),
                kept,
                subscribers: Vec::new(),
                published: 0,
            }),
            url: format!("http://{}", listener.local_addr()?),
            bot: bot.to_owned(),
            client: Client::default(),
            issuer,
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let mut serving = JoinSet::new();
        let (stop, stopping) = watch::channel(false);
        serving.spawn(server::serve(
            listener,
            guarded(router),
            Limits::service(),
            stopping,
        ));
        Ok(Channel {
            shared,
            serving: (serving, stop),
        })
    }

    /// The service URL in the channel's activities.
    pub fn service_url(&self) -> String {
        self.shared.service_url()
    }

    /// The URL of its Graph, without a version.
    pub fn graph_url(&self) -> String {
        format!("{}{GRAPH}", self.shared.url)
    }

    /// Names the app in the catalog of its Graph by the id in the app's manifest; [`TEAMS_APP`] by default.
    pub fn offer_app(&self, manifest: &str) {
        manifest.clone_into(&mut self.shared.lock().teams.manifest);
    }

    /// The issuer of its tokens.
    pub fn issuer(&self) -> Option<&Issuer> {
        self.shared.issuer.as_ref().map(|(issuer, _)| issuer)
    }

    /// Closes its port, and waits until it is free.
    pub async fn close(self) {
        let (mut serving, _) = self.serving;
        serving.shutdown().await;
    }

    /// Subscribes to everything that the bot posts, updates and deletes.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Posted> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.lock().subscribers.push(sender);
        receiver
    }

    /// Everything that the bot has posted, updated and deleted.
    pub fn posted(&self) -> Vec<Posted> {
        self.shared.lock().teams.posted.clone()
    }

    /// Adds the bot to a conversation and returns the bot's response to the activity about it.
    ///
    /// # Errors
    /// When the activity does not reach the bot.
    pub async fn add_bot(&self, conversation: &Conversation, from: &Person) -> Result<Answer, Error> {
        let mut activity = self.activity(conversation, from, "conversationUpdate");
        let people = conversation.members.iter().map(|member| member.id.as_str());
        let added: Vec<Value> = [BOT]
            .into_iter()
            .chain(people)
            .map(|id| json!({ "id": id }))
            .collect();
        activity["membersAdded"] = added.into();
        self.shared.post(&activity).await
    }

    /// Sends a message to the bot and returns its response.
    ///
    /// # Errors
    /// When the activity does not reach the bot.
    pub async fn say(&self, conversation: &Conversation, from: &Person, text: &str) -> Result<Answer, Error> {
        self.shared.post(&self.message(conversation, from, text)).await
    }

    /// The activity of a message, without sending it.
    pub fn message(&self, conversation: &Conversation, from: &Person, text: &str) -> Value {
        let mut activity = self.activity(conversation, from, "message");
        activity["text"] = text.into();
        activity["textFormat"] = "plain".into();
        activity
    }

    /// Adds a conversation without an activity to the bot.
    pub fn add(&self, conversation: &Conversation) {
        let world = &mut *self.shared.lock();
        world.teams.register(conversation);
        if let Some((_, messages)) = &mut world.kept {
            messages.restore(&mut world.teams);
        }
    }

    /// Adds a person without an installation of the bot.
    pub fn add_without_bot(&self, person: &Person) {
        self.shared.lock().teams.register_without_bot(person);
    }

    /// The name of the person in this personal conversation.
    pub fn name_of(&self, conversation: &str) -> Option<String> {
        let teams = &self.shared.lock().teams;
        let place = &teams.places[teams.named(conversation)?];
        (place.kind == Kind::Person).then(|| place.name.clone())
    }

    fn activity(&self, conversation: &Conversation, from: &Person, kind: &str) -> Value {
        let now = clock::now();
        let teams = &mut self.shared.lock().teams;
        let (place, from) = (teams.register(conversation), teams.register_person(from));
        let id = teams.next_id(now);
        teams.hear(place, &id);
        let mut activity = teams.activity(place, from, &id, &self.shared.service_url());
        activity["type"] = kind.into();
        activity["timestamp"] = now.to_string().into();
        activity
    }
}

impl Shared {
    fn service_url(&self) -> String {
        format!("{}{CONNECTOR}", self.url)
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn post(&self, activity: &Value) -> Result<Answer, Error> {
        let answer = match &self.issuer {
            Some((issuer, app_id)) => {
                let token = issuer.token(app_id, &self.service_url(), clock::now())?;
                self.client.post_as(&token, &self.bot, activity).await?
            }
            None => self.client.post(&self.bot, activity).await?,
        };
        Ok(answer)
    }

    fn connector(&self, method: &Method, target: &str, body: &Value) -> Extra {
        let world = &mut *self.lock();
        let asked = (method.as_str(), target, body);
        if let Some(extra) = extras::answer(&mut world.attachments, &world.teams, asked) {
            return extra;
        }
        let batch = extras::as_batch_of_users(&world.teams, method.as_str(), target, body);
        let (target, body) = batch
            .as_ref()
            .map_or((target, body), |(target, body)| (*target, body));
        let request = match Request::read(Address::Region(0), method.as_str(), target, body) {
            Ok(request) => request,
            Err(refusal) => return refusal.into(),
        };
        let response = world.teams.handle(&request, clock::now());
        world.publish();
        Extra::Answer(response)
    }

    /// Answers a request to Graph. All people belong to one tenant, so the token is ignored. Sends the bot the activity
    /// of an installation.
    fn graph(self: &Arc<Self>, method: &Method, target: &str, body: &Value) -> Response {
        let now = clock::now();
        let mut world = self.lock();
        let done = world.teams.count_at_graph(TENANT, now).and_then(|()| {
            let operation = GraphOperation::read(method.as_str(), target, body)?;
            let tenant = TENANT.to_owned();
            let url = format!("{}{GRAPH}", self.url);
            world.teams.graph(&GraphRequest {
                tenant,
                url,
                operation,
            })
        });
        let done = match done {
            Ok(done) => done,
            Err(refusal) => return refusal.into(),
        };
        if let Some(place) = done.installed {
            let id = world.teams.next_id(now);
            let mut activity = world.teams.activity(place, place, &id, &self.service_url());
            activity["type"] = "installationUpdate".into();
            activity["action"] = "add".into();
            let shared = Arc::clone(self);
            // A bot that does not respond can query Graph for the installation.
            tokio::spawn(async move { shared.post(&activity).await });
        }
        done.response
    }
}

impl World {
    fn publish(&mut self) {
        for posted in &self.teams.posted[self.published..] {
            if let Some((record, _)) = &mut self.kept {
                // A message that is not kept can be edited until the host ends. Its disk is full, which the tables report.
                let _ = record.keep(posted);
            }
            self.subscribers
                .retain(|subscriber| subscriber.send(posted.clone()).is_ok());
        }
        self.published = self.teams.posted.len();
    }
}

impl Teams {
    /// The index of a conversation. Adds the conversation and its members if they are missing.
    fn register(&mut self, conversation: &Conversation) -> usize {
        let now = clock::now();
        // A personal conversation is added with its person.
        let people: Vec<(usize, Value)> = conversation
            .members
            .iter()
            .map(|person| (self.register_person(person), person.entry()))
            .collect();
        if let Some(known) = self.named(&conversation.id) {
            return known;
        }
        let general = conversation.team.as_ref().and_then(|team| self.named(team));
        let team = general
            .and_then(|general| self.places[general].team)
            .unwrap_or_else(|| {
                self.teams.push(Team::default());
                self.teams.len() - 1
            });
        for (person, entry) in people {
            self.join(team, person, entry, now);
        }
        let tenant = self.tenant(TENANT);
        let mut place = Place::new(Kind::Channel, tenant, conversation.id.clone(), Account::default());
        place.team = Some(team);
        let index = self.add(place);
        self.teams[team].channels.push(index);
        index
    }

    fn register_without_bot(&mut self, person: &Person) {
        let place = self.register_person(person);
        self.places[place].installed = false;
    }

    fn register_person(&mut self, person: &Person) -> usize {
        if let Some(known) = self.person(&person.id) {
            return known;
        }
        let tenant = self.tenant(TENANT);
        let account = Account {
            id: person.id.clone(),
            user: person.entra_object_id.clone(),
            name: person.name.clone(),
        };
        let chat = Conversation::personal(person).id;
        let index = self.add(Place::new(Kind::Person, tenant, chat, account));
        self.places[index]
            .members
            .push(Member::new(index, person.entry(), clock::now()));
        index
    }
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, body: Bytes) -> HttpResponse {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let response = if let Some(target) = target.strip_prefix(CONNECTOR) {
        match shared.connector(&method, target, &body) {
            Extra::Answer(response) => response,
            Extra::Content(content_type, bytes) => {
                return ([(header::CONTENT_TYPE, content_type)], bytes).into_response();
            }
        }
    } else if let Some(target) = target.strip_prefix(GRAPH) {
        shared.graph(&method, target, &body)
    } else {
        Response::empty(404)
    };
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = match response.body {
        Some(body) => (status, axum::Json(body)).into_response(),
        None => status.into_response(),
    };
    if let Some(seconds) = response.retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}
