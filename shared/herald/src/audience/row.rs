//! Rows: recipients that each bring data of their own.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{kind, not_an_id};
use super::{IDS_MAX, Target};
use crate::conversation::is_id;
use crate::id::normalize_guid;
use crate::problem::{Faults, pointer};

/// The most bytes of the fields of a row, as JSON.
pub const ROW_BYTES_MAX: usize = 4 * 1024;

/// The names that data of a request or a row must not have: an expression reads Herald's own there.
pub const RESERVED: [&str; 3] = ["recipient", "notification", "texts"];

/// The data of a row, which the expressions of a template read.
pub type Fields = Map<String, Value>;

/// A recipient with data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudienceRow {
    /// The recipient, as the [`RowColumn`] names it.
    pub id: String,
    /// Its data.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Fields,
}

/// The column by which rows name their recipients; all rows of an audience by the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RowColumn {
    /// A person, by Entra object id.
    User,
    /// A person, by the channel's user id.
    Account,
    /// A conversation, by id or key.
    Conversation,
}

impl RowColumn {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::User, Self::Account, Self::Conversation];

    /// Its name in a row.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Account => "account",
            Self::Conversation => "conversation",
        }
    }

    /// The column of a row: the only one that it has.
    fn of(row: &Fields) -> Option<Self> {
        let mut there = Self::ALL
            .into_iter()
            .filter(|column| row.contains_key(column.as_str()));
        there.next().filter(|_| there.next().is_none())
    }
}

/// Parses rows. Of rows that name the same recipient the first counts.
pub(super) fn parse(value: &Value, tenant: Option<String>, at: &str, faults: &mut Faults) -> Option<Target> {
    let Value::Array(items) = value else {
        faults.note(at, format!("must be an array of rows, found {}", kind(value)));
        return None;
    };
    if items.is_empty() || items.len() > IDS_MAX {
        faults.note(
            at,
            format!("must hold 1 to {IDS_MAX} rows, found {}", items.len()),
        );
        return None;
    }
    let mut column = None;
    let (mut seen, mut rows) = (HashSet::new(), Vec::with_capacity(items.len()));
    for (index, item) in items.iter().enumerate() {
        let at = format!("{at}/{index}");
        if let Some((own, row)) = row(item, &at, faults) {
            if *column.get_or_insert(own) != own {
                let detail = "must name its recipient by the same column as the first row";
                faults.note(at, detail);
            } else if seen.insert(row.id.clone()) {
                rows.push(row);
            }
        }
        if faults.are_full() {
            return None;
        }
    }
    let column = column?;
    Some(Target::Rows { column, rows, tenant })
}

fn row(item: &Value, at: &str, faults: &mut Faults) -> Option<(RowColumn, AudienceRow)> {
    let Value::Object(members) = item else {
        faults.note(at, format!("must be an object, found {}", kind(item)));
        return None;
    };
    let Some(column) = RowColumn::of(members) else {
        faults.note(
            at,
            "must name its recipient by one of `user`, `account` and `conversation`",
        );
        return None;
    };
    let mut fields = members.clone();
    let id = match fields.remove(column.as_str()) {
        Some(Value::String(id)) if is_id(&id) => normalize_guid(&id),
        other => {
            faults.note(
                pointer(at, column.as_str()),
                not_an_id(&other.unwrap_or_default()),
            );
            return None;
        }
    };
    for name in RESERVED.iter().filter(|name| fields.contains_key(**name)) {
        let detail = "cannot be a field of a row: an expression reads Herald's own there";
        faults.note(pointer(at, name), detail);
    }
    let bytes = size_of(&fields);
    if bytes > ROW_BYTES_MAX {
        faults.note(
            at,
            format!("may have fields of {ROW_BYTES_MAX} bytes, found {bytes}"),
        );
    }
    Some((column, AudienceRow { id, fields }))
}

/// The bytes of the fields of a row, as JSON.
pub fn size_of(fields: &Fields) -> usize {
    // Names and values of JSON can be written.
    serde_json::to_vec(fields).map_or(usize::MAX, |json| json.len())
}

/// The rows of a request's audience that name a recipient of an earlier row.
pub fn repeated_rows(audience: &Value) -> usize {
    let audience = match audience {
        Value::Array(selectors) => selectors.first().unwrap_or(&Value::Null),
        selector => selector,
    };
    let Some(rows) = audience.get("rows").and_then(Value::as_array) else {
        return 0;
    };
    let mut seen = HashSet::new();
    let id = |row: &Value| {
        let column = RowColumn::of(row.as_object()?)?;
        row.get(column.as_str())?.as_str().map(normalize_guid)
    };
    let is_repeated = |row: &&Value| id(row).is_some_and(|id| !seen.insert(id));
    rows.iter().filter(is_repeated).count()
}

#[cfg(test)]
mod tests;
