//! Tenants, people, conversations and teams, and what happens to them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::limits::Window;

/// A tenant.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent")]
pub struct Tenant {
    /// Its id in Entra.
    pub id: String,
    /// Whether GCC serves it, and no other address.
    pub is_gcc: bool,
    /// Whether the cloud's global address serves it.
    pub is_global: bool,
    /// Whether its administrator has disabled the bot.
    pub disabled: bool,
    /// Whether that was ever so.
    pub was_disabled: bool,
    /// Whether its administrator has not consented to installations through Graph.
    pub lacks_consent: bool,
    /// Whether the bot's app is missing in its catalog.
    pub lacks_app: bool,
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

/// Somebody's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The channel account id, `29:…`.
    pub id: String,
    /// The Entra object id.
    pub user: String,
    /// The display name; empty for people without one.
    pub name: String,
}

/// A conversation. A person is their personal conversation with the bot, whether or not the bot knows it.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its kind.
    pub kind: Kind,
    /// The index of its tenant.
    pub tenant: usize,
    /// The person; in other kinds somebody who speaks there.
    pub account: String,
    /// Their Entra object id.
    pub user: String,
    /// Their display name.
    pub name: String,
    /// The current conversation id.
    pub conversation: String,
    /// How often the conversation id changed.
    pub renamed: u32,
    /// The region that serves it.
    pub region: usize,
    /// The code by which Teams refuses every message, if it does.
    pub refusal: Option<&'static str>,
    /// Whether the bot is installed there.
    pub installed: bool,
    /// Whether a policy forbids the installation.
    pub forbidden: bool,
    /// The index of a channel's team.
    pub team: Option<usize>,
    /// Members of a group chat, and of a channel without a team.
    pub members: Vec<Member>,
    /// The tags that callers put on it: Teams does not know them.
    pub tags: Vec<String>,
    /// What ever happened to it.
    pub past: Past,
    pub(super) in_flight: usize,
    pub(super) requests: Window,
}

/// What ever happened to a conversation.
#[allow(clippy::struct_excessive_bools, reason = "they are independent")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    /// The bot was not installed.
    pub not_installed: bool,
    /// The bot was uninstalled.
    pub left: bool,
    /// Teams refused its messages.
    pub refused: bool,
    /// It moved to another region.
    pub moved: bool,
    /// The bot did not know it in the beginning.
    pub strange: bool,
    /// How many reads were answered with 404 by a fault.
    pub missed: u32,
    /// How many continuation tokens had expired.
    pub too_late: u32,
}

/// A team.
#[derive(Clone, Debug, Default)]
pub struct Team {
    /// The indices of its channels, General first.
    pub channels: Vec<usize>,
    /// Present and former members; a member who came back is listed twice.
    pub members: Vec<Member>,
}

/// A membership.
#[derive(Clone, Debug)]
pub struct Member {
    /// The index of the person.
    pub place: usize,
    /// The entry of the roster.
    pub entry: Value,
    /// Since when.
    pub joined: Timestamp,
    /// Until when.
    pub quit: Option<Timestamp>,
}

impl Member {
    /// A membership that begins now.
    pub fn new(place: usize, entry: Value, joined: Timestamp) -> Member {
        Member {
            place,
            entry,
            joined,
            quit: None,
        }
    }

    /// Whether they were a member at any time since then.
    pub fn was_since(&self, begins: Timestamp) -> bool {
        self.quit.is_none_or(|quit| quit >= begins)
    }

    /// Whether they were a member at all times between these two.
    pub fn was_throughout(&self, begins: Timestamp, ends: Timestamp) -> bool {
        self.joined <= begins && self.quit.is_none_or(|quit| quit >= ends)
    }
}

impl Place {
    /// A place of this kind in the first region, with the bot installed.
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
            past: Past::default(),
            in_flight: 0,
            requests: Window::default(),
        }
    }

    /// Whether this is the person with this account id or Entra object id.
    pub fn is_person(&self, id: &str) -> bool {
        self.kind == Kind::Person && (self.account == id || self.user == id)
    }

    /// `conversation.conversationType` of activities.
    pub fn conversation_type(&self) -> &'static str {
        match self.kind {
            Kind::Person => "personal",
            Kind::Group => "groupChat",
            Kind::Channel | Kind::Thread => "channel",
        }
    }

    /// The account in `from` of activities.
    pub(super) fn from(&self) -> Value {
        let mut from = json!({ "id": self.account, "aadObjectId": self.user });
        if !self.name.is_empty() {
            from["name"] = self.name.as_str().into();
            from["role"] = "user".into();
        }
        from
    }
}
