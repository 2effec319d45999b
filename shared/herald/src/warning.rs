//! Warnings: what an accepted request says, and its caller may not have meant.

use serde::Serialize;

/// One warning in the answer to a request that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The kind, for programs.
    pub code: WarningCode,
    /// The field, as a JSON pointer in a URI fragment (`#/expiresAt`), if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What will happen, in a sentence. It never quotes a value of the request.
    pub detail: String,
}

impl Warning {
    /// A warning about the field at `pointer`.
    pub fn at(pointer: impl Into<String>, code: WarningCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            pointer: Some(pointer.into()),
            detail: detail.into(),
        }
    }

    /// A warning about the whole request.
    pub fn new(code: WarningCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            pointer: None,
            detail: detail.into(),
        }
    }
}

/// The kinds of [`Warning`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WarningCode {
    /// An Adaptive Card of a version that Teams does not show.
    CardVersion,
    /// An expression that has no value, and is left as text.
    LeftAsText,
    /// A mention whose text is nowhere in the message.
    MentionAbsent,
    /// An image without a text for screen readers.
    NoAltText,
    /// A card without a text for clients that cannot show it.
    NoFallbackText,
    /// `expiresAt` is later than the latest possible moment, which is used instead.
    ExpiryCapped,
    /// An excluded id that no conversation has which is remembered.
    NothingExcluded,
    /// A selector that matched nothing, although the whole audience is read.
    NothingMatched,
    /// All that the audience matched is blocked or removed.
    NobodyReachable,
    /// A notification to many that does not say how to opt out of it.
    NoWayOut,
    /// Rows that name a recipient of an earlier row.
    RepeatedRows,
    /// Named ids of which no conversation is remembered.
    NotRemembered,
    /// Microsoft Graph did not return the people of a group, tenant or manager, all of them or those after some page.
    DirectoryRefused,
    /// The local time has passed in some zones: recipients there get the message at once.
    TimePassed,
}
