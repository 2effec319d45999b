//! The head of a notification, as an item.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;

use super::super::attribute::{Item, Record, item, json, moment, number, text, word};
use super::super::{Error, expiry};
use super::key::{HEAD, key};
use super::listing::{BY_MONTH, month_of};
use crate::delivery::OutcomeCounts;
use crate::notification::{
    IfNoConversation, IfUnreachable, MessageRefusal, Notification, RevisionCounts, ScheduledRetraction,
    SendMode, UnreachableCounts,
};

/// The notification that confirmed a plan.
pub(super) const CONFIRMED_AS: &str = "confirmedAs";

/// The parts that matched something: a set of numbers, to which pages add.
pub(super) const MATCHED_PARTS: &str = "matchedParts";

pub(super) fn part_numbers<'a>(parts: impl IntoIterator<Item = &'a u16>) -> AttributeValue {
    AttributeValue::Ns(parts.into_iter().map(u16::to_string).collect())
}

fn read_part_numbers(head: Record<'_>) -> Result<BTreeSet<u16>, Error> {
    let numbers = match head.item.get(MATCHED_PARTS) {
        None => return Ok(BTreeSet::new()),
        Some(AttributeValue::Ns(numbers)) => numbers,
        Some(_) => return Err(head.corrupt(MATCHED_PARTS)),
    };
    let numbers = numbers.iter().map(|number| number.parse());
    numbers
        .collect::<Result<_, _>>()
        .map_err(|_| head.corrupt(MATCHED_PARTS))
}

pub(super) fn unreachable_fields(unreachable: &UnreachableCounts) -> [(&'static str, u64); 5] {
    let UnreachableCounts {
        no_conversation,
        removed,
        blocked,
        opted_out,
        directory,
    } = unreachable;
    [
        ("unreachableNoConversation", *no_conversation),
        ("unreachableRemoved", *removed),
        ("unreachableBlocked", *blocked),
        ("unreachableOptedOut", *opted_out),
        ("unreachableDirectory", *directory),
    ]
}

pub(super) fn revision_fields(revision_counts: &RevisionCounts) -> [(&'static str, u64); 3] {
    let RevisionCounts {
        current,
        uneditable,
        superseding,
    } = revision_counts;
    [
        ("copiesCurrent", *current),
        ("copiesUneditable", *uneditable),
        ("copiesSuperseding", *superseding),
    ]
}

/// The attributes that most heads do not have.
fn optional_fields(verb: &'static str, notification: &Notification) -> Result<Item, Error> {
    let mut attributes = Item::new();
    if let Some(category) = &notification.category {
        attributes.extend(item([("category", text(category))]));
    }
    if let Some(schedule) = &notification.schedule {
        attributes.extend(item([("schedule", text(schedule))]));
    }
    if let Some(subject) = &notification.subject {
        attributes.extend(item([("subject", text(subject))]));
    }
    for (name, other) in [
        ("confirms", &notification.confirms),
        (CONFIRMED_AS, &notification.confirmed_as),
    ] {
        if let Some(other) = other {
            attributes.extend(item([(name, text(other.as_str()))]));
        }
    }
    if !notification.matched_parts.is_empty() {
        attributes.extend(item([(MATCHED_PARTS, part_numbers(&notification.matched_parts))]));
    }
    if let Some(priority) = &notification.priority {
        attributes.extend(item([("priority", word(verb, "priority", priority)?)]));
    }
    if !notification.events.is_empty() {
        attributes.extend(item([("events", json(verb, "events", &notification.events)?)]));
    }
    if notification.send_mode != SendMode::default() {
        attributes.extend(item([
            ("sendMode", word(verb, "sendMode", &notification.send_mode)?),
            ("batched", number(notification.batched)),
        ]));
    }
    if notification.if_unreachable != IfUnreachable::default() {
        let word = word(verb, "ifUnreachable", &notification.if_unreachable)?;
        attributes.extend(item([("ifUnreachable", word)]));
    }
    if let Some(way_out) = &notification.way_out {
        attributes.extend(item([("wayOut", json(verb, "wayOut", way_out)?)]));
    }
    if notification.mandatory {
        attributes.extend(item([("mandatory", AttributeValue::Bool(true))]));
    }
    if let Some(local_time) = &notification.local_time {
        attributes.extend(item([("localTime", json(verb, "localTime", local_time)?)]));
    }
    for (name, has) in [
        ("hasDefaults", notification.has_defaults),
        ("hasRows", notification.has_rows),
    ] {
        if has {
            attributes.extend(item([(name, AttributeValue::Bool(true))]));
        }
    }
    if let Some(ScheduledRetraction { at, kind, revision }) = &notification.retraction {
        attributes.extend(item([
            ("retractAt", moment(*at)),
            ("retractionKind", word(verb, "retractionKind", kind)?),
        ]));
        attributes.extend(revision.map(|revision| ("retractionRevision".to_owned(), number(revision))));
    }
    if notification.retracted {
        attributes.extend(item([("retracted", AttributeValue::Bool(true))]));
    }
    Ok(attributes)
}

pub(super) fn write_head(verb: &'static str, notification: &Notification) -> Result<Item, Error> {
    let Notification {
        id,
        accepted_at,
        caller,
        schedule: _,
        category: _,
        mandatory: _,
        way_out: _,
        subject: _,
        guarantee,
        if_no_conversation,
        if_unreachable: _,
        send_mode: _,
        priority: _,
        deliver_at,
        local_time: _,
        has_defaults: _,
        has_rows: _,
        expires_at,
        events: _,
        retraction: _,
        start,
        message_bytes,
        segments,
        parts,
        parts_planned,
        matched_parts: _,
        audience,
        batched: _,
        // Pages add to them.
        in_waves: _,
        newcomers: _,
        unreachable,
        chunks,
        chunks_closed,
        counts,
        revision,
        revised_at,
        retracted: _,
        chunks_current,
        revision_counts,
        refused,
        released_at,
        cancelled_at,
        completed_at,
        confirms: _,
        confirmed_as: _,
    } = notification;
    let mut attributes = key(id, HEAD);
    attributes.extend(item([(BY_MONTH, text(month_of(id)))]));
    attributes.extend(item([
        ("acceptedAt", moment(*accepted_at)),
        ("caller", text(caller)),
        ("guarantee", word(verb, "guarantee", guarantee)?),
        (
            "ifNoConversation",
            word(verb, "ifNoConversation", if_no_conversation)?,
        ),
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
    let counters = counts.fields().into_iter();
    let counters = counters
        .chain(unreachable_fields(unreachable))
        .chain(revision_fields(revision_counts));
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
    attributes.extend(optional_fields(verb, notification)?);
    attributes.extend(refused.as_ref().map(write_refusal).into_iter().flatten());
    Ok(attributes)
}

fn write_refusal(refusal: &MessageRefusal) -> Item {
    let MessageRefusal {
        channel,
        code,
        revision,
    } = refusal;
    item([
        ("refusedBy", text(channel)),
        ("refusedFor", text(code)),
        ("refusedRevision", number(*revision)),
    ])
}

pub(super) fn read_head(verb: &'static str, item: &Item) -> Result<Notification, Error> {
    let head = Record { verb, item };
    let mut counts = OutcomeCounts::default();
    for ((name, _), count) in counts.fields().into_iter().zip(counts.fields_mut()) {
        *count = head.number(name)?;
    }
    Ok(Notification {
        id: head.word("notification")?,
        accepted_at: head.moment("acceptedAt")?,
        caller: head.text("caller")?.to_owned(),
        schedule: head.optional_text("schedule")?.map(str::to_owned),
        category: head.optional_text("category")?.map(str::to_owned),
        mandatory: head.item.contains_key("mandatory"),
        way_out: match head.optional_text("wayOut")? {
            Some(_) => Some(head.json("wayOut")?),
            None => None,
        },
        subject: head.optional_text("subject")?.map(str::to_owned),
        guarantee: head.word("guarantee")?,
        // Those that were accepted before this could be chosen have none.
        if_no_conversation: match head.optional_text("ifNoConversation")? {
            Some(_) => head.word("ifNoConversation")?,
            None => IfNoConversation::Skip,
        },
        if_unreachable: head.optional_word("ifUnreachable")?.unwrap_or_default(),
        send_mode: match head.optional_text("sendMode")? {
            Some(_) => head.word("sendMode")?,
            None => SendMode::default(),
        },
        priority: head.optional_word("priority")?,
        deliver_at: head.optional_moment("deliverAt")?,
        local_time: match head.optional_text("localTime")? {
            Some(_) => Some(head.json("localTime")?),
            None => None,
        },
        has_defaults: head.item.contains_key("hasDefaults"),
        has_rows: head.item.contains_key("hasRows"),
        expires_at: head.moment("expiresAt")?,
        events: match head.optional_text("events")? {
            Some(_) => head.json("events")?,
            None => Vec::new(),
        },
        retraction: match head.optional_moment("retractAt")? {
            Some(at) => Some(ScheduledRetraction {
                at,
                kind: head.word("retractionKind")?,
                revision: head.optional_number("retractionRevision")?,
            }),
            None => None,
        },
        start: head.json("start")?,
        message_bytes: head.number("messageBytes")?,
        segments: head.number("segments")?,
        parts: head.number("parts")?,
        parts_planned: head.number("partsPlanned")?,
        matched_parts: read_part_numbers(head)?,
        audience: head.number("audience")?,
        batched: head.optional_number("batched")?.unwrap_or_default(),
        in_waves: head.optional_number("inWaves")?.unwrap_or_default(),
        newcomers: head.optional_number("newcomers")?.unwrap_or_default(),
        unreachable: UnreachableCounts {
            no_conversation: head.number("unreachableNoConversation")?,
            removed: head.number("unreachableRemoved")?,
            blocked: head.number("unreachableBlocked")?,
            opted_out: head.number("unreachableOptedOut")?,
            // Heads that were written before there were directories have none.
            directory: head.optional_number("unreachableDirectory")?.unwrap_or_default(),
        },
        chunks: head.number("chunks")?,
        chunks_closed: head.number("chunksClosed")?,
        counts,
        revision: head.number("revision")?,
        revised_at: head.optional_moment("revisedAt")?,
        retracted: head.item.contains_key("retracted"),
        chunks_current: head.number("chunksCurrent")?,
        revision_counts: RevisionCounts {
            current: head.number("copiesCurrent")?,
            uneditable: head.number("copiesUneditable")?,
            // Heads that were written before there were subjects have none.
            superseding: head.optional_number("copiesSuperseding")?.unwrap_or_default(),
        },
        refused: match head.optional_number("refusedRevision")? {
            Some(revision) => Some(MessageRefusal {
                channel: head.text("refusedBy")?.to_owned(),
                code: head.text("refusedFor")?.to_owned(),
                revision,
            }),
            None => None,
        },
        released_at: head.optional_moment("releasedAt")?,
        cancelled_at: head.optional_moment("cancelledAt")?,
        completed_at: head.optional_moment("completedAt")?,
        confirms: head.optional_word("confirms")?,
        confirmed_as: head.optional_word(CONFIRMED_AS)?,
    })
}
