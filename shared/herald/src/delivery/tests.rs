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
    turn: Option<Turn>,
}

impl Tables {
    fn claim(&mut self, delivery: &DeliveryKey, revision: u32, now: i64) -> Claim {
        loop {
            let holder = self.turn.as_ref().and_then(|turn| self.rows.get(&turn.holder));
            let standing = Standing {
                row: self.rows.get(delivery),
                turn: self.turn.as_ref(),
                holder,
            };
            let asked = Asked {
                delivery,
                revision,
                now: at(now),
                until: at(now + 60),
                spacing: spacing(),
            };
            match claim(asked, standing) {
                Decision::Answer(claim) => return claim,
                Decision::WriteUp(row) => {
                    let holder = self.turn.as_ref().unwrap().holder.clone();
                    assert!(self.write(&holder, row.clone(), row.stage()));
                }
                Decision::Take(turn, lease) => {
                    self.turn = Some(turn);
                    return Claim::Taken(lease);
                }
            }
        }
    }

    fn take(&mut self, delivery: &DeliveryKey, revision: u32, now: i64) -> Lease {
        match self.claim(delivery, revision, now) {
            Claim::Taken(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, delivery: &DeliveryKey, row: Row, stage: Stage) -> bool {
        let may = may_write(self.rows.get(delivery), &row, stage);
        if may {
            self.rows.insert(delivery.clone(), row);
        }
        may
    }

    fn settle(&mut self, delivery: &DeliveryKey, lease: &Lease, outcome: Outcome) -> bool {
        self.write(delivery, lease.settled(outcome), lease.stage())
    }
}

fn delivered(activity: &str, revision: u32) -> Outcome {
    Outcome::Delivered(SentCopy {
        activity: Some(activity.into()),
        shows: revision,
        tried: revision,
    })
}

fn policy(guarantee: Guarantee, ends_at: i64) -> Policy {
    Policy {
        guarantee,
        revision: 0,
        ends_at: at(ends_at),
    }
}

fn lease(attempt: u32, doubts: u32) -> Lease {
    Lease {
        attempt,
        doubts,
        copy: None,
    }
}

fn throttled(retry_after: Option<i64>) -> Attempt {
    Attempt::NotSent {
        code: "Throttled".into(),
        retry_after: retry_after.map(SignedDuration::from_secs),
    }
}

fn waits(lease: &Lease, attempt: Attempt, chance: u32) -> (SignedDuration, u32) {
    match next(
        lease,
        attempt,
        policy(Guarantee::AtLeastOnce, 1_000_000),
        at(0),
        chance,
    ) {
        Next::Wait { until, doubts, .. } => (until.duration_since(at(0)), doubts),
        Next::Settle(outcome) => panic!("settled as {outcome:?}"),
    }
}

#[test]
fn a_conversation_has_one_turn_whoever_sends_what() {
    let (mut tables, one, other) = (Tables::default(), delivery("one"), delivery("other"));
    let lease = tables.take(&one, 0, 0);
    assert_eq!(tables.claim(&one, 0, 1), Claim::Held { until: at(60) });
    assert_eq!(tables.claim(&other, 0, 1), Claim::Busy { until: at(2) });
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
            Claim::Taken(lease) => assert!(tables.settle(&delivery, &lease, Outcome::Unknown)),
            other => {
                busy = Some((number, other));
                break;
            }
        }
    }
    assert!(matches!(busy, Some((6, Claim::Busy { until })) if until > at(0)));
}

#[test]
fn a_turn_past_its_deadline_leaves_a_doubt_whoever_takes_it_next() {
    for taker in ["dead", "other"] {
        let (mut tables, dead) = (Tables::default(), delivery("dead"));
        tables.take(&dead, 0, 0);
        tables.take(&delivery(taker), 0, 60);
        let row = tables.rows[&dead].clone();
        assert_eq!((row.attempt, row.doubts), (1, 1), "{taker}");
    }
}

#[test]
fn who_overran_is_too_late_but_for_saying_that_it_arrived() {
    for (outcome, stands) in [(Outcome::Expired, false), (delivered("1", 0), true)] {
        let (mut tables, one) = (Tables::default(), delivery("one"));
        let late = tables.take(&one, 0, 0);
        let taker = tables.take(&one, 0, 60);
        assert_eq!((taker.attempt, taker.doubts), (2, 1));
        assert_eq!(tables.settle(&one, &late, outcome), stands);
        assert_eq!(tables.settle(&one, &taker, delivered("2", 0)), !stands);
    }
}

#[test]
fn a_waiting_delivery_is_claimed_when_its_time_has_come() {
    let (mut tables, one) = (Tables::default(), delivery("one"));
    let lease = tables.take(&one, 0, 0);
    assert!(tables.write(&one, lease.released(at(10), "Throttled".into(), 0), lease.stage()));
    assert_eq!(tables.claim(&one, 0, 9), Claim::Waiting { until: at(10) });
    assert_eq!(tables.take(&one, 0, 10).attempt, 2);
}

#[test]
fn a_settled_delivery_is_claimed_again_only_to_bring_its_copy_up_to_date() {
    let (mut tables, one) = (Tables::default(), delivery("one"));
    let lease = tables.take(&one, 0, 0);
    assert!(tables.settle(&one, &lease, delivered("1", 0)));
    assert_eq!(tables.claim(&one, 0, 9), Claim::Settled(delivered("1", 0)));
    let edit = tables.take(&one, 1, 10);
    assert_eq!(edit.copy.as_ref().unwrap().activity, Some("1".into()));
    // It waits, its copy as it is, and is then asked for again.
    assert!(tables.write(&one, edit.released(at(20), "Throttled".into(), 0), edit.stage()));
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
    assert_eq!(tables.claim(&one, 1, 11), Claim::Held { until: at(70) });
    let edit = tables.take(&one, 1, 70);
    assert_eq!((edit.doubts, edit.attempt), (0, 3));
    assert!(edit.permits_attempt(Guarantee::AtMostOnce));
}

#[test]
fn an_unknown_outcome_follows_the_policy() {
    let unknown = |most| Attempt::Unknown {
        code: "Timeout".into(),
        most,
    };
    let after = |lease, most, guarantee| next(&lease, unknown(most), policy(guarantee, 1_000_000), at(0), 0);
    assert_eq!(
        after(lease(1, 0), DOUBTS_MAX, Guarantee::AtMostOnce),
        Next::Settle(Outcome::Unknown)
    );
    let waited: Vec<_> = (0..3)
        .map(|doubts| waits(&lease(1, doubts), unknown(DOUBTS_MAX), u32::MAX / 2))
        .collect();
    let about = [(15, 1), (60, 2), (240, 3)];
    for ((wait, doubts), (seconds, expected)) in waited.into_iter().zip(about) {
        assert!(
            (wait.as_secs() - seconds).abs() <= 1,
            "{wait} is not about {seconds} s"
        );
        assert_eq!(doubts, expected);
    }
    let last = after(lease(9, DOUBTS_MAX - 1), DOUBTS_MAX, Guarantee::AtLeastOnce);
    assert_eq!(last, Next::Settle(Outcome::Unknown));
    assert_eq!(
        after(lease(2, 1), 2, Guarantee::AtLeastOnce),
        Next::Settle(Outcome::Unknown)
    );
    assert!(lease(2, 1).permits_attempt(Guarantee::AtLeastOnce));
    assert!(!lease(2, 1).permits_attempt(Guarantee::AtMostOnce));
    assert!(!lease(5, DOUBTS_MAX).permits_attempt(Guarantee::AtLeastOnce));
}

#[test]
fn a_refusal_waits_as_long_as_the_channel_asks_and_never_hurries() {
    let wait = |attempt, retry_after, chance| waits(&lease(attempt, 0), throttled(retry_after), chance).0;
    assert!(wait(1, Some(645), 0) >= SignedDuration::from_secs(645));
    assert_eq!(wait(1, Some(0), 0), MIN_WAIT);
    assert_eq!(wait(1, None, u32::MAX), SignedDuration::from_secs(2));
    assert_eq!(wait(40, None, u32::MAX), SignedDuration::from_mins(1));
}

#[test]
fn no_number_of_refusals_gives_a_delivery_up_but_its_expiry_does() {
    let until_expiry = |lease: Lease| {
        next(
            &lease,
            throttled(Some(100)),
            policy(Guarantee::AtLeastOnce, 100),
            at(0),
            0,
        )
    };
    assert_eq!(until_expiry(lease(500, 0)), Next::Settle(Outcome::Expired));
    assert_eq!(until_expiry(lease(500, 1)), Next::Settle(Outcome::Unknown));
    waits(&lease(500, 0), throttled(Some(99)), 0);
}

#[test]
fn what_may_have_been_sent_is_not_said_to_have_been_refused() {
    let gone = || Attempt::Gone("ConversationBlockedByUser".into());
    let after = |doubts| {
        next(
            &lease(2, doubts),
            gone(),
            policy(Guarantee::AtLeastOnce, 100),
            at(0),
            0,
        )
    };
    assert!(matches!(after(0), Next::Settle(Outcome::Gone { .. })));
    assert_eq!(after(1), Next::Settle(Outcome::Unknown));
    let removed = Outcome::Skipped {
        reason: SkipReason::Removed,
    };
    assert_eq!(lease(2, 1).ending(removed), Outcome::Unknown);
}

#[test]
fn a_change_that_is_refused_leaves_the_copy_as_it_was() {
    let Outcome::Delivered(copy) = delivered("1", 0) else {
        unreachable!()
    };
    let edit = Lease {
        attempt: 2,
        doubts: 0,
        copy: Some(copy.clone()),
    };
    let to_revision = Policy {
        revision: 3,
        ..policy(Guarantee::AtMostOnce, 100)
    };
    let after = |attempt| next(&edit, attempt, to_revision, at(0), 0);
    let copy = |activity: Option<&str>, shows| {
        Next::Settle(Outcome::Delivered(SentCopy {
            activity: activity.map(Into::into),
            shows,
            tried: 3,
        }))
    };
    let rejected = Attempt::Rejected {
        code: "BadSyntax".into(),
        detail: None,
    };
    assert_eq!(after(rejected), copy(Some("1"), 0));
    assert_eq!(after(Attempt::CopyGone), copy(None, 0));
    assert_eq!(after(Attempt::Delivered(None)), copy(Some("1"), 3));
    let doubtful = Attempt::Unknown {
        code: "Timeout".into(),
        most: 4,
    };
    assert!(matches!(after(doubtful), Next::Wait { doubts: 0, .. }));
}

#[test]
fn a_key_fits_however_long_its_recipient() {
    assert!(delivery(&"x".repeat(9000)).as_str().len() < 2048);
    assert_ne!(delivery(&"x".repeat(9000)), delivery(&"x".repeat(9001)));
}

#[test]
fn a_tally_counts_each_outcome_under_its_own_name() {
    let mut tally = Tally::default();
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
        Outcome::Expired,
        Outcome::Cancelled,
    ] {
        let name = serde_json::to_value(&outcome).unwrap()["outcome"]
            .as_str()
            .unwrap()
            .to_owned();
        let before = tally;
        tally.count(&outcome);
        let changed: Vec<_> = tally
            .fields()
            .into_iter()
            .zip(before.fields())
            .filter(|(now, then)| now.1 != then.1)
            .collect();
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].0.0, name);
    }
    assert_eq!(tally.total(), 7);
}

#[test]
fn what_cannot_be_made_is_tried_ever_more_rarely_and_never_sooner_than_asked() {
    let wait = |failures, asked, chance| creation_backoff(failures, asked, chance).as_secs();
    let longest = [0, 1, 2, 3, 6, 7, 1_000_000].map(|failures| wait(failures, None, u32::MAX));
    assert_eq!(longest, [15, 30, 60, 120, 900, 900, 900]);
    assert_eq!([0, 6].map(|failures| wait(failures, None, 0)), [7, 450]);
    let asked = |seconds| Some(SignedDuration::from_secs(seconds));
    assert_eq!([wait(0, asked(90), 0), wait(0, asked(90), u32::MAX)], [90, 105]);
    assert_eq!(wait(6, asked(90), u32::MAX), 900);
    assert_eq!(wait(0, asked(-90), 0), 7);
}
