//! `GET /api/notifications/{id}/plan`: size, duration and cost of sending a held notification.

use herald::backend::Backend;
use herald::cost::{PRICES, PRICES_AS_OF, Usage};
use herald::id::NotificationId;
use herald::notification::size::{TEAMS_BYTES_MAX, as_teams_counts};
use herald::notification::{IfNoConversation, Notification, State, UnreachableCounts, Wave, plan_warnings};
use herald::rate_limit::{Limit, Limits};
use herald::store::Notifications;
use herald::warning::Warning;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::Context;
use crate::response::{ApiError, json};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan<'a> {
    id: &'a NotificationId,
    state: State,
    /// Whether the whole audience is counted.
    counted: bool,
    /// The value of `confirm` in the request that sends it; absent until the audience is counted, and after it was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm: Option<&'a NotificationId>,
    /// The notification that confirmed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_as: Option<&'a NotificationId>,
    /// The largest audience that is sent to without a confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_above: Option<u64>,
    audience: u64,
    /// The part of the audience in batch mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    batched: Option<u64>,
    /// People without a conversation, who get one; the bot knows the rest of the audience.
    #[serde(skip_serializing_if = "is_zero")]
    newcomers: u64,
    unreachable: UnreachableCounts,
    /// Recipients that are due later than the others, which are sent to at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waves: Vec<Wave>,
    /// Absent after a retraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Size>,
    predicted: Predicted,
    cost: Cost,
    /// What planning found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Size {
    /// As Teams counts: in UTF-16, without pictures.
    bytes: u64,
    /// About the largest message that Teams accepts.
    largest_bytes: u64,
    within_limit: bool,
}

impl Size {
    pub(crate) fn of(bytes: u64, largest_bytes: u64) -> Self {
        Self {
            bytes,
            largest_bytes,
            within_limit: bytes <= largest_bytes,
        }
    }
}

/// How long sending would take.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicted {
    /// Absent in batch mode, whose pace Teams decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most_seconds: Option<u64>,
    limit: String,
    detail: &'static str,
}

/// What sending would cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    us_dollars: Dollars,
    prices_as_of: &'static str,
    usage: Usage,
}

/// An amount, written without the exponent that `serde_json` gives to small numbers.
#[derive(Debug)]
struct Dollars(f64);

impl Serialize for Dollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = format!("{:.8}", self.0);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        let number = RawValue::from_string(text.to_owned()).map_err(S::Error::custom)?;
        number.serialize(serializer)
    }
}

impl<B: Backend> Context<B> {
    /// `GET /api/notifications/{id}/plan`
    pub(crate) async fn plan(&self, id: &str) -> Result<Response<Body>, ApiError> {
        let notification = self.find(id).await?;
        if !notification.is_held() {
            let detail = "This notification is not held: it has its `statusUrl` and its `explain`. A plan has one that was asked for with `dryRun`, or whose audience needs a confirmation.";
            return Err(ApiError::conflict(detail));
        }
        let message = self
            .notifications
            .message(&notification.id, notification.revision)
            .await?;
        let audience = self.notifications.audience(&notification.id).await?;
        let usage = Usage::of_sending(&notification);
        let confirm = Some(&notification.id).filter(|_| notification.state() == State::Held);
        let plan = Plan {
            id: &notification.id,
            state: notification.state(),
            counted: notification.parts_planned == notification.parts,
            confirm,
            confirmed_as: notification.confirmed_as.as_ref(),
            held_above: notification.held_above(),
            audience: notification.audience,
            batched: Some(notification.batched).filter(|batched| *batched > 0),
            newcomers: notification.newcomers,
            unreachable: notification.unreachable,
            waves: self.waves(&notification).await?,
            message: message.map(|message| {
                let bytes = as_teams_counts(&notification.outgoing(message.into_activity()));
                Size::of(bytes, TEAMS_BYTES_MAX)
            }),
            predicted: Predicted::of(&notification, &self.limits),
            cost: Cost {
                us_dollars: Dollars(usage.dollars(&PRICES)),
                prices_as_of: PRICES_AS_OF,
                usage,
            },
            warnings: audience.map_or_else(Vec::new, |audience| plan_warnings(&notification, &audience)),
        };
        Ok(json(StatusCode::OK, &plan))
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How long so many requests take within a limit.
fn milliseconds(requests: u64, limit: Limit) -> u128 {
    u128::from(requests) * limit.per.as_millis().unsigned_abs() / u128::from(limit.requests.max(1))
}

impl Predicted {
    fn of(notification: &Notification, limits: &Limits) -> Self {
        let limit = limits.tenant;
        if notification.batched > 0 {
            return Self {
                at_most_seconds: None,
                limit: limit.to_string(),
                detail: "Teams does not say how long a batch takes. The limit holds for the requests that submit and poll batches, and for recipients that are sent to individually.",
            };
        }
        let (audience, newcomers) = (notification.audience, notification.newcomers);
        // A conversation is created by a request more; an installation brings it by an event, mostly.
        let (created, installed) = match notification.if_no_conversation {
            IfNoConversation::Install => (0, newcomers),
            IfNoConversation::Create => (newcomers, 0),
            IfNoConversation::Skip => (0, 0),
        };
        let sending = milliseconds(audience + created, limit);
        let installing = milliseconds(installed, limits.graph);
        let (milliseconds, limit, detail) = if installing > sending {
            let detail = "With everybody in one tenant. The limit is that of Microsoft Graph, by which the bot is installed for the newcomers; they are sent to meanwhile.";
            (installing, limits.graph, detail)
        } else {
            let detail = "With everybody in one tenant and nothing else to be sent there; several tenants are sent to at once.";
            (sending, limit, detail)
        };
        Self {
            at_most_seconds: Some(u64::try_from(milliseconds.div_ceil(1000)).unwrap_or(u64::MAX)),
            limit: limit.to_string(),
            detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_plain_decimals() {
        for (dollars, text) in [
            (0.000_068_6, "0.0000686"),
            (0.0, "0"),
            (10.0, "10"),
            (1.25, "1.25"),
            (1e-12, "0"),
        ] {
            assert_eq!(serde_json::to_string(&Dollars(dollars)).unwrap(), text);
        }
    }
}
