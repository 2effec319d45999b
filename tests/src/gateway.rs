//! API Gateway in the same process: requests become events by the local host's own front, and events become what the
//! functions handle.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use botframework::app::App;
use bytes::Bytes;
use herald::http_api::{GatewayEvent, RequestContext};
use herald_local::front;
use herald_local::template::{AwsLocation, Route, Template};
use lambda_http::http::Request;
use lambda_http::{Body, Response};
use serde_json::Value;

/// The routes of `infra/template.yaml`.
pub fn routes() -> &'static [Route] {
    static ROUTES: OnceLock<Vec<Route>> = OnceLock::new();
    ROUTES.get_or_init(|| {
        let location = AwsLocation {
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            stack: "tests".to_owned(),
            sqs_endpoint: "http://127.0.0.1:1".to_owned(),
            parameters: BTreeMap::from(
                [
                    ("MicrosoftAppId", "made-up"),
                    ("NotifyTrigger", "Enabled"),
                    ("Console", "Enabled"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            ),
        };
        Template::of_repository()
            .unwrap()
            .deploy(&location)
            .unwrap()
            .routes
    })
}

/// The event of a request, as the local host hands it to a function.
pub fn event(request: Request<Body>) -> Value {
    let (parts, body) = request.into_parts();
    let body = Bytes::copy_from_slice(&body);
    front::event(routes(), Request::from_parts(parts, body)).unwrap()
}

/// The request as a function handles it, or the refusal that it is answered with.
///
/// # Errors
/// With the answer to a request that is none.
pub fn received(event: Value) -> Result<Request<Body>, Box<Response<Body>>> {
    let event: GatewayEvent = serde_json::from_value(event).unwrap();
    event
        .into_request()
        .map_err(|problem| Box::new(problem.into_response()))
}

/// Posts a request to a bot through the gateway.
pub async fn post(app: &App, request: Request<Body>) -> Response<Body> {
    let request = through(request).map(|body| match body {
        Body::Text(text) => Bytes::from(text),
        Body::Binary(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    });
    let response = app.handle(request).await;
    response.map(|body| Body::from(String::from_utf8(body.into()).unwrap()))
}

/// A request through the gateway. One that has come through it already is left as it is.
pub fn through(request: Request<Body>) -> Request<Body> {
    if request.extensions().get::<RequestContext>().is_some() {
        return request;
    }
    received(event(request)).unwrap()
}
