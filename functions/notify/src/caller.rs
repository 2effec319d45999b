//! Who asks: as API Gateway established it, never as the request says it.

use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};

/// The caller's name for the record: `iam:` and the ARN of the principal, `jwt:` with issuer and subject, or `nobody`
/// where the API was opened to everyone on purpose, as it is on one machine.
pub(crate) fn of(request: &Request) -> String {
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return NOBODY.to_owned();
    };
    let Some(authorizer) = &context.authorizer else {
        return NOBODY.to_owned();
    };
    if let Some(arn) = authorizer.iam.as_ref().and_then(|iam| iam.user_arn.as_deref()) {
        return format!("iam:{arn}");
    }
    let Some(jwt) = &authorizer.jwt else {
        return NOBODY.to_owned();
    };
    let claim = |name: &str| jwt.claims.get(name).map(String::as_str);
    // An application that asks for itself has no subject everywhere.
    let subject = ["sub", "azp", "appid", "client_id"].into_iter().find_map(claim);
    format!(
        "jwt:{} {}",
        claim("iss").unwrap_or_default(),
        subject.unwrap_or_default()
    )
}

/// The caller as idempotency keys know it: a role without its session, whose name changes with each start of a program.
pub(crate) fn principal(caller: &str) -> &str {
    match caller
        .split_once(":assumed-role/")
        .and_then(|(_, role)| role.rsplit_once('/'))
    {
        Some((_, session)) => &caller[..caller.len() - session.len() - 1],
        None => caller,
    }
}

const NOBODY: &str = "nobody";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn caller(authorizer: &Value) -> String {
        let mut event: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/events/notify-post.json")).unwrap();
        event["requestContext"]["authorizer"] = authorizer.clone();
        of(&lambda_http::request::from_str(&event.to_string()).unwrap())
    }

    #[test]
    fn a_role_is_the_same_caller_in_every_session() {
        let role = "iam:arn:aws:sts::123456789012:assumed-role/builds";
        assert_eq!(principal(&format!("{role}/one")), role);
        assert_eq!(principal(&format!("{role}/another@example")), role);
        for whole in [
            "iam:arn:aws:iam::123456789012:user/invented",
            "jwt:https://issuer.example/ app-1",
            "nobody",
        ] {
            assert_eq!(principal(whole), whole);
        }
    }

    #[test]
    fn the_caller_is_whom_the_gateway_let_in() {
        let arn = "arn:aws:sts::123456789012:assumed-role/builds/invented";
        assert_eq!(
            caller(&json!({"iam": {"userArn": arn, "accountId": "123456789012"}})),
            format!("iam:{arn}")
        );
        let claims = json!({"iss": "https://issuer.example", "sub": "app-1", "aud": "herald"});
        assert_eq!(
            caller(&json!({"jwt": {"claims": claims, "scopes": null}})),
            "jwt:https://issuer.example app-1"
        );
        let claims = json!({"iss": "https://issuer.example", "azp": "app-2"});
        assert_eq!(
            caller(&json!({"jwt": {"claims": claims}})),
            "jwt:https://issuer.example app-2"
        );
        assert_eq!(caller(&Value::Null), "nobody");
    }
}
