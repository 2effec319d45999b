//! The members of teams, and the rosters that list them.

use herald_local::teams::{Place, Tenant};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::channel::State;

/// Adds a person to a team.
pub(super) fn join(channel: &mut State, team: usize, place: usize, now: Timestamp) {
    let team_of = &channel.teams[team];
    let home = channel.places[team_of.channels[0]].tenant;
    let person = &channel.places[place];
    let entry = entry(
        person,
        &channel.tenants[person.tenant],
        home,
        team_of.members.len(),
    );
    channel.join(team, place, entry, now);
}

/// The entry of a roster. Some rosters have the Entra object id under one name, some under another, and some not at all.
fn entry(person: &Place, tenant: &Tenant, home: usize, index: usize) -> Value {
    let role = if person.tenant == home { "user" } else { "guest" };
    let mut entry = json!({"id": person.account, "userRole": role, "tenantId": tenant.id});
    match index % 5 {
        0 => {}
        1 | 2 => entry["aadObjectId"] = json!(person.user),
        _ => entry["objectId"] = json!(person.user),
    }
    entry
}
