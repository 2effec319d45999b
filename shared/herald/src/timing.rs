//! When a recipient gets a notification: at its local time, and not in quiet hours.
//!
//! What is specific counts more than what is general. The zone: the one that the person chose, else the one that their activities name,
//! else the tenant's, else the fallback of the request, else UTC. Quiet hours: what the person chose, else the category's, else the
//! tenant's. The planner computes the moment of each recipient; the sender asks once more before the request, since the person may have
//! chosen quiet hours since.

use jiff::Timestamp;

use crate::category::{self, Category};
use crate::conversation::{Conversation, Preferences};
use crate::notification::Notification;
use crate::schedule::{QuietChoice, Zone, instant};
use crate::store::{ConversationSummary, Error, Registry, catalogue};
use crate::tenant_preferences::{self, AllTenants};

/// What the deployment chose for those who chose nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    category: Option<QuietChoice>,
    tenants: AllTenants,
}

impl Defaults {
    /// Those for notifications of a category.
    pub fn new(category: Option<&Category>, tenants: AllTenants) -> Self {
        Self {
            category: category.and_then(|category| category.quiet_hours),
            tenants,
        }
    }

    /// Those for a notification. Nothing is read if there were none when it was accepted, or it heeds none.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn of<R: Registry>(registry: &R, notification: &Notification) -> Result<Self, Error> {
        let heeds = !notification.mandatory || notification.local_time.is_some();
        if notification.has_defaults && heeds {
            let category = category::declared(registry, notification.category.as_deref());
            let (category, tenants) = futures_util::try_join!(category, catalogue::all(registry))?;
            Ok(Self::new(category.as_ref(), tenants))
        } else {
            Ok(Self::default())
        }
    }

    /// Whether there is nothing to heed.
    pub fn is_empty(&self) -> bool {
        self.category.is_none() && self.tenants.0.is_empty()
    }
}

/// What is known of a recipient.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits<'a> {
    /// What they chose.
    pub preferences: Option<&'a Preferences>,
    /// The zone that their activities name.
    pub zone: Option<&'a Zone>,
    /// Their tenant.
    pub tenant: Option<&'a str>,
}

impl<'a> From<&'a Conversation> for Habits<'a> {
    fn from(known: &'a Conversation) -> Self {
        Self {
            preferences: known.preferences.as_ref(),
            zone: known.zone.as_ref(),
            tenant: known.attributes.tenant.as_deref(),
        }
    }
}

impl<'a> From<&'a ConversationSummary> for Habits<'a> {
    fn from(known: &'a ConversationSummary) -> Self {
        Self {
            preferences: known.preferences.as_ref(),
            zone: known.zone.as_ref(),
            tenant: known.attributes.tenant.as_deref(),
        }
    }
}

/// When the recipient is due whose moment is computed now: at the local time, but not in quiet hours. `None`: at once, which it is also
/// for those whose local time has passed.
pub fn due(
    notification: &Notification,
    defaults: &Defaults,
    of: Habits<'_>,
    now: Timestamp,
) -> Option<Timestamp> {
    let at = notification.local_time.as_ref().and_then(|local_time| {
        let zone = zone(notification, defaults, of);
        instant(local_time.at, &zone.rules()).filter(|at| *at > now)
    });
    quiet_until(notification, defaults, of, at.unwrap_or(now)).or(at)
}

/// When the quiet hours of a recipient end, if this moment lies in them. A mandatory notification passes them.
pub fn quiet_until(
    notification: &Notification,
    defaults: &Defaults,
    of: Habits<'_>,
    moment: Timestamp,
) -> Option<Timestamp> {
    if notification.mandatory {
        return None;
    }
    let own = of.preferences.and_then(|chosen| chosen.quiet_hours);
    let tenant = || of_tenant(defaults, of).and_then(|tenant| tenant.quiet_hours);
    let hours = own.or(defaults.category).or_else(tenant)?.hours()?;
    hours.end(moment, &zone(notification, defaults, of).rules())
}

fn of_tenant<'d>(
    defaults: &'d Defaults,
    of: Habits<'_>,
) -> Option<&'d tenant_preferences::TenantPreferences> {
    defaults.tenants.0.get(of.tenant?)
}

fn zone(notification: &Notification, defaults: &Defaults, of: Habits<'_>) -> Zone {
    let chosen = of.preferences.and_then(|chosen| chosen.zone.as_ref());
    let tenant = || of_tenant(defaults, of).and_then(|tenant| tenant.zone.as_ref());
    let local_time = notification.local_time.as_ref();
    let fallback = || local_time.and_then(|local_time| local_time.fallback.as_ref());
    let zone = chosen.or(of.zone).or_else(tenant).or_else(fallback);
    zone.cloned().unwrap_or_else(Zone::utc)
}

#[cfg(test)]
mod tests;
