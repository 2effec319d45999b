use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;

const NOON: &str = "2027-01-15T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn document(more: &Value) -> LosslessJson {
    let mut document = json!({"cron": "0 9 * * *", "zone": "UTC",
                              "notification": {"audience": {"everyone": true}, "message": {"text": "good morning"}}});
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    document.into()
}

fn schedule(more: &Value) -> RecurringNotification {
    RecurringNotification::check(&document(more), at(NOON)).unwrap()
}

fn written(more: &Value) -> (ScheduleRecord, Recurrence) {
    let recurrence = schedule(more).recurrence;
    let record = ScheduleRecord::written(None, "nobody", document(more), &recurrence, at(NOON));
    (record, recurrence)
}

fn sent() -> OccurrenceState {
    let notification = NotificationId::fresh(at(NOON), [7; 16]);
    OccurrenceState::Sent { notification }
}

fn states(record: &ScheduleRecord) -> Vec<(String, OccurrenceState)> {
    let past = record.past.iter();
    past.map(|past| (past.at.to_string(), past.state.clone()))
        .collect()
}

#[test]
fn each_occurrence_is_to_be_sent_once() {
    let (record, recurrence) = written(&json!({}));
    let first = at("2027-01-16T09:00:00Z");
    assert_eq!((record.due, record.state()), (Some(first), ScheduleState::Active));
    let record = record.after(first, &recurrence, first);
    assert_eq!(record.due, Some(at("2027-01-17T09:00:00Z")));
    assert!(record.is_open(first));
    let record = record.settled(first, sent()).unwrap();
    assert!(!record.is_open(first));
    assert_eq!(record.clone().settled(first, OccurrenceState::Due), None);
    // Its message comes again.
    assert_eq!(record.clone().after(first, &recurrence, first), record);
}

#[test]
fn a_message_that_is_quicker_than_the_record_of_the_one_before_loses_none() {
    let (record, recurrence) = written(&json!({"cron": "* * * * *"}));
    let (first, second) = (at("2027-01-15T12:01:00Z"), at("2027-01-15T12:02:00Z"));
    let record = record.after(second, &recurrence, second);
    assert!(record.is_open(first) && record.is_open(second));
    assert_eq!(record.due, Some(at("2027-01-15T12:03:00Z")));
}

#[test]
fn a_refused_occurrence_is_tried_again_for_a_day() {
    let (record, recurrence) = written(&json!({}));
    let first = at("2027-01-16T09:00:00Z");
    let problem = Problem::invalid(Vec::new());
    let record = record.after(first, &recurrence, first);
    let record = record
        .settled(first, OccurrenceState::Refused { problem })
        .unwrap();
    assert!(record.is_open(first));
    let second = at("2027-01-17T09:00:00Z");
    let record = record.after(second, &recurrence, second);
    assert_eq!(
        states(&record),
        [
            (first.to_string(), OccurrenceState::Missed { until: None }),
            (second.to_string(), OccurrenceState::Due)
        ]
    );
}

#[test]
fn what_is_older_than_a_day_is_missed_and_said_to_be() {
    let (record, recurrence) = written(&json!({}));
    let first = at("2027-01-16T09:00:00Z");
    let record = record.after(first, &recurrence, at("2027-01-20T08:00:00Z"));
    let until = Some(at("2027-01-19T09:00:00Z"));
    assert_eq!(
        states(&record),
        [(first.to_string(), OccurrenceState::Missed { until })]
    );
    assert_eq!(record.due, until);
}

#[test]
fn a_paused_schedule_has_no_occurrence_and_goes_on_with_the_next_one() {
    let (record, recurrence) = written(&json!({}));
    let late = at("2027-01-17T10:00:00Z");
    let paused = record.paused(&recurrence, late);
    assert_eq!(
        (
            paused.due,
            paused.state(),
            paused.upcoming(&recurrence, late).next()
        ),
        (None, ScheduleState::Paused, None)
    );
    let skipped = OccurrenceState::Skipped;
    assert_eq!(
        states(&paused),
        [
            ("2027-01-16T09:00:00Z".to_owned(), skipped.clone()),
            ("2027-01-17T09:00:00Z".to_owned(), skipped)
        ]
    );
    let again = paused.clone().paused(&recurrence, at("2027-01-18T10:00:00Z"));
    assert_eq!(again, paused);
    let resumed = again.resumed(&recurrence, at("2027-01-20T10:00:00Z"));
    assert_eq!(
        (resumed.due, resumed.paused_at),
        (Some(at("2027-01-21T09:00:00Z")), None)
    );
    assert_eq!(
        resumed.clone().resumed(&recurrence, at("2027-02-20T10:00:00Z")),
        resumed
    );
}

#[test]
fn a_skipped_occurrence_is_not_sent_and_the_one_after_it_is() {
    let (mut record, recurrence) = written(&json!({}));
    let (first, second) = (at("2027-01-16T09:00:00Z"), at("2027-01-17T09:00:00Z"));
    assert_eq!(record.skip(None, &recurrence, at(NOON)), Skip::Skipped(first));
    assert_eq!(record.upcoming(&recurrence, at(NOON)).next(), Some(second));
    assert_eq!(
        record.skip(Some(first), &recurrence, at(NOON)),
        Skip::Skipped(first)
    );
    let record = record.after(first, &recurrence, first);
    assert_eq!(states(&record), [(first.to_string(), OccurrenceState::Skipped)]);
    assert!(record.skipped.is_empty());
    assert_eq!(record.due, Some(second));
}

#[test]
fn only_occurrences_to_come_are_skipped_and_not_endlessly_many() {
    let (mut record, recurrence) = written(&json!({"endsAt": "2027-06-01T00:00:00Z"}));
    for wrong in [
        "2027-01-15T09:00:00Z",
        "2027-01-16T09:01:00Z",
        "2027-06-01T09:00:00Z",
    ] {
        let skip = record.skip(Some(at(wrong)), &recurrence, at(NOON));
        assert_eq!(skip, Skip::NotUpcoming, "{wrong}");
    }
    for _ in 0..SKIPPED_MAX {
        assert!(matches!(
            record.skip(None, &recurrence, at(NOON)),
            Skip::Skipped(_)
        ));
    }
    assert_eq!(record.skip(None, &recurrence, at(NOON)), Skip::Full);
    let mut paused = record.paused(&recurrence, at(NOON));
    assert_eq!(paused.skip(None, &recurrence, at(NOON)), Skip::NotUpcoming);
}

#[test]
fn a_schedule_ends_before_its_end() {
    let (record, recurrence) = written(&json!({"endsAt": "2027-01-17T09:00:00Z"}));
    let first = at("2027-01-16T09:00:00Z");
    assert_eq!(
        record.upcoming(&recurrence, at(NOON)).collect::<Vec<_>>(),
        [first]
    );
    let record = record.after(first, &recurrence, first);
    assert_eq!((record.due, record.state()), (None, ScheduleState::Ended));
    assert!(record.is_open(first), "the last one is sent");
}

#[test]
fn a_schedule_that_is_written_again_keeps_its_state_if_its_times_stay() {
    let (mut record, recurrence) = written(&json!({}));
    record.skip(None, &recurrence, at(NOON));
    let text = json!({"description": "another"});
    let now = at("2027-01-16T09:00:30Z");
    // The occurrence of half a minute ago has not been handled.
    let same = ScheduleRecord::written(Some(record.clone()), "other", document(&text), &recurrence, now);
    assert_eq!(
        (same.due, &same.skipped, &same.caller[..]),
        (record.due, &record.skipped, "other")
    );
    let later = json!({"cron": "0 10 * * *"});
    let recurrence = schedule(&later).recurrence;
    let moved = ScheduleRecord::written(Some(record.clone()), "other", document(&later), &recurrence, now);
    assert_eq!(
        (moved.due, moved.skipped.len()),
        (Some(at("2027-01-16T10:00:00Z")), 0)
    );
    let paused = record.paused(&recurrence, now);
    let moved = ScheduleRecord::written(Some(paused), "other", document(&later), &recurrence, now);
    assert_eq!((moved.due, moved.state()), (None, ScheduleState::Paused));
}

#[test]
fn a_record_stays_small() {
    let (mut record, recurrence) = written(&json!({"cron": "* * * * *"}));
    let problem = Problem::invalid(Vec::new());
    let mut now = at(NOON);
    for minute in 0..4_000 {
        let Some(due) = record.due else {
            panic!("it does not end")
        };
        now = due;
        record = record.after(due, &recurrence, now);
        // Of three, one cannot be accepted, one is refused, one is sent.
        let state = match minute % 3 {
            0 => continue,
            1 => OccurrenceState::Refused {
                problem: problem.clone(),
            },
            _ => sent(),
        };
        record = record.settled(due, state).unwrap();
    }
    let count = |is_counted: fn(&OccurrenceState) -> bool| {
        record.past.iter().filter(|past| is_counted(&past.state)).count()
    };
    assert_eq!(count(|state| matches!(state, OccurrenceState::Due)), 24 * 60 / 3);
    assert!(count(|state| matches!(state, OccurrenceState::Refused { .. })) <= REFUSED_KEPT + 1);
    assert!(count(|state| matches!(state, OccurrenceState::Sent { .. })) <= OVER_KEPT + 1);
    assert!(serde_json::to_string(&record).unwrap().len() < 90_000, "at {now}");
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<ScheduleRecord>(&text).unwrap(), record);
}

#[test]
fn the_numbers_of_a_message_are_stored_as_they_were_written() {
    let text = r#"{"cron":"@daily","notification":{"audience":{"everyone":true},"message":{"text":"x","value":1.10},"expiresIn":"PT8H"}}"#;
    let document = LosslessJson::from_slice(text.as_bytes()).unwrap();
    let schedule = RecurringNotification::check(&document, at(NOON)).unwrap();
    let record = ScheduleRecord::written(None, "nobody", document, &schedule.recurrence, at(NOON));
    let stored = serde_json::to_string(&record).unwrap();
    let record: ScheduleRecord = serde_json::from_str(&stored).unwrap();
    let schedule = RecurringNotification::parse(&record.document).unwrap();
    let request = schedule.request(at(NOON));
    assert!(request.to_string().contains("1.10"), "{request}");
    assert_eq!(request.value["expiresAt"], "2027-01-15T20:00:00Z");
    assert_eq!(request.value.get("expiresIn"), None);
}

#[test]
fn an_occurrence_is_late_when_its_notification_would_be_over() {
    let first = at("2027-01-16T09:00:00Z");
    let hours = |hours| later(first, SignedDuration::from_hours(hours));
    let plain = schedule(&json!({}));
    assert_eq!(
        (plain.is_late(first, hours(23)), plain.is_late(first, hours(24))),
        (false, true)
    );
    for field in ["expiresIn", "retractIn"] {
        let notification = json!({"audience": {"everyone": true}, "message": {"text": "x"}, field: "PT2H"});
        let short = schedule(&json!({ "notification": notification }));
        assert_eq!(
            (short.is_late(first, hours(1)), short.is_late(first, hours(2))),
            (false, true)
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_its_field() {
    let pointers = |more: &Value| {
        let faults = RecurringNotification::check(&document(more), at(NOON)).unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect::<Vec<_>>()
    };
    for (more, pointer) in [
        (json!({"cron": "daily"}), "#/cron"),
        (json!({"zone": "Mars"}), "#/zone"),
        (json!({"endsAt": "tomorrow"}), "#/endsAt"),
        (json!({"until": NOON}), "#/until"),
        (json!({"description": 7}), "#/description"),
        (json!({"notification": "hi"}), "#/notification"),
    ] {
        assert_eq!(pointers(&more), [pointer], "{more}");
    }
    let with = |name: &str, value: Value| {
        let mut notification = json!({"audience": {"everyone": true}, "message": {"text": "x"}});
        notification[name] = value;
        pointers(&json!({ "notification": notification }))
    };
    for (name, value) in [
        ("deliverAt", json!(NOON)),
        ("expiresAt", json!(NOON)),
        ("retractAt", json!(NOON)),
        ("dryRun", json!(false)),
        ("confirm", json!("ntf_1")),
        ("expiresIn", json!(60)),
        ("expiresIn", json!("8h")),
        ("expiresIn", json!("PT0S")),
        ("expiresIn", json!("PT400H")),
        ("retractIn", json!("P1D")),
        ("replacement", json!({"text": "over"})),
        ("priority", json!("high")),
        ("recipients", json!([])),
    ] {
        assert_eq!(
            with(name, value.clone()),
            [format!("#/notification/{name}")],
            "{value}"
        );
    }
    assert_eq!(with("message", json!({"text": ""})), ["#/notification/message"]);
    assert_eq!(
        RecurringNotification::parse(&json!([]).into()).unwrap_err()[0].pointer,
        "#"
    );
    let long = json!({"description": "x".repeat(DOCUMENT_BYTES_MAX)});
    assert_eq!(pointers(&long), ["#"]);
}

/// Numbers that a seed decides: the multiplier is of Knuth's MMIX.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// In every zone of the database, over both changes of the clock: each occurrence is sent once, or skipped by a caller's word, or
/// falls into a pause; whatever the order in which messages come, and however often.
#[test]
fn in_every_zone_no_occurrence_is_sent_twice_or_skipped_in_silence() {
    let zones: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
    assert!(zones.len() > 300, "{}", zones.len());
    for (seed, zone) in (1..).zip(&zones) {
        for from in ["2026-03-07T00:00:00Z", "2026-10-24T00:00:00Z"] {
            let document =
                document(&json!({"cron": "30 0-3 * * *", "zone": zone, "endsAt": "2026-11-10T12:00:00Z"}));
            // What the database lists and the schedule does not take, such as `posixrules`, is no zone of callers.
            if let Ok(schedule) = RecurringNotification::check(&document, at(from)) {
                lives(&mut Numbers(seed), &schedule.recurrence, document, at(from));
            }
        }
    }
}

/// Drives a record through ten days by messages that come late, early and again, and checks what became of each occurrence.
fn lives(numbers: &mut Numbers, recurrence: &Recurrence, document: LosslessJson, from: Timestamp) {
    let mut record = ScheduleRecord::written(None, "nobody", document, recurrence, from);
    let ends = later(from, SignedDuration::from_hours(10 * 24));
    let mut became: BTreeMap<Timestamp, &str> = BTreeMap::new();
    let mut now = from;
    let mut earlier_messages = vec![from];
    while now < ends {
        now = later(
            now,
            SignedDuration::from_mins(i64::try_from(numbers.below(240)).unwrap()),
        );
        match numbers.below(24) {
            0 => {
                for at in recurrence_from(recurrence, record.due).take_while(|at| *at <= now) {
                    assert_eq!(became.insert(at, "paused"), None);
                }
                record = record.paused(recurrence, now);
                let until = later(
                    now,
                    SignedDuration::from_hours(i64::try_from(numbers.below(50)).unwrap()),
                );
                for at in recurrence.all_after(now).take_while(|at| *at <= until) {
                    assert_eq!(became.insert(at, "paused"), None);
                }
                now = until;
                record = record.resumed(recurrence, now);
            }
            1 => _ = record.skip(None, recurrence, now),
            _ => {}
        }
        // The message of the due occurrence comes if it is time, or that of the one after it, and an earlier one comes again.
        let again = usize::try_from(numbers.below(earlier_messages.len() as u64)).unwrap();
        let due = record.due.filter(|due| *due <= now);
        let quicker = due.and_then(|due| recurrence.next_after(due));
        let quicker = quicker.filter(|at| *at <= now && numbers.below(2) == 0);
        for message in [Some(earlier_messages[again]), quicker.or(due)]
            .into_iter()
            .flatten()
        {
            let (skipped, before) = (record.skipped.clone(), record.due);
            record = record.after(message, recurrence, now);
            let (had_come, after) = (recurrence_from(recurrence, before), record.due);
            for came in had_come.take_while(|at| after.is_none_or(|after| *at < after)) {
                earlier_messages.push(came);
                if skipped.contains(&came) {
                    assert_eq!(became.insert(came, "skipped"), None);
                }
            }
            let past = record.past.iter().map(|past| past.at);
            let open: Vec<_> = past.filter(|at| record.is_open(*at)).collect();
            for at in open {
                assert_eq!(became.insert(at, "sent"), None, "{at}");
                record = record.settled(at, sent()).unwrap();
            }
        }
    }
    let expected: Vec<_> = recurrence
        .all_after(from)
        .take_while(|at| record.due.map_or(*at <= now, |due| *at < due))
        .collect();
    let handled: Vec<_> = became.keys().copied().collect();
    assert_eq!(handled, expected, "{record:?}");
}

/// This occurrence and those after it.
fn recurrence_from(
    recurrence: &Recurrence,
    first: Option<Timestamp>,
) -> impl Iterator<Item = Timestamp> + '_ {
    std::iter::successors(first, |at| recurrence.next_after(*at))
}
