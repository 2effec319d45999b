use jiff::SignedDuration;
use jiff::civil::time;
use serde_json::json;

use super::*;

fn hours(from: &str, to: &str) -> QuietHours {
    QuietHours::between(read(from).unwrap(), read(to).unwrap()).unwrap()
}

/// When the quiet hours end that the moment lies in, on the wall clock with its offset.
fn end(hours: QuietHours, moment: &str, zone: &str) -> Option<String> {
    let zone = TimeZone::get(zone).unwrap();
    let end = hours.end(moment.parse().unwrap(), &zone)?;
    Some(end.to_zoned(zone).strftime("%d %H:%M%:z").to_string())
}

#[test]
fn a_night_lasts_until_the_morning_and_its_end_is_not_quiet() {
    let night = hours("22:00", "07:00");
    let at = |moment| end(night, moment, "Europe/Berlin");
    assert_eq!(at("2026-12-01T20:59:59Z"), None);
    assert_eq!(at("2026-12-01T21:00:00Z").as_deref(), Some("02 07:00+01:00"));
    assert_eq!(at("2026-12-02T05:59:59Z").as_deref(), Some("02 07:00+01:00"));
    assert_eq!(at("2026-12-02T06:00:00Z"), None);
    let noon = hours("12:00", "13:00");
    assert_eq!(
        end(noon, "2026-12-01T12:30:00Z", "UTC").as_deref(),
        Some("01 13:00+00:00")
    );
    assert_eq!(end(noon, "2026-12-01T13:00:00Z", "UTC"), None);
}

#[test]
fn on_days_of_change_they_end_by_the_rule_of_wall_times() {
    // The clock goes forward from 02:00 to 03:00, and back from 03:00 to 02:00.
    let early = hours("22:00", "02:30");
    let at = |moment| end(early, moment, "Europe/Berlin");
    assert_eq!(at("2026-03-29T00:30:00Z").as_deref(), Some("29 03:00+02:00"));
    assert_eq!(at("2026-03-29T01:00:00Z"), None);
    assert_eq!(at("2026-10-25T00:15:00Z").as_deref(), Some("25 02:30+02:00"));
    // Quarter past two for the second time.
    assert_eq!(at("2026-10-25T01:15:00Z"), None);
    // Hours that do not exist on that day are not quiet.
    let missing = hours("02:15", "02:45");
    assert_eq!(end(missing, "2026-03-29T01:00:00Z", "Europe/Berlin"), None);
}

#[test]
fn null_is_a_choice_and_nothing_is_none() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Holder {
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "stored_choice"
        )]
        quiet: Option<QuietChoice>,
    }
    for (quiet, document) in [
        (None, json!({})),
        (Some(QuietChoice::Never), json!({"quiet": null})),
        (
            Some(QuietChoice::Daily(hours("22:00", "06:45"))),
            json!({"quiet": {"from": "22:00", "to": "06:45"}}),
        ),
    ] {
        let holder = Holder { quiet };
        assert_eq!(serde_json::to_value(&holder).unwrap(), document);
        assert_eq!(serde_json::from_value::<Holder>(document).unwrap(), holder);
    }
}

#[test]
fn faults_name_their_fields() {
    let pointers = |document: Value| {
        let mut faults = Faults::default();
        let parsed = QuietChoice::parse(&document, "#/quietHours", &mut faults);
        assert!(parsed.is_none(), "{document}");
        let faults: Vec<_> = faults.none_in(None::<()>).unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect::<Vec<_>>()
    };
    assert_eq!(pointers(json!("22:00")), ["#/quietHours"]);
    assert_eq!(pointers(json!({})), ["#/quietHours/from", "#/quietHours/to"]);
    assert_eq!(
        pointers(json!({"from": "22:00", "to": "22:00"})),
        ["#/quietHours/to"]
    );
    for wrong in ["22:10", "24:00", "7:00", "22:00:00", "+2:00", "abcde"] {
        assert_eq!(
            pointers(json!({"from": wrong, "to": "07:00"})),
            ["#/quietHours/from"],
            "{wrong}"
        );
    }
    let both = json!({"form": "22:00", "from": "22:00", "to": 7});
    assert_eq!(pointers(both), ["#/quietHours/form", "#/quietHours/to"]);
}

/// In every zone of the database, for hours and moments of a year in which clocks of all kinds change: the end is the first moment
/// after it that is not quiet. What is quiet is found from the definition, over all days around the moment.
#[test]
fn the_end_is_the_first_moment_that_is_not_quiet_in_every_zone() {
    const YEAR_BEGINS: i64 = 1_767_225_600;
    const YEAR_SECONDS: u64 = 365 * 24 * 3600;
    let mut random = 7_u64;
    let mut below = |bound: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut quiet = 0;
    for name in jiff::tz::db().available() {
        let zone = jiff::tz::db().get(name.as_str()).unwrap();
        let changes = zone.following(Timestamp::from_second(YEAR_BEGINS).unwrap());
        let changes: Vec<_> = changes.take(4).map(|change| change.timestamp()).collect();
        for round in 0..40 {
            let (from, length) = (below(96), 1 + below(95));
            let hours = QuietHours::between(at(from), at(from + length)).unwrap();
            // Every other moment is near a change of the clock, if there is one.
            let moment = match changes.get(round / 2 % 4).filter(|_| round % 2 == 0) {
                Some(change) => {
                    *change + SignedDuration::from_secs(i64::try_from(below(14_400)).unwrap() - 7_200)
                }
                None => {
                    let second = i64::try_from(below(YEAR_SECONDS)).unwrap();
                    Timestamp::from_second(YEAR_BEGINS + second).unwrap()
                }
            };
            let mut expected = None;
            while let Some(end) = end_by_definition(hours, expected.unwrap_or(moment), &zone) {
                expected = Some(end);
            }
            let shown = (name.as_str(), hours, moment);
            assert_eq!(hours.end(moment, &zone), expected, "{shown:?}");
            if let Some(end) = expected {
                quiet += 1;
                assert!(end > moment, "{shown:?}");
                assert_eq!(hours.end(end, &zone), None, "{shown:?}");
                let before = end - SignedDuration::from_nanos(1);
                assert_eq!(hours.end(before, &zone), Some(end), "{shown:?}");
            }
        }
    }
    assert!(quiet > 1_000, "{quiet}");
}

/// A time of the day, in quarters of an hour.
fn at(quarter: u64) -> Time {
    let quarter = i8::try_from(quarter % 96).unwrap();
    time(quarter / 4, quarter % 4 * 15, 0, 0)
}

fn end_by_definition(hours: QuietHours, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let day = zone.to_datetime(moment).date();
    let ends = (-3_i64..=3).filter_map(|days| {
        let day = day.checked_add(days.days()).unwrap();
        let last = if hours.from < hours.to {
            day
        } else {
            day.tomorrow().unwrap()
        };
        let begins = instant(day.to_datetime(hours.from), zone)?;
        let ends = instant(last.to_datetime(hours.to), zone)?;
        (begins <= moment && moment < ends).then_some(ends)
    });
    let ends: Vec<_> = ends.collect();
    assert!(ends.len() <= 1, "no two quiet times overlap: {ends:?}");
    ends.first().copied()
}
