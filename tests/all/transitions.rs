//! The states of a personal conversation, over any sequence of events.

use botframework::activity::Activity;
use botframework::cloud::Cloud;
use botframework::service_url::{Loopback, OtherChannels, TrustRule};
use herald::conversation::{
    Conversation, Feedback, Import, Observation, State, apply_feedback, import, remember,
};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

const SERVICE_URL: &str = "https://smba.trafficmanager.net/emea/";
const BLOCKED: &str = "ConversationBlockedByUser";

/// What happens to a personal conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Occurrence {
    Installed,
    Uninstalled,
    BotAdded,
    BotRemoved,
    PersonLeft,
    OtherMembers,
    Spoke,
    Reacted,
    Invoked,
    Blocked,
    Imported,
}

use Occurrence::{
    Blocked, BotAdded, BotRemoved, Imported, Installed, Invoked, OtherMembers, PersonLeft, Reacted, Spoke,
    Uninstalled,
};

const ALL: [Occurrence; 11] = [
    Installed,
    Uninstalled,
    BotAdded,
    BotRemoved,
    PersonLeft,
    OtherMembers,
    Spoke,
    Reacted,
    Invoked,
    Blocked,
    Imported,
];

/// The state as a person knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Never,
    Active,
    BlockedByUser,
    Removed,
}

/// What a person expects.
fn expected(before: Known, occurrence: Occurrence) -> Known {
    match (before, occurrence) {
        (_, Installed | BotAdded | Spoke) => Known::Active,
        (Known::Never, Uninstalled | BotRemoved | PersonLeft) => Known::Never,
        (_, Uninstalled | BotRemoved | PersonLeft) => Known::Removed,
        (Known::Never, OtherMembers | Imported) => Known::Active,
        (Known::BlockedByUser, Reacted | Invoked) => Known::Active,
        (Known::Active, Blocked) => Known::BlockedByUser,
        (before, OtherMembers | Imported | Reacted | Invoked | Blocked) => before,
    }
}

fn activity(kind: &str, properties: &Value) -> Activity {
    let mut document = json!({
        "type": kind, "id": "1", "channelId": "msteams", "serviceUrl": SERVICE_URL,
        "from": {"id": "29:anna", "aadObjectId": "entra-anna"}, "recipient": {"id": "28:bot"},
        "conversation": {"id": "a:anna", "conversationType": "personal", "tenantId": "tenant-1"},
    });
    document
        .as_object_mut()
        .unwrap()
        .extend(properties.as_object().unwrap().clone());
    Activity::from_value(document).unwrap()
}

/// The record after an occurrence, if it changes.
fn after(record: Option<&Conversation>, occurrence: Occurrence, now: Timestamp) -> Option<Conversation> {
    let (bot, anna, eve) = (
        json!([{"id": "28:bot"}]),
        json!([{"id": "29:anna"}]),
        json!([{"id": "29:eve"}]),
    );
    let activity = match occurrence {
        Installed => activity("installationUpdate", &json!({"action": "add"})),
        Uninstalled => activity("installationUpdate", &json!({"action": "remove"})),
        BotAdded => activity("conversationUpdate", &json!({"membersAdded": bot})),
        BotRemoved => activity("conversationUpdate", &json!({"membersRemoved": bot})),
        PersonLeft => activity("conversationUpdate", &json!({"membersRemoved": anna})),
        OtherMembers => activity("conversationUpdate", &json!({"membersAdded": eve})),
        Spoke => activity("message", &json!({"text": "hello"})),
        Reacted => activity("messageReaction", &json!({})),
        Invoked => activity("invoke", &json!({"name": "adaptiveCard/action"})),
        Blocked => return apply_feedback(record?, &Feedback::Blocked(BLOCKED.to_owned()), now),
        Imported => {
            let reference = json!({
                "channelId": "msteams", "serviceUrl": SERVICE_URL, "user": {"id": "29:anna"}, "bot": {"id": "28:bot"},
                "conversation": {"id": "a:anna", "conversationType": "personal", "tenantId": "tenant-1"},
            });
            let rule = TrustRule::new(Cloud::Public, OtherChannels::Refused, Loopback::Refused);
            return import(
                record,
                Import::read(reference.into(), &rule).unwrap().remove(0),
                now,
            );
        }
    };
    remember(record, Observation::from_activity(&activity).remove(0), now)
}

fn known(record: Option<&Conversation>) -> Known {
    match record.map(|record| &record.state) {
        None => Known::Never,
        Some(State::Active) => Known::Active,
        Some(State::Blocked { .. }) => Known::BlockedByUser,
        Some(State::Removed) => Known::Removed,
    }
}

proptest! {
    #[test]
    fn each_event_leads_to_the_state_that_a_person_expects(occurrences in vec(select(ALL.to_vec()), 1..24)) {
        let mut record: Option<Conversation> = None;
        for (second, occurrence) in (0..).zip(occurrences) {
            let now = Timestamp::from_second(second).unwrap();
            let state = expected(known(record.as_ref()), occurrence);
            if let Some(new) = after(record.as_ref(), occurrence, now) {
                let version = record.as_ref().map_or(0, |record| record.version);
                prop_assert_eq!(new.version, version + 1);
                prop_assert_eq!(new.attributes.account.as_ref().map(AsRef::as_ref), Some("29:anna"));
                record = Some(new);
            }
            prop_assert_eq!(known(record.as_ref()), state, "{:?}", occurrence);
            prop_assert_eq!(after(record.as_ref(), occurrence, now), None, "{:?} twice", occurrence);
        }
    }
}
