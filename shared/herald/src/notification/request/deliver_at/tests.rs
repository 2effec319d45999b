use serde_json::json;

use super::*;
use crate::problem::Fault;

fn parsed(deliver_at: &Value) -> Result<(DeliveryTime, Vec<Warning>), Vec<Fault>> {
    let now = "2026-12-01T12:00:00Z".parse().unwrap();
    let body = json!({"deliverAt": deliver_at});
    let (mut faults, mut warnings) = (Faults::default(), Vec::new());
    let time = parse(body.as_object().unwrap(), now, &mut faults, &mut warnings);
    faults.none_in(Some((time, warnings)))
}

fn pointers(deliver_at: &Value) -> Vec<String> {
    let faults = parsed(deliver_at).unwrap_err().into_iter();
    faults.map(|fault| fault.pointer).collect()
}

#[test]
fn a_wall_time_in_a_zone_is_a_moment_also_when_the_clock_changes() {
    for (at, zone, moment) in [
        ("2026-12-24T18:00", "Europe/Berlin", "2026-12-24T17:00:00Z"),
        ("2026-12-24T18:00:00", "utc", "2026-12-24T18:00:00Z"),
        // It does not exist; it exists twice.
        ("2027-03-28T02:30", "Europe/Berlin", "2027-03-28T01:00:00Z"),
        ("2027-10-31T02:30", "Europe/Berlin", "2027-10-31T00:30:00Z"),
    ] {
        let (time, warnings) = parsed(&json!({"at": at, "zone": zone})).unwrap();
        assert_eq!(time.planned_at.unwrap().to_string(), moment, "{at} {zone}");
        assert_eq!(
            (time.latest, time.local_time, warnings.len()),
            (time.planned_at, None, 0)
        );
    }
}

#[test]
fn a_wall_time_of_recipients_is_planned_a_day_before_it_can_be_anywhere() {
    let (time, warnings) =
        parsed(&json!({"at": "2026-12-24T09:00", "zone": "recipient", "fallback": "asia/tokyo"})).unwrap();
    assert_eq!(time.planned_at.unwrap().to_string(), "2026-12-22T19:00:00Z");
    assert_eq!(time.latest.unwrap().to_string(), "2026-12-24T21:00:00Z");
    assert_eq!(time.local_time.unwrap().fallback, Zone::named("Asia/Tokyo"));
    assert!(warnings.is_empty());
    // It is near: at once. It has passed in the east: with a warning.
    let (time, warnings) = parsed(&json!({"at": "2026-12-02T09:00", "zone": "recipient"})).unwrap();
    assert_eq!((time.planned_at, warnings.len()), (None, 0));
    let (time, warnings) = parsed(&json!({"at": "2026-12-01T09:00", "zone": "recipient"})).unwrap();
    assert_eq!(
        (time.planned_at, warnings[0].code),
        (None, WarningCode::TimePassed)
    );
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_field() {
    let recipient = |at: &str| json!({"at": at, "zone": "recipient"});
    for (wrong, expected) in [
        (json!({}), vec!["#/deliverAt/at", "#/deliverAt/zone"]),
        (json!({"at": "2026-12-24T09:00"}), vec!["#/deliverAt/zone"]),
        (
            json!({"at": "2026-12-24T09:00", "zone": "Berlin"}),
            vec!["#/deliverAt/zone"],
        ),
        (
            json!({"at": "2026-12-24T09:00", "zone": "UTC", "fallback": "UTC"}),
            vec!["#/deliverAt/fallback"],
        ),
        (
            json!({"at": "2026-12-24T09:00", "zone": "recipient", "fallback": 1}),
            vec!["#/deliverAt/fallback"],
        ),
        (
            json!({"at": "2026-12-24T09:00", "zone": "UTC", "zones": 1}),
            vec!["#/deliverAt/zones"],
        ),
        (
            json!({"at": "2026-12-01T11:00", "zone": "UTC"}),
            vec!["#/deliverAt/at"],
        ),
        (
            json!({"at": "2027-12-01T13:00", "zone": "UTC"}),
            vec!["#/deliverAt/at"],
        ),
        (recipient("2026-11-30T23:00"), vec!["#/deliverAt/at"]),
        (recipient("2027-12-01T12:00"), vec!["#/deliverAt/at"]),
        (recipient("2026-12-24T09:00Z"), vec!["#/deliverAt/at"]),
        (recipient("2026-12-24T09:00+01:00"), vec!["#/deliverAt/at"]),
        (recipient("2026-12-24T09:00:30"), vec!["#/deliverAt/at"]),
        (recipient("2026-12-24"), vec!["#/deliverAt/at"]),
        (json!("tomorrow"), vec!["#/deliverAt"]),
    ] {
        assert_eq!(pointers(&wrong), expected, "{wrong}");
    }
}

/// Every zone of the database has its instant between the two bounds, once, and in the order of the wall times.
#[test]
fn in_every_zone_a_wall_time_comes_once_within_the_bounds() {
    let walls: Vec<DateTime> = [
        "2027-03-14T02:30",
        "2027-03-28T02:00",
        "2027-03-28T02:45",
        "2027-10-31T01:30",
        "2027-11-07T01:15",
    ]
    .into_iter()
    .map(|text| read(text).unwrap())
    .collect();
    for name in jiff::tz::db().available() {
        let rules = Zone::named(name.as_str()).map(|zone| zone.rules());
        let Some(rules) = rules else { continue };
        let instants: Vec<_> = walls
            .iter()
            .map(|at| {
                let local_time = LocalTime {
                    at: *at,
                    fallback: None,
                };
                let moment = instant(*at, &rules).unwrap();
                // At a change of the clock the wall may show more than the wall time.
                let shown = rules.to_datetime(moment);
                assert!(shown >= *at, "{name} {at}: {shown}");
                assert!(
                    local_time.earliest().unwrap() <= moment && moment <= local_time.latest().unwrap(),
                    "{name} {at}"
                );
                moment
            })
            .collect();
        assert!(instants.is_sorted(), "{name}");
    }
}
