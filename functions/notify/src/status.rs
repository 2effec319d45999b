//! `GET /api/notifications/{id}`: what was asked for, its state and counts.

use botframework::activity::Activity;
use herald::backend::Backend;
use herald::delivery::{Guarantee, OutcomeCounts};
use herald::id::NotificationId;
use herald::notification::request::LocalTime;
use herald::notification::way_out::WayOutForm;
use herald::notification::{
    Notification, Priority, RetractionKind, RevisionCounts, SendMode, State, UnreachableCounts, Wave,
    plan_warnings,
};
use herald::store::Notifications;
use herald::template::{Bindings, MessageSource};
use herald::warning::Warning;
use jiff::Timestamp;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Response};
use serde::Serialize;
use serde_json::Value;

use crate::Context;
use crate::outage::OutageNotice;
use crate::response::{ApiError, json};

/// A notification with its content.
#[derive(Debug, Serialize)]
struct StatusWithContent<'a> {
    #[serde(flatten)]
    status: Status<'a>,
    /// As a request names it.
    audience: Value,
    /// The message that copies show; absent after a retraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Activity>,
    /// What the expressions of the message read; absent if it has none.
    #[serde(flatten)]
    bindings: Option<Bindings>,
    /// Recipients that are due later than the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waves: Vec<Wave>,
    /// The message that copies show from `retractAt` on; absent if they are deleted then.
    #[serde(skip_serializing_if = "Option::is_none")]
    replacement: Option<Activity>,
    /// What planning found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// A notification, as lists show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status<'a> {
    id: &'a NotificationId,
    state: State,
    accepted_at: Timestamp,
    caller: &'a str,
    /// The schedule of which it is an occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    mandatory: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    way_out: Option<WayOutForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    /// With a subject: how many of the counted deliveries edited an earlier copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    superseding: Option<u64>,
    guarantee: Guarantee,
    send_mode: SendMode,
    priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<ShownDeliverAt<'a>>,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    retract_at: Option<Timestamp>,
    revision: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    revised: Option<Revised>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    counts: Counts,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    plan: Option<PlanFields<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<RefusedMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outage: Option<OutageNotice>,
}

/// `deliverAt` as a request names it: a moment, or a wall time where each recipient is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ShownDeliverAt<'a> {
    Moment(Timestamp),
    Local {
        zone: &'static str,
        #[serde(flatten)]
        time: &'a LocalTime,
    },
}

impl<'a> ShownDeliverAt<'a> {
    fn of(notification: &'a Notification) -> Option<Self> {
        let local = notification.local_time.as_ref().map(|time| Self::Local {
            zone: "recipient",
            time,
        });
        local.or(notification.deliver_at.map(Self::Moment))
    }
}

/// The channel that refuses the present message for all recipients.
#[derive(Debug, Serialize)]
struct RefusedMessage<'a> {
    channel: &'a str,
    code: &'a str,
}

/// `audience` is the sum of all the others.
#[derive(Debug, Serialize)]
pub(crate) struct Counts {
    audience: u64,
    open: u64,
    #[serde(flatten)]
    ended: OutcomeCounts,
}

impl Counts {
    pub(crate) fn of(notification: &Notification) -> Self {
        Self {
            audience: notification.audience,
            open: notification.open(),
            ended: notification.ended(),
        }
    }
}

/// Progress of an edit or retraction.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Revised {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    retracted: bool,
    copies: RevisionCounts,
    /// Chunks whose copies show the current revision.
    chunks_current: u64,
    chunks: u64,
}

/// The fields of a notification that is held, or was until it was confirmed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanFields<'a> {
    /// The value of `confirm` in the request that sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm: Option<&'a NotificationId>,
    /// The notification that confirmed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_as: Option<&'a NotificationId>,
    unreachable: UnreachableCounts,
    /// The largest audience that is sent to without a confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_above: Option<u64>,
    why: String,
}

impl<'a> PlanFields<'a> {
    fn of(notification: &'a Notification) -> Option<Self> {
        let is_confirmed = match notification.state() {
            State::Held => false,
            State::Confirmed => true,
            State::Accepted
            | State::Planning
            | State::Sending
            | State::Cancelling
            | State::Cancelled
            | State::Completed => return None,
        };
        let (held_above, confirmed_as) = (notification.held_above(), notification.confirmed_as.as_ref());
        let why = match (confirmed_as, held_above) {
            (Some(as_id), _) => format!("This plan was confirmed: it is sent as {as_id}."),
            (None, Some(above)) => format!(
                "Its audience of {} is larger than {above}, so nothing is sent. To send it, repeat the request with this `confirm`.",
                notification.audience
            ),
            (None, None) => "It is a dry run, so nothing is sent. To send it, repeat the request without `dryRun` and with this `confirm`."
                .to_owned(),
        };
        Some(Self {
            confirm: (!is_confirmed).then_some(&notification.id),
            confirmed_as,
            unreachable: notification.unreachable,
            held_above,
            why,
        })
    }
}

impl<'a> Status<'a> {
    pub(crate) fn of(notification: &'a Notification) -> Self {
        let revised = (notification.revision > 0).then_some(Revised {
            at: notification.revised_at,
            retracted: notification.retracted,
            copies: RevisionCounts {
                // The status has it, with and without a revision.
                superseding: 0,
                ..notification.revision_counts
            },
            chunks_current: notification.chunks_current,
            chunks: notification.chunks,
        });
        Self {
            id: &notification.id,
            state: notification.state(),
            accepted_at: notification.accepted_at,
            caller: &notification.caller,
            schedule: notification.schedule.as_deref(),
            category: notification.category.as_deref(),
            mandatory: notification.mandatory,
            way_out: notification.way_out.as_ref().map(|way_out| way_out.form),
            subject: notification.subject.as_deref(),
            superseding: notification
                .subject
                .as_ref()
                .map(|_| notification.revision_counts.superseding),
            guarantee: notification.guarantee,
            send_mode: notification.send_mode,
            priority: notification.effective_priority(),
            deliver_at: ShownDeliverAt::of(notification),
            expires_at: notification.expires_at,
            retract_at: notification.retraction.map(|retraction| retraction.at),
            revision: notification.revision,
            revised,
            cancelled_at: notification.cancelled_at,
            completed_at: notification.completed_at,
            counts: Counts::of(notification),
            plan: PlanFields::of(notification),
            refused: notification
                .refused
                .as_ref()
                .filter(|refusal| refusal.revision == notification.revision)
                .map(|refusal| RefusedMessage {
                    channel: &refusal.channel,
                    code: &refusal.code,
                }),
            outage: None,
        }
    }
}

impl<B: Backend> Context<B> {
    pub(crate) async fn find(&self, id: &str) -> Result<Notification, ApiError> {
        let id = notification_id(id)?;
        self.notifications.find(&id).await?.ok_or_else(not_found)
    }

    /// The waves of a notification, if it has any.
    pub(crate) async fn waves(&self, notification: &Notification) -> Result<Vec<Wave>, ApiError> {
        if notification.in_waves == 0 {
            return Ok(Vec::new());
        }
        let waves = self.notifications.waves(&notification.id).await?.into_iter();
        Ok(waves.map(|wave| wave.of(notification)).collect())
    }

    /// `GET /api/notifications/{id}`
    pub(crate) async fn status(&self, id: &str) -> Result<Response<Body>, ApiError> {
        let notification = self.find(id).await?;
        let (id, store) = (&notification.id, &self.notifications);
        let (audience, message) =
            futures_util::try_join!(store.audience(id), store.message(id, notification.revision))?;
        let replacement = match notification.retraction.map(|retraction| retraction.kind) {
            Some(RetractionKind::Replace) => store.replacement(id).await?,
            Some(RetractionKind::Delete) | None => None,
        };
        let bindings = message.as_ref().and_then(|message| message.bindings.clone());
        let shown = StatusWithContent {
            status: Status {
                outage: self.outage_of(&notification).await?,
                ..Status::of(&notification)
            },
            warnings: audience
                .as_ref()
                .map_or_else(Vec::new, |audience| plan_warnings(&notification, audience)),
            audience: audience.map_or(Value::Null, |audience| audience.to_request()),
            message: message.map(MessageSource::into_activity),
            bindings,
            waves: self.waves(&notification).await?,
            replacement: replacement.map(MessageSource::into_activity),
        };
        Ok(json(StatusCode::OK, &shown))
    }
}

/// The id in a path.
pub(crate) fn notification_id(id: &str) -> Result<NotificationId, ApiError> {
    id.parse().map_err(|_| not_found())
}

pub(crate) fn not_found() -> ApiError {
    ApiError::not_found("No notification has this id.")
}
