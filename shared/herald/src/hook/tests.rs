use serde_json::json;

use super::*;

fn parse(body: &Value) -> Result<HookRequest, Vec<Fault>> {
    HookRequest::parse(&body.clone().into(), Timestamp::UNIX_EPOCH)
}

fn hook(body: &Value) -> (Hook, HookSecret) {
    let secret = HookSecret::fresh([[1; 16], [2; 16]]);
    let hook = parse(body)
        .unwrap()
        .hook("nobody", &secret, [3; 16], Timestamp::UNIX_EPOCH);
    (hook, secret)
}

#[test]
fn a_hook_knows_its_secret_and_stores_none() {
    let (hook, secret) = hook(&json!({"name": "alerts", "audience": {"everyone": true}}));
    assert!(hook.has_secret(secret.as_str()));
    for wrong in ["", "x", &secret.as_str()[1..], &format!("{} ", secret.as_str())] {
        assert!(!hook.has_secret(wrong));
    }
    let stored = serde_json::to_string(&hook).unwrap();
    assert!(!stored.contains(secret.as_str()), "{stored}");
    assert_eq!(format!("{secret:?}"), "HookSecret");
    let next = HookSecret::fresh([[4; 16], [5; 16]]);
    let rotated = hook.rotated(&next, None, [0; 16], Timestamp::UNIX_EPOCH);
    assert!(rotated.has_secret(next.as_str()) && !rotated.has_secret(secret.as_str()));
}

#[test]
fn a_notification_of_a_hook_has_its_fields_and_the_payloads_message() {
    let (hook, _) = hook(
        &json!({"name": "alerts", "audience": {"tag": "ops"}, "category": "alerts",
                                 "ifNoConversation": "create"}),
    );
    let message = LosslessJson::from_slice(br#"{"text": "hi", "x-novel": 1.10}"#).unwrap();
    let request = hook.request(&message, Some(Priority::Urgent));
    assert_eq!(
        request.value,
        json!({"audience": {"tag": "ops"}, "category": "alerts", "ifNoConversation": "create", "priority": "urgent",
               "message": {"text": "hi", "x-novel": 1.1}})
    );
    assert!(request.to_string().contains("1.10"));
    let (calm, _) = self::hook(&json!({"name": "a", "audience": {"tag": "ops"}, "priority": "bulk"}));
    assert_eq!(
        calm.request(&message, Some(Priority::Urgent)).value["priority"],
        "bulk"
    );
}

#[test]
fn a_wrong_field_is_named_as_that_of_a_notification() {
    let pointers = |body: &Value| -> Vec<String> {
        let faults = parse(body).unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    };
    assert_eq!(pointers(&json!([])), ["#"]);
    assert_eq!(pointers(&json!({})), ["#/name", "#/audience"]);
    assert_eq!(
        pointers(
            &json!({"name": " ", "audience": {"everyone": true}, "perMinute": 0, "priority": "high",
                         "githubSecret": "", "message": {}})
        ),
        [
            "#/message",
            "#/name",
            "#/perMinute",
            "#/githubSecret",
            "#/priority"
        ]
    );
}

#[test]
fn a_hook_takes_its_rate_and_says_how_long_to_wait() {
    let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
    let mut rate = None;
    // Ten seconds' worth at once.
    for _ in 0..10 {
        rate = Some(HookRate::take(rate, 60, at(0)).unwrap());
    }
    assert_eq!(HookRate::take(rate, 60, at(0)), Err(Duration::from_secs(1)));
    assert_eq!(HookRate::take(rate, 60, at(400)), Err(Duration::from_millis(600)));
    assert!(HookRate::take(rate, 60, at(1_000)).is_ok());
    // However slow it is, one is taken.
    let once = HookRate::take(None, 1, at(0)).unwrap();
    assert_eq!(HookRate::take(Some(once), 1, at(0)), Err(Duration::from_mins(1)));
    let mut taken = 0;
    let mut rate = None;
    for second in 0..600 {
        for _ in 0..5 {
            if let Ok(next) = HookRate::take(rate, 60, at(second * 1_000)) {
                (rate, taken) = (Some(next), taken + 1);
            }
        }
    }
    assert!((600..=610).contains(&taken), "{taken} in ten minutes");
}
