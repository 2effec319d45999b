//! An activity after authentication.

use crate::activity::Activity;
use crate::id::TenantId;

/// The authenticated sender of an activity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The tenant of the conversation, if it has one, as the channel states it.
    pub tenant: Option<TenantId>,
    /// The activity's `callerId`: `urn:botframework:azure` for a channel of the public cloud,
    /// `urn:botframework:aadappid:…` for another bot.
    pub caller_id: Option<String>,
    /// The app the token was issued to: another bot, or for the emulator this one. `None` for a channel.
    pub app_id: Option<String>,
}

/// An activity whose required fields are present and whose sender is authenticated.
///
/// Only [`Authenticator::authenticate`](super::Authenticator::authenticate) creates one, and
/// [`App::process`](crate::app::App::process) accepts nothing else. Its `callerId` is set by authentication,
/// never taken from the request.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedActivity {
    activity: Activity,
    caller: Caller,
}

impl VerifiedActivity {
    pub(crate) fn new(mut activity: Activity, caller: Caller) -> Self {
        activity.extra.remove("callerId");
        activity.caller_id.clone_from(&caller.caller_id);
        Self { activity, caller }
    }

    /// The activity, with the `callerId` that authentication found.
    pub const fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The authenticated sender.
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether a channel sent it. Another bot's token does not vouch for the conversation it names.
    pub const fn is_from_channel(&self) -> bool {
        self.caller.app_id.is_none()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_caller_id_of_the_request_is_replaced() {
        for claimed in [json!("urn:botframework:azure"), json!(5)] {
            let activity = Activity::from_value(json!({"type": "message", "callerId": claimed})).unwrap();
            let caller = Caller {
                caller_id: Some("urn:botframework:aadappid:x".to_owned()),
                ..Caller::default()
            };
            let known = VerifiedActivity::new(activity.clone(), caller.clone());
            assert_eq!(known.activity().caller_id, caller.caller_id);
            let unknown = VerifiedActivity::new(activity, Caller::default());
            assert_eq!(
                serde_json::to_value(unknown.activity()).unwrap(),
                json!({"type": "message"})
            );
        }
    }
}
