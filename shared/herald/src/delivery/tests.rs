use super::*;
use crate::backoff::{MIN_WAIT, creation_backoff};
use crate::rate_limit::{ConversationRate, Limits};
use jiff::SignedDuration;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn delivery(name: &str) -> DeliveryKey {
    DeliveryKey::new(
        &NotificationId::fresh(at(0), [0; 16]),
        &Recipient::User(name.into()),
    )
}

fn spacing() -> ConversationRate {
    ConversationRate::within(&Limits::teams().conversation)
}

/// The tables, as far as one conversation is concerned.
#[derive(Default)]
struct Tables {
    rows: std::collections::HashMap<DeliveryKey, Row>,
    held: Option<ConversationLease>,
}

impl Tables {
    fn claim(&mut self, delivery: &DeliveryKey, revision: u32, now: i64) -> Claim {
        loop {
            let holder = self.held.as_ref().and_then(|held| self.rows.get(&held.holder));
            let state = ClaimState {
                row: self.rows.get(delivery),
                lease: self.held.as_ref(),
                holder,
            };
            let request = ClaimRequest {
                delivery,
                revision,
                now: at(now),
                until: at(now + 60),
                spacing: spacing(),
            };
            match claim(request, state) {
                Decision::Reply(claim) => return claim,
                Decision::RecordCrash(row) => {
                    let holder = self.held.as_ref().unwrap().holder.clone();
                    assert!(self.write(&holder, row.clone(), row.purpose()));
                }
                Decision::Acquire(held, lease) => {
                    self.held = Some(held);
                    return Claim::Acquired(lease);
                }
            }
        }
    }

    fn take(&mut self, delivery: &DeliveryKey, revision: u32, now: i64) -> AttemptLease {
        match self.claim(delivery, revision, now) {
            Claim::Acquired(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, delivery: &DeliveryKey, row: Row, purpose: Purpose) -> bool {
        let may = may_write(self.rows.get(delivery), &row, purpose);
        if may {
            self.rows.insert(delivery.clone(), row);
        }
        may
    }

    fn settle(&mut self, delivery: &DeliveryKey, lease: &AttemptLease, outcome: Outcome) -> bool {
        self.write(delivery, lease.settled(outcome), lease.purpose())
    }
}

fn delivered(activity: &str, revision: u32) -> Outcome {
    Outcome::Delivered(SentMessage {
        activity: Some(activity.into()),
        revision,
        attempted_revision: revision,
        supersedes: None,
    })
}

fn policy(guarantee: Guarantee, ends_at: i64) -> RetryPolicy {
    RetryPolicy {
        guarantee,
        revision: 0,
        ends_at: at(ends_at),
    }
}

fn lease(attempt: u32, ambiguous_attempts: u32) -> AttemptLease {
    AttemptLease {
        attempt,
        ambiguous_attempts,
        sent: None,
        edits: None,
    }
}

fn throttled(retry_after: Option<i64>) -> AttemptOutcome {
    AttemptOutcome::NotSent {
        code: "Throttled".into(),
        retry_after: retry_after.map(SignedDuration::from_secs),
    }
}

fn waits(lease: &AttemptLease, attempt: AttemptOutcome, random: u32) -> (SignedDuration, u32) {
    match disposition(
        lease,
        attempt,
        policy(Guarantee::AtLeastOnce, 1_000_000),
        at(0),
        random,
    ) {
        Disposition::Wait {
            until,
            ambiguous_attempts,
            ..
        } => (until.duration_since(at(0)), ambiguous_attempts),
        Disposition::Settle(outcome) => panic!("settled as {outcome:?}"),
    }
}

#[test]
fn a_conversation_has_one_turn_whoever_sends_what() {
    let (mut tables, one, other) = (Tables::default(), delivery("one"), delivery("other"));
    let lease = tables.take(&one, 0, 0);
    assert_eq!(tables.claim(&one, 0, 1), Claim::LeasedElsewhere { until: at(60) });
    assert_eq!(
        tables.claim(&other, 0, 1),
        Claim::ConversationBusy { until: at(2) }
    );
    assert!(tables.settle(&one, &lease, delivered("1", 0)));
    tables.take(&other, 0, 1);
}

#[test]
fn requests_to_one_conversation_keep_their_distance() {
    let mut tables = Tables::default();
    let mut busy = None;
    for number in 0..10 {
        let delivery = delivery(&number.to_string());
        match tables.claim(&delivery, 0, 0) {
            Claim::Acquired(lease) => assert!(tables.settle(&delivery, &lease, Outcome::Unknown)),
            other => {
                busy = Some((number, other));
                break;
            }
        }
    }
    assert!(matches!(busy, Some((6, Claim::ConversationBusy { until })) if until > at(0)));
}

#[test]
fn a_turn_past_its_deadline_leaves_a_doubt_whoever_takes_it_next() {
    for taker in ["dead", "other"] {
        let (mut tables, dead) = (Tables::default(), delivery("dead"));
        tables.take(&dead, 0, 0);
        tables.take(&delivery(taker), 0, 60);
        let row = tables.rows[&dead].clone();
        assert_eq!((row.attempt, row.ambiguous_attempts), (1, 1), "{taker}");
    }
}

#[test]
fn who_overran_is_too_late_but_for_saying_that_it_arrived() {
    for (outcome, stands) in [(Outcome::EXPIRED, false), (delivered("1", 0), true)] {
        let (mut tables, one) = (Tables::default(), delivery("one"));
        let late = tables.take(&one, 0, 0);
        let taker = tables.take(&one, 0, 60);
        assert_eq!((taker.attempt, taker.ambiguous_attempts), (2, 1));
        assert_eq!(tables.settle(&one, &late, outcome), stands);
        assert_eq!(tables.settle(&one, &taker, delivered("2", 0)), !stands);
    }
}

#[test]
fn a_waiting_delivery_is_claimed_when_its_time_has_come() {
    let (mut tables, one) = (Tables::default(), delivery("one"));
    let lease = tables.take(&one, 0, 0);
    assert!(tables.write(
        &one,
        lease.released(at(10), "Throttled".into(), 0),
        lease.purpose()
    ));
    assert_eq!(tables.claim(&one, 0, 9), Claim::NotDue { until: at(10) });
    assert_eq!(tables.take(&one, 0, 10).attempt, 2);
}

#[test]
fn a_settled_delivery_is_claimed_again_only_to_bring_its_message_up_to_date() {
    let (mut tables, one) = (Tables::default(), delivery("one"));
    let lease = tables.take(&one, 0, 0);
    assert!(tables.settle(&one, &lease, delivered("1", 0)));
    assert_eq!(tables.claim(&one, 0, 9), Claim::Settled(delivered("1", 0)));
    let edit = tables.take(&one, 1, 10);
    assert_eq!(edit.sent.as_ref().unwrap().activity, Some("1".into()));
    // It waits, its copy as it is, and is then asked for again.
    assert!(tables.write(&one, edit.released(at(20), "Throttled".into(), 0), edit.purpose()));
    let edit = tables.take(&one, 1, 20);
    assert!(tables.settle(&one, &edit, delivered("1", 1)));
    assert_eq!(tables.claim(&one, 1, 30), Claim::Settled(delivered("1", 1)));
}

#[test]
fn an_editor_that_died_leaves_no_doubt() {
    let (mut tables, one) = (Tables::default(), delivery("one"));
    let lease = tables.take(&one, 0, 0);
    assert!(tables.settle(&one, &lease, delivered("1", 0)));
    tables.take(&one, 1, 10);
    assert_eq!(
        tables.claim(&one, 1, 11),
        Claim::LeasedElsewhere { until: at(70) }
    );
    let edit = tables.take(&one, 1, 70);
    assert_eq!((edit.ambiguous_attempts, edit.attempt), (0, 3));
    assert!(edit.permits_attempt(Guarantee::AtMostOnce));
}

#[test]
fn an_unknown_outcome_follows_the_policy() {
    let unknown = |max| AttemptOutcome::Unknown {
        code: "Timeout".into(),
        max,
    };
    let after =
        |lease, max, guarantee| disposition(&lease, unknown(max), policy(guarantee, 1_000_000), at(0), 0);
    assert_eq!(
        after(lease(1, 0), MAX_AMBIGUOUS_ATTEMPTS, Guarantee::AtMostOnce),
        Disposition::Settle(Outcome::Unknown)
    );
    let waited: Vec<_> = (0..3)
        .map(|ambiguous_attempts| {
            waits(
                &lease(1, ambiguous_attempts),
                unknown(MAX_AMBIGUOUS_ATTEMPTS),
                u32::MAX / 2,
            )
        })
        .collect();
    let about = [(15, 1), (60, 2), (240, 3)];
    for ((wait, ambiguous_attempts), (seconds, expected)) in waited.into_iter().zip(about) {
        assert!(
            (wait.as_secs() - seconds).abs() <= 1,
            "{wait} is not about {seconds} s"
        );
        assert_eq!(ambiguous_attempts, expected);
    }
    let last = after(
        lease(9, MAX_AMBIGUOUS_ATTEMPTS - 1),
        MAX_AMBIGUOUS_ATTEMPTS,
        Guarantee::AtLeastOnce,
    );
    assert_eq!(last, Disposition::Settle(Outcome::Unknown));
    assert_eq!(
        after(lease(2, 1), 2, Guarantee::AtLeastOnce),
        Disposition::Settle(Outcome::Unknown)
    );
    assert!(lease(2, 1).permits_attempt(Guarantee::AtLeastOnce));
    assert!(!lease(2, 1).permits_attempt(Guarantee::AtMostOnce));
    assert!(!lease(5, MAX_AMBIGUOUS_ATTEMPTS).permits_attempt(Guarantee::AtLeastOnce));
}

#[test]
fn a_refusal_waits_as_long_as_the_channel_asks_and_never_hurries() {
    let wait = |attempt, retry_after, random| waits(&lease(attempt, 0), throttled(retry_after), random).0;
    assert!(wait(1, Some(645), 0) >= SignedDuration::from_secs(645));
    assert_eq!(wait(1, Some(0), 0), MIN_WAIT);
    assert_eq!(wait(1, None, u32::MAX), SignedDuration::from_secs(2));
    assert_eq!(wait(40, None, u32::MAX), SignedDuration::from_mins(1));
}

#[test]
fn no_number_of_refusals_gives_a_delivery_up_but_its_expiry_does() {
    let until_expiry = |lease: AttemptLease| {
        disposition(
            &lease,
            throttled(Some(100)),
            policy(Guarantee::AtLeastOnce, 100),
            at(0),
            0,
        )
    };
    let why = Some("Throttled".to_owned());
    assert_eq!(
        until_expiry(lease(500, 0)),
        Disposition::Settle(Outcome::Expired { why })
    );
    assert_eq!(until_expiry(lease(500, 1)), Disposition::Settle(Outcome::Unknown));
    waits(&lease(500, 0), throttled(Some(99)), 0);
}

#[test]
fn what_may_have_been_sent_is_not_said_to_have_been_refused() {
    let gone = || AttemptOutcome::Gone("ConversationBlockedByUser".into());
    let after = |ambiguous_attempts| {
        disposition(
            &lease(2, ambiguous_attempts),
            gone(),
            policy(Guarantee::AtLeastOnce, 100),
            at(0),
            0,
        )
    };
    assert!(matches!(after(0), Disposition::Settle(Outcome::Gone { .. })));
    assert_eq!(after(1), Disposition::Settle(Outcome::Unknown));
    let removed = Outcome::Skipped {
        reason: SkipReason::Removed,
    };
    assert_eq!(lease(2, 1).final_outcome(removed), Outcome::Unknown);
}

#[test]
fn a_change_that_is_refused_leaves_the_message_as_it_was() {
    let Outcome::Delivered(sent) = delivered("1", 0) else {
        unreachable!()
    };
    let edit = AttemptLease {
        attempt: 2,
        ambiguous_attempts: 0,
        sent: Some(sent.clone()),
        edits: None,
    };
    let to_revision = RetryPolicy {
        revision: 3,
        ..policy(Guarantee::AtMostOnce, 100)
    };
    let after = |attempt| disposition(&edit, attempt, to_revision, at(0), 0);
    let sent = |activity: Option<&str>, revision| {
        Disposition::Settle(Outcome::Delivered(SentMessage {
            activity: activity.map(Into::into),
            revision,
            attempted_revision: 3,
            supersedes: None,
        }))
    };
    let rejected = AttemptOutcome::Rejected {
        code: "BadSyntax".into(),
        detail: None,
    };
    assert_eq!(after(rejected), sent(Some("1"), 0));
    assert_eq!(after(AttemptOutcome::MessageDeleted), sent(None, 0));
    assert_eq!(after(AttemptOutcome::Delivered(None)), sent(Some("1"), 3));
    let doubtful = AttemptOutcome::Unknown {
        code: "Timeout".into(),
        max: 4,
    };
    assert!(matches!(
        after(doubtful),
        Disposition::Wait {
            ambiguous_attempts: 0,
            ..
        }
    ));
}

#[test]
fn an_edit_of_an_earlier_copy_is_a_delivery_of_its_own() {
    let edit = |ambiguous_attempts, is_taken_over| AttemptLease {
        edits: Some(EarlierCopy {
            activity: "m".into(),
            notification: Some(NotificationId::fresh(at(0), [1; 16])),
            is_taken_over,
        }),
        ..lease(1, ambiguous_attempts)
    };
    let after = |lease: &AttemptLease, attempt| {
        disposition(lease, attempt, policy(Guarantee::AtMostOnce, 1_000_000), at(0), 0)
    };
    let first = edit(0, false);
    // The channel may answer without an id, or with another one.
    let Disposition::Settle(Outcome::Delivered(sent)) = after(&first, AttemptOutcome::Delivered(None)) else {
        panic!("not delivered")
    };
    assert_eq!(sent.activity, Some("m".into()));
    assert_eq!(sent.supersedes, first.edits.clone().unwrap().notification);
    assert_eq!(
        after(&first, AttemptOutcome::MessageDeleted),
        Disposition::Wait {
            until: at(0),
            reason: "ActivityNotFoundInConversation".into(),
            ambiguous_attempts: 0
        },
        "the next attempt sends it"
    );
    let rejected = AttemptOutcome::Rejected {
        code: "BadSyntax".into(),
        detail: None,
    };
    assert!(matches!(
        after(&first, rejected),
        Disposition::Settle(Outcome::Rejected { .. })
    ));
    // An edit may be repeated, whatever the guarantee; but one that may have been carried out is never reported as not made.
    let unanswered = AttemptOutcome::Unknown {
        code: "Timeout".into(),
        max: 4,
    };
    assert!(matches!(
        after(&edit(9, true), unanswered),
        Disposition::Wait {
            ambiguous_attempts: 10,
            ..
        }
    ));
    assert!(edit(9, true).permits_attempt(Guarantee::AtMostOnce));
    assert!(
        !edit(1, false).permits_attempt(Guarantee::AtMostOnce),
        "the attempt before was no edit"
    );
    assert_eq!(edit(1, true).final_outcome(Outcome::Cancelled), Outcome::Unknown);
}

#[test]
fn a_key_fits_however_long_its_recipient() {
    assert!(delivery(&"x".repeat(9000)).as_str().len() < 2048);
    assert_ne!(delivery(&"x".repeat(9000)), delivery(&"x".repeat(9001)));
}

#[test]
fn each_outcome_is_counted_under_its_own_name() {
    let mut counts = OutcomeCounts::default();
    for outcome in [
        delivered("1", 0),
        Outcome::Rejected {
            code: "x".into(),
            detail: None,
        },
        Outcome::Gone { code: "x".into() },
        Outcome::Unknown,
        Outcome::Skipped {
            reason: SkipReason::Removed,
        },
        Outcome::EXPIRED,
        Outcome::Cancelled,
    ] {
        let name = serde_json::to_value(&outcome).unwrap()["outcome"]
            .as_str()
            .unwrap()
            .to_owned();
        let before = counts;
        counts.count(&outcome);
        let changed: Vec<_> = counts
            .fields()
            .into_iter()
            .zip(before.fields())
            .filter(|(now, then)| now.1 != then.1)
            .collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].0.0, name);
    }
    assert_eq!(counts.total(), 7);
}

#[test]
fn what_cannot_be_made_is_tried_ever_more_rarely_and_never_sooner_than_asked() {
    let wait = |failures, asked, random| creation_backoff(failures, asked, random).as_secs();
    let longest = [0, 1, 2, 3, 6, 7, 1_000_000].map(|failures| wait(failures, None, u32::MAX));
    assert_eq!(longest, [15, 30, 60, 120, 900, 900, 900]);
    assert_eq!([0, 6].map(|failures| wait(failures, None, 0)), [7, 450]);
    let asked = |seconds| Some(SignedDuration::from_secs(seconds));
    assert_eq!([wait(0, asked(90), 0), wait(0, asked(90), u32::MAX)], [90, 105]);
    assert_eq!(wait(6, asked(90), u32::MAX), 900);
    assert_eq!(wait(0, asked(-90), 0), 7);
}
