//! The invariants that are checked at the end of a run: every table is compared with what people see.

use std::collections::{BTreeMap, BTreeSet};

use herald::audience::{Recipient, Selector, Target};
use herald::delivery::{
    DeliveryKey, Guarantee, MAX_AMBIGUOUS_ATTEMPTS, Outcome, OutcomeCounts, Row, State as RowState,
};
use herald::event::{Event, EventKind};
use herald::id::NotificationId;
use herald::notification::{Notification, RevisionCounts, State};
use herald::store::Notifications;
use jiff::SignedDuration;

use super::audiences::{led_to, may_mean, must_mean, names};
use super::book::{Book, Fate, Request};
use super::directory::is_missed;
use super::reasons::untrue;
use super::run::{Run, at_once};
use super::subjects;
use super::tokens::TOKEN_LIFETIME;

/// How long after its time, and after all incidents, a retraction may be made: two visibility timeouts of the plans queue.
const RETRACTED_WITHIN: SignedDuration = SignedDuration::from_mins(30);

/// Checks all invariants of the end.
pub(super) fn check(run: &Run) {
    if run.deliveries.dead() + run.plans.dead() > 0 {
        run.violated(3, format_args!("there are dead letters after a redrive"));
    }
    let events = run.events.take();
    outage(run);
    subjects::check(run);
    let wanted = run.book(|book| book.wanted.len());
    for number in 0..wanted {
        let (id, acknowledged) = run.book(|book| {
            let wanted = &book.wanted[number];
            (wanted.id.clone(), wanted.acknowledged)
        });
        let Some(id) = id.filter(|_| acknowledged) else {
            continue;
        };
        let Some(head) = run.head(&id) else {
            run.violated(3, format_args!("n{number} was accepted, but is not stored"));
            continue;
        };
        let recipients = recipients(run, &head);
        complete(run, number, &head, &events);
        retracted(run, number, &head);
        audience(run, number, &recipients);
        rows(run, number, &head, &recipients);
    }
}

/// Checks that no outage is left over once the channel accepted a token that is newer.
fn outage(run: &Run) {
    let Some(outage) = run.bot_health().outage else {
        return;
    };
    let lifetime = SignedDuration::try_from(TOKEN_LIFETIME).unwrap();
    run.book(|book| {
        // Before that, the record may not have been writable.
        let Some(recovered_at) = book.recovered_at else {
            return;
        };
        let newer = (outage.seen_at + lifetime).max(recovered_at) + run.off() + run.slack();
        let accepted = book.requests.iter().find(|request| {
            request.fate == Fate::CarriedOut && request.sends.is_some() && request.began > newer
        });
        if let Some(accepted) = accepted {
            let at = accepted.began;
            book.violated(
                10,
                format_args!("{outage:?} is recorded, but a message was accepted at {at}"),
            );
        }
    });
}

/// Every planned recipient, page by page.
fn recipients(run: &Run, head: &Notification) -> Vec<Recipient> {
    let mut all = Vec::new();
    for part in 0..head.parts {
        for number in 0.. {
            let Some(page) = at_once(run.store.page(&head.id, part, number)) else {
                break;
            };
            all.extend(page.chunks.into_iter().flat_map(|chunk| chunk.recipients));
        }
    }
    all
}

/// Checks that every accepted notification is complete.
fn complete(run: &Run, number: usize, head: &Notification, events: &[Event]) {
    let over = match head.state() {
        State::Completed => head.completed_at.is_some(),
        State::Cancelled => head.completed_at.is_some() || head.is_held(),
        State::Held | State::Confirmed => true,
        State::Accepted | State::Planning | State::Sending | State::Cancelling => false,
    };
    if !over {
        run.violated(3, format_args!("n{number} is not complete: {head:?}"));
    }
    let told = |kind: EventKind| {
        events
            .iter()
            .any(|event| event.kind == kind && event.id.starts_with(head.id.as_str()))
    };
    if head.state() == State::Held && !told(EventKind::Held) {
        run.violated(3, format_args!("no event says that n{number} is held"));
    }
    if head.completed_at.is_some() && !told(EventKind::Completed) {
        run.violated(3, format_args!("no event says that n{number} is complete"));
    }
    if !head.is_held() && head.chunks_current != head.chunks {
        run.violated(
            6,
            format_args!("n{number} has chunks at an earlier revision: {head:?}"),
        );
    }
}

/// Checks that a retraction that was asked for in advance was made, and in time.
fn retracted(run: &Run, number: usize, head: &Notification) {
    run.book(|book| {
        let wanted = &book.wanted[number];
        let Some(asked_for) = wanted.retract_at.filter(|_| head.confirmed_as.is_none()) else {
            return;
        };
        let in_time = asked_for.max(book.recovered_at.unwrap_or(asked_for)) + RETRACTED_WITHIN;
        let fault = match wanted.retracted_as_asked {
            None if wanted.retracted.is_some() => None,
            None => Some("was never retracted"),
            Some(made) if made > in_time && !book.is_redriven => Some("was retracted too late"),
            Some(_) => None,
        };
        if let Some(fault) = fault {
            book.violated(15, format_args!("n{number} {fault}: {head:?}"));
        }
    });
}

/// Checks that every conversation of the audience is a recipient once, and that there are no others.
fn audience(run: &Run, number: usize, recipients: &[Recipient]) {
    let (selectors, span, stopped) = run.book(|book| {
        let wanted = &book.wanted[number];
        (
            wanted.audience.clone(),
            wanted.planning(run),
            wanted.cancelled.is_some() || wanted.retracted.is_some() || wanted.ended_first(run),
        )
    });
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for recipient in recipients {
        *times.entry(recipient.ledger_key()).or_default() += 1;
    }
    // If another id of a person becomes known between the reads of two selectors, both may find that person.
    let named_since = |key: &str| {
        let known = |recipient: &&Recipient| recipient.ledger_key() == key;
        let place = recipients.iter().find(known);
        let place = place.and_then(|recipient| run.channel.with(|channel| led_to(channel, recipient)));
        let is_strange = |place: usize| run.channel.with(|channel| channel.places[place].past.strange);
        selectors.len() > 1 && place.is_some_and(is_strange)
    };
    if let Some((key, count)) = times.iter().find(|(key, count)| **count > 1 && !named_since(key)) {
        run.violated(1, format_args!("{key} is a recipient of n{number} {count} times"));
    }
    run.channel.with(|channel| {
        for recipient in recipients {
            let is_meant = |selector: &Selector| match recipient {
                Recipient::Conversation(_) => {
                    led_to(channel, recipient).is_some_and(|place| may_mean(channel, selector, place, span))
                }
                Recipient::User(_)
                | Recipient::Account(_)
                | Recipient::UnknownConversation(_)
                | Recipient::Missed(_) => names(channel, selector, recipient, span),
            };
            if !selectors.iter().any(is_meant) {
                let (_, name) = recipient.name();
                run.violated(
                    7,
                    format_args!("{name} is a recipient of n{number}, but the audience does not mean it"),
                );
            }
        }
        let reached: BTreeSet<usize> = recipients
            .iter()
            .filter_map(|recipient| led_to(channel, recipient))
            .collect();
        let silent = |selector: &Selector| match &selector.target {
            // The entry for an unknown team stands in place of its members.
            Target::Team { id, .. } => {
                times.contains_key(&Recipient::UnknownConversation(id.as_str().into()).ledger_key())
            }
            Target::Directory(target) => is_missed(target, recipients.iter()),
            Target::Everyone
            | Target::Tenant(_)
            | Target::Users { .. }
            | Target::Accounts(_)
            | Target::Rows { .. }
            | Target::Conversations(_)
            | Target::Channel { .. }
            | Target::GroupChat(_)
            | Target::GroupChatMembers { .. }
            | Target::Tag(_) => false,
        };
        // The broadest selector covers conversations that cannot be written to, but does not list them. A conversation that
        // appears between the reads of two selectors may be in neither list.
        let is_broad = selectors.iter().any(|selector| {
            matches!(
                selector.target,
                Target::Everyone | Target::Tenant(_) | Target::Tag(_)
            )
        });
        for (index, place) in channel.places.iter().enumerate() {
            let unwritten = run.book(|book| {
                book.was_ever_unwritable(&place.conversation)
                    || book.choices.may_refuse(index, &book.wanted[number])
            });
            let between = is_broad && unwritten || selectors.len() > 1 && place.past.strange;
            let listed = |selector: &Selector| match &selector.target {
                Target::Everyone | Target::Tenant(_) | Target::Tag(_) => !place.past.strange && !unwritten,
                // A person on two rosters belongs to the one that was read first, even if that one cannot be read again.
                Target::Team { .. } | Target::Directory(_) => !between && !selectors.iter().any(silent),
                Target::Users { .. }
                | Target::Accounts(_)
                | Target::Rows { .. }
                | Target::Conversations(_)
                | Target::Channel { .. }
                | Target::GroupChat(_)
                | Target::GroupChatMembers { .. } => !between,
            };
            let is_meant =
                |selector: &Selector| listed(selector) && must_mean(channel, selector, index, span);
            if place.renamed == 0 && !stopped && !reached.contains(&index) && selectors.iter().any(is_meant) {
                run.violated(
                    7,
                    format_args!(
                        "{} is meant by n{number}, but is no recipient",
                        place.conversation
                    ),
                );
            }
        }
    });
}

/// Checks that each row states the true outcome and that the counters are the sum of the rows.
fn rows(run: &Run, number: usize, head: &Notification, recipients: &[Recipient]) {
    if head.is_held() {
        return;
    }
    let (mut counts, mut revision_counts) = (OutcomeCounts::default(), RevisionCounts::default());
    for recipient in recipients {
        let key = DeliveryKey::new(&head.id, recipient);
        let Some(Row {
            state: RowState::Settled(outcome),
            ..
        }) = run.row(&key)
        else {
            run.violated(
                1,
                format_args!("{} is not settled: {:?}", key.as_str(), run.row(&key)),
            );
            continue;
        };
        // The delivery to a person ends as a delivery to their conversation, whose own row has the latest outcome.
        let outcome = run.book(|book| book.end_of(&key).cloned()).unwrap_or(outcome);
        counts.count(&outcome);
        if let Outcome::Delivered(sent) = &outcome {
            if sent.revision >= head.revision {
                revision_counts.current += 1;
            } else {
                revision_counts.uneditable += 1;
            }
            if sent.supersedes.is_some() {
                revision_counts.superseding += 1;
            }
        }
        if let Recipient::Conversation(conversation) = recipient {
            let name = (number, conversation.conversation.as_str().to_owned());
            run.book(|book| truthful(book, run, &name, &outcome, &head.id, head.revision));
        } else {
            led(run, number, recipient, recipients, &outcome);
        }
        run.book(|book| {
            let place = run.channel.with(|channel| led_to(channel, recipient));
            let newer = book.may_have_newer(run, number, place);
            let wanted = &book.wanted[number];
            if let Some(fault) = untrue(run, wanted, &book.choices, newer, recipient, &outcome) {
                let (_, name) = recipient.name();
                book.violated(9, format_args!("{name} of n{number}: {fault}: {outcome:?}"));
            }
        });
    }
    if counts != head.counts || counts.total() != head.audience {
        run.violated(
            1,
            format_args!("n{number} counts {:?}, the ledger {counts:?}", head.counts),
        );
    }
    if revision_counts != head.revision_counts {
        run.violated(
            6,
            format_args!(
                "n{number} counts {:?}, the ledger {revision_counts:?}",
                head.revision_counts
            ),
        );
    }
}

/// Checks the outcome of a delivery to a person or an unknown conversation against what people see.
fn led(run: &Run, number: usize, recipient: &Recipient, recipients: &[Recipient], outcome: &Outcome) {
    let place = run.channel.with(|channel| led_to(channel, recipient));
    let alone = run.channel.with(|channel| {
        let here = |other: &&Recipient| led_to(channel, other) == place;
        recipients.iter().filter(here).count() == 1
    });
    let arrived = run.book(|book| {
        let own = |request: &&Request| {
            let brings = request.sends.or(request.edits);
            brings.is_some_and(|brings| brings.0 == number)
                && request.fate == Fate::CarriedOut
                && place.is_some()
                && request.place == place
        };
        book.requests.iter().filter(own).count()
    });
    let fault = match outcome {
        Outcome::Delivered(_) => (arrived == 0).then_some("the outcome is delivered, but no message arrived"),
        Outcome::Unknown => None,
        Outcome::Rejected { .. }
        | Outcome::Gone { .. }
        | Outcome::Skipped { .. }
        | Outcome::Expired { .. }
        | Outcome::Cancelled => {
            (alone && arrived > 0).then_some("the outcome is not delivered, but a message arrived")
        }
    };
    if let Some(fault) = fault {
        let (_, name) = recipient.name();
        run.violated(1, format_args!("{name} of n{number}: {fault}: {outcome:?}"));
    }
}

/// Checks one row against what people see.
fn truthful(
    book: &mut Book,
    run: &Run,
    name: &(usize, String),
    outcome: &Outcome,
    id: &NotificationId,
    revision: u32,
) {
    // A message to a replaced conversation id is shown in the conversation that replaced it.
    let place = run.channel.with(|channel| channel.named(&name.1));
    let arrived: Vec<_> = book
        .requests
        .iter()
        .filter(|request| {
            request
                .sends
                .or(request.edits)
                .is_some_and(|brings| brings.0 == name.0)
        })
        .filter(|request| request.fate == Fate::CarriedOut && request.place == place)
        .collect();
    let own = arrived
        .iter()
        .filter(|request| request.delivery.as_ref() == Some(name) && request.sends.is_some())
        .count();
    // A place that has two ids has a delivery of each.
    let edited = arrived
        .iter()
        .filter(|request| request.edits.is_some() && request.conversation.as_deref() == Some(&name.1))
        .count();
    let sent: Vec<Option<&str>> = arrived
        .iter()
        .map(|request| request.activity.as_deref().or(request.message.as_deref()))
        .collect();
    let is_superseded = book.may_have_newer(run, name.0, place);
    let (at_most_once, text) = {
        let wanted = &book.wanted[name.0];
        (wanted.guarantee == Guarantee::AtMostOnce, wanted.text.clone())
    };
    let fault = match outcome {
        Outcome::Delivered(settled) => {
            let shown = settled.activity.as_ref().and_then(|activity| {
                run.channel
                    .with(|channel| channel.messages.get(activity.as_str()).cloned())
            });
            let brought = settled
                .activity
                .as_ref()
                .is_none_or(|activity| sent.contains(&Some(activity.as_str())));
            if sent.is_empty() {
                Some("the outcome is delivered, but no message arrived")
            } else if !brought {
                Some("its message was not sent by this notification")
            } else if book.gave_up(run, name, settled, place) {
                Some("its message was left as it was, although no newer one of its subject came")
            } else if settled.activity.is_some() && settled.attempted_revision < revision {
                Some("its message was not updated to the last revision")
            } else if settled.revision == revision
                && !is_superseded
                && shown.is_some_and(|shown| shown.text() != text)
            {
                Some("its message shows another text than the outcome says")
            } else {
                None
            }
        }
        Outcome::Unknown => None,
        Outcome::Rejected { .. }
        | Outcome::Gone { .. }
        | Outcome::Skipped { .. }
        | Outcome::Expired { .. }
        | Outcome::Cancelled => {
            (own + edited > 0).then_some("the outcome is not delivered, but a message arrived")
        }
    };
    let most = if at_most_once {
        1
    } else {
        MAX_AMBIGUOUS_ATTEMPTS as usize
    };
    if own > most {
        book.violated(2, format_args!("{} got n{} {own} times", name.1, name.0));
    }
    if let Some(fault) = fault {
        book.violated(
            1,
            format_args!("{} of n{} {id}: {fault}: {outcome:?}", name.1, name.0),
        );
    }
}
