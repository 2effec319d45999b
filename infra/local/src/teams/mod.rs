//! A model of Teams: a pure state machine that the local host, the integration tests and the simulation share.
//!
//! It contains [tenants, people, conversations and teams](Place), and answers requests to the [Connector](Teams::handle),
//! to the batch API and to [Graph](Teams::graph) with the codes and limits of the real services. It has no clock, no
//! randomness and no I/O: times are arguments. The simulation calls [`Teams::admit`] and [`Teams::carry_out`] separately,
//! with delays and faults in between.

mod batch;
mod connector;
mod directory;
mod graph;
mod limits;
mod request;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use batch::{Batch, BatchScenario, Failure};
pub use connector::Done;
pub use directory::{
    Condition, DirectoryList, DirectoryRead, Organization, OrganizationGroup, OrganizationMember,
};
pub use graph::{GraphDone, GraphOperation, GraphRequest};
pub use limits::{Limit, Limits};
pub(crate) use request::split_target;
pub use request::{Address, BatchOperation, Operation, Query, Refusal, Request, Response, decoded, text_of};
pub use world::{Account, ConversationHistory, Kind, Member, Place, Team, Tenant};

/// The channel id of Teams.
pub const CHANNEL_ID: &str = "msteams";

/// How a request to a missing conversation or person is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownTargetPolicy {
    /// The request is refused.
    #[default]
    Refused,
    /// The conversation or person is created, except by a read.
    Created,
}

/// The state of the model: all tenants, conversations and messages.
#[derive(Debug)]
pub struct Teams {
    /// The bot's account id, `28:…`.
    pub bot: String,
    /// The tenants.
    pub tenants: Vec<Tenant>,
    /// Conversations. A person is represented by the personal conversation.
    pub places: Vec<Place>,
    /// The teams.
    pub teams: Vec<Team>,
    /// All messages, by id.
    pub messages: BTreeMap<String, Message>,
    /// Everything that the bot posted, updated and deleted, in order.
    pub posted: Vec<Posted>,
    /// How requests to missing conversations and people are handled.
    pub strangers: UnknownTargetPolicy,
    /// The rate limits.
    pub limits: Limits,
    /// The page size of rosters, whatever a request asks for.
    pub page_size: RangeInclusive<usize>,
    /// The lifetime of continuation tokens.
    pub token_ttl: Option<SignedDuration>,
    /// Whether the bot's token is refused.
    pub refuses_the_bot: bool,
    /// Whether Teams fails to decrypt its own conversation ids.
    pub undecryptable: bool,
    /// Whether it ever failed so.
    pub was_undecryptable: bool,
    /// The id in the manifest of the bot's app.
    pub manifest: String,
    /// The app's id in the catalogs of tenants.
    pub app: Option<String>,
    /// How batches proceed.
    pub course: BatchScenario,
    /// The batches so far.
    pub batches: Vec<Batch>,
    /// Members that no batch reaches.
    pub batch_failures: BTreeMap<String, Failure>,
    /// Chat ids that Graph returned, which are aliases of conversations.
    chats: BTreeSet<String>,
    /// The conversations of people's activities, by activity id.
    heard: BTreeMap<String, usize>,
    /// All present and former conversation ids.
    names: BTreeMap<String, usize>,
    last_id: i64,
}

/// A message as users see it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The index of its conversation.
    pub place: usize,
    /// The activity; `None` after a deletion.
    pub activity: Option<Value>,
}

impl Message {
    /// The visible text; `None` after a deletion.
    pub fn text(&self) -> Option<String> {
        let activity = self.activity.as_ref()?;
        Some(text_of(activity).to_owned())
    }
}

/// A message that the bot posted, updated or deleted.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The conversation id in the request, with its thread if it has one.
    pub conversation: String,
    /// The id of the message.
    pub id: String,
    /// The change.
    pub posting: Posting,
    /// The activity; null for a deletion.
    pub activity: Value,
}

impl Posted {
    /// The text of the activity, if it has one.
    pub fn text(&self) -> Option<&str> {
        self.activity.get("text").and_then(Value::as_str)
    }
}

/// The change of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posting {
    /// A new message.
    New,
    /// An update.
    Update,
    /// A deletion.
    Delete,
}

impl Teams {
    /// A model without people, with Teams' documented limits.
    pub fn new(bot: &str, manifest: &str) -> Teams {
        Teams {
            bot: bot.to_owned(),
            tenants: Vec::new(),
            places: Vec::new(),
            teams: Vec::new(),
            messages: BTreeMap::new(),
            posted: Vec::new(),
            strangers: UnknownTargetPolicy::default(),
            limits: Limits::documented(),
            page_size: 50..=500,
            token_ttl: None,
            refuses_the_bot: false,
            undecryptable: false,
            was_undecryptable: false,
            manifest: manifest.to_owned(),
            app: Some("app-1".to_owned()),
            course: BatchScenario::default(),
            batches: Vec::new(),
            batch_failures: BTreeMap::new(),
            chats: BTreeSet::new(),
            heard: BTreeMap::new(),
            names: BTreeMap::new(),
            last_id: 0,
        }
    }

    /// Adds a conversation, and returns its index.
    pub fn add(&mut self, place: Place) -> usize {
        let index = self.places.len();
        self.names.insert(place.conversation.clone(), index);
        self.places.push(place);
        index
    }

    /// The index of the tenant with this id. Adds the tenant if it is missing.
    pub fn tenant(&mut self, id: &str) -> usize {
        let known = self.tenants.iter().position(|tenant| tenant.id == id);
        known.unwrap_or_else(|| {
            self.tenants.push(Tenant {
                id: id.to_owned(),
                is_global: true,
                ..Tenant::default()
            });
            self.tenants.len() - 1
        })
    }

    /// The index of the conversation with this present or former id.
    pub fn named(&self, conversation: &str) -> Option<usize> {
        self.names.get(conversation).copied()
    }

    /// The index of the conversation with this id, or of the channel of this thread.
    pub fn place_index(&self, conversation: &str) -> Option<usize> {
        self.named(conversation)
            .or_else(|| self.named(conversation.split_once(";messageid=")?.0))
    }

    /// Records that a person has sent an activity in a conversation.
    pub fn hear(&mut self, place: usize, id: &str) {
        self.heard.insert(id.to_owned(), place);
    }

    /// Whether a conversation has an activity of this id, of the bot or of a person, that is not deleted.
    pub fn has_activity(&self, place: usize, id: &str) -> bool {
        let of_bot = self.messages.get(id);
        let is_of_bot = of_bot.is_some_and(|message| message.place == place && message.activity.is_some());
        is_of_bot || self.heard.get(id) == Some(&place)
    }

    /// The index of the person with this account id or Entra object id, in any tenant.
    pub fn person(&self, id: &str) -> Option<usize> {
        self.places.iter().position(|place| place.is_person(id))
    }

    /// All present and former ids of a conversation.
    pub fn names_of(&self, place: usize) -> impl Iterator<Item = &str> {
        let names = self.names.iter().filter(move |(_, known)| **known == place);
        names.map(|(name, _)| name.as_str())
    }

    /// The team of a channel or thread.
    pub fn team(&self, place: usize) -> Option<&Team> {
        self.places[place].team.map(|team| &self.teams[team])
    }

    /// The indices of all channels and threads of the same team, or of the conversation alone.
    pub fn beside(&self, place: usize) -> Vec<usize> {
        let team = self.places[place].team;
        let beside = |other: &usize| *other == place || (team.is_some() && self.places[*other].team == team);
        (0..self.places.len()).filter(beside).collect()
    }

    /// Adds a member to a team, unless they are a member already.
    pub fn join(&mut self, team: usize, place: usize, entry: Value, now: Timestamp) {
        let members = &mut self.teams[team].members;
        let is_present = |member: &Member| member.place == place && member.quit.is_none();
        if !members.iter().any(is_present) {
            members.push(Member::new(place, entry, now));
        }
    }

    /// Removes a member from a team.
    pub fn quit(&mut self, team: usize, place: usize, now: Timestamp) {
        let mut members = self.teams[team].members.iter_mut();
        if let Some(member) = members.find(|member| member.place == place && member.quit.is_none()) {
            member.quit = Some(now);
        }
    }

    /// Installs the bot in a conversation and its siblings. Also ends a refusal.
    pub fn install(&mut self, place: usize) {
        for other in self.beside(place) {
            let place = &mut self.places[other];
            (place.refusal, place.installed) = (None, true);
        }
    }

    /// Uninstalls the bot from a conversation and its siblings. Afterwards Teams may refuse messages or accept them.
    pub fn uninstall(&mut self, place: usize, refusal: Option<&'static str>) {
        for other in self.beside(place) {
            let place = &mut self.places[other];
            (place.refusal, place.installed) = (refusal, false);
            (place.past.left, place.past.not_installed) = (true, true);
        }
    }

    /// From now on refuses all messages to a conversation with this code.
    pub fn refuse(&mut self, place: usize, code: &'static str) {
        self.places[place].refusal = Some(code);
        self.places[place].past.refused = true;
    }

    /// Moves a conversation and its siblings to another region.
    pub fn relocate(&mut self, place: usize, region: usize) {
        for other in self.beside(place) {
            self.places[other].region = region;
            self.places[other].past.moved = true;
        }
    }

    /// A person deletes the chat: the conversation gets a new id.
    pub fn rename(&mut self, place: usize) {
        let renamed = &mut self.places[place];
        renamed.renamed += 1;
        renamed.conversation = format!("a:{place}-{}", renamed.renamed);
        self.names.insert(renamed.conversation.clone(), place);
    }

    /// An administrator disables the bot in a tenant, or enables it again.
    pub fn disable(&mut self, tenant: usize, disabled: bool) {
        let tenant = &mut self.tenants[tenant];
        tenant.disabled = disabled;
        tenant.was_disabled |= disabled;
    }

    /// A tenant refuses the bot's token, or accepts it again.
    pub fn refuse_token(&mut self, tenant: usize, refuses: bool, now: Timestamp) {
        let tenant = &mut self.tenants[tenant];
        tenant.refuses_the_bot = refuses;
        if refuses {
            tenant.refused_since.get_or_insert(now);
        }
    }

    /// Ends all incidents and enables the bot in every tenant.
    pub fn recover(&mut self) {
        (self.refuses_the_bot, self.undecryptable) = (false, false);
        for tenant in &mut self.tenants {
            (tenant.disabled, tenant.refuses_the_bot) = (false, false);
        }
    }

    /// An activity of a conversation, from a person in it, without a type.
    pub fn activity(&self, place: usize, from: usize, id: &str, service_url: &str) -> Value {
        let team = self.team(place).map(|team| team.channels[0]);
        let place = &self.places[place];
        let tenant = &self.tenants[place.tenant].id;
        let mut channel_data = json!({ "tenant": { "id": tenant } });
        if let Some(general) = team {
            let channel = place.conversation.split(';').next();
            channel_data["team"] = json!({ "id": self.places[general].conversation });
            channel_data["channel"] = json!({ "id": channel });
        }
        json!({
            "id": id,
            "channelId": CHANNEL_ID,
            "serviceUrl": service_url,
            "from": self.places[from].from(),
            "recipient": { "id": self.bot, "name": "bot", "role": "bot" },
            "conversation": {
                "id": place.conversation,
                "conversationType": place.conversation_type(),
                "isGroup": place.kind != Kind::Person,
                "tenantId": tenant,
            },
            "channelData": channel_data,
            "locale": "en-GB",
        })
    }

    /// A new message id: the time in milliseconds, unique.
    pub fn next_id(&mut self, now: Timestamp) -> String {
        self.last_id = now.as_millisecond().max(self.last_id + 1);
        self.last_id.to_string()
    }

    /// Adds a message that the bot posted before this model began.
    pub(crate) fn restore(&mut self, place: usize, id: &str, activity: &Value) {
        let activity = Some(activity.clone());
        self.messages.insert(id.to_owned(), Message { place, activity });
        self.last_id = self.last_id.max(id.parse().unwrap_or_default());
    }

    fn post(&mut self, place: usize, conversation: &str, activity: &Value, now: Timestamp) -> String {
        let id = self.next_id(now);
        self.record(place, conversation, &id, Posting::New, activity);
        id
    }

    fn record(&mut self, place: usize, conversation: &str, id: &str, posting: Posting, activity: &Value) {
        let shown = (posting != Posting::Delete).then(|| activity.clone());
        self.messages.insert(
            id.to_owned(),
            Message {
                place,
                activity: shown,
            },
        );
        self.posted.push(Posted {
            conversation: conversation.to_owned(),
            id: id.to_owned(),
            posting,
            activity: activity.clone(),
        });
    }
}

#[cfg(test)]
mod tests;
