//! `POST /api/hooks/{id}/{secret}`: a tool posts.

use herald::acceptance::{Origin, Repetition};
use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::hook::payload::{SenderHeaders, Translation, translate};
use herald::hook::{Hook, HookRate, PAYLOAD_MAX_BYTES, is_signed};
use herald::json_body;
use herald::problem::Problem;
use herald::store::Registry;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};

use super::{is_id, no_hook, retry_after};
use crate::Context;
use crate::request::bytes;
use crate::response::{ApiError, of_type};

/// The headers that make a repeated payload the same one, the first that is there.
const DELIVERY_HEADERS: [&str; 4] = [
    "idempotency-key",
    "x-github-delivery",
    "x-gitlab-event-uuid",
    "webhook-id",
];

impl<B: Backend> Context<B> {
    /// Takes a payload. The answer is that of the webhooks that hooks replace.
    pub(crate) async fn receive(
        &self,
        id: &str,
        secret: &str,
        request: &Request,
    ) -> Result<Response<Body>, ApiError> {
        if !is_id(id) {
            return Err(no_hook());
        }
        let hook: Option<Hook> = self.registry.find_record(id).await?;
        // A wrong secret is answered as an unknown hook.
        let hook = hook.filter(|hook| hook.has_secret(secret)).ok_or_else(no_hook)?;
        if let Some(refused) = self.limit(id, &hook).await? {
            return Ok(refused);
        }
        let body = bytes(request);
        if body.len() > PAYLOAD_MAX_BYTES {
            let detail = format!(
                "The payload may have {PAYLOAD_MAX_BYTES} bytes, found {}.",
                body.len()
            );
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into());
        }
        let value = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(github) = &hook.github_secret
            && !is_signed(body, value("x-hub-signature-256"), github, secret)
        {
            let detail = "This hook takes payloads with GitHub's signature by its secret only (`X-Hub-Signature-256`).";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, detail).into());
        }
        let headers = SenderHeaders {
            github_event: value("x-github-event"),
            gitlab_event: value("x-gitlab-event"),
        };
        let payload = json_body::parse(body)?;
        let (message, priority) = match translate(&payload, headers)? {
            Translation::Message { message, priority } => (message, priority),
            Translation::Nothing => return Ok(taken()),
        };
        let origin = Origin {
            caller: format!("hook:{id}"),
            schedule: None,
            idempotency_key: DELIVERY_HEADERS.iter().find_map(|name| value(name)),
            repetition: Repetition::SameDocument,
        };
        let caller = origin.caller.clone();
        let asked = hook.request(&message, priority);
        let accepted = self.acceptor().accept_document(&asked, origin).await?;
        if !accepted.replayed {
            AuditAction::Accept.of_notification(&caller, &accepted.id, None);
        }
        Ok(taken())
    }

    /// The refusal of a hook that is posted to faster than its rate.
    async fn limit(&self, id: &str, hook: &Hook) -> Result<Option<Response<Body>>, ApiError> {
        let now = self.clock.now();
        let mut wait = None;
        let mut rule = |earlier: Option<HookRate>| match HookRate::take(earlier, hook.per_minute, now) {
            Ok(rate) => {
                wait = None;
                Some(rate)
            }
            Err(seconds) => {
                wait = Some(retry_after(seconds));
                None
            }
        };
        self.registry.update_record(id, &mut rule).await?;
        let Some(seconds) = wait else { return Ok(None) };
        let detail = format!(
            "This hook takes {} payloads a minute. Repeat the request in {seconds} s.",
            hook.per_minute
        );
        let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).into_response();
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        Ok(Some(response))
    }
}

/// What the connectors of Office 365 answered.
fn taken() -> Response<Body> {
    of_type(StatusCode::OK, "text/plain; charset=utf-8", "1".to_owned())
}
