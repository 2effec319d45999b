//! `POST /api/notifications` and `GET /api/notify`: what is asked for is stored whole, and enqueued.

use std::time::Duration;

use botframework::activity::Activity;
use herald::audience::{Audience, Target, TeamPart};
use herald::delivery::Guarantee;
use herald::digest::sha256_hex;
use herald::id::NotificationId;
use herald::notification::request::{Request as Asked, SENT_FOR_MAX};
use herald::notification::{IfNoConversation, Notification, StartPolicy, State};
use herald::problem::{Fault, Problem};
use herald::queue::{Message, Plan, Queue, Task};
use herald::store::{Accept, Acceptance, Idempotency, Notifications};
use herald::telemetry::chain;
use jiff::{SignedDuration, Timestamp};
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde_json::Value;

use crate::answer::{Refusal, json, of_type};
use crate::{Context, caller};

/// The largest request body, in bytes.
pub const BODY_MAX_BYTES: usize = 1024 * 1024;

/// The longest `Idempotency-Key`, in bytes.
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;

/// How long a key names its request.
const IDEMPOTENCY_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How long a plan can be confirmed: who is in its audience changes.
const CONFIRMED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// What the classic sample answers.
const CLASSIC_PAGE: &str = "<html><body><h1>Proactive messages have been sent.</h1></body></html>";

impl<S: Notifications, C, L, Q: Queue, E> Context<S, C, L, Q, E> {
    /// `POST /api/notifications`
    pub(crate) async fn ask(&self, request: &Request) -> Result<Response<Body>, Refusal> {
        let document = document(request)?;
        let now = self.clock.now();
        let mut asked = Asked::parse(&document, now).map_err(Problem::invalid)?;
        if asked.if_no_conversation == IfNoConversation::Install && self.teams_app_id.is_none() {
            let detail = "cannot be \"install\" here: this deployment does not name the bot's Teams app \
                          (HERALD_TEAMS_APP_ID, the template's TeamsAppId)";
            return Err(Problem::invalid(vec![Fault::new("#/ifUnknown", detail)]).into());
        }
        let caller = caller::of(request);
        let key = idempotency_key(request)?;
        let idempotency = key.map(|key| Idempotency {
            // Each caller's keys are their own. No name of a caller has a line break in it.
            key: sha256_hex(format!("{}\n{key}", caller::principal(&caller)).as_bytes()),
            // Of the document, not of its bytes: a caller who repeats a request may well print it anew.
            body: sha256_hex(document.to_string().as_bytes()),
            until: now.saturating_add(IDEMPOTENCY_KEPT).unwrap_or(now),
        });
        asked.send_mode.get_or_insert(self.send_mode);
        let start = self.start(&asked, &caller, now).await?;
        if start == StartPolicy::DryRun {
            // Who wants to see a plan does not want to wait for the day.
            asked.deliver_at = None;
        }
        let id = self.accept(asked, start, caller, idempotency, now).await?;
        let status_url = format!("/api/notifications/{id}");
        let answer = serde_json::json!({ "id": id, "state": State::Accepted, "statusUrl": status_url });
        let mut response = json(StatusCode::ACCEPTED, &answer);
        if let Ok(location) = HeaderValue::from_str(&status_url) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }

    /// When the deliveries begin: an audience that may be too large is counted first.
    async fn start(&self, asked: &Asked, caller: &str, now: Timestamp) -> Result<StartPolicy, Refusal> {
        if asked.dry_run {
            return Ok(StartPolicy::DryRun);
        }
        if let Some(plan) = &asked.confirm {
            let confirmed = self.confirmed(plan, asked, caller, now).await?;
            return Ok(StartPolicy::AfterCount {
                at_most: at_most(confirmed),
            });
        }
        Ok(match listed(&asked.audience) {
            Some(ids) if ids <= self.confirm_above => StartPolicy::Immediate,
            Some(_) | None => StartPolicy::AfterCount {
                at_most: self.confirm_above,
            },
        })
    }

    /// The audience of the plan that a request confirms.
    ///
    /// # Errors
    /// 409 when it is not a plan of this caller for this audience and message, counted, and of today.
    async fn confirmed(
        &self,
        plan: &NotificationId,
        asked: &Asked,
        caller: &str,
        now: Timestamp,
    ) -> Result<u64, Refusal> {
        let again = "Ask for a new plan with `dryRun`, and confirm that.";
        let conflict = |what: &str| Refusal::conflict(format!("`confirm` {what}. {again}"));
        let planned = self.store.find(plan).await?;
        // Others' plans are nobody's business.
        let planned = planned
            .filter(|planned| caller::principal(&planned.caller) == caller::principal(caller))
            .ok_or_else(|| conflict("names no plan of yours"))?;
        match planned.state() {
            State::Held => {}
            State::Accepted | State::Planning if planned.is_held() => {
                return Err(Refusal::conflict(
                    "`confirm` names a plan whose audience is still being counted. Repeat the request in a moment.",
                ));
            }
            State::Accepted | State::Planning | State::Sending | State::Completed => {
                return Err(conflict(
                    "names a notification that is being sent already, and no plan",
                ));
            }
            State::Cancelling | State::Cancelled => return Err(conflict("names a plan that was cancelled")),
        }
        if now.duration_since(planned.accepted_at) > CONFIRMED_WITHIN {
            return Err(conflict("names a plan that is older than 24 hours"));
        }
        if self.store.audience(plan).await?.as_ref() != Some(&asked.audience) {
            return Err(conflict("names the plan of another audience"));
        }
        if Some(planned.send_mode) != asked.send_mode {
            return Err(conflict("names a plan by another `transport`"));
        }
        let message = self.store.message(plan, planned.revision).await?;
        if !message.is_some_and(|message| is_same(&message, &asked.message)) {
            return Err(conflict("names the plan of another message"));
        }
        Ok(planned.audience)
    }

    /// Whether a notification sends this message already.
    pub(crate) async fn sends(
        &self,
        notification: &Notification,
        message: &Activity,
    ) -> Result<bool, Refusal> {
        let present = self
            .store
            .message(&notification.id, notification.revision)
            .await?;
        Ok(present.is_some_and(|present| is_same(&present, message)))
    }

    /// Stores the notification and enqueues its plan: both, or neither as far as the caller is told.
    async fn accept(
        &self,
        asked: Asked,
        start: StartPolicy,
        caller: String,
        idempotency: Option<Idempotency>,
        now: Timestamp,
    ) -> Result<NotificationId, Refusal> {
        let repeatable = idempotency.is_some();
        let id = NotificationId::fresh(now, self.chance.draw());
        let acceptance = Acceptance {
            notification: Notification::begin(id.clone(), now, caller, &asked, start),
            audience: asked.audience,
            message: asked.message,
            idempotency,
        };
        let id = match self.store.accept(&acceptance).await? {
            Accept::Created => id,
            Accept::Conflict => {
                let detail =
                    "This Idempotency-Key was used for another body. Use a new key for a new request.";
                return Err(Refusal::conflict(detail));
            }
            Accept::Duplicate(id) => match self.store.find(&id).await? {
                // The first request may have died between the table and the queue; then this one finishes its work.
                Some(earlier) if earlier.state() == State::Accepted => id,
                _ => return Ok(id),
            },
        };
        // One message, which is there or is not. The planner makes one for each part of it.
        let plan = Plan {
            notification: id.clone(),
            task: Task::Plan,
            part: None,
            enqueued: None,
        };
        let wait = acceptance
            .notification
            .deliver_at
            .map(|moment| moment.duration_since(now))
            .and_then(|wait| Duration::try_from(wait).ok())
            .unwrap_or_default();
        let Err(away) = self.plans.send(vec![Message::json(&plan, wait)]).await else {
            tracing::info!(notification = %id, parts = acceptance.notification.parts, "accepted");
            return Ok(id);
        };
        if repeatable {
            // The caller's repetition finds it and goes on.
            return Err(away.into());
        }
        match self.store.roll_back(&id).await {
            Ok(true) => Err(away.into()),
            // The answer was lost, not the message: it is being planned.
            Ok(false) => Ok(id),
            Err(error) => {
                tracing::error!(error_type = "Undecided", notification = %id, queue = %chain(&away), store = %chain(&error),
                    "neither planned nor withdrawn for certain");
                Err(Problem::undecided().into())
            }
        }
    }

    /// `GET /api/notify`: the classic proactive sample's trigger.
    pub(crate) async fn classic(&self, request: &Request) -> Result<Response<Body>, Refusal> {
        let now = self.clock.now();
        let message = Activity::message(&*self.classic_text);
        // An activity of one text can be written.
        let message_bytes = serde_json::to_string(&message).map_or(0, |text| text.len() as u64);
        let asked = Asked {
            audience: Audience(vec![Target::Everyone.into()]),
            message,
            category: None,
            guarantee: Guarantee::default(),
            if_no_conversation: IfNoConversation::default(),
            send_mode: Some(self.send_mode),
            deliver_at: None,
            expires_at: now.saturating_add(SENT_FOR_MAX).unwrap_or(Timestamp::MAX),
            events: Vec::new(),
            message_bytes,
            dry_run: false,
            confirm: None,
        };
        let start = StartPolicy::AfterCount {
            at_most: self.confirm_above,
        };
        self.accept(asked, start, caller::of(request), None, now).await?;
        let page = CLASSIC_PAGE.to_owned();
        Ok(of_type(StatusCode::OK, "text/html; charset=utf-8", page))
    }
}

/// The largest audience that a confirmation of so many lets go ahead: people come and go between plan and sending.
fn at_most(confirmed: u64) -> u64 {
    confirmed.saturating_add(confirmed / 10).saturating_add(100)
}

/// How many an audience can come to, if its lists say so.
fn listed(audience: &Audience) -> Option<u64> {
    let sizes = audience.0.iter().map(|selector| match &selector.target {
        Target::Everyone | Target::Tenant(_) | Target::Tag(_) | Target::GroupChatMembers { .. } => None,
        Target::Team { to, .. } => match to {
            TeamPart::General => Some(1),
            TeamPart::Channels | TeamPart::Members => None,
        },
        Target::Users { ids, .. } => Some(ids.len() as u64),
        Target::Accounts(ids) => Some(ids.len() as u64),
        Target::Conversations(ids) => Some(ids.len() as u64),
        Target::Channel { .. } | Target::GroupChat(_) => Some(1),
    });
    sizes.sum()
}

/// Whether two messages are one document, however it was written.
fn is_same(one: &Activity, other: &Activity) -> bool {
    match (serde_json::to_value(one), serde_json::to_value(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// The JSON document in a request's body.
///
/// # Errors
/// 413 when the body is too large, 400 when it is not JSON.
pub(crate) fn document(request: &Request) -> Result<Value, Problem> {
    let body = bytes(request);
    if body.len() > BODY_MAX_BYTES {
        let detail = format!("The body may hold {BODY_MAX_BYTES} bytes, found {}.", body.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!(
            "The body is not JSON: see line {}, column {}.",
            error.line(),
            error.column()
        );
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// The bytes of a request's body.
pub(crate) fn bytes(request: &Request) -> &[u8] {
    match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    }
}

fn idempotency_key(request: &Request) -> Result<Option<&str>, Problem> {
    let mut values = request.headers().get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if values.next().is_some() || !(1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len()) {
        let detail = format!("must be sent once, with 1 to {IDEMPOTENCY_KEY_MAX_BYTES} ASCII characters");
        return Err(Problem {
            errors: vec![Fault::new("Idempotency-Key", detail)],
            ..Problem::new(StatusCode::BAD_REQUEST, "A header must be mended.")
        });
    }
    Ok(Some(key))
}
