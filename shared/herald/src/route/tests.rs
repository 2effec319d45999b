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
