//! Tenants, people, conversations and teams, and their state.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::directory::Organization;
use super::limits::Window;

/// A tenant.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent")]
pub struct Tenant {
    /// The Entra id.
    pub id: String,
    /// Whether only GCC serves it.
    pub is_gcc: bool,
    /// Whether the cloud's global address serves it.
    pub is_global: bool,
    /// Whether the administrator has disabled the bot.
    pub disabled: bool,
    /// Whether the bot was ever disabled.
    pub was_disabled: bool,
    /// Whether the tenant refuses the bot's token.
    pub refuses_the_bot: bool,
    /// Since when it did so first.
    pub refused_since: Option<Timestamp>,
    /// Whether the administrator has refused consent to installations through Graph.
    pub lacks_consent: bool,
    /// Whether the catalog lacks the bot's app.
    pub lacks_app: bool,
    /// The people and groups of its directory.
    pub organization: Organization,
    pub(super) requests: Window,
    pub(super) graph_requests: Window,
}

/// The kind of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One person and the bot.
    Person,
    /// A group chat.
    Group,
    /// A channel of a team.
    Channel,
    /// A thread of a channel.
    Thread,
}

/// The ids and the name of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The channel account id, `29:…`.
    pub id: String,
    /// The Entra object id.
    pub user: String,
    /// The display name; may be empty.
    pub name: String,
}

/// A conversation. A person is represented by the personal conversation, even if the bot does not know it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its kind.
    pub kind: Kind,
    /// The index of its tenant.
    pub tenant: usize,
    /// The account of the person; in other conversations of a speaker.
    pub account: String,
    /// That person's Entra object id.
    pub user: String,
    /// That person's display name.
    pub name: String,
    /// The current conversation id.
    pub conversation: String,
    /// The number of changes of the conversation id.
    pub renamed: u32,
    /// The region that serves it.
    pub region: usize,
    /// The code with which Teams refuses every message, if it does.
    pub refusal: Option<&'static str>,
    /// Whether the bot is installed.
    pub installed: bool,
    /// Whether a policy forbids an installation.
    pub forbidden: bool,
    /// The index of the team, for a channel.
    pub team: Option<usize>,
    /// The members of a group chat, or of a channel without a team.
    pub members: Vec<Member>,
    /// The tags that callers have set; unknown to Teams.
    pub tags: Vec<String>,
    /// Events of the past, for the invariants of the simulation.
    pub past: ConversationHistory,
    pub(super) in_flight: usize,
    pub(super) requests: Window,
}

/// Past events of a conversation.
#[allow(clippy::struct_excessive_bools, reason = "they are independent")]
#[derive(Clone, Copy, Debug, Default)]
pub struct ConversationHistory {
    /// The bot was not installed.
    pub not_installed: bool,
    /// The bot was uninstalled.
    pub left: bool,
    /// Teams refused its messages.
    pub refused: bool,
    /// It moved to another region.
    pub moved: bool,
    /// The bot did not know it at the start.
    pub strange: bool,
    /// The number of reads that a fault answered with 404.
    pub missed: u32,
    /// The number of expired continuation tokens.
    pub too_late: u32,
}

/// A team.
#[derive(Clone, Debug, Default)]
pub struct Team {
    /// The indices of its channels, General first.
    pub channels: Vec<usize>,
    /// Present and former members; a member who returned is listed twice.
    pub members: Vec<Member>,
}

/// A membership.
#[derive(Clone, Debug)]
pub struct Member {
    /// The index of the person's personal conversation.
    pub place: usize,
    /// The roster entry.
    pub entry: Value,
    /// The time of joining.
    pub joined: Timestamp,
    /// The time of leaving, if they left.
    pub quit: Option<Timestamp>,
}

impl Member {
    /// A membership that starts now.
    pub fn new(place: usize, entry: Value, joined: Timestamp) -> Member {
        Member {
            place,
            entry,
            joined,
            quit: None,
        }
    }

    /// Whether the membership includes any moment since then.
    pub fn was_since(&self, begins: Timestamp) -> bool {
        self.quit.is_none_or(|quit| quit >= begins)
    }

    /// Whether the membership includes all of this interval.
    pub fn was_throughout(&self, begins: Timestamp, ends: Timestamp) -> bool {
        self.joined <= begins && self.quit.is_none_or(|quit| quit >= ends)
    }
}

impl Place {
    /// A conversation of this kind in the first region, with the bot installed.
    pub fn new(kind: Kind, tenant: usize, conversation: String, account: Account) -> Place {
        Place {
            kind,
            tenant,
            account: account.id,
            user: account.user,
            name: account.name,
            conversation,
            renamed: 0,
            region: 0,
            refusal: None,
            installed: true,
            forbidden: false,
            team: None,
            members: Vec::new(),
            tags: Vec::new(),
            past: ConversationHistory::default(),
            in_flight: 0,
            requests: Window::default(),
        }
    }

    /// Whether this is the person with this account id or Entra object id.
    pub fn is_person(&self, id: &str) -> bool {
        self.kind == Kind::Person && (self.account == id || self.user == id)
    }

    /// Whether this is the channel with this id.
    pub(super) fn is_channel(&self, id: &str) -> bool {
        self.kind == Kind::Channel && self.conversation == id
    }

    /// The `conversation.conversationType` of activities.
    pub fn conversation_type(&self) -> &'static str {
        match self.kind {
            Kind::Person => "personal",
            Kind::Group => "groupChat",
            Kind::Channel | Kind::Thread => "channel",
        }
    }

    /// The `from` account of activities.
    pub(super) fn from(&self) -> Value {
        let mut from = json!({ "id": self.account, "aadObjectId": self.user });
        if !self.name.is_empty() {
            from["name"] = self.name.as_str().into();
            from["role"] = "user".into();
        }
        from
    }
}
