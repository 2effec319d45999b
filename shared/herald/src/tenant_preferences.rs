//! What holds for the people of a tenant who chose nothing: a time zone, and quiet hours.
//!
//! The defaults of all tenants are one record, so that acceptance sees with one read whether there are any, and a planner those of all
//! tenants of an audience.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::schedule::{QuietChoice, Zone, stored_choice};
use crate::store::{Collection, Error, Record, Registry};

/// The most tenants with defaults: all of them fit into one record, which has 400 KB at most.
pub const TENANTS_MAX: usize = 1000;

/// The key of the one record.
const KEY: &str = "all";

/// The defaults of one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TenantPreferences {
    /// The zone of people whose own is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
    /// The quiet hours of people who chose none, of notifications whose category has none.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "stored_choice"
    )]
    pub quiet_hours: Option<QuietChoice>,
}

/// The defaults of all tenants, by tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AllTenants(pub BTreeMap<String, TenantPreferences>);

impl Record for AllTenants {
    const COLLECTION: Collection = Collection::Tenants;
}

/// What [`put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutTenant {
    /// The tenant had none.
    Created,
    /// They replaced others.
    Replaced,
    /// [`TENANTS_MAX`] other tenants have some.
    Full,
}

/// The defaults of all tenants.
///
/// # Errors
/// When the store is unavailable.
pub async fn all<R: Registry>(registry: &R) -> Result<AllTenants, Error> {
    Ok(registry.find_record(KEY).await?.unwrap_or_default())
}

/// Writes the defaults of a tenant.
///
/// # Errors
/// When the store is unavailable.
pub async fn put<R: Registry>(
    registry: &R,
    tenant: &str,
    preferences: &TenantPreferences,
) -> Result<PutTenant, Error> {
    let mut done = PutTenant::Full;
    let mut rule = |stored: Option<AllTenants>| {
        let mut all = stored.unwrap_or_default();
        let is_full = all.0.len() >= TENANTS_MAX;
        done = match all.0.insert(tenant.to_owned(), preferences.clone()) {
            Some(_) => PutTenant::Replaced,
            None if is_full => PutTenant::Full,
            None => PutTenant::Created,
        };
        (done != PutTenant::Full).then_some(all)
    };
    registry.update_record(KEY, &mut rule).await?;
    Ok(done)
}

/// Deletes the defaults of a tenant; `false` if it has none.
///
/// # Errors
/// When the store is unavailable.
pub async fn remove<R: Registry>(registry: &R, tenant: &str) -> Result<bool, Error> {
    let mut was_there = false;
    let mut rule = |stored: Option<AllTenants>| {
        let mut all = stored?;
        was_there = all.0.remove(tenant).is_some();
        was_there.then_some(all)
    };
    registry.update_record(KEY, &mut rule).await?;
    Ok(was_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_tenants_have_defaults_at_most_and_each_can_be_replaced_and_deleted() {
        let store = crate::store::memory::Store::new();
        let berlin = TenantPreferences {
            zone: Zone::named("Europe/Berlin"),
            quiet_hours: Some(QuietChoice::Never),
        };
        for number in 0..TENANTS_MAX {
            let done = put(&store, &number.to_string(), &TenantPreferences::default())
                .await
                .unwrap();
            assert_eq!(done, PutTenant::Created);
        }
        assert_eq!(put(&store, "more", &berlin).await.unwrap(), PutTenant::Full);
        assert_eq!(put(&store, "7", &berlin).await.unwrap(), PutTenant::Replaced);
        assert_eq!(all(&store).await.unwrap().0.get("7"), Some(&berlin));
        assert!(remove(&store, "7").await.unwrap());
        assert!(!remove(&store, "7").await.unwrap());
    }
}
