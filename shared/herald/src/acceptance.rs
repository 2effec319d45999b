//! Accepts notifications: validates a request, decides when its deliveries start, stores it and enqueues its plan.
//!
//! Every caller uses this one routine: the notification API, events and the bot itself.
//!
//! The notification, its audience and its message are stored in one transaction, then one message goes to the plans queue. If
//! the queue is unavailable, a request with an idempotency key stays stored: its repetition enqueues the plan. A request
//! without a key is rolled back, since a repetition would be another notification.

use std::time::Duration;

use botframework::lossless::LosslessJson;
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use crate::audit::AuditAction;
use crate::backend::Backend;
use crate::caller::{Operators, principal};
use crate::category;
use crate::clock::{Clock, Random};
use crate::config::{self, Environment, variable};
use crate::digest::sha256_hex;
use crate::id::NotificationId;
use crate::job;
use crate::notification::request::Request;
use crate::notification::way_out::WayOutForm;
use crate::notification::{IfNoConversation, Notification, SendMode, StartPolicy, State};
use crate::problem::{Fault, Problem};
use crate::queue::{self, Plan, Queue, Task};
use crate::store::{self, Accept, Acceptance, Idempotency, Notifications, catalogue};
use crate::telemetry::{self, Metric, chain};
use crate::template::MessageSource;
use crate::time::until;
use crate::timing::Defaults;
use crate::warning::Warning;

mod bot;
mod confirmation;
mod exceptions;
mod preview;
mod revise;
mod templates;
mod way_out;

use templates::unrenderable;

pub use bot::BotMessage;
pub use preview::{Preview, Viewer};
pub use revise::{ReviseError, Reviser, Revision};

/// How long an idempotency key is remembered.
const IDEMPOTENCY_TTL: SignedDuration = SignedDuration::from_hours(24);

/// Why a caller may not send to those who opted out.
const NOT_MANDATORY: &str = "`mandatory` passes what people opted out of. Only the callers that the deployment names as its `Operators` may ask for it.";

/// Why a notification was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request has invalid fields.
    #[error("the request is invalid")]
    Invalid(Vec<Fault>),
    /// The caller may not ask for this; the text is for the caller.
    #[error("{0}")]
    Forbidden(String),
    /// The request contradicts what is stored; the text is for the caller.
    #[error("{0}")]
    Conflict(String),
    /// DynamoDB is unavailable. Nothing was accepted; the request may be repeated.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// SQS is unavailable. Nothing was accepted; the request may be repeated.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The plan may be enqueued or not, and the notification could not be rolled back. A repetition may be a duplicate.
    #[error("whether the notification was accepted is unknown")]
    Unknown,
}

impl Error {
    /// The problem document, if the request itself is at fault: its repetition is refused too.
    pub fn refusal(&self) -> Option<Problem> {
        match self {
            Self::Invalid(faults) => Some(Problem::invalid(faults.clone())),
            Self::Forbidden(detail) => Some(Problem::new(StatusCode::FORBIDDEN, detail)),
            Self::Conflict(detail) => Some(Problem::new(StatusCode::CONFLICT, detail)),
            Self::Store(store::Error::Refused { .. }) => Some(Problem::too_long()),
            Self::Store(store::Error::Unavailable { .. } | store::Error::Corrupt { .. })
            | Self::Queue(_)
            | Self::Unknown => None,
        }
    }
}

/// An accepted notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id. Of a repeated request: that of the earlier notification.
    pub id: NotificationId,
    /// Its state now.
    pub state: State,
    /// If its audience is counted first: above this many recipients it is held until it is confirmed.
    pub held_above: Option<u64>,
    /// Whether the idempotency key and the body are those of an earlier request, so that nothing new was accepted.
    pub replayed: bool,
    /// What the caller may not have meant.
    pub warnings: Vec<Warning>,
}

/// What the deployment allows and assumes.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The largest audience that is sent to without a confirmation.
    pub confirm_above: u64,
    /// The id in the manifest of the bot's Teams app. Without one the bot cannot be installed for anyone.
    pub teams_app_id: Option<String>,
    /// The send mode of requests that name none.
    pub send_mode: SendMode,
    /// The way out of notifications to many, unless their category has one.
    pub way_out: WayOutForm,
    /// The callers that may change the notifications of others.
    pub operators: Operators,
}

impl Settings {
    /// The settings of the deployment.
    ///
    /// # Errors
    /// Names the variable that is wrong.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, config::Error> {
        Ok(Self {
            confirm_above: environment.confirm_above()?,
            teams_app_id: environment.teams_app_id()?,
            send_mode: environment.send_mode()?,
            way_out: environment.way_out()?,
            operators: Operators::named(environment.list(variable::OPERATORS)?),
        })
    }
}

/// Accepts notifications for one deployment.
#[derive(Debug)]
pub struct Acceptor<'a, B: Backend> {
    /// Where notifications are stored.
    pub notifications: &'a B::Notifications,
    /// Where conversations are stored; read only.
    pub conversations: &'a B::Conversations,
    /// Where categories and the preferences of tenants are stored; read only.
    pub registry: &'a B::Registry,
    /// The queue to the planner.
    pub plans: &'a B::Queue,
    /// What the deployment allows.
    pub settings: &'a Settings,
    /// Dates the acceptance.
    pub clock: &'a Clock,
    /// The random source of notification ids.
    pub random: &'a Random,
}

/// Who asks, and the idempotency key of the request.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// The caller, as it is authenticated.
    pub caller: String,
    /// The schedule of which this is an occurrence. Its idempotency keys are those of no caller, so that they stay the same when
    /// another caller writes the schedule.
    pub schedule: Option<&'a str>,
    /// The caller's key for this request.
    pub idempotency_key: Option<&'a str>,
    /// What another request with this key has to say to be the same one.
    pub repetition: Repetition,
}

/// What makes a request with a known idempotency key a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repetition {
    /// The same document. Another one is a conflict.
    SameDocument,
    /// The key alone: the document is made of what the key names, by rules that may have changed since.
    SameKey,
}

impl<B: Backend> Acceptor<'_, B> {
    /// Accepts the request in this JSON document. Returns the earlier notification if the idempotency key is known.
    ///
    /// # Errors
    /// [`Error`] says for each case whether the request may be repeated.
    pub async fn accept_document(
        &self,
        document: &LosslessJson,
        origin: Origin<'_>,
    ) -> Result<Accepted, Error> {
        let now = self.clock.now();
        let Origin {
            caller,
            schedule,
            idempotency_key,
            repetition,
        } = origin;
        // The document is compared, not its bytes: a repetition may be printed differently.
        let compared = match repetition {
            Repetition::SameDocument => document.to_string(),
            Repetition::SameKey => String::new(),
        };
        let idempotency = idempotency_key.map(|key| Idempotency {
            // Keys are scoped by caller or schedule. No caller's name has a line break in it.
            key: sha256_hex(
                match schedule {
                    Some(schedule) => format!("\nschedule\n{schedule}\n{key}"),
                    None => format!("{}\n{key}", principal(&caller)),
                }
                .as_bytes(),
            ),
            body: sha256_hex(compared.as_bytes()),
            until: now.saturating_add(IDEMPOTENCY_TTL).unwrap_or(now),
        });
        let accepted = self.accept_new(document, caller, schedule, idempotency.clone(), now);
        let accepted = accepted.await;
        match (accepted, &idempotency) {
            // A repeated request is the same notification, although its times have passed since.
            (Err(error @ (Error::Invalid(_) | Error::Conflict(_))), Some(idempotency)) => {
                match self.notifications.accepted_as(idempotency, now).await? {
                    Some(id) => self.replay(id, Vec::new(), now).await,
                    None => Err(error),
                }
            }
            (accepted, _) => accepted,
        }
    }

    /// Checks a request completely, as its acceptance does, and accepts nothing. Returns what the caller may not have meant.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Forbidden`], if it would be refused.
    pub async fn check_document(&self, document: &LosslessJson, caller: &str) -> Result<Vec<Warning>, Error> {
        let document = self.with_template(document).await?;
        let mut request = self.valid_request(&document, caller, self.clock.now())?;
        let unmatched = exceptions::unmatched(self.conversations, &request.audience);
        request.warnings.extend(unmatched.await);
        Ok(request.warnings)
    }

    /// The request in a document, if the deployment allows it and its caller may ask for it.
    fn valid_request(&self, document: &LosslessJson, caller: &str, now: Timestamp) -> Result<Request, Error> {
        let request = Request::parse(document, now).map_err(Error::Invalid)?;
        if request.if_no_conversation == IfNoConversation::Install && self.settings.teams_app_id.is_none() {
            let detail = "cannot be \"install\" here: this deployment does not name the bot's Teams app \
                          (HERALD_TEAMS_APP_ID, the template's TeamsAppId)";
            return Err(Error::Invalid(vec![Fault::new("#/ifNoConversation", detail)]));
        }
        if self.settings.teams_app_id.is_none() {
            let detail = "cannot be used here: Microsoft Graph is asked for these people, and this deployment does not name the \
                          bot's Teams app (HERALD_TEAMS_APP_ID, the template's TeamsAppId)";
            let directories = request.audience.directories();
            let faults = directories.map(|(index, _)| Fault::new(request.audience.pointer(index), detail));
            let faults: Vec<Fault> = faults.collect();
            if !faults.is_empty() {
                return Err(Error::Invalid(faults));
            }
        }
        let send_mode = request.send_mode.unwrap_or(self.settings.send_mode);
        if request.retract_at.is_some() && send_mode == SendMode::Batch {
            let detail = "cannot be with the send mode \"batch\": Teams' batch API does not return the ids of the copies";
            return Err(Error::Invalid(vec![Fault::new("#/retractAt", detail)]));
        }
        if request.mandatory && !self.may_ask_for_mandatory(caller) {
            return Err(Error::Forbidden(NOT_MANDATORY.to_owned()));
        }
        Ok(request)
    }

    /// Accepts a request, which may be a repetition.
    async fn accept_new(
        &self,
        document: &LosslessJson,
        caller: String,
        schedule: Option<&str>,
        idempotency: Option<Idempotency>,
        now: Timestamp,
    ) -> Result<Accepted, Error> {
        let document = self.with_template(document).await?;
        let mut request = self.valid_request(&document, &caller, now)?;
        let start = self.start_policy(&request, &caller, now).await?;
        if start == StartPolicy::DryRun {
            // A dry run is planned at once, for its local time if it has one, and has no copies.
            request.deliver_at = None;
            request.retract_at = None;
            request.replacement = None;
        }
        let unmatched = exceptions::unmatched(self.conversations, &request.audience);
        request.warnings.extend(unmatched.await);
        self.accept(request, start, caller, schedule, idempotency).await
    }

    /// Whether a caller may send to those who opted out. The bot may: what it sends by itself, a person asked it for.
    fn may_ask_for_mandatory(&self, caller: &str) -> bool {
        self.settings.operators.include(caller) || job::is_bot(caller)
    }

    /// Stores the notification and enqueues its plan.
    async fn accept(
        &self,
        mut request: Request,
        start: StartPolicy,
        caller: String,
        schedule: Option<&str>,
        idempotency: Option<Idempotency>,
    ) -> Result<Accepted, Error> {
        let now = self.clock.now();
        let is_repeatable = idempotency.is_some();
        request.send_mode.get_or_insert(self.settings.send_mode);
        let id = NotificationId::fresh(now, self.random.bytes());
        let warnings = std::mem::take(&mut request.warnings);
        let category = category::declared(self.registry, request.category.as_deref());
        let (category, tenants) = futures_util::try_join!(category, catalogue::all(self.registry))?;
        let mut notification = Notification::begin(id, now, caller, &request, start);
        notification.schedule = schedule.map(str::to_owned);
        let settled = |source: &MessageSource, at| {
            notification
                .settled(source)
                .map_err(|error| unrenderable(at, error))
        };
        request.message = settled(&request.message, "#/message")?;
        if let Some(replacement) = &mut request.replacement {
            **replacement = settled(replacement, "#/replacement")?;
        }
        notification.way_out = self.way_out(&request, category.as_ref());
        notification.has_defaults = !Defaults::new(category.as_ref(), tenants).is_empty();
        let acceptance = Acceptance {
            notification,
            audience: request.audience,
            message: request.message,
            replacement: request.replacement,
            idempotency,
        };
        match self.notifications.accept(&acceptance).await? {
            Accept::Created => {}
            Accept::NotConfirmable(plan) => return Err(confirmation::not_confirmable(plan.as_deref())),
            Accept::Conflict => {
                let detail =
                    "This Idempotency-Key was used for another body. Use a new key for a new request.";
                return Err(Error::Conflict(detail.to_owned()));
            }
            Accept::Duplicate(id) => return self.replay(id, warnings, now).await,
        }
        let notification = acceptance.notification;
        telemetry::count(Metric::Accepted);
        if notification.mandatory && !job::is_bot(&notification.caller) {
            telemetry::count(Metric::Mandatory);
            AuditAction::PassOptOuts.of_notification(&notification.caller, &notification.id, None);
        }
        match self.enqueue(&notification, now).await {
            Ok(()) => {
                tracing::info!(notification = %notification.id, parts = notification.parts, "accepted");
            }
            Err(error) if is_repeatable => return Err(error.into()),
            Err(error) => self.roll_back(&notification.id, error).await?,
        }
        Ok(Accepted {
            held_above: notification.held_above(),
            id: notification.id,
            state: State::Accepted,
            replayed: false,
            warnings,
        })
    }

    /// The answer to a repeated request, of which an earlier one was accepted as this notification.
    async fn replay(
        &self,
        id: NotificationId,
        warnings: Vec<Warning>,
        now: Timestamp,
    ) -> Result<Accepted, Error> {
        let earlier = self.notifications.find(&id).await?;
        let state = earlier.as_ref().map_or(State::Accepted, Notification::state);
        // The first request may have failed between table and queue; this one enqueues the plan.
        if let Some(earlier) = earlier.as_ref().filter(|_| state == State::Accepted) {
            self.enqueue(earlier, now).await?;
        }
        Ok(Accepted {
            id,
            state,
            held_above: earlier.as_ref().and_then(Notification::held_above),
            replayed: true,
            warnings,
        })
    }

    /// Enqueues the plan, for `deliverAt`. It is one message, so it is enqueued or not; the planner makes one for each long part.
    async fn enqueue(&self, notification: &Notification, now: Timestamp) -> Result<(), queue::Error> {
        let wait = notification
            .deliver_at
            .map_or(Duration::ZERO, |moment| until(now, moment));
        let plan = Plan::whole(notification.id.clone(), Task::Plan).message(wait);
        self.plans.send(vec![plan]).await
    }

    /// Removes a notification whose plan could not be enqueued, unless it is being planned already.
    async fn roll_back(&self, id: &NotificationId, error: queue::Error) -> Result<(), Error> {
        match self.notifications.roll_back(id).await {
            Ok(true) => Err(error.into()),
            // The plan was enqueued; only the queue's response was lost.
            Ok(false) => Ok(()),
            Err(store) => {
                tracing::error!(error_type = "AcceptanceUnknown", notification = %id, queue = %chain(&error), store = %chain(&store),
                    "the plan may not be enqueued, and the notification could not be rolled back");
                Err(Error::Unknown)
            }
        }
    }
}

/// Whether this is the message that a notification sends now.
async fn has_message<N: Notifications>(
    notifications: &N,
    notification: &Notification,
    message: &MessageSource,
) -> Result<bool, store::Error> {
    let current = notifications
        .message(&notification.id, notification.revision)
        .await?;
    Ok(current.is_some_and(|current| current.is_same_document(message)))
}
