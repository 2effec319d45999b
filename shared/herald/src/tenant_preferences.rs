//! What holds for the people of a tenant who chose nothing: a time zone, and quiet hours.
//!
//! The defaults of all tenants are one record, so that acceptance sees with one read whether there are any, and a planner those of all
//! tenants of an audience.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::schedule::{QuietChoice, Zone, stored_choice};
use crate::store::catalogue::Catalogue;
use crate::store::{Collection, Record};

/// The most tenants with defaults: all of them fit into one record, which has 400 KB at most.
pub const TENANTS_MAX: usize = 1000;

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

impl Catalogue for AllTenants {
    type Entry = TenantPreferences;

    const ENTRIES_MAX: usize = TENANTS_MAX;

    fn entries(&mut self) -> &mut BTreeMap<String, TenantPreferences> {
        &mut self.0
    }
}
