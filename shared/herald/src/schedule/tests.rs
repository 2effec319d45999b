use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::*;

fn schedule(pattern: &str, zone: &str) -> Schedule {
    Schedule::parse(pattern, zone).unwrap_or_else(|error| panic!("{pattern} {zone}: {error}"))
}

/// The occurrences from one moment, exclusive, to another, inclusive, on the wall clock with its offset.
fn between(pattern: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let schedule = schedule(pattern, zone);
    let (from, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
    let occurrences = schedule.all_after(from).take_while(|at| *at <= to);
    let shown = occurrences.map(|at| schedule.zoned(at).strftime("%d %H:%M%:z").to_string());
    shown.collect()
}

#[test]
fn a_pattern_comes_by_the_wall_clock_of_its_zone_in_summer_and_in_winter() {
    // Friday, before the clock goes forward on Sunday.
    let mornings = between(
        "0 9 * * MON-FRI",
        "Europe/Berlin",
        "2026-03-27T00:00:00Z",
        "2026-03-31T12:00:00Z",
    );
    assert_eq!(mornings, ["27 09:00+01:00", "30 09:00+02:00", "31 09:00+02:00"]);
}

#[test]
fn a_time_that_does_not_exist_comes_at_the_change_of_the_clock_once() {
    // On 29 March 2026 it is 01:59:59+01:00 in Berlin, and then 03:00:00+02:00.
    let in_berlin = |pattern| {
        between(
            pattern,
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            "2026-03-30T12:00:00Z",
        )
    };
    assert_eq!(in_berlin("30 2 * * *"), ["29 03:00+02:00", "30 02:30+02:00"]);
    assert_eq!(
        in_berlin("0,30 2,3 * * *"),
        [
            "29 03:00+02:00",
            "29 03:30+02:00",
            "30 02:00+02:00",
            "30 02:30+02:00",
            "30 03:00+02:00",
            "30 03:30+02:00"
        ]
    );
    // Midnight does not exist in Beirut on that day, and a whole Friday did not in Samoa.
    let midnights = between(
        "0 0 * * *",
        "Asia/Beirut",
        "2026-03-28T00:00:00Z",
        "2026-03-29T22:00:00Z",
    );
    assert_eq!(midnights, ["29 01:00+03:00", "30 00:00+03:00"]);
    let fridays = between(
        "0 12 * * FRI",
        "Pacific/Apia",
        "2011-12-24T00:00:00Z",
        "2012-01-06T00:00:00Z",
    );
    assert_eq!(fridays, ["31 00:00+14:00", "06 12:00+14:00"]);
}

#[test]
fn a_time_that_exists_twice_comes_the_first_time_only() {
    // On 25 October 2026 the clock goes back from 03:00+02:00 to 02:00+01:00.
    let in_berlin = |pattern, from| between(pattern, "Europe/Berlin", from, "2026-10-25T02:00:00Z");
    assert_eq!(
        in_berlin("30 2 * * *", "2026-10-24T12:00:00Z"),
        ["25 02:30+02:00"]
    );
    let quarters = [
        "25 02:15+02:00",
        "25 02:30+02:00",
        "25 02:45+02:00",
        "25 03:00+01:00",
    ];
    assert_eq!(in_berlin("*/15 * * * *", "2026-10-25T00:00:00Z"), quarters);
    // Asked within the second hour, too.
    assert_eq!(in_berlin("*/15 * * * *", "2026-10-25T01:20:00Z"), quarters[3..]);
    assert_eq!(
        between(
            "*/15 * * * *",
            "UTC",
            "2026-10-25T00:00:00Z",
            "2026-10-25T01:00:00Z"
        )
        .len(),
        4
    );
}

/// Each wall time of the pattern has one occurrence, in order, whichever moments the search starts at: in the months in which
/// clocks change, and in the one of Ramadan.
#[test]
fn every_wall_time_comes_once_in_zones_of_all_kinds() {
    for (from, to) in [
        ("2026-02-14T00:00:00Z", "2026-04-06T00:00:00Z"),
        ("2026-10-03T00:00:00Z", "2026-11-02T00:00:00Z"),
    ] {
        each_wall_time_comes_once(from.parse().unwrap(), to.parse().unwrap());
    }
}

fn each_wall_time_comes_once(from: Timestamp, to: Timestamp) {
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        // Half an hour.
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Africa/Casablanca",
    ];
    let patterns = ["30 2 * * *", "*/20 0-3 * * *", "15 * * * *", "0 1 L * *"];
    for (zone, pattern) in zones
        .iter()
        .flat_map(|zone| patterns.map(|pattern| (*zone, pattern)))
    {
        let schedule = schedule(pattern, zone);
        let found: Vec<_> = schedule.all_after(from).take_while(|at| *at <= to).collect();
        let walls = std::iter::successors(
            schedule
                .cron
                .find_next_occurrence(&schedule.zone.to_datetime(from), false)
                .ok(),
            |wall| schedule.cron.find_next_occurrence(wall, false).ok(),
        );
        let expected: BTreeSet<_> = walls
            .map(|wall| instant(wall, &schedule.zone).unwrap())
            .take_while(|at| *at <= to)
            .filter(|at| *at > from)
            .collect();
        assert_eq!(
            found,
            expected.into_iter().collect::<Vec<_>>(),
            "{pattern} {zone}"
        );
        let mut moment = from;
        while moment < to {
            let next = found.iter().find(|at| **at > moment);
            if let Some(next) = next {
                assert_eq!(
                    schedule.next_after(moment),
                    Some(*next),
                    "{pattern} {zone} {moment}"
                );
            }
            moment += SignedDuration::from_mins(7 * 60 + 13);
        }
        assert!(
            found.iter().all(|at| schedule.has(*at))
                && !schedule.has(found[0] + SignedDuration::from_secs(1))
        );
    }
}

#[test]
fn days_are_chosen_as_cron_does_and_by_their_place_in_the_month() {
    let days = |pattern| {
        let found = between(pattern, "UTC", "2026-02-01T12:00:00Z", "2026-03-02T12:00:00Z");
        found
            .iter()
            .map(|shown| shown[..2].to_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(days("0 9 L * *"), "28");
    assert_eq!(days("0 9 * * MON#1"), "02 02");
    assert_eq!(days("0 9 13 * FRI"), "06 13 20 27");
    assert_eq!(days("0 9 13 * +FRI"), "13");
    assert_eq!(days("@monthly"), "01");
}

#[test]
fn a_schedule_that_is_wrong_or_never_comes_is_refused() {
    for pattern in [
        "",
        "9",
        "0 9 * *",
        "0 0 9 * * MON",
        "0 9 * * MON 2026",
        "60 9 * * *",
        "0 24 * * *",
        "0 9 * * MUN",
        "@reboot",
        "@sometimes",
    ] {
        assert_eq!(Schedule::parse(pattern, "UTC"), Err(Error::Pattern), "{pattern}");
    }
    for pattern in ["0 9 30 2 *", "0 9 31 FEB,APR *"] {
        assert_eq!(Schedule::parse(pattern, "UTC"), Err(Error::Never), "{pattern}");
    }
    assert!(
        Schedule::parse("0 9 29 2 *", "UTC").is_ok(),
        "every fourth year is not never"
    );
    for zone in ["", "Berlin", "Europe/Atlantis", "+01:00", "CEST"] {
        assert_eq!(Schedule::parse("0 9 * * *", zone), Err(Error::Zone), "{zone}");
    }
}
