//! `DELETE /api/rates/{bucket}`: forgets why a tenant is paused or slowed down.

use herald::backend::Backend;
use herald::rate_limit::{self, Bucket, TenantRate};
use herald::store::RateLimits;
use lambda_http::{Body, Response};

use crate::Context;
use crate::response::{ApiError, no_content};
use herald::audit::AuditAction;

impl<B: Backend> Context<B> {
    /// `DELETE /api/rates/{bucket}`: the same for a bucket that is not paused, and for one that is not known.
    pub(crate) async fn reset_rate(&self, bucket: &str, caller: &str) -> Result<Response<Body>, ApiError> {
        let bucket: Bucket = bucket.parse().map_err(|_| {
            ApiError::bad_request(
                "A bucket is named as `rates` of `explain` names it: channel, bot and tenant with `|` between, percent-encoded.",
            )
        })?;
        let now = self.clock.now();
        let reset = |rate: &TenantRate| ((), Some(rate_limit::reset(rate, now)));
        self.ledger.apply(&bucket, reset).await?;
        AuditAction::ResetRate.of_bucket(caller, &bucket);
        Ok(no_content())
    }
}
