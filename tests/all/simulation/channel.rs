//! The channel: a Connector that behaves by protocol D, and a world of people behind it.
//!
//! A request goes its way whoever made it: once it has left, it arrives, is refused or carried out, and answered, even if
//! nobody is there any more to hear the answer. What is carried out is what people see; the rest is what the bot is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use herald::conversation::{Person, PersonKey};
use serde_json::Value;
use tokio::time::Instant;

use super::graph;
use super::limits::{self, Window};
use super::lock;
use super::run::Run;
use super::teams::{Question, Team};
use super::wire::{Address, Asked, Verb};

/// The codes of a channel that refuses a conversation, and no message will do.
pub(super) const REFUSALS: [&str; 4] = [
    "ConversationBlockedByUser",
    "MessageWritesBlocked",
    "BotNotInConversationRoster",
    "ForbiddenOperationException",
];

/// The code of a channel that creates no conversation with somebody for whom the bot is not installed.
pub(super) const NOT_INSTALLED: &str = "ForbiddenOperationException";

/// How many regions there are.
pub(super) const REGIONS: usize = 3;

/// A tenant.
#[derive(Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each may be so whatever the others are"
)]
pub(super) struct Tenant {
    /// Its name in Entra.
    pub(super) id: String,
    /// Whether it is served in GCC, and nowhere else.
    pub(super) is_gcc: bool,
    /// Whether the cloud's global address serves it.
    pub(super) is_global: bool,
    /// Whether its administrator has turned the bot off.
    pub(super) disabled: bool,
    /// Whether that ever was so.
    pub(super) was_disabled: bool,
    /// What Graph may do there.
    pub(super) graph: graph::Tenant,
    pub(super) at_graph: Window,
    requests: Window,
}

/// What kind of place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Person,
    Group,
    Channel,
    /// A thread of the channel before it.
    Thread,
}

/// Somewhere a message can be shown.
#[derive(Debug)]
pub(super) struct Place {
    /// What kind of place.
    pub(super) kind: Kind,
    /// Whose, by its place among the tenants.
    pub(super) tenant: usize,
    /// The person's or somebody's account there.
    pub(super) account: String,
    /// The same person, as Entra names them.
    pub(super) user: String,
    /// What its conversation is called now.
    pub(super) conversation: String,
    /// How often it was called something else.
    pub(super) renamed: u32,
    /// Which region serves it.
    pub(super) region: usize,
    /// The code by which the channel refuses it, if it does.
    pub(super) refusal: Option<&'static str>,
    /// Whether the bot is installed there.
    pub(super) installed: bool,
    /// Whether a policy forbids to install it there.
    pub(super) forbidden: bool,
    /// The team of a channel.
    pub(super) team: Option<usize>,
    /// What callers have put it under.
    pub(super) tags: Vec<String>,
    /// What ever happened there.
    pub(super) past: Past,
    /// Requests under way.
    under_way: usize,
    requests: Window,
}

/// What ever happened in a place.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each may be so whatever the others are"
)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    /// The bot was not installed there.
    pub(super) not_installed: bool,
    /// The bot was uninstalled, or taken out.
    pub(super) left: bool,
    /// The channel refused it.
    pub(super) refused: bool,
    /// Another region came to serve it.
    pub(super) moved: bool,
    /// Nobody had told the bot of it when the run began.
    pub(super) strange: bool,
    /// So many questions were answered as if there were no such place.
    pub(super) missed: u32,
    /// So many were refused because what they go on with was too old.
    pub(super) too_late: u32,
}

/// A message as people see it, or saw it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Where.
    pub(super) place: usize,
    /// What it says now; `None` once it is deleted.
    pub(super) text: Option<String>,
}

/// The channel and everybody behind it.
#[derive(Debug, Default)]
pub(super) struct Channel(Mutex<State>);

/// What the channel knows.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The tenants.
    pub(super) tenants: Vec<Tenant>,
    /// The places.
    pub(super) places: Vec<Place>,
    /// The teams.
    pub(super) teams: Vec<Team>,
    /// Every message that was ever shown, by its id.
    pub(super) shown: BTreeMap<String, Shown>,
    /// Whether the bot's token is not taken.
    pub(super) refuses_the_bot: bool,
    /// Whether the channel cannot read its own ids.
    pub(super) undecryptable: bool,
    /// Whether that ever was so.
    pub(super) was_undecryptable: bool,
    /// The chats that Graph has told of, which are other names of conversations.
    chats: BTreeSet<String>,
    /// Every name that a conversation ever had.
    names: BTreeMap<String, usize>,
}

/// What the channel says instead of carrying a request out.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal by status and code.
    pub(super) const fn new(status: u16, code: &'static str) -> Self {
        Self {
            status,
            code,
            message: "refused",
            retry_after: None,
        }
    }
}

/// What a request comes to when it is carried out.
#[derive(Clone, Debug)]
pub(super) enum Done {
    /// A message is shown, under this id.
    Shown(String),
    /// A message was changed or deleted.
    Changed,
    /// A conversation is there, by this name.
    Created(String),
    /// A question is answered.
    Told(Value),
}

impl Channel {
    /// Looks at what the channel knows, or changes it.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut lock(&self.0))
    }

    /// A request has arrived: the place it leads to, or why it is not carried out. What is admitted has to
    /// [`finish`](Self::finish).
    pub(super) fn admit(&self, run: &Run, asked: &Asked) -> Result<usize, Refusal> {
        let mut state = lock(&self.0);
        // Who is not let in is not counted.
        if state.refuses_the_bot {
            return Err(Refusal::new(401, "BotNotRegistered"));
        }
        let place = state.find(asked);
        if let Some(over) = place.and_then(|place| state.count(asked, place)) {
            if run.keeps_pace() {
                // The book looks here, too.
                drop(state);
                run.violated(4, format_args!("the channel counts more than {over}: {asked}"));
            }
            return Err(Refusal::new(429, "Throttled"));
        }
        let troubles = &run.troubles.channel;
        if run.strikes(troubles.throttled) {
            let retry_after = match run.chance.below(6) {
                0..3 => None,
                3 | 4 => Some(run.chance.between(1, 20)),
                _ => Some(run.chance.between(60, 645)),
            };
            return Err(Refusal {
                retry_after,
                ..Refusal::new(429, "Throttled")
            });
        }
        if run.strikes(troubles.concurrent) {
            return Err(Refusal::new(412, "PreconditionFailed"));
        }
        if state.undecryptable {
            return Err(Refusal {
                message: "Failed to decrypt conversation id",
                ..Refusal::new(403, "BadArgument")
            });
        }
        let Some(place) = place else {
            return Err(asked.leads_nowhere());
        };
        state.address(asked, place)?;
        if state.tenants[state.places[place].tenant].disabled && !matches!(asked.verb, Verb::Create { .. }) {
            return Err(Refusal::new(403, "BotDisabledByAdmin"));
        }
        if let Some(code) = state.places[place].refusal {
            return Err(Refusal::new(403, code));
        }
        if matches!(asked.verb, Verb::Create { .. })
            && (!state.places[place].installed || run.strikes(troubles.behind))
        {
            return Err(Refusal::new(403, NOT_INSTALLED));
        }
        if let Some(refusal) = state.refusal_of(run, asked, place) {
            return Err(refusal);
        }
        if asked.is_question() {
            return Ok(place);
        }
        let under_way = &mut state.places[place].under_way;
        if *under_way > 0 {
            return Err(Refusal::new(412, "PreconditionFailed"));
        }
        *under_way += 1;
        Ok(place)
    }

    /// Carries a request out that was admitted.
    pub(super) fn carry_out(&self, run: &Run, asked: &Asked, place: usize) -> Done {
        let mut state = lock(&self.0);
        match &asked.verb {
            Verb::Create { .. } => Done::Created(state.places[place].conversation.clone()),
            Verb::Send { text, .. } => {
                let id = format!("activity-{}", state.shown.len());
                let text = Some(text.clone());
                state.shown.insert(id.clone(), Shown { place, text });
                Done::Shown(id)
            }
            Verb::Update { activity, text, .. } => {
                let text = Some(text.clone());
                state.shown.insert(activity.clone(), Shown { place, text });
                Done::Changed
            }
            Verb::Delete { activity, .. } => {
                state.shown.insert(activity.clone(), Shown { place, text: None });
                Done::Changed
            }
            Verb::Ask(question) => Done::Told(state.tells(run, place, question)),
        }
    }

    /// A request that was admitted is over.
    pub(super) fn finish(&self, asked: &Asked, place: usize) {
        if !asked.is_question() {
            lock(&self.0).places[place].under_way -= 1;
        }
    }
}

impl State {
    /// A new tenant.
    pub(super) fn found(&mut self, is_gcc: bool, is_global: bool) {
        self.tenants.push(Tenant {
            id: format!("tenant{}", self.tenants.len()),
            is_gcc,
            is_global,
            ..Tenant::default()
        });
    }

    /// Somebody new.
    pub(super) fn settle(&mut self, kind: Kind, tenant: usize, region: usize) -> usize {
        let number = self.places.len();
        let conversation = match kind {
            Kind::Person => format!("a:{number}"),
            Kind::Group => format!("19:group{number}@thread.v2"),
            Kind::Channel => format!("19:channel{number}@thread.tacv2"),
            Kind::Thread => format!("{};messageid={number}", self.places[number - 1].conversation),
        };
        let team = match kind {
            Kind::Person | Kind::Group => None,
            Kind::Channel => self.teams.len().checked_sub(1),
            Kind::Thread => self.places[number - 1].team,
        };
        if kind == Kind::Channel
            && let Some(team) = team
        {
            self.teams[team].channels.push(number);
        }
        self.names.insert(conversation.clone(), number);
        self.places.push(Place {
            kind,
            tenant,
            account: format!("29:person{number}"),
            user: format!("00000000-0000-4000-8000-{number:012}"),
            conversation,
            renamed: 0,
            region,
            refusal: None,
            installed: true,
            forbidden: false,
            team,
            tags: Vec::new(),
            past: Past::default(),
            under_way: 0,
            requests: Window::default(),
        });
        number
    }

    /// The person removed the chat's history: their conversation has another name now, and nobody was told.
    pub(super) fn rename(&mut self, place: usize) {
        let renamed = &mut self.places[place];
        renamed.renamed += 1;
        renamed.conversation = format!("a:{place}-{}", renamed.renamed);
        self.names.insert(renamed.conversation.clone(), place);
    }

    /// Nothing is turned off any more.
    pub(super) fn put_right(&mut self) {
        (self.refuses_the_bot, self.undecryptable) = (false, false);
        for tenant in &mut self.tenants {
            tenant.disabled = false;
        }
    }

    /// Every name that a person's conversation ever had.
    pub(super) fn names_of(&self, person: &PersonKey) -> Vec<String> {
        let is = |place: &Place| match &person.person {
            Person::User(id) => place.user == id.as_str(),
            Person::Account(id) => place.account == id.as_str(),
        };
        let names = self.names.iter().filter(|(_, place)| is(&self.places[**place]));
        names.map(|(name, _)| name.clone()).collect()
    }

    /// The place that a conversation's name leads to, whatever it is called now.
    pub(super) fn named(&self, conversation: &str) -> Option<usize> {
        self.names.get(conversation).copied()
    }

    /// A conversation has this name, too.
    pub(super) fn call_also(&mut self, chat: &str, place: usize) {
        self.chats.insert(chat.to_owned());
        self.names.insert(chat.to_owned(), place);
    }

    /// All places that a place shares its fate with: the channels of its team and their threads, or itself.
    pub(super) fn beside(&self, place: usize) -> Vec<usize> {
        let team = self.places[place].team;
        let beside = |other: &usize| *other == place || (team.is_some() && self.places[*other].team == team);
        (0..self.places.len()).filter(beside).collect()
    }

    /// The place that a request leads to, if it does.
    pub(super) fn find(&self, asked: &Asked) -> Option<usize> {
        match &asked.verb {
            Verb::Create { tenant, member } => self.places.iter().position(|place| {
                place.kind == Kind::Person
                    && self.tenants[place.tenant].id == *tenant
                    && (place.account == *member || place.user == *member)
            }),
            Verb::Send { conversation, .. }
            | Verb::Update { conversation, .. }
            | Verb::Delete { conversation, .. }
            | Verb::Ask(Question::Members { conversation, .. } | Question::Channels { team: conversation }) => {
                self.named(conversation).filter(|place| {
                    self.places[*place].conversation == *conversation || self.chats.contains(conversation)
                })
            }
        }
    }

    /// Counts a request against the limits; the one that it breaks. A conversation is counted where it is served.
    fn count(&mut self, asked: &Asked, place: usize) -> Option<String> {
        let now = Instant::now();
        let told =
            |(most, per): (usize, Duration), what: &str| format!("{most} in {} s {what}", per.as_secs());
        let tenant = self.places[place].tenant;
        let of_tenant = self.tenants[tenant].requests.count(limits::TENANT, now);
        let of_place = match asked.verb {
            Verb::Send { .. } | Verb::Update { .. } | Verb::Delete { .. }
                if self.address(asked, place).is_ok() =>
            {
                self.places[place].requests.count(limits::CONVERSATION, now)
            }
            Verb::Create { .. }
            | Verb::Send { .. }
            | Verb::Update { .. }
            | Verb::Delete { .. }
            | Verb::Ask(_) => None,
        };
        of_tenant
            .map(|limit| told(limit, "to a tenant"))
            .or(of_place.map(|limit| told(limit, "to a conversation")))
    }

    /// Whether this place is served at this address.
    fn address(&self, asked: &Asked, place: usize) -> Result<(), Refusal> {
        let tenant = &self.tenants[self.places[place].tenant];
        let is_served = match asked.address {
            Address::Gcc => tenant.is_gcc,
            _ if tenant.is_gcc => return Err(Refusal::new(403, "InvalidBotApiHost")),
            Address::Global => tenant.is_global,
            Address::Region(region) => self.places[place].region == region,
        };
        if is_served {
            Ok(())
        } else {
            Err(Refusal {
                message: "User is from different region",
                ..Refusal::new(403, "BadArgument")
            })
        }
    }

    /// What chance has against this request.
    fn refusal_of(&mut self, run: &Run, asked: &Asked, place: usize) -> Option<Refusal> {
        let troubles = &run.troubles.channel;
        match &asked.verb {
            Verb::Create { .. } => None,
            Verb::Send { .. } => {
                if run.strikes(troubles.missing) {
                    Some(Refusal::new(404, "ConversationNotFound"))
                } else if run.strikes(troubles.refused) {
                    Some(Refusal::new(400, "BadSyntax"))
                } else {
                    None
                }
            }
            Verb::Update { activity, .. } | Verb::Delete { activity, .. } => match self.shown.get(activity) {
                Some(shown) if shown.place == place && shown.text.is_some() => run
                    .strikes(troubles.refused)
                    .then(|| Refusal::new(400, "BadSyntax")),
                _ => Some(Refusal::new(404, "ActivityNotFoundInConversation")),
            },
            Verb::Ask(question) => self.keeps_silent(run, place, question),
        }
    }
}
