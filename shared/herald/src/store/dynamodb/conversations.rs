//! The table of conversations, and the indexes it is looked up by.

use std::collections::HashSet;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use botframework::id::{ChannelAccountId, EntraObjectId};
use jiff::Timestamp;

use super::attribute::{Item, Record, item, json, moment, names, number, text};
use super::{AsOf, Condition, Error, Outrun, Put, ROUNDS, Table, corrupt, unavailable};
use crate::aws::Sdk;
use crate::conversation::{
    self, Conversation, ConversationKey, Facts, Finding, Missing, Scope, Sighting, State,
};
use crate::store::{Candidate, Listing, Remembered, Selection};

/// What a listing needs of an item. Every index carries it.
const CANDIDATE: [&str; 9] = [
    "conversation",
    "place",
    "state",
    "changedAt",
    "tenant",
    "scope",
    "entraObjectId",
    "channelUserId",
    "team",
];

/// The conversations in DynamoDB.
///
/// A listing by tenant leaves out threads because they have no `scope`, which the index is sorted by: a thread's scope
/// is always a channel. All other facts stand as they are, and each is there only if it is known. What may not be written to
/// has a `trouble` beside its state, so that it is found without the others.
#[derive(Clone, Debug)]
pub struct Conversations(Table);

impl Conversations {
    /// The conversations in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        Self(Table::new(sdk, table))
    }
}

impl crate::store::Conversations for Conversations {
    async fn remember(&self, sighting: Sighting, now: Timestamp) -> Result<Remembered, Error> {
        const VERB: &str = "remember a conversation";
        let item = self.0.get(VERB, key(&sighting.key)).await?;
        let mut standing = item.map(|item| conversation(VERB, &item)).transpose()?;
        for _ in 0..ROUNDS {
            let Some(record) = conversation::remember(standing.as_ref(), sighting.clone(), now) else {
                return Ok(Remembered::Unchanged);
            };
            let condition = match &standing {
                None => Condition::absent("conversation"),
                Some(standing) => Condition::equal("version", number(standing.version)),
            };
            match self.0.put(VERB, write(VERB, &record)?, condition).await? {
                Put::Written if standing.is_some() => return Ok(Remembered::Changed),
                Put::Written => return Ok(Remembered::New),
                Put::Refused(item) => {
                    standing = item.map(|item| conversation(VERB, &item)).transpose()?;
                }
            }
        }
        Err(unavailable(VERB)(Outrun))
    }

    async fn forget(&self, key: &ConversationKey, now: Timestamp) -> Result<(), Error> {
        const VERB: &str = "forget a conversation";
        let update = self
            .0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(self::key(key)))
            .update_expression(
                "SET #state = :removed, #trouble = :removed, #changedAt = :now ADD #version :one",
            )
            .condition_expression("attribute_exists(#conversation) AND #state <> :removed")
            .set_expression_attribute_names(Some(names([
                "conversation",
                "state",
                TROUBLE,
                "changedAt",
                "version",
            ])))
            .expression_attribute_values(":removed", text(REMOVED))
            .expression_attribute_values(":now", moment(now))
            .expression_attribute_values(":one", number(1));
        match update.send().await.map_err(SdkError::into_service_error) {
            Ok(_) | Err(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
            Err(error) => Err(unavailable(VERB)(error)),
        }
    }

    async fn note(
        &self,
        key: &ConversationKey,
        version: u64,
        finding: &Finding,
        now: Timestamp,
    ) -> Result<(), Error> {
        const VERB: &str = "note what became of a conversation";
        let Some(item) = self.0.get(VERB, self::key(key)).await? else {
            return Ok(());
        };
        let standing = conversation(VERB, &item)?;
        if standing.version != version {
            return Ok(());
        }
        if let Some(record) = conversation::note(&standing, finding, now) {
            let condition = Condition::equal("version", number(version));
            match self.0.put(VERB, write(VERB, &record)?, condition).await? {
                // Somebody was faster, and knows better; or it was us, and the answer was lost.
                Put::Written | Put::Refused(_) => {}
            }
        }
        Ok(())
    }

    async fn recall(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        const VERB: &str = "recall conversations";
        let distinct: HashSet<&ConversationKey> = keys.iter().collect();
        let keys: Vec<Item> = distinct.into_iter().map(key).collect();
        // Whoever uninstalls the bot at this very moment may still be written to, as by a request that is under way.
        let found = self.0.batch_get(AsOf::Lately, VERB, &keys).await?;
        found.iter().map(|item| conversation(VERB, item)).collect()
    }

    async fn list(
        &self,
        selection: &Selection,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Listing<Candidate>, Error> {
        const VERB: &str = "list conversations";
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let projection = CANDIDATE.map(|name| format!("#{name}")).join(", ");
        let position = Position::of(selection);
        let start = cursor.map(|cursor| position.start(VERB, cursor)).transpose()?;
        let (items, last) = match position {
            Position::Segment { segment, segments } => {
                let answer = self
                    .0
                    .client
                    .scan()
                    .table_name(&self.0.name)
                    .segment(i32::from(segment))
                    .total_segments(i32::from(segments))
                    .projection_expression(projection)
                    .set_expression_attribute_names(Some(names(CANDIDATE)))
                    .set_exclusive_start_key(start)
                    .limit(limit)
                    .send()
                    .await
                    .map_err(unavailable(VERB))?;
                (answer.items, answer.last_evaluated_key)
            }
            Position::Index {
                index,
                attribute,
                value,
            } => {
                let answer = self
                    .0
                    .client
                    .query()
                    .table_name(&self.0.name)
                    .set_index_name(index.map(str::to_owned))
                    .key_condition_expression(format!("#{attribute} = :value"))
                    .expression_attribute_values(":value", text(value))
                    .projection_expression(projection)
                    .set_expression_attribute_names(Some(names(CANDIDATE.into_iter().chain([attribute]))))
                    .set_exclusive_start_key(start)
                    .limit(limit)
                    .send()
                    .await
                    .map_err(unavailable(VERB))?;
                (answer.items, answer.last_evaluated_key)
            }
        };
        let found = items
            .unwrap_or_default()
            .iter()
            .map(|item| {
                let record = Record { verb: VERB, item };
                Ok(Candidate {
                    key: read_key(record)?,
                    facts: facts(record)?,
                    state: state(record)?,
                    changed_at: record.moment("changedAt")?,
                })
            })
            .collect::<Result<_, Error>>()?;
        let next = last.map(|last| position.cursor(VERB, &last)).transpose()?;
        Ok(Listing { found, next })
    }
}

/// Where a selection is read.
#[derive(Clone, Copy)]
enum Position<'a> {
    Segment {
        segment: u16,
        segments: u16,
    },
    Index {
        index: Option<&'static str>,
        attribute: &'static str,
        value: &'a str,
    },
}

impl<'a> Position<'a> {
    fn of(selection: &'a Selection) -> Self {
        let (index, attribute, value) = match selection {
            Selection::Everyone { segment, segments } => {
                return Self::Segment {
                    segment: *segment,
                    segments: *segments,
                };
            }
            Selection::Tenant(tenant) => (Some("byTenant"), "tenant", tenant.as_str()),
            Selection::User(id) => (Some("byEntraObjectId"), "entraObjectId", id.as_str()),
            Selection::Account(id) => (Some("byChannelUserId"), "channelUserId", id.as_str()),
            Selection::Conversation(id) => (None, "conversation", id.as_str()),
            Selection::Team(team) => (Some("byTeam"), "team", team.as_str()),
            Selection::Blocked => (Some("byTrouble"), TROUBLE, BLOCKED),
            Selection::Removed => (Some("byTrouble"), TROUBLE, REMOVED),
        };
        Self::Index {
            index,
            attribute,
            value,
        }
    }

    /// The attributes of a position's key, in the order that a cursor has them.
    fn key_names(self) -> Vec<&'static str> {
        let mut names = vec!["conversation", "place"];
        match self {
            Self::Segment { .. } | Self::Index { index: None, .. } => {}
            Self::Index {
                attribute: "tenant", ..
            } => names.extend(["tenant", "scope"]),
            Self::Index {
                attribute: TROUBLE, ..
            } => names.extend([TROUBLE, "changedAt"]),
            Self::Index { attribute, .. } => names.push(attribute),
        }
        names
    }

    fn start(self, verb: &'static str, cursor: &str) -> Result<Item, Error> {
        let names = self.key_names();
        let values: Vec<String> = serde_json::from_str(cursor).map_err(|_| corrupt(verb, "cursor"))?;
        if values.len() != names.len() {
            return Err(corrupt(verb, "cursor"));
        }
        names
            .into_iter()
            .zip(values)
            .map(|(name, value)| {
                let value = match name {
                    "changedAt" => number(value.parse::<i64>().map_err(|_| corrupt(verb, "cursor"))?),
                    _ => text(value),
                };
                Ok((name.to_owned(), value))
            })
            .collect()
    }

    fn cursor(self, verb: &'static str, last: &Item) -> Result<String, Error> {
        let values: Vec<&str> = self
            .key_names()
            .into_iter()
            .map(|name| match last.get(name) {
                Some(AttributeValue::S(value) | AttributeValue::N(value)) => Ok(value.as_str()),
                _ => Err(corrupt(verb, name)),
            })
            .collect::<Result<_, _>>()?;
        serde_json::to_string(&values).map_err(|_| corrupt(verb, "cursor"))
    }
}

fn key(key: &ConversationKey) -> Item {
    item([
        ("conversation", text(key.conversation.as_str())),
        ("place", text(key.place())),
    ])
}

fn write(verb: &'static str, record: &Conversation) -> Result<Item, Error> {
    let Conversation {
        key,
        reference,
        facts,
        service_urls,
        state,
        missing,
        version,
        remembered_at,
        changed_at,
    } = record;
    let Facts {
        scope,
        tenant,
        user,
        account,
        team,
    } = facts;
    let mut attributes = self::key(key);
    attributes.extend(item([
        ("state", text(state_word(state))),
        ("reference", json(verb, "reference", reference)?),
        (
            "serviceUrls",
            AttributeValue::L(service_urls.iter().map(text).collect()),
        ),
        ("version", number(*version)),
        ("rememberedAt", moment(*remembered_at)),
        ("changedAt", moment(*changed_at)),
    ]));
    if let Some(Missing { times, last }) = missing {
        attributes.extend(item([("missing", number(*times)), ("missingAt", moment(*last))]));
    }
    let known = [
        (TROUBLE, trouble(state)),
        ("scope", (!record.is_thread()).then_some(scope.as_str())),
        ("tenant", tenant.as_deref()),
        ("entraObjectId", user.as_ref().map(EntraObjectId::as_str)),
        ("channelUserId", account.as_ref().map(ChannelAccountId::as_str)),
        ("team", team.as_deref()),
    ];
    attributes.extend(
        known
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), text(value?)))),
    );
    Ok(attributes)
}

fn conversation(verb: &'static str, item: &Item) -> Result<Conversation, Error> {
    let record = Record { verb, item };
    let service_urls = match item.get("serviceUrls") {
        Some(AttributeValue::L(urls)) => urls
            .iter()
            .map(|url| url.as_s().cloned().map_err(|_| record.corrupt("serviceUrls")))
            .collect::<Result<_, _>>()?,
        _ => return Err(record.corrupt("serviceUrls")),
    };
    Ok(Conversation {
        key: read_key(record)?,
        reference: record.json("reference")?,
        facts: facts(record)?,
        service_urls,
        state: state(record)?,
        missing: missing(record)?,
        version: record.number("version")?,
        remembered_at: record.moment("rememberedAt")?,
        changed_at: record.moment("changedAt")?,
    })
}

fn missing(record: Record<'_>) -> Result<Option<Missing>, Error> {
    let Some(times) = record.optional_number("missing")? else {
        return Ok(None);
    };
    let last = record.moment("missingAt")?;
    Ok(Some(Missing { times, last }))
}

fn read_key(record: Record<'_>) -> Result<ConversationKey, Error> {
    ConversationKey::from_place(record.text("conversation")?.into(), record.text("place")?)
        .map_err(|_| record.corrupt("place"))
}

fn facts(record: Record<'_>) -> Result<Facts, Error> {
    Ok(Facts {
        scope: match record.optional_text("scope")? {
            None => Scope::Channel,
            Some(word) => word.parse().map_err(|_| record.corrupt("scope"))?,
        },
        tenant: record.optional_text("tenant")?.map(str::to_owned),
        user: record.optional_text("entraObjectId")?.map(Into::into),
        account: record.optional_text("channelUserId")?.map(Into::into),
        team: record.optional_text("team")?.map(str::to_owned),
    })
}

/// There only on what may not be written to: the index by it holds nothing else.
const TROUBLE: &str = "trouble";
const BLOCKED: &str = "blocked";
const REMOVED: &str = "removed";

fn trouble(state: &State) -> Option<&'static str> {
    match state {
        State::Active => None,
        State::Blocked { .. } => Some(BLOCKED),
        State::Removed => Some(REMOVED),
    }
}

/// One word, so that the indexes carry all of it: `active`, `removed`, or `blocked:` and the channel's code.
fn state_word(state: &State) -> String {
    match state {
        State::Active => "active".to_owned(),
        State::Blocked { code } => format!("{BLOCKED}:{code}"),
        State::Removed => REMOVED.to_owned(),
    }
}

fn state(record: Record<'_>) -> Result<State, Error> {
    match record.text("state")? {
        "active" => Ok(State::Active),
        REMOVED => Ok(State::Removed),
        word => match word.strip_prefix(BLOCKED).and_then(|rest| rest.strip_prefix(':')) {
            Some(code) => Ok(State::Blocked {
                code: code.to_owned(),
            }),
            None => Err(record.corrupt("state")),
        },
    }
}
