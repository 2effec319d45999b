//! Several questions in one request: `$batch`, which Graph answers one by one and in any order.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Error, Graph, Unreadable, found, installed_apps, installed_filter, installed_query, json, limits, read,
    success,
};
use crate::http::{Body, Part, address};
use crate::id::{CatalogAppId, EntraObjectId, InstallationId};

#[derive(Deserialize)]
struct Answers {
    responses: Vec<Value>,
}

/// More were asked for at once than one request takes.
#[derive(Debug, thiserror::Error)]
#[error("more than {} people in one request", limits::BATCH)]
struct TooMany;

impl Graph {
    /// The installations of the app for these people, in their order, by one request; at most
    /// [`limits::BATCH`] of them. Each has an outcome of its own: one may be throttled where others are not.
    ///
    /// # Errors
    /// See [`Error::class`]; for all of them, when it was the whole request that failed.
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
        // Under the version, as a batch has it.
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
        let mut answers = Vec::new();
        let (mut status, mut headers) = (StatusCode::OK, HeaderMap::new());
        if !requests.is_empty() {
            let body = json(&serde_json::json!({"requests": requests}))?;
            let response = self
                .request(Method::POST, &[Part::Fixed("v1.0/$batch")], &[], body)
                .await?;
            let response = success(response)?;
            answers = read::<Answers>(&response)?.responses;
            (status, headers) = (response.status(), response.into_parts().0.headers);
        }
        let outcomes = addresses.into_iter().enumerate().map(|(place, address)| {
            address.map_err(Error::not_sendable)?;
            let answer = answers
                .iter()
                .find(|answer| answer.get("id").and_then(Value::as_str) == Some(&*place.to_string()))
                .and_then(batched)
                .ok_or_else(|| Error::unreadable(status, &headers, Unreadable::Missing))?;
            found(answer, app)
        });
        Ok(outcomes.collect())
    }
}

/// One answer out of a batch, as if it had come alone; `None` when it is none.
fn batched(answer: &Value) -> Option<Response<Body>> {
    let status = answer.get("status")?.as_u64()?;
    let mut response = Response::new(Body::Truncated);
    *response.status_mut() = StatusCode::from_u16(status.try_into().ok()?).ok()?;
    let headers = answer.get("headers").and_then(Value::as_object);
    for (name, value) in headers.into_iter().flatten() {
        let name = HeaderName::try_from(name.as_str());
        let value = value.as_str().map(HeaderValue::try_from);
        if let (Ok(name), Some(Ok(value))) = (name, value) {
            response.headers_mut().insert(name, value);
        }
    }
    let body = serde_json::to_vec(answer.get("body").unwrap_or(&Value::Null));
    *response.body_mut() = Body::Complete(body.ok()?.into());
    Some(response)
}
