//! Which notifications a list has.

use super::{Notification, State};
use crate::caller::principal;

/// Which notifications to list: those that match every condition that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotificationFilter {
    /// Those of one caller, in any session.
    pub caller: Option<String>,
    /// Those with this category.
    pub category: Option<String>,
    /// Those in this state now.
    pub state: Option<State>,
}

impl NotificationFilter {
    /// Whether the notification is in the list.
    pub fn matches(&self, notification: &Notification) -> bool {
        let caller = self.caller.as_deref().map(principal);
        caller.is_none_or(|caller| caller == principal(&notification.caller))
            && (self.category.is_none() || self.category == notification.category)
            && self.state.is_none_or(|state| state == notification.state())
    }
}
