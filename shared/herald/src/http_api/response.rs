//! From a response to the function's result.

use std::collections::BTreeMap;
use std::future::Future;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{Request, Response};
use serde::Serialize;
use tracing::Instrument;

use super::GatewayEvent;

/// The result of a function: a response in payload format 2.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayResponse {
    status_code: u16,
    headers: BTreeMap<String, String>,
    body: String,
    is_base64_encoded: bool,
}

impl<B: AsRef<[u8]>> From<Response<B>> for GatewayResponse {
    fn from(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|earlier| {
                    earlier.push_str(", ");
                    earlier.push_str(&value);
                })
                .or_insert_with(|| value.clone().into_owned());
        }
        let (body, is_base64_encoded) = match std::str::from_utf8(body.as_ref()) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (BASE64_STANDARD.encode(body.as_ref()), true),
        };
        Self {
            status_code: parts.status.as_u16(),
            headers,
            body,
            is_base64_encoded,
        }
    }
}

/// Answers one event. An event that is no request is answered with its problem, and `handle` does not see it. Log lines meanwhile
/// have the gateway's id of the request.
pub async fn answer<B, F>(event: GatewayEvent, handle: impl FnOnce(Request<B>) -> F) -> GatewayResponse
where
    B: Default + From<String> + From<Vec<u8>> + AsRef<[u8]>,
    F: Future<Output = Response<B>>,
{
    let span = tracing::info_span!("request", request = event.request_id());
    let answered = async {
        match event.into_request() {
            Ok(request) => handle(request).await.into(),
            Err(problem) => problem.into_response::<B>().into(),
        }
    };
    answered.instrument(span).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_response_is_the_result_that_the_gateway_reads() {
        let response = Response::builder()
            .status(202)
            .header("x-many", "1")
            .header("x-many", "2")
            .body("ä".to_owned())
            .unwrap();
        assert_eq!(
            serde_json::to_value(GatewayResponse::from(response)).unwrap(),
            json!({"statusCode": 202, "headers": {"x-many": "1, 2"}, "body": "ä", "isBase64Encoded": false})
        );
        let binary = serde_json::to_value(GatewayResponse::from(Response::new([0xff, 0xfe]))).unwrap();
        assert_eq!(
            (&binary["body"], &binary["isBase64Encoded"]),
            (&json!("//4="), &json!(true))
        );
    }

    #[tokio::test]
    async fn an_event_that_is_no_request_does_not_reach_the_handler() {
        let called = answer(GatewayEvent::default(), |_: Request<Vec<u8>>| async {
            unreachable!()
        });
        let answer = called.await;
        assert_eq!(answer.status_code, 400);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
}
