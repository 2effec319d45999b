//! `$batch`: several requests in one, with responses in any order.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Error, Graph, Unusable, found, installed_apps, installed_filter, installed_query, json, limits, read,
    success,
};
use crate::http::{Body, Part, address};
use crate::id::{CatalogAppId, EntraObjectId, InstallationId};

#[derive(Deserialize)]
struct Responses {
    responses: Vec<Value>,
}

/// The list is longer than a batch.
#[derive(Debug, thiserror::Error)]
#[error("more than {} people in one request", limits::BATCH)]
struct TooMany;

impl Graph {
    /// The installations of the app for these people, in order, by one request; at most [`limits::BATCH`] of them. Each
    /// has its own result: one may be throttled and the others not.
    ///
    /// # Errors
    /// See [`Error::class`]; when the whole request failed.
    pub async fn installations(
        &self,
        users: &[&EntraObjectId],
        app: &CatalogAppId,
    ) -> Result<Vec<Result<Option<InstallationId>, Error>>, Error> {
        if users.len() > limits::BATCH {
            return Err(Error::not_sendable(TooMany));
        }
        if let [user] = users {
            return Ok(vec![self.installation(user, app).await]);
        }
        let filter = installed_filter(app);
        let query = installed_query(&filter);
        // Relative to the version.
        let addresses: Vec<_> = users
            .iter()
            .map(|user| address("", &installed_apps(user)[1..], &query))
            .collect();
        let requests: Vec<_> = addresses
            .iter()
            .enumerate()
            .filter_map(|(place, url)| {
                let url = url.as_ref().ok()?;
                Some(serde_json::json!({"id": place.to_string(), "method": "GET", "url": url}))
            })
            .collect();
        let mut responses = Vec::new();
        let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
        if !requests.is_empty() {
            let body = json(&serde_json::json!({"requests": requests}))?;
            let response = self
                .request(Method::POST, &[Part::Fixed("v1.0/$batch")], &[], body)
                .await?;
            let response = success(response)?;
            responses = read::<Responses>(&response)?.responses;
            (status, headers) = (response.status(), response.into_parts().0.headers);
        }
        let outcomes = addresses.into_iter().enumerate().map(|(place, address)| {
            address.map_err(Error::not_sendable)?;
            let response = responses
                .iter()
                .find(|response| response.get("id").and_then(Value::as_str) == Some(&*place.to_string()))
                .and_then(batched)
                .ok_or_else(|| Error::unreadable(status, &headers, Unusable::NoEntry))?;
            found(response, app)
        });
        Ok(outcomes.collect())
    }
}

/// Converts one entry of a batch response to a response; `None` when it is malformed.
fn batched(entry: &Value) -> Option<Response<Body>> {
    let status = entry.get("status")?.as_u64()?;
    let mut response = Response::new(Body::Truncated);
    *response.status_mut() = StatusCode::from_u16(status.try_into().ok()?).ok()?;
    let headers = entry.get("headers").and_then(Value::as_object);
    for (name, value) in headers.into_iter().flatten() {
        let name = HeaderName::try_from(name.as_str());
        let value = value.as_str().map(HeaderValue::try_from);
        if let (Ok(name), Some(Ok(value))) = (name, value) {
            response.headers_mut().insert(name, value);
        }
    }
    let body = serde_json::to_vec(entry.get("body").unwrap_or(&Value::Null));
    *response.body_mut() = Body::Complete(body.ok()?.into());
    Some(response)
}
