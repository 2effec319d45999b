//! The head of a notification: what was asked for, and how far it has come.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;

use super::super::attribute::{Item, Record, item, json, moment, names, number, text, word};
use super::super::{Error, Transaction, expiry, failed, unavailable};
use super::key::{HEAD, key};
use super::{Notifications, put, update};
use crate::delivery::Tally;
use crate::id::NotificationId;
use crate::notification::{Copies, IfNoConversation, Notification, SendMode, Unreachable};

impl Notifications {
    /// Puts an item and adds to the head's counters: both, or neither. The head must be there, at this revision if one is named.
    pub(super) async fn count(
        &self,
        verb: &'static str,
        id: &NotificationId,
        new: PutBuilder,
        counters: &[(&str, u64)],
        revision: Option<u32>,
    ) -> Result<Counted, Error> {
        let add = counters
            .iter()
            .map(|(name, _)| format!("#{name} :{name}"))
            .collect::<Vec<_>>()
            .join(", ");
        let values = counters
            .iter()
            .map(|(name, count)| (format!(":{name}"), number(*count)))
            .collect();
        let head = self
            .update(key(id, HEAD))
            .update_expression(format!("ADD {add}"))
            .set_expression_attribute_values(Some(values))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let (head, named) = match revision {
            None => (head.condition_expression("attribute_exists(#part)"), "part"),
            Some(revision) => (
                head.condition_expression("#revision = :revision")
                    .expression_attribute_values(":revision", number(revision)),
                "revision",
            ),
        };
        let head = head.set_expression_attribute_names(Some(names(
            counters.iter().map(|(name, _)| *name).chain([named]),
        )));
        let new = new.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match self
            .0
            .transact(verb, vec![put(verb, new)?, update(verb, head)?])
            .await?
        {
            Transaction::Done => Ok(Counted::Counted),
            Transaction::Refused(reasons) => Ok(Counted::Refused {
                new: Met::by(reasons.first()),
                head: Met::by(reasons.get(1)),
            }),
        }
    }

    pub(super) async fn update_head(
        &self,
        verb: &'static str,
        update: UpdateItemFluentBuilder,
    ) -> Result<Updated, Error> {
        match update.send().await.map_err(SdkError::into_service_error) {
            Ok(answer) => Ok(Updated::Done(answer.attributes)),
            Err(UpdateItemError::ConditionalCheckFailedException(failure)) => {
                Ok(Updated::Refused(failure.item))
            }
            Err(error) => Err(unavailable(verb)(error)),
        }
    }

    /// An update that sets one moment on the head of a notification that is there, if it is not set already.
    pub(super) fn set_once(
        &self,
        id: &NotificationId,
        name: &str,
        now: Timestamp,
    ) -> UpdateItemFluentBuilder {
        self.0
            .client
            .update_item()
            .table_name(&self.0.name)
            .set_key(Some(key(id, HEAD)))
            .update_expression(format!("SET #{name} = if_not_exists(#{name}, :now)"))
            .condition_expression("attribute_exists(#part)")
            .set_expression_attribute_names(Some(names([name, "part"])))
            .expression_attribute_values(":now", moment(now))
    }
}

/// What became of writing an item and counting it.
pub(super) enum Counted {
    /// Both are done.
    Counted,
    /// Neither is, because of one condition or of both.
    Refused { new: Met, head: Met },
}

/// Whether a condition was met.
pub(super) enum Met {
    Yes,
    /// It was not; the item that stands, if there is one.
    No(Option<Item>),
}

impl Met {
    fn by(reason: Option<&CancellationReason>) -> Self {
        match reason {
            Some(reason) if failed(reason) => Self::No(reason.item().cloned()),
            Some(_) | None => Self::Yes,
        }
    }
}

/// What became of updating the head.
pub(super) enum Updated {
    /// It is done; the head as it is then, if that was asked for.
    Done(Option<Item>),
    /// The condition was not met; the head that stands, if there is one and it was asked for.
    Refused(Option<Item>),
}

/// Each count with its name in the table.
pub(super) fn unreachable_fields(unreachable: &Unreachable) -> [(&'static str, u64); 3] {
    let Unreachable {
        no_conversation,
        removed,
        blocked,
    } = unreachable;
    [
        ("unreachableNoConversation", *no_conversation),
        ("unreachableRemoved", *removed),
        ("unreachableBlocked", *blocked),
    ]
}

/// Each count with its name in the table.
pub(super) fn copies_fields(copies: &Copies) -> [(&'static str, u64); 2] {
    let Copies { current, uneditable } = copies;
    [("copiesCurrent", *current), ("copiesUneditable", *uneditable)]
}

pub(super) fn write_head(verb: &'static str, notification: &Notification) -> Result<Item, Error> {
    let Notification {
        id,
        accepted_at,
        caller,
        category,
        guarantee,
        if_no_conversation,
        send_mode,
        deliver_at,
        expires_at,
        events,
        start,
        message_bytes,
        segments,
        parts,
        parts_planned,
        audience,
        batched,
        unreachable,
        chunks,
        chunks_closed,
        tally,
        revision,
        revised_at,
        retracted,
        chunks_current,
        copies,
        released_at,
        cancelled_at,
        completed_at,
    } = notification;
    let mut attributes = key(id, HEAD);
    attributes.extend(item([
        ("acceptedAt", moment(*accepted_at)),
        ("caller", text(caller)),
        ("onUnknown", word(verb, "onUnknown", guarantee)?),
        ("ifUnknown", word(verb, "ifUnknown", if_no_conversation)?),
        ("expiresAt", moment(*expires_at)),
        ("start", json(verb, "start", start)?),
        ("messageBytes", number(*message_bytes)),
        ("segments", number(*segments)),
        ("parts", number(*parts)),
        ("partsPlanned", number(*parts_planned)),
        ("audience", number(*audience)),
        ("chunks", number(*chunks)),
        ("chunksClosed", number(*chunks_closed)),
        ("revision", number(*revision)),
        ("chunksCurrent", number(*chunks_current)),
        ("expires", expiry(*expires_at)),
    ]));
    let counters = tally.fields().into_iter();
    let counters = counters
        .chain(unreachable_fields(unreachable))
        .chain(copies_fields(copies));
    attributes.extend(counters.map(|(name, count)| (name.to_owned(), number(count))));
    let moments = [
        ("deliverAt", deliver_at),
        ("revisedAt", revised_at),
        ("releasedAt", released_at),
        ("cancelledAt", cancelled_at),
        ("completedAt", completed_at),
    ];
    attributes.extend(
        moments
            .into_iter()
            .filter_map(|(name, at)| Some((name.to_owned(), moment((*at)?)))),
    );
    if let Some(category) = category {
        attributes.extend(item([("category", text(category))]));
    }
    if !events.is_empty() {
        attributes.extend(item([("events", json(verb, "events", events)?)]));
    }
    if *send_mode != SendMode::default() {
        attributes.extend(item([
            ("transport", word(verb, "transport", send_mode)?),
            ("batched", number(*batched)),
        ]));
    }
    if *retracted {
        attributes.extend(item([("retracted", AttributeValue::Bool(true))]));
    }
    Ok(attributes)
}

pub(super) fn read_head(head: Record<'_>) -> Result<Notification, Error> {
    let mut tally = Tally::default();
    for ((name, _), count) in tally.fields().into_iter().zip(tally.fields_mut()) {
        *count = head.number(name)?;
    }
    Ok(Notification {
        id: head.word("notification")?,
        accepted_at: head.moment("acceptedAt")?,
        caller: head.text("caller")?.to_owned(),
        category: head.optional_text("category")?.map(str::to_owned),
        guarantee: head.word("onUnknown")?,
        // Those that were accepted before this could be chosen have none.
        if_no_conversation: match head.optional_text("ifUnknown")? {
            Some(_) => head.word("ifUnknown")?,
            None => IfNoConversation::Skip,
        },
        send_mode: match head.optional_text("transport")? {
            Some(_) => head.word("transport")?,
            None => SendMode::default(),
        },
        deliver_at: head.optional_moment("deliverAt")?,
        expires_at: head.moment("expiresAt")?,
        events: match head.optional_text("events")? {
            Some(_) => head.json("events")?,
            None => Vec::new(),
        },
        start: head.json("start")?,
        message_bytes: head.number("messageBytes")?,
        segments: head.number("segments")?,
        parts: head.number("parts")?,
        parts_planned: head.number("partsPlanned")?,
        audience: head.number("audience")?,
        batched: head.optional_number("batched")?.unwrap_or_default(),
        unreachable: Unreachable {
            no_conversation: head.number("unreachableNoConversation")?,
            removed: head.number("unreachableRemoved")?,
            blocked: head.number("unreachableBlocked")?,
        },
        chunks: head.number("chunks")?,
        chunks_closed: head.number("chunksClosed")?,
        tally,
        revision: head.number("revision")?,
        revised_at: head.optional_moment("revisedAt")?,
        retracted: head.item.contains_key("retracted"),
        chunks_current: head.number("chunksCurrent")?,
        copies: Copies {
            current: head.number("copiesCurrent")?,
            uneditable: head.number("copiesUneditable")?,
        },
        released_at: head.optional_moment("releasedAt")?,
        cancelled_at: head.optional_moment("cancelledAt")?,
        completed_at: head.optional_moment("completedAt")?,
    })
}
