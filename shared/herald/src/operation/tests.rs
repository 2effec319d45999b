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

fn retry(standing: Option<&Operation>, now: i64) -> Step {
    next(standing, Guarantee::AtLeastOnce, at(now))
}

#[test]
fn one_submits_and_the_others_wait_for_what_comes_of_it() {
    assert_eq!(retry(None, 0), Step::Submit);
    let begun = Operation::begin(None, at(60), Vec::new());
    assert_eq!((begun.step, begun.ambiguous_attempts), (1, 0));
    assert_eq!(retry(Some(&begun), 0), Step::Wait(at(5)));
    assert_eq!(retry(Some(&begun), 58), Step::Wait(at(60)));
    let taken = begun.at(Stage::Submitted(submitted()));
    assert_eq!((taken.step, retry(Some(&taken), 0)), (2, Step::Ask(submitted())));
    assert_eq!(retry(Some(&taken.at(Stage::Over)), 0), Step::OneByOne);
    assert_eq!(retry(Some(&Operation::over(None)), 0), Step::OneByOne);
}

#[test]
fn what_was_certainly_not_carried_out_is_submitted_again_without_a_doubt() {
    let begun = Operation::begin(None, at(60), Vec::new());
    let waiting = begun.at(Stage::Waiting {
        until: at(30),
        reason: "Throttled".to_owned(),
    });
    for policy in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        assert_eq!(next(Some(&waiting), policy, at(29)), Step::Wait(at(30)));
        assert_eq!(next(Some(&waiting), policy, at(30)), Step::Submit);
    }
    assert_eq!(
        Operation::begin(Some(&waiting), at(90), Vec::new()).ambiguous_attempts,
        0
    );
}

#[test]
fn a_worker_that_died_leaves_a_doubt_and_the_policy_says_what_follows() {
    let mut standing = Operation::begin(None, at(60), Vec::new());
    assert_eq!(next(Some(&standing), Guarantee::AtMostOnce, at(60)), Step::GiveUp);
    for ambiguous_attempts in 1..MAX_AMBIGUOUS_ATTEMPTS {
        assert_eq!(retry(Some(&standing), 60), Step::Submit);
        standing = Operation::begin(Some(&standing), at(60), Vec::new());
        assert_eq!(standing.ambiguous_attempts, ambiguous_attempts);
    }
    assert_eq!(retry(Some(&standing), 60), Step::GiveUp);
    assert_eq!(retry(Some(&standing.at(Stage::Lost)), 60), Step::GiveUp);
}

#[test]
fn who_stands_aside_is_known_to_whoever_goes_on() {
    let aside = vec![Recipient::User("ada".into())];
    let begun = Operation::begin(None, at(60), aside.clone());
    let later = begun.at(Stage::Submitted(submitted())).at(Stage::Over);
    assert_eq!(later.aside, aside);
    let anew = Operation::begin(Some(&begun), at(90), Vec::new());
    assert_eq!(anew.aside, [], "it is decided anew with each attempt");
}

#[test]
fn an_operation_is_asked_for_later_and_later_or_when_the_channel_says() {
    let after = |now: i64| submitted().asked_again(None, at(now)).as_second() - now;
    assert_eq!([0, 4, 20, 60, 200].map(after), [5, 5, 10, 30, 60]);
    let named = |text: &str| submitted().asked_again(Some(text), at(100)).as_second() - 100;
    assert_eq!(named("1970-01-01T00:02:00Z"), 20);
    assert_eq!(named("1970-01-01T00:00:00Z"), 5, "it has passed");
    assert_eq!(named("1970-01-02T00:00:00Z"), 900, "no longer than a queue waits");
    assert_eq!(named("soon"), 50);
}

#[test]
fn it_is_asked_for_a_day_after_its_notification_expired_and_no_longer() {
    assert!(!is_given_up(at(0), at(86_399)));
    assert!(is_given_up(at(0), at(86_400)));
    assert!(submitted().is_new(at(59)) && !submitted().is_new(at(60)));
}

#[test]
fn no_two_chunks_share_an_operation() {
    let id = NotificationId::fresh(at(0), [1; 16]);
    let key = |part, page, index| OperationKey::new(&id, ChunkId { part, page, index });
    let keys = [key(1, 11, 1), key(11, 1, 1), key(1, 1, 11), key(1, 1, 1)];
    for (place, one) in keys.iter().enumerate() {
        assert!(keys[place + 1..].iter().all(|other| one != other));
    }
}
