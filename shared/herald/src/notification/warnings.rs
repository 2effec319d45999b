//! What a planned audience shows that the caller may not have meant.

use super::{IfNoConversation, Notification, parts};
use crate::audience::{Audience, DirectoryTarget};
use crate::warning::{Warning, WarningCode};

/// Warnings of a notification whose whole audience is read; none before, and none if it was stopped.
///
/// They come from counters that are written with each page, so they are of the same plan as the counts.
pub fn plan_warnings(notification: &Notification, audience: &Audience) -> Vec<Warning> {
    if notification.parts_planned < notification.parts || notification.is_stopped() {
        return Vec::new();
    }
    let mut warnings = nothing_matched(notification, audience);
    let unreachable = notification.unreachable;
    let refused = unreachable.removed + unreachable.blocked + unreachable.opted_out;
    if notification.audience == 0 && refused > 0 {
        let detail = format!(
            "All {refused} conversations of the audience are blocked or removed, or opted out, so nothing is sent."
        );
        warnings.push(Warning::new(WarningCode::NobodyReachable, detail));
    }
    if unreachable.no_conversation > 0 && notification.if_no_conversation == IfNoConversation::Skip {
        let detail = format!(
            "No conversation is remembered of {} of the ids in the audience. Their deliveries are skipped.",
            unreachable.no_conversation
        );
        warnings.push(Warning::new(WarningCode::NotRemembered, detail));
    }
    if unreachable.directory > 0 {
        warnings.extend(
            audience
                .directories()
                .map(|(index, target)| directory_refused(audience.pointer(index), target)),
        );
    }
    if notification.audience > 1 && !notification.mandatory && notification.way_out.is_none() {
        let detail = "Herald adds nothing to the message about how to opt out of it. The category's `wayOut`, or the deployment's `WayOut`, adds a line or a button.";
        warnings.push(Warning::new(WarningCode::NoWayOut, detail));
    }
    warnings
}

/// Which selector was refused is not counted: the report says so. With one such selector, as mostly, it is this one.
fn directory_refused(pointer: String, target: &DirectoryTarget) -> Warning {
    let kind = target.kind();
    let tenant = target.tenant.as_deref().unwrap_or("the bot's own tenant");
    let detail = format!(
        "Microsoft Graph did not return the people of at least one `{}` here. The report has it as a skipped delivery: with `directoryForbidden`, \
         the bot lacks the application permission {} in tenant {tenant}, or the consent of its administrator; with `noSuchGroup`, there is \
         no such group.",
        kind.as_str(),
        kind.permission(),
    );
    Warning::at(pointer, WarningCode::DirectoryRefused, detail)
}

/// A warning for each selector of which no part matched anything.
fn nothing_matched(notification: &Notification, audience: &Audience) -> Vec<Warning> {
    let parts = parts(audience, notification.segments);
    let matched = |index: usize| {
        let own = (0..).zip(&parts).filter(|(_, part)| part.selector.0 == index);
        own.into_iter()
            .any(|(number, _): (u16, _)| notification.matched_parts.contains(&number))
    };
    let unmatched = (0..audience.0.len()).filter(|index| !matched(*index));
    let warning = |index: usize| {
        let pointer = audience.pointer(index);
        let detail = "This selector matched no conversation that is remembered, so nothing is sent for it.";
        Warning::at(pointer, WarningCode::NothingMatched, detail)
    };
    unmatched.map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::{Selector, Target};
    use crate::id::NotificationId;
    use crate::notification::StartPolicy;
    use crate::notification::request::Request;
    use crate::notification::way_out::{WayOut, WayOutForm};
    use jiff::Timestamp;
    use serde_json::json;

    fn planned(audience: &[Target], matched: &[u16]) -> (Notification, Audience) {
        let now = Timestamp::UNIX_EPOCH;
        let body = json!({"audience": {"everyone": true}, "message": {"text": "hi"}});
        let mut request = Request::parse(&body.into(), now).unwrap();
        request.audience = Audience(audience.iter().cloned().map(Selector::from).collect());
        let id = NotificationId::fresh(now, [0; 16]);
        let start = StartPolicy::Immediate;
        let mut planned = Notification::begin(id, now, String::new(), &request, start);
        planned.parts_planned = planned.parts;
        planned.matched_parts.extend(matched);
        (planned, request.audience)
    }

    fn pointers(notification: &Notification, audience: &Audience) -> Vec<Option<String>> {
        let warnings = plan_warnings(notification, audience).into_iter();
        warnings.map(|warning| warning.pointer).collect()
    }

    #[test]
    fn a_selector_is_named_if_none_of_its_parts_matched() {
        let tag = Target::Tag("beta".to_owned());
        let (mut notification, audience) = planned(&[Target::Everyone, tag.clone()], &[3]);
        assert_eq!(
            pointers(&notification, &audience),
            [Some("#/audience/1".to_owned())]
        );
        notification.matched_parts.insert(4);
        assert_eq!(pointers(&notification, &audience), []);
        let (mut alone, audience) = planned(&[tag], &[]);
        assert_eq!(pointers(&alone, &audience), [Some("#/audience".to_owned())]);
        alone.cancelled_at = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(pointers(&alone, &audience), [], "its plan was cut short");
        alone.cancelled_at = None;
        alone.parts_planned = 0;
        assert_eq!(pointers(&alone, &audience), [], "it is being planned");
    }

    #[test]
    fn an_audience_that_cannot_be_reached_is_told_from_an_empty_one() {
        let (mut notification, audience) = planned(&[Target::Everyone], &[0]);
        notification.unreachable.blocked = 2;
        let codes = |notification: &Notification| {
            let warnings = plan_warnings(notification, &audience).into_iter();
            warnings.map(|warning| warning.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(&notification), [WarningCode::NobodyReachable]);
        notification.audience = 1;
        assert_eq!(codes(&notification), []);
        notification.unreachable.no_conversation = 1;
        assert_eq!(codes(&notification), [WarningCode::NotRemembered]);
    }

    #[test]
    fn a_notification_to_many_is_named_if_it_does_not_say_how_to_opt_out() {
        let (mut notification, audience) = planned(&[Target::Everyone], &[0]);
        let codes = |notification: &Notification| {
            let warnings = plan_warnings(notification, &audience).into_iter();
            warnings.map(|warning| warning.code).collect::<Vec<_>>()
        };
        notification.audience = 1;
        assert_eq!(codes(&notification), []);
        notification.audience = 2;
        assert_eq!(codes(&notification), [WarningCode::NoWayOut]);
        let way_out = WayOut {
            form: WayOutForm::Line,
            category: None,
        };
        notification.way_out = Some(way_out);
        assert_eq!(codes(&notification), []);
        (notification.way_out, notification.mandatory) = (None, true);
        assert_eq!(codes(&notification), [], "there is nothing to opt out of");
    }
}
