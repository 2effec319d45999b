//! Ids that Herald makes.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Identifies a notification: `ntf_` and 32 hexadecimal digits that sort by the time of acceptance (UUID version 7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NotificationId(String);

impl NotificationId {
    const PREFIX: &'static str = "ntf_";

    /// A new id from the current time and random bytes.
    pub fn fresh(now: Timestamp, random: [u8; 16]) -> Self {
        let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let mut ten = [0; 10];
        ten.copy_from_slice(&random[..10]);
        let uuid = uuid::Builder::from_unix_timestamp_millis(milliseconds, &ten).into_uuid();
        Self(format!("{}{}", Self::PREFIX, uuid.simple()))
    }

    /// The id before every id of this time or later.
    pub fn lowest_at(time: Timestamp) -> Self {
        let milliseconds = u64::try_from(time.as_millisecond()).unwrap_or(0);
        Self(format!("{}{milliseconds:012x}{:020}", Self::PREFIX, 0))
    }

    /// The id as in URLs and tables.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The time in the id, to the millisecond.
    pub fn made_at(&self) -> Timestamp {
        let digits = &self.0[Self::PREFIX.len()..][..12];
        let milliseconds = i64::from_str_radix(digits, 16).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
    }
}

/// An id in the form that is compared: GUIDs in lower case, as Entra returns them, because some tools write upper case; other ids
/// unchanged.
pub fn normalize_guid(id: &str) -> String {
    let parts = [8, 4, 4, 4, 12];
    let is_guid = id.split('-').map(str::len).eq(parts)
        && id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    if is_guid {
        id.to_ascii_lowercase()
    } else {
        id.to_owned()
    }
}

/// The text is not the id of a notification.
#[derive(Debug, thiserror::Error)]
#[error("not a notification id: it must be `ntf_` and 32 lower-case hexadecimal digits")]
pub struct InvalidNotificationId;

impl FromStr for NotificationId {
    type Err = InvalidNotificationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(InvalidNotificationId)?;
        let well_formed = digits.len() == 32
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidNotificationId)
        }
    }
}

impl TryFrom<String> for NotificationId {
    type Error = InvalidNotificationId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NotificationId> for String {
    fn from(id: NotificationId) -> Self {
        id.0
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let early = NotificationId::fresh(
            Timestamp::from_millisecond(1_700_000_000_000).unwrap(),
            [0xff; 16],
        );
        let late = NotificationId::fresh(Timestamp::from_millisecond(1_700_000_000_001).unwrap(), [0; 16]);
        assert!(early < late);
        let lowest = NotificationId::lowest_at(late.made_at());
        assert!(early < lowest && lowest < late);
        assert_eq!(lowest.as_str().parse::<NotificationId>().unwrap(), lowest);
        assert_eq!(late.made_at().as_millisecond(), 1_700_000_000_001);
        assert_eq!(early.as_str().parse::<NotificationId>().unwrap(), early);
    }

    #[test]
    fn other_text_is_no_id() {
        for text in [
            "",
            "ntf_",
            "ntf_0",
            "0192f0",
            "ntf_0192F0C8A1B27C3D8E4F5A6B7C8D9E0F",
            "ntf_0192f0c8a1b27c3d8e4f5a6b7c8d9e0/",
        ] {
            assert!(text.parse::<NotificationId>().is_err(), "{text}");
        }
    }
}
