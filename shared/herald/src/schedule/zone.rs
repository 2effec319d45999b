//! The time zone in which a person lives, by name.

use std::fmt;

use botframework::activity::Activity;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The longest name that is looked up, in bytes. The longest of the database has 32.
const NAME_BYTES_MAX: usize = 64;

/// The name of a zone of the IANA time zone database, as the database spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Zone(String);

impl Zone {
    /// The zone of this name, in any case; `None` if the database has none. `Etc/Unknown`, which some clients report, is none.
    pub fn named(name: &str) -> Option<Self> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let zone = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown())?;
        zone.iana_name().map(|name| Self(name.to_owned()))
    }

    /// The zone that an activity names: `localTimezone`, else that of the entity `clientInfo`, which Teams sends with messages.
    pub fn of_sender(activity: &Activity) -> Option<Self> {
        let clients = activity.entities.iter().filter(|entity| {
            let kind = entity.kind.as_deref();
            kind.is_some_and(|kind| kind.eq_ignore_ascii_case("clientInfo"))
        });
        let of_client = clients.filter_map(|client| client.extra.get("timezone")?.as_str());
        let mut names = activity.local_timezone.as_deref().into_iter().chain(of_client);
        names.find_map(Self::named)
    }

    /// UTC: the zone of a recipient for whom no other one is known.
    pub fn utc() -> Self {
        Self("UTC".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its rules. A stored name that the database does not have any more counts as UTC.
    pub fn rules(&self) -> TimeZone {
        TimeZone::get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_the_name_of_the_database_or_is_none() {
        let named = |name: &str| Zone::named(name).map(|zone| zone.to_string());
        assert_eq!(named("europe/berlin").as_deref(), Some("Europe/Berlin"));
        assert_eq!(named("UTC").as_deref(), Some("UTC"));
        let long = "x".repeat(65);
        for none in [
            "",
            "Berlin",
            "+01:00",
            "CEST",
            "W. Europe Standard Time",
            "Etc/Unknown",
            &long,
        ] {
            assert_eq!(named(none), None, "{none}");
        }
        assert_eq!(Zone("Europe/Atlantis".to_owned()).rules(), TimeZone::UTC);
    }
}
