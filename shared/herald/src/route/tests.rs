use super::*;

fn route(value: &Value) -> Route {
    Route::parse(value, Timestamp::UNIX_EPOCH).unwrap_or_else(|faults| panic!("{value}: {faults:?}"))
}

fn builds() -> Value {
    json!({
        "description": "builds, in place",
        "pattern": {"source": ["ci"]},
        "audience": {"users": ["${detail.owner}"]},
        "message": {"text": "Build ${detail.number}: ${detail.state}"},
        "subject": "build-${detail.number}",
        "priority": {"of": "${detail.state}", "urgent": ["RED"], "bulk": ["green"]},
    })
}

#[test]
fn a_route_makes_a_request_of_an_event() {
    let event = json!({"source": "ci", "detail": {"owner": "entra-ada", "number": 7, "state": "red"}});
    let route = route(&builds());
    assert!(route.takes(&event) && !route.takes(&json!({"source": "cd"})));
    let routed = route.request("builds", &event);
    assert_eq!(
        routed.request.value,
        json!({"category": "builds", "audience": {"users": ["entra-ada"]}, "message": {"text": "Build 7: red"},
               "priority": "urgent"})
    );
    assert_eq!(routed.subject.as_deref(), Some("build-7"));
    assert!(routed.missing.is_empty());
    let other = route.request("builds", &json!({"detail": {"state": "yellow"}}));
    assert_eq!(other.request.value.get("priority"), None);
    assert_eq!(other.missing, ["detail.owner", "detail.number"]);
}

#[test]
fn a_wrong_route_is_refused_where_it_is_wrong() {
    let pointers = |change: &Value| -> Vec<String> {
        let mut body = builds();
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
                value => body[name] = value.clone(),
            }
        }
        let faults = Route::parse(&body, Timestamp::UNIX_EPOCH).unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    };
    for (change, wrong) in [
        (json!({"pattern": null}), "#/pattern"),
        (json!({"pattern": {"source": "ci"}}), "#/pattern/source"),
        (json!({"audience": null}), "#/audience"),
        (json!({"message": {"text": ""}}), "#/message"),
        (json!({"message": {"text": "${"}}), "#/message/text"),
        (json!({"subject": " "}), "#/subject"),
        (json!({"priority": "high"}), "#/priority"),
        (json!({"priority": {"of": "${a}"}}), "#/priority"),
        (
            json!({"priority": {"of": "${a}", "urgent": ["x"], "low": ["y"]}}),
            "#/priority",
        ),
        (json!({"subjects": "x"}), "#/subjects"),
        (json!({"description": 7}), "#/description"),
    ] {
        assert_eq!(pointers(&change), [wrong], "{change}");
    }
}

#[test]
fn names_are_plain() {
    for name in ["a", "cloudwatch-alarm", "7"] {
        assert!(is_route_name(name));
    }
    for name in ["", "A", "a b", "a/b", "ä", &"a".repeat(65)] {
        assert!(!is_route_name(name), "{name}");
    }
}

#[test]
fn a_subject_shows_its_latest_event_and_one_event_writes_at_a_time() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let acquire = |stored: &Option<SubjectRecord>, event: &str, happened: i64, now: i64| {
        SubjectRecord::acquire(stored.clone(), event, at(happened), at(now))
    };
    let id = NotificationId::fresh(at(0), [1; 16]);
    let (lease, stored) = acquire(&None, "red", 10, 100);
    assert_eq!(lease, SubjectLease::Acquired(None));
    // Another event waits, the same one may repeat.
    assert_eq!(acquire(&stored, "green", 20, 101).0, SubjectLease::HeldElsewhere);
    assert_eq!(acquire(&stored, "red", 10, 101).0, SubjectLease::Acquired(None));
    // A lease ends when its holder does not come back.
    assert_eq!(acquire(&stored, "green", 20, 160).0, SubjectLease::Acquired(None));
    let shown = SubjectRecord::released(stored.clone(), "red", Some(&id));
    assert_eq!(acquire(&shown, "red", 10, 102).0, SubjectLease::Shown);
    assert_eq!(
        acquire(&shown, "blue", 9, 102).0,
        SubjectLease::Shown,
        "an older event comes too late"
    );
    let (lease, leased) = acquire(&shown, "green", 20, 102);
    assert_eq!(lease, SubjectLease::Acquired(Some(id.clone())));
    assert_eq!(
        SubjectRecord::released(leased.clone(), "red", None),
        None,
        "the lease is another's"
    );
    let failed = SubjectRecord::released(leased, "green", None);
    assert_eq!(
        acquire(&failed, "later", 30, 103).0,
        SubjectLease::Acquired(Some(id))
    );
}
