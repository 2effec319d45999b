//! When deliveries start: an audience that may be too large is counted first, and waits until a request confirms its plan.

use jiff::{SignedDuration, Timestamp};

use super::{Acceptor, Error, has_message, unrenderable};
use crate::audience::{Audience, DirectoryPeople, Target, TeamPart};
use crate::backend::Backend;
use crate::caller::principal;
use crate::id::NotificationId;
use crate::notification::request::Request;
use crate::notification::{Notification, StartPolicy, State};
use crate::store::Notifications;

/// How long a plan can be confirmed: its audience changes with time.
const CONFIRMATION_TTL: SignedDuration = SignedDuration::from_hours(24);

impl<B: Backend> Acceptor<'_, B> {
    /// When deliveries start: an audience that may be too large is counted first.
    pub(super) async fn start_policy(
        &self,
        request: &Request,
        caller: &str,
        now: Timestamp,
    ) -> Result<StartPolicy, Error> {
        if request.dry_run {
            return Ok(StartPolicy::DryRun);
        }
        if let Some(plan) = &request.confirm {
            let confirmed = self.confirmed_audience(plan, request, caller, now).await?;
            return Ok(StartPolicy::AfterCount {
                at_most: with_tolerance(confirmed),
            });
        }
        let confirm_above = self.settings.confirm_above;
        Ok(match listed_recipients(&request.audience) {
            Some(count) if count <= confirm_above => StartPolicy::Immediate,
            Some(_) | None => StartPolicy::AfterCount {
                at_most: confirm_above,
            },
        })
    }

    /// The audience of the plan that a request confirms. Fails unless the plan is the caller's own, for the same audience,
    /// message, subject and send mode, counted, and younger than [`CONFIRMATION_TTL`].
    async fn confirmed_audience(
        &self,
        plan: &NotificationId,
        request: &Request,
        caller: &str,
        now: Timestamp,
    ) -> Result<u64, Error> {
        let conflict = cannot_confirm;
        let planned = self.notifications.find(plan).await?;
        // Other callers' plans look as if they did not exist.
        let planned = planned
            .filter(|planned| principal(&planned.caller) == principal(caller))
            .ok_or_else(|| conflict("names no plan of yours"))?;
        match planned.state() {
            // Storing the notification decides whether it was confirmed before: a repeated request is the same notification.
            State::Held | State::Confirmed => {}
            State::Accepted | State::Planning if planned.is_held() => {
                let detail = "`confirm` names a plan whose audience is still being counted. Repeat the request in a moment.";
                return Err(Error::Conflict(detail.to_owned()));
            }
            State::Accepted | State::Planning | State::Sending | State::Completed => {
                return Err(conflict("names a notification that is being sent already"));
            }
            State::Cancelling | State::Cancelled => return Err(conflict("names a plan that was cancelled")),
        }
        if now.duration_since(planned.accepted_at) > CONFIRMATION_TTL {
            return Err(conflict("names a plan that is older than 24 hours"));
        }
        if self.notifications.audience(plan).await?.as_ref() != Some(&request.audience) {
            return Err(conflict("names the plan of another audience"));
        }
        if planned.send_mode != request.send_mode.unwrap_or(self.settings.send_mode) {
            return Err(conflict("names a plan by another `sendMode`"));
        }
        if planned.mandatory != request.mandatory {
            return Err(conflict("names a plan by another `mandatory`"));
        }
        if planned.subject != request.subject {
            return Err(conflict("names a plan by another `subject`"));
        }
        if planned.if_unreachable != request.if_unreachable {
            return Err(conflict("names a plan by another `ifUnreachable`"));
        }
        let message = planned
            .settled(&request.message)
            .map_err(|error| unrenderable("#/message", error))?;
        if !has_message(self.notifications, &planned, &message).await? {
            return Err(conflict("names the plan of another message"));
        }
        Ok(planned.audience)
    }
}

fn cannot_confirm(what: &str) -> Error {
    let again = "Ask for a new plan with `dryRun`, and confirm that.";
    Error::Conflict(format!("`confirm` {what}. {again}"))
}

/// Why this plan cannot be confirmed, as it is stored now.
pub(super) fn not_confirmable(plan: Option<&Notification>) -> Error {
    match plan.map(|plan| plan.confirmed_as.as_ref()) {
        Some(Some(as_id)) => Error::Conflict(format!(
            "`confirm` names a plan that was confirmed already: it is sent as {as_id}. To send the message once more, ask for a new plan."
        )),
        Some(None) => cannot_confirm("names a plan that was cancelled"),
        None => cannot_confirm("names no plan of yours"),
    }
}

/// The largest audience that a confirmation of this many covers: people join and leave between plan and sending.
fn with_tolerance(confirmed: u64) -> u64 {
    confirmed.saturating_add(confirmed / 10).saturating_add(100)
}

/// How many recipients an audience can have at most, if its lists say so.
pub(super) fn listed_recipients(audience: &Audience) -> Option<u64> {
    let sizes = audience.0.iter().map(|selector| match &selector.target {
        Target::Everyone | Target::Tenant(_) | Target::Tag(_) | Target::GroupChatMembers { .. } => None,
        Target::Team { to, .. } => match to {
            TeamPart::General => Some(1),
            TeamPart::Channels | TeamPart::Members => None,
        },
        Target::Users { ids, .. } => Some(ids.len() as u64),
        Target::Accounts(ids) => Some(ids.len() as u64),
        Target::Rows { rows, .. } => Some(rows.len() as u64),
        Target::Conversations(ids) => Some(ids.len() as u64),
        Target::Channel { .. } | Target::GroupChat(_) => Some(1),
        Target::Directory(target) => match &target.people {
            DirectoryPeople::Named(_, names) => Some(names.len() as u64),
            DirectoryPeople::Group(_) | DirectoryPeople::Organization(_) | DirectoryPeople::Reports(..) => {
                None
            }
        },
    });
    sizes.sum()
}
