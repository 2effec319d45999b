//! The routes of the API, and the parts of a request that the gateway has read: the route and its path parameters.
//!
//! A request is dispatched by the route key that API Gateway matched and authorised, never by a path: see
//! [`herald::http_api`].

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use herald::http_api::RequestContext;
use lambda_http::Request;

use crate::response::ApiError;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Create,
    Preview,
    ListNotifications,
    Status,
    Cancel,
    CancelWave,
    Edit,
    Retract,
    Explain,
    Plan,
    Deliveries,
    ListConversations,
    Import,
    Export,
    ShowConversation,
    EraseConversation,
    Tag,
    Untag,
    EraseUser,
    ShowPreferences,
    PutPreferences,
    ShowConversationPreferences,
    PutConversationPreferences,
    ShowTenant,
    PutTenant,
    DeleteTenant,
    ListCategories,
    ShowCategory,
    PutCategory,
    DeleteCategory,
    ListTemplates,
    ShowTemplate,
    PutTemplate,
    DeleteTemplate,
    ResetRate,
    CreateHook,
    ListHooks,
    ShowHook,
    RotateHook,
    DeleteHook,
    Receive,
    ListRoutes,
    ShowRoute,
    PutRoute,
    DeleteRoute,
    TestRoute,
    ListSchedules,
    ShowSchedule,
    PutSchedule,
    DeleteSchedule,
    PauseSchedule,
    ResumeSchedule,
    SkipOccurrence,
    FailedEvents,
    RedriveEvents,
    LegacyTrigger,
    Console,
    ConsoleFile,
}

/// One route of the template.
#[derive(Debug)]
pub(crate) struct Route {
    method: &'static str,
    path: &'static str,
    pub(crate) endpoint: Endpoint,
    /// The query parameters that it takes.
    pub(crate) query: &'static [&'static str],
}

const fn route(
    method: &'static str,
    path: &'static str,
    endpoint: Endpoint,
    query: &'static [&'static str],
) -> Route {
    Route {
        method,
        path,
        endpoint,
        query,
    }
}

/// Every route whose integration is this function, as in `infra/template.yaml`; `$default` is for the rest.
static ROUTES: [Route; 58] = [
    route(
        "GET",
        "/api/notifications",
        Endpoint::ListNotifications,
        &["caller", "category", "state", "cursor", "limit"],
    ),
    route("POST", "/api/notifications", Endpoint::Create, &[]),
    route("POST", "/api/notifications/preview", Endpoint::Preview, &[]),
    route("GET", "/api/notifications/{id}", Endpoint::Status, &[]),
    route("POST", "/api/notifications/{id}/cancel", Endpoint::Cancel, &[]),
    route(
        "POST",
        "/api/notifications/{id}/waves/{instant}/cancel",
        Endpoint::CancelWave,
        &[],
    ),
    route("PUT", "/api/notifications/{id}/message", Endpoint::Edit, &[]),
    route(
        "DELETE",
        "/api/notifications/{id}/message",
        Endpoint::Retract,
        &[],
    ),
    route(
        "GET",
        "/api/notifications/{id}/explain",
        Endpoint::Explain,
        &["cursor"],
    ),
    route("GET", "/api/notifications/{id}/plan", Endpoint::Plan, &[]),
    route(
        "GET",
        "/api/notifications/{id}/deliveries",
        Endpoint::Deliveries,
        &["state", "cursor", "limit", "format"],
    ),
    route(
        "GET",
        "/api/conversations",
        Endpoint::ListConversations,
        &["state", "tenant", "user", "team", "tag", "cursor", "limit"],
    ),
    route("POST", "/api/conversations/import", Endpoint::Import, &[]),
    route("POST", "/api/conversations/export", Endpoint::Export, &["cursor"]),
    route("GET", "/api/conversations/{key}", Endpoint::ShowConversation, &[]),
    route(
        "DELETE",
        "/api/conversations/{key}",
        Endpoint::EraseConversation,
        &[],
    ),
    route("PUT", "/api/conversations/{key}/tags/{tag}", Endpoint::Tag, &[]),
    route(
        "DELETE",
        "/api/conversations/{key}/tags/{tag}",
        Endpoint::Untag,
        &[],
    ),
    route(
        "GET",
        "/api/conversations/{key}/preferences",
        Endpoint::ShowConversationPreferences,
        &[],
    ),
    route(
        "PUT",
        "/api/conversations/{key}/preferences",
        Endpoint::PutConversationPreferences,
        &[],
    ),
    route("DELETE", "/api/users/{id}", Endpoint::EraseUser, &[]),
    route(
        "GET",
        "/api/people/{id}/preferences",
        Endpoint::ShowPreferences,
        &["tenant", "channel"],
    ),
    route(
        "PUT",
        "/api/people/{id}/preferences",
        Endpoint::PutPreferences,
        &["tenant", "channel"],
    ),
    route("GET", "/api/tenants/{id}/preferences", Endpoint::ShowTenant, &[]),
    route("PUT", "/api/tenants/{id}/preferences", Endpoint::PutTenant, &[]),
    route(
        "DELETE",
        "/api/tenants/{id}/preferences",
        Endpoint::DeleteTenant,
        &[],
    ),
    route("GET", "/api/categories", Endpoint::ListCategories, &[]),
    route("GET", "/api/categories/{name}", Endpoint::ShowCategory, &[]),
    route("PUT", "/api/categories/{name}", Endpoint::PutCategory, &[]),
    route("DELETE", "/api/categories/{name}", Endpoint::DeleteCategory, &[]),
    route(
        "GET",
        "/api/templates",
        Endpoint::ListTemplates,
        &["cursor", "limit"],
    ),
    route("GET", "/api/templates/{name}", Endpoint::ShowTemplate, &[]),
    route("PUT", "/api/templates/{name}", Endpoint::PutTemplate, &[]),
    route("DELETE", "/api/templates/{name}", Endpoint::DeleteTemplate, &[]),
    route("DELETE", "/api/rates/{bucket}", Endpoint::ResetRate, &[]),
    route("GET", "/api/hooks", Endpoint::ListHooks, &["cursor", "limit"]),
    route("POST", "/api/hooks", Endpoint::CreateHook, &[]),
    route("GET", "/api/hooks/{id}", Endpoint::ShowHook, &[]),
    route("DELETE", "/api/hooks/{id}", Endpoint::DeleteHook, &[]),
    route("PUT", "/api/hooks/{id}/secret", Endpoint::RotateHook, &[]),
    route("POST", "/api/hooks/{id}/{secret}", Endpoint::Receive, &[]),
    route("GET", "/api/routes", Endpoint::ListRoutes, &["cursor", "limit"]),
    route("GET", "/api/routes/{name}", Endpoint::ShowRoute, &[]),
    route("PUT", "/api/routes/{name}", Endpoint::PutRoute, &[]),
    route("DELETE", "/api/routes/{name}", Endpoint::DeleteRoute, &[]),
    route("POST", "/api/routes/{name}/test", Endpoint::TestRoute, &[]),
    route(
        "GET",
        "/api/schedules",
        Endpoint::ListSchedules,
        &["cursor", "limit"],
    ),
    route("GET", "/api/schedules/{name}", Endpoint::ShowSchedule, &[]),
    route("PUT", "/api/schedules/{name}", Endpoint::PutSchedule, &[]),
    route("DELETE", "/api/schedules/{name}", Endpoint::DeleteSchedule, &[]),
    route(
        "POST",
        "/api/schedules/{name}/pause",
        Endpoint::PauseSchedule,
        &[],
    ),
    route(
        "POST",
        "/api/schedules/{name}/resume",
        Endpoint::ResumeSchedule,
        &[],
    ),
    route(
        "POST",
        "/api/schedules/{name}/skip",
        Endpoint::SkipOccurrence,
        &[],
    ),
    route(
        "GET",
        "/api/events/failed",
        Endpoint::FailedEvents,
        &["cursor", "limit"],
    ),
    route("POST", "/api/events/failed/redrive", Endpoint::RedriveEvents, &[]),
    route("GET", "/api/notify", Endpoint::LegacyTrigger, &[]),
    // The way back from signing in has the issuer's answer in the query, which the page reads.
    route(
        "GET",
        "/console",
        Endpoint::Console,
        &[
            "code",
            "state",
            "session_state",
            "client_info",
            "iss",
            "error",
            "error_description",
            "error_uri",
        ],
    ),
    route("GET", "/console/{file}", Endpoint::ConsoleFile, &[]),
];

impl Route {
    /// The route of a request.
    ///
    /// # Errors
    /// A 405 if the path has other methods, else a 404.
    pub(crate) fn of(request: &Request) -> Result<&'static Self, ApiError> {
        let key = context(request).map_or("", |context| &*context.route_key);
        let mut all = ROUTES.iter();
        let found = all.find(|route| key.split_once(' ') == Some((route.method, route.path)));
        found.ok_or_else(|| not_routed(context(request).map_or("", |context| &*context.raw_path)))
    }

    /// The route keys of all routes.
    pub(crate) fn keys() -> impl Iterator<Item = String> {
        let all = ROUTES.iter();
        all.map(|route| format!("{} {}", route.method, route.path))
    }

    fn matches(&self, path: &str) -> bool {
        let (mut own, mut given) = (self.path.split('/'), path.split('/'));
        loop {
            match (own.next(), given.next()) {
                (None, None) => return true,
                (Some(own), Some(given)) if own == given => {}
                (Some(own), Some(given)) if own.starts_with('{') && !given.is_empty() => {}
                (_, _) => return false,
            }
        }
    }
}

/// What is wrong with a request that no route matched.
fn not_routed(path: &str) -> ApiError {
    let methods = |path: &str| -> Vec<&str> {
        let matching = ROUTES.iter().filter(|route| route.matches(path));
        matching.map(|route| route.method).collect()
    };
    let allowed = methods(path);
    if !allowed.is_empty() {
        return ApiError::Method(allowed.join(", "));
    }
    if path.ends_with('/') && !methods(path.trim_end_matches('/')).is_empty() {
        return ApiError::not_found("There is nothing at this path. Leave out the `/` at its end.");
    }
    ApiError::no_resource()
}

/// What the gateway said of a request. Only a request that came by no gateway has none.
pub(crate) fn context(request: &Request) -> Option<&RequestContext> {
    request.extensions().get::<RequestContext>()
}

/// How a value is marked whose characters do not survive a path.
const ENCODED: &str = "base64:";

/// A path parameter, as the caller meant it.
///
/// # Errors
/// A 400 for values that intermediaries may take for something else (`.`, `..`, and what holds a `\` or a control character),
/// and for those that were not UTF-8. Written as [`ENCODED`] and its base64url, every text is accepted.
pub(crate) fn parameter<'r>(request: &'r Request, name: &str) -> Result<Cow<'r, str>, ApiError> {
    let parameters = context(request).map(|context| &context.path_parameters);
    let value = parameters
        .and_then(|parameters| parameters.get(name))
        .ok_or_else(ApiError::no_resource)?;
    if let Some(encoded) = value.strip_prefix(ENCODED) {
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        return decoded.map(Cow::Owned).ok_or_else(|| {
            ApiError::bad_request(format!(
                "What follows `{ENCODED}` in the path must be base64url of UTF-8 text, without `=`."
            ))
        });
    }
    let is_dots = matches!(value.as_str(), "" | "." | "..");
    if is_dots
        || value.contains(|one: char| matches!(one, '\\' | char::REPLACEMENT_CHARACTER) || one.is_control())
    {
        return Err(ApiError::bad_request(format!(
            "`{name}` in the path must be UTF-8, may not be `.` or `..`, and may not hold `\\` or a control character. Such an id is written as `{ENCODED}` and its base64url."
        )));
    }
    Ok(Cow::Borrowed(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lambda_http::Body;
    use lambda_http::http::StatusCode;

    fn request(key: &str, path: &str, parameters: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Body::Empty);
        request.extensions_mut().insert(RequestContext {
            route_key: key.to_owned(),
            raw_path: path.to_owned(),
            path_parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..RequestContext::default()
        });
        request
    }

    fn refused(request: &Request) -> (u16, Option<String>) {
        let response = Route::of(request).map(|_| ()).unwrap_err().respond();
        let allow = response.headers().get("allow");
        let allow = allow.map(|allow| allow.to_str().unwrap().to_owned());
        (response.status().as_u16(), allow)
    }

    #[test]
    fn a_request_does_what_the_gateway_authorised_and_not_what_its_path_says() {
        let request = request("GET /api/notifications/{id}", "/api/notify", &[("id", "x")]);
        assert_eq!(
            Route::of(&request).unwrap_or_else(|_| panic!()).endpoint,
            Endpoint::Status
        );
        for key in [
            "",
            "$default",
            "ANY /api/notify",
            "GET  /api/notify",
            "get /api/notify",
        ] {
            assert_eq!(refused(&self::request(key, "/x", &[])).0, 404, "{key}");
        }
        let without_gateway = Request::new(Body::Empty);
        assert_eq!(refused(&without_gateway).0, 404);
    }

    #[test]
    fn what_no_route_matched_is_explained_by_its_path() {
        let said = |path| refused(&request("$default", path, &[]));
        assert_eq!(said("/api/notifications"), (405, Some("GET, POST".to_owned())));
        assert_eq!(
            said("/api/notifications/x/message"),
            (405, Some("PUT, DELETE".to_owned()))
        );
        assert_eq!(
            said("/api/conversations/x"),
            (405, Some("GET, DELETE".to_owned()))
        );
        for path in [
            "",
            "/",
            "/api",
            "/api/notifications/",
            "/api/notifications//plan",
            "/api/users",
        ] {
            assert_eq!(said(path), (404, None), "{path}");
        }
        let slash = Route::of(&request("$default", "/api/notifications/", &[]))
            .map(|_| ())
            .unwrap_err()
            .respond();
        let Body::Text(text) = slash.body() else { panic!() };
        assert!(text.contains("Leave out the `/`"), "{text}");
    }

    #[test]
    fn path_values_that_a_url_parser_would_rewrite_are_refused() {
        let value = |value: &str| {
            let request = request("", "", &[("tag", value)]);
            let result = parameter(&request, "tag").map(Cow::into_owned);
            result.map_err(|error| error.respond().status())
        };
        for refused in [
            "",
            ".",
            "..",
            "..\\notify",
            "a\\b",
            "a\nb",
            "base64:%",
            "base64:/w",
            "base64:AAA=",
        ] {
            assert_eq!(value(refused), Err(StatusCode::BAD_REQUEST), "{refused:?}");
        }
        for taken in ["c#", "R&D?", "50%41", "%2e%2e", "a/b", "...", "ä", "a b", "+"] {
            assert_eq!(value(taken).as_deref(), Ok(taken));
        }
        assert_eq!(value("base64:Li4").as_deref(), Ok(".."));
        assert_eq!(value("base64:YVxi").as_deref(), Ok("a\\b"));
    }
}
