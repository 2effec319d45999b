use jiff::SignedDuration;

use super::*;
use crate::delivery::{Outcome, SentMessage};
use crate::id::NotificationId;
use crate::notification::StartPolicy;
use crate::notification::request::Request;
use crate::rate_limit::{BreakerOpen, Flow, FlowId, Size};

const LIMIT: Limit = Limit {
    requests: 45,
    per: SignedDuration::from_secs(1),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A notification to everyone that is planned, with so many deliveries.
fn notification(audience: u64) -> Notification {
    let body = serde_json::json!({"audience": {"everyone": true}, "message": {"text": "hello"}});
    let request = Request::parse(&body.into(), at(0)).unwrap();
    let id = NotificationId::fresh(at(0), [0; 16]);
    let mut notification =
        Notification::begin(id, at(0), "nobody".to_owned(), &request, StartPolicy::Immediate);
    notification.parts_planned = notification.parts;
    notification.audience = audience;
    notification
}

fn bucket() -> Bucket {
    serde_json::from_str("\"msteams|28:bot|tenant-1\"").unwrap()
}

fn recipients(count: usize) -> Vec<Recipient> {
    (0..count)
        .map(|number| Recipient::User(format!("person-{number}").as_str().into()))
        .collect()
}

fn waiting(until: i64, ambiguous_attempts: u32) -> Row {
    Row {
        state: State::Waiting {
            until: at(until),
            reason: "Throttled".to_owned(),
        },
        attempt: 1,
        ambiguous_attempts,
    }
}

fn delivered() -> Row {
    let sent = SentMessage {
        activity: None,
        revision: 0,
        attempted_revision: 0,
        supersedes: None,
    };
    Row {
        state: State::Settled(Outcome::Delivered(sent)),
        attempt: 1,
        ambiguous_attempts: 0,
    }
}

/// What is said of one chunk with these rows.
fn survey<'a>(
    notification: &'a Notification,
    rate: TenantRate,
    buried: Option<&str>,
    rows: &[Option<Row>],
) -> OpenCounts<'a> {
    let bucket = bucket();
    let mut survey = OpenCounts::new(
        notification,
        HashMap::from([(bucket.clone(), rate)]),
        LIMIT,
        at(100),
    );
    survey.examine(OpenChunk {
        bucket: Some(&bucket),
        buried,
        leases: &HashMap::new(),
        batch: None,
        recipients: &recipients(rows.len()),
        rows,
        counted: 0,
        wave: None,
        quiet: &HashMap::new(),
    });
    survey
}

/// A flow in which so many requests wait.
fn flow(class: QueueClass, waiting: u64) -> Flow {
    Flow {
        id: class.flow,
        weight: class.weight,
        next: at(100),
        issued: waiting,
        granted: 0,
        owed: 0,
    }
}

fn reasons(survey: &OpenCounts<'_>) -> Vec<(OpenReason, Option<u64>)> {
    let groups = survey.groups();
    groups
        .iter()
        .map(|group| (group.reason, group.deliveries))
        .collect()
}

#[test]
fn each_row_has_its_reason() {
    let rows = [
        None,
        Some(waiting(500, 0)),
        Some(waiting(400, 0)),
        Some(waiting(300, 1)),
        Some(waiting(50, 1)),
        Some(delivered()),
    ];
    let notification = notification(6);
    let survey = survey(&notification, TenantRate::default(), None, &rows);
    let expected = [
        (OpenReason::RetryingAmbiguous, Some(1)),
        (OpenReason::Retrying, Some(2)),
        (OpenReason::InFlight, Some(2)),
        (OpenReason::Ended, Some(1)),
    ];
    assert_eq!(reasons(&survey), expected);
    let retrying = &survey.groups()[1];
    assert_eq!(
        (retrying.code.as_deref(), retrying.until),
        (Some("Throttled"), Some(at(500)))
    );
    assert_eq!(retrying.examples, ["person-1", "person-2"]);
}

#[test]
fn who_is_being_installed_for_is_not_said_to_be_refused() {
    let mut row = waiting(115, 0);
    row.state = State::Waiting {
        until: at(115),
        reason: INSTALLING.to_owned(),
    };
    let notification = notification(1);
    let survey = survey(&notification, TenantRate::default(), None, &[Some(row)]);
    let group = survey.groups().remove(0);
    assert_eq!(
        (group.reason, group.code, group.until),
        (OpenReason::WaitingForInstall, None, Some(at(115)))
    );
    assert_eq!(survey.finish(), Some(at(115)));
}

#[test]
fn the_rate_of_the_bucket_says_why_nothing_is_sent_now() {
    let notification = notification(1);
    let reason = |rate: TenantRate, row| {
        let survey = survey(&notification, rate, None, &[row]);
        let group = survey.groups().remove(0);
        (group.reason, group.code, group.until)
    };
    let pause = BreakerOpen {
        code: "BotDisabledByAdmin".to_owned(),
        until: at(900),
    };
    let paused = TenantRate {
        breaker: Some(pause),
        ..TenantRate::default()
    };
    let code = || Some("BotDisabledByAdmin".to_owned());
    assert_eq!(
        reason(paused.clone(), None),
        (OpenReason::TenantPaused, code(), Some(at(900)))
    );
    assert_eq!(
        reason(paused, Some(waiting(950, 0))),
        (OpenReason::TenantPaused, code(), Some(at(950)))
    );
    let queued = TenantRate {
        flows: vec![flow(notification.queue_class(), 2700)],
        next_slot: at(101),
        ..TenantRate::default()
    };
    assert_eq!(reason(queued, None), (OpenReason::Queued, None, Some(at(161))));
    let soon = TenantRate {
        next_slot: at(101),
        ..TenantRate::default()
    };
    assert_eq!(
        reason(soon, None),
        (OpenReason::WaitingForPermit, None, Some(at(101)))
    );
    assert_eq!(
        reason(TenantRate::default(), None),
        (OpenReason::InFlight, None, None)
    );
}

#[test]
fn what_is_buried_held_scheduled_or_stopped_says_so_whatever_its_rows_and_rate() {
    let reason = |notification: &Notification, buried| {
        let rows = [Some(waiting(500, 0))];
        survey(notification, TenantRate::default(), buried, &rows)
            .groups()
            .remove(0)
    };
    let mut changed = notification(1);
    let buried = reason(&changed, Some("the table is away"));
    assert_eq!(
        (buried.reason, buried.code.as_deref()),
        (OpenReason::DeadLetter, Some("the table is away"))
    );
    changed.deliver_at = Some(at(1000));
    assert_eq!(
        (reason(&changed, None).reason, reason(&changed, None).until),
        (OpenReason::Scheduled, Some(at(1000)))
    );
    changed.start = StartPolicy::DryRun;
    assert_eq!(reason(&changed, None).reason, OpenReason::Held);
    let mut stopped = notification(1);
    stopped.cancelled_at = Some(at(90));
    assert_eq!(reason(&stopped, None).reason, OpenReason::Ending);
    let mut expired = notification(1);
    expired.expires_at = at(100);
    assert_eq!(reason(&expired, None).reason, OpenReason::Ending);
}

#[test]
fn what_is_not_planned_is_a_reason_without_a_number() {
    let mut young = notification(0);
    young.parts_planned = 0;
    let survey = OpenCounts::new(&young, HashMap::new(), LIMIT, at(100));
    assert_eq!(reasons(&survey), [(OpenReason::NotYetPlanned, None)]);
    assert_eq!(survey.finish(), None);
    young.deliver_at = Some(at(1000));
    let survey = OpenCounts::new(&young, HashMap::new(), LIMIT, at(100));
    assert_eq!(reasons(&survey), [(OpenReason::Scheduled, None)]);
}

#[test]
fn examples_are_few_and_counts_are_not() {
    let notification = notification(90);
    let survey = survey(&notification, TenantRate::default(), None, &vec![None; 90]);
    let group = survey.groups().remove(0);
    assert_eq!((group.deliveries, group.examples.len()), (Some(90), EXAMPLES_MAX));
    assert_eq!(survey.examined(), 90);
}

#[test]
fn rows_that_are_missing_count_as_none() {
    let notification = notification(3);
    let mut survey = OpenCounts::new(&notification, HashMap::new(), LIMIT, at(100));
    survey.examine(OpenChunk {
        bucket: None,
        buried: None,
        leases: &HashMap::new(),
        batch: None,
        recipients: &recipients(3),
        rows: &[],
        counted: 0,
        wave: None,
        quiet: &HashMap::new(),
    });
    assert_eq!(reasons(&survey), [(OpenReason::InFlight, Some(3))]);
}

#[test]
fn what_the_channel_has_in_a_batch_has_that_reason_until_a_row_says_more() {
    let mut notification = notification(2);
    let begun = BatchRecord::begin(None, at(160), Vec::new());
    let submitted = begun.at(Stage::Submitted(crate::batch::Submitted {
        id: "op".into(),
        service_url: "https://smba.trafficmanager.net/emea/".to_owned(),
        at: at(90),
        cancelled: false,
    }));
    let waiting_for = |until, ambiguous_attempts| BatchRecord {
        ambiguous_attempts,
        ..begun.at(Stage::Waiting {
            until: at(until),
            reason: "Throttled".to_owned(),
        })
    };
    let bucket = bucket();
    let rows = [None, Some(delivered())];
    let said = |notification: &Notification, batch: &BatchRecord| {
        let mut survey = OpenCounts::new(notification, HashMap::new(), LIMIT, at(100));
        survey.examine(OpenChunk {
            bucket: Some(&bucket),
            buried: None,
            leases: &HashMap::new(),
            batch: Some(batch),
            recipients: &recipients(2),
            rows: &rows,
            counted: 0,
            wave: None,
            quiet: &HashMap::new(),
        });
        let of_first = survey
            .groups()
            .into_iter()
            .find(|group| group.examples == ["person-0"]);
        let first = of_first.unwrap();
        ((first.reason, first.until), survey.finish().is_some())
    };
    assert_eq!(said(&notification, &begun), ((OpenReason::InFlight, None), true));
    assert_eq!(
        said(&notification, &waiting_for(200, 0)),
        ((OpenReason::Retrying, Some(at(200))), true)
    );
    assert_eq!(
        said(&notification, &waiting_for(200, 1)),
        ((OpenReason::RetryingAmbiguous, Some(at(200))), true)
    );
    assert_eq!(
        said(&notification, &waiting_for(50, 0)),
        ((OpenReason::InFlight, None), true)
    );
    assert_eq!(
        said(&notification, &submitted),
        ((OpenReason::InBatch, None), false)
    );
    // It is not ended by that.
    notification.cancelled_at = Some(at(95));
    assert_eq!(
        said(&notification, &submitted),
        ((OpenReason::InBatch, None), false)
    );
    assert_eq!(said(&notification, &begun).0, (OpenReason::Ending, None));
}

#[test]
fn the_finish_is_predicted_from_the_rate() {
    let notification_of = notification;
    let notification = notification_of(90);
    // Two seconds at 45 a second.
    let idle = survey(&notification, TenantRate::default(), None, &vec![None; 90]);
    assert_eq!(idle.finish(), Some(at(102)));
    // Another notification has four times its weight, or ends before it.
    let class = QueueClass {
        flow: FlowId::named("another"),
        weight: 4 * notification.queue_class().weight,
        size: Size::Large,
    };
    for (others, finish) in [(9000, at(110)), (180, at(106))] {
        let rate = TenantRate {
            flows: vec![flow(class, others)],
            ..TenantRate::default()
        };
        assert_eq!(
            survey(&notification, rate, None, &vec![None; 90]).finish(),
            Some(finish)
        );
    }
    // The last of them waits longer than the line.
    let mut rows = vec![None; 89];
    rows.push(Some(waiting(700, 0)));
    assert_eq!(
        survey(&notification, TenantRate::default(), None, &rows).finish(),
        Some(at(700))
    );
    // Those that were not looked at are like those that were.
    let larger = notification_of(900);
    assert_eq!(
        survey(&larger, TenantRate::default(), None, &vec![None; 90]).finish(),
        Some(at(120))
    );
    // The time of a redrive is not known.
    assert_eq!(
        survey(&notification, TenantRate::default(), Some("x"), &vec![None; 90]).finish(),
        None
    );
}

#[test]
fn nothing_is_predicted_to_finish_after_its_expiry() {
    let mut short = notification(900);
    short.expires_at = at(110);
    assert_eq!(
        survey(&short, TenantRate::default(), None, &vec![None; 900]).finish(),
        Some(at(110))
    );
}

#[test]
fn a_chunk_whose_worker_died_is_explained_by_the_time_until_which_the_queue_hides_it() {
    let notification = notification(2);
    let keys: Vec<ConversationKey> = ["a:1", "a:2"]
        .map(|id| format!("msteams|28:bot|{id}").parse().unwrap())
        .into();
    let recipients: Vec<Recipient> = keys.iter().cloned().map(Recipient::Conversation).collect();
    let lease = |until: i64| ConversationLease {
        holder: DeliveryKey::new(&notification.id, &recipients[0]),
        attempt: 1,
        ambiguous_attempts: 0,
        until: at(until),
        next: at(0),
    };
    let bucket = bucket();
    // Examined at 100.
    let explained = |lease: ConversationLease, row: Option<Row>| {
        let leases = HashMap::from([(keys[0].clone(), lease)]);
        let mut survey = OpenCounts::new(&notification, HashMap::new(), LIMIT, at(100));
        survey.examine(OpenChunk {
            bucket: Some(&bucket),
            buried: None,
            batch: None,
            leases: &leases,
            recipients: &recipients,
            rows: &[row, None],
            counted: 0,
            wave: None,
            quiet: &HashMap::new(),
        });
        let group = survey.groups().pop().unwrap();
        (group.reason, group.deliveries, group.until, survey.finish())
    };
    let hidden = (OpenReason::InFlight, Some(2), Some(at(540)), Some(at(540)));
    assert_eq!(explained(lease(90), None), hidden);
    for (lease, row) in [
        // It is alive.
        (lease(101), None),
        // The queue has shown it again.
        (lease(100 - 450), None),
        // It wrote its result, and another delivery holds the lease.
        (lease(90), Some(delivered())),
        (
            ConversationLease {
                holder: DeliveryKey::new(&notification.id, &recipients[1]),
                ..lease(90)
            },
            None,
        ),
    ] {
        let (_, _, until, finish) = explained(lease.clone(), row);
        assert_eq!(until, None, "{lease:?}");
        assert!(finish < Some(at(110)), "{finish:?}");
    }
}
