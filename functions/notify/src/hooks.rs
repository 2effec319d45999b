//! `/api/hooks`: addresses for tools that post to incoming webhooks. Making, listing, rotating and deleting them.

use std::time::Duration;

use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::hook::{Hook, HookRequest, HookSecret, github_secret};
use herald::problem::{Faults, Problem};
use herald::store::{Collection, Registry};
use jiff::Timestamp;
use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::request::{CursorScope, Query, bytes, document};
use crate::response::{ApiError, json, no_content};
use crate::{Context, caller};

mod receive;

/// How ids of hooks begin.
const ID_PREFIX: &str = "hook_";

/// A hook as answers show it: without its secret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownHook {
    id: String,
    /// Its address, only when it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    name: String,
    caller: String,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotated_at: Option<Timestamp>,
    #[serde(flatten)]
    notification: Map<String, Value>,
    per_minute: u32,
    /// Whether it takes payloads with GitHub's signature only.
    checks_github_signature: bool,
}

impl ShownHook {
    fn of(id: &str, hook: Hook, url: Option<String>) -> Self {
        Self {
            id: id.to_owned(),
            url,
            name: hook.name,
            caller: hook.caller,
            created_at: hook.created_at,
            rotated_at: hook.rotated_at,
            notification: hook.notification,
            per_minute: hook.per_minute,
            checks_github_signature: hook.github_secret.is_some(),
        }
    }
}

/// A page of the list.
#[derive(Debug, Serialize)]
struct ListedHooks {
    hooks: Vec<ShownHook>,
    /// The cursor of the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl<B: Backend> Context<B> {
    /// `POST /api/hooks`
    pub(crate) async fn create_hook(&self, request: &Request) -> Result<Response<Body>, ApiError> {
        let now = self.clock.now();
        let asked = HookRequest::parse(&document(request)?, now).map_err(Problem::invalid)?;
        let caller = caller::of(request);
        let id = format!("{ID_PREFIX}{}", hexadecimal(self.random.bytes()));
        let secret = self.fresh_secret();
        let hook = asked.hook(&caller, &secret, self.random.bytes(), now);
        let mut rule = |_: Option<Hook>| Some(hook.clone());
        self.registry.update_record(&id, &mut rule).await?;
        AuditAction::CreateHook.of_hook(&caller, &id);
        let mut response = json(
            StatusCode::CREATED,
            &ShownHook::of(&id, hook, Some(address(request, &id, &secret))),
        );
        if let Ok(location) = HeaderValue::from_str(&format!("/api/hooks/{id}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }

    /// `GET /api/hooks`
    pub(crate) async fn hooks(&self, query: &Query) -> Result<Response<Body>, ApiError> {
        let list = CursorScope::new("hooks", &[]);
        let cursor = query.cursor(&list)?;
        let page = self
            .registry
            .list_records::<Hook>(cursor.as_deref(), query.limit()?)
            .await?;
        let hooks = page.items.into_iter();
        let listed = ListedHooks {
            hooks: hooks.map(|(id, hook)| ShownHook::of(&id, hook, None)).collect(),
            next: page.cursor.map(|cursor| list.cursor(&cursor)),
        };
        Ok(json(StatusCode::OK, &listed))
    }

    /// `GET /api/hooks/{id}`
    pub(crate) async fn hook(&self, id: &str) -> Result<Response<Body>, ApiError> {
        let hook = self.find_hook(id).await?;
        Ok(json(StatusCode::OK, &ShownHook::of(id, hook, None)))
    }

    /// `PUT /api/hooks/{id}/secret`: gives it a new address. The present one answers 404 from now on.
    pub(crate) async fn rotate_hook(
        &self,
        id: &str,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let github = rotation(request)?;
        let hook = self.find_changeable_hook(id, caller).await?;
        if hook.github_secret.is_some() && github.is_none() {
            return Err(ApiError::bad_request(
                "This hook checks GitHub's signatures, and its `githubSecret` is encrypted under the secret that is replaced. Give it again.",
            ));
        }
        let (secret, nonce, now) = (self.fresh_secret(), self.random.bytes(), self.clock.now());
        let mut rotated = None;
        let mut rule = |hook: Option<Hook>| {
            rotated = hook.map(|hook| hook.rotated(&secret, github.as_deref(), nonce, now));
            rotated.clone()
        };
        self.registry.update_record(id, &mut rule).await?;
        let hook = rotated.ok_or_else(no_hook)?;
        AuditAction::RotateHook.of_hook(caller, id);
        let shown = ShownHook::of(id, hook, Some(address(request, id, &secret)));
        Ok(json(StatusCode::OK, &shown))
    }

    /// `DELETE /api/hooks/{id}`
    pub(crate) async fn delete_hook(&self, id: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        self.find_changeable_hook(id, caller).await?;
        self.registry.remove_record(Collection::Hooks, id).await?;
        AuditAction::DeleteHook.of_hook(caller, id);
        Ok(no_content())
    }

    async fn find_hook(&self, id: &str) -> Result<Hook, ApiError> {
        if !is_id(id) {
            return Err(no_hook());
        }
        self.registry.find_record(id).await?.ok_or_else(no_hook)
    }

    async fn find_changeable_hook(&self, id: &str, caller: &str) -> Result<Hook, ApiError> {
        let hook = self.find_hook(id).await?;
        self.require_own("hook", &hook.caller, caller)?;
        Ok(hook)
    }

    fn fresh_secret(&self) -> HookSecret {
        HookSecret::fresh([self.random.bytes(), self.random.bytes()])
    }
}

fn is_id(id: &str) -> bool {
    id.strip_prefix(ID_PREFIX)
        .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn hexadecimal(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

fn no_hook() -> ApiError {
    ApiError::not_found("There is no such hook.")
}

/// The body of a rotation: empty, or with the secret of GitHub's signatures.
fn rotation(request: &Request) -> Result<Option<String>, ApiError> {
    if bytes(request).is_empty() {
        return Ok(None);
    }
    let body = document(request)?;
    let mut faults = Faults::default();
    let Value::Object(object) = &body.value else {
        return Err(ApiError::bad_request("The body must be an object, or empty."));
    };
    for name in object.keys().filter(|name| *name != "githubSecret") {
        faults.note(
            herald::problem::pointer("#", name),
            "is not a field of a rotation; it may have `githubSecret`",
        );
    }
    let github = github_secret(object, &mut faults);
    Ok(faults.none_in(Some(github)).map_err(Problem::invalid)?)
}

/// The address of a hook, at the host that this request was sent to; only its path if that is not known.
fn address(request: &Request, id: &str, secret: &HookSecret) -> String {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let is_local = ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| {
        host.strip_prefix(local)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    let origin = match (host, is_local) {
        ("", _) => String::new(),
        (host, true) => format!("http://{host}"),
        (host, false) => format!("https://{host}"),
    };
    format!("{origin}/api/hooks/{id}/{}", secret.as_str())
}

/// Whole seconds, rounded up.
fn retry_after(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
