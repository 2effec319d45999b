//! Where a selection is read, page by page.

use std::borrow::Cow;

use aws_sdk_dynamodb::types::AttributeValue;
use botframework::id::{ChannelAccountId, EntraObjectId};

use super::super::attribute::{Item, names, number, text};
use super::super::{Error, corrupt, unavailable};
use super::Conversations;
use super::membership::{self, MEMBER};
use super::record::{BLOCKED, REFERENCE, REMOVED, SUMMARY, TROUBLE};
use crate::store::ConversationFilter;

/// Where a selection is read.
pub(super) enum Position<'a> {
    /// A segment of the whole table, of which the records count.
    Segment { segment: u16, segments: u16 },
    /// The items of one partition that have this attribute: the table has other items beside those that are meant.
    Partition {
        value: Cow<'a, str>,
        holding: &'static str,
    },
    /// One value of an index, which holds records only.
    Index {
        index: &'static str,
        attribute: &'static str,
        value: &'a str,
    },
}

impl Conversations {
    /// The items of a position, and the key of the last one when there may be more.
    pub(super) async fn read(
        &self,
        verb: &'static str,
        position: &Position<'_>,
        start: Option<Item>,
        limit: i32,
    ) -> Result<(Vec<Item>, Option<Item>), Error> {
        let shown = position.shown();
        let projection: Vec<String> = shown.iter().map(|name| format!("#{name}")).collect();
        let projection = projection.join(", ");
        let query = self.0.client.query().table_name(&self.0.name);
        let (items, last) = match position {
            Position::Segment { segment, segments } => {
                let scan = self
                    .0
                    .client
                    .scan()
                    .table_name(&self.0.name)
                    .segment(i32::from(*segment))
                    .total_segments(i32::from(*segments))
                    .filter_expression(format!("attribute_exists(#{REFERENCE})"))
                    .projection_expression(projection)
                    .set_expression_attribute_names(Some(names(shown.iter().copied().chain([REFERENCE]))))
                    .set_exclusive_start_key(start)
                    .limit(limit);
                let answer = scan.send().await.map_err(unavailable(verb))?;
                (answer.items, answer.last_evaluated_key)
            }
            Position::Partition { value, holding } => {
                let query = query
                    .key_condition_expression("#conversation = :value")
                    .expression_attribute_values(":value", text(value.as_ref()))
                    .filter_expression(format!("attribute_exists(#{holding})"))
                    .projection_expression(projection)
                    .set_expression_attribute_names(Some(names(shown.iter().copied().chain([*holding]))))
                    .set_exclusive_start_key(start)
                    .limit(limit);
                let answer = query.send().await.map_err(unavailable(verb))?;
                (answer.items, answer.last_evaluated_key)
            }
            Position::Index {
                index,
                attribute,
                value,
            } => {
                let query = query
                    .index_name(*index)
                    .key_condition_expression(format!("#{attribute} = :value"))
                    .expression_attribute_values(":value", text(*value))
                    .projection_expression(projection)
                    .set_expression_attribute_names(Some(names(shown.iter().copied().chain([*attribute]))))
                    .set_exclusive_start_key(start)
                    .limit(limit);
                let answer = query.send().await.map_err(unavailable(verb))?;
                (answer.items, answer.last_evaluated_key)
            }
        };
        Ok((items.unwrap_or_default(), last))
    }
}

impl<'a> Position<'a> {
    pub(super) fn of(selection: &'a ConversationFilter) -> Self {
        let (index, attribute, value) = match selection {
            ConversationFilter::Everyone { segment, segments } => {
                return Self::Segment {
                    segment: *segment,
                    segments: *segments,
                };
            }
            ConversationFilter::Conversation(id) => {
                return Self::Partition {
                    value: id.as_str().into(),
                    holding: REFERENCE,
                };
            }
            ConversationFilter::Tag(name) => {
                return Self::Partition {
                    value: membership::partition(name).into(),
                    holding: MEMBER,
                };
            }
            ConversationFilter::Tenant(tenant) => ("byTenant", "tenant", tenant.as_str()),
            ConversationFilter::User(id) => ("byEntraObjectId", "entraObjectId", EntraObjectId::as_str(id)),
            ConversationFilter::Account(id) => {
                ("byChannelUserId", "channelUserId", ChannelAccountId::as_str(id))
            }
            ConversationFilter::Team(team) => ("byTeam", "team", team.as_str()),
            ConversationFilter::Blocked => ("byTrouble", TROUBLE, BLOCKED),
            ConversationFilter::Removed => ("byTrouble", TROUBLE, REMOVED),
        };
        Self::Index {
            index,
            attribute,
            value,
        }
    }

    /// The attributes that are asked for.
    fn shown(&self) -> &'static [&'static str] {
        match self {
            Self::Partition { holding: MEMBER, .. } => &["conversation", "place", MEMBER],
            Self::Segment { .. } | Self::Partition { .. } | Self::Index { .. } => &SUMMARY,
        }
    }

    /// The attributes of a position's key, in the order that a cursor has them.
    fn key_names(&self) -> Vec<&'static str> {
        let mut names = vec!["conversation", "place"];
        match *self {
            Self::Segment { .. } | Self::Partition { .. } => {}
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

    /// The key to go on after, as a cursor has it.
    pub(super) fn start(&self, verb: &'static str, cursor: &str) -> Result<Item, Error> {
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

    /// The cursor that goes on after this key.
    pub(super) fn cursor(&self, verb: &'static str, last: &Item) -> Result<String, Error> {
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
