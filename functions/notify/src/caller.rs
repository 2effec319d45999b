//! The caller, as API Gateway authenticated it.

use herald::caller::ANONYMOUS;
use lambda_http::Request;

use crate::route::context;

/// The caller's name: `iam:` and the ARN of the principal, `jwt:` with issuer and subject, or `nobody` where the API has no
/// authorizer, as on a development machine.
pub(crate) fn of(request: &Request) -> String {
    let Some(authorizer) = context(request).and_then(|context| context.authorizer.as_ref()) else {
        return ANONYMOUS.to_owned();
    };
    if let Some(arn) = authorizer.iam.as_ref().and_then(|iam| iam.user_arn.as_deref()) {
        return format!("iam:{arn}");
    }
    let Some(jwt) = &authorizer.jwt else {
        return ANONYMOUS.to_owned();
    };
    let claim = |name: &str| jwt.claim(name);
    // Not every issuer gives application tokens a subject.
    let subject = ["sub", "azp", "appid", "client_id"].into_iter().find_map(claim);
    format!(
        "jwt:{} {}",
        claim("iss").unwrap_or_default(),
        subject.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use herald::http_api::GatewayEvent;
    use serde_json::{Value, json};

    fn caller(authorizer: &Value) -> String {
        let mut event: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/events/notify-post.json")).unwrap();
        event["requestContext"]["authorizer"] = authorizer.clone();
        let event: GatewayEvent = serde_json::from_value(event).unwrap();
        of(&event.into_request().unwrap())
    }

    #[test]
    fn the_caller_is_the_authenticated_principal() {
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
