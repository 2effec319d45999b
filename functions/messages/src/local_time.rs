//! The local time of the person who sent an activity.

use botframework::activity::Activity;
use herald::schedule::Zone;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// `now` where the sender is: by the time zone that their client names, or by the offset of their local time. UTC if it says
/// neither.
pub(crate) fn of(activity: &Activity, now: Timestamp) -> Zoned {
    now.to_zoned(zone(activity).unwrap_or(TimeZone::UTC))
}

fn zone(activity: &Activity) -> Option<TimeZone> {
    let named = Zone::of_sender(activity).map(|zone| zone.rules());
    named.or_else(|| offset(activity))
}

/// The offset of `localTimestamp`, such as `2027-01-15T09:00:00.123+01:00`.
fn offset(activity: &Activity) -> Option<TimeZone> {
    let local = Pieces::parse(activity.local_timestamp.as_deref()?).ok()?;
    local.to_numeric_offset().map(TimeZone::fixed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_zone_of_the_client_decides_and_its_offset_if_it_names_none() {
        let now: Timestamp = "2027-07-01T12:00:00Z".parse().unwrap();
        let client = |zone: &str| json!([{"type": "clientInfo", "locale": "de-DE", "country": "DE", "timezone": zone}]);
        for (properties, expected) in [
            (json!({"localTimezone": "Europe/Berlin"}), "14:00"),
            (
                json!({"localTimezone": "W. Europe Standard Time", "localTimestamp": "2027-07-01T14:00:00.1+02:00"}),
                "14:00",
            ),
            (
                json!({"entities": client("America/New_York"), "localTimestamp": "2027-07-01T14:00:00+02:00"}),
                "08:00",
            ),
            (json!({"localTimestamp": "2027-07-01T06:30:00-05:30"}), "06:30"),
            (json!({"localTimestamp": "2027-07-01T12:00:00Z"}), "12:00"),
            (
                json!({"localTimestamp": "2027-07-01T12:00:00+99:00", "entities": client("nowhere")}),
                "12:00",
            ),
            (json!({}), "12:00"),
        ] {
            let mut document = json!({"type": "message"});
            document
                .as_object_mut()
                .unwrap()
                .extend(properties.as_object().unwrap().clone());
            let activity = Activity::from_value(document).unwrap();
            let local = of(&activity, now);
            assert_eq!(local.strftime("%H:%M").to_string(), expected, "{properties}");
            assert_eq!(local.timestamp(), now);
        }
    }
}
