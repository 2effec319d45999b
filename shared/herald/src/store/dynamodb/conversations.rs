//! The table of conversations, and the indexes it is looked up by.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use botframework::id::{ChannelAccountId, EntraObjectId};
use jiff::Timestamp;

use super::attribute::{Item, Record, item, json, moment, names, number, text};
use super::{Error, Outrun, PutOff, ROUNDS, TRIES, Table, corrupt, pause, unavailable};
use crate::aws::Sdk;
use crate::conversation::{self, Conversation, ConversationKey, Facts, Scope, Sighting, State};
use crate::store::{Candidate, Listing, Remembered, Selection};

/// Most keys one `BatchGetItem` takes.
const BATCH: usize = 100;

/// What a listing needs of an item. Every index carries it.
const CANDIDATE: [&str; 8] = [
    "conversation",
    "place",
    "state",
    "tenant",
    "scope",
    "entraObjectId",
    "channelUserId",
    "team",
];

/// The conversations in DynamoDB.
///
/// A listing by tenant leaves out threads because they have no `scope`, which the index is sorted by: a thread's scope
/// is always a channel. All other facts stand as they are, and each is there only if it is known.
#[derive(Clone, Debug)]
pub struct Conversations(Table);

impl Conversations {
    /// The conversations in the table of this name.
    pub fn new(sdk: &Sdk, table: impl Into<String>) -> Self {
        Self(Table::new(sdk, table))
    }

    /// One request for these keys; those that it had no room for come back.
    async fn recall_batch(
        &self,
        verb: &'static str,
        keys: Vec<Item>,
        found: &mut Vec<Conversation>,
    ) -> Result<Vec<Item>, Error> {
        let asked = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .build()
            .map_err(unavailable(verb))?;
        let request = self.0.client.batch_get_item().request_items(&self.0.name, asked);
        let answer = request.send().await.map_err(unavailable(verb))?;
        for item in answer.responses.iter().flat_map(HashMap::values).flatten() {
            found.push(conversation(verb, item)?);
        }
        let left = answer.unprocessed_keys.into_iter().flatten();
        Ok(left.flat_map(|(_, rest)| rest.keys).collect())
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
            let put = self
                .0
                .client
                .put_item()
                .table_name(&self.0.name)
                .set_item(Some(write(VERB, &record)?))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let put = match &standing {
                None => put
                    .condition_expression("attribute_not_exists(#conversation)")
                    .set_expression_attribute_names(Some(names(["conversation"]))),
                Some(standing) => put
                    .condition_expression("#version = :version")
                    .set_expression_attribute_names(Some(names(["version"])))
                    .expression_attribute_values(":version", number(standing.version)),
            };
            match put.send().await.map_err(SdkError::into_service_error) {
                Ok(_) if standing.is_some() => return Ok(Remembered::Changed),
                Ok(_) => return Ok(Remembered::New),
                Err(PutItemError::ConditionalCheckFailedException(failure)) => {
                    standing = failure.item().map(|item| conversation(VERB, item)).transpose()?;
                }
                Err(error) => return Err(unavailable(VERB)(error)),
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
            .update_expression("SET #state = :removed, #changedAt = :now ADD #version :one")
            .condition_expression("attribute_exists(#conversation) AND #state <> :removed")
            .set_expression_attribute_names(Some(names(["conversation", "state", "changedAt", "version"])))
            .expression_attribute_values(":removed", text(state_word(&State::Removed)))
            .expression_attribute_values(":now", moment(now))
            .expression_attribute_values(":one", number(1));
        match update.send().await.map_err(SdkError::into_service_error) {
            Ok(_) | Err(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
            Err(error) => Err(unavailable(VERB)(error)),
        }
    }

    async fn recall(&self, keys: &[ConversationKey]) -> Result<Vec<Conversation>, Error> {
        const VERB: &str = "recall conversations";
        // A key that is asked for twice in one request makes DynamoDB refuse it all.
        let distinct: Vec<&ConversationKey> = keys.iter().collect::<HashSet<_>>().into_iter().collect();
        let mut found = Vec::with_capacity(distinct.len());
        for batch in distinct.chunks(BATCH) {
            let mut open: Vec<Item> = batch.iter().map(|key| self::key(key)).collect();
            let mut tries = 0;
            loop {
                open = self.recall_batch(VERB, open, &mut found).await?;
                tries += 1;
                if open.is_empty() {
                    break;
                }
                if tries == TRIES {
                    return Err(unavailable(VERB)(PutOff));
                }
                pause(tries).await;
            }
        }
        Ok(found)
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
                    .set_expression_attribute_names(Some(names(CANDIDATE)))
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
        Ok(names
            .into_iter()
            .map(str::to_owned)
            .zip(values.into_iter().map(AttributeValue::S))
            .collect())
    }

    fn cursor(self, verb: &'static str, last: &Item) -> Result<String, Error> {
        let record = Record { verb, item: last };
        let values: Vec<&str> = self
            .key_names()
            .into_iter()
            .map(|name| record.text(name))
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
    let known = [
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
        version: record.number("version")?,
        remembered_at: record.moment("rememberedAt")?,
        changed_at: record.moment("changedAt")?,
    })
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

/// One word, so that the indexes carry all of it: `active`, `removed`, or `blocked:` and the channel's code.
fn state_word(state: &State) -> String {
    match state {
        State::Active => "active".to_owned(),
        State::Blocked { code } => format!("blocked:{code}"),
        State::Removed => "removed".to_owned(),
    }
}

fn state(record: Record<'_>) -> Result<State, Error> {
    match record.text("state")? {
        "active" => Ok(State::Active),
        "removed" => Ok(State::Removed),
        word => match word.strip_prefix("blocked:") {
            Some(code) => Ok(State::Blocked {
                code: code.to_owned(),
            }),
            None => Err(record.corrupt("state")),
        },
    }
}
