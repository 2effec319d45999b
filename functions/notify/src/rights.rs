//! What a caller with a token may do.
//!
//! Behind IAM the policies of the caller's role decide, before this function is invoked. The gateway checks of a token only that its
//! issuer made it for this API, so its roles and scopes are checked here.

use lambda_http::Request;

use crate::response::ApiError;
use crate::route::{Endpoint, context};

/// The claims that hold roles and scopes: Entra's of applications and of people, and that of RFC 8693, section 4.2.
const CLAIMS: [&str; 3] = ["roles", "scp", "scope"];

/// A part of the API. A caller has each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Ask for notifications, once or by a schedule, follow and change them; write templates.
    Send,
    /// Administer hooks, routes, categories, preferences of tenants, failed events and rate limits.
    Operate,
    /// List, import, export, tag and erase conversations and people, and read and write the preferences of people.
    People,
}

impl Right {
    /// The role or scope that gives it.
    const fn word(self) -> &'static str {
        match self {
            Self::Send => "Herald.Send",
            Self::Operate => "Herald.Operate",
            Self::People => "Herald.People",
        }
    }

    /// The right that a request needs; `None` if a secret in its path authorises it, or if it is public.
    const fn of(endpoint: Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::Create
            | Endpoint::Preview
            | Endpoint::ListNotifications
            | Endpoint::Status
            | Endpoint::Cancel
            | Endpoint::CancelWave
            | Endpoint::Edit
            | Endpoint::Retract
            | Endpoint::Explain
            | Endpoint::Plan
            | Endpoint::Deliveries
            | Endpoint::ListSchedules
            | Endpoint::ShowSchedule
            | Endpoint::PutSchedule
            | Endpoint::DeleteSchedule
            | Endpoint::PauseSchedule
            | Endpoint::ResumeSchedule
            | Endpoint::SkipOccurrence
            | Endpoint::ListTemplates
            | Endpoint::ShowTemplate
            | Endpoint::PutTemplate
            | Endpoint::DeleteTemplate
            | Endpoint::LegacyTrigger => Some(Self::Send),
            Endpoint::ResetRate
            | Endpoint::ListCategories
            | Endpoint::ShowCategory
            | Endpoint::PutCategory
            | Endpoint::DeleteCategory
            | Endpoint::ShowTenant
            | Endpoint::PutTenant
            | Endpoint::DeleteTenant
            | Endpoint::CreateHook
            | Endpoint::ListHooks
            | Endpoint::ShowHook
            | Endpoint::RotateHook
            | Endpoint::DeleteHook
            | Endpoint::ListRoutes
            | Endpoint::ShowRoute
            | Endpoint::PutRoute
            | Endpoint::DeleteRoute
            | Endpoint::TestRoute
            | Endpoint::FailedEvents
            | Endpoint::RedriveEvents => Some(Self::Operate),
            Endpoint::ListConversations
            | Endpoint::Import
            | Endpoint::Export
            | Endpoint::ShowConversation
            | Endpoint::EraseConversation
            | Endpoint::Tag
            | Endpoint::Untag
            | Endpoint::EraseUser
            | Endpoint::ShowPreferences
            | Endpoint::PutPreferences
            | Endpoint::ShowConversationPreferences
            | Endpoint::PutConversationPreferences => Some(Self::People),
            Endpoint::Receive | Endpoint::Console | Endpoint::ConsoleFile => None,
        }
    }
}

/// Whether a caller may make this request.
///
/// # Errors
/// A 403 if the caller has a token without the role or scope.
pub(crate) fn check(request: &Request, endpoint: Endpoint) -> Result<(), ApiError> {
    let authorizer = context(request).and_then(|context| context.authorizer.as_ref());
    let (Some(jwt), Some(right)) = (
        authorizer.and_then(|authorizer| authorizer.jwt.as_ref()),
        Right::of(endpoint),
    ) else {
        return Ok(());
    };
    let mut words = CLAIMS.iter().filter_map(|name| jwt.claim(name)).flat_map(words);
    if words.any(|word| gives(word, right)) {
        return Ok(());
    }
    Err(ApiError::forbidden(format!(
        "The token has no role and no scope `{}`.",
        right.word()
    )))
}

/// The words of a claim. The gateway writes an array as `[one two]`.
fn words(claim: &str) -> impl Iterator<Item = &str> {
    claim
        .split(|one: char| one.is_whitespace() || matches!(one, '[' | ']' | ','))
        .filter(|word| !word.is_empty())
}

/// Whether a role or scope gives a right. Some issuers write the API's name before it: `https://api.example/Herald.Send`.
fn gives(word: &str, right: Right) -> bool {
    word.rsplit('/').next() == Some(right.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald::http_api::GatewayEvent;
    use serde_json::{Value, json};

    fn status(authorizer: &Value, endpoint: Endpoint) -> u16 {
        let mut event: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/events/notify-post.json")).unwrap();
        event["requestContext"]["authorizer"] = authorizer.clone();
        let event: GatewayEvent = serde_json::from_value(event).unwrap();
        let result = check(&event.into_request().unwrap(), endpoint);
        result.map_or_else(|error| error.respond().status().as_u16(), |()| 200)
    }

    /// Whether a token with these claims may send, operate, and administer people.
    fn rights(claims: &Value) -> [bool; 3] {
        let authorizer = json!({"jwt": {"claims": claims, "scopes": null}});
        [Endpoint::Create, Endpoint::CreateHook, Endpoint::Export]
            .map(|endpoint| status(&authorizer, endpoint) == 200)
    }

    #[test]
    fn a_token_may_do_what_its_roles_and_scopes_say() {
        for (claims, expected) in [
            (json!({}), [false; 3]),
            (json!({"roles": "[Herald.Send]"}), [true, false, false]),
            (
                json!({"roles": "[Herald.Operate Herald.People]"}),
                [false, true, true],
            ),
            (
                json!({"roles": "[Herald.Operate, Herald.Send]"}),
                [true, true, false],
            ),
            (json!({"scp": "openid Herald.People"}), [false, false, true]),
            (
                json!({"scope": "https://api.example/Herald.Send api/Herald.Operate"}),
                [true, true, false],
            ),
            (
                json!({"roles": "[Herald.Sender NotHerald.Send herald.send]"}),
                [false; 3],
            ),
            (json!({"sub": "Herald.Send", "aud": "Herald.Send"}), [false; 3]),
        ] {
            assert_eq!(rights(&claims), expected, "{claims}");
        }
    }

    #[test]
    fn a_refusal_is_a_403_that_names_the_role() {
        let authorizer = json!({"jwt": {"claims": {"roles": "[Herald.Send]"}}});
        assert_eq!(status(&authorizer, Endpoint::EraseUser), 403);
    }

    #[test]
    fn policies_of_iam_and_secrets_in_paths_are_not_checked_again() {
        let iam = json!({"iam": {"userArn": "arn:aws:iam::123456789012:role/builds"}});
        assert_eq!(status(&iam, Endpoint::EraseUser), 200);
        assert_eq!(status(&Value::Null, Endpoint::EraseUser), 200);
        assert_eq!(status(&json!({"jwt": {"claims": {}}}), Endpoint::Receive), 200);
    }
}
