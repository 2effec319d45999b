//! Invariant 9: every recipient without a delivery has a reason, and the reason is true.

use herald::audience::{Recipient, RowColumn, Target};
use herald::delivery::{Outcome, SkipReason};
use herald::notification::IfNoConversation;
use jiff::SignedDuration;

use super::audiences::led_to;
use super::book::Wanted;
use super::channel::{Kind, REFUSALS, State};
use super::choices::Choices;
use super::directory::is_true_miss;
use super::fate::Odds;
use super::run::Run;

/// How long a tenant refuses the bot before a delivery ends with that.
const REFUSED_FOR: SignedDuration = SignedDuration::from_mins(29);

/// What is wrong with the reason of an outcome; `None` if it is true.
pub(super) fn untrue(
    run: &Run,
    wanted: &Wanted,
    choices: &Choices,
    is_superseded: bool,
    recipient: &Recipient,
    outcome: &Outcome,
) -> Option<String> {
    let fault = |is_true: bool, what: &str| (!is_true).then(|| what.to_owned());
    match outcome {
        // Checked against what people see.
        Outcome::Delivered(_) => None,
        // `Unknown` claims only that the message may have arrived.
        Outcome::Unknown => None,
        Outcome::Expired { .. } => fault(wanted.expires_at.is_some(), "it never expires"),
        Outcome::Cancelled => fault(
            wanted.cancelled.is_some() || wanted.retracted.is_some() || wanted.cancelled_wave.is_some(),
            "no caller cancelled or retracted it",
        ),
        Outcome::Skipped {
            reason: SkipReason::OptedOut,
        } => {
            let place = run.channel.with(|channel| led_to(channel, recipient));
            let is_true = place.is_some_and(|place| choices.may_refuse(place, wanted));
            fault(is_true, "they wanted it all the time")
        }
        Outcome::Skipped {
            reason: SkipReason::Superseded,
        } => fault(is_superseded, "no newer notification of its subject came there"),
        Outcome::Skipped { reason } => run
            .channel
            .with(|channel| skipped(run, channel, wanted, recipient, *reason)),
        Outcome::Gone { code } => run.channel.with(|channel| gone(run, channel, recipient, code)),
        Outcome::Rejected { code, .. } => run
            .channel
            .with(|channel| rejected(run, channel, wanted, recipient, code)),
    }
}

fn skipped(
    run: &Run,
    channel: &State,
    wanted: &Wanted,
    recipient: &Recipient,
    reason: SkipReason,
) -> Option<String> {
    let place = led_to(channel, recipient).map(|place| &channel.places[place]);
    let is_true = match (reason, recipient) {
        (_, Recipient::Missed(miss)) => {
            let is_of_directory = is_true_miss(channel, miss).unwrap_or_else(|| wanted.ended_first(run));
            reason == SkipReason::from(miss.reason) && is_of_directory
        }
        (
            SkipReason::NoSuchGroup
            | SkipReason::AccountDisabled
            | SkipReason::Guest
            | SkipReason::DirectoryForbidden,
            _,
        ) => false,
        (SkipReason::NoConversation, Recipient::Conversation(_)) => false,
        (SkipReason::NoConversation, Recipient::UnknownConversation(id)) => {
            let is_strange = place.is_none_or(|place| {
                let beside = led_to(channel, recipient).map(|place| channel.beside(place));
                let known = |other: &usize| !channel.places[*other].past.strange;
                place.past.strange
                    || place.past.left
                    || place.kind == Kind::Thread
                    || !beside.is_some_and(|beside| beside.iter().any(known))
            });
            is_strange || is_silent(channel, id.as_str()) || wanted.ended_first(run)
        }
        (
            SkipReason::NoConversation | SkipReason::TenantUnknown,
            Recipient::User(_) | Recipient::Account(_),
        ) => {
            let has_home = run.tenant.is_some() || homes(wanted);
            let is_created = wanted.if_no_conversation != IfNoConversation::Skip && has_home;
            // The bot may know them in another tenant than the audience means.
            let is_strange = place.is_none_or(|place| {
                place.past.strange
                    || wanted.audience.iter().any(|selector| match &selector.target {
                        Target::Users {
                            tenant: Some(tenant), ..
                        } => *tenant != channel.tenants[place.tenant].id,
                        Target::Team { id, .. } => channel
                            .named(id)
                            .is_some_and(|general| channel.places[general].tenant != place.tenant),
                        Target::Everyone
                        | Target::Tenant(_)
                        | Target::Users { tenant: None, .. }
                        | Target::Accounts(_)
                        | Target::Rows { .. }
                        | Target::Conversations(_)
                        | Target::Channel { .. }
                        | Target::GroupChat(_)
                        | Target::GroupChatMembers { .. }
                        | Target::Tag(_)
                        | Target::Directory(_) => false,
                    })
            });
            let is_named_right =
                reason == SkipReason::NoConversation || wanted.if_no_conversation != IfNoConversation::Skip;
            is_named_right && !is_created && is_strange
        }
        (SkipReason::TenantUnknown | SkipReason::OptedOut | SkipReason::Superseded, _) => false,
        // A person who is looked up in a foreign tenant has not installed the bot there.
        (SkipReason::NotInstalled | SkipReason::NotInTenant, _) => place.is_none_or(|place| {
            place.past.not_installed
                || is_behind(run)
                || place.past.refused
                || place.past.left
                || channel.tenants.len() > 1 && place.past.strange
                || is_elsewhere(channel, wanted, place.tenant)
        }),
        (SkipReason::InstallForbidden, _) => {
            place.is_some_and(|place| place.forbidden)
                || channel.tenants.iter().any(|tenant| tenant.lacks_consent)
        }
        (SkipReason::AppNotInCatalog, _) => channel.tenants.iter().any(|tenant| tenant.lacks_app),
        (SkipReason::NoSuchPerson, _) => place
            .is_none_or(|place| place.kind != Kind::Person || is_elsewhere(channel, wanted, place.tenant)),
        // The replaced conversation id was removed.
        (SkipReason::Removed, Recipient::Conversation(_)) => {
            place.is_some_and(|place| place.past.left || place.renamed > 0)
        }
        (SkipReason::Removed, _) => place.is_some_and(|place| place.past.left),
        (SkipReason::Blocked, _) => place.is_some_and(|place| {
            place.past.refused
                || place.past.left
                || is_behind(run)
                || run.troubles.channel.missing > Odds(0)
                || channel.was_undecryptable
                || channel.tenants[place.tenant].was_disabled
        }),
    };
    (!is_true).then(|| format!("{reason:?} is not true"))
}

/// Whether the channel may not yet know that the bot is installed.
fn is_behind(run: &Run) -> bool {
    run.troubles.channel.behind > Odds(0)
}

/// Whether a selector may lead to people of a tenant without naming it.
fn homes(wanted: &Wanted) -> bool {
    wanted.audience.iter().all(|selector| {
        matches!(
            &selector.target,
            Target::Users { tenant: Some(_), .. } | Target::Team { .. } | Target::Directory(_)
        )
    })
}

/// Whether a person of this tenant may have been looked up in another one.
fn is_elsewhere(channel: &State, wanted: &Wanted, tenant: usize) -> bool {
    wanted.audience.iter().any(|selector| match &selector.target {
        Target::Users {
            tenant: Some(only), ..
        } => *only != channel.tenants[tenant].id,
        Target::Users { tenant: None, .. } | Target::Accounts(_) => tenant != 0,
        Target::Rows { column, .. } => *column != RowColumn::Conversation && tenant != 0,
        Target::Team { id, .. } => channel
            .named(id)
            .is_some_and(|general| channel.places[general].tenant != tenant),
        Target::Everyone
        | Target::Tenant(_)
        | Target::Conversations(_)
        | Target::Channel { .. }
        | Target::GroupChat(_)
        | Target::GroupChatMembers { .. }
        | Target::Tag(_)
        | Target::Directory(_) => false,
    })
}

fn gone(run: &Run, channel: &State, recipient: &Recipient, code: &str) -> Option<String> {
    let place = led_to(channel, recipient).map(|place| &channel.places[place]);
    let is_true = code == "BadArgument" && channel.was_undecryptable
        || place.is_some_and(|place| match code {
            "BotDisabledByAdmin" => channel.tenants[place.tenant].was_disabled,
            "ConversationNotFound" => run.troubles.channel.missing > Odds(0) || place.renamed > 0,
            code if REFUSALS.contains(&code) => {
                place.past.refused || place.past.left || place.past.not_installed || is_behind(run)
            }
            _ => false,
        });
    (!is_true).then(|| format!("gone for {code}, which is not true"))
}

fn rejected(
    run: &Run,
    channel: &State,
    wanted: &Wanted,
    recipient: &Recipient,
    code: &str,
) -> Option<String> {
    let place = led_to(channel, recipient).map(|place| &channel.places[place]);
    let is_true = match code {
        "BadSyntax" => place.is_none_or(|_| run.troubles.channel.refused > Odds(0)) || is_a_name(recipient),
        // No address that the bot can know serves this tenant.
        "BadArgument" => place.is_none_or(|place| !channel.tenants[place.tenant].is_global),
        // Only of the revision that is too large; copies of it cannot be made by an edit.
        "MessageSizeTooBig" => run.oversized.get().is_some_and(|text| wanted.sends(text)),
        // The tenant refused the bot for half an hour, or still does.
        "BotNotRegistered" => place.is_none_or(|place| {
            let since = channel.tenants[place.tenant].refused_since;
            since.is_some_and(|since| run.now().duration_since(since) > REFUSED_FOR)
        }),
        _ => false,
    };
    (!is_true).then(|| format!("rejected for {code}, which is not true"))
}

/// Whether a recipient is named by an id that may be looked up in another tenant.
fn is_a_name(recipient: &Recipient) -> bool {
    matches!(recipient, Recipient::Account(_))
}

/// Whether every request for the roster of a team may have failed.
fn is_silent(channel: &State, team: &str) -> bool {
    let Some(place) = channel.named(team).map(|place| &channel.places[place]) else {
        return true;
    };
    place.past.left
        || place.past.refused
        || channel.tenants[place.tenant].was_disabled
        || channel.tenants[place.tenant].refused_since.is_some()
        || channel.was_undecryptable
        || place.past.missed > 2
        || place.past.too_late > 1
        || place.past.moved && !channel.tenants[place.tenant].is_global
}
