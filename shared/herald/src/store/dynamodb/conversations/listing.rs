//! Where the conversations of a filter are read, page by page.

use std::borrow::Cow;

use aws_sdk_dynamodb::types::AttributeValue;
use botframework::id::{ChannelAccountId, EntraObjectId};

use super::super::attribute::{Item, number, text};
use super::super::expression::names;
use super::super::{Error, request_error};
use super::Conversations;
use super::membership::{self, MEMBER};
use super::record::{BLOCKED, REFERENCE, REMOVED, SUMMARY, UNREACHABLE};
use crate::store::{ConversationFilter, cursor};

/// The longest partition key of DynamoDB, in bytes.
const KEY_BYTES_MAX: usize = 2048;

/// Where the conversations of a filter are read.
pub(super) enum Position<'a> {
    /// A segment of the whole table, filtered for records.
    Segment { segment: u16, segments: u16 },
    /// The items of one partition, filtered for this attribute.
    Partition {
        value: Cow<'a, str>,
        holding: &'static str,
    },
    /// One value of an index, which has records only.
    Index {
        index: &'static str,
        attribute: &'static str,
        value: &'a str,
    },
}

impl Conversations {
    /// The items of a position, and the key of the last one if more may follow.
    pub(super) async fn read(
        &self,
        verb: &'static str,
        position: &Position<'_>,
        start: Option<Item>,
        limit: i32,
    ) -> Result<(Vec<Item>, Option<Item>), Error> {
        let attributes = position.projection();
        let projection: Vec<String> = attributes.iter().map(|name| format!("#{name}")).collect();
        let projection = projection.join(", ");
        let query = self.table.client.query().table_name(&self.table.name);
        let (items, last) = match position {
            Position::Segment { segment, segments } => {
                let scan = self
                    .table
                    .client
                    .scan()
                    .table_name(&self.table.name)
                    .segment(i32::from(*segment))
                    .total_segments(i32::from(*segments))
                    .filter_expression(format!("attribute_exists(#{REFERENCE})"))
                    .projection_expression(projection)
                    .set_expression_attribute_names(Some(names(
                        attributes.iter().copied().chain([REFERENCE]),
                    )))
                    .set_exclusive_start_key(start)
                    .limit(limit);
                let answer = scan.send().await.map_err(request_error(verb))?;
                (answer.items, answer.last_evaluated_key)
            }
            Position::Partition { value, holding } => {
                let query = query
                    .key_condition_expression("#conversation = :value")
                    .expression_attribute_values(":value", text(value.as_ref()))
                    .filter_expression(format!("attribute_exists(#{holding})"))
                    .projection_expression(projection)
                    .set_expression_attribute_names(Some(names(attributes.iter().copied().chain([*holding]))))
                    .set_exclusive_start_key(start)
                    .limit(limit);
                let answer = query.send().await.map_err(request_error(verb))?;
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
                    .set_expression_attribute_names(Some(names(
                        attributes.iter().copied().chain([*attribute]),
                    )))
                    .set_exclusive_start_key(start)
                    .limit(limit);
                let answer = query.send().await.map_err(request_error(verb))?;
                (answer.items, answer.last_evaluated_key)
            }
        };
        Ok((items.unwrap_or_default(), last))
    }
}

impl<'a> Position<'a> {
    pub(super) fn of(filter: &'a ConversationFilter) -> Self {
        let (index, attribute, value) = match filter {
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
            ConversationFilter::Blocked => ("byUnreachable", UNREACHABLE, BLOCKED),
            ConversationFilter::Removed => ("byUnreachable", UNREACHABLE, REMOVED),
        };
        Self::Index {
            index,
            attribute,
            value,
        }
    }

    /// The attributes to read.
    fn projection(&self) -> &'static [&'static str] {
        match self {
            Self::Partition { holding: MEMBER, .. } => &["conversation", "place", MEMBER],
            Self::Segment { .. } | Self::Partition { .. } | Self::Index { .. } => &SUMMARY,
        }
    }

    /// The attributes of the last item's key, in the order of a cursor.
    fn key_names(&self) -> Vec<&'static str> {
        let mut names = vec!["conversation", "place"];
        match *self {
            Self::Segment { .. } | Self::Partition { .. } => {}
            Self::Index {
                attribute: "tenant", ..
            } => names.extend(["tenant", "scope"]),
            Self::Index {
                attribute: UNREACHABLE,
                ..
            } => names.extend([UNREACHABLE, "changedAt"]),
            Self::Index { attribute, .. } => names.push(attribute),
        }
        names
    }

    /// The key that a cursor holds.
    pub(super) fn start(&self, verb: &'static str, cursor: &str) -> Result<Item, Error> {
        let names = self.key_names();
        let values: Vec<String> = cursor::decode(verb, cursor)?;
        if values.len() != names.len() || !self.has_key(&names, &values) {
            return Err(Error::corrupt(verb, "cursor"));
        }
        names
            .into_iter()
            .zip(values)
            .map(|(name, value)| {
                let value = match name {
                    "changedAt" => number(value.parse::<i64>().map_err(|_| Error::corrupt(verb, "cursor"))?),
                    _ => text(value),
                };
                Ok((name.to_owned(), value))
            })
            .collect()
    }

    /// Whether this may be the key of an item here.
    fn has_key(&self, names: &[&str], values: &[String]) -> bool {
        let (partition, own) = match self {
            Self::Segment { .. } => ("", ""),
            Self::Partition { value, .. } => ("conversation", value.as_ref()),
            Self::Index { attribute, value, .. } => (*attribute, *value),
        };
        names.iter().zip(values).all(|(name, value)| {
            let is_key = (1..=KEY_BYTES_MAX).contains(&value.len());
            is_key && (*name != partition || value == own)
        })
    }

    /// The cursor that holds this key.
    pub(super) fn cursor(&self, verb: &'static str, last: &Item) -> Result<String, Error> {
        let values: Vec<&str> = self
            .key_names()
            .into_iter()
            .map(|name| match last.get(name) {
                Some(AttributeValue::S(value) | AttributeValue::N(value)) => Ok(value.as_str()),
                _ => Err(Error::corrupt(verb, name)),
            })
            .collect::<Result<_, _>>()?;
        Ok(cursor::encode(&values))
    }
}
