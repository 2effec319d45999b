//! The messaging endpoint: an HTTP request with an activity becomes a turn, and the turn an HTTP response.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use super::App;
use super::context::{Context, TurnOutcome};
use super::error::{Error, chain};
use crate::activity::{Activity, ActivityType, ChannelAccount};
use crate::auth::{Denied, VerifiedActivity};
use crate::id::{ActivityId, ChannelAccountId, MAX_ID_BYTES};
use crate::invoke::{ADAPTIVE_CARD_ACTION, InvokeResponse};
use crate::teams::is_teams;

/// The largest activity that is accepted, in bytes. Teams' own limit for a message is about 100 KB (`PROTOCOL.md#b1`).
pub const ACTIVITY_MAX_BYTES: usize = 256 * 1024;

/// The bot's account where neither the activity nor the policy names one: without authentication.
const UNCONFIGURED_BOT: &str = "bot";

/// The most characters of an invoke's name that are logged.
const LOGGED_NAME_MAX: usize = 64;

/// The methods of the endpoint.
const METHODS: &str = "POST, GET, HEAD";

impl App {
    /// Answers a request to the messaging endpoint: limit, token, activity, its sender, the turn, the response.
    ///
    /// Nothing is believed before the token is verified, and it is verified before the body is parsed. `GET` and `HEAD` are for
    /// health checks, and for people who open the address in a browser. Errors are problem documents (RFC 9457) that say their
    /// status and not why a token was refused; the log has the reason.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        match *request.method() {
            Method::POST => {}
            Method::GET | Method::HEAD => return greeting(),
            _ => return not_allowed(),
        }
        // Boxed: the response to a health check needs none of it.
        match Box::pin(self.receive(request)).await {
            Ok(response) => response,
            Err(refused) => status(refused),
        }
    }

    /// Runs the turn of an authenticated activity, and makes the HTTP response.
    ///
    /// The response is 200; to an invoke, what the bot responded or [`InvokeResponse::unhandled`]; to an activity with
    /// `expectReplies`, 200 with the replies; after a failure 500, and the channel may send the activity again. The failure of a
    /// card's button is 200, with the status in the body.
    pub async fn process(&self, activity: VerifiedActivity) -> Response<Bytes> {
        let context = Context::received(activity, self.sending(), self.data());
        match self.run_turn(context.clone()).await {
            Ok(()) => respond(&context),
            Err(error) => {
                let ended = ended_with(&error);
                failed(context.activity(), ended).unwrap_or_else(|| status(ended))
            }
        }
    }

    async fn receive(&self, request: Request<Bytes>) -> Result<Response<Bytes>, StatusCode> {
        let refused = |denied: Denied| {
            tracing::warn!(error_type = denied.error_type(), error = %chain(&denied), "activity refused");
            denied.status()
        };
        let body = within_limit(request.body())?;
        let authenticator = self.authenticator();
        let token = authenticator.verify_token(request.headers(), self.now()).await;
        let token = token.map_err(refused)?;
        let mut activity = parse(body)?;
        if activity.recipient.as_ref().is_none_or(|bot| bot.id.is_empty()) {
            // Some emulators of Direct Line name no recipient.
            activity.recipient = Some(ChannelAccount::new(self.bot_account(&activity)));
        }
        let activity = authenticator.verify_activity(&token, activity).map_err(refused)?;
        drop(request);
        Ok(self.process(activity).await)
    }

    /// The bot's account in the channel of an activity, by the policy.
    fn bot_account(&self, activity: &Activity) -> ChannelAccountId {
        let app_id = self.authenticator().app_id().unwrap_or(UNCONFIGURED_BOT);
        if is_teams(activity.channel_id.as_deref()) {
            format!("28:{app_id}").into()
        } else {
            app_id.into()
        }
    }
}

/// The status of a turn that failed.
fn ended_with(error: &Error) -> StatusCode {
    if let Error::Stopped(status) = error {
        return *status;
    }
    tracing::error!(error_type = "TurnFailed", error = %chain(error), "the bot's turn failed");
    StatusCode::INTERNAL_SERVER_ERROR
}

/// The response to a button of a card whose turn failed: 200, with the status in the body (`PROTOCOL.md#h`). `None` for other
/// activities.
fn failed(activity: &Activity, ended: StatusCode) -> Option<Response<Bytes>> {
    let is_button =
        activity.kind == Some(ActivityType::Invoke) && activity.name.as_deref() == Some(ADAPTIVE_CARD_ACTION);
    let text = "That did not work. Try again in a moment.";
    let response = is_button.then(|| InvokeResponse::adaptive_error(ended.as_u16(), "Failed", text))?;
    Some(document(StatusCode::OK, response.body?.to_string().into_bytes()))
}

fn within_limit(body: &Bytes) -> Result<&Bytes, StatusCode> {
    if body.len() > ACTIVITY_MAX_BYTES {
        tracing::warn!(
            error_type = "ActivityTooLarge",
            body_bytes = body.len(),
            "activity refused"
        );
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    Ok(body)
}

/// The activity in a body. Its ids must fit the paths of requests.
fn parse(body: &[u8]) -> Result<Activity, StatusCode> {
    let activity = Activity::from_slice(body).map_err(|error| {
        tracing::warn!(error_type = "ActivityMalformed", %error, "activity refused");
        StatusCode::BAD_REQUEST
    })?;
    if let Some(property) = invalid_id(&activity) {
        tracing::warn!(
            error_type = "ActivityMalformed",
            property,
            "an id is too long, or has control characters: activity refused"
        );
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(activity)
}

/// The property of an id that can be neither stored nor part of a path.
fn invalid_id(activity: &Activity) -> Option<&'static str> {
    let conversation = activity.conversation.as_ref().map(|it| it.id.as_str());
    let bot = activity.recipient.as_ref().map(|it| it.id.as_str());
    let ids = [
        ("conversation.id", conversation),
        ("channelId", activity.channel_id.as_deref()),
        ("recipient.id", bot),
        ("id", activity.id.as_ref().map(ActivityId::as_str)),
    ];
    let is_invalid = |id: &str| id.len() > MAX_ID_BYTES || id.chars().any(char::is_control);
    let invalid = ids.into_iter().find(|(_, id)| id.is_some_and(is_invalid));
    invalid.map(|(property, _)| property)
}

/// The response to the request whose turn this was.
fn respond(context: &Context) -> Response<Bytes> {
    let TurnOutcome { replies, response } = context.finish();
    if let Some(replies) = replies {
        return match serde_json::to_vec(&json!({ "activities": replies })) {
            Ok(body) => document(StatusCode::OK, body),
            Err(_) => status(StatusCode::INTERNAL_SERVER_ERROR),
        };
    }
    if context.activity().kind != Some(ActivityType::Invoke) {
        return status(StatusCode::OK);
    }
    let response = response.unwrap_or_else(|| unhandled(context.activity().name.as_deref()));
    let code = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match response.body {
        Some(body) => document(code, body.to_string().into_bytes()),
        None => status(code),
    }
}

fn unhandled(name: Option<&str>) -> InvokeResponse {
    let invoke: String = name.unwrap_or_default().chars().take(LOGGED_NAME_MAX).collect();
    tracing::warn!(
        error_type = "InvokeUnhandled",
        invoke,
        "the bot did not respond to an invoke"
    );
    InvokeResponse::unhandled(name)
}

/// A response without a body; of an error, a problem document.
fn status(status: StatusCode) -> Response<Bytes> {
    if status.is_client_error() || status.is_server_error() {
        return problem(status);
    }
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// A problem document. It says nothing of why a token was refused.
fn problem(status: StatusCode) -> Response<Bytes> {
    let title = status.canonical_reason().unwrap_or("Error");
    let (title, detail) = (Value::from(title), Value::from(detail(status)));
    let body = format!(
        r#"{{"title":{title},"status":{},"detail":{detail}}}"#,
        status.as_u16()
    );
    let mut response = document(status, body.into_bytes());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

fn detail(status: StatusCode) -> String {
    match status {
        StatusCode::BAD_REQUEST => "The body is not an activity of the Bot Framework.".to_owned(),
        StatusCode::UNAUTHORIZED => "The request has no valid token of a channel.".to_owned(),
        StatusCode::FORBIDDEN => {
            "The token is valid, but this channel, tenant, bot or service URL is not accepted.".to_owned()
        }
        StatusCode::METHOD_NOT_ALLOWED => format!("This endpoint answers {METHODS} only."),
        StatusCode::PAYLOAD_TOO_LARGE => format!("An activity may have {ACTIVITY_MAX_BYTES} bytes."),
        StatusCode::NOT_IMPLEMENTED => "The bot does not handle this invoke.".to_owned(),
        _ => "The activity was not processed. It may be sent again.".to_owned(),
    }
}

fn document(status: StatusCode, body: Vec<u8>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn greeting() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(
        b"This is a bot's messaging endpoint. Channels POST activities here.\n",
    ));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn not_allowed() -> Response<Bytes> {
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(METHODS));
    response
}
