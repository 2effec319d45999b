//! `/api/tenants/{id}/preferences`: time zone and quiet hours of the people of a tenant who chose none.

use herald::audit::AuditAction;
use herald::backend::Backend;
use herald::conversation::is_id;
use herald::id::normalize_guid;
use herald::problem::{Fault, Faults, Problem, pointer, suggestion};
use herald::schedule::QuietChoice;
use herald::store::catalogue::{self, PutEntry};
use herald::tenant_preferences::{AllTenants, TENANTS_MAX, TenantPreferences};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::Value;

use crate::Context;
use crate::preferences::zone;
use crate::request::document;
use crate::response::{ApiError, json, no_content};

const FIELDS: [&str; 2] = ["zone", "quietHours"];

/// The defaults of a tenant as answers show them.
#[derive(Debug, Serialize)]
struct ShownTenant<'a> {
    tenant: &'a str,
    #[serde(flatten)]
    preferences: &'a TenantPreferences,
}

impl<B: Backend> Context<B> {
    /// `GET /api/tenants/{id}/preferences`
    pub(crate) async fn tenant_preferences(&self, tenant: &str) -> Result<Response<Body>, ApiError> {
        let tenant = &named(tenant)?;
        let all = catalogue::all::<AllTenants>(&self.registry).await?;
        let preferences = all.0.get(tenant).ok_or_else(no_defaults)?;
        Ok(json(StatusCode::OK, &ShownTenant { tenant, preferences }))
    }

    /// `PUT /api/tenants/{id}/preferences`
    pub(crate) async fn put_tenant_preferences(
        &self,
        tenant: &str,
        request: &Request,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let tenant = &named(tenant)?;
        let preferences = &parse(&document(request)?.value).map_err(Problem::invalid)?;
        let status = match catalogue::put::<AllTenants>(&self.registry, tenant, preferences).await? {
            PutEntry::Created => StatusCode::CREATED,
            PutEntry::Replaced => StatusCode::OK,
            PutEntry::Full => {
                return Err(ApiError::conflict(format!(
                    "{TENANTS_MAX} tenants have preferences, which are as many as there may be. Delete those of another first."
                )));
            }
        };
        AuditAction::PutTenantPreferences.of_tenant(caller, tenant);
        Ok(json(status, &ShownTenant { tenant, preferences }))
    }

    /// `DELETE /api/tenants/{id}/preferences`
    pub(crate) async fn delete_tenant_preferences(
        &self,
        tenant: &str,
        caller: &str,
    ) -> Result<Response<Body>, ApiError> {
        let tenant = &named(tenant)?;
        if !catalogue::remove::<AllTenants>(&self.registry, tenant).await? {
            return Err(no_defaults());
        }
        AuditAction::DeleteTenantPreferences.of_tenant(caller, tenant);
        Ok(no_content())
    }
}

fn named(tenant: &str) -> Result<String, ApiError> {
    // A record of all tenants has room for ids of this length.
    if tenant.len() > 128 || !is_id(tenant) {
        return Err(ApiError::bad_request(
            "A tenant is named by its id, at most 128 bytes, percent-encoded.",
        ));
    }
    Ok(normalize_guid(tenant))
}

/// Reads the defaults in a body.
fn parse(document: &Value) -> Result<TenantPreferences, Vec<Fault>> {
    let mut faults = Faults::default();
    let Value::Object(object) = document else {
        faults.note("#", "must be an object");
        return faults.none_in(None);
    };
    for unknown in object.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        let detail = format!(
            "is not a field of a tenant's preferences{}",
            suggestion(unknown, &FIELDS)
        );
        faults.note(pointer("#", unknown), detail);
    }
    let zone = zone(object, &mut faults);
    let quiet_hours = object
        .get("quietHours")
        .and_then(|value| QuietChoice::parse(value, "#/quietHours", &mut faults));
    faults.none_in(Some(TenantPreferences { zone, quiet_hours }))
}

fn no_defaults() -> ApiError {
    ApiError::not_found("This tenant has no preferences.")
}
