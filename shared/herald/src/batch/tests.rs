use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn submitted() -> Submitted {
    Submitted {
        id: "op".into(),
        service_url: "https://smba.trafficmanager.net/emea/".to_owned(),
        at: at(0),
        cancelled: false,
    }
}

fn retry(stored: Option<&BatchRecord>, now: i64) -> Step {
    next(stored, Guarantee::AtLeastOnce, at(now))
}

#[test]
fn one_worker_submits_and_the_others_wait() {
    assert_eq!(retry(None, 0), Step::Submit);
    let begun = BatchRecord::begin(None, at(60), Vec::new());
    assert_eq!((begun.step, begun.ambiguous_attempts), (1, 0));
    assert_eq!(retry(Some(&begun), 0), Step::Wait(at(5)));
    assert_eq!(retry(Some(&begun), 58), Step::Wait(at(60)));
    let taken = begun.at(Stage::Submitted(submitted()));
    assert_eq!((taken.step, retry(Some(&taken), 0)), (2, Step::Poll(submitted())));
    assert_eq!(retry(Some(&taken.at(Stage::Done)), 0), Step::FallBack);
    assert_eq!(retry(Some(&BatchRecord::done(None)), 0), Step::FallBack);
}

#[test]
fn a_submission_that_was_not_executed_is_retried_and_not_ambiguous() {
    let begun = BatchRecord::begin(None, at(60), Vec::new());
    let waiting = begun.at(Stage::Waiting {
        until: at(30),
        reason: "Throttled".to_owned(),
    });
    for policy in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        assert_eq!(next(Some(&waiting), policy, at(29)), Step::Wait(at(30)));
        assert_eq!(next(Some(&waiting), policy, at(30)), Step::Submit);
    }
    assert_eq!(
        BatchRecord::begin(Some(&waiting), at(90), Vec::new()).ambiguous_attempts,
        0
    );
}

#[test]
fn a_worker_that_died_leaves_an_ambiguous_submission_and_the_policy_decides() {
    let mut stored = BatchRecord::begin(None, at(60), Vec::new());
    assert_eq!(
        next(Some(&stored), Guarantee::AtMostOnce, at(60)),
        Step::MarkUnknown
    );
    for ambiguous_attempts in 1..MAX_AMBIGUOUS_ATTEMPTS {
        assert_eq!(retry(Some(&stored), 60), Step::Submit);
        stored = BatchRecord::begin(Some(&stored), at(60), Vec::new());
        assert_eq!(stored.ambiguous_attempts, ambiguous_attempts);
    }
    assert_eq!(retry(Some(&stored), 60), Step::MarkUnknown);
    assert_eq!(retry(Some(&stored.at(Stage::IdLost)), 60), Step::MarkUnknown);
}

#[test]
fn excluded_recipients_stay_known_in_later_steps() {
    let excluded = vec![Recipient::User("ada".into())];
    let begun = BatchRecord::begin(None, at(60), excluded.clone());
    let later = begun.at(Stage::Submitted(submitted())).at(Stage::Done);
    assert_eq!(later.excluded, excluded);
    let anew = BatchRecord::begin(Some(&begun), at(90), Vec::new());
    assert_eq!(anew.excluded, [], "each attempt excludes anew");
}

#[test]
fn a_batch_is_polled_at_growing_intervals_or_when_the_channel_says() {
    let after = |now: i64| submitted().next_poll(None, at(now)).as_second() - now;
    assert_eq!([0, 4, 20, 60, 200].map(after), [5, 5, 10, 30, 60]);
    let named = |text: &str| submitted().next_poll(Some(text), at(100)).as_second() - 100;
    assert_eq!(named("1970-01-01T00:02:00Z"), 20);
    assert_eq!(named("1970-01-01T00:00:00Z"), 5, "it has passed");
    assert_eq!(named("1970-01-02T00:00:00Z"), 900, "no longer than a queue waits");
    assert_eq!(named("soon"), 50);
}

#[test]
fn a_batch_is_polled_until_a_day_after_its_notification_expired() {
    assert!(!is_abandoned(at(0), at(86_399)));
    assert!(is_abandoned(at(0), at(86_400)));
    assert!(submitted().is_new(at(59)) && !submitted().is_new(at(60)));
}

#[test]
fn no_two_chunks_share_a_batch() {
    let id = NotificationId::fresh(at(0), [1; 16]);
    let key = |part, page, index| BatchKey::new(&id, ChunkId { part, page, index });
    let keys = [key(1, 11, 1), key(11, 1, 1), key(1, 1, 11), key(1, 1, 1)];
    for (place, one) in keys.iter().enumerate() {
        assert!(keys[place + 1..].iter().all(|other| one != other));
    }
}
