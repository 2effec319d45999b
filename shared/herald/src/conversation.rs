//! What is remembered of a conversation, and when a sighting changes it.
//!
//! Everything here is pure: [`Sighting::of`] reads an activity, [`remember`] says what the record becomes, if it
//! changes at all. The store makes the read and the write one step.

use std::fmt;
use std::str::FromStr;

use botframework::activity::{self, Activity, ActivityType, InstallationAction};
use botframework::id::{ChannelAccountId, ConversationId, EntraObjectId};
use botframework::reference::ConversationReference;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many service URLs are kept for one conversation, the newest first.
///
/// Nothing announces a tenant's move to another region (`protocol A.5`); the older ones are what a sender can fall
/// back to. Four is more regions than any conversation was ever seen in.
pub const SERVICE_URLS_KEPT: usize = 4;

/// The longest id that is taken, in bytes. Those of Teams have about a hundred; DynamoDB's sort keys hold 1,024.
pub const ID_BYTES_MAX: usize = 1024;

/// The largest reference that is remembered, in bytes of JSON. Real ones have about one thousand.
const REFERENCE_BYTES_MAX: usize = 64 * 1024;

/// Names one conversation of one bot on one channel; the primary key of everything that is remembered.
///
/// The conversation id alone does not do: two bots in one group chat see the same id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ConversationKey {
    /// The conversation, a thread's `;messageid=` included.
    pub conversation: ConversationId,
    /// The channel, as the activity named it: `msteams`, `slack`, …
    pub channel: String,
    /// The bot's account in that channel: in Teams `28:` and the app id.
    pub bot: ChannelAccountId,
}

impl ConversationKey {
    /// The key of the conversation that a reference leads to; `None` when it does not name channel, bot and conversation,
    /// or names them by something that is no id: longer than [`ID_BYTES_MAX`], or with control characters in it.
    pub fn of(reference: &ConversationReference) -> Option<Self> {
        let conversation = reference.conversation.as_ref()?.id.clone();
        let channel = reference.channel_id.clone()?;
        let bot = reference.bot.as_ref()?.id.clone();
        let well_named = is_id(conversation.as_str()) && is_id(&channel) && is_id(bot.as_str());
        let key = Self {
            conversation,
            channel,
            bot,
        };
        (well_named && key.place().len() <= ID_BYTES_MAX).then_some(key)
    }

    /// The sort key beside the conversation id: channel and bot, with `|` between.
    pub fn place(&self) -> String {
        format!("{}|{}", escape(&self.channel), escape(self.bot.as_str()))
    }

    /// The key from its two halves as they stand in the table.
    ///
    /// # Errors
    /// When `place` is not what [`place`](Self::place) writes: the record is not ours.
    pub fn from_place(conversation: ConversationId, place: &str) -> Result<Self, InvalidKey> {
        let (channel, bot) = place.split_once('|').ok_or(InvalidKey)?;
        Ok(Self {
            conversation,
            channel: unescape(channel),
            bot: unescape(bot).into(),
        })
    }
}

/// The text is not a conversation key.
#[derive(Debug, thiserror::Error)]
#[error("not a conversation key: it must be channel, bot and conversation with `|` between")]
pub struct InvalidKey;

impl fmt::Display for ConversationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The conversation stands last and as it is: whatever it holds, the first two bars are the separators.
        write!(f, "{}|{}", self.place(), self.conversation)
    }
}

impl From<ConversationKey> for String {
    fn from(key: ConversationKey) -> Self {
        key.to_string()
    }
}

impl FromStr for ConversationKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '|');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(channel), Some(bot), Some(conversation)) => Ok(Self {
                conversation: conversation.into(),
                channel: unescape(channel),
                bot: unescape(bot).into(),
            }),
            _ => Err(InvalidKey),
        }
    }
}

impl TryFrom<String> for ConversationKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Whether the text can be an id, as far as tables and URLs are concerned.
fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn escape(part: &str) -> String {
    part.replace('%', "%25").replace('|', "%7C")
}

fn unescape(part: &str) -> String {
    part.replace("%7C", "|").replace("%25", "%")
}

/// What kind of place a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// The bot and one person.
    Personal,
    /// A group chat or a meeting's chat.
    GroupChat,
    /// A channel of a team, or a thread in one.
    Channel,
}

impl Scope {
    /// The word Teams uses, which is also the one in our tables and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::GroupChat => "groupChat",
            Self::Channel => "channel",
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Personal, Self::GroupChat, Self::Channel]
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or(UnknownScope)
    }
}

/// The text names no scope.
#[derive(Debug, thiserror::Error)]
#[error("not a scope: it must be `personal`, `groupChat` or `channel`")]
pub struct UnknownScope;

/// What a conversation is looked up by; the attributes of the indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What kind of place it is.
    pub scope: Scope,
    /// The customer's Entra tenant; channels other than Teams have none.
    pub tenant: Option<String>,
    /// The person of a personal conversation, as Entra names them.
    pub user: Option<EntraObjectId>,
    /// The person of a personal conversation, as the channel names them.
    pub account: Option<ChannelAccountId>,
    /// The team a channel belongs to.
    pub team: Option<String>,
}

/// Whether a conversation may be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It may.
    Active,
    /// The channel refused with this code, and will until the person acts.
    Blocked {
        /// The channel's error code, for example `ConversationBlockedByUser`.
        code: String,
    },
    /// The bot was uninstalled or taken out.
    ///
    /// The channel cannot be relied on to refuse (`protocol A.5`), so we do.
    Removed,
}

/// One remembered conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// Its name.
    pub key: ConversationKey,
    /// The reference, whole: unknown fields are kept. Without an activity id, since a proactive message replies to nothing.
    pub reference: ConversationReference,
    /// What it is looked up by.
    pub facts: Facts,
    /// Service URLs seen, the one to use first.
    pub service_urls: Vec<String>,
    /// Whether it may be written to.
    pub state: State,
    /// Counts the writes, from 1.
    pub version: u64,
    /// When it was first seen.
    pub remembered_at: Timestamp,
    /// When the record last changed.
    pub changed_at: Timestamp,
}

impl Conversation {
    /// Whether this is a thread in a channel: remembered for replies, but no place of its own that `everyone` means.
    pub fn is_thread(&self) -> bool {
        self.key.conversation.thread_root().is_some()
    }
}

/// What an activity says about the bot's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Installed, added, or spoken to: the conversation is active from now on.
    Arrived,
    /// Something else happened there: a removed conversation stays removed.
    Seen,
    /// Uninstalled or taken out.
    Left,
}

/// Whether an activity's service URL may replace the one that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    Believed,
    /// A small share of invokes name a region that does not work for the user (`protocol A.5`).
    Doubted,
}

/// One conversation as one activity showed it.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The conversation.
    pub key: ConversationKey,
    /// What the activity says about the bot's presence.
    pub presence: Presence,
    /// What it is looked up by.
    pub facts: Facts,
    reference: ConversationReference,
    address: Address,
    /// Whether the activity says what kind of place it is, or the facts only suppose so.
    scope_named: bool,
}

impl Sighting {
    /// The conversations an activity shows: one, or two for a thread in a channel (the channel, then the thread).
    ///
    /// None when the activity does not name what a later message needs: channel, conversation, bot and service URL.
    pub fn of(activity: &Activity) -> Vec<Self> {
        let reference = ConversationReference::from_activity(activity);
        let Some(key) = ConversationKey::of(&reference) else {
            return Vec::new();
        };
        if reference.service_url.as_deref().is_none_or(str::is_empty) {
            return Vec::new();
        }
        // A record holds 400 KB. What is larger than any real reference by far would be refused by the table, and the
        // channel would repeat it for ever.
        let bytes = serde_json::to_vec(&reference).map_or(usize::MAX, |document| document.len());
        if bytes > REFERENCE_BYTES_MAX {
            return Vec::new();
        }
        let scope = scope(activity, &reference);
        let sighting = Self {
            key,
            presence: presence(activity),
            facts: facts(activity, &reference, scope.unwrap_or(Scope::Personal)),
            reference,
            address: address(activity),
            scope_named: scope.is_some(),
        };
        if sighting.key.conversation.thread_root().is_some() {
            vec![sighting.channel_level(), sighting]
        } else {
            vec![sighting]
        }
    }

    fn channel_level(&self) -> Self {
        Self {
            key: ConversationKey {
                conversation: self.key.conversation.channel(),
                ..self.key.clone()
            },
            reference: self.reference.channel_level(),
            ..self.clone()
        }
    }
}

fn presence(activity: &Activity) -> Presence {
    match &activity.kind {
        _ if activity.is_message() => Presence::Arrived,
        Some(ActivityType::InstallationUpdate) => match &activity.action {
            Some(InstallationAction::Add | InstallationAction::AddUpgrade) => Presence::Arrived,
            Some(InstallationAction::Remove | InstallationAction::RemoveUpgrade) => Presence::Left,
            Some(InstallationAction::Other(_)) | None => Presence::Seen,
        },
        Some(ActivityType::ConversationUpdate) if activity.removes_bot() => Presence::Left,
        Some(ActivityType::ConversationUpdate) if activity.adds_bot() => Presence::Arrived,
        _ => Presence::Seen,
    }
}

fn address(activity: &Activity) -> Address {
    match &activity.kind {
        _ if activity.is_message() => Address::Believed,
        Some(ActivityType::ConversationUpdate | ActivityType::InstallationUpdate) => Address::Believed,
        _ => Address::Doubted,
    }
}

/// What kind of place it is, if the activity says so.
fn scope(activity: &Activity, reference: &ConversationReference) -> Option<Scope> {
    let place = reference.conversation.as_ref()?;
    let in_team = activity.teams().is_some_and(|teams| teams.team.is_some());
    match &place.scope {
        _ if place.id.thread_root().is_some() => Some(Scope::Channel),
        Some(activity::Scope::Personal) => Some(Scope::Personal),
        Some(activity::Scope::GroupChat) => Some(Scope::GroupChat),
        Some(activity::Scope::Channel) => Some(Scope::Channel),
        // Old payloads of Teams name no type, and other channels have none.
        None if in_team => Some(Scope::Channel),
        None => place
            .is_group
            .map(|group| if group { Scope::GroupChat } else { Scope::Personal }),
        // A kind of place that is new: whatever it is, it is not one person's.
        Some(activity::Scope::Other(_)) => Some(Scope::GroupChat),
    }
}

fn facts(activity: &Activity, reference: &ConversationReference, scope: Scope) -> Facts {
    let person = reference.user.as_ref().filter(|_| scope == Scope::Personal);
    // Only Teams vouches for Entra's and its own names of people and teams; elsewhere a user may choose what they are called.
    let in_teams = activity.parent_channel() == Some("msteams");
    let of_teams = |id: &ChannelAccountId| id.as_str().starts_with("29:");
    Facts {
        scope,
        tenant: activity
            .tenant_id()
            .filter(|tenant| is_id(tenant))
            .map(str::to_owned),
        user: person
            .and_then(|user| user.entra_object_id.clone())
            .filter(|id| in_teams && is_id(id.as_str())),
        account: person
            .map(|user| user.id.clone())
            .filter(|id| is_id(id.as_str()) && (in_teams || !of_teams(id))),
        team: activity
            .teams()
            .and_then(|teams| teams.team)
            .and_then(|team| team.id)
            .filter(|id| in_teams && is_id(id)),
    }
}

/// What the record becomes when `sighting` is seen at `now`; `None` when nothing changes and nothing is to be written.
///
/// What the new reference does not mention is kept from the old one: Teams' events differ in what they carry, and a
/// record must not flap between two shapes. In a group or a channel the person who spoke last is no part of the place.
pub fn remember(existing: Option<&Conversation>, sighting: Sighting, now: Timestamp) -> Option<Conversation> {
    let Sighting {
        key,
        presence,
        facts,
        mut reference,
        address,
        scope_named,
    } = sighting;
    // The activity a reference was made from is a moment, not a place.
    reference.activity_id = None;

    let Some(old) = existing else {
        if presence == Presence::Left {
            return None;
        }
        let service_urls = reference.service_url.iter().cloned().collect();
        return Some(Conversation {
            key,
            reference,
            facts,
            service_urls,
            state: State::Active,
            version: 1,
            remembered_at: now,
            changed_at: now,
        });
    };

    let scope = if scope_named { facts.scope } else { old.facts.scope };
    if scope != Scope::Personal {
        reference.user.clone_from(&old.reference.user);
        reference.locale.clone_from(&old.reference.locale);
    }
    if address == Address::Doubted || presence == Presence::Left {
        reference.service_url.clone_from(&old.reference.service_url);
    }
    let mut service_urls = old.service_urls.clone();
    if let Some(url) = &reference.service_url
        && service_urls.first() != Some(url)
    {
        service_urls.retain(|known| known != url);
        service_urls.insert(0, url.clone());
        service_urls.truncate(SERVICE_URLS_KEPT);
    }
    let new = Conversation {
        key,
        reference: overlay(&old.reference, reference),
        facts: Facts {
            scope,
            tenant: facts.tenant.or_else(|| old.facts.tenant.clone()),
            user: facts
                .user
                .or_else(|| old.facts.user.clone())
                .filter(|_| scope == Scope::Personal),
            account: facts
                .account
                .or_else(|| old.facts.account.clone())
                .filter(|_| scope == Scope::Personal),
            team: facts.team.or_else(|| old.facts.team.clone()),
        },
        service_urls,
        state: match presence {
            Presence::Arrived => State::Active,
            Presence::Seen => old.state.clone(),
            Presence::Left => State::Removed,
        },
        version: old.version,
        remembered_at: old.remembered_at,
        changed_at: old.changed_at,
    };
    (new != *old).then(|| Conversation {
        version: old.version + 1,
        changed_at: now,
        ..new
    })
}

/// `new`, with what only `old` mentions filled in, at every depth of objects.
fn overlay(old: &ConversationReference, new: ConversationReference) -> ConversationReference {
    fn fill(old: Value, new: &mut Value) {
        if let (Value::Object(old), Value::Object(new)) = (old, new) {
            for (name, value) in old {
                match new.get_mut(&name) {
                    Some(present) => fill(value, present),
                    None => {
                        new.insert(name, value);
                    }
                }
            }
        }
    }
    let (Ok(old), Ok(mut document)) = (serde_json::to_value(old), serde_json::to_value(&new)) else {
        return new;
    };
    fill(old, &mut document);
    serde_json::from_value(document).unwrap_or(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOON: Timestamp = Timestamp::UNIX_EPOCH;

    fn personal(kind: &str) -> Value {
        json!({
            "type": kind, "id": "1", "channelId": "msteams", "serviceUrl": "https://smba.trafficmanager.net/emea/",
            "from": {"id": "29:ada", "aadObjectId": "00000000-0000-0000-0000-00000000000a", "name": "A"},
            "recipient": {"id": "28:bot"},
            "conversation": {"id": "a:1", "conversationType": "personal", "tenantId": "t1", "novel": {"kept": null}},
        })
    }

    fn see(activity: &Value) -> Sighting {
        sightings(activity).pop().unwrap()
    }

    fn sightings(activity: &Value) -> Vec<Sighting> {
        Sighting::of(&Activity::from_slice(activity.to_string().as_bytes()).unwrap())
    }

    fn first(activity: &Value) -> Conversation {
        remember(None, see(activity), NOON).unwrap()
    }

    fn with(mut activity: Value, pointer: &str, value: Value) -> Value {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        activity.pointer_mut(parent).unwrap()[name] = value;
        activity
    }

    #[test]
    fn keys_survive_as_text_whatever_the_ids_hold() {
        for (channel, bot, conversation) in [
            ("msteams", "28:b", "19:x@thread.v2;messageid=7"),
            ("a|b", "%7C|%25", "|%7C||"),
            ("", "", ""),
        ] {
            let key = ConversationKey {
                conversation: conversation.into(),
                channel: channel.into(),
                bot: bot.into(),
            };
            assert_eq!(key.to_string().parse::<ConversationKey>().unwrap(), key);
            assert_eq!(
                ConversationKey::from_place(conversation.into(), &key.place()).unwrap(),
                key
            );
        }
    }

    #[test]
    fn a_first_sighting_is_kept_whole_but_for_its_moment() {
        let record = first(&personal("message"));
        let reference = serde_json::to_value(&record.reference).unwrap();
        assert_eq!(reference["conversation"]["novel"], json!({"kept": null}));
        assert_eq!(reference["user"]["name"], "A");
        assert!(reference.get("activityId").is_none());
        assert_eq!(record.facts.account, Some("29:ada".into()));
        assert_eq!(record.facts.tenant.as_deref(), Some("t1"));
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let record = first(&personal("message"));
        let again = with(personal("message"), "/id", json!("2"));
        assert_eq!(remember(Some(&record), see(&again), NOON), None);
    }

    #[test]
    fn an_event_that_says_less_does_not_make_the_record_flap() {
        let record = first(&personal("message"));
        let mut less = personal("conversationUpdate");
        less["from"].as_object_mut().unwrap().remove("name");
        less["conversation"].as_object_mut().unwrap().remove("novel");
        assert_eq!(remember(Some(&record), see(&less), NOON), None);
    }

    #[test]
    fn a_new_service_url_leads_and_the_old_ones_stay_to_fall_back_on() {
        let mut record = first(&personal("message"));
        for region in ["amer", "apac", "emea", "in", "br"] {
            let url = format!("https://smba.trafficmanager.net/{region}/");
            let moved = with(personal("message"), "/serviceUrl", json!(url));
            record = remember(Some(&record), see(&moved), NOON).unwrap();
            assert_eq!(record.service_urls[0], url);
            assert_eq!(record.reference.service_url.as_deref(), Some(url.as_str()));
        }
        let regions: Vec<_> = record
            .service_urls
            .iter()
            .map(|url| url.split('/').nth(3).unwrap())
            .collect();
        assert_eq!(regions, ["br", "in", "emea", "apac"]);
    }

    #[test]
    fn an_invokes_service_url_is_not_believed() {
        let record = first(&personal("message"));
        let invoke = with(
            personal("invoke"),
            "/serviceUrl",
            json!("https://smba.trafficmanager.net/jp/"),
        );
        assert_eq!(remember(Some(&record), see(&invoke), NOON), None);
    }

    #[test]
    fn removed_stays_removed_until_installed_or_spoken_to() {
        let record = first(&personal("message"));
        let uninstall = with(personal("installationUpdate"), "/action", json!("remove"));
        let removed = remember(Some(&record), see(&uninstall), NOON).unwrap();
        assert_eq!(removed.state, State::Removed);
        assert_eq!(
            remember(Some(&removed), see(&personal("messageReaction")), NOON),
            None
        );
        let install = with(personal("installationUpdate"), "/action", json!("add"));
        for returning in [install, personal("message")] {
            assert_eq!(
                remember(Some(&removed), see(&returning), NOON).unwrap().state,
                State::Active
            );
        }
    }

    #[test]
    fn a_bot_among_the_removed_members_has_left_and_a_person_has_not() {
        let record = first(&personal("message"));
        let update = |member: &str| {
            with(
                personal("conversationUpdate"),
                "/membersRemoved",
                json!([{"id": member}]),
            )
        };
        assert_eq!(
            remember(Some(&record), see(&update("28:bot")), NOON)
                .unwrap()
                .state,
            State::Removed
        );
        assert_eq!(remember(Some(&record), see(&update("29:eve")), NOON), None);
    }

    #[test]
    fn a_thread_shows_its_channel_too_and_both_know_the_team() {
        let mut post = personal("message");
        post["conversation"] =
            json!({"id": "19:c@thread.tacv2;messageid=5", "conversationType": "channel", "isGroup": true});
        post["channelData"] = json!({"team": {"id": "19:t@thread.tacv2"}, "tenant": {"id": "t1"}});
        let seen = sightings(&post);
        let ids: Vec<_> = seen
            .iter()
            .map(|sighting| sighting.key.conversation.as_str())
            .collect();
        assert_eq!(ids, ["19:c@thread.tacv2", "19:c@thread.tacv2;messageid=5"]);
        for sighting in seen {
            assert_eq!(sighting.facts.team.as_deref(), Some("19:t@thread.tacv2"));
            assert_eq!(sighting.facts.tenant.as_deref(), Some("t1"));
            assert_eq!(
                (sighting.facts.scope, sighting.facts.account.as_ref()),
                (Scope::Channel, None)
            );
        }
    }

    #[test]
    fn whoever_speaks_next_in_a_group_does_not_change_the_place() {
        let group = with(
            personal("message"),
            "/conversation/conversationType",
            json!("groupChat"),
        );
        let record = first(&group);
        let other = with(group, "/from", json!({"id": "29:eve", "name": "E"}));
        assert_eq!(remember(Some(&record), see(&other), NOON), None);
    }

    #[test]
    fn an_event_that_does_not_say_what_kind_of_place_it_is_changes_none() {
        let mut silent = personal("messageReaction");
        silent["conversation"]
            .as_object_mut()
            .unwrap()
            .remove("conversationType");
        let group = with(
            personal("message"),
            "/conversation/conversationType",
            json!("groupChat"),
        );
        let record = first(&group);
        assert_eq!(remember(Some(&record), see(&silent), NOON), None);
        // First seen by such an event it is taken for a person's; what says more corrects it, and nobody's it is then.
        let guessed = first(&silent);
        assert_eq!(guessed.facts.account, Some("29:ada".into()));
        let corrected = remember(Some(&guessed), see(&group), NOON).unwrap();
        assert_eq!(
            (
                corrected.facts.scope,
                corrected.facts.account,
                corrected.facts.user
            ),
            (Scope::GroupChat, None, None)
        );
        let novel = with(
            personal("message"),
            "/conversation/conversationType",
            json!("hologram"),
        );
        assert_eq!(first(&novel).facts.scope, Scope::GroupChat);
    }

    #[test]
    fn nobody_is_a_teams_user_by_saying_so_on_another_channel() {
        let posing = with(personal("message"), "/channelId", json!("webchat"));
        let record = first(&posing);
        assert_eq!((record.facts.user, record.facts.account), (None, None));
        let slack = with(
            posing,
            "/from",
            json!({"id": "U1:T1", "aadObjectId": "00000000-0000-0000-0000-00000000000a"}),
        );
        let record = first(&slack);
        assert_eq!(
            (record.facts.user, record.facts.account),
            (None, Some("U1:T1".into()))
        );
    }

    #[test]
    fn a_reference_larger_than_any_record_is_not_remembered() {
        let large = with(
            personal("message"),
            "/conversation/name",
            json!("x".repeat(REFERENCE_BYTES_MAX)),
        );
        assert!(sightings(&large).is_empty());
    }

    #[test]
    fn what_is_no_id_is_not_remembered() {
        for conversation in ["", "a:\u{7}", &"x".repeat(ID_BYTES_MAX + 1)] {
            let activity = with(personal("message"), "/conversation/id", json!(conversation));
            assert!(sightings(&activity).is_empty());
        }
        let longest = with(
            personal("message"),
            "/conversation/id",
            json!("x".repeat(ID_BYTES_MAX)),
        );
        assert_eq!(sightings(&longest).len(), 1);
        let endless_tenant = with(
            personal("message"),
            "/conversation/tenantId",
            json!("x".repeat(ID_BYTES_MAX + 1)),
        );
        assert_eq!(see(&endless_tenant).facts.tenant, None);
    }

    #[test]
    fn what_cannot_be_answered_is_not_remembered() {
        for missing in ["serviceUrl", "channelId", "recipient", "conversation"] {
            let mut activity = personal("message");
            activity.as_object_mut().unwrap().remove(missing);
            assert!(sightings(&activity).is_empty(), "{missing}");
        }
    }
}
