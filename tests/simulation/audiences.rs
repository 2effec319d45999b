//! Audiences: how callers describe them, and which places they mean in truth, whatever the tables say.

use herald::audience::{
    Audience, AudienceRow, Guests, Recipient, RowColumn, Selector, Target, TeamPart,
    thread_name as place_index,
};
use herald::conversation::Scope;
use herald_local::teams::Member;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::channel::{Kind, Place, State};
use super::directory::{directory_means, directory_names, directory_target};
use super::fate::Chance;
use super::people::TAGS;

/// An audience of one or more selectors, drawn from the seed.
pub(super) fn audience(channel: &State, chance: &Chance) -> Vec<Selector> {
    let selectors = if chance.below(3) == 0 {
        chance.between(2, 4)
    } else {
        1
    };
    let mut audience: Vec<Selector> = Vec::new();
    for _ in 0..selectors {
        let selector = selector(channel, chance);
        if !audience.contains(&selector) {
            audience.push(selector);
        }
    }
    audience
}

fn selector(channel: &State, chance: &Chance) -> Selector {
    let scopes = [Scope::Personal, Scope::GroupChat, Scope::Channel];
    let scope = (chance.below(12) == 0).then(|| *chance.pick(&scopes));
    let mut except = Vec::new();
    if chance.below(6) == 0 {
        for _ in 0..chance.between(1, 4) {
            let place = &channel.places[chance.index(channel.places.len())];
            let names = [&place.conversation, &place.user, &place.account];
            except.push((*chance.pick(&names)).clone());
        }
        distinct(&mut except);
    }
    Selector {
        target: target(channel, chance),
        scope,
        except,
    }
}

fn target(channel: &State, chance: &Chance) -> Target {
    let place = || &channel.places[chance.index(channel.places.len())];
    let tenant = || channel.tenants[chance.index(channel.tenants.len())].id.clone();
    let several = || 1 + chance.index(channel.places.len());
    let unknown = |name: &str| format!("{name}{}", chance.below(1000));
    let of = |kind: Kind| {
        let all: Vec<&Place> = channel.places.iter().filter(|place| place.kind == kind).collect();
        (!all.is_empty()).then(|| chance.pick(&all).conversation.clone())
    };
    let team = |to| {
        let team = channel.teams.get(chance.index(channel.teams.len()));
        let id = team.map(|team| channel.places[team.channels[0]].conversation.clone());
        Target::Team {
            id: id.unwrap_or_else(|| unknown("19:noteam")),
            to,
            guests: *chance.pick(&[Guests::Included, Guests::Skipped]),
        }
    };
    match chance.below(28) {
        0..6 => Target::Everyone,
        6 | 7 => Target::Tenant(tenant()),
        8..12 => {
            let mut ids: Vec<String> = (0..several()).map(|_| place().user.clone()).collect();
            ids.extend((0..chance.below(4)).map(|_| unknown("stranger")));
            distinct(&mut ids);
            Target::Users {
                ids: ids.into_iter().map(Into::into).collect(),
                tenant: (chance.below(3) == 0).then(tenant),
            }
        }
        12 | 13 => {
            let mut ids: Vec<String> = (0..several()).map(|_| place().account.clone()).collect();
            distinct(&mut ids);
            Target::Accounts(ids.into_iter().map(Into::into).collect())
        }
        14 | 15 => {
            let mut ids: Vec<String> = (0..several()).map(|_| place().conversation.clone()).collect();
            ids.extend((0..chance.below(4)).map(|_| unknown("19:nowhere")));
            distinct(&mut ids);
            Target::Conversations(ids.into_iter().map(Into::into).collect())
        }
        16..19 => team(TeamPart::Members),
        19 => team(TeamPart::Channels),
        20 => team(TeamPart::General),
        21 => {
            // A new thread, or an existing one.
            let thread = of(Kind::Thread).filter(|_| chance.below(2) == 0);
            let id = thread.or_else(|| of(Kind::Channel));
            let id = id.unwrap_or_else(|| unknown("19:nowhere"));
            let (id, thread) = match id.split_once(";messageid=") {
                Some((channel, root)) => (channel.to_owned(), Some(root.to_owned())),
                None => (id, None),
            };
            let whole = channel.named(&id).and_then(|place| channel.team(place));
            let team = whole.map(|team| channel.places[team.channels[0]].conversation.clone());
            Target::Channel {
                id: id.into(),
                thread,
                team: team.filter(|_| chance.below(2) == 0),
            }
        }
        22 => Target::GroupChat(of(Kind::Group).unwrap_or_else(|| unknown("19:nowhere")).into()),
        23 => Target::Tag((*chance.pick(&TAGS)).to_owned()),
        _ => Target::Directory(directory_target(channel, chance)),
    }
}

/// Recipients that each have a field of their own: their name in the audience.
pub(super) fn rows(channel: &State, chance: &Chance) -> Target {
    let column = *chance.pick(&RowColumn::ALL);
    let mut ids: Vec<String> = (0..=chance.index(channel.places.len()))
        .map(|_| {
            let place = &channel.places[chance.index(channel.places.len())];
            match column {
                RowColumn::User => place.user.clone(),
                RowColumn::Account => place.account.clone(),
                RowColumn::Conversation => place.conversation.clone(),
            }
        })
        .collect();
    ids.extend((0..chance.below(3)).map(|_| format!("stranger{}", chance.below(1000))));
    distinct(&mut ids);
    let rows = ids.into_iter().map(|id| AudienceRow {
        fields: [("own".to_owned(), json!(id))].into_iter().collect(),
        id,
    });
    Target::Rows {
        column,
        rows: rows.collect(),
        tenant: None,
    }
}

/// Whether a row names this place.
pub(super) fn is_row_of(channel: &State, column: RowColumn, id: &str, number: usize) -> bool {
    let place = &channel.places[number];
    let is_person = place.kind == Kind::Person;
    match column {
        RowColumn::User => is_person && id == place.user,
        RowColumn::Account => is_person && id == place.account,
        RowColumn::Conversation => channel.named(id) == Some(number),
    }
}

fn distinct(ids: &mut Vec<String>) {
    ids.sort();
    ids.dedup();
}

/// The JSON form of a selector.
pub(super) fn document(selector: &Selector) -> Value {
    let mut document = match &selector.target {
        Target::Everyone => json!({"everyone": true}),
        Target::Tenant(tenant) => json!({ "tenant": tenant }),
        Target::Users { ids, tenant: None } => json!({ "users": ids }),
        Target::Users { ids, tenant } => json!({"users": ids, "tenant": tenant}),
        Target::Accounts(ids) => json!({ "accounts": ids }),
        Target::Conversations(ids) => json!({ "conversations": ids }),
        Target::Rows { column, rows, .. } => {
            let rows = rows.iter();
            let rows = rows.map(|row| json!({column.as_str(): row.id, "own": row.id}));
            json!({ "rows": rows.collect::<Vec<_>>() })
        }
        Target::Team { id, to, guests } => {
            json!({"team": id, "to": to, "guests": *guests == Guests::Included})
        }
        Target::Channel { id, thread, team } => {
            let mut document = json!({ "channel": id });
            for (name, value) in [("thread", thread), ("team", team)] {
                if let Some(value) = value {
                    document[name] = json!(value);
                }
            }
            document
        }
        Target::GroupChat(id) => json!({ "groupChat": id }),
        Target::GroupChatMembers { id, guests } => {
            json!({"groupChat": id, "to": "members", "guests": *guests == Guests::Included})
        }
        Target::Tag(name) => json!({ "tag": name }),
        Target::Directory(_) => Audience(vec![selector.target.clone().into()]).to_request(),
    };
    if let Some(scope) = selector.scope {
        document["scope"] = json!(scope);
    }
    if !selector.except.is_empty() {
        let names: Vec<String> = selector.except.iter().map(|id| either_name(id)).collect();
        document["except"] = json!(names);
    }
    document
}

/// A conversation by its id or its key; other ids as they are. Both names are asked for.
fn either_name(id: &str) -> String {
    let is_conversation = id.starts_with("a:") || id.starts_with("19:");
    if is_conversation && id.bytes().map(u32::from).sum::<u32>() % 2 == 0 {
        return format!("msteams|28:bot|{id}");
    }
    id.to_owned()
}

/// The time in which an audience was planned, and the time from which cached rosters were used for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) begins: Timestamp,
    pub(super) ends: Timestamp,
}

/// Whether a selector may mean this place, given the truth at some moment of this span.
pub(super) fn may_mean(channel: &State, selector: &Selector, number: usize, span: Span) -> bool {
    let place = &channel.places[number];
    let excepted = place.renamed == 0 && selector.except.contains(&place.conversation) || {
        let names = [&place.user, &place.account];
        place.kind == Kind::Person && names.into_iter().any(|name| selector.except.contains(name))
    };
    // An exception does not apply to a person whose attributes are not known.
    let excepted = excepted && !place.past.strange;
    !excepted
        && selector.scope.is_none_or(|scope| scope == scope_of(place))
        && target_means(channel, &selector.target, number, |member| {
            member.was_since(span.begins)
        })
}

/// Whether a selector means this place at every moment of this span.
pub(super) fn must_mean(channel: &State, selector: &Selector, number: usize, span: Span) -> bool {
    let place = &channel.places[number];
    let names = [&place.conversation, &place.user, &place.account];
    !names.into_iter().any(|name| selector.except.contains(name))
        && selector.scope.is_none_or(|scope| scope == scope_of(place))
        && target_means(channel, &selector.target, number, |member| {
            member.was_throughout(span.begins, span.ends)
        })
}

fn target_means(channel: &State, target: &Target, number: usize, counts: impl Fn(&Member) -> bool) -> bool {
    let place = &channel.places[number];
    let tenant = channel.tenants[place.tenant].id.as_str();
    let person = place.kind == Kind::Person;
    let named = |id: &str| channel.named(id) == Some(number);
    match target {
        Target::Everyone => place.kind != Kind::Thread,
        Target::Tenant(id) => place.kind != Kind::Thread && id == tenant,
        Target::Users { ids, tenant: only } => {
            person
                && ids.iter().any(|id| id.as_str() == place.user)
                && only.as_ref().is_none_or(|only| only == tenant)
        }
        Target::Accounts(ids) => person && ids.iter().any(|id| id.as_str() == place.account),
        Target::Conversations(ids) => ids.iter().any(|id| named(id.as_str())),
        Target::Rows { column, rows, .. } => rows
            .iter()
            .any(|row| is_row_of(channel, *column, &row.id, number)),
        Target::Team { id, to, guests } => {
            let Some(general) = channel.named(id) else {
                return false;
            };
            let Some(team) = channel.team(general) else {
                return false;
            };
            match to {
                TeamPart::General => general == number,
                TeamPart::Channels => team.channels.contains(&number),
                // Members of another tenant have the bot there, if they have it at all.
                TeamPart::Members => {
                    (place.tenant == channel.places[general].tenant || *guests == Guests::Included)
                        && team
                            .members
                            .iter()
                            .any(|member| member.place == number && counts(member))
                }
            }
        }
        Target::Channel { id, thread, .. } => named(place_index(id, thread.as_deref()).as_str()),
        Target::GroupChat(id) => named(id.as_str()),
        // Its roster is read in the same way as that of a team.
        Target::GroupChatMembers { .. } => unreachable!("no caller of a run asks for these"),
        Target::Tag(name) => place.tags.contains(name),
        Target::Directory(target) => directory_means(channel, target, number),
    }
}

/// Whether a selector names a recipient without a known conversation.
pub(super) fn names(channel: &State, selector: &Selector, unknown: &Recipient, span: Span) -> bool {
    let (id, scope) = match unknown {
        Recipient::Conversation(_) => return false,
        Recipient::User(id) => (id.as_str(), Some(Scope::Personal)),
        Recipient::Account(id) => (id.as_str(), Some(Scope::Personal)),
        Recipient::UnknownConversation(id) => (id.as_str(), None),
        Recipient::Missed(miss) => (miss.name.as_str(), None),
    };
    if let (Target::Team { id, .. }, Recipient::UnknownConversation(unknown)) = (&selector.target, unknown) {
        // The entry for a team without a known conversation appears whatever the exceptions are.
        return unknown.as_str() == id;
    }
    let is_admitted = !selector.except.iter().any(|except| except == id)
        && (selector.scope.is_none() || scope.is_none() || selector.scope == scope);
    let is_named = match (&selector.target, unknown) {
        (Target::Users { ids, .. }, Recipient::User(id)) => ids.contains(id),
        (Target::Accounts(ids), Recipient::Account(id)) => ids.contains(id),
        (Target::Rows { column, rows, .. }, unknown) => {
            let is_of_column = match column {
                RowColumn::User => matches!(unknown, Recipient::User(_)),
                RowColumn::Account => matches!(unknown, Recipient::Account(_)),
                RowColumn::Conversation => matches!(unknown, Recipient::UnknownConversation(_)),
            };
            is_of_column && rows.iter().any(|row| row.id == id)
        }
        (Target::Conversations(names), Recipient::UnknownConversation(id)) => {
            names.iter().any(|name| name.as_str() == id.as_str())
        }
        (Target::GroupChat(one), Recipient::UnknownConversation(id)) => one.as_str() == id.as_str(),
        (Target::Channel { id, thread, .. }, Recipient::UnknownConversation(unknown)) => {
            place_index(id, thread.as_deref()).as_str() == unknown.as_str()
        }
        (Target::Team { id, guests, .. }, Recipient::User(_) | Recipient::Account(_)) => {
            let general = channel.named(id);
            let team = general.and_then(|general| channel.team(general));
            let home = general.map(|general| channel.places[general].tenant);
            let (_, name_of) = unknown.name();
            team.is_some_and(|team| {
                team.members.iter().any(|member| {
                    let person = &channel.places[member.place];
                    let named = [&person.user, &person.account];
                    let wanted = *guests == Guests::Included || Some(person.tenant) == home;
                    member.was_since(span.begins) && wanted && named.into_iter().any(|name| *name == name_of)
                })
            })
        }
        (Target::Directory(target), _) => directory_names(channel, target, unknown),
        _ => false,
    };
    is_admitted && is_named
}

/// The scope of a place for the bot.
fn scope_of(place: &Place) -> Scope {
    match place.kind {
        Kind::Person => Scope::Personal,
        Kind::Group => Scope::GroupChat,
        Kind::Channel | Kind::Thread => Scope::Channel,
    }
}

/// The place that a recipient leads to in truth.
pub(super) fn led_to(channel: &State, recipient: &Recipient) -> Option<usize> {
    match recipient {
        Recipient::Conversation(key) => channel.named(key.conversation.as_str()),
        Recipient::User(id) => channel.person(id.as_str()),
        Recipient::Account(id) => channel.person(id.as_str()),
        Recipient::UnknownConversation(id) => channel.named(id.as_str()),
        Recipient::Missed(_) => None,
    }
}
