//! Parses and validates the `audience` of a request.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::fields::{guests, id, ids, kind, size};
use super::row::{self, RowColumn};
use super::{Audience, SELECTORS_MAX, Selector, Target, TeamPart, directory};
use crate::conversation::{self, ConversationName, Scope};
use crate::problem::{Faults, pointer, suggestion};

const KNOWN: &str = "`everyone`, `tenant`, `users`, `accounts`, `conversations`, `rows`, `team`, `channel`, `groupChat`, `tag`, `group`, \
                     `directory`, `mails`, `upns` or `manager`";

impl Audience {
    /// Parses the `audience` of a request: one selector, or an array. Duplicate selectors count once.
    ///
    /// Every invalid field is added to `faults`; the audience must not be used then.
    pub fn parse(value: &Value, faults: &mut Faults) -> Option<Self> {
        let at = "#/audience";
        let mut selectors = Vec::new();
        match value {
            Value::Array(items) if items.is_empty() || items.len() > SELECTORS_MAX => {
                let found = items.len();
                faults.note(
                    at,
                    format!("must hold 1 to {SELECTORS_MAX} selectors, found {found}"),
                );
                return None;
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let selector = selector(item, &format!("{at}/{index}"), faults);
                    selectors.extend(selector.filter(|selector| !selectors.contains(selector)));
                }
            }
            one => selectors.extend(selector(one, at, faults)),
        }
        let audience = Self(selectors);
        if audience.has_rows() && audience.0.len() > 1 {
            // Who is also in another selector would get a message without their fields.
            faults.note(at, "must be one selector if it has `rows`");
        }
        (!audience.0.is_empty()).then_some(audience)
    }
}

/// The members that name a selector's target, each with the members that may accompany it.
const FORMS: [(&str, &[&str]); 15] = [
    ("everyone", &[]),
    ("users", &["tenant"]),
    ("accounts", &[]),
    ("conversations", &[]),
    ("rows", &["tenant"]),
    ("team", &["to", "guests"]),
    ("channel", &["thread", "team"]),
    ("groupChat", &["to", "guests"]),
    ("tag", &[]),
    ("tenant", &[]),
    ("group", &["tenant", "guests"]),
    ("directory", &["where", "guests"]),
    ("mails", &["tenant", "guests"]),
    ("upns", &["tenant", "guests"]),
    ("manager", &["tenant", "guests", "transitive"]),
];

fn selector(value: &Value, at: &str, faults: &mut Faults) -> Option<Selector> {
    let Value::Object(object) = value else {
        faults.note(
            at,
            format!("must be an object with one of {KNOWN}, found {}", kind(value)),
        );
        return None;
    };
    let there = || FORMS.into_iter().filter(|(name, _)| object.contains_key(*name));
    // Some target names may also accompany another one.
    let mut named = there().filter(|(name, _)| !there().any(|(_, beside)| beside.contains(name)));
    let (Some((leading, beside)), None) = (named.next(), named.next()) else {
        let misspelt = object.keys().find_map(|name| Some((name, unknown_member(name)?)));
        match misspelt.filter(|_| there().next().is_none()) {
            Some((name, detail)) => faults.note(pointer(at, name), detail),
            None => faults.note(at, format!("must name exactly one of {KNOWN}")),
        }
        return None;
    };
    let before = faults.count();
    for name in object.keys() {
        if name != leading && name != "scope" && name != "except" && !beside.contains(&name.as_str()) {
            let misplaced = || format!("does not belong beside `{leading}`");
            faults.note(pointer(at, name), unknown_member(name).unwrap_or_else(misplaced));
        }
    }
    let target = target(object, leading, at, faults);
    let scope = object.get("scope").and_then(|value| scope(value, at, faults));
    let except = match object.get("except") {
        None => Vec::new(),
        Some(value) => ids(value, &format!("{at}/except"), faults).unwrap_or_default(),
    };
    let selector = target.map(|target| Selector {
        target,
        scope,
        except,
    });
    selector.filter(|_| faults.count() == before && !faults.are_full())
}

/// All members of selectors.
const MEMBERS: [&str; 22] = [
    "everyone",
    "users",
    "accounts",
    "conversations",
    "rows",
    "team",
    "channel",
    "groupChat",
    "tag",
    "tenant",
    "group",
    "directory",
    "mails",
    "upns",
    "manager",
    "transitive",
    "where",
    "to",
    "guests",
    "thread",
    "scope",
    "except",
];

/// What is wrong with a member that no selector has.
fn unknown_member(name: &str) -> Option<String> {
    let is_known = MEMBERS.contains(&name);
    (!is_known).then(|| format!("is not a member of a selector{}", suggestion(name, &MEMBERS)))
}

fn target(object: &Map<String, Value>, leading: &str, at: &str, faults: &mut Faults) -> Option<Target> {
    let field = format!("{at}/{leading}");
    match leading {
        "everyone" if object[leading] == Value::Bool(true) => Some(Target::Everyone),
        "everyone" => {
            faults.note(field, "must be true");
            None
        }
        "tenant" => id(object, "tenant", at, faults).map(Target::Tenant),
        "users" => {
            let tenant = object
                .get("tenant")
                .and_then(|_| id(object, "tenant", at, faults));
            ids(&object[leading], &field, faults).map(|ids| Target::Users { ids, tenant })
        }
        "accounts" => ids(&object[leading], &field, faults).map(Target::Accounts),
        "conversations" => {
            ids(&object[leading], &field, faults).map(|names| Target::Conversations(distinct(names)))
        }
        "rows" => {
            let tenant = object
                .get("tenant")
                .and_then(|_| id(object, "tenant", at, faults));
            let has_tenant = tenant.is_some();
            let target = row::parse(&object[leading], tenant, &field, faults)?;
            let is_of_users = matches!(
                &target,
                Target::Rows {
                    column: RowColumn::User,
                    ..
                }
            );
            if has_tenant && !is_of_users {
                faults.note(format!("{at}/tenant"), "belongs beside rows that name a `user`");
            }
            Some(target)
        }
        "team" => {
            let to = team_part(object, at, faults);
            let guests = guests(object, at, faults);
            let id = plain_id(object, "team", at, faults)?;
            to.map(|to| Target::Team { id, to, guests })
        }
        "channel" => {
            let thread = object.get("thread").and_then(|value| thread(value, at, faults));
            let team = object
                .get("team")
                .and_then(|_| plain_id(object, "team", at, faults));
            let id = id(object, "channel", at, faults)?.into();
            Some(Target::Channel { id, thread, team })
        }
        "groupChat" => {
            let to = chat_part(object, at, faults);
            let guests = guests(object, at, faults);
            let name = ConversationName::from(id(object, "groupChat", at, faults)?);
            to.map(|to| match to {
                ChatPart::Chat => Target::GroupChat(name),
                ChatPart::Members => Target::GroupChatMembers {
                    id: name.id(),
                    guests,
                },
            })
        }
        "tag" => tag(&object[leading], &field, faults).map(Target::Tag),
        _ => directory::parse(object, leading, at, faults).map(Target::Directory),
    }
}

/// The part of a group chat.
enum ChatPart {
    Chat,
    Members,
}

fn chat_part(object: &Map<String, Value>, at: &str, faults: &mut Faults) -> Option<ChatPart> {
    match object.get("to").map(Value::as_str) {
        None => Some(ChatPart::Chat),
        Some(Some("members")) => Some(ChatPart::Members),
        Some(_) => {
            faults.note(
                pointer(at, "to"),
                "must be \"members\", or left out for the chat itself",
            );
            None
        }
    }
}

fn team_part(object: &Map<String, Value>, at: &str, faults: &mut Faults) -> Option<TeamPart> {
    let part = object
        .get("to")
        .and_then(|to| serde_json::from_value(to.clone()).ok());
    if part.is_none() {
        let detail = "must be \"general\", \"channels\" or \"members\"";
        faults.note(format!("{at}/to"), detail);
    }
    part
}

/// A thread is named by its first message, whose id is a number other than zero (`PROTOCOL.md#a4`).
fn thread(value: &Value, at: &str, faults: &mut Faults) -> Option<String> {
    let id = value.as_str().filter(|id| {
        (1..=32).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_digit())
            && id.bytes().any(|byte| byte != b'0')
    });
    if id.is_none() {
        let detail = "must be the id of the thread's first message: a string of digits";
        faults.note(format!("{at}/thread"), detail);
    }
    id.map(str::to_owned)
}

fn scope(value: &Value, at: &str, faults: &mut Faults) -> Option<Scope> {
    let scope = value.as_str().and_then(|word| word.parse().ok());
    if scope.is_none() {
        let detail = "must be \"personal\", \"groupChat\" or \"channel\"";
        faults.note(format!("{at}/scope"), detail);
    }
    scope
}

fn tag(value: &Value, at: &str, faults: &mut Faults) -> Option<String> {
    let name = value.as_str().and_then(conversation::normalize_tag);
    if name.is_none() {
        let most = conversation::TAG_BYTES_MAX;
        faults.note(
            at,
            format!(
                "must be a tag of 1 to {most} bytes without control characters, found {}",
                size(value)
            ),
        );
    }
    name
}

/// The id of a team, which is the one of its General channel, whichever of its names is given.
fn plain_id(object: &Map<String, Value>, name: &str, at: &str, faults: &mut Faults) -> Option<String> {
    let given = id(object, name, at, faults)?;
    Some(ConversationName::from(given).id().as_str().to_owned())
}

/// The names without those that name a conversation whose id is also listed.
fn distinct(names: Vec<ConversationName>) -> Vec<ConversationName> {
    let ids: HashSet<String> = names.iter().map(ToString::to_string).collect();
    let is_repeated = |name: &ConversationName| {
        let key = name.key();
        key.is_some_and(|key| ids.contains(key.conversation.as_str()))
    };
    names.into_iter().filter(|name| !is_repeated(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Guests;
    use super::*;
    use crate::problem::Fault;
    use serde_json::json;

    fn parse(value: &Value) -> Result<Audience, Vec<Fault>> {
        let mut faults = Faults::default();
        let audience = Audience::parse(value, &mut faults);
        faults.none_in(audience)
    }

    #[test]
    fn every_selector_is_read() {
        let audience = parse(&json!([
            {"everyone": true}, {"tenant": "t"}, {"users": ["a", "b", "a"], "tenant": "t"}, {"users": ["a"]},
            {"accounts": ["29:x"]}, {"conversations": ["19:c"]}, {"team": "19:t", "to": "members", "guests": false},
            {"channel": "19:c", "thread": "17"}, {"channel": "19:c", "team": "19:t"}, {"groupChat": "19:g"}, {"groupChat": "19:g", "to": "members"}, {"tag": "beta"}]));
        let expected = [
            Target::Everyone,
            Target::Tenant("t".into()),
            Target::Users {
                ids: vec!["a".into(), "b".into()],
                tenant: Some("t".into()),
            },
            Target::Users {
                ids: vec!["a".into()],
                tenant: None,
            },
            Target::Accounts(vec!["29:x".into()]),
            Target::Conversations(vec!["19:c".into()]),
            Target::Team {
                id: "19:t".into(),
                to: TeamPart::Members,
                guests: Guests::Skipped,
            },
            Target::Channel {
                id: "19:c".into(),
                thread: Some("17".into()),
                team: None,
            },
            Target::Channel {
                id: "19:c".into(),
                thread: None,
                team: Some("19:t".into()),
            },
            Target::GroupChat("19:g".into()),
            Target::GroupChatMembers {
                id: "19:g".into(),
                guests: Guests::Included,
            },
            Target::Tag("beta".into()),
        ];
        assert_eq!(audience.unwrap().0, expected.map(Selector::from));
        assert_eq!(
            parse(&json!({"everyone": true})).unwrap().0,
            [Target::Everyone.into()]
        );
        let narrowed = json!({"tag": "beta", "scope": "personal", "except": ["a:1", "a:1"]});
        let expected = Selector {
            scope: Some(Scope::Personal),
            except: vec!["a:1".into()],
            ..Target::Tag("beta".into()).into()
        };
        assert_eq!(parse(&narrowed).unwrap().0, [expected]);
    }

    #[test]
    fn a_conversation_is_named_by_key_or_id() {
        let key = "msteams|28:bot|19:x";
        let names = |names: &[&str]| Target::Conversations(names.iter().map(|name| (*name).into()).collect());
        for (audience, target) in [
            (json!({"conversations": [key, "a:1"]}), names(&[key, "a:1"])),
            (json!({"conversations": [key, "19:x"]}), names(&["19:x"])),
            (json!({"groupChat": key}), Target::GroupChat(key.into())),
            (
                json!({"groupChat": key, "to": "members"}),
                Target::GroupChatMembers {
                    id: "19:x".into(),
                    guests: Guests::Included,
                },
            ),
            (
                json!({"team": key, "to": "general"}),
                Target::Team {
                    id: "19:x".into(),
                    to: TeamPart::General,
                    guests: Guests::Included,
                },
            ),
            (
                json!({"channel": key, "team": key}),
                Target::Channel {
                    id: key.into(),
                    thread: None,
                    team: Some("19:x".into()),
                },
            ),
        ] {
            assert_eq!(parse(&audience).unwrap().0, [target.into()], "{audience}");
        }
    }

    #[test]
    fn a_fault_names_its_place() {
        for (audience, pointer) in [
            (json!(null), "#/audience"),
            (json!([]), "#/audience"),
            (json!({}), "#/audience"),
            (json!({"everyone": false}), "#/audience/everyone"),
            (json!({"everyone": true, "users": ["a"]}), "#/audience"),
            (json!({"everyone": true, "tenant": "t"}), "#/audience"),
            (
                json!([{"everyone": true}, {"users": ["a", 7]}]),
                "#/audience/1/users/1",
            ),
            (json!({"users": []}), "#/audience/users"),
            (json!({"users": "a"}), "#/audience/users"),
            (json!({"users": ["a"], "tenant": ""}), "#/audience/tenant"),
            (json!({"tenant": 5}), "#/audience/tenant"),
            (json!({"tag": ""}), "#/audience/tag"),
            (json!({"tag": "a\nb"}), "#/audience/tag"),
            (json!({"team": "19:t"}), "#/audience/to"),
            (json!({"team": "19:t", "to": "all"}), "#/audience/to"),
            (json!({"groupChat": "19:g", "to": "general"}), "#/audience/to"),
            (json!({"channel": "19:c", "thread": "0"}), "#/audience/thread"),
            (json!({"channel": "19:c", "thread": "1;x"}), "#/audience/thread"),
            (json!({"everyone": true, "scope": "all"}), "#/audience/scope"),
            (json!({"everyone": true, "except": "a"}), "#/audience/except"),
            (json!({"everyone": true, "thread": "1"}), "#/audience/thread"),
            (json!({"accounts": ["x"], "a/b": 1}), "#/audience/a~1b"),
        ] {
            let faults = parse(&audience).unwrap_err();
            assert_eq!(faults[0].pointer, pointer, "{audience}");
        }
    }

    #[test]
    fn a_misspelt_member_is_named_with_what_it_may_mean() {
        for (audience, pointer, detail) in [
            (json!({"user": ["a"]}), "#/audience/user", "did you mean `users`?"),
            (
                json!([{"everyone": true}, {"taag": "a"}]),
                "#/audience/1/taag",
                "did you mean `tag`?",
            ),
            (
                json!({"everyone": true, "exept": ["a"]}),
                "#/audience/exept",
                "did you mean `except`?",
            ),
            (
                json!({"recipients": ["a"]}),
                "#/audience/recipients",
                "is not a member of a selector",
            ),
            (
                json!({"users": ["a".repeat(1025)]}),
                "#/audience/users/0",
                "found 1025 bytes",
            ),
            (json!({"tag": "a".repeat(65)}), "#/audience/tag", "found 65 bytes"),
        ] {
            let faults = parse(&audience).unwrap_err();
            assert_eq!(faults[0].pointer, pointer);
            assert!(faults[0].detail.contains(detail), "{faults:?}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once_and_none_repeats_what_was_sent() {
        let faults = parse(&json!({"users": [1, "", "ok", "secret-word".repeat(200)]})).unwrap_err();
        assert_eq!(faults.len(), 3);
        assert!(faults.iter().all(|fault| !fault.detail.contains("secret-word")));
    }

    #[test]
    fn however_much_is_wrong_a_page_of_it_is_told() {
        let faults = parse(&json!({"users": vec![0; 20_000]})).unwrap_err();
        assert_eq!(faults.len(), Faults::MAX);
    }
}
