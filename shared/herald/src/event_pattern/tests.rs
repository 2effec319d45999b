use serde_json::json;

use super::*;

fn pattern(value: &Value) -> EventPattern {
    let mut faults = Faults::default();
    let parsed = EventPattern::parse(value, "#", &mut faults);
    parsed.unwrap_or_else(|| panic!("{value}: {faults:?}"))
}

fn refused(value: &Value) -> Vec<String> {
    let mut faults = Faults::default();
    assert!(EventPattern::parse(value, "#", &mut faults).is_none(), "{value}");
    let faults = faults.none_in::<()>(None).unwrap_err();
    faults.into_iter().map(|fault| fault.pointer).collect()
}

/// The event of the user guide.
fn ec2() -> Value {
    json!({
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": "EC2 Instance State-change Notification",
        "source": "aws.ec2",
        "account": "111122223333",
        "time": "2017-12-22T18:43:48Z",
        "region": "us-west-1",
        "resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],
        "detail": {"instance-id": "i-1234567890abcdef0", "state": "terminated"},
    })
}

#[test]
fn the_guides_patterns_of_an_ec2_event_match_as_documented() {
    for taken in [
        json!({"source": ["aws.ec2"]}),
        json!({"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"],
               "detail": {"state": ["terminated"]}}),
        json!({"source": ["aws.ec2", "aws.fargate"]}),
        json!({"time": [{"prefix": "2017-12-22"}]}),
        json!({"resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0", "other"]}),
        json!({"resources": [{"wildcard": "arn:aws:ec2:*:instance/*"}]}),
        json!({"detail": {"state": [{"anything-but": "initializing"}]}}),
        json!({"detail": {"state": [{"exists": true}], "c-count": [{"exists": false}]}}),
    ] {
        assert!(pattern(&taken).matches(&ec2()), "{taken}");
    }
    for passed in [
        json!({"source": ["aws.fargate"]}),
        json!({"source": ["aws.ec2"], "detail": {"state": ["running"]}}),
        json!({"detail": {"state": [{"anything-but": ["initializing", "terminated"]}]}}),
        json!({"detail": {"state": [{"exists": false}]}}),
        json!({"detail": {"state": {"name": ["terminated"]}}}),
    ] {
        assert!(!pattern(&passed).matches(&ec2()), "{passed}");
    }
}

/// The examples of "Comparison operators", with what they take and what not.
#[test]
fn each_operator_takes_what_the_guide_says() {
    let cases = json!([
        [{"prefix": "us-"}, ["us-east-1"], ["eu-west-1", 7]],
        [{"prefix": {"equals-ignore-case": "EventB"}}, ["EVENTBRIDGE", "eventbridge"], ["bridge"]],
        [{"suffix": ".png"}, ["a.png"], ["a.PNG", ".png.txt"]],
        [{"suffix": {"equals-ignore-case": ".png"}}, ["a.PNG"], ["png"]],
        [{"equals-ignore-case": "alice"}, ["alice", "Alice", "ALICE"], ["alicex"]],
        [{"wildcard": "dir/*.png"}, ["dir/a.png", "dir/.png"], ["dir/a.jpg", "a/dir/b.png"]],
        [{"wildcard": "*"}, ["", "x"], [1]],
        [{"wildcard": "a*b*b"}, ["abb", "axbxb"], ["ab", "ba"]],
        [{"wildcard": "a\\*b"}, ["a*b"], ["axb"]],
        [{"anything-but": [100, 200, 300]}, [101, "100"], [100, 300]],
        [{"anything-but": {"prefix": "init"}}, ["running"], ["initializing"]],
        [{"anything-but": {"suffix": [".txt", ".rtf"]}}, ["a.png"], ["a.txt", "b.rtf"]],
        [{"anything-but": {"equals-ignore-case": ["initializing", "stopped"]}}, ["Running"], ["STOPPED"]],
        [{"anything-but": {"wildcard": "*/lib/*"}}, ["a/b"], ["a/lib/b"]],
        [{"numeric": ["=", 301.5]}, [301.5], [301, "301.5"]],
        [{"numeric": [">", 0, "<=", 5]}, [0.1, 5], [0, 5.1]],
        [{"numeric": ["<", 10]}, [-3], [10]],
        [{"cidr": "10.0.0.0/24"}, ["10.0.0.255"], ["10.0.1.0", "x", "::1"]],
        [{"cidr": "0.0.0.0/0"}, ["8.8.8.8"], ["::1"]],
        [{"cidr": "2600:6c4e:6::/48"}, ["2600:6c4e:6::a01"], ["2600:6c4e:7::1"]],
        [null, [null], ["", 0]],
        [300, [300], [300.0, "300"]],
        ["", [""], [null]],
        [true, [true], [false, "true"]]
    ]);
    for case in cases.as_array().unwrap() {
        let pattern = pattern(&json!({"detail": {"x": [case[0]]}}));
        for taken in case[1].as_array().unwrap() {
            assert!(
                pattern.matches(&json!({"detail": {"x": taken}})),
                "{case} {taken}"
            );
            // An array matches by one of its elements.
            assert!(
                pattern.matches(&json!({"detail": {"x": [[], [taken]]}})),
                "{case} {taken}"
            );
        }
        for passed in case[2].as_array().unwrap() {
            assert!(
                !pattern.matches(&json!({"detail": {"x": passed}})),
                "{case} {passed}"
            );
        }
        assert!(
            !pattern.matches(&json!({"detail": {}})),
            "{case} of an absent field"
        );
        assert!(
            !pattern.matches(&json!({"detail": {"x": {"y": 1}}})),
            "{case} of an object"
        );
    }
}

#[test]
fn or_takes_one_of_several_fields_beside_what_must_hold() {
    // "Complex event example: using $or" of the guide.
    let pattern = pattern(&json!({
        "source": ["aws.cloudwatch"],
        "$or": [
            {"detail": {"c-count": [{"numeric": [">", 0, "<=", 5]}]}},
            {"detail": {"d-count": [{"numeric": ["<", 10]}], "x-limit": [{"numeric": ["=", 3.018e2]}]}},
        ],
    }));
    let event = |detail: Value| json!({"source": "aws.cloudwatch", "detail": detail});
    assert!(pattern.matches(&event(json!({"c-count": 3}))));
    assert!(pattern.matches(&event(json!({"d-count": 9, "x-limit": 301.8}))));
    assert!(!pattern.matches(&event(json!({"d-count": 9, "x-limit": 1}))));
    assert!(!pattern.matches(&json!({"source": "aws.ec2", "detail": {"c-count": 3}})));
}

/// The examples of Event Ruler's description, which is `EventBridge`'s own matcher.
#[test]
fn or_may_stand_beside_another_and_inside_one() {
    let parallel = pattern(&json!({
        "$or": [{"metricName": ["CPUUtilization", "ReadLatency"]}, {"namespace": ["AWS/EC2", "AWS/ES"]}],
        "detail": {"$or": [{"source": ["aws.cloudwatch"]}, {"detail-type": ["CloudWatch Alarm State Change"]}]},
    }));
    let nested = pattern(&json!({
        "source": ["aws.cloudwatch"],
        "$or": [
            {"metricName": ["CPUUtilization", "ReadLatency"]},
            {"metricType": ["MetricType"], "namespace": ["AWS/EC2", "AWS/ES"],
             "$or": [{"metricId": [1234]}, {"spaceId": [1000]}]},
            {"scope": ["Service"]},
        ],
    }));
    for (pattern, event, taken) in [
        (
            &parallel,
            json!({"namespace": "AWS/ES", "detail": {"source": "aws.cloudwatch"}}),
            true,
        ),
        (
            &parallel,
            json!({"namespace": "AWS/ES", "detail": {"source": "aws.ec2"}}),
            false,
        ),
        (
            &parallel,
            json!({"namespace": "AWS/S3", "detail": {"source": "aws.cloudwatch"}}),
            false,
        ),
        (
            &nested,
            json!({"source": "aws.cloudwatch", "scope": "Service"}),
            true,
        ),
        (&nested, json!({"source": "aws.ec2", "scope": "Service"}), false),
        (
            &nested,
            json!({"source": "aws.cloudwatch", "metricType": "MetricType", "namespace": "AWS/EC2", "spaceId": 1000}),
            true,
        ),
        (
            &nested,
            json!({"source": "aws.cloudwatch", "metricType": "MetricType", "namespace": "AWS/EC2", "spaceId": 1}),
            false,
        ),
    ] {
        assert_eq!(pattern.matches(&event), taken, "{event}");
    }
}

/// The guide's examples of "Exists matching", "Arrays", "null values and empty strings" and of several operators together.
#[test]
fn the_guides_examples_beyond_one_value_match_as_documented() {
    let absent = pattern(&json!({"detail": {"c-count": [{"exists": false}]}}));
    assert!(absent.matches(&json!({"detail": {"state": ["initializing", "running"]}})));
    // It is no leaf.
    assert!(absent.matches(&json!({"detail": {"c-count": {"c1": 100}}})));
    assert!(!absent.matches(&json!({"detail": {"c-count": 5}})));

    let resources = pattern(&json!({"resources": ["arn:aws:ec2:a:instance/i", "arn:aws:ec2:b:instance/i"]}));
    assert!(resources.matches(&json!({"resources": ["arn:aws:autoscaling:c", "arn:aws:ec2:a:instance/i"]})));
    assert!(!resources.matches(&json!({"resources": ["arn:aws:autoscaling:c"]})));
    assert!(!resources.matches(&json!({"resources": []})));

    let event = json!({"detail": {"eventVersion": "", "responseElements": null}});
    for (value, taken) in [
        (json!({"detail": {"eventVersion": [""]}}), true),
        (json!({"detail": {"responseElements": [null]}}), true),
        (json!({"detail": {"responseElements": [""]}}), false),
        (json!({"detail": {"eventVersion": [null]}}), false),
    ] {
        assert_eq!(pattern(&value).matches(&event), taken, "{value}");
    }

    let complex = pattern(&json!({
        "time": [{"prefix": "2017-10-02"}],
        "detail": {
            "state": [{"anything-but": "initializing"}],
            "c-count": [{"numeric": [">", 0, "<=", 5]}],
            "d-count": [{"numeric": ["<", 10]}],
            "x-limit": [{"anything-but": [100, 200, 300]}],
            "source-ip": [{"cidr": "10.0.0.0/8"}],
        },
    }));
    let event = |field: &str, value: Value| {
        let mut event = json!({"time": "2017-10-02T16:24:49Z", "detail": {
            "c-count": 5, "d-count": 3, "x-limit": 301.8, "source-ip": "10.0.0.33", "state": "running"}});
        event["detail"][field] = value;
        event
    };
    assert!(complex.matches(&event("state", json!("stopped"))));
    for (field, value) in [
        ("state", json!("initializing")),
        ("c-count", json!(0)),
        ("d-count", json!(10)),
        ("x-limit", json!(300)),
        ("source-ip", json!("11.0.0.33")),
    ] {
        assert!(!complex.matches(&event(field, value.clone())), "{field} {value}");
    }
}

#[test]
fn fields_below_an_array_match_in_one_object() {
    let pattern = pattern(&json!({"detail": {"disks": {"name": ["a"], "full": [true]}}}));
    let event = |disks: Value| json!({"detail": {"disks": disks}});
    assert!(pattern.matches(&event(json!([{"name": "b"}, {"name": "a", "full": true}]))));
    assert!(!pattern.matches(&event(
        json!([{"name": "a", "full": false}, {"name": "b", "full": true}])
    )));
}

#[test]
fn a_field_of_an_absent_object_does_not_exist() {
    let pattern = pattern(&json!({"detail": {"a": {"b": [{"exists": false}]}}}));
    assert!(pattern.matches(&json!({"detail": {}})));
    assert!(pattern.matches(&json!({})));
    assert!(!pattern.matches(&json!({"detail": {"a": {"b": null}}})));
}

#[test]
fn a_wrong_pattern_is_refused_where_it_is_wrong() {
    for (value, pointers) in [
        (json!([]), vec!["#"]),
        (json!({}), vec!["#"]),
        (json!({"source": "aws.ec2"}), vec!["#/source"]),
        (json!({"source": []}), vec!["#/source"]),
        (json!({"detail": {}}), vec!["#/detail"]),
        (json!({"a": [{"prefx": "x"}]}), vec!["#/a/0/prefx"]),
        (
            json!({"a": [{"prefix": 1}, {"exists": "no"}]}),
            vec!["#/a/0/prefix", "#/a/1/exists"],
        ),
        (json!({"a": [{"prefix": "a", "suffix": "b"}]}), vec!["#/a/0"]),
        (json!({"a": [{"numeric": [">"]}]}), vec!["#/a/0/numeric"]),
        (json!({"a": [{"numeric": [">", 6e9]}]}), vec!["#/a/0/numeric"]),
        (json!({"a": [{"cidr": "10.0.0.0/33"}]}), vec!["#/a/0/cidr"]),
        (json!({"a": [{"wildcard": "a**"}]}), vec!["#/a/0/wildcard"]),
        (
            json!({"a": [{"anything-but": {"exists": true}}]}),
            vec!["#/a/0/anything-but"],
        ),
        (json!({"$or": [{"a": [1]}]}), vec!["#/$or"]),
        (json!({"$or": [{"a": [1]}, 7]}), vec!["#/$or/1"]),
        (json!({"a": [[1]]}), vec!["#/a/0"]),
    ] {
        assert_eq!(refused(&value), pointers, "{value}");
    }
    assert_eq!(refused(&json!({"a": ["x".repeat(PATTERN_CHARS_MAX)]})), ["#"]);
}
