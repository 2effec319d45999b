use std::error::Error as _;

use http::HeaderValue;
use serde_json::json;

use bytes::Bytes;

use super::*;
use crate::http::MAX_TEXT;

fn answered(status: u16, body: impl Into<Bytes>) -> Error {
    Error::from_response(
        StatusCode::from_u16(status).unwrap(),
        &HeaderMap::new(),
        &Body::Complete(body.into()),
    )
}

fn with_code(status: u16, code: &str, message: &str) -> Error {
    answered(
        status,
        json!({"error": {"code": code, "message": message}}).to_string(),
    )
}

#[test]
fn the_table_knows_what_each_answer_means() {
    use Class::{Ambiguous, Gone, NotSent, Rejected};
    for (status, code, message, class) in [
        (400, "Bad Argument", "", Rejected),
        (
            400,
            "BadSyntax",
            "Incorrect conversation creation parameters",
            Rejected,
        ),
        (400, "ServiceError", "Invalid userId: x", Rejected),
        (401, "BotNotRegistered", "", NotSent),
        (
            401,
            "",
            "Authorization has been denied for this request.",
            NotSent,
        ),
        (403, "MessageWritesBlocked", "", Gone),
        (403, "ConversationBlockedByUser", "", Gone),
        (
            403,
            "BotNotInConversationRoster",
            "The bot is not part of the conversation roster.",
            Gone,
        ),
        (403, "BotDisabledByAdmin", "", Gone),
        (403, "ForbiddenOperationException", "", Gone),
        (403, "InvalidBotApiHost", "", NotSent),
        (403, "BadArgument", "User is from different region", NotSent),
        (
            400,
            "BadArgument",
            "Request was redirected to the wrong geo! Current geo: Apac, Target geo: Amer",
            NotSent,
        ),
        (403, "BadArgument", "Failed to decrypt conversation id", Gone),
        (400, "BadArgument", "Failed to decrypt pairwise id", Gone),
        (401, "BadArgument", "failed to decrypt pairwise id", Gone),
        (403, "NotEnoughPermissions", "", Rejected),
        (404, "ConversationNotFound", "Conversation not found.", Gone),
        (404, "ActivityNotFoundInConversation", "", Rejected),
        (404, "BadArgument", "Unknown conversation", Gone),
        (404, "BadArgument", "Unknown member", Rejected),
        (404, "", "", Gone),
        (405, "", "", Rejected),
        (408, "", "", Ambiguous),
        (412, "PreconditionFailed", "", NotSent),
        (413, "MessageSizeTooBig", "", Rejected),
        (429, "Throttled", "", NotSent),
        (500, "ServiceError", "", Ambiguous),
        (500, "BotNotInConversationRoster", "", Ambiguous),
        (502, "ServiceError", "", Ambiguous),
        (503, "", "", Ambiguous),
        (504, "GatewayTimeout", "", Ambiguous),
        (300, "", "", Rejected),
        (307, "", "", Rejected),
        (999, "", "", Ambiguous),
    ] {
        let error = with_code(status, code, message);
        assert_eq!(error.class(), class, "{status} {code} {message}");
        assert_eq!(error.code(), Some(code).filter(|code| !code.is_empty()));
        assert_eq!(
            error.message(),
            Some(message).filter(|message| !message.is_empty())
        );
        assert_eq!(error.status(), Some(status));
    }
}

#[test]
fn every_shape_of_an_error_is_read() {
    let in_string = "{\"errorCode\":209,\"message\":\"{\\r\\n  \\\"subCode\\\": \\\"MessageWritesBlocked\\\",\\r\\n  \\\"details\\\": null,\\r\\n  \\\"message\\\": \\\"blocked\\\"\\r\\n}\"}";
    let blocked = answered(403, in_string);
    assert_eq!(blocked.class(), Class::Gone);
    assert_eq!(
        (blocked.code(), blocked.message()),
        (Some("MessageWritesBlocked"), Some("blocked"))
    );

    let unknown_sub_code = answered(403, in_string.replace("MessageWritesBlocked", "Invented"));
    assert_eq!(
        (unknown_sub_code.class(), unknown_sub_code.code()),
        (Class::Rejected, Some("209"))
    );

    for inner in [
        json!({"error": {"code": "BotDisabledByAdmin"}}),
        json!("{\"code\":\"BotDisabledByAdmin\"}"),
    ] {
        let body = json!({"error": {"code": "ServiceError", "message": "m", "innerHttpError": {"statusCode": 403, "body": inner}}});
        let error = answered(403, body.to_string());
        assert_eq!(
            (error.class(), error.code(), error.message()),
            (Class::Gone, Some("BotDisabledByAdmin"), Some("m"))
        );
    }

    let bare = answered(
        401,
        json!({"message": "Authorization has been denied for this request."}).to_string(),
    );
    assert_eq!(
        bare.message(),
        Some("Authorization has been denied for this request.")
    );
    let oauth = answered(400, json!({"error": "invalid_request"}).to_string());
    assert_eq!(oauth.code(), Some("invalid_request"));
    let inner_text = json!({"error": {"code": "X", "innerHttpError": {"body": "gateway down"}}});
    assert_eq!(
        answered(502, inner_text.to_string()).message(),
        Some("gateway down")
    );
}

#[test]
fn a_body_that_says_nothing_leaves_the_status_to_decide() {
    for body in [
        "",
        "<html><body>403 Forbidden</body></html>",
        "null",
        "[]",
        "\"text\"",
        "{}",
        "{\"error\":null}",
        "{\"error\":{\"code\":{}}}",
        "\u{0}",
        "{\"error\":",
    ] {
        let error = answered(403, body);
        assert_eq!(
            (error.class(), error.code(), error.message()),
            (Class::Rejected, None, None),
            "{body}"
        );
    }
    let cut = Error::from_response(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), &Body::Truncated);
    assert_eq!(cut.class(), Class::NotSent);
}

#[test]
fn documents_inside_documents_are_followed_for_a_while_only() {
    let mut body = json!({"code": "Deep"}).to_string();
    for _ in 0..12 {
        body = json!({"message": body}).to_string();
    }
    let error = answered(400, body);
    assert_eq!((error.class(), error.code()), (Class::Rejected, None));
}

#[test]
fn long_texts_are_kept_in_part() {
    let error = with_code(400, &"é".repeat(2000), &"m".repeat(2000));
    assert_eq!(error.code().unwrap().chars().count(), MAX_TEXT);
    assert_eq!(error.message().unwrap().chars().count(), MAX_TEXT);
}

#[test]
fn an_error_shows_what_finds_it_again_and_not_what_was_said() {
    let mut headers = HeaderMap::new();
    headers.insert("MS-CV", HeaderValue::from_static("cv.1"));
    headers.insert("X-Correlating-OperationId", HeaderValue::from_static("op"));
    headers.insert("x-ms-request-id", HeaderValue::from_bytes(b"\xff").unwrap());
    let body = json!({"error": {"code": "BadSyntax", "message": "near: dear Mina"}}).to_string();
    let error = Error::from_response(StatusCode::BAD_REQUEST, &headers, &Body::Complete(body.into()));
    assert_eq!(error.correlation(), "x-correlating-operationid=op ms-cv=cv.1");
    assert_eq!(
        error.to_string(),
        "request to the connector was rejected (status 400, BadSyntax)"
    );
    assert!(!format!("{error:?}").contains("Mina"));
}

#[test]
fn a_failure_of_the_transport_keeps_its_cause() {
    let failure = |kind: fn(BoxError) -> TransportError| Error::no_response(kind("cable cut".into()));
    assert_eq!(failure(TransportError::NotSent).class(), Class::NotSent);
    let unknown = failure(TransportError::MaybeSent);
    assert_eq!(
        (unknown.class(), unknown.status(), unknown.correlation()),
        (Class::Ambiguous, None, "")
    );
    assert_eq!(
        unknown.source().unwrap().source().unwrap().to_string(),
        "cable cut"
    );
}
